//! Reads pages of a segment's Parquet file at explicit offsets, so that many threads share one handle.

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Encoding;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};

use super::cache::SegmentCache;
use super::columns::{ColumnKind, ColumnSpec, Role};
use super::pages::{Keep, Pages};
use crate::disk::DiskFile;
use crate::error::StorageError;
use crate::ranges::rows_in;

/// Bytes at the end of a file that have the footer and the index of pages, usually.
pub(super) const FOOTER_BYTES: u64 = 64 << 10;
/// Read ahead of a stream of small reads (page headers).
const READ_AHEAD_BYTES: usize = 16 << 10;

/// An open Parquet file with its footer.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    path: PathBuf,
    chunks: Arc<Chunks>,
    metadata: ArrowReaderMetadata,
}

impl ParquetFile {
    pub(crate) fn open(file: Arc<dyn DiskFile>, path: &Path, specs: &[ColumnSpec]) -> Result<Self, StorageError> {
        let io_error = |e| StorageError::io("read", path, e);
        file.reads_are_scattered();
        let chunks = Chunks::new(file).map_err(io_error)?;
        let damaged =
            |e: ParquetError| StorageError::Corrupt { path: path.to_owned(), offset: 0, reason: e.to_string() };
        let policy = PageIndexPolicy::Optional;
        let options = || ArrowReaderOptions::new().with_offset_index_policy(policy);
        let plain = ArrowReaderMetadata::load(&chunks, options()).map_err(damaged)?;
        // Text attributes come as dictionaries, as they are stored: grouping and comparing works on codes.
        let fields: Vec<Field> = plain
            .schema()
            .fields()
            .iter()
            .map(|field| {
                let spec = specs.iter().find(|spec| spec.column == *field.name());
                let is_text = spec.is_some_and(|spec| {
                    spec.role == Role::Attribute
                        && matches!(spec.kind, ColumnKind::Str | ColumnKind::Json)
                        && is_dictionary(plain.metadata(), &spec.column)
                });
                if is_text {
                    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
                    field.as_ref().clone().with_data_type(dictionary)
                } else {
                    field.as_ref().clone()
                }
            })
            .collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, plain.schema().metadata().clone()));
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), options().with_schema(schema))
            .map_err(damaged)?;
        Ok(Self { path: path.to_owned(), chunks: Arc::new(chunks), metadata })
    }

    /// Reads rows of `ranges` (ascending) with the named columns, in file order. `cache` keeps pages of `segment`.
    pub(crate) fn read(
        &self,
        ranges: &[Range<u32>],
        columns: &[&str],
        piece_rows: usize,
        (segment, cache): (u64, &SegmentCache),
    ) -> Result<ParquetRecordBatchReader, StorageError> {
        let schema = self.metadata.schema();
        let (pages, mask) = self.pages_of(ranges, columns, (segment, cache));
        let file_schema = self.metadata.metadata().file_metadata().schema_descr();
        let levels = parquet_to_arrow_field_levels(file_schema, mask, Some(schema.fields()));
        let reader = |levels| {
            let piece_rows = piece_rows.min(usize::try_from(rows_in(ranges)).unwrap_or(usize::MAX));
            ParquetRecordBatchReader::try_new_with_row_groups(&levels, &pages, piece_rows, Some(selection(ranges)))
        };
        levels.and_then(reader).map_err(|e| self.damaged(&e))
    }

    /// Tells the disk which pages [`Self::read`] will take.
    pub(crate) fn announce(&self, ranges: &[Range<u32>], columns: &[&str], of: (u64, &SegmentCache)) {
        self.pages_of(ranges, columns, of);
    }

    /// The pages that [`Self::read`] takes, announced to the disk, and their columns.
    fn pages_of(
        &self,
        ranges: &[Range<u32>],
        columns: &[&str],
        (segment, cache): (u64, &SegmentCache),
    ) -> (Pages, ProjectionMask) {
        let metadata = self.metadata.metadata();
        let roots = columns.iter().filter_map(|name| self.metadata.schema().index_of(name).ok());
        let mask = ProjectionMask::roots(metadata.file_metadata().schema_descr(), roots);
        let mut pages = Pages {
            segment,
            chunks: Arc::clone(&self.chunks),
            metadata: Arc::clone(metadata),
            cache: cache.clone(),
            keep: Keep::None,
        };
        pages.announce(ranges, |leaf| mask.leaf_included(leaf));
        (pages, mask)
    }

    /// Whether the column's bloom filter says that it does not hold any of `values`.
    pub(crate) fn rules_out(&self, column: &str, values: &[Vec<u8>]) -> Result<bool, StorageError> {
        let chunks = self.chunks.as_ref().clone();
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, self.metadata.clone());
        let Some((index, _)) = builder.parquet_schema().columns().iter().enumerate().find(|(_, c)| c.name() == column)
        else {
            return Ok(false);
        };
        for group in 0..self.metadata.metadata().num_row_groups() {
            let filter = builder.get_row_group_column_bloom_filter(group, index).map_err(|e| self.damaged(&e))?;
            match filter {
                Some(filter) if !values.iter().any(|value| filter.check(value.as_slice())) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    pub(crate) fn row_count(&self) -> i64 {
        self.metadata.metadata().file_metadata().num_rows()
    }

    pub(crate) fn damaged(&self, error: &dyn std::fmt::Display) -> StorageError {
        StorageError::Corrupt { path: self.path.clone(), offset: 0, reason: error.to_string() }
    }

    /// A column of a piece, if the file has it.
    pub(crate) fn column<'a>(piece: &'a RecordBatch, name: &str) -> Option<&'a arrow::array::ArrayRef> {
        piece.column_by_name(name)
    }
}

/// Whether all of a column's pages are written as numbers of a dictionary: one that grew too large is given up for plain
/// pages, and those would be made into dictionaries at some cost.
fn is_dictionary(metadata: &ParquetMetaData, column: &str) -> bool {
    metadata.row_groups().iter().flat_map(RowGroupMetaData::columns).filter(|c| c.column_path().string() == column).all(
        |chunk| match chunk.page_encoding_stats_mask() {
            Some(pages) => pages.is_only(Encoding::RLE_DICTIONARY),
            None => chunk.dictionary_page_offset().is_some(),
        },
    )
}

fn selection(ranges: &[Range<u32>]) -> RowSelection {
    let mut selectors = Vec::with_capacity(ranges.len() * 2);
    let mut at = 0;
    for range in ranges {
        if range.start > at {
            selectors.push(RowSelector::skip((range.start - at) as usize));
        }
        selectors.push(RowSelector::select((range.end - range.start) as usize));
        at = range.end;
    }
    RowSelection::from(selectors)
}

/// A file as the Parquet reader wants it.
#[derive(Debug, Clone)]
pub(crate) struct Chunks {
    file: Arc<dyn DiskFile>,
    length: u64,
}

impl Chunks {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        Ok(Self { length: file.len()?, file })
    }
}

impl Chunks {
    pub(super) fn will_read(&self, bytes: &[Range<u64>]) {
        self.file.will_read(bytes);
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Chunks {
    type T = Cursor;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(Cursor { file: Arc::clone(&self.file), next: start, buffer: Vec::new(), taken: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let mut buffer = vec![0; length];
        self.file.read_exact_at(start, &mut buffer)?;
        Ok(buffer.into())
    }
}

/// Reads on from an offset.
#[derive(Debug)]
pub(crate) struct Cursor {
    file: Arc<dyn DiskFile>,
    next: u64,
    buffer: Vec<u8>,
    taken: usize,
}

impl Read for Cursor {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.buffer.len() {
            if out.len() >= READ_AHEAD_BYTES {
                let got = self.file.read_at(self.next, out)?;
                self.next += got as u64;
                return Ok(got);
            }
            self.buffer.resize(READ_AHEAD_BYTES, 0);
            let got = self.file.read_at(self.next, &mut self.buffer)?;
            self.buffer.truncate(got);
            self.next += got as u64;
            self.taken = 0;
        }
        let ready = self.buffer.get(self.taken..).unwrap_or_default();
        let count = ready.len().min(out.len());
        for (to, from) in out.iter_mut().zip(ready) {
            *to = *from;
        }
        self.taken += count;
        Ok(count)
    }
}
