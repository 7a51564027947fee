//! Puts a [`MetricBatch`] together: a series, then its samples.
//!
//! There are two ways to say a series: [`MetricBatchBuilder::series`] for labels that are known to be text, and
//! `begin_series`, `label`, `end_series` for those that come from a wire: nothing is allocated for a series whose labels
//! come sorted, and what is no valid set of labels is told.

use crate::labels::{Labels, labels_of, put_text};
use crate::metrics::batch::{
    Exemplar, HistogramSample, MetricBatch, MetricKind, MetricMetadata, SampleSeries, SeriesId,
};
use crate::metrics::histogram::Histogram;

/// Why labels are no series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// A name or a value is no text.
    #[error("a label is not UTF-8")]
    NotUtf8,
    /// A label has no name.
    #[error("the name of a label is empty")]
    EmptyName,
    /// A name comes twice.
    #[error("the label name {0:?} is there twice")]
    Duplicate(String),
}

/// Puts a [`MetricBatch`] together: a series, then its samples.
#[derive(Debug, Default)]
pub struct MetricBatchBuilder {
    batch: MetricBatch,
    open: OpenSeries,
    /// Scratch for a series whose labels came unsorted.
    sorted: Vec<u8>,
    /// What histograms, exemplars and metadata hold beside themselves, in bytes.
    outside_bytes: usize,
}

/// The series between `begin_series` and `end_series`; positions are in `label_bytes`.
#[derive(Debug, Default)]
struct OpenSeries {
    start: usize,
    /// The last name.
    name: (usize, usize),
    unsorted: bool,
    error: Option<LabelsError>,
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
                return self.close(start);
            }
            last = Some(name);
            if !value.is_empty() {
                put_text(&mut self.batch.label_bytes, name.as_bytes());
                put_text(&mut self.batch.label_bytes, value.as_bytes());
            }
        }
        self.close(start)
    }

    /// Adds a series of another batch, without hashing it again, and gives its index.
    pub fn known_series(&mut self, series: SampleSeries<'_>) -> u32 {
        self.abandon_series();
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
        let mut sorted: Vec<(&str, &str)> = Vec::new();
        for (name, value) in labels {
            match sorted.binary_search_by(|(n, _)| (*n).cmp(name)) {
                Ok(at) => sorted[at].1 = value,
                Err(at) => sorted.insert(at, (name, value)),
            }
        }
        for (name, value) in sorted.iter().filter(|(_, value)| !value.is_empty()) {
            put_text(&mut self.batch.label_bytes, name.as_bytes());
            put_text(&mut self.batch.label_bytes, value.as_bytes());
        }
    }

    /// Begins a series; its labels follow. One that was begun before and not ended is forgotten.
    pub fn begin_series(&mut self) {
        self.abandon_series();
        let start = self.batch.label_bytes.len();
        self.open = OpenSeries { start, name: (start, start), unsorted: false, error: None };
    }

    /// Adds a label to the series that was begun; one with an empty value does not count.
    #[inline]
    pub fn label(&mut self, name: &[u8], value: &[u8]) {
        if name.is_empty() {
            self.open.error = Some(LabelsError::EmptyName);
        }
        if value.is_empty() {
            return;
        }
        let bytes = &mut self.batch.label_bytes;
        let last = &bytes[self.open.name.0..self.open.name.1];
        // The first byte mostly tells.
        self.open.unsorted |= last.first() >= name.first() && last >= name;
        put_text(bytes, name);
        self.open.name = (bytes.len() - name.len(), bytes.len());
        put_text(bytes, value);
    }

    /// Ends the series that was begun and gives its index.
    ///
    /// # Errors
    /// What is wrong with its labels; then there is no such series.
    #[inline]
    pub fn end_series(&mut self) -> Result<u32, LabelsError> {
        let start = self.open.start;
        let outcome = match self.open.error.take() {
            Some(error) => Err(error),
            None => self.check_open(),
        };
        match outcome {
            Ok(()) => Ok(self.close(start)),
            Err(error) => {
                self.abandon_series();
                Err(error)
            }
        }
    }

    fn check_open(&mut self) -> Result<(), LabelsError> {
        let bytes = &self.batch.label_bytes[self.open.start..];
        // Lengths below 128 are ASCII too.
        if !bytes.is_ascii() {
            let read: usize = labels_of(bytes).map(|(name, value)| packed_len(name) + packed_len(value)).sum();
            if read != bytes.len() {
                return Err(LabelsError::NotUtf8);
            }
        }
        if self.open.unsorted { self.sort_open() } else { Ok(()) }
    }

    #[cold]
    fn sort_open(&mut self) -> Result<(), LabelsError> {
        let bytes = &self.batch.label_bytes[self.open.start..];
        let mut labels: Vec<(&str, &str)> = labels_of(bytes).collect();
        labels.sort_unstable();
        if let Some(twice) = labels.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(LabelsError::Duplicate(twice[0].0.to_owned()));
        }
        self.sorted.clear();
        for (name, value) in labels {
            put_text(&mut self.sorted, name.as_bytes());
            put_text(&mut self.sorted, value.as_bytes());
        }
        self.batch.label_bytes.truncate(self.open.start);
        self.batch.label_bytes.extend_from_slice(&self.sorted);
        Ok(())
    }

    /// Forgets the series that was begun and not ended, if there is one.
    pub fn abandon_series(&mut self) {
        let end = self.batch.label_end.last().map_or(0, |&end| end as usize);
        self.batch.label_bytes.truncate(end);
    }

    #[inline]
    fn close(&mut self, start: usize) -> u32 {
        self.batch.ids.push(SeriesId::of(&self.batch.label_bytes[start..]));
        self.batch.label_end.push(self.batch.label_bytes.len() as u32);
        self.batch.ids.len() as u32 - 1
    }

    /// Adds a sample: milliseconds since 1970, and a value, kept bit for bit.
    pub fn sample(&mut self, series: u32, timestamp: i64, value: f64) {
        self.sample_since(series, timestamp, value, 0);
    }

    /// Adds a sample whose counting began at `start` (milliseconds since 1970; 0: not said).
    #[inline]
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
        self.outside_bytes += histogram.memory_bytes();
        self.batch.histograms.push(HistogramSample { series, timestamp, start, histogram });
    }

    /// Adds an exemplar.
    pub fn exemplar(&mut self, series: u32, timestamp: i64, value: f64, labels: Labels) {
        self.outside_bytes += labels.iter().map(|(name, value)| name.len() + value.len() + 64).sum::<usize>();
        self.batch.exemplars.push(Exemplar { series, timestamp, value, labels });
    }

    /// Says what a metric is.
    pub fn metadata(&mut self, name: &str, kind: MetricKind, help: &str, unit: &str) {
        self.outside_bytes += name.len() + help.len() + unit.len();
        self.batch.metadata.push(MetricMetadata {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            unit: unit.to_owned(),
        });
    }

    /// How many bytes the batch holds so far, without spare room.
    #[inline]
    pub fn bytes(&self) -> usize {
        let batch = &self.batch;
        batch.label_bytes.len()
            + batch.ids.len() * 20
            + batch.series.len() * 20
            + batch.starts.len() * 8
            + batch.histograms.len() * size_of::<HistogramSample>()
            + batch.exemplars.len() * size_of::<Exemplar>()
            + batch.metadata.len() * size_of::<MetricMetadata>()
            + self.outside_bytes
    }

    /// The batch.
    pub fn finish(mut self) -> MetricBatch {
        self.abandon_series();
        self.batch
    }
}

fn packed_len(text: &str) -> usize {
    let mut length = text.len() + 1;
    let mut rest = text.len() >> 7;
    while rest > 0 {
        length += 1;
        rest >>= 7;
    }
    length
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
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
        let batch = builder.finish();
        assert_eq!(batch.series(0).id, batch.series(1).id);
        assert_ne!(batch.series(c as usize).id, batch.series(0).id);
        assert_eq!(labels_of(batch.series(1).label_bytes).collect::<Vec<_>>(), [("__name__", "up"), ("job", "x")]);
        assert_eq!(batch.starts(), [0, 1]);
    }

    fn of_wire(builder: &mut MetricBatchBuilder, labels: &[(&[u8], &[u8])]) -> Result<u32, LabelsError> {
        builder.begin_series();
        for (name, value) in labels {
            builder.label(name, value);
        }
        builder.end_series()
    }

    #[test]
    fn labels_from_a_wire_are_the_same_series() {
        let mut builder = MetricBatchBuilder::default();
        let long = "v".repeat(300);
        let wanted = builder.series([("__name__", "up"), ("é", "ü"), ("job", long.as_str())].into_iter());
        let sorted = [(&b"__name__"[..], &b"up"[..]), (b"job", long.as_bytes()), ("é".as_bytes(), "ü".as_bytes())];
        let of_sorted = of_wire(&mut builder, &sorted).unwrap();
        let unsorted = [sorted[2], (b"gone", b""), sorted[0], sorted[1]];
        let of_unsorted = of_wire(&mut builder, &unsorted).unwrap();
        let batch = builder.finish();
        for other in [of_sorted, of_unsorted] {
            assert_eq!(batch.series(wanted as usize).id, batch.series(other as usize).id);
        }
    }

    #[test]
    fn bad_labels_leave_nothing_behind() {
        let mut builder = MetricBatchBuilder::default();
        let twice = of_wire(&mut builder, &[(b"a", b"1"), (b"b", b"1"), (b"a", b"2")]);
        assert_eq!(twice, Err(LabelsError::Duplicate("a".to_owned())));
        assert_eq!(of_wire(&mut builder, &[(b"a", b"1"), (b"a", b"1")]), Err(LabelsError::Duplicate("a".to_owned())));
        assert_eq!(of_wire(&mut builder, &[(b"", b"1")]), Err(LabelsError::EmptyName));
        for bad in [&b"\xFF"[..], b"\xC3", b"a\x80"] {
            assert_eq!(of_wire(&mut builder, &[(b"a", bad), (b"b", b"\xA9")]), Err(LabelsError::NotUtf8));
            assert_eq!(of_wire(&mut builder, &[(bad, b"v")]), Err(LabelsError::NotUtf8));
        }
        let good = of_wire(&mut builder, &[(b"a", b"1")]).unwrap();
        builder.begin_series();
        builder.label(b"never", b"ended");
        let batch = builder.finish();
        assert_eq!((good, batch.series_count()), (0, 1));
        assert_eq!(labels_of(batch.series(0).label_bytes).collect::<Vec<_>>(), [("a", "1")]);
    }
}
