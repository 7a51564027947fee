//! What functions make of one window of samples, after Prometheus's `functions.go`.

use std::sync::Arc;

use storage::metrics::{Histogram, ResetHint};

use super::annotate::{HistogramOperation, Note};
use super::column::Point;
use super::ranges::{Total, Window};
use super::rate::is_start_reset;
use crate::error::QueryError;
use crate::promql::histogram::{self, HistogramError};
use crate::promql::kahan;

/// The functions that take nothing but a window.
pub(super) fn aggregate(function: &str, w: &Window<'_>) -> Option<Point> {
    match function {
        "sum_over_time" => sum(w),
        "avg_over_time" => average(w),
        "count_over_time" => Some(Point::Float((w.float_count() + w.histogram_count) as f64)),
        "present_over_time" | "absent_over_time" => Some(Point::Float(1.0)),
        "first_over_time" => Some(end(w, false)),
        "last_over_time" => Some(end(w, true)),
        "ts_of_first_over_time" => Some(Point::Float(times(w).min()? as f64 / 1000.0)),
        "ts_of_last_over_time" => Some(Point::Float(times(w).max()? as f64 / 1000.0)),
        "min_over_time" => extreme(w, Total::Min, |value, best| value < best).map(|(_, value)| Point::Float(value)),
        "max_over_time" => extreme(w, Total::Max, |value, best| value > best).map(|(_, value)| Point::Float(value)),
        "ts_of_min_over_time" => extreme(w, Total::Min, |value, best| value <= best).map(seconds),
        "ts_of_max_over_time" => extreme(w, Total::Max, |value, best| value >= best).map(seconds),
        "stddev_over_time" => variance(w).map(|variance| Point::Float(variance.sqrt())),
        "stdvar_over_time" => variance(w).map(Point::Float),
        "mad_over_time" => deviation(w).map(Point::Float),
        "deriv" => deriv(w).map(Point::Float),
        _ => None,
    }
}

fn times<'w>(w: &'w Window<'_>) -> impl Iterator<Item = i64> + 'w {
    w.floats.times.iter().chain(w.histograms.times).copied()
}

fn end(w: &Window<'_>, last: bool) -> Point {
    let at = |len: usize| if last { len.saturating_sub(1) } else { 0 };
    let float = w.floats.times.get(at(w.floats.len()));
    let histogram = w.histograms.times.get(at(w.histograms.len()));
    let is_float = match (float, histogram) {
        (Some(float), Some(histogram)) => {
            if last {
                histogram < float
            } else {
                float < histogram
            }
        }
        (float, _) => float.is_some(),
    };
    match is_float {
        true => Point::Float(w.floats.values[at(w.floats.len())]),
        false => Point::Histogram(Arc::clone(&w.histograms.values[at(w.histograms.len())])),
    }
}

fn sum(w: &Window<'_>) -> Option<Point> {
    if w.histograms.is_empty() {
        let (mut sum, mut lost) = (0.0, 0.0);
        w.values(Total::Sum).iter().for_each(|&value| kahan::increment(value, &mut sum, &mut lost));
        return Some(Point::Float(if f64::is_infinite(sum) { sum } else { sum + lost }));
    }
    one_kind(w)?;
    let sum = combined(w, |histograms| {
        let mut sum = histograms[0].as_ref().clone();
        let (mut lost, mut reconciled) = (None, false);
        for h in &histograms[1..] {
            reconciled |= histogram::kahan_add(&mut sum, h, &mut lost)?.bounds_reconciled;
        }
        if let Some(lost) = lost {
            reconciled |= histogram::add(&mut sum, &lost)?.bounds_reconciled;
        }
        Ok((sum, reconciled))
    })?;
    Some(Point::Histogram(Arc::new(sum)))
}

fn average(w: &Window<'_>) -> Option<Point> {
    if w.histograms.is_empty() && w.coarse.is_some() {
        let sum = sum(w)?;
        return Some(if let Point::Float(sum) = sum { Point::Float(sum / w.float_count() as f64) } else { sum });
    }
    if w.histograms.is_empty() {
        return Some(Point::Float(average_of(w.floats.values)));
    }
    one_kind(w)?;
    let mean = combined(w, |histograms| {
        let mut mean = HistogramMean::new(&histograms[0]);
        let mut reconciled = false;
        for h in &histograms[1..] {
            reconciled |= mean.add(h)?;
        }
        Ok((mean.finish()?, reconciled))
    })?;
    Some(Point::Histogram(Arc::new(mean)))
}

/// Says that plain values and histograms are mixed, if so.
fn one_kind(w: &Window<'_>) -> Option<()> {
    if w.floats.is_empty() {
        return Some(());
    }
    w.note(&Note::MixedFloatsHistograms { metric: w.name });
    None
}

/// Combines the histograms of a window, and says what there is to say.
fn combined(
    w: &Window<'_>,
    combine: impl FnOnce(&[Arc<Histogram>]) -> Result<(Histogram, bool), HistogramError>,
) -> Option<Histogram> {
    let hinted = |hint| w.histograms.values.iter().any(|h| h.reset_hint == hint);
    match combine(w.histograms.values) {
        Ok((result, reconciled)) => {
            if hinted(ResetHint::Reset) && hinted(ResetHint::NotReset) {
                w.note(&Note::ResetCollision(HistogramOperation::Aggregation));
            }
            if reconciled {
                w.note(&Note::MismatchedCustomBuckets(HistogramOperation::Aggregation));
            }
            Some(result)
        }
        Err(HistogramError::IncompatibleSchema) => {
            w.note(&Note::MixedExponentialCustom { metric: w.name });
            None
        }
    }
}

/// The mean of plain values: of their sum as long as that is finite, else step by step.
pub(super) fn average_of(values: &[f64]) -> f64 {
    let Some((&first, rest)) = values.split_first() else { return f64::NAN };
    let mut mean = FloatMean::new(first);
    rest.iter().for_each(|&value| mean.add(value));
    mean.finish()
}

/// A mean that is being made.
#[derive(Debug, Clone, Copy)]
pub(super) struct FloatMean {
    sum: f64,
    mean: f64,
    lost: f64,
    count: f64,
    step_by_step: bool,
}

impl FloatMean {
    pub(super) fn new(first: f64) -> Self {
        Self::of(first, 0.0, 1.0)
    }

    /// Of what is summed up already.
    pub(super) fn of(sum: f64, lost: f64, count: f64) -> Self {
        Self { sum, mean: 0.0, lost, count, step_by_step: false }
    }

    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.step_by_step {
            let (mut sum, mut lost) = (self.sum, self.lost);
            kahan::increment(value, &mut sum, &mut lost);
            if !sum.is_infinite() {
                (self.sum, self.lost) = (sum, lost);
                return;
            }
            self.step_by_step = true;
            self.mean = self.sum / (self.count - 1.0);
            self.lost /= self.count - 1.0;
        }
        let share = (self.count - 1.0) / self.count;
        self.mean *= share;
        self.lost *= share;
        kahan::increment(value / self.count, &mut self.mean, &mut self.lost);
    }

    pub(super) fn finish(self) -> f64 {
        match self.step_by_step {
            true => self.mean + self.lost,
            false => self.sum / self.count + self.lost / self.count,
        }
    }
}

/// The same of histograms.
#[derive(Debug, Clone)]
pub(super) struct HistogramMean {
    sum: Histogram,
    lost: Option<Histogram>,
    count: f64,
    step_by_step: bool,
}

impl HistogramMean {
    pub(super) fn new(first: &Histogram) -> Self {
        Self { sum: first.clone(), lost: None, count: 1.0, step_by_step: false }
    }

    /// Answers whether custom bounds had to be reconciled.
    pub(super) fn add(&mut self, h: &Histogram) -> Result<bool, HistogramError> {
        self.count += 1.0;
        if !self.step_by_step {
            let (mut sum, mut lost) = (self.sum.clone(), self.lost.clone());
            let outcome = histogram::kahan_add(&mut sum, h, &mut lost)?;
            if !histogram::has_overflow(&sum) {
                (self.sum, self.lost) = (sum, lost);
                return Ok(outcome.bounds_reconciled);
            }
            self.step_by_step = true;
            histogram::divide(&mut self.sum, self.count - 1.0);
            if let Some(lost) = &mut self.lost {
                histogram::divide(lost, self.count - 1.0);
            }
        }
        let share = (self.count - 1.0) / self.count;
        if let Some(lost) = &mut self.lost {
            histogram::scale(lost, share);
        }
        histogram::scale(&mut self.sum, share);
        let mut part = h.clone();
        histogram::divide(&mut part, self.count);
        Ok(histogram::kahan_add(&mut self.sum, &part, &mut self.lost)?.bounds_reconciled)
    }

    pub(super) fn finish(mut self) -> Result<Histogram, HistogramError> {
        if !self.step_by_step {
            histogram::divide(&mut self.sum, self.count);
            if let Some(lost) = &mut self.lost {
                histogram::divide(lost, self.count);
            }
        }
        if let Some(lost) = &self.lost {
            histogram::add(&mut self.sum, lost)?;
        }
        Ok(self.sum)
    }
}

fn seconds((time, _): (i64, f64)) -> Point {
    Point::Float(time as f64 / 1000.0)
}

/// Time and value of the sample that beats all others; one that is NaN is beaten by any.
fn extreme(w: &Window<'_>, of: Total, beats: impl Fn(f64, f64) -> bool) -> Option<(i64, f64)> {
    let values = w.values(of);
    let mut best = (*w.floats.times.first()?, *values.first()?);
    w.note_ignored_histograms();
    for (&time, &value) in w.floats.times.iter().zip(values) {
        if beats(value, best.1) || best.1.is_nan() {
            best = (time, value);
        }
    }
    Some(best)
}

fn variance(w: &Window<'_>) -> Option<f64> {
    if w.floats.is_empty() {
        return None;
    }
    w.note_ignored_histograms();
    let (mut count, mut mean, mut mean_lost, mut sum, mut sum_lost) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for &value in w.floats.values {
        count += 1.0;
        let delta = value - (mean + mean_lost);
        kahan::increment(delta / count, &mut mean, &mut mean_lost);
        kahan::increment(delta * (value - (mean + mean_lost)), &mut sum, &mut sum_lost);
    }
    Some((sum + sum_lost) / count)
}

fn deviation(w: &Window<'_>) -> Option<f64> {
    if w.floats.is_empty() {
        return None;
    }
    w.note_ignored_histograms();
    if w.floats.values.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let mut values = w.floats.values.to_vec();
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    Some(quantile(0.5, &mut values))
}

pub(super) fn quantile_over_time(w: &Window<'_>, q: f64) -> Option<f64> {
    if w.floats.is_empty() {
        return None;
    }
    if !(0.0..=1.0).contains(&q) {
        w.note(&Note::InvalidQuantile(q));
    }
    w.note_ignored_histograms();
    Some(quantile(q, &mut w.floats.values.to_vec()))
}

/// The quantile of values, which are sorted; NaN counts as less than all others.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let order = |a: &f64, b: &f64| {
        b.is_nan().cmp(&a.is_nan()).then_with(|| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    };
    let (_, &mut at, above) = values.select_nth_unstable_by(lower, order);
    let next = above.iter().copied().min_by(order).unwrap_or(at);
    let weight = rank - rank.floor();
    at * (1.0 - weight) + next * weight
}

fn deriv(w: &Window<'_>) -> Option<f64> {
    let first = *enough(w)?;
    Some(regression(w, first).0)
}

pub(super) fn predict_linear(w: &Window<'_>, seconds: f64) -> Option<f64> {
    enough(w)?;
    let (slope, intercept) = regression(w, w.time);
    Some(slope * seconds + intercept)
}

/// The first time, when there are two samples or more.
fn enough<'w>(w: &'w Window<'_>) -> Option<&'w i64> {
    if !w.floats.is_empty() {
        w.note_ignored_histograms();
    }
    w.floats.times.first().filter(|_| w.floats.len() >= 2)
}

/// Slope and intercept of the line through the samples, with time counted from `origin`.
fn regression(w: &Window<'_>, origin: i64) -> (f64, f64) {
    let first = w.floats.values[0];
    if w.floats.values.iter().all(|&value| value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let mut sums = [(0.0, 0.0); 4];
    let mut n = 0.0;
    for (&time, &y) in w.floats.times.iter().zip(w.floats.values) {
        n += 1.0;
        let x = (time - origin) as f64 / 1e3;
        for ((sum, lost), value) in sums.iter_mut().zip([x, y, x * y, x * x]) {
            kahan::increment(value, sum, lost);
        }
    }
    let [x, y, xy, xx] = sums.map(|(sum, lost)| sum + lost);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// `double_exponential_smoothing`.
pub(super) fn smoothing(w: &Window<'_>, smoothing: f64, trend: f64) -> Result<Option<f64>, QueryError> {
    for (what, factor, short) in [("smoothing", smoothing, "sf"), ("trend", trend, "tf")] {
        if factor <= 0.0 || factor >= 1.0 {
            let message = format!("invalid {what} factor. Expected: 0 < {short} < 1, got: {factor:.6}");
            return Err(QueryError::Execution(message));
        }
    }
    if enough(w).is_none() {
        return Ok(None);
    }
    let values = w.floats.values;
    let (mut before, mut now, mut slope) = (0.0, values[0], values[1] - values[0]);
    for (at, &value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (now - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (now + slope);
        (before, now) = (now, next);
    }
    Ok(Some(now))
}

/// A sample of a window in which plain values and histograms may be mixed.
struct Mixed<'w> {
    time: i64,
    start: i64,
    value: MixedValue<'w>,
}

enum MixedValue<'w> {
    Float(f64),
    Histogram(&'w Histogram),
}

/// All samples of a window by time; of an anchored one those before its start but for the last. `None` when nothing is
/// to be measured.
fn mixed<'w>(w: &'w Window<'_>, anchored: bool) -> Option<Vec<Mixed<'w>>> {
    let floats = w.floats.times.iter().enumerate().map(|(at, &time)| Mixed {
        time,
        start: w.floats.starts.get(at).copied().unwrap_or(0),
        value: MixedValue::Float(w.floats.values[at]),
    });
    let histograms = w.histograms.times.iter().enumerate().map(|(at, &time)| Mixed {
        time,
        start: w.histograms.starts.get(at).copied().unwrap_or(0),
        value: MixedValue::Histogram(&w.histograms.values[at]),
    });
    let mut all: Vec<Mixed<'w>> = floats.chain(histograms).collect();
    all.sort_by_key(|sample| sample.time);
    if anchored {
        let inside = all.partition_point(|sample| sample.time <= w.start);
        if inside >= all.len() {
            return None;
        }
        all.drain(..inside.saturating_sub(1));
    }
    Some(all)
}

pub(super) fn resets(w: &Window<'_>, anchored: bool) -> Option<f64> {
    let all = mixed(w, anchored)?;
    let is_reset = |pair: &&[Mixed<'_>]| {
        let (a, b) = (&pair[0], &pair[1]);
        let by_start = || is_start_reset(a.start, a.time, b.start, b.time);
        match (&a.value, &b.value) {
            (MixedValue::Float(before), MixedValue::Float(after)) => after < before || by_start(),
            (MixedValue::Histogram(before), MixedValue::Histogram(after)) => {
                by_start() || histogram::detect_reset(after, before)
            }
            _ => true,
        }
    };
    Some(all.windows(2).filter(is_reset).count() as f64)
}

pub(super) fn changes(w: &Window<'_>, anchored: bool) -> Option<f64> {
    let all = mixed(w, anchored)?;
    let is_change = |pair: &&[Mixed<'_>]| match (&pair[0].value, &pair[1].value) {
        (MixedValue::Float(before), MixedValue::Float(after)) => {
            after != before && !(after.is_nan() && before.is_nan())
        }
        (MixedValue::Histogram(before), MixedValue::Histogram(after)) => !histogram::equals(after, before),
        _ => true,
    };
    Some(all.windows(2).filter(is_change).count() as f64)
}
