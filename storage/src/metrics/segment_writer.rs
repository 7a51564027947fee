//! Writes a segment of metrics: rows sorted by series and time, the Parquet file first, then the index file.
//!
//! The Parquet file has a row a sample: `series` (a number), `timestamp`, and the value either in `value` or, when that is
//! empty, as `(base + digits * factor) / 10^scale`. The first row of a series also has `labels`, `base`, `factor` and
//! `scale`. FORMAT.md ("Segments of metrics") says how to query it with other programs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Float64Builder, Int32Builder, Int64Array, Int64Builder, RecordBatch, StringBuilder,
    TimestampMillisecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::labels::labels_of;
use crate::metrics::bytes::put_varint;
use crate::metrics::coarse::Coarse;
use crate::metrics::codec::put_exemplar;
use crate::metrics::decimal::{Decimal, digits_of};
use crate::metrics::series_index::{SeriesEntry, SeriesFlags, SeriesIndexWriter};
use crate::segment::container::{ContainerWriter, Section};
use crate::segment::{SegmentMeta, SegmentOrder, Signal, Sink, parquet_error, segment_files};

pub(super) const SERIES: &str = "series";
pub(super) const TIMESTAMP: &str = "timestamp";
pub(super) const DIGITS: &str = "digits";
pub(super) const VALUE: &str = "value";
pub(super) const HISTOGRAM: &str = "histogram";
pub(super) const START: &str = "start_timestamp";
pub(super) const COUNT: &str = "count";
pub(super) const MIN: &str = "min";
pub(super) const MAX: &str = "max";
pub(super) const SUM: &str = "sum";

/// Rows that are encoded at a time.
const WRITE_ROWS: usize = 64 << 10;
/// Rows of a page: what a reader unpacks to get at one of them.
const PAGE_ROWS: usize = 8192;
/// Values of an encoder's turn, after which page limits are looked at.
const TURN_ROWS: usize = 1024;
const ZSTD_LEVEL: i32 = 1;

/// The samples of one series, by time, each time once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeriesRows<'a> {
    pub(crate) label_bytes: &'a [u8],
    pub(crate) timestamps: &'a [i64],
    /// Of a histogram: anything.
    pub(crate) values: &'a [f64],
    /// Empty, or of each sample.
    pub(crate) starts: &'a [i64],
    /// Index of the sample, rising, and the histogram's bytes.
    pub(crate) histograms: &'a [(u32, Vec<u8>)],
    /// What the samples stand for.
    pub(crate) coarse: Option<&'a Coarse>,
}

/// A segment that is being written. Dropped without [`Self::finish`], it leaves no files.
pub(crate) struct MetricSegmentWriter<'d> {
    disk: &'d dyn Disk,
    parquet_path: PathBuf,
    index_path: PathBuf,
    file: Arc<dyn DiskFile>,
    writer: Option<ArrowWriter<Sink>>,
    schema: Arc<Schema>,
    /// Milliseconds that a sample stands for; 0 when every sample is there.
    resolution_ms: u32,
    columns: Columns,
    index: SeriesIndexWriter,
    rows: u32,
    last_digits: i64,
    exceptions: Vec<u32>,
    finished: bool,
}

/// Rows on their way into the file.
#[derive(Default)]
struct Columns {
    series: Vec<u32>,
    timestamps: Vec<i64>,
    digits: Vec<i64>,
    value: Float64Builder,
    histogram: BinaryBuilder,
    start: Int64Builder,
    labels: StringBuilder,
    base: Int64Builder,
    factor: Int64Builder,
    scale: Int32Builder,
    coarse: CoarseColumns,
}

/// Of samples that stand for several; nothing of those that stand for themselves.
#[derive(Default)]
struct CoarseColumns {
    count: Int32Builder,
    min: Float64Builder,
    max: Float64Builder,
    sum: Float64Builder,
}

impl CoarseColumns {
    /// Answers whether there was anything to say.
    fn append(&mut self, coarse: Option<&Coarse>, rows: usize) -> bool {
        let Some(coarse) = coarse.filter(|coarse| coarse.count.iter().any(|&count| count != 1)) else {
            self.count.append_nulls(rows);
            [&mut self.min, &mut self.max, &mut self.sum].into_iter().for_each(|column| column.append_nulls(rows));
            return false;
        };
        for row in 0..rows {
            let several = coarse.count[row] != 1;
            self.count.append_option(several.then_some(coarse.count[row] as i32));
            self.min.append_option(several.then_some(coarse.min[row]));
            self.max.append_option(several.then_some(coarse.max[row]));
            self.sum.append_option(several.then_some(coarse.sum[row]));
        }
        true
    }

    fn finish(&mut self) -> [ArrayRef; 4] {
        [
            Arc::new(self.count.finish()),
            Arc::new(self.min.finish()),
            Arc::new(self.max.finish()),
            Arc::new(self.sum.finish()),
        ]
    }
}

impl<'d> MetricSegmentWriter<'d> {
    /// Begins the files of the segment at `path` (without extension). `resolution_ms`: what a sample stands for; 0 when
    /// every sample is there.
    ///
    /// # Errors
    /// `DiskFull` or `Io`.
    pub(crate) fn create(disk: &'d dyn Disk, path: &Path, resolution_ms: u32) -> Result<Self, StorageError> {
        let (parquet_path, index_path) = segment_files(path);
        let file = disk.create(&parquet_path).map_err(|e| StorageError::io("create", &parquet_path, e))?;
        let schema = schema(resolution_ms > 0);
        let written = properties(resolution_ms).and_then(|properties| {
            let options = ArrowWriterOptions::new().with_properties(properties);
            ArrowWriter::try_new_with_options(Sink::new(Arc::clone(&file)), Arc::clone(&schema), options)
        });
        let writer = written.map_err(|e| parquet_error(&parquet_path, e))?;
        Ok(Self {
            disk,
            parquet_path,
            index_path,
            file,
            writer: Some(writer),
            schema,
            resolution_ms,
            columns: Columns::default(),
            index: SeriesIndexWriter::default(),
            rows: 0,
            last_digits: 0,
            exceptions: Vec::new(),
            finished: false,
        })
    }

    /// How many series there are so far.
    pub(crate) fn series_count(&self) -> u32 {
        self.index.len() as u32
    }

    /// Adds the next series, in the order of their labels, without a sample: for its exemplars' sake.
    pub(crate) fn series_without_samples(&mut self, label_bytes: &[u8]) {
        self.index.add(label_bytes, SeriesEntry::without_rows(self.rows));
    }

    /// Adds the next series, in the order of their labels; one without a sample is left out.
    ///
    /// # Errors
    /// `DiskFull` or `Io`.
    pub(crate) fn series(&mut self, rows: SeriesRows<'_>) -> Result<(), StorageError> {
        let (Some(&first), Some(&last)) = (rows.timestamps.first(), rows.timestamps.last()) else { return Ok(()) };
        let count = rows.timestamps.len();
        let columns = &mut self.columns;
        self.exceptions.clear();
        let decimal = digits_of(rows.values, self.last_digits, &mut columns.digits, &mut self.exceptions);
        let mut flags = 0;
        if decimal.is_none() {
            flags |= SeriesFlags::PLAIN;
            let same = self.last_digits;
            columns.digits.extend(std::iter::repeat_n(same, count));
            if rows.histograms.is_empty() {
                columns.value.append_slice(rows.values);
            } else {
                append_values(&mut columns.value, &rows, 0..count as u32);
            }
        } else if self.exceptions.is_empty() {
            columns.value.append_nulls(count);
        } else {
            flags |= SeriesFlags::EXCEPTIONS;
            append_values(&mut columns.value, &rows, self.exceptions.iter().copied());
        }
        self.last_digits = columns.digits.last().copied().unwrap_or_default();
        if rows.histograms.is_empty() {
            columns.histogram.append_nulls(count);
        } else {
            flags |= SeriesFlags::HISTOGRAMS;
            let mut histograms = rows.histograms.iter().peekable();
            for row in 0..count as u32 {
                columns.histogram.append_option(histograms.next_if(|(at, _)| *at == row).map(|(_, bytes)| bytes));
            }
        }
        if rows.starts.iter().any(|&start| start != 0) {
            flags |= SeriesFlags::STARTS;
            rows.starts.iter().for_each(|&start| columns.start.append_option((start != 0).then_some(start)));
        } else {
            columns.start.append_nulls(count);
        }
        if self.resolution_ms > 0 && columns.coarse.append(rows.coarse, count) {
            flags |= SeriesFlags::COARSE;
        }
        let decimal = decimal.unwrap_or(Decimal { base: 0, factor: 1, scale: 0 });
        columns.labels.append_value(json(rows.label_bytes));
        columns.base.append_value(decimal.base);
        columns.factor.append_value(decimal.factor);
        columns.scale.append_value(i32::from(decimal.scale));
        for _ in 1..count {
            columns.labels.append_null();
        }
        columns.base.append_nulls(count - 1);
        columns.factor.append_nulls(count - 1);
        columns.scale.append_nulls(count - 1);
        columns.series.extend(std::iter::repeat_n(self.index.len() as u32, count));
        columns.timestamps.extend_from_slice(rows.timestamps);
        let (row, count) = (self.rows, count as u32);
        let interval = interval(rows.timestamps);
        let entry = SeriesEntry { row, rows: count, first, last, interval, decimal, flags: SeriesFlags(flags) };
        self.index.add(rows.label_bytes, entry);
        self.rows = self.rows.checked_add(count).ok_or_else(|| {
            StorageError::Refused(format!("{} would have more than 4,294,967,295 rows", self.parquet_path.display()))
        })?;
        if self.columns.series.len() >= WRITE_ROWS { self.write_columns() } else { Ok(()) }
    }

    fn write_columns(&mut self) -> Result<(), StorageError> {
        let columns = &mut self.columns;
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(std::mem::take(&mut columns.series))),
            Arc::new(TimestampMillisecondArray::from(std::mem::take(&mut columns.timestamps)).with_timezone("UTC")),
            Arc::new(Int64Array::from(std::mem::take(&mut columns.digits))),
            Arc::new(columns.value.finish()),
            Arc::new(columns.histogram.finish()),
            Arc::new(columns.start.finish()),
            Arc::new(columns.labels.finish()),
            Arc::new(columns.base.finish()),
            Arc::new(columns.factor.finish()),
            Arc::new(columns.scale.finish()),
        ];
        if self.resolution_ms > 0 {
            arrays.extend(columns.coarse.finish());
        }
        let written = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(parquet::errors::ParquetError::from)
            .and_then(|batch| self.writer.as_mut().map_or(Ok(()), |writer| writer.write(&batch)));
        written.map_err(|e| parquet_error(&self.parquet_path, e))
    }

    /// Writes what is left and the index file; both are durable when it returns. `exemplars`: by series (its number here)
    /// and time.
    ///
    /// # Errors
    /// `DiskFull` or `Io`; `Refused` without a sample or an exemplar.
    pub(crate) fn finish(
        mut self,
        order: &SegmentOrder,
        exemplars: &[(u32, i64, f64, crate::labels::Labels)],
    ) -> Result<SegmentMeta, StorageError> {
        if self.rows == 0 && exemplars.is_empty() {
            let path = self.parquet_path.display();
            return Err(StorageError::Refused(format!("no sample of day {} to write to {path}", order.day)));
        }
        self.write_columns()?;
        let path = self.parquet_path.clone();
        let Some(mut writer) = self.writer.take() else { return Err(StorageError::Closed) };
        writer.finish().map_err(|e| parquet_error(&path, e))?;
        let sink = writer.inner_mut();
        sink.finish().map_err(|e| StorageError::io("write", &path, e))?;
        self.file.sync().map_err(|e| StorageError::io("sync", &path, e))?;
        let firsts = self.index.entries().iter().filter(|entry| entry.rows > 0).map(|entry| entry.first);
        let lasts = self.index.entries().iter().filter(|entry| entry.rows > 0).map(|entry| entry.last);
        let of_exemplars = || exemplars.iter().map(|(_, time, ..)| *time);
        let mut meta = SegmentMeta {
            id: order.id,
            signal: Signal::Metrics,
            tenant: order.tenant.clone(),
            day: order.day,
            rows: self.rows,
            first_ns: firsts.chain(of_exemplars()).min().unwrap_or_default().saturating_mul(1_000_000),
            last_ns: lasts.chain(of_exemplars()).max().unwrap_or_default().saturating_mul(1_000_000),
            streams: self.index.len() as u32,
            message_bytes: 0,
            parquet_bytes: sink.written(),
            index_bytes: 0,
            parquet_crc32c: sink.crc(),
            index_crc32c: 0,
            created_ns: order.created_ns,
            resolution_ms: self.resolution_ms,
            lineage: order.lineage.clone(),
        };
        let mut container = ContainerWriter::new();
        let pack = |e| StorageError::io("pack", &self.index_path, e);
        self.index.write(&mut container).map_err(pack)?;
        if !exemplars.is_empty() {
            let mut bytes = Vec::new();
            for (series, timestamp, value, labels) in exemplars {
                put_varint(&mut bytes, u64::from(*series));
                put_exemplar(&mut bytes, *timestamp, *value, labels);
            }
            container.add(Section::Exemplars, &zstd::bulk::compress(&bytes, 3).map_err(pack)?);
        }
        container.add(Section::Meta, &meta.to_bytes());
        let bytes = container.finish();
        meta.index_bytes = bytes.len() as u64;
        meta.index_crc32c = crc32c::crc32c(&bytes);
        let path = &self.index_path;
        let file = self.disk.create(path).map_err(|e| StorageError::io("create", path, e))?;
        file.write_at(0, &bytes).map_err(|e| StorageError::io("write", path, e))?;
        file.sync().map_err(|e| StorageError::io("sync", path, e))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        self.disk.sync_dir(folder).map_err(|e| StorageError::io("sync", folder, e))?;
        self.finished = true;
        Ok(meta)
    }
}

impl Drop for MetricSegmentWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // Half a segment is of no use; if removing fails too, the next start finds the orphan.
            let _ = self.disk.remove(&self.parquet_path);
            let _ = self.disk.remove(&self.index_path);
        }
    }
}

/// The values of the rows `at` (rising), but for those of histograms; nothing for the others.
fn append_values(column: &mut Float64Builder, rows: &SeriesRows<'_>, at: impl IntoIterator<Item = u32>) {
    let mut histograms = rows.histograms.iter().map(|(row, _)| *row).peekable();
    let mut at = at.into_iter().peekable();
    for (row, &value) in (0..).zip(rows.values) {
        let is_histogram = histograms.next_if(|&histogram| histogram == row).is_some();
        let wanted = at.next_if(|&at| at == row).is_some();
        column.append_option((wanted && !is_histogram).then_some(value));
    }
}

/// The distance from each time to the next, if it is always the same; else 0.
fn interval(timestamps: &[i64]) -> i64 {
    let [first, second, ..] = timestamps else { return 1 };
    let interval = second.wrapping_sub(*first);
    let regular = timestamps.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == interval);
    if regular && interval > 0 { interval } else { 0 }
}

/// Labels as a JSON object.
fn json(label_bytes: &[u8]) -> String {
    let map: serde_json::Map<String, serde_json::Value> =
        labels_of(label_bytes).map(|(name, value)| (name.to_owned(), value.into())).collect();
    serde_json::Value::Object(map).to_string()
}

fn schema(is_coarse: bool) -> Arc<Schema> {
    let mut fields = vec![
        Field::new(SERIES, DataType::UInt32, false),
        Field::new(TIMESTAMP, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new(DIGITS, DataType::Int64, false),
        Field::new(VALUE, DataType::Float64, true),
        Field::new(HISTOGRAM, DataType::Binary, true),
        Field::new(START, DataType::Int64, true),
        Field::new("labels", DataType::Utf8, true),
        Field::new("base", DataType::Int64, true),
        Field::new("factor", DataType::Int64, true),
        Field::new("scale", DataType::Int32, true),
    ];
    if is_coarse {
        fields.push(Field::new(COUNT, DataType::Int32, true));
        fields.extend([MIN, MAX, SUM].map(|name| Field::new(name, DataType::Float64, true)));
    }
    Arc::new(Schema::new(fields))
}

fn properties(resolution_ms: u32) -> Result<WriterProperties, parquet::errors::ParquetError> {
    let path = |name: &str| ColumnPath::from(vec![name.to_owned()]);
    let mut about = vec![KeyValue::new("farol.version".to_owned(), "1".to_owned())];
    if resolution_ms > 0 {
        about.push(KeyValue::new("farol.resolution_ms".to_owned(), resolution_ms.to_string()));
    }
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(concat!("farol ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(about))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_write_batch_size(TURN_ROWS)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_max_row_group_row_count(Some(u32::MAX as usize))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for name in [SERIES, TIMESTAMP, DIGITS, START, "base", "factor", "scale", COUNT] {
        properties = properties.set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in [VALUE, MIN, MAX, SUM] {
        properties = properties.set_column_encoding(path(name), Encoding::BYTE_STREAM_SPLIT);
    }
    properties = properties
        .set_column_encoding(path(HISTOGRAM), Encoding::DELTA_LENGTH_BYTE_ARRAY)
        .set_column_encoding(path("labels"), Encoding::DELTA_BYTE_ARRAY);
    Ok(properties.build())
}
