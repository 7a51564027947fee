//! Classic histograms as native ones with custom buckets.

use std::collections::BTreeMap;

use storage::Labels;
use storage::metrics::{Histogram, Span};

use super::script::Load;
use super::series::Item;
use crate::logql::units::parse_float;
use crate::promql::histogram;

/// What the series of one classic histogram say at one time.
#[derive(Debug, Default)]
struct Classic {
    /// Cumulative counts, by upper bound.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The histograms that the series `_bucket`, `_count` and `_sum` of a load make up, each with its labels and time.
pub(super) fn convert(load: &Load) -> Result<Vec<(Labels, i64, Histogram)>, String> {
    let mut all: BTreeMap<(Labels, i64), Classic> = BTreeMap::new();
    for loaded in &load.series {
        let labels = &loaded.series.labels;
        let name = labels.get("__name__").unwrap_or_default();
        let Some((base, suffix)) = name.rsplit_once('_') else { continue };
        let bound = match suffix {
            "bucket" => match parse_float(labels.get("le").unwrap_or_default()) {
                Ok(bound) if !bound.is_nan() => bound,
                _ => continue,
            },
            "count" | "sum" => f64::NAN,
            _ => continue,
        };
        let others = labels.iter().filter(|(name, _)| !matches!(*name, "le" | "__name__"));
        let labels = Labels::new(others.chain([("__name__", base)]));
        for (at, item) in loaded.series.items.iter().enumerate() {
            let Item::Float(value) = item else { continue };
            let classic = all.entry((labels.clone(), at as i64 * load.step)).or_default();
            match suffix {
                "bucket" => classic.buckets.push((bound, *value)),
                "count" => classic.count = Some(*value),
                _ => classic.sum = *value,
            }
        }
    }
    let native = all.into_iter().map(|((labels, timestamp), classic)| Ok((labels, timestamp, native(classic)?)));
    native.collect()
}

fn native(mut classic: Classic) -> Result<Histogram, String> {
    let buckets = &mut classic.buckets;
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets.dedup_by_key(|bucket| bucket.0);
    let count = classic.count.unwrap_or_else(|| buckets.last().map_or(0.0, |last| last.1));
    if buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
        buckets.push((f64::INFINITY, count));
    }
    if buckets.last().is_some_and(|last| last.1 != count) {
        return Err(format!("the count of a classic histogram is {count}, of its last bucket not"));
    }
    let mut before = 0.0;
    let mut counts = Vec::with_capacity(buckets.len());
    for &(bound, cumulative) in buckets.iter() {
        if cumulative < before {
            return Err(format!("the bucket {bound} of a classic histogram counts less than the one before it"));
        }
        counts.push(cumulative - before);
        before = cumulative;
    }
    let mut native = Histogram {
        schema: Histogram::CUSTOM_SCHEMA,
        count,
        sum: classic.sum,
        positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
        positive_buckets: counts,
        custom_values: buckets.iter().map(|bucket| bucket.0).filter(|&bound| bound < f64::INFINITY).collect(),
        ..Histogram::default()
    };
    histogram::compact(&mut native, 2);
    Ok(native)
}
