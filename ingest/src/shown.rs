//! Batches of samples as lines of text: for tests.

use storage::metrics::{MetricBatch, labels_of};

use crate::decoded::DecodedMetrics;

/// Every series in the form `name{label=value,...}`.
pub(crate) fn series(batch: &MetricBatch, index: u32) -> String {
    let mut name = String::new();
    let mut others = Vec::new();
    for (label, value) in labels_of(batch.series(index as usize).label_bytes) {
        match label {
            "__name__" => value.clone_into(&mut name),
            _ => others.push(format!("{label}={value}")),
        }
    }
    if others.is_empty() { name } else { format!("{name}{{{}}}", others.join(",")) }
}

/// Samples, histograms, exemplars and metadata, a line each.
pub(crate) fn lines(batch: &MetricBatch) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, (index, time, value)) in batch.samples().enumerate() {
        let since = batch.starts().get(at).filter(|&&start| start != 0);
        let since = since.map_or(String::new(), |start| format!(" since {start}"));
        let value = if storage::metrics::is_stale(value) { "stale".to_owned() } else { value.to_string() };
        lines.push(format!("{} {value} @{time}{since}", series(batch, index)));
    }
    for sample in batch.histograms() {
        let h = &sample.histogram;
        let side = |spans: &[storage::metrics::Span], buckets: &[f64]| {
            let spans: Vec<String> = spans.iter().map(|s| format!("{}+{}", s.offset, s.length)).collect();
            format!("{}:{buckets:?}", spans.join(","))
        };
        let sum = if storage::metrics::is_stale(h.sum) { "stale".to_owned() } else { h.sum.to_string() };
        let mut line = format!(
            "{} histogram {:?} schema={} count={} sum={sum} zero={}/{} pos={} neg={}",
            series(batch, sample.series),
            h.reset_hint,
            h.schema,
            h.count,
            h.zero_count,
            h.zero_threshold,
            side(&h.positive_spans, &h.positive_buckets),
            side(&h.negative_spans, &h.negative_buckets),
        );
        if !h.custom_values.is_empty() {
            line.push_str(&format!(" bounds={:?}", h.custom_values));
        }
        line.push_str(&format!(" @{}", sample.timestamp));
        if sample.start != 0 {
            line.push_str(&format!(" since {}", sample.start));
        }
        lines.push(line);
    }
    for exemplar in batch.exemplars() {
        let name = series(batch, exemplar.series);
        lines.push(format!("{name} exemplar {} {} @{}", exemplar.labels, exemplar.value, exemplar.timestamp));
    }
    for metadata in batch.metadata() {
        let kind = metadata.kind.as_str();
        lines.push(format!("meta {} {kind} {:?} {:?}", metadata.name, metadata.help, metadata.unit));
    }
    lines
}

/// Position, reason and message of every refusal.
pub(crate) fn refused(decoded: &DecodedMetrics) -> Vec<String> {
    decoded.refused.iter().map(|r| format!("{} {}: {}", r.position, r.reason, r.message)).collect()
}
