//! Answers kept for who asks the same again of the same records, in bounded memory. The key of logs holds the identity of
//! the snapshot; with an answer of metrics the identity of what it was made from is kept, and compared. Either way an
//! answer is never out of date.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use storage::metrics::MetricSnapshot;

use crate::engine::Answer;
use crate::promql::PromStats;
use crate::stats::QueryStats;

/// Answers that the cache expects; it takes more.
const ENTRIES: usize = 1024;
/// An answer that is larger than this part of the cache is not kept.
const LARGEST: u64 = 8;
/// What an answer takes beside its own bytes.
const ENTRY_BYTES: u64 = 256;

/// Answers by what was asked.
#[derive(Debug)]
pub struct AnswerCache {
    cache: Cache<AnswerKey, Kept, ByBytes>,
    bytes_max: u64,
}

/// What was asked, of which records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AnswerKey {
    /// Whose records.
    pub tenant: storage::Tenant,
    /// The query and everything that changes its answer.
    pub request: String,
    /// See [`storage::Snapshot::identity`]; of metrics 0.
    pub snapshot: u128,
}

#[derive(Debug, Clone)]
enum Kept {
    Logs(Arc<(Answer, QueryStats)>),
    Metrics(Arc<PromAnswer>),
}

/// A PromQL query's answer.
#[derive(Debug)]
pub struct PromAnswer {
    /// As it was sent.
    pub body: Bytes,
    /// What was looked at.
    pub stats: PromStats,
    /// See [`MetricSnapshot::identity`], of `stats.reach`.
    identity: u128,
}

impl PromAnswer {
    /// An answer that was made of this snapshot.
    pub fn new(body: Bytes, stats: PromStats, snapshot: &MetricSnapshot) -> Self {
        let (start, end) = stats.reach;
        Self { body, stats, identity: snapshot.identity(start, end) }
    }
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<AnswerKey, Kept> for ByBytes {
    fn weight(&self, key: &AnswerKey, kept: &Kept) -> u64 {
        key.request.len() as u64 + ENTRY_BYTES + kept.weight()
    }
}

impl Kept {
    fn weight(&self) -> u64 {
        match self {
            Self::Logs(answer) => weight(&answer.0),
            Self::Metrics(answer) => answer.body.len() as u64,
        }
    }
}

fn weight(answer: &Answer) -> u64 {
    let bytes = match answer {
        Answer::Streams(streams) => streams
            .iter()
            .map(|stream| {
                let entries = stream
                    .entries
                    .iter()
                    .map(|entry| entry.line.len() + entry.metadata.memory_bytes() + entry.parsed.memory_bytes() + 80);
                stream.labels.memory_bytes() + entries.sum::<usize>()
            })
            .sum(),
        Answer::Series { series, .. } => series
            .iter()
            .map(|one| {
                let labels = one.labels.iter().map(|(name, value)| name.len() + value.len() + 64).sum::<usize>();
                labels + one.points.len() * 16 + 64
            })
            .sum(),
        Answer::Scalar(_) => 16,
    };
    bytes as u64
}

impl AnswerCache {
    /// A cache of at most `bytes_max`; 0 keeps nothing.
    pub fn new(bytes_max: u64) -> Self {
        Self { cache: Cache::with_weighter(ENTRIES, bytes_max, ByBytes), bytes_max }
    }

    /// What was answered before.
    pub fn get(&self, key: &AnswerKey) -> Option<Arc<(Answer, QueryStats)>> {
        match self.cache.get(key)? {
            Kept::Logs(answer) => Some(answer),
            Kept::Metrics(_) => None,
        }
    }

    /// Keeps an answer, unless it is large.
    pub fn put(&self, key: AnswerKey, answer: &Arc<(Answer, QueryStats)>) {
        self.keep(key, Kept::Logs(Arc::clone(answer)));
    }

    /// What was answered before, if the samples it was made from are those of this snapshot.
    pub fn get_metrics(&self, key: &AnswerKey, snapshot: &MetricSnapshot) -> Option<Arc<PromAnswer>> {
        let Kept::Metrics(answer) = self.cache.get(key)? else { return None };
        let (start, end) = answer.stats.reach;
        (snapshot.identity(start, end) == answer.identity).then_some(answer)
    }

    /// Keeps an answer, unless it is large.
    pub fn put_metrics(&self, key: AnswerKey, answer: &Arc<PromAnswer>) {
        self.keep(key, Kept::Metrics(Arc::clone(answer)));
    }

    fn keep(&self, key: AnswerKey, kept: Kept) {
        if kept.weight() <= self.bytes_max / LARGEST {
            self.cache.insert(key, kept);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn key(snapshot: u128) -> AnswerKey {
        AnswerKey { tenant: storage::Tenant::default(), request: "rate({a=\"b\"}[5m])".to_owned(), snapshot }
    }

    #[test]
    fn only_the_same_records_give_the_same_answer() {
        let cache = AnswerCache::new(1 << 20);
        let answer = Arc::new((Answer::Scalar(1.0), QueryStats::default()));
        cache.put(key(1), &answer);
        assert_eq!(cache.get(&key(1)).unwrap().0, Answer::Scalar(1.0));
        assert!(cache.get(&key(2)).is_none());
        let none = AnswerCache::new(0);
        none.put(key(1), &answer);
        assert!(none.get(&key(1)).is_none());
    }

    #[test]
    fn an_answer_of_metrics_is_no_answer_of_logs() {
        let cache = AnswerCache::new(1 << 20);
        let snapshot = MetricSnapshot::default();
        let answer = Arc::new(PromAnswer::new(Bytes::from_static(b"{}"), PromStats::default(), &snapshot));
        cache.put_metrics(key(0), &answer);
        assert_eq!(cache.get_metrics(&key(0), &snapshot).unwrap().body, b"{}".as_slice());
        assert!(cache.get(&key(0)).is_none());
        let large = Arc::new(PromAnswer::new(vec![0; 1 << 18].into(), PromStats::default(), &snapshot));
        cache.put_metrics(key(1), &large);
        assert!(cache.get_metrics(&key(1), &snapshot).is_none());
    }
}
