//! Annotations: what a query's author should know of its answer. Texts and rules for putting several together are
//! Prometheus's.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::number::format_float_general;
use crate::promql::ast::Span;

/// What an operation did when histograms were combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HistogramOperation {
    Addition,
    Subtraction,
    Aggregation,
}

impl HistogramOperation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// Everything that there is to say.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Note<'a> {
    InvalidQuantile(f64),
    InvalidRatio(f64, f64),
    BadBucketLabel { metric: &'a str, value: &'a str },
    MixedFloatsHistograms { metric: &'a str },
    MixedFloatsHistogramsAggregation,
    MixedClassicNative { metric: &'a str },
    NotCounter { metric: &'a str },
    NotGauge { metric: &'a str },
    MixedExponentialCustom { metric: &'a str },
    IncompatibleBuckets { operator: &'a str },
    SortInRange,
    PossibleNonCounter { metric: &'a str },
    ForcedMonotonicity { metric: &'a str, time: i64, min_bucket: f64, max_bucket: f64, max_difference: f64 },
    IncompatibleTypes { left: &'a str, operator: &'a str, right: &'a str },
    IgnoredInAggregation { operation: &'a str },
    IgnoredInMixedRange { metric: &'a str },
    QuantileNanResult { metric: &'a str },
    QuantileNanSkew { metric: &'a str },
    FractionNan { metric: &'a str },
    ResetCollision(HistogramOperation),
    MismatchedCustomBuckets(HistogramOperation),
    StartTimeOverlap { metric: &'a str },
}

impl Note<'_> {
    fn is_warning(&self) -> bool {
        !matches!(
            self,
            Self::PossibleNonCounter { .. }
                | Self::ForcedMonotonicity { .. }
                | Self::IncompatibleTypes { .. }
                | Self::IgnoredInAggregation { .. }
                | Self::IgnoredInMixedRange { .. }
                | Self::QuantileNanResult { .. }
                | Self::QuantileNanSkew { .. }
                | Self::FractionNan { .. }
                | Self::MismatchedCustomBuckets(_)
        )
    }

    fn text(&self) -> String {
        let for_metric = |text: &str, metric: &str| match metric {
            "" => text.to_owned(),
            metric => format!("{text} for metric name {metric:?}"),
        };
        let number = |n: f64| format_float_general(n);
        match self {
            Self::InvalidQuantile(q) => format!("quantile value should be between 0 and 1, got {}", number(*q)),
            Self::InvalidRatio(r, to) => {
                format!("ratio value should be between -1 and 1, got {}, capping to {}", number(*r), number(*to))
            }
            Self::BadBucketLabel { metric, value } => {
                for_metric(&format!("bucket label \"le\" is missing or has a malformed value of {value:?}"), metric)
            }
            Self::MixedFloatsHistograms { metric } => {
                format!("encountered a mix of histograms and floats for metric name {metric:?}")
            }
            Self::MixedFloatsHistogramsAggregation => {
                "encountered a mix of histograms and floats for aggregation".to_owned()
            }
            Self::MixedClassicNative { metric } => {
                for_metric("vector contains a mix of classic and native histograms", metric)
            }
            Self::NotCounter { metric } => format!("this native histogram metric is not a counter: {metric:?}"),
            Self::NotGauge { metric } => format!("this native histogram metric is not a gauge: {metric:?}"),
            Self::MixedExponentialCustom { metric } => format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric:?}"
            ),
            Self::IncompatibleBuckets { operator } => {
                format!("incompatible bucket layout encountered for binary operator {operator}")
            }
            Self::SortInRange => {
                "sort is ineffective for range queries since results are always ordered by labels".to_owned()
            }
            Self::PossibleNonCounter { metric } => {
                format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}")
            }
            Self::ForcedMonotonicity { metric, .. } => for_metric(
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                metric,
            ),
            Self::IncompatibleTypes { left, operator, right } => format!(
                "incompatible sample types encountered for binary operator {operator:?}: {left} {operator} {right}"
            ),
            Self::IgnoredInAggregation { operation } => format!("ignored histogram in {operation} aggregation"),
            Self::IgnoredInMixedRange { metric } => format!(
                "ignored histograms in a range containing both floats and histograms for metric name {metric:?}"
            ),
            Self::QuantileNanResult { metric } => {
                for_metric("input to histogram_quantile has NaN observations, result is NaN", metric)
            }
            Self::QuantileNanSkew { metric } => {
                for_metric("input to histogram_quantile has NaN observations, result is skewed higher", metric)
            }
            Self::FractionNan { metric } => for_metric(
                "input to histogram_fraction has NaN observations, which are excluded from all fractions",
                metric,
            ),
            Self::ResetCollision(operation) => {
                format!("conflicting counter resets during histogram {}", operation.as_str())
            }
            Self::MismatchedCustomBuckets(operation) => {
                format!("mismatched custom buckets were reconciled during {}", operation.as_str())
            }
            Self::StartTimeOverlap { metric } => {
                format!("sample has start time that overlaps with previous sample timestamp for metric {metric:?}")
            }
        }
    }
}

/// What was said so far, each text once; shared by the threads of a query.
#[derive(Debug, Default)]
pub(super) struct Notes {
    said: Mutex<BTreeMap<(bool, String), Said>>,
}

#[derive(Debug, Clone)]
struct Said {
    span: Span,
    mended: Option<Mended>,
}

/// How much a classic histogram had to be mended.
#[derive(Debug, Clone, Copy)]
struct Mended {
    count: u64,
    first: i64,
    last: i64,
    min_bucket: f64,
    max_bucket: f64,
    max_difference: f64,
}

impl Notes {
    /// Says it, about the part of the query at `span`.
    pub(super) fn add(&self, span: Span, note: &Note<'_>) {
        let mended = match *note {
            Note::ForcedMonotonicity { time, min_bucket, max_bucket, max_difference, .. } => {
                Some(Mended { count: 1, first: time, last: time, min_bucket, max_bucket, max_difference })
            }
            _ => None,
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let known = said.entry((note.is_warning(), note.text())).or_insert(Said { span, mended: None });
        known.mended = match (known.mended, mended) {
            (Some(a), Some(b)) => Some(Mended {
                count: a.count + b.count,
                first: a.first.min(b.first),
                last: a.last.max(b.last),
                min_bucket: a.min_bucket.min(b.min_bucket),
                max_bucket: a.max_bucket.max(b.max_bucket),
                max_difference: a.max_difference.max(b.max_difference),
            }),
            (a, b) => a.or(b),
        };
    }

    /// The warnings and the infos, with the places in the query's text.
    pub(super) fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for ((is_warning, text), said) in said.iter() {
            let place = place(query, said.span.start);
            let kind = if *is_warning { "PromQL warning" } else { "PromQL info" };
            let details = said.mended.map(|m| {
                let time = |ms: i64| {
                    chrono::DateTime::from_timestamp_millis(ms.div_euclid(1000) * 1000)
                        .map(|time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
                        .unwrap_or_default()
                };
                format!(
                    ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                    format_float_general(m.min_bucket),
                    format_float_general(m.max_bucket),
                    two_digits(m.max_difference),
                    m.count,
                    time(m.first),
                    time(m.last)
                )
            });
            let line = format!("{kind}: {text}{} ({place})", details.unwrap_or_default());
            if *is_warning { warnings.push(line) } else { infos.push(line) }
        }
        (warnings, infos)
    }
}

/// As Go's `%.2g`.
fn two_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    format_float_general(rounded)
}

/// Line and column of a byte, both from 1.
fn place(query: &str, at: usize) -> String {
    let before = query.as_bytes().get(..at).unwrap_or_default();
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    format!("{line}:{column}")
}
