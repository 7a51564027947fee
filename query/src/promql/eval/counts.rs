//! Histograms of which only count and sum are looked at: their buckets tell whether a counter was reset, and are then
//! left behind.

use std::sync::Arc;

use storage::metrics::{Histogram, ResetHint, is_stale};

use crate::promql::ast::{BinaryOp, Expr, Node};
use crate::promql::histogram::detect_reset;
use crate::promql::source::Samples;

/// What the expressions around a selector need of histograms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Buckets {
    /// Everything, but an inner function may need less.
    #[default]
    Wanted,
    /// Count and sum.
    Unwanted,
    /// Everything, whatever an inner function needs.
    Needed,
}

impl Buckets {
    /// What an expression's parts need of histograms, of one that stands here.
    pub(super) fn inside(self, expr: &Expr) -> Self {
        match &expr.node {
            _ if self == Self::Needed => self,
            Node::Call(call) => match call.function {
                "histogram_count" | "histogram_sum" | "histogram_avg" => Self::Unwanted,
                "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => Self::Needed,
                _ => self,
            },
            Node::Binary(binary) if matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) => Self::Needed,
            _ => self,
        }
    }
}

/// The samples with histograms that have no buckets. An unknown hint becomes a known one where there is a histogram
/// before it.
pub(super) fn without_buckets(samples: &Samples) -> Samples {
    let mut out = samples.clone();
    let mut before: Option<&Histogram> = None;
    for ((_, whole), (_, counts)) in samples.histograms.iter().zip(&mut out.histograms) {
        let known = (whole.reset_hint != ResetHint::Unknown || is_stale(whole.sum)).then_some(whole.reset_hint);
        let detected = before.map_or(ResetHint::Unknown, |before| match detect_reset(whole, before) {
            true => ResetHint::Reset,
            false => ResetHint::NotReset,
        });
        *counts = Arc::new(Histogram {
            reset_hint: known.unwrap_or(detected),
            schema: whole.schema,
            count: whole.count,
            sum: whole.sum,
            ..Histogram::default()
        });
        if !is_stale(whole.sum) {
            before = Some(whole);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn hints_are_found_from_the_histogram_before() {
        let counted = |count| Histogram { count, positive_buckets: vec![1.0], ..Histogram::default() };
        let hinted = Histogram { reset_hint: ResetHint::Gauge, ..counted(9.0) };
        let all = [counted(1.0), counted(2.0), counted(1.0), hinted];
        let samples = Samples {
            histograms: all.into_iter().enumerate().map(|(at, h)| (at as u32, Arc::new(h))).collect(),
            ..Samples::default()
        };
        let counts = without_buckets(&samples).histograms;
        let hints: Vec<_> = counts.iter().map(|(_, h)| h.reset_hint).collect();
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        assert_eq!(hints, [Unknown, NotReset, Reset, Gauge]);
        assert!(counts.iter().all(|(_, h)| h.positive_buckets.is_empty()));
    }

    #[test]
    fn what_needs_buckets() {
        let check = |outer: Buckets, text: &str, inner: Buckets| {
            assert_eq!(outer.inside(&crate::promql::parser::parse(text).unwrap()), inner, "{text}");
        };
        check(Buckets::Wanted, "histogram_count(h)", Buckets::Unwanted);
        check(Buckets::Unwanted, "rate(h[5m])", Buckets::Unwanted);
        check(Buckets::Unwanted, "histogram_quantile(0.5, h)", Buckets::Needed);
        check(Buckets::Needed, "histogram_count(h)", Buckets::Needed);
        check(Buckets::Unwanted, "h </ 5", Buckets::Needed);
    }
}
