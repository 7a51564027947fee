//! Sums and differences of histograms. What differs is brought to what both can say: the wider zero bucket, the lower
//! resolution, the custom bounds that both have.

use storage::metrics::{Histogram, ResetHint, Span};

use super::bounds::exponential_bound;
use super::layout::{Addend, increment, merge, reduce_resolution};
use super::{HistogramError, Outcome, copy_to_schema, custom, is_custom, zero};
use crate::promql::kahan;

/// Adds `other` to `histogram`.
///
/// # Errors
/// One has custom buckets and the other exponential ones; `histogram` is then unchanged.
pub fn add(histogram: &mut Histogram, other: &Histogram) -> Result<Outcome, HistogramError> {
    combine(histogram, other, None, false)
}

/// Subtracts `other` from `histogram`. The hint comes out as of [`add`]; the operator `-` makes a gauge of it.
///
/// # Errors
/// As [`add`].
pub fn sub(histogram: &mut Histogram, other: &Histogram) -> Result<Outcome, HistogramError> {
    combine(histogram, other, None, true)
}

/// As [`add`], but what rounding drops is kept in a histogram of compensations, made when there is none. It must be
/// given to every call for the same `histogram`, be scaled with it, and be added to it at the end.
///
/// # Errors
/// As [`add`].
pub fn kahan_add(
    histogram: &mut Histogram,
    other: &Histogram,
    compensation: &mut Option<Histogram>,
) -> Result<Outcome, HistogramError> {
    if is_custom(histogram) != is_custom(other) {
        return Err(HistogramError::IncompatibleSchema);
    }
    let kept = compensation.get_or_insert_with(|| Histogram {
        count: 0.0,
        sum: 0.0,
        zero_count: 0.0,
        positive_buckets: vec![0.0; histogram.positive_buckets.len()],
        negative_buckets: vec![0.0; histogram.negative_buckets.len()],
        ..histogram.clone()
    });
    combine(histogram, other, Some(kept), false)
}

fn combine(
    h: &mut Histogram,
    other: &Histogram,
    mut kept: Option<&mut Histogram>,
    negative: bool,
) -> Result<Outcome, HistogramError> {
    if is_custom(h) != is_custom(other) {
        return Err(HistogramError::IncompatibleSchema);
    }
    let mut outcome = Outcome { counter_reset_collision: join_hints(h, other.reset_hint), bounds_reconciled: false };
    let sign = if negative { -1.0 } else { 1.0 };
    if !is_custom(h) {
        let zero = zero::reconcile(h, other, kept.as_deref_mut());
        increment(&mut h.zero_count, kept.as_deref_mut().map(|k| &mut k.zero_count), sign * zero.count);
        if let Some(kept) = &mut kept {
            kahan::increment(zero.compensation, &mut h.zero_count, &mut kept.zero_count);
        }
    }
    increment(&mut h.count, kept.as_deref_mut().map(|k| &mut k.count), sign * other.count);
    increment(&mut h.sum, kept.as_deref_mut().map(|k| &mut k.sum), sign * other.sum);
    if is_custom(h) && h.custom_values != other.custom_values {
        outcome.bounds_reconciled = true;
        custom::merge(h, other, kept.as_deref_mut(), negative);
    } else {
        add_buckets(h, other, kept.as_deref_mut(), negative);
    }
    if let Some(kept) = kept {
        h.positive_spans.clone_into(&mut kept.positive_spans);
        h.negative_spans.clone_into(&mut kept.negative_spans);
        h.custom_values.clone_into(&mut kept.custom_values);
        kept.schema = h.schema;
        kept.zero_threshold = h.zero_threshold;
    }
    Ok(outcome)
}

/// The hint of a sum. True when they contradict each other.
fn join_hints(h: &mut Histogram, other: ResetHint) -> bool {
    let joined = match (h.reset_hint, other) {
        (a, b) if a == b => a,
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    let collision = matches!(
        (h.reset_hint, other),
        (ResetHint::Reset, ResetHint::NotReset) | (ResetHint::NotReset, ResetHint::Reset)
    );
    h.reset_hint = joined;
    collision
}

/// The buckets of both sides, of equal custom bounds or of exponential schemas.
fn add_buckets(h: &mut Histogram, other: &Histogram, mut kept: Option<&mut Histogram>, negative: bool) {
    let schema = h.schema.min(other.schema);
    if schema < h.schema {
        lower_in_place(h, kept.as_deref_mut(), schema);
    }
    let lowered = (schema < other.schema).then(|| copy_to_schema(other, schema));
    let other = lowered.as_ref().unwrap_or(other);
    let threshold = h.zero_threshold;
    let skip = |index| !is_custom(other) && exponential_bound(index, schema) <= threshold;

    let addend = Addend { spans: &other.positive_spans, counts: &other.positive_buckets, negative };
    let kept_counts = kept.as_deref_mut().map(|k| &mut k.positive_buckets);
    merge(&mut h.positive_spans, &mut h.positive_buckets, kept_counts, addend, skip);
    let addend = Addend { spans: &other.negative_spans, counts: &other.negative_buckets, negative };
    let kept_counts = kept.map(|k| &mut k.negative_buckets);
    merge(&mut h.negative_spans, &mut h.negative_buckets, kept_counts, addend, skip);
}

fn lower_in_place(h: &mut Histogram, mut kept: Option<&mut Histogram>, schema: i32) {
    let from = h.schema;
    let lower = |spans: &mut Vec<Span>, counts: &mut Vec<f64>, kept: Option<&mut Vec<f64>>| {
        let side = reduce_resolution(spans, counts, kept.as_ref().map(|k| k.as_slice()), from, schema);
        (*spans, *counts) = (side.spans, side.counts);
        if let Some(kept) = kept {
            *kept = side.compensations;
        }
    };
    let kept_positive = kept.as_deref_mut().map(|k| &mut k.positive_buckets);
    lower(&mut h.positive_spans, &mut h.positive_buckets, kept_positive);
    let kept_negative = kept.map(|k| &mut k.negative_buckets);
    lower(&mut h.negative_spans, &mut h.negative_buckets, kept_negative);
    h.schema = schema;
}
