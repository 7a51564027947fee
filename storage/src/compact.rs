//! Which segments to merge. A pure function from what there is to what is to be done.
//!
//! A busy tenant's flush writes full segments, which are left alone: they are in their final form. What is small (flushes
//! by age, late data, many tenants) is merged with neighbours of its day, tier by tier, so that a row is rewritten about
//! once for each factor of [`FAN_IN`] in size.

use std::collections::BTreeMap;

use crate::segment::{SegmentMeta, Signal};
use crate::tenant::Tenant;

/// So many small segments of a tier are merged into one.
const FAN_IN: usize = 8;
/// A segment of this many rows is full.
const FULL_ROWS: u32 = 256 << 10;
/// Bytes of text that make a segment full, however few rows it has.
const FULL_MESSAGE_BYTES: u64 = 64 << 20;
/// Sums above these do not fit into the memory that a merge may take.
const MERGE_ROWS_MAX: u64 = 512 << 10;
const MERGE_MESSAGE_BYTES_MAX: u64 = 128 << 20;
/// Rows of the lowest tier.
const TIER_ROWS: u32 = 4 << 10;

/// So many neighbours of a tier are merged, of metrics.
const METRIC_FAN_IN: usize = 4;
/// Samples of the lowest tier.
const TIER_SAMPLES: u32 = 16 << 10;
/// More samples than this are not put together.
const MERGE_SAMPLES_MAX: u64 = 1 << 30;

/// Segments of one tenant and day that become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeJob {
    /// Whose.
    pub tenant: Tenant,
    /// Of what.
    pub signal: Signal,
    /// The UTC day, as days since 1970.
    pub day: i32,
    /// Their ids, in order of time.
    pub inputs: Vec<u64>,
}

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Merge where it pays.
    Background,
    /// Merge until nothing small is left beside anything small.
    Full,
}

/// The merges that are due, in no particular order; each segment is in one at most.
pub fn plan(segments: &[SegmentMeta], effort: Effort) -> Vec<MergeJob> {
    let mut days: BTreeMap<(&Tenant, Signal, i32), Vec<&SegmentMeta>> = BTreeMap::new();
    for meta in segments {
        days.entry((&meta.tenant, meta.signal, meta.day)).or_default().push(meta);
    }
    let mut jobs = Vec::new();
    for ((tenant, signal, day), of_day) in days {
        let groups = match signal {
            Signal::Logs => logs(of_day, effort),
            Signal::Metrics => metrics(of_day, effort),
        };
        jobs.extend(groups.into_iter().map(|inputs| MergeJob { tenant: tenant.clone(), signal, day, inputs }));
    }
    jobs
}

fn logs(mut segments: Vec<&SegmentMeta>, effort: Effort) -> Vec<Vec<u64>> {
    segments.retain(|meta| !is_full(meta));
    segments.sort_by_key(|meta| (meta.first_ns, meta.id));
    match effort {
        Effort::Full => fill(&segments, 2),
        Effort::Background => by_tier(&segments),
    }
}

/// Neighbours in age, so that of two samples of the same time the later one stays the later one: the more series have
/// their samples of a day in one place, the less is read. Merging streams, and needs little memory however large they are.
fn metrics(mut segments: Vec<&SegmentMeta>, effort: Effort) -> Vec<Vec<u64>> {
    segments.sort_by_key(|meta| (meta.lineage.last_sequence, meta.id));
    let tier = |meta: &SegmentMeta| match effort {
        Effort::Full => 0,
        Effort::Background => (meta.rows / TIER_SAMPLES).max(1).ilog2() / METRIC_FAN_IN.ilog2(),
    };
    let least = if effort == Effort::Full { 2 } else { METRIC_FAN_IN };
    let mut groups = Vec::new();
    let mut group: Vec<&SegmentMeta> = Vec::new();
    for meta in segments {
        let rows: u64 = group.iter().map(|meta| u64::from(meta.rows)).sum();
        let fits = rows + u64::from(meta.rows) <= MERGE_SAMPLES_MAX;
        if !fits || group.last().is_some_and(|last| tier(last) != tier(meta)) {
            groups.push(std::mem::take(&mut group));
        }
        group.push(meta);
    }
    groups.push(group);
    groups.retain(|group| group.len() >= least);
    groups.into_iter().map(|group| group.into_iter().map(|meta| meta.id).collect()).collect()
}

fn is_full(meta: &SegmentMeta) -> bool {
    meta.rows >= FULL_ROWS || meta.message_bytes >= FULL_MESSAGE_BYTES
}

/// Tier 0 has up to [`TIER_ROWS`] rows, each next one [`FAN_IN`] times as many.
fn tier(meta: &SegmentMeta) -> u32 {
    (meta.rows / TIER_ROWS).max(1).ilog2() / FAN_IN.ilog2()
}

fn by_tier(small: &[&SegmentMeta]) -> Vec<Vec<u64>> {
    let mut tiers: BTreeMap<u32, Vec<&SegmentMeta>> = BTreeMap::new();
    for meta in small {
        tiers.entry(tier(meta)).or_default().push(meta);
    }
    tiers.values().filter(|tier| tier.len() >= FAN_IN).flat_map(|tier| fill(tier, FAN_IN)).collect()
}

/// Neighbours in time, as many as fit into one merge; groups of fewer than `least` are left as they are.
fn fill(segments: &[&SegmentMeta], least: usize) -> Vec<Vec<u64>> {
    let mut groups = vec![Vec::new()];
    let (mut rows, mut bytes) = (0, 0);
    for meta in segments {
        if rows + u64::from(meta.rows) > MERGE_ROWS_MAX || bytes + meta.message_bytes > MERGE_MESSAGE_BYTES_MAX {
            groups.push(Vec::new());
            (rows, bytes) = (0, 0);
        }
        rows += u64::from(meta.rows);
        bytes += meta.message_bytes;
        if let Some(group) = groups.last_mut() {
            group.push(meta.id);
        }
    }
    groups.retain(|group| group.len() >= least);
    groups
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::segment::{Lineage, Signal};

    fn meta(id: u64, day: i32, rows: u32) -> SegmentMeta {
        SegmentMeta {
            id,
            signal: Signal::Logs,
            tenant: Tenant::new("t").unwrap(),
            day,
            rows,
            first_ns: id as i64,
            last_ns: id as i64,
            streams: 1,
            message_bytes: u64::from(rows) * 100,
            parquet_bytes: 0,
            index_bytes: 0,
            parquet_crc32c: 0,
            index_crc32c: 0,
            created_ns: 0,
            lineage: Lineage::default(),
        }
    }

    fn check(segments: &[SegmentMeta], effort: Effort, inputs: &[&[u64]]) {
        let jobs: Vec<Vec<u64>> = plan(segments, effort).into_iter().map(|job| job.inputs).collect();
        assert_eq!(jobs, inputs);
    }

    #[test]
    fn full_segments_are_left_alone() {
        let full: Vec<SegmentMeta> = (0..20).map(|id| meta(id, 1, 400_000)).collect();
        check(&full, Effort::Background, &[]);
        check(&full, Effort::Full, &[]);
    }

    #[test]
    fn small_ones_wait_until_there_are_enough() {
        let small: Vec<SegmentMeta> = (0..7).map(|id| meta(id, 1, 100)).collect();
        check(&small, Effort::Background, &[]);
        check(&small, Effort::Full, &[&[0, 1, 2, 3, 4, 5, 6]]);
        let more: Vec<SegmentMeta> = (0..8).map(|id| meta(id, 1, 100)).collect();
        check(&more, Effort::Background, &[&[0, 1, 2, 3, 4, 5, 6, 7]]);
    }

    #[test]
    fn days_are_never_mixed_and_sums_fit_into_memory() {
        let mixed = [meta(0, 1, 100), meta(1, 2, 100), meta(2, 1, 100)];
        check(&mixed, Effort::Full, &[&[0, 2]]);
        let large: Vec<SegmentMeta> = (0..4).map(|id| meta(id, 1, 250_000)).collect();
        check(&large, Effort::Full, &[&[0, 1], &[2, 3]]);
    }
}
