//! Whether a counter histogram was reset between two samples.

use storage::metrics::{Histogram, ResetHint};

use super::bounds::exponential_bound;
use super::buckets::indexed;
use super::layout::reduce_resolution;
use super::{custom, is_custom, zero};

/// Whether `current` comes after a reset that lies behind `previous`: its hint says so, or, without a hint, a count has
/// gone down (the sum does not matter), a populated bucket is gone, the resolution has become higher, or the zero bucket
/// narrower.
pub fn detect_reset(current: &Histogram, previous: &Histogram) -> bool {
    match current.reset_hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if current.count < previous.count || is_custom(current) && !is_custom(previous) {
        return true;
    }
    if is_custom(current) && current.custom_values != previous.custom_values {
        return custom::detect_reset(current, previous);
    }
    if current.schema > previous.schema || current.zero_threshold < previous.zero_threshold {
        return true;
    }
    let before = zero::widened(previous, current.zero_threshold, None);
    if before.threshold != current.zero_threshold || current.zero_count < before.count {
        return true;
    }
    side_was_reset(current, previous, |h| (&h.positive_spans, &h.positive_buckets))
        || side_was_reset(current, previous, |h| (&h.negative_spans, &h.negative_buckets))
}

fn side_was_reset(
    current: &Histogram,
    previous: &Histogram,
    side: impl Fn(&Histogram) -> (&Vec<storage::metrics::Span>, &Vec<f64>),
) -> bool {
    let (now_spans, now_counts) = side(current);
    let (before_spans, before_counts) = side(previous);
    // The usual pair: the same buckets, none inside of the zero bucket.
    let lowered = (current.schema < previous.schema)
        .then(|| reduce_resolution(before_spans, before_counts, None, previous.schema, current.schema));
    let before = match &lowered {
        Some(lowered) => indexed(&lowered.spans, &lowered.counts),
        None => indexed(before_spans, before_counts),
    };
    let covered = |index: i32| {
        !is_custom(current)
            && current.zero_threshold > 0.0
            && exponential_bound(index, current.schema) <= current.zero_threshold
    };
    let mut now = indexed(now_spans, now_counts).skip_while(|&(index, _)| covered(index)).peekable();
    for (index, count) in before.skip_while(|&(index, _)| covered(index)) {
        while now.next_if(|&(at, _)| at < index).is_some() {}
        match now.peek() {
            Some(&(at, now)) if at == index => {
                if now < count {
                    return true;
                }
            }
            _ => {
                if count != 0.0 {
                    return true;
                }
            }
        }
    }
    false
}
