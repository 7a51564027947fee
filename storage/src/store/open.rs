//! Opening: lock, catalog, segments, journal, in that order. What is damaged is set aside, and the rest is served.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};

use super::keys::{Claim, Keys};
use super::maintain::{Doomed, remove_files};
use super::{Shared, State, StoreConfig};
use crate::catalog::{Catalog, CatalogState, Found, KeyUse, Recovery, key_hash, recover};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::folder::{segment_folder, segment_path};
use crate::journal::{FrameEncoder, Journal, JournalOptions, JournalScan};
use crate::lock::lock_folder;
use crate::memtable::Memtable;
use crate::segment::{Segment, SegmentCache, SegmentMeta, segment_files};
use crate::stats::Stats;

pub(super) async fn open(
    config: StoreConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<Shared>, Journal), StorageError> {
    let lock = lock_folder(&config.data)?;
    disk.create_dir_durable(&config.data).map_err(|e| StorageError::io("make folder", &config.data, e))?;
    let stats = Stats::default();
    let (catalog, told) = Catalog::open(&config.data).await?;
    if let Some(aside) = &told.set_aside {
        stats.quarantined.fetch_add(1, Ordering::Relaxed);
        tracing::error!(path = %aside.path.display(), reason = %aside.reason, "the catalog was damaged and is set aside; it is put together again from the segments");
    }
    let scan = JournalScan::new(Arc::clone(&disk), &config.data.join("journal"))?;
    let files = segment_files_below(disk.as_ref(), &config.data.join("segments"))?;
    let recovery = recover(&told, &found(disk.as_ref(), &files, &told, &scan, &config.data, &stats));
    if recovery.changed {
        let _settled = catalog.adopt(&recovery).await?;
    }
    for gone in &recovery.delete {
        remove_files(disk.as_ref(), &segment_folder(&config.data, &gone.tenant, gone.day), gone.id)?;
    }
    catalog.forget_dropped(&recovery.delete.iter().map(|d| d.id).collect::<Vec<_>>()).await?;

    let mut state = State::default();
    let cache = SegmentCache::new(config.cache_bytes);
    let lost = open_segments(&disk, &config, &recovery, &cache, &stats, &mut state);
    if !lost.is_empty() {
        let _settled = catalog.commit_removal(&lost).await?;
    }
    let highest =
        recovery.segments.iter().map(|m| m.id).chain(files.keys().copied()).chain(told.dropped.iter().map(|d| d.id));
    let next_segment = highest.max().unwrap_or(0) + 1;

    let mut options = JournalOptions::new(&config.data.join("quarantine"));
    options.file_bytes = config.journal_file_bytes;
    options.flushed_sequence = recovery.flushed_sequence;
    let (mut journal, mut replay) = scan.open(&options)?;
    journal.release(recovery.flushed_sequence)?;
    let keys = Keys::default();
    let now_ns = clock.now_ns();
    for frame in replay.by_ref() {
        let content = frame.content;
        let key = content.idempotency_key.map(|key| KeyUse { hash: key_hash(&content.tenant, &key), seen_ns: now_ns });
        if let Some(key) = key {
            match keys.claim(key.hash, &catalog).await? {
                // The first try was written although it was reported to have failed, and the sender tried again.
                Claim::Seen => continue,
                Claim::Mine(claim) => claim.stored(),
            }
        }
        state.active.insert(frame.sequence, &content.tenant, content.batch, key, now_ns);
        stats.replayed_frames.fetch_add(1, Ordering::Relaxed);
        if state.active.bytes() >= config.memtable_bytes {
            state.frozen.push_back(Arc::new(std::mem::take::<Memtable>(&mut state.active)));
        }
    }
    for damage in replay.damage() {
        stats.quarantined.fetch_add(1, Ordering::Relaxed);
        tracing::error!(?damage, "part of the journal was damaged and is set aside");
    }
    let shared = Shared {
        catalog,
        cache,
        encoder: FrameEncoder::default(),
        room: (Mutex::new(()), Condvar::new()),
        keys,
        tails: Mutex::new(HashMap::new()),
        stats,
        waiting_bytes: AtomicU64::new(0),
        journal_bytes: AtomicU64::new(journal.bytes()),
        next_segment: AtomicU64::new(next_segment),
        work: tokio::sync::Notify::new(),
        busy: tokio::sync::Mutex::new(Doomed::default()),
        closing: AtomicBool::new(false),
        _lock: lock,
        state: RwLock::new(state),
        config,
        disk,
        clock,
    };
    {
        let state = shared.read_state();
        shared.observe_memory(&state);
        shared.observe_segments(&state);
    }
    Ok((Arc::new(shared), journal))
}

/// Every segment's path without extension, by id, whose index or Parquet file is there.
pub(crate) fn segment_files_below(disk: &dyn Disk, folder: &Path) -> Result<BTreeMap<u64, PathBuf>, StorageError> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match disk.list(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(StorageError::io("list", &folder, e)),
        };
        for entry in entries {
            if entry.is_dir {
                folders.push(entry.path);
                continue;
            }
            let stem = entry.path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
            if let Some(id) = stem {
                found.insert(id, entry.path.with_extension(""));
            }
        }
    }
    Ok(found)
}

/// What is in the folder beside the catalog. An orphan that does not say what it is was never finished, or is damaged;
/// without a catalog that knows better it is set aside.
fn found(
    disk: &dyn Disk,
    files: &BTreeMap<u64, PathBuf>,
    told: &CatalogState,
    scan: &JournalScan,
    data: &Path,
    stats: &Stats,
) -> Found {
    let listed: BTreeSet<u64> = told.segments.iter().map(|m| m.id).collect();
    let mut orphans = Vec::new();
    for (id, path) in files.iter().filter(|(id, _)| !listed.contains(id)) {
        match Segment::read_meta(disk, path) {
            Ok(meta) => orphans.push(meta),
            Err(e) if told.trusted => {
                tracing::debug!(error = %e, id, "leftover of a write that never ended");
                let (parquet, index) = segment_files(path);
                let _ = disk.remove(&parquet);
                let _ = disk.remove(&index);
            }
            Err(e) => set_aside(disk, data, path, &e, stats),
        }
    }
    Found { ids: files.keys().copied().collect(), orphans, journal_first_sequence: scan.first_sequence() }
}

/// Opens the segments; returns the ids of those that cannot be used.
fn open_segments(
    disk: &Arc<dyn Disk>,
    config: &StoreConfig,
    recovery: &Recovery,
    cache: &SegmentCache,
    stats: &Stats,
    state: &mut State,
) -> Vec<u64> {
    let mut lost = Vec::new();
    for meta in &recovery.segments {
        let path = segment_path(&segment_folder(&config.data, &meta.tenant, meta.day), meta.id);
        match open_whole(disk, &path, meta, cache) {
            Ok(segment) => state.add(Arc::new(segment)),
            Err(e) => {
                set_aside(disk.as_ref(), &config.data, &path, &e, stats);
                lost.push(meta.id);
            }
        }
    }
    lost
}

/// A segment whose Parquet file has lost its end is of no use either.
fn open_whole(
    disk: &Arc<dyn Disk>,
    path: &Path,
    meta: &SegmentMeta,
    cache: &SegmentCache,
) -> Result<Segment, StorageError> {
    let (parquet, _) = segment_files(path);
    let bytes = disk.open(&parquet).and_then(|f| f.len()).map_err(|e| StorageError::io("read", &parquet, e))?;
    if bytes < meta.parquet_bytes {
        let reason = format!("it has {bytes} bytes, the catalog says {}", meta.parquet_bytes);
        return Err(StorageError::Corrupt { path: parquet, offset: bytes, reason });
    }
    Segment::open(disk, path, meta.clone(), cache)
}

/// Moves a segment's files into the quarantine, with their place in their names.
fn set_aside(disk: &dyn Disk, data: &Path, path: &Path, error: &StorageError, stats: &Stats) {
    stats.quarantined.fetch_add(1, Ordering::Relaxed);
    let quarantine = data.join("quarantine");
    tracing::error!(segment = %path.display(), error = %error, "a segment cannot be read and is set aside in {}", quarantine.display());
    let moved = disk.create_dir_durable(&quarantine).and_then(|()| {
        let (parquet, index) = segment_files(path);
        for file in [parquet, index] {
            let name = file.strip_prefix(data).unwrap_or(&file).to_string_lossy().replace('/', "_");
            match disk.rename(&file, &quarantine.join(name)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        disk.sync_dir(&quarantine)
    });
    if let Err(e) = moved {
        tracing::error!(segment = %path.display(), error = %e, "it cannot be moved: it stays where it is and is not read");
    }
}
