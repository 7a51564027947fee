//! Which segments to merge. A pure function from what there is to what is to be done.
//!
//! A busy tenant's flush writes full segments, which are left alone: they are in their final form. What is small (flushes
//! by age, late data, many tenants) is merged with neighbours of its day, tier by tier, so that a row is rewritten about
//! once for each factor of [`FAN_IN`] in size.

use std::collections::BTreeMap;

use crate::folder::DAY_NS;
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

/// So many neighbours in age are merged, of metrics.
const METRIC_FAN_IN: usize = 4;
/// An older neighbour is merged with newer ones that have at least this share of its samples.
const OLDER_TIMES_MAX: u64 = 2;
/// More samples than this are not put together: what is packed of them waits in memory for the end of the file.
const MERGE_SAMPLES_MAX: u64 = 256 << 20;
/// A day is made one segment when it is over, and nothing new came for so long.
const QUIET_NS: i64 = 3_600_000_000_000;

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
    /// Milliseconds that one sample is to stand for; 0 keeps every sample.
    pub resolution_ms: u32,
}

/// Days that are over for so long keep one sample for each span of so many milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downsampling {
    /// Nanoseconds since the end of the day.
    pub after_ns: i64,
    /// Milliseconds.
    pub resolution_ms: u32,
}

/// What plans depend on beside the segments.
#[derive(Debug, Clone, Copy)]
pub struct Schedule<'a> {
    /// Nanoseconds since 1970.
    pub now_ns: i64,
    /// How hard to try.
    pub effort: Effort,
    /// In any order; of the rules that a day is old enough for the coarsest counts.
    pub downsampling: &'a [Downsampling],
}

impl Schedule<'_> {
    /// The resolution that samples of a day should have by now.
    fn resolution_ms(&self, day: i32) -> u32 {
        let age_ns = self.now_ns.saturating_sub((i64::from(day) + 1).saturating_mul(DAY_NS));
        let due = self.downsampling.iter().filter(|rule| age_ns >= rule.after_ns);
        due.map(|rule| rule.resolution_ms).max().unwrap_or(0)
    }

    fn is_over(&self, day: i32) -> bool {
        (i64::from(day) + 1).saturating_mul(DAY_NS) <= self.now_ns
    }
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
pub fn plan(segments: &[SegmentMeta], schedule: Schedule<'_>) -> Vec<MergeJob> {
    let mut days: BTreeMap<(&Tenant, Signal, i32), Vec<&SegmentMeta>> = BTreeMap::new();
    for meta in segments {
        days.entry((&meta.tenant, meta.signal, meta.day)).or_default().push(meta);
    }
    let mut jobs = Vec::new();
    for ((tenant, signal, day), of_day) in days {
        match signal {
            Signal::Logs => {
                jobs.extend(logs(of_day, schedule.effort).into_iter().map(|inputs| MergeJob {
                    tenant: tenant.clone(),
                    signal,
                    day,
                    inputs,
                    resolution_ms: 0,
                }));
            }
            Signal::Metrics => {
                jobs.extend(metrics(of_day, day, schedule).into_iter().map(|(inputs, resolution_ms)| MergeJob {
                    tenant: tenant.clone(),
                    signal,
                    day,
                    inputs,
                    resolution_ms,
                }));
            }
        }
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
/// Answers with each group the resolution that its samples get.
fn metrics(mut segments: Vec<&SegmentMeta>, day: i32, schedule: Schedule<'_>) -> Vec<(Vec<u64>, u32)> {
    segments.sort_by_key(|meta| (meta.lineage.last_sequence, meta.id));
    let wanted = schedule.resolution_ms(day);
    let newest_ns = segments.iter().map(|meta| meta.created_ns).max().unwrap_or_default();
    let is_quiet = schedule.is_over(day) && schedule.now_ns.saturating_sub(newest_ns) >= QUIET_NS;
    let is_whole = is_quiet || schedule.effort == Effort::Full;
    let groups = match is_whole {
        // All of the day together, or a window would be made of parts that do not know of each other.
        true if segments.iter().any(|meta| meta.resolution_ms < wanted) => vec![segments],
        true => fill_by_age(&segments),
        false => by_size(&segments),
    };
    let least = if is_whole { wanted } else { 0 };
    let resolution = |group: &[&SegmentMeta]| group.iter().map(|meta| meta.resolution_ms).fold(least, u32::max);
    groups.into_iter().map(|group| (group.iter().map(|meta| meta.id).collect(), resolution(&group))).collect()
}

/// As many neighbours as fit into one.
fn fill_by_age<'m>(segments: &[&'m SegmentMeta]) -> Vec<Vec<&'m SegmentMeta>> {
    let mut groups: Vec<Vec<&SegmentMeta>> = Vec::new();
    let mut rows = u64::MAX;
    for meta in segments {
        rows = rows.saturating_add(u64::from(meta.rows));
        match groups.last_mut().filter(|_| rows <= MERGE_SAMPLES_MAX) {
            Some(group) => group.push(meta),
            None => {
                rows = u64::from(meta.rows);
                groups.push(vec![meta]);
            }
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// From the newest back: one that is not much larger than all that came after it joins them. So each sample is rewritten
/// about once for each doubling, and those that are left are each larger than what follows: few, however many came.
fn by_size<'m>(segments: &[&'m SegmentMeta]) -> Vec<Vec<&'m SegmentMeta>> {
    let mut groups: Vec<Vec<&SegmentMeta>> = Vec::new();
    let mut group: Vec<&SegmentMeta> = Vec::new();
    let mut rows = 0;
    for &meta in segments.iter().rev() {
        let own = u64::from(meta.rows);
        if !group.is_empty() && (own > OLDER_TIMES_MAX * rows || rows + own > MERGE_SAMPLES_MAX) {
            groups.push(std::mem::take(&mut group));
            rows = 0;
        }
        rows += own;
        group.push(meta);
    }
    groups.push(group);
    groups.retain(|group| group.len() >= METRIC_FAN_IN);
    groups.iter_mut().for_each(|group| group.reverse());
    groups
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
            resolution_ms: 0,
            lineage: Lineage::default(),
        }
    }

    fn samples(id: u64, rows: u32, resolution_ms: u32) -> SegmentMeta {
        let lineage = Lineage::of_flush(id, id, 0, 1);
        SegmentMeta { signal: Signal::Metrics, lineage, resolution_ms, ..meta(id, 1, rows) }
    }

    fn check_metrics(segments: &[SegmentMeta], now_days: i64, groups: &[(&[u64], u32)]) {
        let downsampling = [
            Downsampling { after_ns: 10 * DAY_NS, resolution_ms: 60_000 },
            Downsampling { after_ns: 30 * DAY_NS, resolution_ms: 300_000 },
        ];
        let schedule = Schedule { now_ns: now_days * DAY_NS, effort: Effort::Background, downsampling: &downsampling };
        let jobs = plan(segments, schedule);
        let found: Vec<(&[u64], u32)> = jobs.iter().map(|job| (job.inputs.as_slice(), job.resolution_ms)).collect();
        assert_eq!(found, groups);
    }

    #[test]
    fn samples_are_merged_with_neighbours_of_their_size() {
        let of = |rows: &[u32]| rows.iter().zip(0..).map(|(&rows, id)| samples(id, rows, 0)).collect::<Vec<_>>();
        // Day 1 is not over yet.
        check_metrics(&of(&[100, 100, 100]), 1, &[]);
        check_metrics(&of(&[100, 100, 100, 100]), 1, &[(&[0, 1, 2, 3], 0)]);
        check_metrics(&of(&[10_000, 100, 100, 100, 100]), 1, &[(&[1, 2, 3, 4], 0)]);
        check_metrics(&of(&[700, 400, 100, 100, 100]), 1, &[(&[0, 1, 2, 3, 4], 0)]);
        // Large and small ones by turns do not stay for ever.
        check_metrics(&of(&[100, 10_000, 100, 10_000, 100, 10_000, 100, 10_000]), 1, &[(&[0, 1, 2, 3, 4, 5, 6, 7], 0)]);
        // It is over.
        check_metrics(&of(&[10_000, 100]), 3, &[(&[0, 1], 0)]);
        check_metrics(&of(&[10_000]), 3, &[]);
    }

    #[test]
    fn old_days_are_made_coarse_all_at_once() {
        check_metrics(&[samples(0, 10_000, 0)], 11, &[]);
        check_metrics(&[samples(0, 10_000, 0)], 12, &[(&[0], 60_000)]);
        check_metrics(&[samples(0, 500, 60_000), samples(1, 10, 0)], 12, &[(&[0, 1], 60_000)]);
        check_metrics(&[samples(0, 500, 60_000)], 12, &[]);
        check_metrics(&[samples(0, 500, 60_000), samples(1, 500, 60_000)], 32, &[(&[0, 1], 300_000)]);
        // A rule that is taken back makes nothing finer.
        check_metrics(&[samples(0, 500, 600_000), samples(1, 500, 0)], 12, &[(&[0, 1], 600_000)]);
    }

    fn check(segments: &[SegmentMeta], effort: Effort, inputs: &[&[u64]]) {
        let jobs = plan(segments, Schedule { now_ns: 0, effort, downsampling: &[] });
        let jobs: Vec<Vec<u64>> = jobs.into_iter().map(|job| job.inputs).collect();
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
