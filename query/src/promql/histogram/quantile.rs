//! Quantiles and fractions of native histograms. Inside of a bucket observations are taken to be spread evenly: on a
//! logarithmic scale in exponential buckets, on a linear one in custom buckets and in the zero bucket.

use storage::metrics::Histogram;

use super::buckets::{Bucket, buckets};
use super::is_custom;

/// What is to be told of a quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantileNote {
    /// There are observations that are NaN, and the quantile falls among them.
    NanResult,
    /// There are observations that are NaN; they count as greater than all others.
    NanSkew,
}

/// The value below which the fraction `q` of the observations lies. NaN without observations or when `q` is NaN;
/// infinite when `q` is below 0 or above 1.
pub fn quantile(q: f64, histogram: &Histogram) -> (f64, Option<QuantileNote>) {
    let h = histogram;
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if h.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    // Observations that are NaN are in the count but in no bucket: then only the way up is right.
    let upwards = h.sum.is_nan() || q < 0.5;
    let rank = if upwards { q * h.count } else { (1.0 - q) * h.count };
    let mut all = buckets(h);
    let mut next = || if upwards { all.next() } else { all.next_back() };
    let (mut bucket, mut count) = (Bucket::default(), 0.0);
    while let Some(following) = next() {
        bucket = following;
        count += bucket.count;
        if bucket.count != 0.0 && count >= rank {
            break;
        }
    }

    if is_custom(h) {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, None);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        narrow_zero_bucket(h, &mut bucket);
    }
    // Rounding may have made the sum of the buckets greater than the count.
    count = count.min(h.count);
    if count < rank {
        return if h.sum.is_nan() { (f64::NAN, Some(QuantileNote::NanResult)) } else { (bucket.upper, None) };
    }
    let rank = if upwards { rank - (count - bucket.count) } else { count - rank };
    let mut note = None;
    if h.sum.is_nan() {
        while let Some(following) = next() {
            count += following.count;
        }
        note = (count < h.count).then_some(QuantileNote::NanSkew);
    }
    (inside(&bucket, rank / bucket.count, is_custom(h)), note)
}

/// The value at a fraction of a bucket's width.
fn inside(bucket: &Bucket, fraction: f64, linear: bool) -> f64 {
    if linear || bucket.lower <= 0.0 && bucket.upper >= 0.0 {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    }
}

/// A histogram with buckets on one side of zero alone has no observations on the other side of its zero bucket.
fn narrow_zero_bucket(h: &Histogram, bucket: &mut Bucket) {
    if h.negative_buckets.is_empty() && !h.positive_buckets.is_empty() {
        bucket.lower = 0.0;
    } else if h.positive_buckets.is_empty() && !h.negative_buckets.is_empty() {
        bucket.upper = 0.0;
    }
}

/// The fraction of the observations between two values; NaN without observations or when a bound is NaN, 0 when `lower`
/// is not below `upper`. True beside it says that observations which are NaN were left out.
pub fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> (f64, bool) {
    let h = histogram;
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let (mut below, mut all) = (0.0, buckets(h));
    let (mut lower_rank, mut upper_rank) = (None, None);
    let mut count = 0.0;
    for mut bucket in all.by_ref() {
        count += bucket.count;
        let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if is_zero {
            narrow_zero_bucket(h, &mut bucket);
        }
        let rank_of = |value: f64| {
            if bucket.lower >= value {
                Some(below)
            } else if bucket.upper <= value {
                None
            } else if bucket.lower == f64::NEG_INFINITY && (is_custom(h) || is_zero) {
                // Within an infinite width nothing can be said: all of it lies below.
                Some(bucket.count)
            } else {
                Some(below + bucket.count * bucket.fraction_below(value, is_custom(h) || is_zero))
            }
        };
        lower_rank = lower_rank.or_else(|| rank_of(lower));
        upper_rank = upper_rank.or_else(|| rank_of(upper));
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        below += bucket.count;
    }
    let mut left_out = false;
    if h.sum.is_nan() {
        count += all.map(|bucket| bucket.count).sum::<f64>();
        left_out = count < h.count;
    } else {
        count = h.count;
    }
    let within = |rank: Option<f64>| rank.map_or(count, |rank| if rank > count { count } else { rank });
    ((within(upper_rank) - within(lower_rank)) / h.count, left_out)
}
