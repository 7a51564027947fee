//! The store: journal, then memtable, then acknowledge.
//!
//! Promise: when [`Store::append`] returns `Ok`, the batch is on disk and every snapshot taken from then on has it, whole.
//! Flow: the caller's thread packs the batch; one writer thread (`writer.rs`) writes and syncs what waits, puts it into
//! the memtable and answers; `maintain.rs` flushes full memtables, compacts and retains.
//! Invariant: at any moment every acknowledged record is in exactly one of {segments, frozen memtables, active
//! memtable} of [`State`], which changes under one lock.

mod delete;
mod documents;
mod keys;
mod maintain;
mod metrics;
mod open;
mod stored;
mod writer;

#[cfg(test)]
mod crash_model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::batch::LogBatch;
use crate::catalog::{Catalog, KeyUse, key_hash};
use crate::clock::Clock;
use crate::compact::Downsampling;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::journal::{Batch, FrameEncoder, FrameInput};
use crate::lock::FolderLock;
use crate::memtable::Memtable;
use crate::metrics::{MetricMetadata, MetricSegment};
use crate::read::{Part, Snapshot, TimeRange};
use crate::segment::{Segment, SegmentCache, SegmentMeta};
use crate::stats::Stats;
use crate::tenant::Tenant;
use keys::{Claim, Keys};
use writer::Job;

pub use delete::RowsOf;
pub(crate) use open::segment_files_below;

/// Batches that a slow listener of [`Store::subscribe`] may lag behind.
const SUBSCRIPTION_BATCHES: usize = 256;
/// Batches that may wait for the writer thread; their bytes are limited as well.
const QUEUE_BATCHES: usize = 4096;

/// How a store is kept. Sizes in bytes.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The data folder; made if it is missing.
    pub data: PathBuf,
    /// A memtable of this size is flushed. Two of them are held while one is being written.
    pub memtable_bytes: usize,
    /// A memtable is flushed when its first batch is this old.
    pub memtable_age: Duration,
    /// Packed batches that may wait to be written; above it, appends are refused.
    pub waiting_bytes_max: u64,
    /// How long an append may wait for room in the memtable before it is refused.
    pub wait_max: Duration,
    /// A journal file of this length gets a successor.
    pub journal_file_bytes: u64,
    /// Segments whose newest record is older are removed.
    pub retention: Option<Duration>,
    /// Above this many bytes in segments the oldest are removed.
    pub size_bytes_max: Option<u64>,
    /// What is kept of tenants that have rules of their own: their retention takes the place of the one above, their size
    /// is a part of the one above.
    pub tenants: BTreeMap<Tenant, Kept>,
    /// Days of metrics that are over for so long keep fewer samples.
    pub downsampling: Vec<Downsampling>,
    /// How long a batch's idempotency key is remembered.
    pub idempotency_window: Duration,
    /// Memory for parts of index files that queries ask for again and again.
    pub cache_bytes: u64,
    /// How often retention, old memtables and old keys are looked at.
    pub maintenance_interval: Duration,
}

/// How much is kept of a tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Segments whose newest record is older are removed; `None` keeps them.
    pub retention: Option<Duration>,
    /// Above this many bytes in the tenant's segments its oldest are removed.
    pub size_bytes_max: Option<u64>,
}

impl StoreConfig {
    /// The defaults, for a data folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            memtable_bytes: 88 << 20,
            memtable_age: Duration::from_secs(300),
            waiting_bytes_max: 64 << 20,
            wait_max: Duration::from_secs(10),
            journal_file_bytes: 32 << 20,
            retention: None,
            size_bytes_max: None,
            tenants: BTreeMap::new(),
            downsampling: Vec::new(),
            idempotency_window: Duration::from_secs(24 * 3600),
            cache_bytes: 64 << 20,
            maintenance_interval: Duration::from_secs(5),
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk and visible.
    Stored,
    /// A batch with the same idempotency key was stored before; this one changed nothing.
    Duplicate,
}

/// A batch that can be queried from now on.
#[derive(Debug, Clone)]
pub struct Published {
    /// Rises from batch to batch; compare with [`Snapshot::last_sequence`].
    pub sequence: u64,
    /// The records.
    pub batch: Arc<LogBatch>,
}

/// An open data folder. Dropping it without [`Store::close`] is like a crash: nothing acknowledged is lost.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    maintenance: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// What the store's threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    config: StoreConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    catalog: Catalog,
    cache: SegmentCache,
    encoder: FrameEncoder,
    state: RwLock<State>,
    /// Rung when a frozen memtable has become segments.
    room: (Mutex<()>, Condvar),
    keys: Keys,
    tails: Mutex<HashMap<Tenant, broadcast::Sender<Published>>>,
    stats: Stats,
    waiting_bytes: AtomicU64,
    journal_bytes: AtomicU64,
    next_segment: AtomicU64,
    /// Rung when there is something to flush or compact.
    work: tokio::sync::Notify,
    /// One flush or compaction at a time.
    busy: tokio::sync::Mutex<maintain::Upkeep>,
    closing: AtomicBool,
    /// Rung when `closing` is set.
    stop: tokio::sync::Notify,
    _lock: FolderLock,
}

/// Where every record is.
#[derive(Debug, Default)]
struct State {
    active: Memtable,
    /// Journal sequence of the last batch that went into the active memtable.
    last_sequence: u64,
    /// Everything up to it is in segments, or was never to be: a repeated batch, or one that was lost.
    flushed_sequence: u64,
    /// Full memtables on their way into segments, oldest first.
    frozen: VecDeque<Arc<Memtable>>,
    /// By tenant, in order of first time.
    segments: BTreeMap<Tenant, Vec<Arc<Segment>>>,
    /// Segments of metrics, by tenant, the oldest batches first.
    metrics: BTreeMap<Tenant, Vec<Arc<MetricSegment>>>,
    /// What the catalog has of what was said of metrics, by tenant and name.
    metadata: BTreeMap<Tenant, BTreeMap<String, MetricMetadata>>,
}

impl State {
    /// The active memtable becomes the newest frozen one.
    fn freeze(&mut self) {
        if !self.active.is_empty() {
            let next = self.active.heir();
            self.frozen.push_back(Arc::new(std::mem::replace(&mut self.active, next)));
        }
    }
}

impl Store {
    /// Opens a data folder and replays its journal; ready when it returns. Damaged files are moved into `quarantine/`,
    /// logged and counted, and the rest is served.
    ///
    /// # Errors
    /// `Refused` when another process has the folder or another version wrote it; `Io` or `DiskFull` when it cannot be
    /// read or made.
    pub async fn open(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StorageError> {
        let store = Self::open_unattended(config, disk, clock).await?;
        let maintenance = tokio::spawn(maintain::run(Arc::clone(&store.shared), store.jobs.clone()));
        *store.maintenance.lock().unwrap_or_else(PoisonError::into_inner) = Some(maintenance);
        Ok(store)
    }

    /// [`Self::open`], but for the background work.
    async fn open_unattended(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StorageError> {
        let (shared, journal) = open::open(config, disk, clock).await?;
        let (jobs, queue) = mpsc::channel(QUEUE_BATCHES);
        let writer = writer::spawn(Arc::clone(&shared), journal, queue)?;
        Ok(Arc::new(Self { shared, jobs, writer: Mutex::new(Some(writer)), maintenance: Mutex::new(None) }))
    }

    /// Makes a batch durable and visible. With a key, a batch that was stored before under the same key (and tenant)
    /// is not stored again; a retry that overtakes its first try waits for its outcome.
    ///
    /// # Errors
    /// `Overloaded` when too much waits, `DiskFull` without room: nothing was stored, try again later. `Io`: whether it
    /// was stored is uncertain until the next start. `Closed` when the store stops.
    pub async fn append(
        &self,
        tenant: &Tenant,
        batch: LogBatch,
        idempotency_key: Option<&str>,
    ) -> Result<Appended, StorageError> {
        self.append_batch(tenant, Batch::Logs(Arc::new(batch)), idempotency_key).await
    }

    async fn append_batch(
        &self,
        tenant: &Tenant,
        batch: Batch,
        idempotency_key: Option<&str>,
    ) -> Result<Appended, StorageError> {
        let key = idempotency_key.map(|key| key_hash(tenant, key));
        let claim = match key {
            None => None,
            Some(hash) => match self.shared.keys.claim(hash, &self.shared.catalog).await? {
                Claim::Seen => {
                    self.shared.stats.duplicates.fetch_add(1, Ordering::Relaxed);
                    return Ok(Appended::Duplicate);
                }
                Claim::Mine(guard) => Some(guard),
            },
        };
        let input = FrameInput {
            tenant: tenant.clone(),
            idempotency_key: idempotency_key.map(str::to_owned),
            batch: batch.clone(),
        };
        let frame = self.shared.encoder.encode(&input)?;
        let waiting = Waiting::admit(&self.shared, frame.len() as u64)?;
        let (answer, outcome) = oneshot::channel();
        let key = key.map(|hash| KeyUse { hash, seen_ns: self.shared.clock.now_ns() });
        let job = writer::Append { frame, tenant: tenant.clone(), batch, key, claim, answer, _waiting: waiting };
        self.jobs.send(Job::Append(job)).await.map_err(|_| StorageError::Closed)?;
        outcome.await.map_err(|_| StorageError::Closed)?.map(|()| Appended::Stored)
    }

    /// What a query sees: every record of the tenant acknowledged so far, exactly once; with `time`, parts that cannot
    /// hold a record of it are left out.
    #[allow(clippy::needless_pass_by_value, reason = "callers make the range for this call")]
    pub fn snapshot(&self, tenant: &Tenant, time: Option<TimeRange>) -> Snapshot {
        let overlaps = |(first, last): (i64, i64)| time.as_ref().is_none_or(|t| last >= t.start && first < t.end);
        let state = self.shared.read_state();
        let segments = state.segments.get(tenant).map(Vec::as_slice).unwrap_or_default();
        let in_segments = segments.iter().filter(|s| s.time_bounds().is_some_and(overlaps)).cloned().map(Part::Segment);
        let in_memory = state.frozen.iter().map(Arc::as_ref).chain([&state.active]).filter_map(|m| m.part(tenant));
        let in_memory = in_memory.filter(|p| p.time_bounds().is_some_and(overlaps)).map(Part::Memory);
        Snapshot { parts: in_segments.chain(in_memory).collect(), last_sequence: state.last_sequence }
    }

    /// Every batch of the tenant from now on, as it becomes visible. A listener that lags too far misses batches and is
    /// told how many. A snapshot taken after the call has the batches up to its `last_sequence`.
    pub fn subscribe(&self, tenant: &Tenant) -> broadcast::Receiver<Published> {
        let mut tails = self.shared.tails.lock().unwrap_or_else(PoisonError::into_inner);
        tails.entry(tenant.clone()).or_insert_with(|| broadcast::channel(SUBSCRIPTION_BATCHES).0).subscribe()
    }

    /// Puts everything received so far into segments; with `compact`, also compacts until there is nothing left to do.
    ///
    /// # Errors
    /// What kept it from being written; it stays in the journal and the memtable, and is tried again in the background.
    pub async fn flush(&self, compact: bool) -> Result<(), StorageError> {
        let (answer, frozen) = oneshot::channel();
        self.jobs.send(Job::Freeze(answer)).await.map_err(|_| StorageError::Closed)?;
        frozen.await.map_err(|_| StorageError::Closed)?;
        let (shared, jobs) = (Arc::clone(&self.shared), self.jobs.clone());
        // As a task of its own: it goes on when whoever asked has gone away.
        let work = tokio::spawn(async move {
            shared.flush_frozen(&jobs).await?;
            if compact {
                shared.compact_all(&jobs).await?;
            }
            Ok(())
        });
        work.await.map_err(|e| StorageError::Refused(format!("the flush ended early: {e}")))?
    }

    /// Stops taking batches, flushes, and ends the background work.
    ///
    /// # Errors
    /// What kept the last flush from being written; it is in the journal, and the next start replays it.
    pub async fn close(&self) -> Result<(), StorageError> {
        if self.shared.closing.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let flushed = self.flush(false).await;
        self.halt().await;
        flushed.and(self.shared.catalog.close().await)
    }

    /// Ends without a flush, once what is being written is written: what is on disk then is what a kill could leave.
    pub async fn halt(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.stop.notify_one();
        self.shared.work.notify_one();
        drop(self.shared.room.0.lock());
        self.shared.room.1.notify_all();
        let maintenance = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = maintenance {
            let _ = task.await;
        }
        drop(self.shared.busy.lock().await);
        let (answer, ended) = oneshot::channel();
        if self.jobs.send(Job::Stop(answer)).await.is_ok() {
            let _ = ended.await;
        }
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = writer {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// Counters and sizes, as they are now.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Every tenant that has data.
    pub fn tenants(&self) -> Vec<Tenant> {
        let state = self.shared.read_state();
        let memtables = state.frozen.iter().map(Arc::as_ref).chain([&state.active]);
        let mut tenants: Vec<Tenant> = state.segments.keys().chain(state.metrics.keys()).cloned().collect();
        for memtable in memtables {
            tenants.extend(memtable.tenants().map(|(tenant, _)| tenant.clone()));
            tenants.extend(memtable.metrics().map(|(tenant, _)| tenant.clone()));
        }
        tenants.sort();
        tenants.dedup();
        tenants
    }
}

impl Shared {
    fn read_state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder_of(&self, meta: &SegmentMeta) -> PathBuf {
        crate::folder::segment_folder(&self.config.data, &meta.tenant, meta.signal, meta.day)
    }

    /// Brings the gauges of the memtable up to date.
    fn observe_memory(&self, state: &State) {
        let all = || state.frozen.iter().map(Arc::as_ref).chain([&state.active]);
        self.stats.memtable_bytes.store(all().map(|m| m.bytes() as u64).sum(), Ordering::Relaxed);
        self.stats.memtable_records.store(all().map(Memtable::rows).sum(), Ordering::Relaxed);
    }

    /// Brings the gauges of the segments up to date.
    fn observe_segments(&self, state: &State) {
        self.stats.segments.store(state.metas().count() as u64, Ordering::Relaxed);
        let by_tenant = state.segments.iter().map(|(tenant, segments)| {
            let records = segments.iter().map(|s| u64::from(s.row_count())).sum();
            let bytes = segments.iter().map(|s| s.meta().parquet_bytes + s.meta().index_bytes).sum();
            (tenant.clone(), records, bytes)
        });
        self.stats.set_stored(by_tenant.collect());
        let metrics = state.metrics.iter().map(|(tenant, segments)| {
            let samples = segments.iter().map(|s| u64::from(s.meta().rows)).sum();
            let bytes = segments.iter().map(|s| s.meta().parquet_bytes + s.meta().index_bytes).sum();
            (tenant.clone(), samples, bytes)
        });
        self.stats.set_stored_metrics(metrics.collect());
    }
}

/// Bytes that wait for the writer; given back when the job is done or dropped.
#[derive(Debug)]
struct Waiting {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Waiting {
    fn admit(shared: &Arc<Shared>, bytes: u64) -> Result<Self, StorageError> {
        let limit_bytes = shared.config.waiting_bytes_max;
        let before = shared.waiting_bytes.fetch_add(bytes, Ordering::SeqCst);
        let this = Self { shared: Arc::clone(shared), bytes };
        // A batch larger than the limit is let through when it is alone.
        if before > 0 && before + bytes > limit_bytes {
            shared.stats.overloaded.fetch_add(1, Ordering::Relaxed);
            return Err(StorageError::Overloaded { waiting_bytes: before, limit_bytes });
        }
        if shared.closing.load(Ordering::SeqCst) {
            return Err(StorageError::Closed);
        }
        Ok(this)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.waiting_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}
