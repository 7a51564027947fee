//! Targets that went away a moment ago, with what is remembered of their series.
//!
//! A target often comes back at once: its file was written anew, or its job has other settings. Whoever then has the same
//! labels takes over what is remembered, so that its series go on without a gap; only of those that nobody takes over,
//! within two rounds, everything is marked as ended.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::cache::SeriesCache;
use super::labels::LabelMap;

/// Targets that went away, by the labels of their samples.
#[derive(Debug, Default)]
pub(super) struct Departed(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    gone: HashMap<LabelMap, Vec<(u64, SeriesCache)>>,
    next: u64,
}

impl Departed {
    /// A target went away. The number is for [`Departed::give_up`].
    pub(super) fn put(&self, labels: &LabelMap, cache: SeriesCache) -> u64 {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.next += 1;
        let number = inner.next;
        inner.gone.entry(labels.clone()).or_default().push((number, cache));
        number
    }

    /// A target with these labels is there: what is remembered of one that went away.
    pub(super) fn take_over(&self, labels: &LabelMap) -> Option<SeriesCache> {
        self.take(labels, |_| true)
    }

    /// Nobody came in time, if it is still there.
    pub(super) fn give_up(&self, labels: &LabelMap, number: u64) -> Option<SeriesCache> {
        self.take(labels, |found| found == number)
    }

    fn take(&self, labels: &LabelMap, is_wanted: impl Fn(u64) -> bool) -> Option<SeriesCache> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = inner.gone.get_mut(labels)?;
        let at = all.iter().position(|(number, _)| is_wanted(*number))?;
        let (_, cache) = all.remove(at);
        if all.is_empty() {
            inner.gone.remove(labels);
        }
        Some(cache)
    }
}
