//! One side's buckets as spans and counts: built, compacted, brought to a lower resolution, and merged. Each may carry
//! Kahan compensations along, one a bucket.

use storage::metrics::Span;

use super::buckets::indexed;
use crate::promql::kahan;

/// The buckets of one side, put together in ascending order.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) spans: Vec<Span>,
    pub(super) counts: Vec<f64>,
    pub(super) compensations: Vec<f64>,
    /// Index behind the last bucket.
    end: i32,
}

impl Side {
    pub(super) fn with_capacity(buckets: usize) -> Self {
        Self { counts: Vec::with_capacity(buckets), ..Self::default() }
    }

    /// Adds a bucket behind all others; `compensation` only where compensations are kept.
    pub(super) fn push(&mut self, index: i32, count: f64, compensation: Option<f64>) {
        match self.spans.last_mut() {
            Some(last) if index == self.end => last.length += 1,
            _ => self.spans.push(Span { offset: index.wrapping_sub(self.end), length: 1 }),
        }
        self.end = index.wrapping_add(1);
        self.counts.push(count);
        self.compensations.extend(compensation);
    }
}

/// See [`super::compact`]. A bucket with a compensation is not empty.
pub(super) fn compact(
    spans: &mut Vec<Span>,
    counts: &mut Vec<f64>,
    mut compensations: Option<&mut Vec<f64>>,
    max_empty: usize,
) {
    let wide = |span: &Span| span.length > 0 && usize::try_from(span.offset).map_or(span.offset < 0, |o| o > max_empty);
    let first_is_wide = spans.first().is_none_or(|span| span.length > 0);
    if counts.iter().all(|&count| count != 0.0) && first_is_wide && spans.iter().skip(1).all(wide) {
        return;
    }
    let mut side = Side::with_capacity(counts.len());
    for (at, (index, count)) in indexed(spans, counts).enumerate() {
        let compensation = compensations.as_ref().map(|all| all.get(at).copied().unwrap_or_default());
        if count == 0.0 && compensation.unwrap_or_default() == 0.0 {
            continue;
        }
        let gap = usize::try_from(index.wrapping_sub(side.end)).unwrap_or_default();
        if !side.counts.is_empty() && gap <= max_empty {
            for empty in side.end..index {
                side.push(empty, 0.0, compensation.map(|_| 0.0));
            }
        }
        side.push(index, count, compensation);
    }
    *spans = side.spans;
    *counts = side.counts;
    if let Some(compensations) = &mut compensations {
        **compensations = side.compensations;
    }
}

/// The buckets of one side at a lower schema.
pub(super) fn reduce_resolution(
    spans: &[Span],
    counts: &[f64],
    compensations: Option<&[f64]>,
    from: i32,
    to: i32,
) -> Side {
    let shift = (from - to).clamp(0, 31);
    let mut side = Side::with_capacity(counts.len());
    for (at, (index, count)) in indexed(spans, counts).enumerate() {
        let target = (index.wrapping_sub(1) >> shift).wrapping_add(1);
        let compensation = compensations.map(|all| all.get(at).copied().unwrap_or_default());
        match side.counts.last_mut() {
            Some(last) if target.wrapping_add(1) == side.end => match side.compensations.last_mut() {
                Some(kept) => {
                    kahan::increment(count, last, kept);
                    kahan::increment(compensation.unwrap_or_default(), last, kept);
                }
                None => *last += count,
            },
            _ => side.push(target, count, compensation),
        }
    }
    side
}

/// What is added to a side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addend<'a> {
    pub(super) spans: &'a [Span],
    pub(super) counts: &'a [f64],
    /// Subtract it.
    pub(super) negative: bool,
}

/// Adds the buckets of `b` to those of `a`, and puts those that `a` lacks in. Buckets of `b` at its low end for which
/// `skip` is true are left out.
pub(super) fn merge(
    spans: &mut Vec<Span>,
    counts: &mut Vec<f64>,
    mut compensations: Option<&mut Vec<f64>>,
    b: Addend<'_>,
    skip: impl Fn(i32) -> bool,
) {
    let sign = if b.negative { -1.0 } else { 1.0 };
    let skipped = indexed(b.spans, b.counts).take_while(|&(index, _)| skip(index)).count();
    let added = indexed(b.spans, b.counts).skip(skipped).map(|(index, count)| (index, sign * count));
    if skipped == 0 && *spans == b.spans && counts.len() == b.counts.len() {
        for (at, (_, count)) in added.enumerate() {
            let kept = compensations.as_mut().and_then(|all| all.get_mut(at));
            increment(&mut counts[at], kept, count);
        }
        return;
    }

    let mut side = Side::with_capacity(counts.len() + b.counts.len());
    let mut old = indexed(spans, counts).enumerate().peekable();
    let kept_at = |at: usize| compensations.as_ref().map(|all| all.get(at).copied().unwrap_or_default());
    for (index, count) in added {
        while let Some((at, (before, kept))) = old.next_if(|(_, (old, _))| *old < index) {
            side.push(before, kept, kept_at(at));
        }
        match old.next_if(|(_, (old, _))| *old == index) {
            Some((at, (_, mut sum))) => {
                let mut kept = kept_at(at);
                increment(&mut sum, kept.as_mut(), count);
                side.push(index, sum, kept);
            }
            None => side.push(index, count, compensations.as_ref().map(|_| 0.0)),
        }
    }
    for (at, (index, kept)) in old {
        side.push(index, kept, kept_at(at));
    }
    *spans = side.spans;
    *counts = side.counts;
    if let Some(compensations) = &mut compensations {
        **compensations = side.compensations;
    }
}

/// Adds `value`, with Kahan's compensation where one is kept.
pub(super) fn increment(sum: &mut f64, kept: Option<&mut f64>, value: f64) {
    match kept {
        Some(kept) => kahan::increment(value, sum, kept),
        None => *sum += value,
    }
}

/// Whether two lists of spans hold the same buckets; empty spans do not matter.
pub(crate) fn spans_match(a: &[Span], b: &[Span]) -> bool {
    let joined = |spans: &[Span]| {
        let mut out: Vec<Span> = Vec::with_capacity(spans.len());
        let mut gap = 0_i32;
        for span in spans {
            gap = gap.wrapping_add(span.offset);
            if span.length > 0 {
                out.push(Span { offset: gap, length: span.length });
                gap = 0;
            }
        }
        out
    };
    a == b || joined(a) == joined(b)
}
