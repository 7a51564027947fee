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

/// The evaluator with what it needs.
pub(super) struct Evaluator {
    threads: ThreadPool,
    memory: Arc<MemoryPool>,
}

impl Evaluator {
    pub(super) fn new() -> Result<Self, String> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().map_err(|error| error.to_string())?;
        Ok(Self { threads, memory: MemoryPool::new(1 << 30, 1 << 30) })
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
