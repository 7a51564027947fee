//! A batch of samples: what one request brings, in columns, with the labels of its series as flat bytes.
//!
//! Invariants: the labels of a series are sorted by name, each name once, no value empty; text is UTF-8; every index
//! lies inside its table.

use xxhash_rust::xxh3::xxh3_128;

use crate::labels::Labels;
use crate::metrics::histogram::Histogram;

/// Hash of a series' labels: the same for the same set, on every machine and in every version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u128);

impl SeriesId {
    /// Of flat labels: see [`labels_of`].
    pub(crate) fn of(label_bytes: &[u8]) -> Self {
        Self(xxh3_128(label_bytes))
    }
}

/// What a metric is, as Prometheus names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub enum MetricKind {
    #[default]
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    GaugeHistogram = 4,
    Summary = 5,
    Info = 6,
    StateSet = 7,
}

impl MetricKind {
    /// Every kind, by number: the numbers of remote write 1 and 2.
    pub const ALL: [MetricKind; 8] = [
        MetricKind::Unknown,
        MetricKind::Counter,
        MetricKind::Gauge,
        MetricKind::Histogram,
        MetricKind::GaugeHistogram,
        MetricKind::Summary,
        MetricKind::Info,
        MetricKind::StateSet,
    ];

    /// Prometheus's word for it.
    pub fn as_str(self) -> &'static str {
        ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"][self as usize]
    }

    /// The kind of a number; unknown numbers are [`MetricKind::Unknown`].
    pub fn from_u8(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
    }
}

/// What is said of a metric beside its samples.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricMetadata {
    /// The metric's name (of a histogram or summary: without `_bucket`, `_sum`, `_count`).
    pub name: String,
    /// What it is.
    pub kind: MetricKind,
    /// What it means.
    pub help: String,
    /// What it is counted in.
    pub unit: String,
}

/// A native histogram as a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// Index of the series in the batch.
    pub series: u32,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// When counting began, in milliseconds since 1970; 0 when it was not said.
    pub start: i64,
    /// The histogram.
    pub histogram: Histogram,
}

/// An example of what was counted, with its trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Index of the series in the batch.
    pub series: u32,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The value.
    pub value: f64,
    /// Such as `trace_id` and `span_id`.
    pub labels: Labels,
}

/// The samples of one request.
#[derive(Debug, Clone, Default)]
pub struct MetricBatch {
    pub(crate) ids: Vec<SeriesId>,
    pub(crate) label_end: Vec<u32>,
    pub(crate) label_bytes: Vec<u8>,
    /// Of each sample: its series, as an index into `ids`.
    pub(crate) series: Vec<u32>,
    pub(crate) timestamps: Vec<i64>,
    pub(crate) values: Vec<f64>,
    /// Empty, or of each sample when counting began (0: not said).
    pub(crate) starts: Vec<i64>,
    pub(crate) histograms: Vec<HistogramSample>,
    pub(crate) exemplars: Vec<Exemplar>,
    pub(crate) metadata: Vec<MetricMetadata>,
}

/// One series of a batch.
#[derive(Debug, Clone, Copy)]
pub struct SampleSeries<'a> {
    /// The hash of its labels.
    pub id: SeriesId,
    /// Its labels: see [`labels_of`].
    pub label_bytes: &'a [u8],
}

impl MetricBatch {
    /// How many samples, histograms among them.
    pub fn len(&self) -> usize {
        self.series.len() + self.histograms.len()
    }

    /// True when there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.exemplars.is_empty() && self.metadata.is_empty()
    }

    /// How many series.
    pub fn series_count(&self) -> usize {
        self.ids.len()
    }

    /// A series, by its index.
    pub fn series(&self, index: usize) -> SampleSeries<'_> {
        let start = if index == 0 { 0 } else { self.label_end[index - 1] as usize };
        let label_bytes = &self.label_bytes[start..self.label_end[index] as usize];
        SampleSeries { id: self.ids[index], label_bytes }
    }

    /// The samples with a plain value, in the order they came: series index, milliseconds since 1970, value.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = (u32, i64, f64)> {
        self.series.iter().zip(&self.timestamps).zip(&self.values).map(|((&s, &t), &v)| (s, t, v))
    }

    /// When the counting of each plain sample began, in milliseconds since 1970 (0: not said); empty when none says.
    pub fn starts(&self) -> &[i64] {
        &self.starts
    }

    /// The samples that are native histograms.
    pub fn histograms(&self) -> &[HistogramSample] {
        &self.histograms
    }

    /// The exemplars.
    pub fn exemplars(&self) -> &[Exemplar] {
        &self.exemplars
    }

    /// What is said of metrics.
    pub fn metadata(&self) -> &[MetricMetadata] {
        &self.metadata
    }

    /// About how much memory the batch holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.ids.capacity() * 16
            + (self.label_end.capacity() + self.series.capacity()) * 4
            + self.label_bytes.capacity()
            + (self.timestamps.capacity() + self.values.capacity() + self.starts.capacity()) * 8
            + self.histograms.iter().map(|h| 64 + h.histogram.memory_bytes()).sum::<usize>()
            + (self.exemplars.len() + self.metadata.len()) * 128
    }
}
