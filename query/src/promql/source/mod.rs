//! Where PromQL's samples come from: the store, or a table in memory for tests.

mod stored;

use std::ops::Range;
use std::sync::Arc;

use storage::Labels;

use crate::error::QueryError;
use crate::promql::ast::Matcher;

pub use self::stored::{Stored, label_matchers};
pub use storage::metrics::{Coarse, Samples};

/// One snapshot of the series of a tenant. Every selection of a query is made from the same one.
pub trait Source: Send + Sync {
    /// The series that match all of the matchers and have a sample from `start` to `end` (milliseconds since 1970, both
    /// included). A series may be there although it has no sample in that time; it is then read as empty.
    ///
    /// # Errors
    /// What kept it from being read, or that the query's budget is used up.
    fn select(&self, matchers: &[Matcher], start: i64, end: i64) -> Result<Box<dyn SeriesSet + '_>, QueryError>;

    /// How far apart the samples of a time (both ends included) may be because old ones were left out, in milliseconds; 0
    /// when all are there.
    fn resolution_ms(&self, _start: i64, _end: i64) -> i64 {
        0
    }
}

/// The series of one selection, sorted by their labels.
pub trait SeriesSet: Send + Sync {
    /// The labels of each series.
    fn labels(&self) -> &[Arc<Labels>];

    /// Reads the samples of some series (those of the selection's time, nothing else) and hands them over one series
    /// after the other, each once, in order. Called from several threads at once; neighbours are cheap to read
    /// together, so ask for runs of 16 or more where there are as many.
    ///
    /// # Errors
    /// The first that `each` answered, or what kept a series from being read.
    fn read(
        &self,
        series: Range<usize>,
        each: &mut dyn FnMut(usize, &Samples) -> Result<(), QueryError>,
    ) -> Result<(), QueryError>;
}
