//! Histograms of different custom bounds: both are mapped to the bounds that both have.

use storage::metrics::Histogram;

use super::buckets::{Bucket, indexed, positive_buckets};
use super::layout::{Side, increment};

/// Adds the buckets of `other`, or subtracts them; the bounds become the common ones.
pub(super) fn merge(h: &mut Histogram, other: &Histogram, kept: Option<&mut Histogram>, negative: bool) {
    let bounds = intersection(&h.custom_values, &other.custom_values);
    let mut counts = vec![0.0; bounds.len() + 1];
    let mut compensations = kept.is_some().then(|| vec![0.0; counts.len()]);
    let mut put = |bound: Option<&f64>, value: f64| {
        let at = bound.map_or(bounds.len(), |bound| bounds.partition_point(|common| common < bound));
        increment(&mut counts[at], compensations.as_mut().map(|all| &mut all[at]), value);
    };
    let bound_of = |h: &Histogram, index: i32| usize::try_from(index).ok().map(|at| h.custom_values.get(at).copied());
    for (at, (index, count)) in indexed(&h.positive_spans, &h.positive_buckets).enumerate() {
        let bound = bound_of(h, index).flatten();
        put(bound.as_ref(), count);
        if let Some(&compensation) = kept.as_ref().and_then(|kept| kept.positive_buckets.get(at)) {
            put(bound.as_ref(), compensation);
        }
    }
    let sign = if negative { -1.0 } else { 1.0 };
    for (index, count) in indexed(&other.positive_spans, &other.positive_buckets) {
        put(bound_of(other, index).flatten().as_ref(), sign * count);
    }

    let mut side = Side::with_capacity(counts.len());
    for (at, count) in counts.into_iter().enumerate() {
        let compensation = compensations.as_ref().map(|all| all[at]);
        if count != 0.0 || compensation.unwrap_or_default() != 0.0 {
            side.push(at as i32, count, compensation);
        }
    }
    h.positive_spans = side.spans;
    h.positive_buckets = side.counts;
    h.custom_values = bounds;
    if let Some(kept) = kept {
        kept.positive_buckets = side.compensations;
    }
}

/// The bounds that both ascending lists have.
fn intersection(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut b = b.iter().peekable();
    a.iter()
        .filter(|&a| {
            while b.next_if(|b| *b < a).is_some() {}
            b.next_if(|b| *b == a).is_some()
        })
        .copied()
        .collect()
}

/// Whether a count between two neighbouring common bounds has gone down.
pub(super) fn detect_reset(current: &Histogram, previous: &Histogram) -> bool {
    let mut current_buckets = positive_buckets(current).peekable();
    let mut previous_buckets = positive_buckets(previous).peekable();
    let mut common = intersection(&current.custom_values, &previous.custom_values);
    common.push(f64::INFINITY);
    common.into_iter().any(|bound| {
        let below = |bucket: &Bucket| bucket.upper <= bound;
        let now: f64 = std::iter::from_fn(|| current_buckets.next_if(below)).map(|bucket| bucket.count).sum();
        let before: f64 = std::iter::from_fn(|| previous_buckets.next_if(below)).map(|bucket| bucket.count).sum();
        now < before
    })
}
