//! What a test's expressions are asked of: series in memory, lines in a store, and what rules have recorded.

use std::collections::BTreeMap;
use std::sync::Arc;

use query::promql::eval::{Point, Sample};
use query::promql::histogram::to_text;
use query::promql::testing::{Evaluator, MemorySource, Until};
use query::template::prometheus::{Number, QueriedSample, Querier};
use storage::Labels;

use super::lines::Lines;
use super::yaml::TestYaml;
use crate::alert::rule::Language;

/// The data of a test as they are at a time.
pub(super) struct Lab {
    evaluator: Evaluator,
    memory: MemorySource,
    lines: Option<Lines>,
    /// Of subqueries that say none, in milliseconds.
    step_ms: i64,
    /// Nothing later has come yet.
    pub(super) now_ms: i64,
}

impl Lab {
    /// Takes a test's input in: one sample and one line an `interval_ms`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn load(test: &TestYaml, interval_ms: i64, step_ms: i64) -> Result<Self, String> {
        let mut memory = MemorySource::default();
        for series in &test.input_series {
            memory
                .load_series(&series.series, &series.values, test.start_timestamp, interval_ms)
                .map_err(|why| format!("input_series: {}: {why}", series.series))?;
        }
        let lines = match test.input_streams.as_slice() {
            [] => None,
            streams => Some(Lines::load(streams, test.start_timestamp, interval_ms)?),
        };
        Ok(Self { evaluator: Evaluator::new()?, memory, lines, step_ms, now_ms: test.start_timestamp })
    }

    /// The vector that an expression gives at a time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn vector(&self, text: &str, language: Language, at_ms: i64) -> Result<Vec<Sample>, String> {
        match (language, &self.lines) {
            (Language::Promql, _) => {
                let source = Until { source: &self.memory, end: self.now_ms };
                self.evaluator.instant(&source, text, at_ms, self.step_ms)
            }
            (Language::Logql, Some(lines)) => {
                let found = lines.instant(text, at_ms)?;
                let sample =
                    |(labels, value)| Sample { labels: Arc::new(labels), time: at_ms, point: Point::Float(value) };
                Ok(found.into_iter().map(sample).collect())
            }
            (Language::Logql, None) => Err("the test has no input_streams, which LogQL asks".to_owned()),
            (Language::Sql, _) => Err("rules in SQL cannot be unit-tested".to_owned()),
        }
    }

    /// Keeps what a rule makes.
    pub(super) fn record(&mut self, labels: &Labels, at_ms: i64, point: &Point) {
        self.memory.record(labels, at_ms, point);
    }
}

/// `query` in templates: PromQL as of a time.
pub(super) struct Asking<'l> {
    pub(super) lab: &'l Lab,
    pub(super) at_ms: i64,
}

impl Querier for Asking<'_> {
    fn query(&self, expr: &str) -> Result<Vec<QueriedSample>, String> {
        let found = self.lab.vector(expr, Language::Promql, self.at_ms)?;
        let one = |sample: Sample| QueriedSample { labels: texts(&sample.labels), value: number(&sample.point) };
        Ok(found.into_iter().map(one).collect())
    }
}

pub(super) fn texts(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

pub(super) fn number(point: &Point) -> Number {
    match point {
        Point::Float(value) => Number::Float(*value),
        Point::Histogram(histogram) => Number::Histogram(to_text(histogram)),
    }
}
