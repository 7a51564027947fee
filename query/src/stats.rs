//! What a query looked at.

use std::sync::atomic::{AtomicU64, Ordering};

use cpu_time::ThreadTime;

/// Counted while a query runs, by all of its threads.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) parts: AtomicU64,
    pub(crate) parts_pruned: AtomicU64,
    pub(crate) rows_in_time: AtomicU64,
    pub(crate) rows_with_values: AtomicU64,
    pub(crate) rows_considered: AtomicU64,
    pub(crate) rows_decided: AtomicU64,
    pub(crate) rows_read: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) rows_matched: AtomicU64,
    cpu_nanos: AtomicU64,
}

/// What a query looked at, when it is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Segments and memtables that overlap the time range.
    pub parts: u64,
    /// Of these, ruled out without reading a row.
    pub parts_pruned: u64,
    /// Rows that the stream selector and time range leave.
    pub rows_in_time: u64,
    /// Of these, what the index of attributes' values leaves.
    pub rows_with_values: u64,
    /// Of these, what the index of words and parts of identifiers leaves.
    pub rows_considered: u64,
    /// Of these, what patterns decided without a look at the text.
    pub rows_decided: u64,
    /// Rows that were read.
    pub rows_read: u64,
    /// Bytes of text that were read.
    pub bytes_read: u64,
    /// Rows that came through all filters.
    pub rows_matched: u64,
    /// From start to end.
    pub nanos: u64,
    /// Of the processors, by all threads of the query together.
    pub cpu_nanos: u64,
    /// The answer was kept from before; all else is of then.
    pub cached: bool,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    /// Does a thread's share of the work, and counts the processor's time that it takes. Shares do not nest.
    pub(crate) fn busy<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = ThreadTime::try_now();
        let done = work();
        // A system that does not know is no reason to fail.
        if let Ok(took) = began.and_then(|began| began.try_elapsed()) {
            Self::add(&self.cpu_nanos, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
        done
    }

    pub(crate) fn stats(&self, nanos: u64) -> QueryStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        QueryStats {
            parts: of(&self.parts),
            parts_pruned: of(&self.parts_pruned),
            rows_in_time: of(&self.rows_in_time),
            rows_with_values: of(&self.rows_with_values),
            rows_considered: of(&self.rows_considered),
            rows_decided: of(&self.rows_decided),
            rows_read: of(&self.rows_read),
            bytes_read: of(&self.bytes_read),
            rows_matched: of(&self.rows_matched),
            nanos,
            cpu_nanos: of(&self.cpu_nanos),
            cached: false,
        }
    }
}
