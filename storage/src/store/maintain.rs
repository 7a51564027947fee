//! Background work: full memtables into segments, small segments into larger ones, old ones away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::stored::Stored;
use super::writer::Job;
use super::{Kept, Shared, State};
use crate::batch::LogBatch;
use crate::catalog::Settled;
use crate::compact::{self, Effort, MergeJob, Schedule};
use crate::disk::Disk;
use crate::error::StorageError;
use crate::folder::{day_of, segment_folder, segment_path};
use crate::memtable::Memtable;
use crate::metrics::{self, MemoryPart, MetricSegment};
use crate::retain;
use crate::segment::{
    Lineage, Segment, SegmentMeta, SegmentOrder, Signal, WriteOptions, merge_segments, segment_files, write_segment,
};
use crate::tenant::Tenant;

/// Longest pause after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What is left to be done after commits.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Not in the catalog any more; the files go when the catalog is settled and no query holds them.
    doomed: Vec<Stored>,
    /// The journal up to here is in segments; its files go when the catalog is settled.
    release: Option<u64>,
    /// What a commit was to add whose outcome is not known: it failed, or whoever waited for it went away.
    pub(super) undecided: Option<Vec<Stored>>,
}

impl Upkeep {
    /// The journal's files up to `sequence` may go when the catalog is settled.
    pub(super) fn release(&mut self, sequence: u64) {
        self.release = self.release.max(Some(sequence));
    }
}

/// Runs until the store closes.
pub(super) async fn run(shared: Arc<Shared>, jobs: mpsc::Sender<Job>) {
    let mut backoff = Duration::from_millis(100);
    while !shared.closing.load(Ordering::SeqCst) {
        match shared.turn(&jobs).await {
            Ok(()) => backoff = Duration::from_millis(100),
            Err(StorageError::Closed) => return,
            Err(e) => {
                tracing::error!(error = %e, "background work on the data folder failed; it is tried again in {backoff:?}");
                let _ = tokio::time::timeout(backoff, shared.stop.notified()).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                continue;
            }
        }
        let _ = tokio::time::timeout(shared.config.maintenance_interval, shared.work.notified()).await;
    }
}

impl Shared {
    /// One look at everything.
    pub(super) async fn turn(&self, jobs: &mpsc::Sender<Job>) -> Result<(), StorageError> {
        let now_ns = self.clock.now_ns();
        let age_ns = i64::try_from(self.config.memtable_age.as_nanos()).unwrap_or(i64::MAX);
        let due = {
            let state = self.read_state();
            !state.active.is_empty() && now_ns.saturating_sub(state.active.begun_ns()) >= age_ns
        };
        if due {
            let (answer, frozen) = tokio::sync::oneshot::channel();
            jobs.send(Job::Freeze(answer)).await.map_err(|_| StorageError::Closed)?;
            frozen.await.map_err(|_| StorageError::Closed)?;
        }
        self.flush_frozen(jobs).await?;
        self.expire().await?;
        self.rewrite_masked(jobs).await?;
        self.compact(jobs, Effort::Background).await?;
        let mut upkeep = self.busy.lock().await;
        self.clean(&mut upkeep, jobs).await
    }

    /// Turns every frozen memtable into segments, oldest first.
    pub(super) async fn flush_frozen(&self, jobs: &mpsc::Sender<Job>) -> Result<(), StorageError> {
        let mut upkeep = self.busy.lock().await;
        self.decide(&mut upkeep).await?;
        loop {
            let Some(memtable) = self.read_state().frozen.front().cloned() else { break };
            let begun = Instant::now();
            if let Err(e) = self.flush(&memtable, &mut upkeep).await {
                self.stats.flush_failures.fetch_add(1, Ordering::Relaxed);
                return Err(e);
            }
            self.stats.flush.observe(begun.elapsed());
            self.clean(&mut upkeep, jobs).await?;
        }
        Ok(())
    }

    /// Finds out what became of a commit whose outcome is not known: the catalog says, and the state follows it. What
    /// was committed is not committed again, so that no record is there twice.
    pub(super) async fn decide(&self, upkeep: &mut Upkeep) -> Result<(), StorageError> {
        if upkeep.undecided.is_none() {
            return Ok(());
        }
        let (listed, flushed_sequence) = self.catalog.contents().await?;
        let listed: BTreeSet<u64> = listed.iter().map(|meta| meta.id).collect();
        let written = upkeep.undecided.take().unwrap_or_default();
        // SQLite may still find the commit in its log after a crash: the files stay until that is written over.
        let (added, never): (Vec<_>, Vec<_>) = written.into_iter().partition(|s| listed.contains(&s.meta().id));
        upkeep.doomed.extend(never);
        let unlisted: Vec<u64> = self.metas().iter().map(|meta| meta.id).filter(|id| !listed.contains(id)).collect();
        self.switch(added, &unlisted, flushed_sequence, upkeep);
        Ok(())
    }

    /// What queries see follows a commit, in one step: segments come and go, and those that were flushed take the place of
    /// their memtables. Returns how many went.
    pub(super) fn switch(
        &self,
        added: Vec<Stored>,
        removed: &[u64],
        flushed_sequence: u64,
        upkeep: &mut Upkeep,
    ) -> usize {
        let mut state = self.write_state();
        let gone = state.remove(removed);
        let count = gone.len();
        upkeep.doomed.extend(gone);
        added.into_iter().for_each(|segment| state.add(segment));
        state.flushed_sequence = state.flushed_sequence.max(flushed_sequence);
        let is_flushed = |m: &Arc<Memtable>| m.sequences().is_none_or(|(_, last)| last <= flushed_sequence);
        while let Some(memtable) = state.frozen.pop_front_if(|memtable| is_flushed(memtable)) {
            self.keys.committed(memtable.keys().iter().map(|key| key.hash));
            for (tenant, known) in memtable.metadata() {
                state.metadata.entry(tenant.clone()).or_default().extend(known.clone());
            }
            upkeep.release(flushed_sequence);
        }
        self.observe_memory(&state);
        self.observe_segments(&state);
        // The writer holds the other lock while it looks at the state.
        drop(state);
        drop(self.room.0.lock());
        self.room.1.notify_all();
        count
    }

    /// Writes a memtable's segments and commits them; then they take its place in one step.
    async fn flush(&self, memtable: &Arc<Memtable>, upkeep: &mut Upkeep) -> Result<(), StorageError> {
        let Some((_, last_sequence)) = memtable.sequences() else { return Ok(()) };
        // From where the last flush ended, although the memtable may begin later: what is in between was not to be kept.
        let first_sequence = self.read_state().flushed_sequence + 1;
        let pieces = pieces(memtable);
        let parts = pieces.len() as u32;
        let mut added: Vec<Stored> = Vec::with_capacity(pieces.len());
        for (piece, part) in pieces.into_iter().zip(0..) {
            let lineage = Lineage::of_flush(first_sequence, last_sequence, part, parts);
            let Piece { tenant, signal, day, rows } = piece;
            let written = self.write_new(tenant, signal, day, lineage, move |disk, path, order| match rows {
                PieceRows::Logs(batches) => {
                    write_segment(disk, path, order, &batches, &WriteOptions::default()).map(Some)
                }
                PieceRows::Metrics(part) => metrics::flush::write_part(disk, path, &order, &part).map(Some),
            });
            match written.await {
                Ok(new) => added.extend(new),
                Err(e) => {
                    self.discard(&added);
                    return Err(e);
                }
            }
        }
        let metas: Vec<SegmentMeta> = added.iter().map(|segment| segment.meta().clone()).collect();
        upkeep.undecided = Some(added);
        let settled = self.catalog.commit_flush(&metas, last_sequence, memtable.keys(), &memtable.said()).await?;
        let added = upkeep.undecided.take().unwrap_or_default();
        self.switch(added, &[], last_sequence, upkeep);
        tracing::debug!(records = memtable.rows(), segments = parts, ?settled, "memtable flushed");
        Ok(())
    }

    /// Compacts until nothing is due.
    pub(super) async fn compact_all(&self, jobs: &mpsc::Sender<Job>) -> Result<(), StorageError> {
        self.rewrite_masked(jobs).await?;
        while self.compact(jobs, Effort::Full).await? > 0 {}
        let mut upkeep = self.busy.lock().await;
        self.clean(&mut upkeep, jobs).await
    }

    /// Does the merges that are due now; returns how many.
    async fn compact(&self, jobs: &mpsc::Sender<Job>, effort: Effort) -> Result<usize, StorageError> {
        let mut upkeep = self.busy.lock().await;
        self.decide(&mut upkeep).await?;
        let metas = self.metas();
        let downsampling = &self.config.downsampling;
        let plan = compact::plan(&metas, Schedule { now_ns: self.clock.now_ns(), effort, downsampling });
        for job in &plan {
            let begun = Instant::now();
            if let Err(e) = self.merge(job, &mut upkeep).await {
                self.stats.compaction_failures.fetch_add(1, Ordering::Relaxed);
                return Err(e);
            }
            self.stats.compaction.observe(begun.elapsed());
            self.clean(&mut upkeep, jobs).await?;
            if self.closing.load(Ordering::SeqCst) {
                break;
            }
        }
        Ok(plan.len())
    }

    pub(super) async fn merge(&self, job: &MergeJob, upkeep: &mut Upkeep) -> Result<(), StorageError> {
        let inputs = {
            let state = self.read_state();
            state.stored(job)
        };
        let (lineage, resolution_ms) = (inputs.lineage(), job.resolution_ms);
        let merged = self
            .write_new(job.tenant.clone(), job.signal, job.day, lineage, move |disk, path, order| match inputs {
                Inputs::Logs(inputs) => merge_segments(disk, path, order, &inputs, &WriteOptions::default()).map(Some),
                Inputs::Metrics(inputs) => {
                    let change = metrics::flush::Change { deletion: None, resolution_ms };
                    metrics::flush::merge(disk, path, &order, &inputs, change)
                }
            })
            .await?;
        let Some(merged) = merged else { return Ok(()) };
        let meta = merged.meta().clone();
        upkeep.undecided = Some(vec![merged]);
        let _settled: Settled = self.catalog.commit_compaction(&job.inputs, std::slice::from_ref(&meta)).await?;
        let merged = upkeep.undecided.take().unwrap_or_default();
        self.switch(merged, &job.inputs, 0, upkeep);
        tracing::debug!(inputs = job.inputs.len(), rows = meta.rows, "segments merged");
        Ok(())
    }

    /// Removes what retention does not keep, and keys that are too old to matter.
    async fn expire(&self) -> Result<(), StorageError> {
        let now_ns = self.clock.now_ns();
        let before = |age: Duration| now_ns.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        let limits =
            |kept: &Kept| retain::Limits { oldest_ns: kept.retention.map(before), bytes_max: kept.size_bytes_max };
        let own = self.config.tenants.iter().map(|(tenant, kept)| (tenant.clone(), limits(kept)));
        let own: BTreeMap<Tenant, retain::Limits> = own.collect();
        let shared = limits(&Kept { retention: self.config.retention, size_bytes_max: self.config.size_bytes_max });
        let mut upkeep = self.busy.lock().await;
        self.decide(&mut upkeep).await?;
        let ids = retain::expired(&self.metas(), shared, &own);
        if !ids.is_empty() {
            upkeep.undecided = Some(Vec::new());
            let _settled: Settled = self.catalog.commit_removal(&ids).await?;
            upkeep.undecided = None;
            let removed = self.switch(Vec::new(), &ids, 0, &mut upkeep);
            self.stats.segments_expired.fetch_add(removed as u64, Ordering::Relaxed);
            tracing::info!(segments = ids.len(), "segments past their retention removed");
        }
        self.catalog.expire_keys(before(self.config.idempotency_window)).await?;
        Ok(())
    }

    /// Once the catalog is settled: journal files that nobody needs, and files of segments that nobody reads.
    pub(super) async fn clean(&self, upkeep: &mut Upkeep, jobs: &mpsc::Sender<Job>) -> Result<(), StorageError> {
        let nothing = upkeep.release.is_none() && upkeep.doomed.is_empty();
        if nothing || self.catalog.settle().await? == Settled::NotYet {
            return Ok(());
        }
        if let Some(up_to) = upkeep.release.take() {
            jobs.send(Job::Release(up_to)).await.map_err(|_| StorageError::Closed)?;
        }
        let (held, free): (Vec<Stored>, Vec<Stored>) =
            std::mem::take(&mut upkeep.doomed).into_iter().partition(Stored::is_held);
        upkeep.doomed = held;
        if free.is_empty() {
            return Ok(());
        }
        let mut gone = Vec::with_capacity(free.len());
        for segment in free {
            let meta = segment.meta();
            remove_files(self.disk.as_ref(), &self.folder_of(meta), meta.id)?;
            gone.push(meta.id);
        }
        self.catalog.forget_dropped(&gone).await
    }

    /// Runs a writer of segments off the async threads and opens what it wrote.
    async fn write_new(
        &self,
        tenant: Tenant,
        signal: Signal,
        day: i32,
        lineage: Lineage,
        write: impl FnOnce(&dyn Disk, &Path, SegmentOrder) -> Result<Option<SegmentMeta>, StorageError> + Send + 'static,
    ) -> Result<Option<Stored>, StorageError> {
        let data = self.config.data.clone();
        let folder = segment_folder(&data, &tenant, signal, day);
        let id = self.next_segment.fetch_add(1, Ordering::SeqCst);
        let order = SegmentOrder { id, tenant, day, created_ns: self.clock.now_ns(), lineage };
        let (disk, cache) = (Arc::clone(&self.disk), self.cache.clone());
        let written = tokio::task::spawn_blocking(move || {
            disk.create_dir_below(&data, &folder).map_err(|e| StorageError::io("make folder", &folder, e))?;
            let path = segment_path(&folder, id);
            let Some(meta) = write(disk.as_ref(), &path, order)? else { return Ok(None) };
            Stored::open(&disk, &path, meta, &cache).map(Some)
        });
        written.await.map_err(|e| StorageError::Refused(format!("writing a segment ended early: {e}")))?
    }

    /// [`Self::write_new`], in the place of a segment.
    pub(super) async fn write(
        &self,
        old: &SegmentMeta,
        lineage: Lineage,
        write: impl FnOnce(&dyn Disk, &Path, SegmentOrder) -> Result<Option<SegmentMeta>, StorageError> + Send + 'static,
    ) -> Result<Option<Stored>, StorageError> {
        self.write_new(old.tenant.clone(), old.signal, old.day, lineage, write).await
    }

    /// Removes segments that were written but will not be committed.
    pub(super) fn discard(&self, written: &[Stored]) {
        for meta in written.iter().map(|segment| segment.meta()) {
            let folder = self.folder_of(meta);
            if let Err(e) = remove_files(self.disk.as_ref(), &folder, meta.id) {
                tracing::warn!(error = %e, "files of a failed flush stay until the next start");
            }
        }
    }

    fn metas(&self) -> Vec<SegmentMeta> {
        self.read_state().metas().cloned().collect()
    }
}

/// What a merge reads, the oldest first.
enum Inputs {
    Logs(Vec<Arc<Segment>>),
    Metrics(Vec<Arc<MetricSegment>>),
}

impl Inputs {
    fn lineage(&self) -> Lineage {
        match self {
            Self::Logs(inputs) => Lineage::of_merge(inputs.iter().map(|s| s.meta())),
            Self::Metrics(inputs) => Lineage::of_merge(inputs.iter().map(|s| s.meta())),
        }
    }
}

impl State {
    /// The segments of a merge.
    fn stored(&self, job: &MergeJob) -> Inputs {
        fn chosen<S: Clone>(of_tenant: Option<&Vec<S>>, is_input: impl Fn(&S) -> bool) -> Vec<S> {
            of_tenant.into_iter().flatten().filter(|segment| is_input(segment)).cloned().collect()
        }
        let is_input = |meta: &SegmentMeta| job.inputs.contains(&meta.id);
        match job.signal {
            Signal::Logs => Inputs::Logs(chosen(self.segments.get(&job.tenant), |s| is_input(s.meta()))),
            Signal::Metrics => Inputs::Metrics(chosen(self.metrics.get(&job.tenant), |s| is_input(s.meta()))),
        }
    }
}

/// What of a memtable becomes one segment.
struct Piece {
    tenant: Tenant,
    signal: Signal,
    day: i32,
    rows: PieceRows,
}

enum PieceRows {
    Logs(Vec<Arc<LogBatch>>),
    Metrics(Arc<MemoryPart>),
}

/// A memtable cut by tenant, signal and day.
fn pieces(memtable: &Memtable) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (tenant, batches) in memtable.tenants() {
        let mut days: BTreeMap<i32, Vec<Arc<LogBatch>>> = BTreeMap::new();
        for batch in batches {
            let mut of_batch: Vec<i32> = batch.timestamps().iter().map(|&t| day_of(t)).collect();
            of_batch.dedup();
            of_batch.sort_unstable();
            of_batch.dedup();
            for day in of_batch {
                days.entry(day).or_default().push(Arc::clone(&batch));
            }
        }
        pieces.extend(days.into_iter().map(|(day, batches)| Piece {
            tenant: tenant.clone(),
            signal: Signal::Logs,
            day,
            rows: PieceRows::Logs(batches),
        }));
    }
    for (tenant, table) in memtable.metrics() {
        let part = table.part();
        pieces.extend(metrics::flush::days(&part).into_iter().map(|day| {
            let rows = PieceRows::Metrics(Arc::clone(&part));
            Piece { tenant: tenant.clone(), signal: Signal::Metrics, day, rows }
        }));
    }
    pieces
}

/// Removes a segment's files, where they are there, durably; an empty folder goes as well.
pub(super) fn remove_files(
    disk: &dyn crate::disk::Disk,
    folder: &std::path::Path,
    id: u64,
) -> Result<(), StorageError> {
    let (parquet, index) = segment_files(&segment_path(folder, id));
    for path in [parquet, index] {
        match disk.remove(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(StorageError::io("remove", &path, e)),
        }
    }
    match disk.list(folder) {
        Ok(left) if left.is_empty() => match disk.remove_dir(folder) {
            Ok(()) => Ok(()),
            Err(e) => Err(StorageError::io("remove folder", folder, e)),
        },
        Ok(_) => disk.sync_dir(folder).map_err(|e| StorageError::io("sync", folder, e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StorageError::io("list", folder, e)),
    }
}
