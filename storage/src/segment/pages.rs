//! Pages of a segment's Parquet file, as the reader takes them: unpacked ones are kept for the next who reads them.
//!
//! Dictionaries are kept always, data pages for reads of few of them, or when they are read again: a scan of everything
//! would only push out what others come back for, and memory that is new to the process costs as much as unpacking.

use std::ops::Range;
use std::sync::Arc;

use parquet::arrow::arrow_reader::RowGroups;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::Result;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;

use super::cache::SegmentCache;
use super::parquet_file::Chunks;

/// Pages are kept if at most one byte in so many of the columns is read.
const KEEP_ONE_IN: u64 = 8;
/// Pages that are read again are, if it is one in so many.
const KEEP_AGAIN_ONE_IN: u64 = 2;

/// Where the pages of one read come from.
#[derive(Debug, Clone)]
pub(super) struct Pages {
    pub(super) segment: u64,
    pub(super) chunks: Arc<Chunks>,
    pub(super) metadata: Arc<ParquetMetaData>,
    pub(super) cache: SegmentCache,
    pub(super) keep: Keep,
}

/// Which data pages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    None,
    /// Those that were read not long ago.
    ReadAgain,
    All,
}

impl Keep {
    /// For a read of `taken` bytes of columns of `all` bytes.
    fn of(taken: u64, all: u64) -> Self {
        match () {
            () if taken * KEEP_ONE_IN <= all => Self::All,
            () if taken * KEEP_AGAIN_ONE_IN <= all => Self::ReadAgain,
            () => Self::None,
        }
    }
}

impl Pages {
    /// Tells the disk which bytes reading `rows` (ascending) of the leaf columns that `reads` says will take, and decides
    /// which pages are kept.
    pub(super) fn announce(&mut self, rows: &[Range<u32>], reads: impl Fn(usize) -> bool) {
        let mut bytes: Vec<Range<u64>> = Vec::new();
        let (mut first_row, mut taken, mut all) = (0, 0, 0);
        for (at, group) in self.metadata.row_groups().iter().enumerate() {
            for column in (0..group.num_columns()).filter(|column| reads(*column)) {
                let chunk = ColumnChunk { pages: self.clone(), column, group: at };
                taken += chunk.bytes_of(rows, first_row, &mut bytes);
                all += chunk.row_group().column(column).byte_range().1;
            }
            first_row += u64::try_from(group.num_rows()).unwrap_or_default();
        }
        self.keep = Keep::of(taken, all);
        self.chunks.will_read(&bytes);
    }
}

impl RowGroups for Pages {
    fn num_rows(&self) -> usize {
        usize::try_from(self.metadata.file_metadata().num_rows()).unwrap_or_default()
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        Ok(Box::new(ColumnChunks { pages: self.clone(), column, group: 0 }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.metadata.row_groups().iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The chunks of one column, one for each row group.
struct ColumnChunks {
    pages: Pages,
    column: usize,
    group: usize,
}

impl Iterator for ColumnChunks {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = self.group;
        if group >= self.pages.metadata.num_row_groups() {
            return None;
        }
        self.group += 1;
        let chunk = ColumnChunk { pages: self.pages.clone(), column: self.column, group };
        let locations = chunk.locations().to_vec();
        let reader: Result<Box<dyn PageReader>> = match locations.is_empty() {
            // Without an index of pages they can only be read one after the other.
            true => chunk.reader(None).map(|reader| Box::new(reader) as _),
            false => Ok(Box::new(ChunkPages::new(chunk, locations))),
        };
        Some(reader)
    }
}

impl PageIterator for ColumnChunks {}

/// A column of a row group.
struct ColumnChunk {
    pages: Pages,
    column: usize,
    group: usize,
}

impl ColumnChunk {
    fn row_group(&self) -> &RowGroupMetaData {
        self.pages.metadata.row_group(self.group)
    }

    fn rows(&self) -> usize {
        usize::try_from(self.row_group().num_rows()).unwrap_or_default()
    }

    fn locations(&self) -> &[PageLocation] {
        let of_group = self.pages.metadata.offset_index().and_then(|groups| groups.get(self.group));
        of_group.and_then(|columns| columns.get(self.column)).map_or(&[], |index| &index.page_locations)
    }

    /// Appends where the pages of `rows` and the dictionary lie, but for those that are kept. How many bytes the pages of
    /// `rows` have.
    fn bytes_of(&self, rows: &[Range<u32>], first_row: u64, bytes: &mut Vec<Range<u64>>) -> u64 {
        let mut taken = 0;
        let locations = self.locations();
        let (start, _) = self.row_group().column(self.column).byte_range();
        let mut add = |place: Range<u64>| match bytes.last_mut() {
            _ if self.pages.cache.has_page((self.pages.segment, place.start)) => {}
            Some(last) if last.end == place.start => last.end = place.end,
            _ => bytes.push(place),
        };
        if let Some(first) = locations.first().map(|first| first.offset as u64).filter(|first| *first > start) {
            add(start..first);
        }
        let row = |location: &PageLocation| first_row + u64::try_from(location.first_row_index).unwrap_or_default();
        let mut rows = rows.iter().peekable();
        for (at, page) in locations.iter().enumerate() {
            let end = locations.get(at + 1).map_or(first_row + self.rows() as u64, row);
            while rows.next_if(|range| u64::from(range.end) <= row(page)).is_some() {}
            match rows.peek() {
                None => break,
                Some(range) if u64::from(range.start) < end => {
                    let (offset, size) =
                        (page.offset as u64, u64::try_from(page.compressed_page_size).unwrap_or_default());
                    taken += size;
                    add(offset..offset + size);
                }
                Some(_) => {}
            }
        }
        taken
    }

    fn reader(&self, locations: Option<Vec<PageLocation>>) -> Result<SerializedPageReader<Chunks>> {
        let chunk = self.row_group().column(self.column);
        SerializedPageReader::new(Arc::clone(&self.pages.chunks), chunk, self.rows(), locations)
    }
}

/// The pages of a chunk: the dictionary, if there is one, then the data pages.
struct ChunkPages {
    chunk: ColumnChunk,
    /// Data pages, the next one at `next`.
    locations: Vec<PageLocation>,
    next: usize,
    /// Where the dictionary lies, until it was taken or skipped.
    dictionary: Option<u64>,
    /// Reads what is not kept; made when it is needed, because it is not cheap.
    inner: Option<SerializedPageReader<Chunks>>,
    /// How many data pages the inner reader has behind it, and whether the dictionary.
    inner_next: usize,
    inner_past_dictionary: bool,
}

impl ChunkPages {
    fn new(chunk: ColumnChunk, locations: Vec<PageLocation>) -> Self {
        let (start, _) = chunk.row_group().column(chunk.column).byte_range();
        let has_dictionary = locations.first().is_some_and(|first| first.offset as u64 != start);
        Self {
            dictionary: has_dictionary.then_some(start),
            inner_past_dictionary: !has_dictionary,
            chunk,
            locations,
            next: 0,
            inner: None,
            inner_next: 0,
        }
    }

    /// The page at `next`, or the dictionary, from the file.
    fn read(&mut self, is_dictionary: bool) -> Result<Option<Page>> {
        let inner = match &mut self.inner {
            Some(inner) => inner,
            none => none.insert(self.chunk.reader(Some(self.locations.clone()))?),
        };
        if !is_dictionary {
            if !std::mem::replace(&mut self.inner_past_dictionary, true) {
                inner.skip_next_page()?;
            }
            while self.inner_next < self.next {
                inner.skip_next_page()?;
                self.inner_next += 1;
            }
            self.inner_next += 1;
        } else {
            self.inner_past_dictionary = true;
        }
        inner.get_next_page()
    }
}

impl Iterator for ChunkPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for ChunkPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let dictionary = self.dictionary.take();
        let offset = match (dictionary, self.locations.get(self.next)) {
            (Some(offset), _) => offset,
            (None, Some(location)) => location.offset as u64,
            (None, None) => return Ok(None),
        };
        let pages = &self.chunk.pages;
        let key = (pages.segment, offset);
        let kept = pages.cache.page(key);
        let page = match kept {
            Some(page) => Some(page),
            None => {
                let page = self.read(dictionary.is_some())?;
                let pages = &self.chunk.pages;
                let keep = dictionary.is_some()
                    || match pages.keep {
                        Keep::None => false,
                        Keep::ReadAgain => pages.cache.was_read(key),
                        Keep::All => true,
                    };
                if let Some(page) = page.as_ref().filter(|_| keep) {
                    pages.cache.keep_page(key, page);
                }
                page
            }
        };
        self.next += usize::from(dictionary.is_none());
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        if self.dictionary.is_some() {
            return Ok(Some(PageMetadata { num_rows: None, num_levels: None, is_dict: true }));
        }
        let Some(page) = self.locations.get(self.next) else { return Ok(None) };
        let first = |location: &PageLocation| usize::try_from(location.first_row_index).unwrap_or_default();
        let end = self.locations.get(self.next + 1).map_or(self.chunk.rows(), first);
        Ok(Some(PageMetadata { num_rows: Some(end.saturating_sub(first(page))), num_levels: None, is_dict: false }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        if self.dictionary.take().is_none() {
            self.next += 1;
        }
        Ok(())
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        Ok(self.peek_next_page()?.is_none_or(|page| page.num_rows.is_some()))
    }
}
