//! The observations of a histogram below a value, or above it.

use storage::metrics::Histogram;

use super::buckets::{Bucket, negative_buckets, positive_buckets};
use super::{compact, is_custom};

/// Keeps the observations up to `bound`. Of the bucket that it cuts a part stays, as [`super::fraction`] would count it;
/// count and sum are then taken anew from the buckets.
pub fn trim_upper(histogram: &mut Histogram, bound: f64) {
    trim(histogram, Cut { bound, keep_below: true });
}

/// Keeps the observations from `bound` on. See [`trim_upper`].
pub fn trim_lower(histogram: &mut Histogram, bound: f64) {
    trim(histogram, Cut { bound, keep_below: false });
}

/// Where to cut, and what to keep.
#[derive(Clone, Copy)]
struct Cut {
    bound: f64,
    keep_below: bool,
}

/// What stays.
#[derive(Default)]
struct Kept {
    count: f64,
    sum: f64,
    trimmed: bool,
}

fn trim(h: &mut Histogram, cut: Cut) {
    let linear = is_custom(h);
    let positive: Vec<_> = positive_buckets(h).map(|bucket| cut.keep(&bucket, true, linear)).collect();
    let negative: Vec<_> = negative_buckets(h).map(|bucket| cut.keep(&bucket, false, linear)).collect();
    let populated = |counts: &[f64]| counts.iter().any(|&count| count != 0.0);
    let (has_positive, has_negative) = (populated(&h.positive_buckets), populated(&h.negative_buckets));

    let mut kept = Kept::default();
    for (counts, stays) in [(&mut h.positive_buckets, positive), (&mut h.negative_buckets, negative)] {
        for (count, stay) in counts.iter_mut().zip(stays).filter(|(count, _)| **count != 0.0) {
            put(&mut kept, count, stay);
        }
    }
    if h.zero_count > 0.0 {
        let lower = if has_positive && !has_negative { 0.0 } else { -h.zero_threshold };
        let upper = if has_negative && !has_positive { 0.0 } else { h.zero_threshold };
        let stay = cut.keep_of_zero(lower, upper, h.zero_count);
        put(&mut kept, &mut h.zero_count, stay);
    }
    if kept.trimmed {
        h.count = kept.count;
        h.sum = kept.sum;
        compact(h, 0);
    }
}

fn put(kept: &mut Kept, count: &mut f64, (stays, middle): (f64, f64)) {
    kept.count += stays;
    kept.sum += middle * stays;
    kept.trimmed |= *count != stays;
    *count = stays;
}

impl Cut {
    /// How many observations of a bucket stay, and the middle of where they are.
    fn keep(self, bucket: &Bucket, positive: bool, linear: bool) -> (f64, f64) {
        let Bucket { lower, upper, count, .. } = *bucket;
        let (all, some) = if self.keep_below {
            (upper <= self.bound, lower < self.bound)
        } else {
            (lower >= self.bound, upper > self.bound)
        };
        if all {
            return (count, middle(lower, upper, positive, linear));
        }
        if !some {
            return (0.0, 0.0);
        }
        if lower == f64::NEG_INFINITY || upper == f64::INFINITY {
            return self.keep_of_infinite(lower, upper, count);
        }
        let below = count * bucket.fraction_below(self.bound, linear);
        if self.keep_below {
            (below, middle(lower, self.bound, positive, linear))
        } else {
            (count - below, middle(self.bound, upper, positive, linear))
        }
    }

    /// Of a bucket that is cut and has no lower or no upper end. Nothing is known of how its observations are spread,
    /// but for a lowest bucket that reaches above zero: it is taken to begin there.
    fn keep_of_infinite(self, lower: f64, upper: f64, count: f64) -> (f64, f64) {
        let bound = self.bound;
        let begins_at_zero = upper > 0.0 && upper.is_finite();
        match (lower == f64::NEG_INFINITY, self.keep_below) {
            (true, true) if begins_at_zero && bound > 0.0 => (count * bound / upper, bound / 2.0),
            (true, true) if upper <= 0.0 => (count, bound),
            (true, false) if begins_at_zero && bound >= 0.0 => (count * (1.0 - bound / upper), (bound + upper) / 2.0),
            (false, false) => (count, bound),
            _ => (0.0, 0.0),
        }
    }

    fn keep_of_zero(self, lower: f64, upper: f64, count: f64) -> (f64, f64) {
        let all = (count, (lower + upper) / 2.0);
        let bound = self.bound;
        if bound <= lower {
            return if self.keep_below { (0.0, 0.0) } else { all };
        }
        if bound >= upper {
            return if self.keep_below { all } else { (0.0, 0.0) };
        }
        if self.keep_below {
            (count * ((bound - lower) / (upper - lower)), (lower + bound) / 2.0)
        } else {
            (count * ((upper - bound) / (upper - lower)), (bound + upper) / 2.0)
        }
    }
}

/// Where the observations between two values are, on average.
fn middle(lower: f64, upper: f64, positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if linear => (lower + upper) / 2.0,
        (false, false) => {
            let mean = (lower * upper).abs().sqrt();
            if positive { mean } else { -mean }
        }
    }
}
