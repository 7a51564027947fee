//! Histograms as text: for people, for scripts of tests, and for the HTTP API.

use std::fmt::Write as _;

use storage::metrics::{Histogram, ResetHint, Span};

use super::buckets::{Bucket, buckets, negative_buckets, positive_buckets, zero_bucket};
use super::{compact, is_custom};
use crate::number::{format_float_api, format_float_general};

/// `{count:4, sum:5, (1,2]:4}`: what strings and messages show of a histogram.
pub fn to_text(histogram: &Histogram) -> String {
    let general = format_float_general;
    let mut out = format!("{{count:{}, sum:{}", general(histogram.count), general(histogram.sum));
    let zero = (histogram.zero_count != 0.0 && !is_custom(histogram)).then(|| zero_bucket(histogram));
    let all = negative_buckets(histogram).rev().chain(zero).chain(positive_buckets(histogram));
    for bucket in all.filter(|bucket| bucket.count != 0.0) {
        let open = if bucket.lower_inclusive { '[' } else { '(' };
        let close = if bucket.upper_inclusive { ']' } else { ')' };
        let (lower, upper) = (general(bucket.lower), general(bucket.upper));
        let _ = write!(out, ", {open}{lower},{upper}{close}:{}", general(bucket.count));
    }
    out.push('}');
    out
}

/// `{{schema:1 count:4 sum:5 buckets:[4]}}`: the notation of Prometheus's test scripts.
pub fn test_expression(histogram: &Histogram) -> String {
    let mut h = histogram.clone();
    compact(&mut h, usize::MAX);
    let general = format_float_general;
    let list = |values: &[f64]| values.iter().map(|&value| general(value)).collect::<Vec<_>>().join(" ");
    let mut parts = Vec::new();
    let mut part = |name: &str, value: f64| {
        if value != 0.0 {
            parts.push(format!("{name}:{}", general(value)));
        }
    };
    part("schema", f64::from(h.schema));
    part("count", h.count);
    part("sum", h.sum);
    part("z_bucket", h.zero_count);
    part("z_bucket_w", h.zero_threshold);
    if is_custom(&h) {
        parts.push(format!("custom_values:[{}]", list(&h.custom_values)));
    }
    match h.reset_hint {
        ResetHint::Unknown => {}
        ResetHint::Reset => parts.push("counter_reset_hint:reset".to_owned()),
        ResetHint::NotReset => parts.push("counter_reset_hint:not_reset".to_owned()),
        ResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
    }
    let mut side = |prefix: &str, spans: &[Span], counts: &[f64]| {
        if let Some(offset) = spans.first().map(|span| span.offset).filter(|&offset| offset != 0) {
            parts.push(format!("{prefix}offset:{offset}"));
        }
        if !counts.is_empty() {
            parts.push(format!("{prefix}buckets:[{}]", list(counts)));
        }
    };
    side("", &h.positive_spans, &h.positive_buckets);
    side("n_", &h.negative_spans, &h.negative_buckets);
    format!("{{{{{}}}}}", parts.join(" "))
}

/// Which ends of a bucket belong to it, as the HTTP API numbers it: 0 the upper one, 1 the lower one, 2 neither, 3 both.
pub fn bucket_rule(bucket: &Bucket) -> u8 {
    match (bucket.lower_inclusive, bucket.upper_inclusive) {
        (false, true) => 0,
        (true, false) => 1,
        (false, false) => 2,
        (true, true) => 3,
    }
}

/// Appends a histogram as the HTTP API answers it: `{"count":"4","sum":"5","buckets":[[0,"1","2","4"]]}`, without empty
/// buckets.
pub fn write_json(histogram: &Histogram, out: &mut String) {
    let text = format_float_api;
    let _ = write!(out, r#"{{"count":"{}","sum":"{}""#, text(histogram.count), text(histogram.sum));
    let mut any = false;
    for bucket in buckets(histogram).filter(|bucket| bucket.count != 0.0) {
        out.push_str(if any { "," } else { r#","buckets":["# });
        any = true;
        let (lower, upper, count) = (text(bucket.lower), text(bucket.upper), text(bucket.count));
        let _ = write!(out, r#"[{},"{lower}","{upper}","{count}"]"#, bucket_rule(&bucket));
    }
    out.push_str(if any { "]}" } else { "}" });
}
