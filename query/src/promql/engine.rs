//! PromQL by the [`Engine`]: its threads, its memory, its deadline.

use std::time::{Duration, Instant};

use storage::metrics::MetricSnapshot;

use super::eval::{self, Evaluated};
use super::source::Stored;
use crate::budget::Budget;
use crate::engine::Engine;
use crate::error::QueryError;

/// What a PromQL query looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromStats {
    /// Segments that selectors looked into; one that two selectors look into counts twice.
    pub segments: u64,
    /// Series that selectors left.
    pub series: u64,
    /// Samples that were read.
    pub samples: u64,
    /// From when to when selectors looked, in milliseconds, both inside; the end is before the start when none did.
    pub reach: (i64, i64),
    /// From start to end.
    pub nanos: u64,
    /// The answer was kept from before; all else is of then.
    pub cached: bool,
}

impl From<PromStats> for crate::stats::QueryStats {
    fn from(stats: PromStats) -> Self {
        Self { parts: stats.segments, rows_read: stats.samples, nanos: stats.nanos, ..Self::default() }
    }
}

impl Engine {
    /// Evaluates a query over a snapshot. Blocks: call it off the async threads.
    ///
    /// # Errors
    /// As [`eval::evaluate`]; `TooMuch` when the time range is longer than is allowed.
    pub fn promql(
        &self,
        snapshot: &MetricSnapshot,
        query: &eval::Query<'_>,
        budget: &Budget,
    ) -> Result<(Evaluated, PromStats), QueryError> {
        let began = Instant::now();
        if let Some(max) = self.limits().range_max
            && i128::from(query.end) - i128::from(query.start) > max.as_millis() as i128
        {
            let length = Duration::from_millis(query.end.saturating_sub(query.start).max(0) as u64);
            let message = format!("the query time range exceeds the limit (query length: {length:?}, limit: {max:?})");
            return Err(QueryError::TooMuch(message));
        }
        let source = Stored::new(snapshot, budget);
        let evaluated = eval::evaluate(query, &source, self.pool(), budget)?;
        let stats = PromStats {
            segments: source.segments(),
            series: source.series(),
            samples: source.samples(),
            reach: source.reach(),
            nanos: began.elapsed().as_nanos() as u64,
            cached: false,
        };
        Ok((evaluated, stats))
    }
}
