//! Answers kept for who asks the same again of the same records, in bounded memory. The key holds the identity of the
//! snapshot, so an answer is never out of date: a record more is another key.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::engine::Answer;
use crate::stats::QueryStats;

/// Answers that the cache expects; it takes more.
const ENTRIES: usize = 1024;
/// An answer that is larger than this part of the cache is not kept.
const LARGEST: u64 = 8;

/// Answers by what was asked.
#[derive(Debug)]
pub struct AnswerCache {
    cache: Cache<AnswerKey, Arc<(Answer, QueryStats)>, Bytes>,
    bytes_max: u64,
}

/// What was asked, of which records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AnswerKey {
    /// Whose records.
    pub tenant: storage::Tenant,
    /// The query and everything that changes its answer.
    pub request: String,
    /// See [`storage::Snapshot::identity`].
    pub snapshot: u128,
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<AnswerKey, Arc<(Answer, QueryStats)>> for Bytes {
    fn weight(&self, key: &AnswerKey, answer: &Arc<(Answer, QueryStats)>) -> u64 {
        (key.request.len() + 256) as u64 + weight(&answer.0)
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
        Self { cache: Cache::with_weighter(ENTRIES, bytes_max, Bytes), bytes_max }
    }

    /// What was answered before.
    pub fn get(&self, key: &AnswerKey) -> Option<Arc<(Answer, QueryStats)>> {
        self.cache.get(key)
    }

    /// Keeps an answer, unless it is large.
    pub fn put(&self, key: AnswerKey, answer: &Arc<(Answer, QueryStats)>) {
        if weight(&answer.0) <= self.bytes_max / LARGEST {
            self.cache.insert(key, Arc::clone(answer));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_records_give_the_same_answer() {
        let cache = AnswerCache::new(1 << 20);
        let key = |snapshot| AnswerKey {
            tenant: storage::Tenant::default(),
            request: "rate({a=\"b\"}[5m])".to_owned(),
            snapshot,
        };
        let answer = Arc::new((Answer::Scalar(1.0), QueryStats::default()));
        cache.put(key(1), &answer);
        assert_eq!(cache.get(&key(1)).unwrap().0, Answer::Scalar(1.0));
        assert!(cache.get(&key(2)).is_none());
        let none = AnswerCache::new(0);
        none.put(key(1), &answer);
        assert!(none.get(&key(1)).is_none());
    }
}
