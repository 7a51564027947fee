//! Metrics: samples of series, kept in the same journal as logs, in a memtable and in segments of their own.
//!
//! A decoder ends in a [`MetricBatch`]. A series is a set of labels, its name among them as `__name__`; a sample is a
//! value (or a native histogram) at a millisecond.

mod batch;
mod histogram;

pub use batch::{
    Exemplar, HistogramSample, MetricBatch, MetricBatchBuilder, MetricKind, MetricMetadata, SampleSeries, SeriesId,
    labels_of,
};
pub use histogram::{Histogram, ResetHint, STALE_NAN_BITS, Span, is_stale};
