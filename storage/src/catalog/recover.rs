//! What the catalog should say, given what it says, which segment files are there, and what the journal still holds.
//!
//! With a catalog that can be trusted the answer is nearly always: what it says, and files that it does not list are
//! leftovers of a flush or compaction that never committed. The other cases are a catalog that was lost, and one that
//! went back in time (an old copy was put in its place); then the segments' own [`Lineage`](crate::segment::Lineage)
//! tells. The rules:
//!
//! - A merged segment stands for all that it `replaces`. Of two that replace the same segment the later one counts:
//!   the earlier one had not been committed when the later one began.
//! - Merging takes committed segments, and the journal releases committed frames. So everything up to the last
//!   sequence of a merged segment, and everything before the journal's first frame, had been committed.
//! - Of what comes after, a flush counts when all of its parts are there, and all before it count. Otherwise its parts
//!   go, and the journal, which still has all of its frames, is replayed.

use std::collections::{BTreeMap, BTreeSet};

use super::{CatalogState, DroppedSegment};
use crate::segment::SegmentMeta;

/// What is in the data folder beside the catalog.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Ids of all segments whose files are there.
    pub ids: BTreeSet<u64>,
    /// What the segments say of themselves that the catalog does not list.
    pub orphans: Vec<SegmentMeta>,
    /// The first sequence that the journal has not released; `None` when it is empty.
    pub journal_first_sequence: Option<u64>,
}

/// What to do at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The segments that make up the data.
    pub segments: Vec<SegmentMeta>,
    /// Journal frames after this one are to be replayed.
    pub flushed_sequence: u64,
    /// Segments whose files are to be deleted, where they are there.
    pub delete: Vec<DroppedSegment>,
    /// Whether the catalog has to be told, with [`super::Catalog::adopt`], before anything is deleted or replayed.
    pub changed: bool,
    /// Whether segments were taken on from their files alone.
    pub rebuilt: bool,
}

/// Decides what the data is. Pure: it touches neither files nor catalog.
pub fn recover(state: &CatalogState, found: &Found) -> Recovery {
    if state.trusted && !went_back(state, found) {
        let mut delete = state.dropped.clone();
        delete.extend(found.orphans.iter().map(dropped));
        return Recovery {
            segments: state.segments.clone(),
            flushed_sequence: state.flushed_sequence,
            delete,
            changed: false,
            rebuilt: false,
        };
    }
    rebuild(state, found)
}

/// Signs that a catalog is older than the files: a flush that it does not know, of which the journal has released
/// frames; or segments that it lists are gone while another one replaces them.
fn went_back(state: &CatalogState, found: &Found) -> bool {
    let missing: BTreeSet<u64> =
        state.segments.iter().map(|meta| meta.id).filter(|id| !found.ids.contains(id)).collect();
    let dropped: BTreeSet<u64> = state.dropped.iter().map(|dropped| dropped.id).collect();
    found.orphans.iter().filter(|meta| !dropped.contains(&meta.id)).any(|meta| {
        let lineage = &meta.lineage;
        let unknown_flush = lineage.level == 0 && lineage.first_sequence > state.flushed_sequence;
        let released = found.journal_first_sequence.is_none_or(|first| first > lineage.first_sequence);
        (unknown_flush && released) || lineage.replaces.iter().any(|id| missing.contains(id))
    })
}

fn rebuild(state: &CatalogState, found: &Found) -> Recovery {
    let dropped_ids: BTreeSet<u64> = state.dropped.iter().map(|dropped| dropped.id).collect();
    let listed = state.segments.iter().filter(|meta| found.ids.contains(&meta.id));
    let candidates: BTreeMap<u64, &SegmentMeta> = listed
        .chain(&found.orphans)
        .filter(|meta| !dropped_ids.contains(&meta.id))
        .map(|meta| (meta.id, meta))
        .collect();
    let (mut live, replaced) = merged(&candidates);
    let released = found.journal_first_sequence.map_or(u64::MAX, |first| first.saturating_sub(1));
    let merged_up_to = live.values().map(|meta| meta.lineage.last_sequence).max().unwrap_or(0);
    let committed = state.flushed_sequence.max(merged_up_to);
    let flushes = candidates.values().filter(|meta| meta.lineage.level == 0 && !replaced.contains(&meta.id));
    let (flushed, flushed_sequence) = flushed(flushes.copied(), committed, released);
    live.extend(flushed);
    let mut delete = state.dropped.clone();
    delete.extend(candidates.values().filter(|meta| !live.contains_key(&meta.id)).map(|meta| dropped(meta)));
    // A listed segment whose files are gone stays listed unless something replaces it: it is missed, not forgotten.
    let lost = state.segments.iter().filter(|meta| !found.ids.contains(&meta.id) && !replaced.contains(&meta.id));
    let mut segments: Vec<SegmentMeta> = live.into_values().chain(lost).cloned().collect();
    segments.sort_by_key(|meta| meta.id);
    let rebuilt = !found.orphans.is_empty();
    Recovery { segments, flushed_sequence, delete, changed: true, rebuilt }
}

/// The merged segments that count, and the ids of all that they replace.
fn merged<'a>(candidates: &BTreeMap<u64, &'a SegmentMeta>) -> (BTreeMap<u64, &'a SegmentMeta>, BTreeSet<u64>) {
    let (mut live, mut replaced) = (BTreeMap::new(), BTreeSet::new());
    for (id, meta) in candidates.iter().rev().filter(|(_, meta)| meta.lineage.level > 0) {
        let inputs = &meta.lineage.replaces;
        if !replaced.contains(id) && !inputs.iter().any(|input| replaced.contains(input)) {
            live.insert(*id, *meta);
            replaced.extend(inputs.iter().copied());
        }
    }
    (live, replaced)
}

/// The flushed segments that count, and the last sequence that is in segments. `committed`: everything up to it was;
/// `released`: the journal does not hold it any more.
fn flushed<'a>(
    segments: impl Iterator<Item = &'a SegmentMeta>,
    committed: u64,
    released: u64,
) -> (BTreeMap<u64, &'a SegmentMeta>, u64) {
    // By first and last sequence, and by the id of the first part: ids of one flush follow each other, and one that is
    // tried again has others.
    let mut flushes: BTreeMap<(u64, u64, u64), Vec<&SegmentMeta>> = BTreeMap::new();
    for meta in segments {
        let first_id = meta.id.saturating_sub(u64::from(meta.lineage.flush_part));
        let flush = (meta.lineage.first_sequence, meta.lineage.last_sequence, first_id);
        flushes.entry(flush).or_default().push(meta);
    }
    let (mut live, mut up_to) = (BTreeMap::new(), committed);
    let newest = |flush: &[&SegmentMeta]| flush.iter().map(|meta| meta.id).max().unwrap_or(0);
    for (&(first, last, first_id), flush) in &flushes {
        // A flush that was not committed can have left files behind which could not be deleted; the one that took its
        // place has the same frames, and later ids.
        let overtaken = flushes.iter().any(|(&(other_first, other_last, other_id), other)| {
            other_id != first_id && other_first <= last && first <= other_last && newest(other) > newest(flush)
        });
        if overtaken {
            continue;
        }
        let parts: BTreeSet<u32> = flush.iter().map(|meta| meta.lineage.flush_part).collect();
        let complete = flush.iter().all(|meta| meta.lineage.flush_parts as usize == parts.len());
        let was_committed = first <= committed || first <= released;
        if was_committed || (complete && first <= up_to.saturating_add(1)) {
            live.extend(flush.iter().map(|meta| (meta.id, *meta)));
            up_to = up_to.max(last);
        }
    }
    (live, up_to)
}

fn dropped(meta: &SegmentMeta) -> DroppedSegment {
    DroppedSegment { id: meta.id, tenant: meta.tenant.clone(), day: meta.day }
}
