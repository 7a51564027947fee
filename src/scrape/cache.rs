//! What is remembered of a target's series from scrape to scrape: what rules made of each, so that they run once a series,
//! and which were there last time, so that those that end are marked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use storage::metrics::{Histogram, MetricBatchBuilder, STALE_NAN_BITS, SampleSeries, SeriesId};
use xxhash_rust::xxh3::Xxh3Default;

use super::target::About;

/// A cache that failed scrapes let grow by more than this, beyond twice its size, is cleaned up.
const SLACK: usize = 1000;
/// What is said of a metric is forgotten so many scrapes after it was said last.
const METADATA_SCRAPES: u64 = 10;

/// Which series, as its target wrote it.
pub(super) type ExposedId = u128;

/// What is remembered of a target.
#[derive(Debug, Default)]
pub(crate) struct SeriesCache {
    /// Number of the scrape that runs, from 1.
    scrape: u64,
    exposed: FxHashMap<ExposedId, Exposed>,
    kept: FxHashMap<SeriesId, Kept>,
    metadata: BTreeMap<String, Said>,
    metadata_changed: bool,
    after_success: usize,
}

#[derive(Debug)]
struct Exposed {
    /// `None` when a rule drops it.
    kept: Option<SeriesId>,
    seen: u64,
    made: u64,
}

#[derive(Debug)]
struct Kept {
    label_bytes: Arc<[u8]>,
    /// In which scrape it was there last, of those that count for its end.
    tracked: u64,
    /// What `tracked` was before this scrape.
    tracked_before: u64,
    is_histogram: bool,
    /// Scrape and time of its last sample.
    last: (u64, i64),
    seen: u64,
}

#[derive(Debug, Default)]
struct Said {
    about: About,
    seen: u64,
    changed: u64,
}

/// What is known of a series that a target gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Nothing yet.
    New,
    /// A rule drops it.
    Dropped,
    /// It becomes this one; `again` when this scrape gave it before.
    Kept { id: SeriesId, again: bool },
}

/// The identity of a series as its target wrote it.
pub(super) fn exposed_id(labels: &[(Cow<'_, str>, Cow<'_, str>)]) -> ExposedId {
    let mut hash = Xxh3Default::new();
    for (name, value) in labels {
        for text in [name, value] {
            hash.update(text.as_bytes());
            // No byte of UTF-8.
            hash.update(&[0xFF]);
        }
    }
    hash.digest128()
}

impl SeriesCache {
    /// Whether nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// A scrape begins.
    pub(super) fn begin(&mut self) {
        self.scrape += 1;
        self.metadata_changed = false;
    }

    pub(super) fn look_up(&mut self, exposed: ExposedId) -> Lookup {
        let Some(known) = self.exposed.get_mut(&exposed) else { return Lookup::New };
        let again = known.seen == self.scrape;
        known.seen = self.scrape;
        match known.kept {
            None => Lookup::Dropped,
            Some(id) => {
                if let Some(kept) = self.kept.get_mut(&id) {
                    kept.seen = self.scrape;
                }
                Lookup::Kept { id, again }
            }
        }
    }

    /// From now on the series is dropped.
    pub(super) fn drop_series(&mut self, exposed: ExposedId) {
        self.exposed.insert(exposed, Exposed { kept: None, seen: self.scrape, made: self.scrape });
    }

    /// From now on the series becomes `series`.
    pub(super) fn keep(&mut self, exposed: ExposedId, series: SampleSeries<'_>, is_histogram: bool) {
        let scrape = self.scrape;
        self.exposed.insert(exposed, Exposed { kept: Some(series.id), seen: scrape, made: scrape });
        let kept = self.kept.entry(series.id).or_insert_with(|| Kept {
            label_bytes: series.label_bytes.into(),
            tracked: 0,
            tracked_before: 0,
            is_histogram,
            last: (0, 0),
            seen: scrape,
        });
        kept.seen = scrape;
    }

    /// The labels of a series that is kept.
    pub(super) fn label_bytes(&self, id: SeriesId) -> Option<Arc<[u8]>> {
        self.kept.get(&id).map(|kept| Arc::clone(&kept.label_bytes))
    }

    /// Takes note of a sample. False when the series has one at that time already.
    pub(super) fn note(&mut self, id: SeriesId, timestamp: i64, is_histogram: bool, is_tracked: bool) -> bool {
        let scrape = self.scrape;
        let Some(kept) = self.kept.get_mut(&id) else { return true };
        if kept.last == (scrape, timestamp) {
            return false;
        }
        kept.last = (scrape, timestamp);
        kept.is_histogram = is_histogram;
        kept.seen = scrape;
        if is_tracked && kept.tracked != scrape {
            kept.tracked_before = kept.tracked;
            kept.tracked = scrape;
        }
        true
    }

    pub(super) fn say(&mut self, name: &str, change: impl FnOnce(&mut About)) {
        let known = self.metadata.contains_key(name);
        let said = self.metadata.entry(name.to_owned()).or_default();
        let before = said.about.clone();
        change(&mut said.about);
        said.seen = self.scrape;
        if !known || said.about != before {
            said.changed = self.scrape;
            self.metadata_changed = true;
        }
    }

    /// The scrape is read: marks what is no longer there as ended, and puts what is new of metrics into the batch.
    pub(super) fn finish(&mut self, builder: &mut MetricBatchBuilder, timestamp: i64) {
        self.mark_ended(builder, timestamp, |kept, scrape| kept.tracked + 1 == scrape && kept.tracked != 0);
        for (name, said) in &self.metadata {
            if said.changed == self.scrape {
                let About { kind, help, unit } = &said.about;
                builder.metadata(name, *kind, help, unit);
            }
        }
        self.clean_up();
        self.after_success = self.size();
    }

    /// The scrape failed: whatever it gave does not count, and all that was there before is marked as ended.
    pub(super) fn fail(&mut self, builder: &mut MetricBatchBuilder, timestamp: i64) {
        let scrape = self.scrape;
        self.exposed.retain(|_, exposed| exposed.made != scrape);
        for kept in self.kept.values_mut().filter(|kept| kept.tracked == scrape) {
            kept.tracked = kept.tracked_before;
        }
        for said in self.metadata.values_mut().filter(|said| said.changed == scrape) {
            // It is told with the next scrape.
            said.changed = scrape + 1;
        }
        self.mark_ended(builder, timestamp, |kept, scrape| kept.tracked + 1 == scrape && kept.tracked != 0);
        if self.size() > 2 * self.after_success + SLACK {
            self.clean_up();
        }
    }

    /// The target goes away: everything that is still there is marked as ended.
    pub(super) fn end(&mut self, builder: &mut MetricBatchBuilder, timestamp: i64) {
        self.mark_ended(builder, timestamp, |kept, scrape| kept.tracked == scrape && scrape != 0);
    }

    /// Another target goes on with the same labels: rules may be others, but what was there and is not any more must be
    /// marked as ended by it.
    pub(super) fn hand_over(mut self) -> Self {
        self.exposed.clear();
        self
    }

    /// What the target says of its metrics, when that changed with this scrape.
    pub(super) fn changed_metadata(&self) -> Option<BTreeMap<String, About>> {
        let all = || self.metadata.iter().map(|(name, said)| (name.clone(), said.about.clone())).collect();
        self.metadata_changed.then(all)
    }

    fn mark_ended(&mut self, builder: &mut MetricBatchBuilder, timestamp: i64, ended: impl Fn(&Kept, u64) -> bool) {
        let scrape = self.scrape;
        for (id, kept) in self.kept.iter_mut().filter(|(_, kept)| ended(kept, scrape)) {
            kept.tracked = 0;
            let series = builder.known_series(SampleSeries { id: *id, label_bytes: &kept.label_bytes });
            let stale = f64::from_bits(STALE_NAN_BITS);
            if kept.is_histogram {
                let histogram = Histogram { sum: stale, ..Histogram::default() };
                builder.histogram(series, timestamp, 0, histogram);
            } else {
                builder.sample(series, timestamp, stale);
            }
        }
    }

    fn size(&self) -> usize {
        self.exposed.len() + self.metadata.len()
    }

    fn clean_up(&mut self) {
        let scrape = self.scrape;
        self.exposed.retain(|_, exposed| exposed.seen == scrape);
        self.kept.retain(|_, kept| kept.seen == scrape || kept.tracked == scrape);
        let before = self.metadata.len();
        self.metadata.retain(|_, said| scrape - said.seen.min(scrape) <= METADATA_SCRAPES);
        self.metadata_changed |= self.metadata.len() != before;
    }
}
