//! What was expected against what was answered, as Prometheus compares it: floats almost equal, histograms compacted,
//! their hint only where one was written.

use std::collections::BTreeMap;

use storage::Labels;
use storage::metrics::{Histogram, is_stale};

use super::answer::{Answer, Point, Times};
use super::script::{Eval, ExpectedSeries, Notes};
use super::series::Item;
use crate::number::almost_equal;
use crate::promql::histogram::{compact, is_custom, spans_match, test_expression};

/// Relative error that a float may have.
const EPSILON: f64 = 0.000_001;

/// Checks warnings or infos; `kind` names them in the message.
pub(super) fn check_notes(expected: &Notes, actual: &[String], kind: &str) -> Result<(), String> {
    if expected.some && actual.is_empty() {
        return Err(format!("expected {kind} annotations, got none"));
    }
    if expected.none && !actual.is_empty() {
        return Err(format!("expected no {kind} annotations, got {actual:?}"));
    }
    if let Some(missing) = expected.texts.iter().find(|text| !actual.iter().any(|note| text.matches(note))) {
        return Err(format!("expected {kind} annotation {missing:?}, got {actual:?}"));
    }
    let surplus = |note: &&String| !expected.texts.iter().any(|text| text.matches(note));
    match actual.iter().find(surplus).filter(|_| !expected.texts.is_empty()) {
        Some(note) => Err(format!("unexpected {kind} annotation {note:?}")),
        None => Ok(()),
    }
}

/// Checks the answer itself.
pub(super) fn check_answer(expected: &Eval, actual: &Answer) -> Result<(), String> {
    match actual {
        Answer::Scalar(value) => match expected.scalar {
            Some(wanted) if almost_equal(wanted, *value, EPSILON) => Ok(()),
            Some(wanted) => Err(format!("expected the scalar {wanted}, got {value}")),
            None => Err(format!("expected a vector or matrix, got the scalar {value}")),
        },
        Answer::String(value) => {
            let wanted = expected.string.as_deref().unwrap_or_default();
            if wanted == value { Ok(()) } else { Err(format!("expected the string {wanted:?}, got {value:?}")) }
        }
        Answer::Vector(_) | Answer::Matrix(_) if expected.scalar.is_some() => {
            Err(format!("expected a scalar, got {actual:?}"))
        }
        Answer::Vector(samples) => check_vector(expected, samples),
        Answer::Matrix(_) if expected.ordered => Err("expected an ordered answer, got a matrix".to_owned()),
        Answer::Matrix(series) => check_matrix(expected, series),
    }
}

fn by_labels(expected: &Eval) -> BTreeMap<&Labels, &ExpectedSeries> {
    expected.series.iter().map(|series| (&series.labels, series)).collect()
}

fn check_vector(expected: &Eval, samples: &[(Labels, Point)]) -> Result<(), String> {
    let mut wanted = by_labels(expected);
    for (at, (labels, point)) in samples.iter().enumerate() {
        let Some(series) = wanted.remove(labels) else {
            return Err(format!("unexpected {labels} with {}", shown(point)));
        };
        if expected.ordered && series.position != at + 1 {
            return Err(format!("expected {labels} at position {}, not {}", series.position, at + 1));
        }
        let Some(item) = series.items.first() else { return Err(format!("{labels} is expected without a value")) };
        check_point(item, point).map_err(|why| format!("{labels}: {why}"))?;
    }
    none_missing(&wanted)
}

fn none_missing(wanted: &BTreeMap<&Labels, &ExpectedSeries>) -> Result<(), String> {
    match wanted.iter().next() {
        Some((labels, series)) => Err(format!("expected {labels} with {:?}, it is not there", series.items)),
        None => Ok(()),
    }
}

fn check_matrix(expected: &Eval, all: &[(Labels, Vec<(i64, Point)>)]) -> Result<(), String> {
    check_sorted(all)?;
    let (start, end, step) = match (expected.range_vector, expected.times) {
        (Some(times), _) => times,
        (None, Times::Range { start, end, step }) => (start, end, step),
        (None, Times::Instant(at)) => (at, at, 0),
    };
    let mut wanted = by_labels(expected);
    for (labels, points) in all {
        let text = || points.iter().map(|(t, point)| format!("{}@{t}", shown(point))).collect::<Vec<_>>().join(" ");
        let Some(series) = wanted.remove(labels) else {
            return Err(format!("unexpected {labels} with {}", text()));
        };
        let timed = series.items.iter().enumerate().map(|(at, item)| (start + at as i64 * step, item));
        if timed.clone().any(|(t, _)| t > end) {
            return Err(format!("{labels}: {} points are expected, more than the range has", series.items.len()));
        }
        let timed: Vec<_> = timed.filter(|(_, item)| **item != Item::Omitted).collect();
        if timed.len() != points.len() {
            return Err(format!("{labels}: expected {} points, got {}", timed.len(), text()));
        }
        for ((wanted, item), (t, point)) in timed.into_iter().zip(points) {
            if wanted != *t {
                return Err(format!("{labels}: expected a point at {wanted}, got {}", text()));
            }
            check_point(item, point).map_err(|why| format!("{labels} at {t}: {why}; got {}", text()))?;
        }
    }
    none_missing(&wanted)
}

/// The series of a matrix are sorted by their labels.
pub(super) fn check_sorted(all: &[(Labels, Vec<(i64, Point)>)]) -> Result<(), String> {
    match all.windows(2).find(|pair| pair[0].0 > pair[1].0) {
        Some(pair) => Err(format!("{} is answered before {}", pair[0].0, pair[1].0)),
        None => Ok(()),
    }
}

fn check_point(wanted: &Item, point: &Point) -> Result<(), String> {
    let same = match (wanted, point) {
        (Item::Float(wanted), Point::Float(value)) => almost_equal(*wanted, *value, EPSILON),
        (Item::Histogram { histogram, hint_is_set }, Point::Histogram(actual)) => {
            same_histogram(histogram, actual, *hint_is_set)
        }
        _ => false,
    };
    if same { Ok(()) } else { Err(format!("expected {}, got {}", shown_item(wanted), shown(point))) }
}

fn same_histogram(wanted: &Histogram, actual: &Histogram, with_hint: bool) -> bool {
    let (mut a, mut b) = (wanted.clone(), actual.clone());
    compact(&mut a, 0);
    compact(&mut b, 0);
    let same = |a: f64, b: f64| almost_equal(a, b, EPSILON);
    let all_same = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(&a, &b)| same(a, b));
    a.schema == b.schema
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && (!is_custom(&a) || a.custom_values == b.custom_values)
        && a.zero_threshold == b.zero_threshold
        && same(a.zero_count, b.zero_count)
        && spans_match(&a.positive_spans, &b.positive_spans)
        && all_same(&a.positive_buckets, &b.positive_buckets)
        && spans_match(&a.negative_spans, &b.negative_spans)
        && all_same(&a.negative_buckets, &b.negative_buckets)
        && (!with_hint || a.reset_hint == b.reset_hint)
}

fn shown_float(value: f64) -> String {
    if is_stale(value) { "stale".to_owned() } else { value.to_string() }
}

fn shown(point: &Point) -> String {
    match point {
        Point::Float(value) => shown_float(*value),
        Point::Histogram(histogram) => test_expression(histogram),
    }
}

fn shown_item(item: &Item) -> String {
    match item {
        Item::Omitted => "_".to_owned(),
        Item::Float(value) => shown_float(*value),
        Item::Histogram { histogram, .. } => test_expression(histogram),
    }
}
