//! Samples in memory, as a [`Source`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use storage::Labels;
use storage::metrics::{Histogram, ResetHint, is_stale};

use super::nhcb;
use super::script::{Load, LoadedSeries};
use super::series::{Item, parse_series};
use crate::error::QueryError;
use crate::promql::ast::Matcher;
use crate::promql::eval::Point;
use crate::promql::histogram::detect_reset;
use crate::promql::source::{Samples, SeriesSet, Source};

/// Series and their samples. What is loaded at a time that has a sample already takes its place.
#[derive(Debug, Clone, Default)]
pub struct MemorySource {
    series: BTreeMap<Labels, Vec<Sample>>,
}

/// One sample.
#[derive(Debug, Clone)]
struct Sample {
    timestamp: i64,
    start: i64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl MemorySource {
    /// Puts the samples of a `load` in; the first is at 1970.
    pub(super) fn load(&mut self, load: &Load) -> Result<(), String> {
        for LoadedSeries { series, starts } in &load.series {
            for (at, item) in series.items.iter().enumerate() {
                let timestamp = at as i64 * load.step;
                let start = starts.get(at).copied().flatten().map_or(0, |offset| timestamp + offset);
                let value = match item {
                    Item::Omitted => continue,
                    Item::Float(value) => Value::Float(*value),
                    Item::Histogram { histogram, .. } => Value::Histogram(Arc::new(histogram.as_ref().clone())),
                };
                self.put(&series.labels, Sample { timestamp, start, value });
            }
        }
        if load.with_nhcb {
            for (labels, timestamp, histogram) in nhcb::convert(load)? {
                self.put(&labels, Sample { timestamp, start: 0, value: Value::Histogram(Arc::new(histogram)) });
            }
        }
        self.series.values_mut().for_each(|samples| set_hints(samples));
        Ok(())
    }

    /// Puts a series in, written as in scripts: its first value at `start`, and the next ones every `step` milliseconds.
    ///
    /// # Errors
    /// What is wrong with how it is written.
    pub fn load_series(&mut self, series: &str, values: &str, start: i64, step: i64) -> Result<(), String> {
        let series = parse_series(&format!("{} {}", series.trim(), values.trim()))?;
        for (at, item) in series.items.iter().enumerate() {
            let value = match item {
                Item::Omitted => continue,
                Item::Float(value) => Value::Float(*value),
                Item::Histogram { histogram, .. } => Value::Histogram(Arc::new(histogram.as_ref().clone())),
            };
            self.put(&series.labels, Sample { timestamp: start + at as i64 * step, start: 0, value });
        }
        self.series.get_mut(&series.labels).into_iter().for_each(|samples| set_hints(samples));
        Ok(())
    }

    /// Puts one sample in, such as a rule records it.
    pub fn record(&mut self, labels: &Labels, timestamp: i64, point: &Point) {
        let value = match point {
            Point::Float(value) => Value::Float(*value),
            Point::Histogram(histogram) => Value::Histogram(Arc::clone(histogram)),
        };
        self.put(labels, Sample { timestamp, start: 0, value });
    }

    fn put(&mut self, labels: &Labels, sample: Sample) {
        let samples = self.series.entry(labels.clone()).or_default();
        let at = samples.partition_point(|before| before.timestamp < sample.timestamp);
        match samples.get_mut(at).filter(|same| same.timestamp == sample.timestamp) {
            Some(same) => *same = sample,
            None => samples.insert(at, sample),
        }
    }
}

/// Sets the hints as Prometheus reads them back from its chunks: a counter's first histogram in a chunk is unknown, what
/// follows in the same chunk was not reset. A chunk ends where a histogram does not continue the one before it.
fn set_hints(samples: &mut [Sample]) {
    let mut before: Option<Arc<Histogram>> = None;
    for sample in samples {
        let Value::Histogram(histogram) = &mut sample.value else {
            before = None;
            continue;
        };
        if histogram.reset_hint != ResetHint::Gauge {
            let mut own = histogram.as_ref().clone();
            let continued = own.reset_hint != ResetHint::Reset;
            own.reset_hint = ResetHint::Unknown;
            if continued && before.as_ref().is_some_and(|before| continues(&own, before)) {
                own.reset_hint = ResetHint::NotReset;
            }
            *histogram = Arc::new(own);
        }
        before = Some(Arc::clone(histogram)).filter(|before| before.reset_hint != ResetHint::Gauge);
    }
}

/// Whether a histogram of unknown hint goes into the chunk of the one before it.
fn continues(histogram: &Histogram, before: &Histogram) -> bool {
    is_stale(histogram.sum)
        || !is_stale(before.sum)
            && histogram.schema == before.schema
            && histogram.zero_threshold == before.zero_threshold
            && histogram.custom_values == before.custom_values
            && !detect_reset(histogram, before)
}

impl Source for MemorySource {
    fn select(&self, matchers: &[Matcher], start: i64, end: i64) -> Result<Box<dyn SeriesSet + '_>, QueryError> {
        let matching = |labels: &Labels| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or_default()))
        };
        let mut selected = Selected { labels: Vec::new(), samples: Vec::new() };
        for (labels, samples) in self.series.iter().filter(|(labels, _)| matching(labels)) {
            let from = samples.partition_point(|sample| sample.timestamp < start);
            let to = samples.partition_point(|sample| sample.timestamp <= end);
            let Some(within) = samples.get(from..to).filter(|within| !within.is_empty()) else { continue };
            selected.labels.push(Arc::new(labels.clone()));
            selected.samples.push(columns(within));
        }
        Ok(Box::new(selected))
    }
}

/// What a source has up to a time, as it was when that time had come.
#[derive(Debug, Clone, Copy)]
pub struct Until<'s> {
    /// The source.
    pub source: &'s MemorySource,
    /// The last moment that counts, in milliseconds since 1970.
    pub end: i64,
}

impl Source for Until<'_> {
    fn select(&self, matchers: &[Matcher], start: i64, end: i64) -> Result<Box<dyn SeriesSet + '_>, QueryError> {
        self.source.select(matchers, start, end.min(self.end))
    }
}

fn columns(samples: &[Sample]) -> Samples {
    let mut out = Samples::default();
    let with_starts = samples.iter().any(|sample| sample.start != 0);
    for (at, sample) in samples.iter().enumerate() {
        out.timestamps.push(sample.timestamp);
        match &sample.value {
            Value::Float(value) => out.values.push(*value),
            Value::Histogram(histogram) => {
                out.values.push(f64::NAN);
                out.histograms.push((at as u32, Arc::clone(histogram)));
            }
        }
        if with_starts {
            out.starts.push(sample.start);
        }
    }
    out
}

struct Selected {
    labels: Vec<Arc<Labels>>,
    samples: Vec<Samples>,
}

impl SeriesSet for Selected {
    fn labels(&self) -> &[Arc<Labels>] {
        &self.labels
    }

    fn read(
        &self,
        series: Range<usize>,
        each: &mut dyn FnMut(usize, &Samples) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let wanted = self.samples.get(series.clone()).unwrap_or_default();
        series.zip(wanted).try_for_each(|(at, samples)| each(at, samples))
    }
}
