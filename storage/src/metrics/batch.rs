//! A batch of samples: what one request brings, in columns, with the labels of its series as flat bytes.
//!
//! Invariants: the labels of a series are sorted by name, each name once, no value empty; text is UTF-8; every index
//! lies inside its table.

use xxhash_rust::xxh3::xxh3_128;

use crate::batch::Labels;
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

/// The labels that flat bytes hold: of each pair the name and the value, each as a length (LEB128) and UTF-8.
pub fn labels_of(mut bytes: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || Some((text(&mut bytes)?, text(&mut bytes)?)))
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= usize::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(taken).ok()
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    while length >= 0x80 {
        bytes.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(text.as_bytes());
}

/// Puts a [`MetricBatch`] together: a series, then its samples.
#[derive(Debug, Default)]
pub struct MetricBatchBuilder {
    batch: MetricBatch,
    /// Scratch for a series whose labels came unsorted.
    sorted: Vec<(String, String)>,
}

impl MetricBatchBuilder {
    /// An empty builder with room for about `samples` samples and `label_bytes` of labels.
    pub fn with_capacity(samples: usize, label_bytes: usize) -> Self {
        let mut new = Self::default();
        new.batch.series.reserve(samples);
        new.batch.timestamps.reserve(samples);
        new.batch.values.reserve(samples);
        new.batch.ids.reserve(samples);
        new.batch.label_end.reserve(samples);
        new.batch.label_bytes.reserve(label_bytes);
        new
    }

    /// Adds a series and gives its index. Its labels may come in any order; those with an empty value do not count; of
    /// a name that comes twice the last one does. The same series may be added twice.
    pub fn series<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> u32 {
        let start = self.batch.label_bytes.len();
        let mut last: Option<&str> = None;
        for (name, value) in labels.clone() {
            if last.is_some_and(|last| last >= name) {
                self.batch.label_bytes.truncate(start);
                self.put_unsorted(labels);
                return self.end_series(start);
            }
            last = Some(name);
            if !value.is_empty() {
                put_text(&mut self.batch.label_bytes, name);
                put_text(&mut self.batch.label_bytes, value);
            }
        }
        self.end_series(start)
    }

    /// Adds a series of another batch, without hashing it again, and gives its index.
    pub fn known_series(&mut self, series: SampleSeries<'_>) -> u32 {
        self.batch.label_bytes.extend_from_slice(series.label_bytes);
        self.batch.ids.push(series.id);
        self.batch.label_end.push(self.batch.label_bytes.len() as u32);
        self.batch.ids.len() as u32 - 1
    }

    /// A series that was added, by its index.
    pub fn added(&self, index: u32) -> SampleSeries<'_> {
        self.batch.series(index as usize)
    }

    fn put_unsorted<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        self.sorted.clear();
        for (name, value) in labels {
            match self.sorted.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
                Ok(at) => value.clone_into(&mut self.sorted[at].1),
                Err(at) => self.sorted.insert(at, (name.to_owned(), value.to_owned())),
            }
        }
        for (name, value) in self.sorted.iter().filter(|(_, value)| !value.is_empty()) {
            put_text(&mut self.batch.label_bytes, name);
            put_text(&mut self.batch.label_bytes, value);
        }
    }

    fn end_series(&mut self, start: usize) -> u32 {
        self.batch.ids.push(SeriesId::of(&self.batch.label_bytes[start..]));
        self.batch.label_end.push(self.batch.label_bytes.len() as u32);
        self.batch.ids.len() as u32 - 1
    }

    /// Adds a sample: milliseconds since 1970, and a value, kept bit for bit.
    pub fn sample(&mut self, series: u32, timestamp: i64, value: f64) {
        self.sample_since(series, timestamp, value, 0);
    }

    /// Adds a sample whose counting began at `start` (milliseconds since 1970; 0: not said).
    pub fn sample_since(&mut self, series: u32, timestamp: i64, value: f64, start: i64) {
        let batch = &mut self.batch;
        if start != 0 && batch.starts.is_empty() {
            batch.starts.resize(batch.series.len(), 0);
        }
        if start != 0 || !batch.starts.is_empty() {
            batch.starts.push(start);
        }
        batch.series.push(series);
        batch.timestamps.push(timestamp);
        batch.values.push(value);
    }

    /// Adds a native histogram.
    pub fn histogram(&mut self, series: u32, timestamp: i64, start: i64, histogram: Histogram) {
        self.batch.histograms.push(HistogramSample { series, timestamp, start, histogram });
    }

    /// Adds an exemplar.
    pub fn exemplar(&mut self, series: u32, timestamp: i64, value: f64, labels: Labels) {
        self.batch.exemplars.push(Exemplar { series, timestamp, value, labels });
    }

    /// Says what a metric is.
    pub fn metadata(&mut self, name: &str, kind: MetricKind, help: &str, unit: &str) {
        self.batch.metadata.push(MetricMetadata {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            unit: unit.to_owned(),
        });
    }

    /// The batch.
    pub fn finish(self) -> MetricBatch {
        self.batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_empty_values_do_not_matter() {
        let mut builder = MetricBatchBuilder::default();
        let a = builder.series([("__name__", "up"), ("job", "x")].into_iter());
        let b = builder.series([("job", "x"), ("z", ""), ("__name__", "up")].into_iter());
        let c = builder.series([("__name__", "up"), ("job", "y")].into_iter());
        builder.sample(a, 1, 1.0);
        builder.sample_since(b, 2, 2.0, 1);
        let mut again = MetricBatchBuilder::default();
        let known = again.known_series(builder.added(c));
        let (batch, again) = (builder.finish(), again.finish());
        assert_eq!(again.series(known as usize).label_bytes, batch.series(c as usize).label_bytes);
        assert_eq!(batch.series(0).id, batch.series(1).id);
        assert_ne!(batch.series(c as usize).id, batch.series(0).id);
        assert_eq!(labels_of(batch.series(1).label_bytes).collect::<Vec<_>>(), [("__name__", "up"), ("job", "x")]);
        assert_eq!(batch.starts(), [0, 1]);
    }
}
