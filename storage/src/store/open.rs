//! Opening: lock, catalog, segments, journal, in that order. What is damaged is set aside, and the rest is served.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};

use super::keys::{Claim, Keys};
use super::maintain::{Upkeep, remove_files};
use super::stored::Stored;
use super::{Shared, State, StoreConfig};
use crate::catalog::{Catalog, CatalogState, Found, KeyUse, Masks, Recovery, Settled, key_hash, recover};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::folder::{segment_folder, segment_path};
use crate::journal::{FrameEncoder, Journal, JournalOptions, JournalScan, Replay};
use crate::lock::lock_folder;
use crate::segment::{Segment, SegmentCache, SegmentMeta, Signal, segment_files};
use crate::stats::Stats;

pub(super) async fn open(
    config: StoreConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<Shared>, Journal), StorageError> {
    let data = config.data.clone();
    let lock = tokio::task::spawn_blocking(move || lock_folder(&data)).await;
    let lock = lock.map_err(|e| StorageError::Refused(format!("locking the data folder ended early: {e}")))??;
    disk.create_dir_durable(&config.data).map_err(|e| StorageError::io("make folder", &config.data, e))?;
    let (catalog, told) = Catalog::open(&config.data).await?;
    let loaded = match load(&config, &disk, clock.now_ns(), &catalog, &told).await {
        Ok(loaded) => loaded,
        Err(e) => {
            // What SQLite says about closing matters less than why.
            let _ = catalog.close().await;
            return Err(e);
        }
    };
    let Loaded { state, keys, cache, stats, next_segment, upkeep, journal } = loaded;
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
        busy: tokio::sync::Mutex::new(upkeep),
        closing: AtomicBool::new(false),
        stop: tokio::sync::Notify::new(),
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

/// What is found in the folder.
struct Loaded {
    state: State,
    keys: Keys,
    cache: SegmentCache,
    stats: Stats,
    next_segment: u64,
    upkeep: Upkeep,
    journal: Journal,
}

async fn load(
    config: &StoreConfig,
    disk: &Arc<dyn Disk>,
    now_ns: i64,
    catalog: &Catalog,
    told: &CatalogState,
) -> Result<Loaded, StorageError> {
    let stats = Stats::default();
    if let Some(aside) = &told.set_aside {
        stats.quarantined.fetch_add(1, Ordering::Relaxed);
        tracing::error!(path = %aside.path.display(), reason = %aside.reason, "the catalog was damaged and is set aside; it is put together again from the segments");
    }
    let scan = JournalScan::new(Arc::clone(disk), &config.data.join("journal"))?;
    let files = segment_files_below(disk.as_ref(), &config.data.join("segments"))?;
    let recovery = recover(told, &found(disk.as_ref(), &files, told, &scan, &config.data, &stats));
    let settled = tell_catalog(config, disk.as_ref(), catalog, &recovery).await?;

    let mut state = State { metadata: catalog.metadata().await?, ..State::default() };
    let cache = SegmentCache::new(config.cache_bytes);
    let lost = open_segments(disk, config, (&recovery, &told.masks), &cache, &stats, &mut state);
    if !lost.is_empty() {
        let _settled = catalog.commit_removal(&lost).await?;
    }
    let dropped = told.dropped.iter().map(|dropped| dropped.id);
    let highest = recovery.segments.iter().map(|meta| meta.id).chain(files.keys().copied()).chain(dropped).max();

    let mut options = JournalOptions::new(&config.data.join("quarantine"));
    options.file_bytes = config.journal_file_bytes;
    options.flushed_sequence = recovery.flushed_sequence;
    let released = scan.first_sequence().map_or(0, |first| first.saturating_sub(1));
    let (mut journal, replay) = scan.open(&options)?;
    let mut upkeep = Upkeep::default();
    match settled {
        Settled::Yes => journal.release(recovery.flushed_sequence)?,
        Settled::NotYet => upkeep.release(recovery.flushed_sequence),
    }
    state.last_sequence = journal.next_sequence().saturating_sub(1);
    state.flushed_sequence = recovery.flushed_sequence.max(released);
    let keys = Keys::default();
    replay_into(&mut state, replay, config, now_ns, (&keys, catalog), &stats).await?;
    Ok(Loaded { state, keys, cache, stats, next_segment: highest.unwrap_or(0) + 1, upkeep, journal })
}

/// Makes sure of segments that are taken on from their files alone: who wrote them may have been killed before it did.
fn make_durable(config: &StoreConfig, disk: &dyn Disk, recovery: &Recovery) -> Result<(), StorageError> {
    for meta in &recovery.segments {
        let folder = segment_folder(&config.data, &meta.tenant, meta.signal, meta.day);
        let (parquet, index) = segment_files(&segment_path(&folder, meta.id));
        for file in [parquet, index] {
            match disk.open(&file).and_then(|open| open.sync()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(StorageError::io("sync", &file, e)),
                _ => {}
            }
        }
        let folders = disk.create_dir_below(&config.data, &folder).and_then(|()| disk.sync_dir(&folder));
        folders.map_err(|e| StorageError::io("sync", &folder, e))?;
    }
    Ok(())
}

/// Makes the catalog say what was found, and removes what it says is gone, once that is settled.
async fn tell_catalog(
    config: &StoreConfig,
    disk: &dyn Disk,
    catalog: &Catalog,
    recovery: &Recovery,
) -> Result<Settled, StorageError> {
    if recovery.rebuilt {
        make_durable(config, disk, recovery)?;
    }
    let settled = match recovery.changed {
        true => catalog.adopt(recovery).await?,
        false => catalog.settle().await?,
    };
    if settled == Settled::Yes && !recovery.delete.is_empty() {
        for gone in &recovery.delete {
            for signal in [Signal::Logs, Signal::Metrics] {
                remove_files(disk, &segment_folder(&config.data, &gone.tenant, signal, gone.day), gone.id)?;
            }
        }
        catalog.forget_dropped(&recovery.delete.iter().map(|gone| gone.id).collect::<Vec<_>>()).await?;
    }
    Ok(settled)
}

/// Brings the journal's batches back into memtables.
async fn replay_into(
    state: &mut State,
    mut replay: Replay,
    config: &StoreConfig,
    now_ns: i64,
    (keys, catalog): (&Keys, &Catalog),
    stats: &Stats,
) -> Result<(), StorageError> {
    for frame in replay.by_ref() {
        let content = frame.content;
        let key = content.idempotency_key.map(|key| KeyUse { hash: key_hash(&content.tenant, &key), seen_ns: now_ns });
        if let Some(key) = key {
            match keys.claim(key.hash, catalog).await? {
                // The first try was written although it was reported to have failed, and the sender tried again.
                Claim::Seen => continue,
                Claim::Mine(claim) => claim.stored(),
            }
        }
        state.active.insert(frame.sequence, &content.tenant, &content.batch, key, now_ns);
        stats.replayed_frames.fetch_add(1, Ordering::Relaxed);
        if state.active.bytes() >= config.memtable_bytes {
            state.freeze();
        }
    }
    for damage in replay.damage() {
        stats.quarantined.fetch_add(1, Ordering::Relaxed);
        tracing::error!(?damage, "part of the journal was damaged and is set aside");
    }
    Ok(())
}

/// Every segment's path without extension, by id, whose index or Parquet file is there.
pub(crate) fn segment_files_below(disk: &dyn Disk, folder: &Path) -> Result<BTreeMap<u64, PathBuf>, StorageError> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match disk.list(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
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

/// What is in the folder beside the catalog. An orphan that does not say what it is was never finished, or is damaged: it
/// is set aside. With a catalog that can be trusted the former is all but certain, and nothing to be alarmed at.
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
    for (_, path) in files.iter().filter(|(id, _)| !listed.contains(id)) {
        // One whose Parquet file is gone or short was being removed: what it says of itself does not count.
        match Segment::read_meta(disk, path).and_then(|meta| rows_are_there(disk, path, &meta).map(|()| meta)) {
            Ok(meta) => orphans.push(meta),
            Err(e) if told.trusted => {
                tracing::info!(segment = %path.display(), error = %e, "a segment that was never finished is set aside");
                if let Err(e) = move_aside(disk, data, path) {
                    tracing::warn!(segment = %path.display(), error = %e, "it cannot be moved, and stays where it is");
                }
            }
            Err(e) => {
                set_aside(disk, data, path, &e, stats);
            }
        }
    }
    Found { ids: files.keys().copied().collect(), orphans, journal_first_sequence: scan.first_sequence() }
}

/// Opens the segments; returns the ids of those that cannot be used and are set aside.
fn open_segments(
    disk: &Arc<dyn Disk>,
    config: &StoreConfig,
    (recovery, masks): (&Recovery, &Masks),
    cache: &SegmentCache,
    stats: &Stats,
    state: &mut State,
) -> Vec<u64> {
    let mut lost = Vec::new();
    for meta in &recovery.segments {
        let path = segment_path(&segment_folder(&config.data, &meta.tenant, meta.signal, meta.day), meta.id);
        match open_whole(disk, &path, meta, cache, masks) {
            Ok(segment) => state.add(segment),
            // What cannot be moved stays listed: what is not listed is deleted.
            Err(e) if set_aside(disk.as_ref(), &config.data, &path, &e, stats) => lost.push(meta.id),
            Err(_) => {}
        }
    }
    lost
}

/// Hides the rows of a segment that deletions took.
pub(super) fn masked(mut segment: Segment, masks: &Masks) -> Result<Segment, StorageError> {
    let rows: Vec<_> =
        masks.iter().filter(|(id, _)| *id == segment.meta().id).flat_map(|(_, rows)| rows).cloned().collect();
    if !rows.is_empty() {
        segment.mask(&rows)?;
    }
    Ok(segment)
}

/// A segment whose Parquet file has lost its end is of no use either.
fn open_whole(
    disk: &Arc<dyn Disk>,
    path: &Path,
    meta: &SegmentMeta,
    cache: &SegmentCache,
    masks: &Masks,
) -> Result<Stored, StorageError> {
    rows_are_there(disk.as_ref(), path, meta)?;
    match meta.signal {
        Signal::Logs => {
            masked(Segment::open(disk, path, meta.clone(), cache)?, masks).map(|s| Stored::Logs(Arc::new(s)))
        }
        Signal::Metrics => Stored::open(disk, path, meta.clone(), cache),
    }
}

/// Whether the Parquet file has all of its bytes.
fn rows_are_there(disk: &dyn Disk, path: &Path, meta: &SegmentMeta) -> Result<(), StorageError> {
    let (parquet, _) = segment_files(path);
    let bytes = disk.open(&parquet).and_then(|f| f.len()).map_err(|e| StorageError::io("read", &parquet, e))?;
    if bytes < meta.parquet_bytes {
        let reason = format!("it has {bytes} bytes, it was written with {}", meta.parquet_bytes);
        return Err(StorageError::Corrupt { path: parquet, offset: bytes, reason });
    }
    Ok(())
}

/// Moves a segment that cannot be read into the quarantine, and says so; false when it cannot be moved.
fn set_aside(disk: &dyn Disk, data: &Path, path: &Path, error: &StorageError, stats: &Stats) -> bool {
    stats.quarantined.fetch_add(1, Ordering::Relaxed);
    let quarantine = data.join("quarantine");
    tracing::error!(segment = %path.display(), error = %error, "a segment cannot be read and is set aside in {}", quarantine.display());
    let moved = move_aside(disk, data, path);
    if let Err(e) = &moved {
        tracing::error!(segment = %path.display(), error = %e, "it cannot be moved: it stays where it is and is not read");
    }
    moved.is_ok()
}

/// Moves a segment's files into the quarantine, with their place in their names.
fn move_aside(disk: &dyn Disk, data: &Path, path: &Path) -> io::Result<()> {
    let quarantine = data.join("quarantine");
    disk.create_dir_below(data, &quarantine)?;
    let (parquet, index) = segment_files(path);
    for file in [parquet, index] {
        let name = file.strip_prefix(data).unwrap_or(&file).to_string_lossy().replace('/', "_");
        match disk.rename(&file, &quarantine.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    disk.sync_dir(&quarantine)?;
    path.parent().map_or(Ok(()), |folder| match disk.sync_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    })
}
