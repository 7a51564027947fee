//! The buckets of a histogram, one after the other, with their bounds.

use std::iter::Rev;

use storage::metrics::{Histogram, Span};

use super::bounds::bucket_bound;
use super::is_custom;

/// One bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether an observation that equals the lower bound is in it.
    pub lower_inclusive: bool,
    /// Whether an observation that equals the upper bound is in it.
    pub upper_inclusive: bool,
    /// How many observations.
    pub count: f64,
}

impl Bucket {
    /// How much of the bucket's width (0 to 1) lies below `value`, which must be between its finite bounds: on a linear
    /// scale, or on a logarithmic one.
    pub(super) fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper, at) = (self.lower.abs().log2(), self.upper.abs().log2(), value.abs().log2());
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

/// All buckets of a histogram in ascending order: the negative ones, the zero bucket if it is populated, the positive
/// ones. A bucket that reaches into the zero bucket is cut at its threshold. Empty buckets come too.
pub fn buckets(histogram: &Histogram) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
    let threshold = histogram.zero_threshold;
    let negative: Rev<_> = negative_buckets(histogram).rev();
    let zero = (histogram.zero_count > 0.0).then(|| zero_bucket(histogram));
    negative.chain(zero).chain(positive_buckets(histogram)).map(move |mut bucket| {
        if bucket.upper < 0.0 && bucket.upper > -threshold {
            bucket.upper = -threshold;
        } else if bucket.lower > 0.0 && bucket.lower < threshold {
            bucket.lower = threshold;
        }
        bucket
    })
}

/// The buckets above the zero bucket, ascending; of custom buckets all.
pub fn positive_buckets(histogram: &Histogram) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
    let (schema, custom) = (histogram.schema, is_custom(histogram));
    indexed(&histogram.positive_spans, &histogram.positive_buckets).map(move |(index, count)| {
        let bound = |index: i32| bucket_bound(index, schema, &histogram.custom_values);
        let (lower, upper) = (bound(index.wrapping_sub(1)), bound(index));
        Bucket { lower, upper, lower_inclusive: custom && index == 0, upper_inclusive: true, count }
    })
}

/// The buckets below the zero bucket, descending (away from zero).
pub fn negative_buckets(histogram: &Histogram) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
    let schema = histogram.schema;
    indexed(&histogram.negative_spans, &histogram.negative_buckets).map(move |(index, count)| {
        let bound = |index: i32| -bucket_bound(index, schema, &[]);
        let (lower, upper) = (bound(index), bound(index.wrapping_sub(1)));
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: false, count }
    })
}

/// The bucket around zero.
pub fn zero_bucket(histogram: &Histogram) -> Bucket {
    Bucket {
        lower: -histogram.zero_threshold,
        upper: histogram.zero_threshold,
        lower_inclusive: true,
        upper_inclusive: true,
        count: histogram.zero_count,
    }
}

/// Index and count of every bucket of one side.
pub(super) fn indexed<'a>(spans: &'a [Span], counts: &'a [f64]) -> Indexed<'a> {
    let held = spans.iter().fold(0_usize, |sum, span| sum.saturating_add(span.length as usize));
    let end = spans.iter().fold(0_i32, |at, span| at.wrapping_add(span.offset).wrapping_add(span.length as i32));
    Indexed {
        counts: counts.get(..held).unwrap_or(counts),
        front: Cursor { spans, left: 0, index: 0 },
        back: Cursor { spans, left: spans.last().map_or(0, |span| span.length), index: end },
    }
}

/// See [`indexed`].
#[derive(Debug, Clone)]
pub(super) struct Indexed<'a> {
    counts: &'a [f64],
    front: Cursor<'a>,
    back: Cursor<'a>,
}

/// A place between two buckets. `spans` are those not yet entered (in front), or not yet left (at the back).
#[derive(Debug, Clone)]
struct Cursor<'a> {
    spans: &'a [Span],
    /// Buckets of the span that is entered which are still to come.
    left: u32,
    index: i32,
}

impl Iterator for Indexed<'_> {
    type Item = (i32, f64);

    fn next(&mut self) -> Option<Self::Item> {
        let (&count, rest) = self.counts.split_first()?;
        let at = &mut self.front;
        while at.left == 0 {
            let (span, spans) = at.spans.split_first()?;
            *at = Cursor { spans, left: span.length, index: at.index.wrapping_add(span.offset) };
        }
        self.counts = rest;
        at.left -= 1;
        at.index = at.index.wrapping_add(1);
        Some((at.index.wrapping_sub(1), count))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.counts.len(), Some(self.counts.len()))
    }
}

impl DoubleEndedIterator for Indexed<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (&count, rest) = self.counts.split_last()?;
        let at = &mut self.back;
        while at.left == 0 {
            let (span, spans) = at.spans.split_last()?;
            let left = spans.last()?.length;
            *at = Cursor { spans, left, index: at.index.wrapping_sub(span.offset) };
        }
        self.counts = rest;
        at.left -= 1;
        at.index = at.index.wrapping_sub(1);
        Some((at.index, count))
    }
}
