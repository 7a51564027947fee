//! Writes a segment: rows sorted by stream and time, Parquet file first, then the index file. Both are synced before
//! this returns; they exist for others once the catalog says so.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::columns::{self, ColumnKind, ColumnSpec, Columns};
use super::container::{ContainerWriter, Section};
use super::meta::{Lineage, SegmentMeta, Signal};
use super::rows::SortedRows;
use super::runs;
use crate::batch::LogBatch;
use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::index::build::IndexBuilder;
use crate::tenant::Tenant;

/// Rows of an index block. Measured on 96-byte messages: 2,048 prune best, and cost 1 byte a row more than 8,192.
pub(crate) const BLOCK_ROWS: u32 = 2048;
/// Rows that are encoded at a time; page limits are looked at in between.
const WRITE_ROWS: usize = 2048;
/// Rows of a page of a narrow column.
const PAGE_ROWS: usize = 8192;
/// Bytes of a page of a text column, checked every [`WRITE_ROWS`] rows.
const PAGE_BYTES: usize = 512 << 10;
/// Rows of a row group: one for a usual segment, so that a dictionary serves all of it.
const ROW_GROUP_ROWS: usize = 512 << 10;
/// Bytes of a dictionary: whoever reads a single row unpacks all of it. With four times as many a search for a line takes
/// twice as long, and grouping by long or random values hardly gets quicker.
const DICTIONARY_BYTES: usize = 256 << 10;
/// The same for random identifiers, which repeat far apart and do not pack otherwise.
const HEX_DICTIONARY_BYTES: usize = 2 << 20;
/// Bytes of a page of an identifier: they are looked up one by one.
const IDENTIFIER_PAGE_BYTES: usize = 24 << 10;

/// What a segment is called and where it comes from: what the one who orders it knows before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentOrder {
    /// Unique in the data folder.
    pub id: u64,
    /// Whose data it is.
    pub tenant: Tenant,
    /// The UTC day, as days since 1970: rows of other days are left out by [`write_segment`].
    pub day: i32,
    /// Now, nanoseconds since 1970.
    pub created_ns: i64,
    /// Where the rows come from.
    pub lineage: Lineage,
}

/// How segments are written. The default is what measurements chose.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteOptions {
    /// zstd level of the columns: one more costs more time than it saves room.
    pub zstd_level: i32,
    /// Below this many rows no words and no bloom filters are written: reading all is as fast.
    pub index_rows_min: u32,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { zstd_level: 3, index_rows_min: 1024 }
    }
}

/// The two files of the segment at `path`, which has no extension: Parquet, index.
pub fn segment_files(path: &Path) -> (PathBuf, PathBuf) {
    (path.with_extension("parquet"), path.with_extension("index"))
}

/// Writes the rows of `inputs` that lie in `order.day` as one segment, at `path` (without extension). When it returns
/// `Ok`, both files and their names are durable; after an error what was written so far is removed.
///
/// # Errors
/// `DiskFull` or `Io` when the files cannot be written; `Refused` without a row of that day.
#[allow(clippy::needless_pass_by_value, reason = "an order is used up")]
pub fn write_segment(
    disk: &dyn Disk,
    path: &Path,
    order: SegmentOrder,
    inputs: &[Arc<LogBatch>],
    options: &WriteOptions,
) -> Result<SegmentMeta, StorageError> {
    let rows = SortedRows::of_day(inputs, order.day);
    if rows.rows.is_empty() {
        return Err(StorageError::Refused(format!("no row of day {} to write to {}", order.day, path.display())));
    }
    let (parquet_path, index_path) = segment_files(path);
    let result = write_files(disk, &parquet_path, &index_path, &order, &rows, options);
    if result.is_err() {
        // Half a segment is of no use; if removing fails too, the next start finds the orphan.
        let _ = disk.remove(&parquet_path);
        let _ = disk.remove(&index_path);
    }
    result
}

fn write_files(
    disk: &dyn Disk,
    parquet_path: &Path,
    index_path: &Path,
    order: &SegmentOrder,
    rows: &SortedRows<'_>,
    options: &WriteOptions,
) -> Result<SegmentMeta, StorageError> {
    let runs = runs::runs(rows);
    let columns = columns::columns(rows);
    let file = disk.create(parquet_path).map_err(|e| StorageError::io("create", parquet_path, e))?;
    let mut sink = Sink::new(Arc::clone(&file));
    let index = write_parquet(&mut sink, rows, &columns, options).map_err(|e| parquet_error(parquet_path, e))?;
    sink.finish().map_err(|e| StorageError::io("write", parquet_path, e))?;
    file.sync().map_err(|e| StorageError::io("sync", parquet_path, e))?;

    let mut meta = SegmentMeta {
        id: order.id,
        signal: Signal::Logs,
        tenant: order.tenant.clone(),
        day: order.day,
        rows: rows.rows.len() as u32,
        first_ns: runs.iter().map(|run| run.first).min().unwrap_or_default(),
        last_ns: runs.iter().map(|run| run.last).max().unwrap_or_default(),
        streams: rows.streams.len() as u32,
        message_bytes: runs.iter().map(|run| run.message_bytes).sum(),
        parquet_bytes: sink.written,
        index_bytes: 0,
        parquet_crc32c: sink.crc,
        index_crc32c: 0,
        created_ns: order.created_ns,
        resolution_ms: 0,
        lineage: order.lineage.clone(),
    };
    let mut container = ContainerWriter::new();
    let damaged = |reason: String| StorageError::Corrupt { path: index_path.to_owned(), offset: 0, reason };
    let pack = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).map_err(|e| StorageError::io("pack", index_path, e));
    container.add(Section::Streams, &pack(&runs::pack_streams(&rows.streams))?);
    container.add(Section::Runs, &pack(&runs::pack_runs(&runs))?);
    let listed = serde_json::to_vec(&(&columns.specs, &columns.sparse_keys)).map_err(|e| damaged(e.to_string()))?;
    container.add(Section::Columns, &pack(&listed)?);
    let patterns = serde_json::to_vec(&columns.patterns).map_err(|e| damaged(e.to_string()))?;
    container.add(Section::Patterns, &pack(&patterns)?);
    container.add(Section::PatternRuns, &pack(&columns.pattern_runs(&runs).pack())?);
    if let Some(index) = index {
        let index = index.finish().map_err(|e| damaged(format!("build the word index: {e}")))?;
        let numbers = |list: &[u32]| list.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        container.add(Section::Words, &pack(&index.words)?);
        container.add(Section::OpenBlocks, &numbers(&index.open_blocks));
        container.add(Section::FilterEnds, &numbers(&index.tokens.ends));
        container.add(Section::Filters, &index.tokens.bytes);
        for (values, attribute) in index.values.iter().zip(0..) {
            container.add(Section::ValueFilters(attribute), &[numbers(&values.ends), values.bytes.clone()].concat());
        }
    }
    container.add(Section::Meta, &meta.to_bytes());
    let bytes = container.finish();
    meta.index_bytes = bytes.len() as u64;
    meta.index_crc32c = crc32c::crc32c(&bytes);
    let file = disk.create(index_path).map_err(|e| StorageError::io("create", index_path, e))?;
    file.write_at(0, &bytes).map_err(|e| StorageError::io("write", index_path, e))?;
    file.sync().map_err(|e| StorageError::io("sync", index_path, e))?;
    let folder = index_path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(folder).map_err(|e| StorageError::io("sync", folder, e))?;
    Ok(meta)
}

/// Writes the Parquet file piece by piece, indexing messages as they go by.
fn write_parquet(
    sink: &mut Sink,
    rows: &SortedRows<'_>,
    columns: &Columns,
    options: &WriteOptions,
) -> Result<Option<IndexBuilder>, parquet::errors::ParquetError> {
    let mut fields: Vec<Field> = columns
        .arrays
        .iter()
        .map(|(name, array)| {
            Field::new(name, array.data_type().clone(), array.null_count() > 0 || name == columns::RESIDUAL)
        })
        .collect();
    fields.insert(1, Field::new(columns::MESSAGE, arrow::datatypes::DataType::Utf8, false));
    let schema = Arc::new(Schema::new(fields));
    let properties = ArrowWriterOptions::new().with_properties(properties(&columns.specs, options)?);
    let mut writer = ArrowWriter::try_new_with_options(sink, Arc::clone(&schema), properties)?;
    let identifiers: Vec<Identifier<'_>> = columns.specs.iter().filter_map(|s| Identifier::of(s, columns)).collect();
    let is_indexed = rows.rows.len() >= options.index_rows_min as usize;
    let mut index = is_indexed.then(|| IndexBuilder::new(BLOCK_ROWS, identifiers.len()));
    let mut start = 0;
    while start < rows.rows.len() {
        let end = rows.rows.len().min(start + PAGE_ROWS);
        let messages = columns::messages(rows, start..end);
        if let Some(index) = &mut index {
            for (at, message) in messages.iter().enumerate() {
                index.add(message.unwrap_or_default());
                for (number, identifier) in identifiers.iter().enumerate() {
                    identifier.index(start + at, number, index);
                }
            }
        }
        let mut arrays: Vec<ArrayRef> =
            columns.arrays.iter().map(|(_, array)| array.slice(start, end - start)).collect();
        arrays.insert(1, Arc::new(messages));
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), arrays)?)?;
        start = end;
    }
    writer.close()?;
    Ok(index)
}

/// A column whose values go into the bloom filters of the blocks.
struct Identifier<'c> {
    key: &'c str,
    column: IdentifierColumn<'c>,
}

enum IdentifierColumn<'c> {
    Text(&'c StringArray),
    Hex(&'c FixedSizeBinaryArray),
}

impl<'c> Identifier<'c> {
    fn of(spec: &'c ColumnSpec, columns: &'c Columns) -> Option<Self> {
        let (_, array) = columns.arrays.iter().find(|(name, _)| spec.in_filters && *name == spec.column)?;
        let text = array.as_string_opt().map(IdentifierColumn::Text);
        let column = text.or_else(|| array.as_fixed_size_binary_opt().map(IdentifierColumn::Hex))?;
        Some(Self { key: &spec.key, column })
    }

    fn index(&self, row: usize, number: usize, index: &mut IndexBuilder) {
        let this = (number, self.key);
        match self.column {
            IdentifierColumn::Text(array) if array.is_valid(row) => index.value(this, array.value(row).as_bytes()),
            IdentifierColumn::Hex(array) if array.is_valid(row) => index.value(this, array.value(row)),
            _ => {}
        }
    }
}

fn properties(specs: &[ColumnSpec], options: &WriteOptions) -> Result<WriterProperties, parquet::errors::ParquetError> {
    let listed = serde_json::to_string(specs).map_err(|e| parquet::errors::ParquetError::External(Box::new(e)))?;
    let path = |name: &str| ColumnPath::from(vec![name.to_owned()]);
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(concat!("farol ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![
            KeyValue::new("farol.version".to_owned(), "1".to_owned()),
            KeyValue::new("farol.columns".to_owned(), listed),
        ]))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(options.zstd_level)?))
        .set_write_batch_size(WRITE_ROWS)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(path(columns::TIMESTAMP), false)
        .set_column_encoding(path(columns::TIMESTAMP), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(path(columns::OBSERVED), false)
        .set_column_encoding(path(columns::OBSERVED), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(path(columns::PATTERN), false)
        .set_column_encoding(path(columns::PATTERN), Encoding::BYTE_STREAM_SPLIT)
        .set_column_dictionary_enabled(path(columns::MESSAGE), false)
        .set_column_statistics_enabled(path(columns::MESSAGE), EnabledStatistics::None)
        .set_column_encoding(path(columns::MESSAGE), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    for spec in specs {
        let column = ColumnPath::from(vec![spec.column.clone()]);
        if spec.identifier {
            properties = properties
                .set_column_bloom_filter_enabled(column.clone(), true)
                .set_column_bloom_filter_fpp(column.clone(), 0.1)
                .set_column_data_page_size_limit(column.clone(), IDENTIFIER_PAGE_BYTES);
        }
        // How values are written that are not, or no more, in a dictionary.
        properties = match spec.kind {
            ColumnKind::Double => properties.set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT),
            ColumnKind::Hex => properties
                .set_column_dictionary_page_size_limit(column.clone(), HEX_DICTIONARY_BYTES)
                .set_column_encoding(column, Encoding::PLAIN),
            ColumnKind::Str | ColumnKind::Json | ColumnKind::Bytes => {
                properties.set_column_encoding(column, Encoding::DELTA_LENGTH_BYTE_ARRAY)
            }
            ColumnKind::Int | ColumnKind::Bool => properties,
        };
    }
    Ok(properties.build())
}

/// An error of the Parquet writer is the disk's, if there is one inside.
pub(crate) fn parquet_error(path: &Path, error: parquet::errors::ParquetError) -> StorageError {
    let source = match error {
        parquet::errors::ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(io) => *io,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    };
    StorageError::io("write", path, source)
}

/// Bytes on their way to a file, with their checksum.
pub(crate) struct Sink {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    written: u64,
    crc: u32,
}

impl Sink {
    const BUFFER_BYTES: usize = 1 << 20;

    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, buffer: Vec::with_capacity(Self::BUFFER_BYTES), written: 0, crc: 0 }
    }

    /// Bytes so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Their checksum.
    pub(crate) fn crc(&self) -> u32 {
        self.crc
    }

    /// Writes what is left.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.file.write_at(self.written, &self.buffer)?;
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= Sink::BUFFER_BYTES {
            self.finish()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Attribute columns by key, for readers.
pub(crate) fn by_key(specs: &[ColumnSpec]) -> HashMap<&str, &ColumnSpec> {
    specs.iter().filter(|s| s.role == columns::Role::Attribute).map(|s| (s.key.as_str(), s)).collect()
}
