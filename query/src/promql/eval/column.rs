//! What an expression is at every step: for each series a column of values, some of which may be histograms, and some
//! missing.

use std::sync::Arc;

use storage::Labels;
use storage::metrics::{Histogram, STALE_NAN_BITS};

/// The value of a step without one. Stale markers never get into columns, and no arithmetic makes one.
pub(super) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether there is no value.
#[inline]
pub(super) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// The steps of a query: times in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) start: i64,
    pub(super) step: i64,
    pub(super) count: usize,
}

impl Grid {
    /// From `start` up to `end`, both inside.
    pub(super) fn new(start: i64, end: i64, step: i64) -> Self {
        let step = step.max(1);
        let count = if end < start { 0 } else { ((end - start) / step) as usize + 1 };
        Self { start, step, count }
    }

    pub(super) fn time(self, at: usize) -> i64 {
        self.start + self.step * at as i64
    }

    pub(super) fn last(self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }

    pub(super) fn times(self) -> impl Iterator<Item = i64> {
        (0..self.count).map(move |at| self.time(at))
    }

    /// Its first step alone.
    pub(super) fn first_only(self) -> Self {
        Self { count: self.count.min(1), ..self }
    }
}

/// A value at a time.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Point {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// One series' values, step by step.
#[derive(Debug, Clone, Default)]
pub(super) struct Column {
    pub(super) values: Vec<f64>,
    /// Empty, or for each step: a histogram takes the value's place.
    pub(super) histograms: Vec<Option<Arc<Histogram>>>,
}

impl Column {
    pub(super) fn absent(count: usize) -> Self {
        Self { values: vec![ABSENT; count], histograms: Vec::new() }
    }

    pub(super) fn get(&self, at: usize) -> Option<Point> {
        if let Some(Some(histogram)) = self.histograms.get(at) {
            return Some(Point::Histogram(Arc::clone(histogram)));
        }
        Some(self.values[at]).filter(|&value| !is_absent(value)).map(Point::Float)
    }

    pub(super) fn histogram(&self, at: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(at)?.as_ref()
    }

    pub(super) fn is_present(&self, at: usize) -> bool {
        !is_absent(self.values[at])
    }

    pub(super) fn set(&mut self, at: usize, point: Option<Point>) {
        match point {
            None => {
                self.values[at] = ABSENT;
                if let Some(histogram) = self.histograms.get_mut(at) {
                    *histogram = None;
                }
            }
            Some(Point::Float(value)) => {
                self.values[at] = value;
                if let Some(histogram) = self.histograms.get_mut(at) {
                    *histogram = None;
                }
            }
            Some(Point::Histogram(histogram)) => {
                if self.histograms.is_empty() {
                    self.histograms.resize(self.values.len(), None);
                }
                self.values[at] = 0.0;
                self.histograms[at] = Some(histogram);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.iter().all(|&value| is_absent(value))
    }

    /// The first step's value at `count` steps.
    pub(super) fn repeated(&self, count: usize) -> Self {
        let histograms = self.histograms.first().map(|first| vec![first.clone(); count]).unwrap_or_default();
        Self { values: vec![self.values.first().copied().unwrap_or(ABSENT); count], histograms }
    }

    /// Applies `change` to the plain values; histograms go.
    pub(super) fn map_floats(mut self, change: impl Fn(f64) -> f64) -> Self {
        let histograms = std::mem::take(&mut self.histograms);
        for (at, value) in self.values.iter_mut().enumerate() {
            let is_histogram = histograms.get(at).is_some_and(Option::is_some);
            if is_histogram {
                *value = ABSENT;
            } else if !is_absent(*value) {
                *value = change(*value);
            }
        }
        self
    }

    /// Applies `change` to the histograms; plain values go.
    pub(super) fn map_histograms(self, change: impl Fn(&Histogram) -> f64) -> Self {
        let mut out = Self::absent(self.values.len());
        for (at, histogram) in self.histograms.iter().enumerate() {
            if let Some(histogram) = histogram {
                out.values[at] = change(histogram);
            }
        }
        out
    }
}

/// A column with its labels.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) labels: Arc<Labels>,
    /// The name is still among the labels, and goes at the end.
    pub(super) drop_name: bool,
    pub(super) column: Column,
}

impl Series {
    pub(super) fn name(&self) -> &str {
        self.labels.get(NAME).unwrap_or_default()
    }
}

/// What an expression evaluates to.
#[derive(Debug, Clone)]
pub(super) enum Evaluated {
    /// A number a step.
    Scalar(Vec<f64>),
    String(String),
    Vector(Vec<Series>),
}

/// The label of a metric's name.
pub(super) const NAME: &str = "__name__";
const TYPE: &str = "__type__";
const UNIT: &str = "__unit__";

/// The labels that say what a metric is: they go when a value is not the metric's any more.
pub(super) fn is_metadata(name: &str) -> bool {
    matches!(name, NAME | TYPE | UNIT)
}

/// The labels that pass.
pub(super) fn filtered(labels: &Labels, keep: impl Fn(&str) -> bool) -> Labels {
    Labels::of_sorted(labels.iter().filter(|(name, _)| keep(name)))
}

/// With a label set; an empty value takes it out.
pub(super) fn with_label(labels: &Labels, name: &str, value: &str) -> Labels {
    let others = labels.iter().filter(|(other, _)| *other != name);
    let own = Some((name, value)).filter(|_| !value.is_empty());
    Labels::new(others.chain(own))
}
