//! Where PromQL's samples come from: the store, or a table in memory for tests.

use std::ops::Range;
use std::sync::Arc;

use storage::Labels;
use storage::metrics::Histogram;

use crate::error::QueryError;
use crate::promql::ast::Matcher;

/// One snapshot of the series of a tenant. Every selection of a query is made from the same one.
pub trait Source: Send + Sync {
    /// The series that match all of the matchers and have a sample from `start` to `end` (milliseconds since 1970, both
    /// included). A series may be there although it has no sample in that time; it is then read as empty.
    ///
    /// # Errors
    /// What kept it from being read, or that the query's budget is used up.
    fn select(&self, matchers: &[Matcher], start: i64, end: i64) -> Result<Box<dyn SeriesSet>, QueryError>;
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

/// The samples of one series, by time; each time is there once. Stale markers are among them.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Milliseconds since 1970.
    pub timestamps: Vec<i64>,
    /// The value; of a histogram NaN, without meaning.
    pub values: Vec<f64>,
    /// The histograms: index of the sample, rising, and the histogram. Empty for almost every series.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
    /// Empty, or of each sample when its counting began (0: not said).
    pub starts: Vec<i64>,
}

impl Samples {
    /// How many samples.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// True without samples.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Takes all samples out and keeps the room.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
    }
}
