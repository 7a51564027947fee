//! Aggregations across series.

use rustc_hash::FxHashMap;
use storage::Labels;

use super::Series;
use crate::logql::ast::{Grouping, VectorAggregation, VectorOp};

/// Aggregates at each step.
pub(crate) fn aggregate(vector: &VectorAggregation, series: &[Series], steps: u32) -> Vec<Series> {
    match vector.op {
        VectorOp::Topk | VectorOp::ApproxTopk | VectorOp::SortDesc => ranked(vector, series, true),
        VectorOp::Bottomk | VectorOp::Sort => ranked(vector, series, false),
        _ => combined(vector, series, steps),
    }
}

fn grouped(grouping: Option<&Grouping>, labels: &Labels) -> Labels {
    let Some(grouping) = grouping else { return Labels::default() };
    let named = |name: &str| grouping.labels.iter().any(|l| l == name);
    match grouping.without {
        true => Labels::of_sorted(labels.iter().filter(|(name, value)| !named(name) && !value.is_empty())),
        false => Labels::of_sorted(labels.iter().filter(|(name, _)| named(name))),
    }
}

/// Numbers the groups in the order of their first series: the group of each series, and their labels.
fn groups(grouping: Option<&Grouping>, series: &[Series]) -> (Vec<usize>, Vec<Labels>) {
    let mut number_of: FxHashMap<Labels, usize> = FxHashMap::default();
    let mut all = Vec::new();
    let of_series = series.iter().map(|one| {
        let labels = grouped(grouping, &one.labels);
        *number_of.entry(labels).or_insert_with_key(|labels| {
            all.push(labels.clone());
            all.len() - 1
        })
    });
    (of_series.collect(), all)
}

/// What is known of one group at one step. Mean and deviation are updated as Loki does it, value by value.
#[derive(Debug, Clone, Copy, Default)]
struct Running {
    count: u64,
    /// Sum, greatest, least, or sum of squared deviations.
    value: f64,
    mean: f64,
}

impl Running {
    fn add(&mut self, op: VectorOp, value: f64) {
        self.count += 1;
        if self.count == 1 {
            let deviation = matches!(op, VectorOp::Stddev | VectorOp::Stdvar);
            (self.value, self.mean) = (if deviation { 0.0 } else { value }, value);
            return;
        }
        match op {
            VectorOp::Sum => self.value += value,
            VectorOp::Max if self.value < value || self.value.is_nan() => self.value = value,
            VectorOp::Min if self.value > value || self.value.is_nan() => self.value = value,
            VectorOp::Avg => {
                let stays = self.mean.is_infinite() && (value.is_finite() || value == self.mean);
                if !stays {
                    self.mean += (value - self.mean) / self.count as f64;
                }
            }
            VectorOp::Stddev | VectorOp::Stdvar => {
                let delta = value - self.mean;
                self.mean += delta / self.count as f64;
                self.value += delta * (value - self.mean);
            }
            _ => {}
        }
    }

    fn result(&self, op: VectorOp) -> f64 {
        match op {
            VectorOp::Avg => self.mean,
            VectorOp::Count => self.count as f64,
            VectorOp::Stddev => (self.value / self.count as f64).sqrt(),
            VectorOp::Stdvar => self.value / self.count as f64,
            _ => self.value,
        }
    }
}

fn combined(vector: &VectorAggregation, series: &[Series], steps: u32) -> Vec<Series> {
    let (group_of, labels) = groups(vector.grouping.as_ref(), series);
    let mut running: Vec<Vec<Running>> = vec![Vec::new(); labels.len()];
    for (one, &group) in series.iter().zip(&group_of) {
        let group = &mut running[group];
        group.resize(steps as usize, Running::default());
        for &(step, value) in &one.points {
            group[step as usize].add(vector.op, value);
        }
    }
    let points = |group: Vec<Running>| {
        let present = (0..).zip(group).filter(|(_, running)| running.count > 0);
        present.map(|(step, running)| (step, running.result(vector.op))).collect()
    };
    labels.into_iter().zip(running).map(|(labels, group)| Series { labels, points: points(group) }).collect()
}

/// `topk` and its like keep the first `k` of each group at each step; `sort` and its like all. The order of the
/// series is that of the first step, which matters for instant queries, where it is the only one.
fn ranked(vector: &VectorAggregation, series: &[Series], descending: bool) -> Vec<Series> {
    let (group_of, labels) = groups(vector.grouping.as_ref(), series);
    let keep = vector.parameter.map_or(usize::MAX, |k| usize::try_from(k).unwrap_or(usize::MAX));
    // (group, step, value, series), best first within a group and step.
    let mut entries: Vec<(usize, u32, f64, usize)> = Vec::new();
    for (number, one) in series.iter().enumerate() {
        entries.extend(one.points.iter().map(|&(step, value)| (group_of[number], step, value, number)));
    }
    debug_assert!(labels.len() <= series.len());
    entries.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| rank(a.2, b.2, descending)));
    let mut out: Vec<Series> = Vec::new();
    let mut place: Vec<Option<usize>> = vec![None; series.len()];
    for at_step in entries.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        for &(_, step, value, number) in at_step.iter().take(keep) {
            let at = *place[number].get_or_insert_with(|| {
                out.push(Series { labels: series[number].labels.clone(), points: Vec::new() });
                out.len() - 1
            });
            out[at].points.push((step, value));
        }
    }
    out
}

/// NaN comes last whichever way.
fn rank(a: f64, b: f64, descending: bool) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Greater,
        (false, true) => std::cmp::Ordering::Less,
        _ if descending => b.total_cmp(&a),
        _ => a.total_cmp(&b),
    }
}
