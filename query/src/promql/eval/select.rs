//! Selectors: from samples to a value a step.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::Labels;
use storage::metrics::{Histogram, ResetHint, is_stale};

use super::Evaluator;
use super::annotate::Note;
use super::column::{ABSENT, Column, NAME, Point, Series};
use super::counts::{Buckets, without_buckets};
use super::prepare::ms;
use super::rate::{interpolate, interpolate_histograms};
use crate::error::QueryError;
use crate::parallel;
use crate::promql::ast::{At, Edges, Span, VectorSelector};
use crate::promql::histogram;
use crate::promql::source::{Coarse, Samples, SeriesSet};
use crate::stats::Counters;

/// Series that one thread works on at a time.
pub(super) const SERIES_AT_A_TIME: usize = 32;
/// Where samples were left out, so many times the distance of those that are left is looked back, if that is more: the
/// last one of a span may be followed by the last one of the next nearly two spans later.
const COARSE_LOOKBACK: i64 = 2;

/// What of the sample that counts at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Its value.
    Value,
    /// Its time, in seconds.
    Time,
    /// When its counting began, in seconds.
    Start,
    /// Its time, in milliseconds; of plain samples alone.
    TimeMs,
}

impl Evaluator<'_> {
    /// The value of each series at each step: its newest sample, if that is not too old.
    pub(super) fn select(&self, selector: &VectorSelector, span: Span, of: Of) -> Result<Vec<Series>, QueryError> {
        let lookback = self.options.lookback_ms;
        let (first, last) = self.reference_times(selector);
        let smoothed = selector.edges == Edges::Smoothed && of == Of::Value;
        let after = if smoothed { lookback } else { 0 };
        let before = lookback.max(COARSE_LOOKBACK * self.source.resolution_ms(first - lookback + 1, last));
        let set = self.source.select(&selector.matchers, first - before + 1, last + after)?;
        self.columns(set.as_ref(), |labels, samples| {
            Ok(if smoothed {
                self.smoothed(selector, span, labels, samples)
            } else {
                self.newest(selector, labels, samples, of)?
            })
        })
    }

    /// The times that the first and the last step look at.
    pub(super) fn reference_times(&self, selector: &VectorSelector) -> (i64, i64) {
        let offset = selector.offset.as_ref().map_or(0, ms);
        match selector.at {
            Some(At::Time(time)) => (time - offset, time - offset),
            _ => (self.grid.start - offset, self.grid.last() - offset),
        }
    }

    /// The time that a step looks at.
    pub(super) fn reference_time(&self, selector: &VectorSelector, step: usize) -> i64 {
        let offset = selector.offset.as_ref().map_or(0, ms);
        match selector.at {
            Some(At::Time(time)) => time - offset,
            _ => self.grid.time(step) - offset,
        }
    }

    /// Makes a column of each series, on all threads; series without any value are left out.
    pub(super) fn columns(
        &self,
        set: &dyn SeriesSet,
        column: impl Fn(&Labels, &Samples) -> Result<Column, QueryError> + Sync,
    ) -> Result<Vec<Series>, QueryError> {
        let mut all = Vec::with_capacity(set.labels().len());
        self.waves(set, set.labels().len().max(1), column, &mut |series| {
            all.extend(series);
            Ok(())
        })?;
        Ok(all)
    }

    /// As [`Self::columns`], but hands over `wave` series at a time, in order.
    pub(super) fn waves(
        &self,
        set: &dyn SeriesSet,
        wave: usize,
        column: impl Fn(&Labels, &Samples) -> Result<Column, QueryError> + Sync,
        take: &mut dyn FnMut(Vec<Series>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let labels = set.labels();
        let taken = AtomicU64::new(0);
        let mut from = 0;
        while from < labels.len() {
            // Of the wave before nothing is left but what was made of it.
            self.budget.give(taken.swap(0, Ordering::Relaxed));
            let to = labels.len().min(from + wave);
            let runs: Vec<(usize, usize)> =
                (from..to).step_by(SERIES_AT_A_TIME).map(|at| (at, to.min(at + SERIES_AT_A_TIME))).collect();
            let done = parallel::for_each(
                (self.pool, &Counters::default()),
                &runs,
                Vec::new,
                |done: &mut Vec<(usize, Vec<Series>)>, _, run| {
                    self.budget.check()?;
                    let mut found = Vec::with_capacity(run.1 - run.0);
                    set.read(run.0..run.1, &mut |at, samples| {
                        self.count_samples(samples.len())?;
                        let only_counts = self.buckets == Buckets::Unwanted && !samples.histograms.is_empty();
                        let counts = only_counts.then(|| without_buckets(samples));
                        let column = column(&labels[at], counts.as_ref().unwrap_or(samples))?;
                        if !column.is_empty() {
                            found.push(Series { labels: Arc::clone(&labels[at]), drop_name: false, column });
                        }
                        Ok(())
                    })?;
                    let bytes = (found.len() * self.grid.count * size_of::<f64>()) as u64;
                    taken.fetch_add(bytes, Ordering::Relaxed);
                    self.budget.take(bytes)?;
                    done.push((run.0, found));
                    Ok(())
                },
            )?;
            let mut done: Vec<(usize, Vec<Series>)> = done.into_iter().flatten().collect();
            done.sort_unstable_by_key(|(at, _)| *at);
            take(done.into_iter().flat_map(|(_, series)| series).collect())?;
            from = to;
        }
        Ok(())
    }

    fn newest(
        &self,
        selector: &VectorSelector,
        labels: &Labels,
        samples: &Samples,
        of: Of,
    ) -> Result<Column, QueryError> {
        let mut column = Column::absent(self.grid.count);
        let lookback = self.options.lookback_ms;
        let mut next = 0;
        for step in 0..self.grid.count {
            let reference = self.reference_time(selector, step);
            next += samples.timestamps[next..].iter().take_while(|&&time| time <= reference).count();
            let Some(at) = next.checked_sub(1) else { continue };
            let time = samples.timestamps[at];
            let resolution = samples.coarse.as_ref().map_or(0, |coarse| i64::from(coarse.resolution_ms[at]));
            if time <= reference - lookback.max(COARSE_LOOKBACK * resolution) {
                continue;
            }
            let histogram = histogram_at(samples, at);
            let value = samples.values[at];
            let is_stale = histogram.map_or(is_stale(value), |histogram| is_stale(histogram.sum));
            if is_stale {
                continue;
            }
            let point = match (of, histogram) {
                (Of::Value, None) => Point::Float(value),
                (Of::Value, Some(histogram)) => Point::Histogram(Arc::clone(histogram)),
                (Of::Time, _) => Point::Float(time as f64 / 1000.0),
                (Of::Start, _) => Point::Float(samples.starts.get(at).copied().unwrap_or(0) as f64 / 1000.0),
                (Of::TimeMs, None) => Point::Float(time as f64),
                (Of::TimeMs, Some(_)) => {
                    let message = format!("this should be an info metric, with float samples: {}", metric_text(labels));
                    return Err(QueryError::Execution(message));
                }
            };
            column.set(step, Some(point));
        }
        Ok(column)
    }

    /// Between two samples, the value on the line between them.
    fn smoothed(&self, selector: &VectorSelector, span: Span, labels: &Labels, samples: &Samples) -> Column {
        let mut column = Column::absent(self.grid.count);
        let lookback = self.options.lookback_ms;
        let name = labels.get(NAME).unwrap_or_default();
        let split = Split::of(samples);
        for step in 0..self.grid.count {
            let at = self.reference_time(selector, step);
            let (floats, histograms) = split.between(at - lookback, at + lookback);
            if !floats.is_empty() && !histograms.is_empty() {
                self.notes.add(span, &Note::MixedFloatsHistograms { metric: name });
                continue;
            }
            if histograms.is_empty() {
                let i = floats.times.partition_point(|&time| time < at);
                let value = match (i.checked_sub(1), floats.times.get(i)) {
                    (_, Some(&time)) if time == at => floats.values[i],
                    (Some(before), Some(_)) => interpolate(
                        (floats.times[before], floats.values[before]),
                        (floats.times[i], floats.values[i]),
                        at,
                        false,
                    ),
                    (Some(before), None) => floats.values[before],
                    (None, _) => ABSENT,
                };
                column.values[step] = value;
                continue;
            }
            let i = histograms.times.partition_point(|&time| time < at);
            let point = match (i.checked_sub(1), histograms.times.get(i)) {
                (_, Some(&time)) if time == at => Some(Arc::clone(&histograms.values[i])),
                (Some(before), Some(_)) => {
                    let (previous, next) = (&histograms.values[before], &histograms.values[i]);
                    if histogram::is_custom(previous) != histogram::is_custom(next) {
                        self.notes.add(span, &Note::MixedExponentialCustom { metric: name });
                        continue;
                    }
                    let is_counter = previous.reset_hint != ResetHint::Gauge || next.reset_hint != ResetHint::Gauge;
                    let (t1, t2) = (histograms.times[before], histograms.times[i]);
                    let between = interpolate_histograms(self.notes, span, (t1, previous), (t2, next), at, is_counter);
                    match between {
                        Ok(between) => Some(Arc::new(between)),
                        Err(_) => {
                            self.notes.add(span, &Note::MixedExponentialCustom { metric: name });
                            None
                        }
                    }
                }
                (Some(before), None) => {
                    let mut last = histograms.values[before].as_ref().clone();
                    last.reset_hint = ResetHint::Unknown;
                    Some(Arc::new(last))
                }
                (None, _) => None,
            };
            column.set(step, point.map(Point::Histogram));
        }
        column
    }
}

/// The histogram of a sample, if it is one.
pub(super) fn histogram_at(samples: &Samples, at: usize) -> Option<&Arc<Histogram>> {
    if samples.histograms.is_empty() {
        return None;
    }
    let found = samples.histograms.binary_search_by_key(&(at as u32), |(row, _)| *row).ok()?;
    samples.histograms.get(found).map(|(_, histogram)| histogram)
}

/// As Prometheus writes a metric: `name{a="b"}`.
pub(super) fn metric_text(labels: &Labels) -> String {
    let name = labels.get(NAME).unwrap_or_default();
    let others: Vec<String> =
        labels.iter().filter(|(label, _)| *label != NAME).map(|(label, value)| format!("{label}={value:?}")).collect();
    if others.is_empty() && !name.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", others.join(", ")) }
}

/// Times, values and starts, as in [`Slice`].
type Columns<'s> = (Cow<'s, [i64]>, Cow<'s, [f64]>, Cow<'s, [i64]>);

/// The samples of a series without stale markers, plain ones and histograms apart.
#[derive(Debug)]
pub(super) struct Split<'s> {
    floats: Columns<'s>,
    histograms: (Vec<i64>, Vec<Arc<Histogram>>, Vec<i64>),
    /// What the plain samples stand for, where some were left out.
    coarse: Option<Cow<'s, Coarse>>,
    /// How many samples each histogram stands for, likewise.
    histogram_counts: Vec<u32>,
}

/// Some samples of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice<'s, V> {
    pub(super) times: &'s [i64],
    pub(super) values: &'s [V],
    /// Empty, or of each when its counting began (0: not said).
    pub(super) starts: &'s [i64],
}

impl<'s, V> Slice<'s, V> {
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Those of some rows.
    pub(super) fn rows(&self, rows: std::ops::Range<usize>) -> Slice<'s, V> {
        let starts = if self.starts.is_empty() { &[] } else { &self.starts[rows.clone()] };
        Slice { times: &self.times[rows.clone()], values: &self.values[rows], starts }
    }
}

impl<'s> Split<'s> {
    pub(super) fn of(samples: &'s Samples) -> Self {
        if samples.histograms.is_empty() && !samples.values.iter().any(|&value| is_stale(value)) {
            let floats = (&samples.timestamps, &samples.values, &samples.starts);
            let floats = (Cow::Borrowed(floats.0.as_slice()), Cow::from(floats.1), Cow::from(floats.2));
            let coarse = samples.coarse.as_deref().map(Cow::Borrowed);
            return Self { floats, histograms: Default::default(), coarse, histogram_counts: Vec::new() };
        }
        let (mut times, mut values, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let mut own = (Vec::new(), Vec::new(), Vec::new());
        let (mut rows, mut histogram_counts) = (Vec::new(), Vec::new());
        let mut histograms = samples.histograms.iter().peekable();
        for (row, (&time, &value)) in samples.timestamps.iter().zip(&samples.values).enumerate() {
            let start = samples.starts.get(row).copied();
            match histograms.next_if(|(at, _)| *at as usize == row) {
                Some((_, histogram)) if !is_stale(histogram.sum) => {
                    own.0.push(time);
                    own.1.push(Arc::clone(histogram));
                    own.2.extend(start);
                    histogram_counts.extend(samples.coarse.as_ref().map(|coarse| coarse.count[row]));
                }
                None if !is_stale(value) => {
                    times.push(time);
                    values.push(value);
                    starts.extend(start);
                    rows.push(row as u32);
                }
                _ => {}
            }
        }
        let floats = (Cow::Owned(times), Cow::Owned(values), Cow::Owned(starts));
        let coarse = samples.coarse.as_ref().map(|coarse| Cow::Owned(coarse.rows(&rows)));
        Self { floats, histograms: own, coarse, histogram_counts }
    }

    pub(super) fn floats(&self) -> Slice<'_, f64> {
        Slice { times: &self.floats.0, values: &self.floats.1, starts: &self.floats.2 }
    }

    pub(super) fn histograms(&self) -> Slice<'_, Arc<Histogram>> {
        Slice { times: &self.histograms.0, values: &self.histograms.1, starts: &self.histograms.2 }
    }

    /// What the plain samples stand for, where some were left out.
    pub(super) fn coarse(&self) -> Option<&Coarse> {
        self.coarse.as_deref()
    }

    /// How many samples each histogram stands for, where some were left out; else empty.
    pub(super) fn histogram_counts(&self) -> &[u32] {
        &self.histogram_counts
    }

    /// Those after `start` up to `end`.
    fn between(&self, start: i64, end: i64) -> (Slice<'_, f64>, Slice<'_, Arc<Histogram>>) {
        let rows = |times: &[i64]| {
            let from = times.partition_point(|&time| time <= start);
            from..times.partition_point(|&time| time <= end).max(from)
        };
        let (floats, histograms) = (self.floats(), self.histograms());
        (floats.rows(rows(floats.times)), histograms.rows(rows(histograms.times)))
    }
}
