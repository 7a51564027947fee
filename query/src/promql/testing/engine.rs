//! The evaluator as scripts ask it.

use rayon::ThreadPool;

use super::answer::{Answer, Evaluated, Point, Times};
use super::store::MemorySource;
use crate::budget::Budget;
use crate::promql::ast::Expr;
use crate::promql::eval;

/// Evaluates a query over the samples of a script.
///
/// # Errors
/// The message of the evaluator.
pub fn evaluate(
    source: &MemorySource,
    expr: &Expr,
    text: &str,
    times: Times,
    pool: &ThreadPool,
    budget: &Budget,
) -> Result<Evaluated, String> {
    let (start, end, step) = match times {
        Times::Instant(at) => (at, at, None),
        Times::Range { start, end, step } => (start, end, Some(step)),
    };
    let query = eval::Query { text, expr: expr.clone(), start, end, step, options: eval::Options::default() };
    let evaluated = eval::evaluate(&query, source, pool, budget).map_err(|error| error.to_string())?;
    let answer = match evaluated.value {
        eval::Value::Scalar(_, value) => Answer::Scalar(value),
        eval::Value::String(_, text) => Answer::String(text),
        eval::Value::Vector(samples) => {
            Answer::Vector(samples.into_iter().map(|s| (s.labels.as_ref().clone(), point(s.point))).collect())
        }
        eval::Value::Matrix(series) => Answer::Matrix(
            series
                .into_iter()
                .map(|s| (s.labels.as_ref().clone(), s.points.into_iter().map(|(t, p)| (t, point(p))).collect()))
                .collect(),
        ),
    };
    Ok(Evaluated { answer, warnings: evaluated.warnings, infos: evaluated.infos })
}

fn point(point: eval::Point) -> Point {
    match point {
        eval::Point::Float(value) => Point::Float(value),
        eval::Point::Histogram(histogram) => Point::Histogram(histogram),
    }
}
