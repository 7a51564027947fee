//! `rate`, `increase`, `delta`, `irate`, `idelta`: Prometheus's extrapolation to the bounds of the range, and its
//! `anchored` and `smoothed` forms.

use std::sync::Arc;

use storage::metrics::{Histogram, ResetHint};

use super::annotate::{HistogramOperation, Note, Notes};
use super::column::Point;
use super::ranges::Window;
use super::select::Slice;
use crate::promql::ast::Span;
use crate::promql::histogram::{self, HistogramError};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// Resets count; `delta` and `idelta` take values as they are.
    pub(super) is_counter: bool,
    /// A second, not the whole range.
    pub(super) is_rate: bool,
}

/// The value on the line between two samples; a counter that was reset between them began at 0.
pub(super) fn interpolate((t1, v1): (i64, f64), (t2, v2): (i64, f64), at: i64, is_counter: bool) -> f64 {
    let v1 = if is_counter && v2 < v1 { 0.0 } else { v1 };
    v1 + (v2 - v1) * (at - t1) as f64 / (t2 - t1) as f64
}

/// The histogram on the line between two.
///
/// # Errors
/// One has custom buckets and the other exponential ones.
pub(super) fn interpolate_histograms(
    notes: &Notes,
    span: Span,
    (t1, h1): (i64, &Histogram),
    (t2, h2): (i64, &Histogram),
    at: i64,
    is_counter: bool,
) -> Result<Histogram, HistogramError> {
    if at == t1 {
        return Ok(h1.clone());
    }
    let mut result = h2.clone();
    if at == t2 {
        return Ok(result);
    }
    let fraction = (at - t1) as f64 / (t2 - t1) as f64;
    if is_counter && histogram::detect_reset(h2, h1) {
        histogram::scale(&mut result, fraction);
        return Ok(result);
    }
    let outcome = histogram::sub(&mut result, h1)?;
    if outcome.bounds_reconciled {
        notes.add(span, &Note::MismatchedCustomBuckets(HistogramOperation::Subtraction));
    }
    histogram::scale(&mut result, fraction);
    let outcome = histogram::add(&mut result, h1)?;
    if outcome.bounds_reconciled {
        notes.add(span, &Note::MismatchedCustomBuckets(HistogramOperation::Addition));
    }
    Ok(result)
}

/// Whether the counting began anew between two samples, by what they say.
pub(super) fn is_start_reset(previous_start: i64, previous: i64, start: i64, time: i64) -> bool {
    if start == 0 || start >= time || start < previous {
        return false;
    }
    if start > previous {
        return true;
    }
    // It begins with the sample before: so do the points of a delta, and a cumulative point of unknown start.
    previous_start <= previous && previous_start != 0 && previous_start != previous
}

fn starts_overlap(previous_start: i64, previous: i64, start: i64) -> bool {
    start != 0 && start < previous && start != previous_start
}

/// `rate`, `increase`, `delta`.
pub(super) fn extrapolated(w: &Window<'_>, kind: Kind) -> Option<Point> {
    let (floats, histograms) = (&w.floats, &w.histograms);
    if !floats.is_empty() && !histograms.is_empty() {
        w.note(&Note::MixedFloatsHistograms { metric: w.name });
        return None;
    }
    if histograms.is_empty() {
        let last = floats.len().checked_sub(1)?;
        let mut result = floats.values[last] - floats.values[0];
        if kind.is_counter {
            result += w.resets.map_or_else(|| corrections(w, floats), |resets| resets.between(w.first_row, last));
        }
        let factors = factors(w, kind, floats, result, floats.values[0])?;
        if factors.began_inside {
            result += floats.values[0];
        }
        return Some(Point::Float(result * factors.factor));
    }
    let mut result = None;
    if histograms.len() > 1 {
        result = Some(histogram_increase(w, kind.is_counter)?);
    }
    let first = &histograms.values[0];
    let factors = factors(w, kind, histograms, result.as_ref().map_or(0.0, |h| h.count), first.count)?;
    if factors.began_inside {
        match &mut result {
            None => result = Some(first.as_ref().clone()),
            Some(sum) => add(w, sum, first, HistogramOperation::Addition)?,
        }
    }
    let mut result = result?;
    histogram::scale(&mut result, factors.factor);
    Some(Point::Histogram(Arc::new(result)))
}

/// What resets took away.
fn corrections(w: &Window<'_>, floats: &Slice<'_, f64>) -> f64 {
    let (mut sum, mut overlap) = (0.0, false);
    for at in 1..floats.len() {
        let (previous, value) = (floats.values[at - 1], floats.values[at]);
        let mut reset = value < previous;
        if let (Some(&previous_start), Some(&start)) = (floats.starts.get(at - 1), floats.starts.get(at)) {
            if !overlap && starts_overlap(previous_start, floats.times[at - 1], start) {
                w.note(&Note::StartTimeOverlap { metric: w.name });
                overlap = true;
            }
            reset |= is_start_reset(previous_start, floats.times[at - 1], start, floats.times[at]);
        }
        if reset {
            sum += previous;
        }
    }
    sum
}

struct Factors {
    factor: f64,
    /// The counting began inside of the range: the first sample counts from 0.
    began_inside: bool,
}

/// What to multiply an increase between samples by, so that it stands for the whole range.
fn factors<V>(w: &Window<'_>, kind: Kind, samples: &Slice<'_, V>, increase: f64, first: f64) -> Option<Factors> {
    let gaps = samples.len() - 1;
    let (first_time, last_time) = (samples.times[0], samples.times[gaps]);
    let mut to_start = (first_time - w.start) as f64 / 1000.0;
    let mut to_end = (w.end - last_time) as f64 / 1000.0;
    let mut sampled = (last_time - first_time) as f64 / 1000.0;
    let average = if gaps > 0 { sampled / gaps as f64 } else { 0.0 };
    let threshold = average * 1.1;
    let start = samples.starts.first().copied().filter(|&s| s != 0 && s > w.start && s < first_time);
    let began_inside = kind.is_counter && start.is_some();
    if let (true, Some(start)) = (began_inside, start) {
        to_start = 0.0;
        sampled = (last_time - start) as f64 / 1000.0;
    } else if gaps == 0 {
        return None;
    } else {
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        // A counter is never negative: it began when it would have been 0, or later.
        if kind.is_counter && increase > 0.0 && first >= 0.0 {
            to_start = to_start.min(sampled * (first / increase));
        }
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    if kind.is_rate {
        factor /= w.range as f64 / 1000.0;
    }
    Some(Factors { factor, began_inside })
}

fn histogram_increase(w: &Window<'_>, is_counter: bool) -> Option<Histogram> {
    let points = &w.histograms;
    let last = points.values.last()?;
    let (first, second) = (&points.values[0], &points.values[1]);
    let is_gauge = |h: &Histogram| h.reset_hint == ResetHint::Gauge;
    if is_counter && (is_gauge(first) || is_gauge(last)) {
        w.note(&Note::NotCounter { metric: w.name });
    }
    let start_reset = |at: usize| match (points.starts.get(at - 1), points.starts.get(at)) {
        (Some(&previous), Some(&start)) => is_start_reset(previous, points.times[at - 1], start, points.times[at]),
        _ => false,
    };
    let mut previous = Arc::clone(first);
    // After a reset between the first two, the first one's layout does not matter.
    if is_counter && (start_reset(1) || histogram::detect_reset(second, first)) {
        let (schema, custom_values) = (second.schema, second.custom_values.clone());
        previous = Arc::new(Histogram { schema, custom_values, ..Histogram::default() });
    }
    let custom = histogram::is_custom(&previous);
    let mixed = || w.note(&Note::MixedExponentialCustom { metric: w.name });
    if histogram::is_custom(last) != custom {
        mixed();
        return None;
    }
    let mut schema = last.schema.min(previous.schema);
    for h in &points.values[1..points.len() - 1] {
        if !is_counter {
            continue;
        }
        if is_gauge(h) {
            w.note(&Note::NotCounter { metric: w.name });
        }
        schema = schema.min(h.schema);
        if histogram::is_custom(h) != custom {
            mixed();
            return None;
        }
    }
    let mut result = histogram::copy_to_schema(last, schema);
    combine(w, &mut result, &previous, HistogramOperation::Subtraction)?;
    if is_counter {
        let mut overlap = false;
        for at in 1..points.len() {
            let current = &points.values[at];
            if let (false, Some(&before), Some(&start)) = (overlap, points.starts.get(at - 1), points.starts.get(at))
                && starts_overlap(before, points.times[at - 1], start)
            {
                w.note(&Note::StartTimeOverlap { metric: w.name });
                overlap = true;
            }
            if start_reset(at) || histogram::detect_reset(current, &previous) {
                combine(w, &mut result, &previous, HistogramOperation::Addition)?;
            }
            previous = Arc::clone(current);
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        w.note(&Note::NotGauge { metric: w.name });
    }
    result.reset_hint = ResetHint::Gauge;
    histogram::compact(&mut result, 0);
    Some(result)
}

/// Adds or subtracts, and says what there is to say. `None` when the two do not go together.
fn combine(w: &Window<'_>, sum: &mut Histogram, other: &Histogram, operation: HistogramOperation) -> Option<()> {
    let outcome = match operation {
        HistogramOperation::Subtraction => histogram::sub(sum, other),
        _ => histogram::add(sum, other),
    };
    match outcome {
        Ok(outcome) => {
            if outcome.bounds_reconciled {
                w.note(&Note::MismatchedCustomBuckets(operation));
            }
            Some(())
        }
        Err(HistogramError::IncompatibleSchema) => {
            w.note(&Note::MixedExponentialCustom { metric: w.name });
            None
        }
    }
}

fn add(w: &Window<'_>, sum: &mut Histogram, other: &Histogram, operation: HistogramOperation) -> Option<()> {
    combine(w, sum, other, operation)
}

/// `irate` and `idelta`: of the last two samples alone.
pub(super) fn instant(w: &Window<'_>, kind: Kind) -> Option<Point> {
    if w.floats.len() + w.histograms.len() < 2 {
        return None;
    }
    let mut lasts: Vec<(i64, i64, Point)> = Vec::with_capacity(4);
    let (floats, histograms) = (&w.floats, &w.histograms);
    for at in floats.len().saturating_sub(2)..floats.len() {
        let start = floats.starts.get(at).copied().unwrap_or(0);
        lasts.push((floats.times[at], start, Point::Float(floats.values[at])));
    }
    for at in histograms.len().saturating_sub(2)..histograms.len() {
        let start = histograms.starts.get(at).copied().unwrap_or(0);
        lasts.push((histograms.times[at], start, Point::Histogram(Arc::clone(&histograms.values[at]))));
    }
    lasts.sort_by_key(|(time, ..)| *time);
    let [.., (t1, s1, first), (t2, s2, last)] = lasts.as_slice() else { return None };
    let seconds = (t2 - t1) as f64 / 1000.0;
    if seconds == 0.0 {
        return None;
    }
    let start_reset = is_start_reset(*s1, *t1, *s2, *t2);
    match (first, last) {
        (Point::Float(first), Point::Float(last)) => {
            let reset = kind.is_counter && (last < first || start_reset);
            let result = if reset { *last } else { last - first };
            Some(Point::Float(if kind.is_counter { result / seconds } else { result }))
        }
        (Point::Histogram(first), Point::Histogram(last)) => {
            let is_gauge = |h: &Histogram| h.reset_hint == ResetHint::Gauge;
            if kind.is_counter && (is_gauge(first) || is_gauge(last)) {
                w.note(&Note::NotCounter { metric: w.name });
            }
            if !kind.is_counter && (!is_gauge(first) || !is_gauge(last)) {
                w.note(&Note::NotGauge { metric: w.name });
            }
            let mut result = last.as_ref().clone();
            if !kind.is_counter || (!start_reset && !histogram::detect_reset(last, first)) {
                combine(w, &mut result, first, HistogramOperation::Subtraction)?;
            }
            result.reset_hint = ResetHint::Gauge;
            histogram::compact(&mut result, 0);
            if kind.is_counter {
                histogram::divide(&mut result, seconds);
            }
            Some(Point::Histogram(Arc::new(result)))
        }
        _ => {
            w.note(&Note::MixedFloatsHistograms { metric: w.name });
            None
        }
    }
}

/// `rate`, `increase`, `delta` of an `anchored` or `smoothed` range: the window reaches beyond the range.
pub(super) fn extended(w: &Window<'_>, kind: Kind, smoothed: bool) -> Option<Point> {
    match (w.floats.is_empty(), w.histograms.is_empty()) {
        (false, false) => {
            w.note(&Note::MixedFloatsHistograms { metric: w.name });
            None
        }
        (false, true) => extended_floats(w, kind, smoothed).map(Point::Float),
        (true, false) => extended_histograms(w, kind, smoothed).map(|h| Point::Histogram(Arc::new(h))),
        (true, true) => None,
    }
}

/// The samples that stand for the bounds of the range; `None` when nothing lies in it.
pub(super) fn bounds(times: &[i64], start: i64, end: i64, smoothed: bool) -> Option<(usize, usize)> {
    let mut last = times.len().checked_sub(1)?;
    let first = times[..last].partition_point(|&time| time <= start).saturating_sub(1);
    if smoothed {
        last = times[..last].partition_point(|&time| time < end);
    }
    let outside = times[last] <= start || (smoothed && times[first] > end);
    (!outside).then_some((first, last))
}

/// The value at the start and at the end of the range.
pub(super) fn edges(
    floats: &Slice<'_, f64>,
    (first, last): (usize, usize),
    (start, end): (i64, i64),
    smoothed: bool,
    is_counter: bool,
) -> (f64, f64) {
    let point = |at: usize| (floats.times[at], floats.values[at]);
    let left = match smoothed && floats.times[first] < start {
        true => interpolate(point(first), point(first + 1), start, is_counter),
        false => floats.values[first],
    };
    let right = match smoothed && last > 0 && floats.times[last] > end {
        true => interpolate(point(last - 1), point(last), end, is_counter),
        false => floats.values[last],
    };
    (left, right)
}

fn extended_floats(w: &Window<'_>, kind: Kind, smoothed: bool) -> Option<f64> {
    let floats = &w.floats;
    let (first, last) = bounds(floats.times, w.start, w.end, smoothed)?;
    let (left, right) = edges(floats, (first, last), (w.start, w.end), smoothed, kind.is_counter);
    let mut result = right - left;
    if kind.is_counter {
        // What lies at the bounds is in their values already.
        let from = if floats.times[first] <= w.start { first + 1 } else { first };
        let to = if floats.times[last] >= w.end { last } else { last + 1 };
        let mut previous = left;
        for &value in floats.values.get(from..to).unwrap_or_default() {
            if value < previous {
                result += previous;
            }
            previous = value;
        }
        if right < previous {
            result += previous;
        }
    }
    Some(if kind.is_rate { result / (w.range as f64 / 1000.0) } else { result })
}

fn extended_histograms(w: &Window<'_>, kind: Kind, smoothed: bool) -> Option<Histogram> {
    let points = &w.histograms;
    let (first, last) = bounds(points.times, w.start, w.end, smoothed)?;
    let inside = &points.values[first..=last];
    let custom = histogram::is_custom(&inside[0]);
    for h in inside {
        if histogram::is_custom(h) != custom {
            w.note(&Note::MixedExponentialCustom { metric: w.name });
            return None;
        }
        if kind.is_counter && h.reset_hint == ResetHint::Gauge {
            w.note(&Note::NotCounter { metric: w.name });
        }
    }
    let point = |at: usize| (points.times[at], points.values[at].as_ref());
    let between = |a: usize, b: usize, at: i64| {
        let found = interpolate_histograms(w.notes, w.span, point(a), point(b), at, kind.is_counter);
        found.inspect_err(|_| w.note(&Note::MixedExponentialCustom { metric: w.name })).ok()
    };
    let left = match smoothed && points.times[first] < w.start {
        true => between(first, first + 1, w.start)?,
        false => points.values[first].as_ref().clone(),
    };
    let right = match smoothed && last > 0 && points.times[last] > w.end {
        true => between(last - 1, last, w.end)?,
        false => points.values[last].as_ref().clone(),
    };
    if !kind.is_counter && (left.reset_hint != ResetHint::Gauge || right.reset_hint != ResetHint::Gauge) {
        w.note(&Note::NotGauge { metric: w.name });
    }
    let mut result = right.clone();
    combine(w, &mut result, &left, HistogramOperation::Subtraction)?;
    if kind.is_counter
        && let Some(correction) = histogram_corrections(w, (first, last), (&left, &right), smoothed)?
    {
        combine(w, &mut result, &correction, HistogramOperation::Addition)?;
    }
    if kind.is_rate {
        histogram::divide(&mut result, w.range as f64 / 1000.0);
    }
    result.reset_hint = ResetHint::Gauge;
    histogram::compact(&mut result, 0);
    Some(result)
}

/// What resets between the bounds took away; the outer `None` when it cannot be put together.
fn histogram_corrections(
    w: &Window<'_>,
    (first, last): (usize, usize),
    (left, right): (&Histogram, &Histogram),
    smoothed: bool,
) -> Option<Option<Histogram>> {
    let points = &w.histograms;
    let mut from = first + 1;
    let mut previous = left;
    let spans_reset = smoothed
        && points.times[first] < w.start
        && points.values.get(first + 1).is_some_and(|next| histogram::detect_reset(next, &points.values[first]));
    if spans_reset {
        // The value at the start has that reset in it.
        previous = &points.values[first + 1];
        from += 1;
    }
    if from > last {
        return Some(None);
    }
    let mut correction: Option<Histogram> = None;
    let mut correct = |by: &Histogram| match &mut correction {
        None => {
            correction = Some(by.clone());
            Some(())
        }
        Some(sum) => combine(w, sum, by, HistogramOperation::Addition),
    };
    for h in &points.values[from..last] {
        if histogram::detect_reset(h, previous) {
            correct(previous)?;
        }
        previous = h;
    }
    if histogram::detect_reset(right, previous) {
        correct(previous)?;
    }
    Some(correction)
}
