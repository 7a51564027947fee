//! Asks the evaluator, and brings its answer into the form in which it is compared.

use std::sync::Arc;
use std::time::Duration;

use rayon::ThreadPool;
use storage::Labels;

use super::answer::{Answer, Evaluated, Point, Times};
use super::store::MemorySource;
use crate::budget::{Budget, MemoryPool};
use crate::promql::ast::Expr;
use crate::promql::eval::{self, Options, Query, Value};
use crate::promql::parser;
use crate::promql::source::Source;

/// The evaluator with what it needs.
#[derive(Debug)]
pub struct Evaluator {
    threads: ThreadPool,
    memory: Arc<MemoryPool>,
}

impl Evaluator {
    /// With threads of its own.
    ///
    /// # Errors
    /// When there are no threads to be had.
    pub fn new() -> Result<Self, String> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().map_err(|error| error.to_string())?;
        Ok(Self { threads, memory: MemoryPool::new(1 << 30, 1 << 30) })
    }

    /// The vector that an expression gives at a time (milliseconds since 1970); a scalar is a sample without labels.
    /// `subquery_step` is that of subqueries that say none.
    ///
    /// # Errors
    /// When the expression is malformed or fails, or gives neither vector nor scalar.
    pub fn instant(
        &self,
        source: &dyn Source,
        text: &str,
        at: i64,
        subquery_step: i64,
    ) -> Result<Vec<eval::Sample>, String> {
        let expr = parser::parse(text).map_err(|error| error.to_string())?;
        let options = Options { subquery_step_ms: subquery_step.max(1), ..Options::default() };
        let query = Query { text, expr, start: at, end: at, step: None, options };
        let budget = Budget::new(&self.memory, Duration::from_secs(60));
        match eval::evaluate(&query, source, &self.threads, &budget).map_err(|error| error.to_string())?.value {
            Value::Vector(samples) => Ok(samples),
            Value::Scalar(time, value) => {
                Ok(vec![eval::Sample { labels: Arc::default(), time, point: eval::Point::Float(value) }])
            }
            _ => Err("rule result is not a vector or scalar".to_owned()),
        }
    }

    /// Evaluates a query whose text is `text`.
    pub(super) fn evaluate(
        &self,
        source: &MemorySource,
        expr: &Expr,
        text: &str,
        times: Times,
    ) -> Result<Evaluated, String> {
        let (start, end, step) = match times {
            Times::Instant(at) => (at, at, None),
            Times::Range { start, end, step } => (start, end, Some(step)),
        };
        let query = Query { text, expr: expr.clone(), start, end, step, options: Options::default() };
        let budget = Budget::new(&self.memory, Duration::from_secs(60));
        let evaluated = eval::evaluate(&query, source, &self.threads, &budget).map_err(|error| error.to_string())?;
        let answer = match evaluated.value {
            Value::Scalar(_, value) => Answer::Scalar(value),
            Value::String(_, text) => Answer::String(text),
            Value::Vector(samples) => Answer::Vector(
                samples.into_iter().map(|sample| (labels(&sample.labels), point(sample.point))).collect(),
            ),
            Value::Matrix(series) => {
                let one = |series: eval::SeriesPoints| {
                    let points = series.points.into_iter().map(|(time, value)| (time, point(value)));
                    (labels(&series.labels), points.collect())
                };
                Answer::Matrix(series.into_iter().map(one).collect())
            }
        };
        Ok(Evaluated { answer, warnings: evaluated.warnings, infos: evaluated.infos })
    }
}

fn labels(labels: &Arc<Labels>) -> Labels {
    labels.as_ref().clone()
}

fn point(point: eval::Point) -> Point {
    match point {
        eval::Point::Float(value) => Point::Float(value),
        eval::Point::Histogram(histogram) => Point::Histogram(histogram),
    }
}
