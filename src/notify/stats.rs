//! Figures of notifications.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::telemetry::Histogram;

/// Figures of notifications.
#[derive(Debug)]
pub(crate) struct NotifyStats {
    /// Alerts that came, from rules and from outside.
    pub(crate) alerts_received: AtomicU64,
    /// Alerts from outside that were refused.
    pub(crate) alerts_invalid: AtomicU64,
    /// Whether the last reload of the configuration went well, and when one did last, in seconds since 1970.
    pub(crate) reload: Mutex<(bool, i64)>,
    by_kind: Mutex<BTreeMap<String, KindStats>>,
}

impl Default for NotifyStats {
    fn default() -> Self {
        Self {
            alerts_received: AtomicU64::new(0),
            alerts_invalid: AtomicU64::new(0),
            reload: Mutex::new((true, 0)),
            by_kind: Mutex::default(),
        }
    }
}

/// Figures of one kind of target.
#[derive(Debug, Default)]
pub(crate) struct KindStats {
    /// Messages that were put in the queue.
    pub(crate) queued: u64,
    /// Messages that arrived.
    pub(crate) delivered: u64,
    /// Messages that were given up.
    pub(crate) given_up: u64,
    /// Tries.
    pub(crate) attempts: u64,
    /// Tries that failed.
    pub(crate) failed: u64,
    /// How long tries took.
    pub(crate) latency: Histogram,
}

impl NotifyStats {
    /// Changes the figures of a kind.
    pub(crate) fn of_kind(&self, kind: &str, change: impl FnOnce(&mut KindStats)) {
        let mut all = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(kind) {
            all.insert(kind.to_owned(), KindStats::default());
        }
        if let Some(stats) = all.get_mut(kind) {
            change(stats);
        }
    }

    /// Notes that the configuration was read, or could not be, at a time in seconds since 1970.
    pub(crate) fn reloaded(&self, is_good: bool, now_s: i64) {
        let mut reload = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        *reload = (is_good, if is_good { now_s } else { reload.1 });
    }

    /// Counts a try.
    pub(crate) fn tried(&self, kind: &str, latency: Duration, is_good: bool) {
        self.of_kind(kind, |stats| {
            stats.attempts += 1;
            stats.failed += u64::from(!is_good);
            stats.latency.observe(latency);
        });
    }

    /// Reads the figures of every kind.
    pub(crate) fn kinds<T>(&self, read: impl Fn(&str, &KindStats) -> T) -> Vec<T> {
        let all = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(kind, stats)| read(kind, stats)).collect()
    }
}
