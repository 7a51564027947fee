//! What a query may use: time until its deadline, and memory out of a pool that all queries share. A query that exceeds
//! its share fails alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::QueryError;

/// Memory that all queries together may hold.
#[derive(Debug)]
pub struct MemoryPool {
    used: AtomicU64,
    bytes_max: u64,
    query_bytes_max: u64,
}

impl MemoryPool {
    /// A pool of `bytes_max`, of which one query may take `query_bytes_max`.
    pub fn new(bytes_max: u64, query_bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), bytes_max, query_bytes_max })
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// One query's budget, shared by its threads. Dropped, it gives its memory back.
#[derive(Debug)]
pub struct Budget {
    pool: Arc<MemoryPool>,
    used: AtomicU64,
    deadline: Instant,
    timeout: Duration,
    cancelled: AtomicBool,
}

impl Budget {
    /// A budget that ends `timeout` from now.
    pub fn new(pool: &Arc<MemoryPool>, timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            pool: Arc::clone(pool),
            used: AtomicU64::new(0),
            deadline: Instant::now() + timeout,
            timeout,
            cancelled: AtomicBool::new(false),
        })
    }

    /// Stops the query at its next look.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// To be asked every few thousand rows.
    ///
    /// # Errors
    /// `Cancelled` or `Deadline` when it is time to stop.
    pub fn check(&self) -> Result<(), QueryError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(QueryError::Cancelled);
        }
        if Instant::now() >= self.deadline {
            return Err(QueryError::Deadline { seconds: self.timeout.as_secs() });
        }
        Ok(())
    }

    /// Takes memory for the rest of the query.
    ///
    /// # Errors
    /// `TooMuch` when the query's share or the pool is used up.
    pub fn take(&self, bytes: u64) -> Result<(), QueryError> {
        let mine = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.pool.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if mine > self.pool.query_bytes_max {
            return Err(QueryError::TooMuch(format!(
                "the query needs more than its share of memory ({} MiB): select fewer streams, a shorter time range, or aggregate by fewer labels",
                self.pool.query_bytes_max >> 20
            )));
        }
        if all > self.pool.bytes_max {
            return Err(QueryError::TooMuch(format!(
                "all queries together need more memory than they have ({} MiB): try again in a moment, or narrow the query",
                self.pool.bytes_max >> 20
            )));
        }
        Ok(())
    }

    /// Gives memory back that was taken, before the query ends.
    pub fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.pool.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(self.used.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Cancels a budget when dropped: held by whoever waits for the answer.
#[derive(Debug)]
pub struct CancelOnDrop(pub Arc<Budget>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
