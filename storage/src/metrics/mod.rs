//! Metrics: samples of series, kept in the same journal as logs, in a memtable and in segments of their own.
//!
//! A decoder ends in a [`MetricBatch`]. A series is a set of labels, its name among them as `__name__`; a sample is a
//! value (or a native histogram) at a millisecond.

mod batch;
mod builder;
mod bytes;
mod coarse;
pub(crate) mod codec;
mod decimal;
pub(crate) mod flush;
mod histogram;
mod matching;
pub(crate) mod memtable;
mod read;
mod samples;
pub(crate) mod segment;
pub(crate) mod segment_writer;
pub(crate) mod series_index;

#[cfg(test)]
mod tests;

pub use crate::labels::labels_of;
pub use batch::{Exemplar, HistogramSample, MetricBatch, MetricKind, MetricMetadata, SampleSeries, SeriesId};
pub use builder::{LabelsError, MetricBatchBuilder};
pub use coarse::Coarse;
pub use flush::SeriesDeletion;
pub use histogram::{Histogram, ResetHint, STALE_NAN_BITS, Span, is_stale};
pub use matching::{LabelMatcher, Wanted};
pub use memtable::MemoryPart;
pub use read::{MetricSnapshot, Selection, SeriesExemplars, StoredExemplar};
pub use samples::Samples;
pub use segment::MetricSegment;
