//! Arithmetic of native histograms, and quantiles of native and classic ones, exactly as Prometheus does it.
//!
//! The functions work on [`Histogram`] as it is stored. A histogram whose spans and buckets disagree is never a panic:
//! what has no counterpart does not count.

mod add;
mod bounds;
mod buckets;
mod classic;
mod custom;
mod layout;
mod quantile;
mod reset;
mod statistics;
mod text;
mod trim;
mod zero;

#[cfg(test)]
mod tests;

pub use add::{add, kahan_add, sub};
pub use bounds::bucket_bound;
pub use buckets::{Bucket, buckets, negative_buckets, positive_buckets, zero_bucket};
pub use classic::{ClassicBucket, ClassicQuantile, bucket_fraction, bucket_quantile};
pub(crate) use layout::spans_match;
pub use quantile::{QuantileNote, fraction, quantile};
pub use reset::detect_reset;
pub use statistics::{avg, stddev, stdvar};
pub use text::{bucket_rule, test_expression, to_text, write_json};
pub use trim::{trim_lower, trim_upper};

use storage::metrics::{Histogram, ResetHint, Span};

/// Why two histograms cannot be combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// One has exponential buckets and the other custom ones.
    #[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
    IncompatibleSchema,
}

/// What was remarkable about adding or subtracting; annotations are made of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One of the two says that it comes after a reset, the other that it does not.
    pub counter_reset_collision: bool,
    /// Their custom bounds differ; the result has those that both have.
    pub bounds_reconciled: bool,
}

/// Whether the buckets have custom bounds.
pub fn is_custom(histogram: &Histogram) -> bool {
    histogram.schema == Histogram::CUSTOM_SCHEMA
}

/// Multiplies the counts and the sum. A negative factor makes a gauge of it.
pub fn scale(histogram: &mut Histogram, factor: f64) {
    each_count(histogram, |count| *count *= factor);
    if factor < 0.0 {
        histogram.reset_hint = ResetHint::Gauge;
    }
}

/// Divides the counts and the sum. By zero, the buckets go and count and sum become infinite or NaN.
pub fn divide(histogram: &mut Histogram, divisor: f64) {
    if divisor == 0.0 {
        for spans in [&mut histogram.positive_spans, &mut histogram.negative_spans] {
            spans.clear();
        }
        for counts in [&mut histogram.positive_buckets, &mut histogram.negative_buckets] {
            counts.clear();
        }
    }
    each_count(histogram, |count| *count /= divisor);
    if divisor < 0.0 {
        histogram.reset_hint = ResetHint::Gauge;
    }
}

fn each_count(histogram: &mut Histogram, mut change: impl FnMut(&mut f64)) {
    change(&mut histogram.zero_count);
    change(&mut histogram.count);
    change(&mut histogram.sum);
    histogram.positive_buckets.iter_mut().for_each(&mut change);
    histogram.negative_buckets.iter_mut().for_each(&mut change);
}

/// Whether a count or the sum has become infinite.
pub fn has_overflow(histogram: &Histogram) -> bool {
    let h = histogram;
    [h.zero_count, h.count, h.sum].iter().any(|value| value.is_infinite())
        || [&h.positive_buckets, &h.negative_buckets, &h.custom_values]
            .iter()
            .any(|values| values.iter().any(|value| value.is_infinite()))
}

/// Takes empty buckets out and joins neighbouring spans; up to `max_empty` empty buckets in a row are kept (or put in)
/// where that saves a span.
pub fn compact(histogram: &mut Histogram, max_empty: usize) {
    layout::compact(&mut histogram.positive_spans, &mut histogram.positive_buckets, None, max_empty);
    layout::compact(&mut histogram.negative_spans, &mut histogram.negative_buckets, None, max_empty);
}

/// A copy at a lower resolution. With custom buckets, or at a higher schema than its own, it is a plain copy. The hint
/// of a copy at another resolution is unknown.
pub fn copy_to_schema(histogram: &Histogram, schema: i32) -> Histogram {
    if is_custom(histogram) || schema >= histogram.schema || schema == Histogram::CUSTOM_SCHEMA {
        return histogram.clone();
    }
    let lower = |spans: &[Span], counts: &[f64]| {
        let side = layout::reduce_resolution(spans, counts, None, histogram.schema, schema);
        (side.spans, side.counts)
    };
    let (positive_spans, positive_buckets) = lower(&histogram.positive_spans, &histogram.positive_buckets);
    let (negative_spans, negative_buckets) = lower(&histogram.negative_spans, &histogram.negative_buckets);
    Histogram {
        schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count,
        count: histogram.count,
        sum: histogram.sum,
        positive_spans,
        positive_buckets,
        negative_spans,
        negative_buckets,
        ..Histogram::default()
    }
}

/// Whether two histograms hold the same data, bit for bit; hints do not count, nor how buckets are cut into spans.
pub fn equals(a: &Histogram, b: &Histogram) -> bool {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    let same_counts = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(&a, &b)| same(a, b));
    a.schema == b.schema
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && (!is_custom(a) || a.custom_values == b.custom_values)
        && a.zero_threshold == b.zero_threshold
        && same(a.zero_count, b.zero_count)
        && layout::spans_match(&a.negative_spans, &b.negative_spans)
        && same_counts(&a.negative_buckets, &b.negative_buckets)
        && layout::spans_match(&a.positive_spans, &b.positive_spans)
        && same_counts(&a.positive_buckets, &b.positive_buckets)
}
