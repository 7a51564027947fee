//! Mean and spread of a histogram's observations, as far as its buckets tell.

use storage::metrics::Histogram;

use super::buckets::buckets;
use super::is_custom;
use crate::promql::kahan;

/// The mean.
pub fn avg(histogram: &Histogram) -> f64 {
    histogram.sum / histogram.count
}

/// The standard deviation. See [`stdvar`].
pub fn stddev(histogram: &Histogram) -> f64 {
    stdvar(histogram).sqrt()
}

/// The variance, with every observation taken to be in the middle of its bucket: the geometric mean of the bounds of an
/// exponential bucket, the arithmetic one of a custom bucket, zero in the zero bucket.
pub fn stdvar(histogram: &Histogram) -> f64 {
    let mean = avg(histogram);
    let (mut variance, mut compensation) = (0.0, 0.0);
    for bucket in buckets(histogram).filter(|bucket| bucket.count != 0.0) {
        let middle = if is_custom(histogram) {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let delta = middle - mean;
        kahan::increment(bucket.count * delta * delta, &mut variance, &mut compensation);
    }
    (variance + compensation) / histogram.count
}
