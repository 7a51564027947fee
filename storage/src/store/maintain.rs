//! Background work: full memtables into segments, small segments into larger ones, old ones away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Shared;
use super::writer::Job;
use crate::batch::LogBatch;
use crate::catalog::Settled;
use crate::compact::{self, Effort, MergeJob};
use crate::error::StorageError;
use crate::folder::{day_of, segment_path};
use crate::memtable::Memtable;
use crate::retain;
use crate::segment::{
    Lineage, Segment, SegmentMeta, SegmentOrder, WriteOptions, merge_segments, segment_files, write_segment,
};
use crate::tenant::Tenant;

/// Longest pause after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What is waiting for a moment when it can go.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    /// Out of the catalog; the files go when no query holds them.
    segments: Vec<Arc<Segment>>,
    /// The journal up to here is in segments; its files go when the catalog is settled.
    release: Option<u64>,
}

impl Doomed {
    pub(super) fn add(&mut self, segments: Vec<Arc<Segment>>) {
        self.segments.extend(segments);
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
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                continue;
            }
        }
        let _ = tokio::time::timeout(shared.config.maintenance_interval, shared.work.notified()).await;
    }
}

impl Shared {
    /// One look at everything.
    async fn turn(&self, jobs: &mpsc::Sender<Job>) -> Result<(), StorageError> {
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
        self.compact(jobs, Effort::Background).await?;
        let mut doomed = self.busy.lock().await;
        self.clean(&mut doomed, jobs).await
    }

    /// Turns every frozen memtable into segments, oldest first.
    pub(super) async fn flush_frozen(&self, jobs: &mpsc::Sender<Job>) -> Result<(), StorageError> {
        let mut doomed = self.busy.lock().await;
        loop {
            let Some(memtable) = self.read_state().frozen.front().cloned() else { break };
            let begun = Instant::now();
            if let Err(e) = self.flush(&memtable, &mut doomed).await {
                self.stats.flush_failures.fetch_add(1, Ordering::Relaxed);
                return Err(e);
            }
            self.stats.flush.observe(begun.elapsed());
            drop(self.room.0.lock());
            self.room.1.notify_all();
            self.clean(&mut doomed, jobs).await?;
        }
        Ok(())
    }

    /// Writes a memtable's segments and commits them; then they take its place in one step.
    async fn flush(&self, memtable: &Arc<Memtable>, doomed: &mut Doomed) -> Result<(), StorageError> {
        let Some((first_sequence, last_sequence)) = memtable.sequences() else { return Ok(()) };
        let pieces = pieces(memtable);
        let parts = pieces.len() as u32;
        let mut added: Vec<(SegmentMeta, Arc<Segment>)> = Vec::with_capacity(pieces.len());
        for ((tenant, day, batches), part) in pieces.into_iter().zip(0..) {
            let lineage = Lineage::of_flush(first_sequence, last_sequence, part, parts);
            let written = self.write(tenant, day, lineage, move |disk, path, order| {
                write_segment(disk, path, order, &batches, &WriteOptions::default())
            });
            match written.await {
                Ok(new) => added.push(new),
                Err(e) => {
                    self.discard(&added);
                    return Err(e);
                }
            }
        }
        let metas: Vec<SegmentMeta> = added.iter().map(|(meta, _)| meta.clone()).collect();
        let settled = match self.catalog.commit_flush(&metas, last_sequence, memtable.keys()).await {
            Ok(settled) => settled,
            Err(e) => {
                // Whether it was committed is not certain; if it was, the files must stay. Orphans go at the next start.
                return Err(e);
            }
        };
        {
            let mut state = self.write_state();
            state.frozen.pop_front();
            added.into_iter().for_each(|(_, segment)| state.add(segment));
            self.observe_memory(&state);
            self.observe_segments(&state);
        }
        self.keys.committed(memtable.keys().iter().map(|key| key.hash));
        doomed.release = Some(last_sequence);
        tracing::debug!(records = memtable.rows(), segments = parts, ?settled, "memtable flushed");
        Ok(())
    }

    /// Compacts until nothing is due.
    pub(super) async fn compact_all(&self, jobs: &mpsc::Sender<Job>) -> Result<(), StorageError> {
        while self.compact(jobs, Effort::Full).await? > 0 {}
        let mut doomed = self.busy.lock().await;
        self.clean(&mut doomed, jobs).await
    }

    /// Does the merges that are due now; returns how many.
    async fn compact(&self, jobs: &mpsc::Sender<Job>, effort: Effort) -> Result<usize, StorageError> {
        let mut doomed = self.busy.lock().await;
        let metas = self.metas();
        let plan = compact::plan(&metas, effort);
        for job in &plan {
            let begun = Instant::now();
            if let Err(e) = self.merge(job, &mut doomed).await {
                self.stats.compaction_failures.fetch_add(1, Ordering::Relaxed);
                return Err(e);
            }
            self.stats.compaction.observe(begun.elapsed());
            self.clean(&mut doomed, jobs).await?;
            if self.closing.load(Ordering::SeqCst) {
                break;
            }
        }
        Ok(plan.len())
    }

    async fn merge(&self, job: &MergeJob, doomed: &mut Doomed) -> Result<(), StorageError> {
        let inputs: Vec<Arc<Segment>> = {
            let state = self.read_state();
            let of_tenant = state.segments.get(&job.tenant).map(Vec::as_slice).unwrap_or_default();
            of_tenant.iter().filter(|s| job.inputs.contains(&s.meta().id)).cloned().collect()
        };
        let lineage = Lineage::of_merge(inputs.iter().map(|s| s.meta()));
        let (meta, segment) = self
            .write(job.tenant.clone(), job.day, lineage, move |disk, path, order| {
                merge_segments(disk, path, order, &inputs, &WriteOptions::default())
            })
            .await?;
        let _settled: Settled = self.catalog.commit_compaction(&job.inputs, std::slice::from_ref(&meta)).await?;
        let mut state = self.write_state();
        doomed.add(state.remove(&job.tenant, &job.inputs));
        state.add(segment);
        self.observe_segments(&state);
        tracing::debug!(inputs = job.inputs.len(), rows = meta.rows, "segments merged");
        Ok(())
    }

    /// Removes what retention does not keep, and keys that are too old to matter.
    async fn expire(&self) -> Result<(), StorageError> {
        let now_ns = self.clock.now_ns();
        let before = |age: Duration| now_ns.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        let limits =
            retain::Limits { oldest_ns: self.config.retention.map(before), bytes_max: self.config.size_bytes_max };
        let mut doomed = self.busy.lock().await;
        let ids = retain::expired(&self.metas(), limits);
        if !ids.is_empty() {
            let _settled: Settled = self.catalog.commit_removal(&ids).await?;
            let mut state = self.write_state();
            let tenants: Vec<Tenant> = state.segments.keys().cloned().collect();
            for tenant in tenants {
                let removed = state.remove(&tenant, &ids);
                self.stats.segments_expired.fetch_add(removed.len() as u64, Ordering::Relaxed);
                doomed.add(removed);
            }
            self.observe_segments(&state);
            tracing::info!(segments = ids.len(), "segments past their retention removed");
        }
        self.catalog.expire_keys(before(self.config.idempotency_window)).await?;
        Ok(())
    }

    /// Once the catalog is settled: journal files that nobody needs, and files of segments that nobody reads.
    async fn clean(&self, doomed: &mut Doomed, jobs: &mpsc::Sender<Job>) -> Result<(), StorageError> {
        let nothing = doomed.release.is_none() && doomed.segments.is_empty();
        if nothing || self.catalog.settle().await? == Settled::NotYet {
            return Ok(());
        }
        if let Some(up_to) = doomed.release.take() {
            jobs.send(Job::Release(up_to)).await.map_err(|_| StorageError::Closed)?;
        }
        let (free, held): (Vec<Arc<Segment>>, Vec<Arc<Segment>>) =
            std::mem::take(&mut doomed.segments).into_iter().partition(|s| Arc::strong_count(s) == 1);
        doomed.segments = held;
        if free.is_empty() {
            return Ok(());
        }
        let mut gone = Vec::with_capacity(free.len());
        for segment in free {
            let meta = segment.meta();
            let folder = self.segment_folder(&meta.tenant, meta.day);
            remove_files(self.disk.as_ref(), &folder, meta.id)?;
            gone.push(meta.id);
        }
        self.catalog.forget_dropped(&gone).await
    }

    /// Runs a writer of segments off the async threads and opens what it wrote.
    async fn write(
        &self,
        tenant: Tenant,
        day: i32,
        lineage: Lineage,
        write: impl FnOnce(&dyn crate::disk::Disk, &std::path::Path, SegmentOrder) -> Result<SegmentMeta, StorageError>
        + Send
        + 'static,
    ) -> Result<(SegmentMeta, Arc<Segment>), StorageError> {
        let folder = self.segment_folder(&tenant, day);
        let id = self.next_segment.fetch_add(1, Ordering::SeqCst);
        let order = SegmentOrder { id, tenant, day, created_ns: self.clock.now_ns(), lineage };
        let (disk, cache) = (Arc::clone(&self.disk), self.cache.clone());
        let written = tokio::task::spawn_blocking(move || {
            disk.create_dir_durable(&folder).map_err(|e| StorageError::io("make folder", &folder, e))?;
            let path = segment_path(&folder, id);
            let meta = write(disk.as_ref(), &path, order)?;
            let segment = Segment::open(&disk, &path, meta.clone(), &cache)?;
            Ok((meta, Arc::new(segment)))
        });
        written.await.map_err(|e| StorageError::Refused(format!("writing a segment ended early: {e}")))?
    }

    /// Removes segments that were written but will not be committed.
    fn discard(&self, written: &[(SegmentMeta, Arc<Segment>)]) {
        for (meta, _) in written {
            let folder = self.segment_folder(&meta.tenant, meta.day);
            if let Err(e) = remove_files(self.disk.as_ref(), &folder, meta.id) {
                tracing::warn!(error = %e, "files of a failed flush stay until the next start");
            }
        }
    }

    fn metas(&self) -> Vec<SegmentMeta> {
        self.read_state().segments.values().flatten().map(|s| s.meta().clone()).collect()
    }
}

/// A memtable cut by tenant and day.
fn pieces(memtable: &Memtable) -> Vec<(Tenant, i32, Vec<Arc<LogBatch>>)> {
    let mut pieces = Vec::new();
    for (tenant, batches) in memtable.tenants() {
        let mut days: std::collections::BTreeMap<i32, Vec<Arc<LogBatch>>> = std::collections::BTreeMap::new();
        for batch in batches {
            let mut of_batch: Vec<i32> = batch.timestamps().iter().map(|&t| day_of(t)).collect();
            of_batch.dedup();
            of_batch.sort_unstable();
            of_batch.dedup();
            for day in of_batch {
                days.entry(day).or_default().push(Arc::clone(&batch));
            }
        }
        pieces.extend(days.into_iter().map(|(day, batches)| (tenant.clone(), day, batches)));
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
