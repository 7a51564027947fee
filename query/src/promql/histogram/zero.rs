//! Zero buckets of different widths: the narrower one is widened, and takes in the buckets that it then covers.

use storage::metrics::Histogram;

use super::buckets::{negative_buckets, positive_buckets};
use super::layout;
use crate::promql::kahan;

/// Widens the zero bucket of `h` until it fits that of `other` and its edge lies in no populated bucket of either.
/// Returns the zero bucket that `other` has at that width.
pub(super) fn reconcile(h: &mut Histogram, other: &Histogram, mut kept: Option<&mut Histogram>) -> Zero {
    let mut other_zero = Zero { count: other.zero_count, compensation: 0.0, threshold: other.zero_threshold };
    while other_zero.threshold != h.zero_threshold {
        // A threshold that is NaN fits nothing.
        if other_zero.threshold.is_nan() || h.zero_threshold.is_nan() {
            break;
        }
        if h.zero_threshold > other_zero.threshold {
            other_zero = widened(other, h.zero_threshold, None);
        }
        if other_zero.threshold > h.zero_threshold {
            let zero = widened(h, other_zero.threshold, kept.as_deref());
            h.zero_count = zero.count;
            h.zero_threshold = zero.threshold;
            if let Some(kept) = &mut kept {
                kept.zero_count = zero.compensation;
            }
            clear_covered(h, kept.as_deref_mut());
        }
    }
    other_zero
}

/// A zero bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zero {
    pub(super) count: f64,
    /// What rounding dropped.
    pub(super) compensation: f64,
    pub(super) threshold: f64,
}

/// The zero bucket that `h` has at a threshold above its own. Where the edge would lie in a populated bucket, that
/// bucket is taken in as a whole, and the threshold is higher than asked for.
pub(super) fn widened(h: &Histogram, threshold: f64, kept: Option<&Histogram>) -> Zero {
    let mut zero = Zero { count: h.zero_count, compensation: 0.0, threshold };
    if threshold == h.zero_threshold {
        zero.compensation = kept.map_or(0.0, |kept| kept.zero_count);
        return zero;
    }
    let positive = || positive_buckets(h).map(|bucket| (bucket.lower, bucket.upper, bucket.count));
    let negative = || negative_buckets(h).map(|bucket| (-bucket.upper, -bucket.lower, bucket.count));
    // Raising the threshold for one side may make it cut a bucket of the other.
    loop {
        let raised = raise(positive(), zero.threshold);
        let raised = raise(negative(), raised);
        if raised > zero.threshold {
            zero.threshold = raised;
        } else {
            break;
        }
    }
    zero.compensation = kept.map_or(0.0, |kept| kept.zero_count);
    let mut take = |buckets: &mut dyn Iterator<Item = (f64, f64, f64)>, compensations: Option<&Vec<f64>>| {
        for (at, (_, _, count)) in buckets.take_while(|&(near, _, _)| near < zero.threshold).enumerate() {
            kahan::increment(count, &mut zero.count, &mut zero.compensation);
            if let Some(&compensation) = compensations.and_then(|all| all.get(at)) {
                kahan::increment(compensation, &mut zero.count, &mut zero.compensation);
            }
        }
    };
    take(&mut positive(), kept.map(|kept| &kept.positive_buckets));
    take(&mut negative(), kept.map(|kept| &kept.negative_buckets));
    zero
}

/// The threshold, or the far end of the populated bucket that it would cut. Buckets come as near end, far end, count.
fn raise(buckets: impl Iterator<Item = (f64, f64, f64)>, threshold: f64) -> f64 {
    let mut covered = buckets.take_while(|&(near, _, _)| near < threshold);
    match covered.find(|&(_, far, _)| far > threshold) {
        Some((_, far, count)) if count != 0.0 => far,
        _ => threshold,
    }
}

/// Takes out the buckets that the zero bucket covers and has counted.
fn clear_covered(h: &mut Histogram, mut kept: Option<&mut Histogram>) {
    let threshold = h.zero_threshold;
    let positive = positive_buckets(h).take_while(|bucket| bucket.lower < threshold).count();
    let negative = negative_buckets(h).take_while(|bucket| bucket.upper > -threshold).count();
    for (counts, covered) in [(&mut h.positive_buckets, positive), (&mut h.negative_buckets, negative)] {
        counts.iter_mut().take(covered).for_each(|count| *count = 0.0);
    }
    if let Some(kept) = &mut kept {
        for (counts, covered) in [(&mut kept.positive_buckets, positive), (&mut kept.negative_buckets, negative)] {
            counts.iter_mut().take(covered).for_each(|count| *count = 0.0);
        }
    }
    let kept_counts = kept.as_deref_mut().map(|kept| &mut kept.positive_buckets);
    layout::compact(&mut h.positive_spans, &mut h.positive_buckets, kept_counts, 0);
    let kept_counts = kept.map(|kept| &mut kept.negative_buckets);
    layout::compact(&mut h.negative_spans, &mut h.negative_buckets, kept_counts, 0);
}
