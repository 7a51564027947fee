//! Quantiles and fractions of classic histograms: cumulative buckets, each a series with a label `le`.

use crate::number::almost_equal;

/// Neighbouring counts that differ by less than this (relatively) count as equal: it is what rounding makes of counts
/// that were summed in another order.
const SMALL_DIFFERENCE: f64 = 1e-12;

/// One bucket: how many observations are at most the bound.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ClassicBucket {
    /// Upper bound.
    pub upper: f64,
    /// Observations up to it.
    pub count: f64,
}

/// A quantile, and what had to be mended for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassicQuantile {
    /// The quantile.
    pub value: f64,
    /// A bucket had a lower count than one before it.
    pub forced_monotonic: bool,
    /// Insignificant differences were removed.
    pub fixed_precision: bool,
    /// Of the buckets that had too low a count, the lowest bound (infinite without any).
    pub min_bucket: f64,
    /// And the highest (minus infinity without any).
    pub max_bucket: f64,
    /// The greatest difference that was mended.
    pub max_difference: f64,
}

/// The quantile `q` of a classic histogram with at least one bucket, in any order; they are sorted and made monotonic.
/// NaN without observations, with fewer than two buckets, or without one up to infinity; infinite when `q` is below 0
/// or above 1.
pub fn bucket_quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> ClassicQuantile {
    let mut out = ClassicQuantile {
        value: f64::NAN,
        forced_monotonic: false,
        fixed_precision: false,
        min_bucket: 0.0,
        max_bucket: 0.0,
        max_difference: 0.0,
    };
    if q.is_nan() {
        return out;
    }
    if !(0.0..=1.0).contains(&q) {
        out.value = if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
        return out;
    }
    if !order(buckets) {
        return out;
    }
    make_monotonic(buckets, &mut out);
    let (Some(last), true) = (buckets.last(), buckets.len() >= 2) else { return out };
    if last.count == 0.0 {
        return out;
    }
    let rank = q * last.count;
    let finite = buckets.len() - 1;
    let at = buckets.iter().take(finite).position(|bucket| bucket.count >= rank).unwrap_or(finite);
    let bucket = buckets[at];
    out.value = match at.checked_sub(1).map(|before| buckets[before]) {
        Some(before) if at == finite => before.upper,
        Some(before) => {
            let inside = (rank - before.count) / (bucket.count - before.count);
            before.upper + (bucket.upper - before.upper) * inside
        }
        None if bucket.upper <= 0.0 => bucket.upper,
        None => bucket.upper * (rank / bucket.count),
    };
    out
}

/// The fraction of the observations between two values, of a classic histogram as of [`bucket_quantile`].
pub fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if !order(buckets) {
        return f64::NAN;
    }
    let count = buckets.last().map_or(0.0, |bucket| bucket.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    // The lowest bucket begins at zero, unless it ends there or before.
    let lowest = buckets.first().map_or(0.0, |bucket| if bucket.upper <= 0.0 { f64::NEG_INFINITY } else { 0.0 });
    let rank_of = |value: f64| {
        let (mut start, mut below) = (lowest, 0.0);
        for bucket in buckets.iter() {
            if start >= value {
                return below;
            }
            if bucket.upper > value {
                if start == f64::NEG_INFINITY {
                    return bucket.count.min(count);
                }
                return (below + (bucket.count - below) * (value - start) / (bucket.upper - start)).min(count);
            }
            (start, below) = (bucket.upper, bucket.count);
        }
        count
    };
    (rank_of(upper) - rank_of(lower)) / count
}

/// Sorts by bound and sums buckets of the same bound. False when there is none up to infinity.
fn order(buckets: &mut Vec<ClassicBucket>) -> bool {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    buckets.last().is_some_and(|bucket| bucket.upper == f64::INFINITY)
}

fn make_monotonic(buckets: &mut [ClassicBucket], out: &mut ClassicQuantile) {
    out.min_bucket = f64::INFINITY;
    out.max_bucket = f64::NEG_INFINITY;
    let mut before = buckets.first().map_or(0.0, |bucket| bucket.count);
    for bucket in buckets.iter_mut().skip(1) {
        let count = bucket.count;
        if count == before {
            continue;
        }
        if almost_equal(before, count, SMALL_DIFFERENCE) {
            bucket.count = before;
            out.fixed_precision = true;
        } else if count < before {
            bucket.count = before;
            out.forced_monotonic = true;
            out.min_bucket = out.min_bucket.min(bucket.upper);
            out.max_bucket = out.max_bucket.max(bucket.upper);
            out.max_difference = out.max_difference.max(before - count);
        } else {
            before = count;
        }
    }
}
