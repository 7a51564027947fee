//! Parts of index files that queries ask for again and again, unpacked, in bounded memory for all segments together.

use std::sync::Arc;

use parquet::column::page::Page;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::pattern_runs::PatternRuns;
use crate::error::StorageError;
use crate::index::words::Words;
use crate::metrics::series_index::SeriesIndex;
use crate::patterns::PatternTable;

/// Entries that a cache expects; it takes more.
const ENTRIES: usize = 4096;
/// Places of pages that are remembered.
const PLACES: usize = 1 << 15;
/// The same as [`ENTRIES`] for series, which are larger: few, so that each may have a good share.
const SERIES_ENTRIES: usize = 64;

/// Unpacked parts of index files, the least useful of which are let go when there are too many bytes.
#[derive(Debug, Clone)]
pub struct SegmentCache(Arc<Caches>);

#[derive(Debug)]
struct Caches {
    words: Cache<u64, Arc<Words>, Bytes>,
    /// Of tokens, or of an attribute's values.
    filters: Cache<FiltersOf, Arc<Vec<u8>>, Bytes>,
    patterns: Cache<u64, Arc<PatternTable>, Bytes>,
    pattern_runs: Cache<u64, Arc<PatternRuns>, Bytes>,
    series: Cache<u64, Arc<SeriesIndex>, Bytes>,
    /// By segment and place in its Parquet file.
    pages: Cache<(u64, u64), Arc<Page>, Bytes>,
    /// Places of pages that were read and not kept.
    read_once: Cache<(u64, u64), ()>,
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<u64, Arc<Words>> for Bytes {
    fn weight(&self, _: &u64, words: &Arc<Words>) -> u64 {
        words.memory_bytes() as u64 + 64
    }
}

/// A segment, and the number of an attribute.
type FiltersOf = (u64, Option<u32>);

impl Weighter<FiltersOf, Arc<Vec<u8>>> for Bytes {
    fn weight(&self, _: &FiltersOf, filters: &Arc<Vec<u8>>) -> u64 {
        filters.len() as u64 + 64
    }
}

impl Weighter<u64, Arc<PatternTable>> for Bytes {
    fn weight(&self, _: &u64, table: &Arc<PatternTable>) -> u64 {
        table.memory_bytes() as u64 + 64
    }
}

impl Weighter<u64, Arc<PatternRuns>> for Bytes {
    fn weight(&self, _: &u64, runs: &Arc<PatternRuns>) -> u64 {
        runs.memory_bytes() as u64 + 64
    }
}

impl Weighter<u64, Arc<SeriesIndex>> for Bytes {
    fn weight(&self, _: &u64, index: &Arc<SeriesIndex>) -> u64 {
        index.memory_bytes() as u64 + 64
    }
}

impl Weighter<(u64, u64), Arc<Page>> for Bytes {
    fn weight(&self, _: &(u64, u64), page: &Arc<Page>) -> u64 {
        page.buffer().len() as u64 + 128
    }
}

impl SegmentCache {
    /// A cache of at most `bytes_max`.
    pub fn new(bytes_max: u64) -> Self {
        // Filters are about ten times as large as words. Series are what all of metrics needs, logs none of it.
        let (words_max, patterns_max, series_max) = (bytes_max / 6, bytes_max / 16, bytes_max);
        let pages_max = bytes_max / 4;
        let filters_max = bytes_max - words_max - 2 * patterns_max - pages_max;
        Self(Arc::new(Caches {
            words: Cache::with_weighter(ENTRIES, words_max, Bytes),
            filters: Cache::with_weighter(ENTRIES, filters_max, Bytes),
            patterns: Cache::with_weighter(ENTRIES, patterns_max, Bytes),
            pattern_runs: Cache::with_weighter(ENTRIES, patterns_max, Bytes),
            series: Cache::with_weighter(SERIES_ENTRIES, series_max, Bytes),
            pages: Cache::with_weighter(ENTRIES, pages_max, Bytes),
            read_once: Cache::new(PLACES),
        }))
    }

    /// A page of a segment's Parquet file, if it was kept.
    pub(super) fn page(&self, place: (u64, u64)) -> Option<Page> {
        self.0.pages.get(&place).map(|page| page.as_ref().clone())
    }

    /// Whether a page was read not long ago; from now on it was.
    pub(super) fn was_read(&self, place: (u64, u64)) -> bool {
        let was_read = self.0.read_once.get(&place).is_some();
        if !was_read {
            self.0.read_once.insert(place, ());
        }
        was_read
    }

    /// Whether a page is kept.
    pub(super) fn has_page(&self, place: (u64, u64)) -> bool {
        self.0.pages.peek(&place).is_some()
    }

    /// Keeps a page.
    pub(super) fn keep_page(&self, place: (u64, u64), page: &Page) {
        self.0.pages.insert(place, Arc::new(page.clone()));
    }

    /// Whether the word dictionary of a segment is there.
    pub(super) fn has_words(&self, segment: u64) -> bool {
        self.0.words.peek(&segment).is_some()
    }

    /// Whether filters of a segment are there.
    pub(super) fn has_filters(&self, of: FiltersOf) -> bool {
        self.0.filters.peek(&of).is_some()
    }

    /// Whether the patterns of a segment are there, also those of its runs.
    pub(super) fn has_patterns(&self, segment: u64) -> bool {
        self.0.patterns.peek(&segment).is_some() && self.0.pattern_runs.peek(&segment).is_some()
    }

    /// The word dictionary of a segment; `load` reads it when it is not there.
    pub(super) fn words(
        &self,
        segment: u64,
        load: impl FnOnce() -> Result<Words, StorageError>,
    ) -> Result<Arc<Words>, StorageError> {
        self.0.words.get_or_insert_with(&segment, || load().map(Arc::new))
    }

    /// The patterns of a segment; `load` reads them when they are not there.
    pub(super) fn patterns(
        &self,
        segment: u64,
        load: impl FnOnce() -> Result<PatternTable, StorageError>,
    ) -> Result<Arc<PatternTable>, StorageError> {
        self.0.patterns.get_or_insert_with(&segment, || load().map(Arc::new))
    }

    /// The patterns of a segment's runs; `load` reads them when they are not there.
    pub(super) fn pattern_runs(
        &self,
        segment: u64,
        load: impl FnOnce() -> Result<PatternRuns, StorageError>,
    ) -> Result<Arc<PatternRuns>, StorageError> {
        self.0.pattern_runs.get_or_insert_with(&segment, || load().map(Arc::new))
    }

    /// The series of a segment of metrics; `load` reads them when they are not there.
    pub(crate) fn series(
        &self,
        segment: u64,
        load: impl FnOnce() -> Result<SeriesIndex, StorageError>,
    ) -> Result<Arc<SeriesIndex>, StorageError> {
        self.0.series.get_or_insert_with(&segment, || load().map(Arc::new))
    }

    /// The bloom filters of a segment's blocks; `load` reads them when they are not there.
    pub(super) fn filters(
        &self,
        of: FiltersOf,
        load: impl FnOnce() -> Result<Vec<u8>, StorageError>,
    ) -> Result<Arc<Vec<u8>>, StorageError> {
        self.0.filters.get_or_insert_with(&of, || load().map(Arc::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_read_again_is_known() {
        let cache = SegmentCache::new(1 << 20);
        let read: Vec<bool> = [(1, 5), (1, 5), (2, 5)].into_iter().map(|place| cache.was_read(place)).collect();
        assert_eq!(read, [false, true, false]);
    }
}
