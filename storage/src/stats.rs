//! What the store counts about itself; the root renders it. Reading is never exact to the moment, and never blocks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::journal::Batch;
use crate::tenant::Tenant;

/// Counters rise from the start of the process; gauges are as they are.
#[derive(Debug, Default)]
pub struct Stats {
    /// Batches stored.
    pub batches: AtomicU64,
    /// Batches that were there already, by their key.
    pub duplicates: AtomicU64,
    /// Appends refused because too much waits.
    pub overloaded: AtomicU64,
    /// Appends refused because the disk is full.
    pub disk_full: AtomicU64,
    /// Groups of appends that the journal could not write.
    pub journal_failures: AtomicU64,
    /// One write and sync of the journal.
    pub journal_sync: Histogram,
    /// Gauge: bytes of all journal files.
    pub journal_bytes: AtomicU64,
    /// Gauge: memory of all memtables.
    pub memtable_bytes: AtomicU64,
    /// Gauge: records in all memtables.
    pub memtable_records: AtomicU64,
    /// Gauge: segments.
    pub segments: AtomicU64,
    /// One flush of a memtable.
    pub flush: Histogram,
    /// Flushes that failed and are tried again.
    pub flush_failures: AtomicU64,
    /// One compaction.
    pub compaction: Histogram,
    /// Compactions that failed.
    pub compaction_failures: AtomicU64,
    /// Segments removed by retention.
    pub segments_expired: AtomicU64,
    /// Files moved into the quarantine since the start.
    pub quarantined: AtomicU64,
    /// Journal frames replayed at the start.
    pub replayed_frames: AtomicU64,
    accepted: Mutex<BTreeMap<Tenant, (u64, u64)>>,
    accepted_samples: Mutex<BTreeMap<Tenant, (u64, u64)>>,
    stored: Mutex<Vec<(Tenant, u64, u64)>>,
    stored_metrics: Mutex<Vec<(Tenant, u64, u64)>>,
}

impl Stats {
    pub(crate) fn count_accepted(&self, tenant: &Tenant, batch: &Batch) {
        let (records, bytes) = (batch.len() as u64, batch.memory_bytes() as u64);
        let counted = match batch {
            Batch::Logs(_) => &self.accepted,
            Batch::Metrics(_) => &self.accepted_samples,
        };
        let mut accepted = counted.lock().unwrap_or_else(PoisonError::into_inner);
        match accepted.get_mut(tenant) {
            Some(sum) => *sum = (sum.0 + records, sum.1 + bytes),
            None => {
                accepted.insert(tenant.clone(), (records, bytes));
            }
        }
    }

    pub(crate) fn set_stored(&self, stored: Vec<(Tenant, u64, u64)>) {
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = stored;
    }

    pub(crate) fn set_stored_metrics(&self, stored: Vec<(Tenant, u64, u64)>) {
        *self.stored_metrics.lock().unwrap_or_else(PoisonError::into_inner) = stored;
    }

    /// Samples and bytes (as held in memory) accepted since the start, by tenant.
    pub fn accepted_samples(&self) -> Vec<(Tenant, u64, u64)> {
        let accepted = self.accepted_samples.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.iter().map(|(tenant, (samples, bytes))| (tenant.clone(), *samples, *bytes)).collect()
    }

    /// Gauge: samples and bytes in segments, by tenant.
    pub fn stored_metrics(&self) -> Vec<(Tenant, u64, u64)> {
        self.stored_metrics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records and bytes (as held in memory) accepted since the start, by tenant.
    pub fn accepted(&self) -> Vec<(Tenant, u64, u64)> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.iter().map(|(tenant, (records, bytes))| (tenant.clone(), *records, *bytes)).collect()
    }

    /// Gauge: records and bytes in segments, by tenant.
    pub fn stored(&self) -> Vec<(Tenant, u64, u64)> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Durations in buckets that double from 0.1 ms.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; Histogram::BUCKETS],
    count: AtomicU64,
    sum_ns: AtomicU64,
}

impl Histogram {
    const BUCKETS: usize = 20;

    pub(crate) fn observe(&self, duration: Duration) {
        let tenth_ms = duration.as_nanos() / 100_000;
        let bucket = (128 - tenth_ms.leading_zeros()) as usize;
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    /// For each bucket its upper bound in seconds and how many durations were at most that.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut sum = 0;
        let buckets = self.buckets.iter().zip(0..);
        buckets
            .map(|(bucket, power)| {
                sum += bucket.load(Ordering::Relaxed);
                (0.0001 * f64::from(1_u32 << power), sum)
            })
            .collect()
    }

    /// How many durations.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Their sum, in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9
    }
}
