//! An open segment of metrics: what it is in memory, everything else read when it is asked for.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::serialized_reader::SerializedPageReader;

use crate::disk::{Disk, first_bytes};
use crate::error::StorageError;
use crate::labels::Labels;
use crate::metrics::bytes::Reader;
use crate::metrics::coarse::Coarse;
use crate::metrics::codec::exemplar;
use crate::metrics::histogram::Histogram;
use crate::metrics::samples::Samples;
use crate::metrics::segment_writer::{COUNT, DIGITS, HISTOGRAM, MAX, MIN, START, SUM, TIMESTAMP, VALUE};
use crate::metrics::series_index::{SeriesFlags, SeriesIndex};
use crate::segment::container::{Container, Section};
use crate::segment::{Chunks, SegmentCache, SegmentMeta, own_meta, segment_files};

/// An open segment of metrics.
#[derive(Debug)]
pub struct MetricSegment {
    meta: SegmentMeta,
    parquet_path: PathBuf,
    /// Held open, so that the segment stays readable when its name is gone.
    chunks: Chunks,
    container: Container,
    footer: OnceLock<Arc<ParquetMetaData>>,
    cache: SegmentCache,
}

impl MetricSegment {
    /// Opens the segment at `path` (without extension).
    ///
    /// # Errors
    /// `Io` when a file is missing; `Corrupt` when it is damaged or not the one that `meta` describes.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        meta: SegmentMeta,
        cache: &SegmentCache,
    ) -> Result<Self, StorageError> {
        let (parquet_path, index_path) = segment_files(path);
        let file = disk.open(&index_path).map_err(|e| StorageError::io("open", &index_path, e))?;
        let parquet_file = disk.open(&parquet_path).map_err(|e| StorageError::io("open", &parquet_path, e))?;
        // Bytes behind the end that the catalog knows are not ours: a crash can leave them, and they cost nothing.
        let (file, parquet_file) = (first_bytes(file, meta.index_bytes), first_bytes(parquet_file, meta.parquet_bytes));
        let index_bytes = file.len().map_err(|e| StorageError::io("read", &index_path, e))?;
        let container = Container::open(&index_path, file)?;
        let own = own_meta(&container)?;
        if own.id != meta.id || own.tenant != meta.tenant || own.rows != meta.rows || index_bytes != meta.index_bytes {
            return Err(container.damaged(0, format!("it is not the segment {} that the catalog means", meta.id)));
        }
        let chunks = Chunks::new(parquet_file).map_err(|e| StorageError::io("read", &parquet_path, e))?;
        Ok(Self { meta, parquet_path, chunks, container, footer: OnceLock::new(), cache: cache.clone() })
    }

    /// What it is.
    pub fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// First and last time, both inside, in nanoseconds.
    pub(crate) fn time_bounds(&self) -> (i64, i64) {
        (self.meta.first_ns, self.meta.last_ns)
    }

    /// Its series.
    pub(crate) fn index(&self) -> Result<Arc<SeriesIndex>, StorageError> {
        self.cache.series(self.meta.id, || SeriesIndex::open(&self.container))
    }

    /// Its exemplars: series, milliseconds, value, labels; by series and time.
    pub(crate) fn exemplars(&self) -> Result<Vec<(u32, i64, f64, Labels)>, StorageError> {
        let bytes = self.container.unpack(Section::Exemplars)?;
        let damaged = || self.container.damaged(0, "the exemplars cannot be read".to_owned());
        let mut reader = Reader::new(&bytes);
        let mut exemplars = Vec::new();
        while !reader.is_empty() {
            let series = reader.varint().and_then(|series| u32::try_from(series).ok()).ok_or_else(damaged)?;
            let (timestamp, value, labels) = exemplar(&mut reader).ok_or_else(damaged)?;
            exemplars.push((series, timestamp, value, labels));
        }
        Ok(exemplars)
    }

    /// Reads the rows of `series` (ascending) between `start` and `end`, both inside, in milliseconds, and calls `each`
    /// with the index in `series` and its rows.
    ///
    /// # Errors
    /// `Io` or `Corrupt`, or what `each` answered.
    pub(crate) fn read<E: From<StorageError>>(
        &self,
        index: &SeriesIndex,
        series: &[u32],
        (start, end): (i64, i64),
        mut each: impl FnMut(usize, &mut Samples) -> Result<(), E>,
    ) -> Result<(), E> {
        let ranges: Vec<Range<u32>> = series.iter().map(|&series| index.rows_in(series, start, end)).collect();
        let Some(last_row) = ranges.iter().filter(|r| !r.is_empty()).map(|r| r.end).max() else { return Ok(()) };
        let footer = self.footer()?;
        let mut columns = OpenColumns::new(self, &footer, last_row);
        let mut rows = Samples::default();
        for (at, (&series, range)) in series.iter().zip(ranges).enumerate() {
            if range.is_empty() {
                continue;
            }
            columns.read(index, series, range, &mut rows).map_err(|e| self.damaged(&e))?;
            if index.entries()[series as usize].interval == 0 {
                rows.cut(start, end);
            }
            each(at, &mut rows)?;
        }
        Ok(())
    }

    fn footer(&self) -> Result<Arc<ParquetMetaData>, StorageError> {
        if let Some(footer) = self.footer.get() {
            return Ok(Arc::clone(footer));
        }
        let footer = ParquetMetaDataReader::new()
            .with_offset_index_policy(PageIndexPolicy::Required)
            .parse_and_finish(&self.chunks)
            .map_err(|e| self.damaged(&e))?;
        let rows = footer.file_metadata().num_rows();
        if rows != i64::from(self.meta.rows) || footer.num_row_groups() != 1 {
            return Err(self.damaged(&format!("{rows} rows, the index has {}", self.meta.rows)));
        }
        Ok(Arc::clone(self.footer.get_or_init(|| Arc::new(footer))))
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> StorageError {
        StorageError::Corrupt { path: self.parquet_path.clone(), offset: 0, reason: error.to_string() }
    }
}

/// The columns of a segment that are being read, each opened when it is first needed and read on from there.
struct OpenColumns<'s> {
    segment: &'s MetricSegment,
    footer: &'s ParquetMetaData,
    /// Row after the last one that will be asked for.
    last_row: u32,
    timestamp: Option<Column<Int64Type>>,
    digits: Option<Column<Int64Type>>,
    value: Option<Column<DoubleType>>,
    start: Option<Column<Int64Type>>,
    histogram: Option<Column<ByteArrayType>>,
    count: Option<Column<Int32Type>>,
    /// Least, greatest, sum.
    aggregates: [Option<Column<DoubleType>>; 3],
    scratch: Vec<i64>,
}

impl<'s> OpenColumns<'s> {
    fn new(segment: &'s MetricSegment, footer: &'s ParquetMetaData, last_row: u32) -> Self {
        let (timestamp, digits, value, start, histogram) = (None, None, None, None, None);
        let (count, aggregates, scratch) = (None, [None, None, None], Vec::new());
        Self { segment, footer, last_row, timestamp, digits, value, start, histogram, count, aggregates, scratch }
    }

    fn read(
        &mut self,
        index: &SeriesIndex,
        series: u32,
        range: Range<u32>,
        rows: &mut Samples,
    ) -> Result<(), ParquetError> {
        let entry = &index.entries()[series as usize];
        let (segment, footer, last_row) = (self.segment, self.footer, self.last_row);
        let open = (&segment.chunks, footer, range.start, last_row);
        rows.clear();
        if entry.interval > 0 {
            let first = i64::from(range.start - entry.row);
            let time = |row: i64| entry.first + row * entry.interval;
            rows.timestamps.extend((first..first + i64::from(range.end - range.start)).map(time));
        } else {
            column(&mut self.timestamp, TIMESTAMP, open)?.required(range.clone(), &mut rows.timestamps)?;
        }
        let flags = entry.flags;
        if flags.has(SeriesFlags::PLAIN) {
            rows.values.resize(range.len(), f64::NAN);
        } else {
            self.scratch.clear();
            column(&mut self.digits, DIGITS, open)?.required(range.clone(), &mut self.scratch)?;
            entry.decimal.values(&self.scratch, &mut rows.values);
        }
        if flags.has(SeriesFlags::PLAIN) || flags.has(SeriesFlags::EXCEPTIONS) {
            let values = &mut rows.values;
            column(&mut self.value, VALUE, open)?.optional(range.clone(), |row, value| values[row] = *value)?;
        }
        if flags.has(SeriesFlags::STARTS) {
            rows.starts.resize(range.len(), 0);
            let starts = &mut rows.starts;
            column(&mut self.start, START, open)?.optional(range.clone(), |row, start| starts[row] = *start)?;
        }
        if flags.has(SeriesFlags::HISTOGRAMS) {
            let mut damaged = false;
            let histograms = &mut rows.histograms;
            column(&mut self.histogram, HISTOGRAM, open)?.optional(
                range.clone(),
                |row, bytes| match Histogram::decode(bytes.data()) {
                    Some(histogram) => histograms.push((row as u32, Arc::new(histogram))),
                    None => damaged = true,
                },
            )?;
            if damaged {
                return Err(ParquetError::General(format!("a histogram of series {series} cannot be read")));
            }
        }
        if segment.meta.resolution_ms > 0 {
            let mut coarse = Coarse::of_plain(&rows.values);
            coarse.resolution_ms.fill(segment.meta.resolution_ms);
            if flags.has(SeriesFlags::COARSE) {
                let counts = &mut coarse.count;
                column(&mut self.count, COUNT, open)?
                    .optional(range.clone(), |row, count| counts[row] = *count as u32)?;
                let [min, max, sum] = &mut self.aggregates;
                for (open_column, name, values) in
                    [(min, MIN, &mut coarse.min), (max, MAX, &mut coarse.max), (sum, SUM, &mut coarse.sum)]
                {
                    column(open_column, name, open)?.optional(range.clone(), |row, value| values[row] = *value)?;
                }
            }
            rows.coarse = Some(Box::new(coarse));
        }
        Ok(())
    }
}

/// The column `name`, opened at the row that is needed first.
fn column<'c, T: DataType>(
    column: &'c mut Option<Column<T>>,
    name: &str,
    (chunks, footer, row, last_row): (&Chunks, &ParquetMetaData, u32, u32),
) -> Result<&'c mut Column<T>, ParquetError> {
    if column.is_none() {
        *column = Some(Column::open(chunks, footer, name, row..last_row)?);
    }
    column.as_mut().ok_or_else(|| ParquetError::General(format!("column {name} cannot be opened")))
}

/// A column that is read forwards.
struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    /// The row that comes next.
    next: u32,
    levels: Vec<i16>,
    values: Vec<T::T>,
}

impl<T: DataType> Column<T> {
    /// Opens the pages that hold `rows`.
    fn open(chunks: &Chunks, footer: &ParquetMetaData, name: &str, rows: Range<u32>) -> Result<Self, ParquetError> {
        let missing = || ParquetError::General(format!("there is no column {name} with an offset index"));
        let group = footer.row_group(0);
        let at = group.columns().iter().position(|c| c.column_path().string() == name).ok_or_else(missing)?;
        let offsets = footer.offset_index().and_then(|groups| groups.first()?.get(at)).ok_or_else(missing)?;
        let pages = offsets.page_locations();
        let page_of = |row: u32| pages.partition_point(|page| page.first_row_index <= i64::from(row)).max(1) - 1;
        let (first, last) = (page_of(rows.start), page_of(rows.end - 1));
        let wanted = pages.get(first..=last).ok_or_else(missing)?;
        let end_row = pages.get(last + 1).map_or(footer.file_metadata().num_rows(), |page| page.first_row_index);
        let bytes: i64 = wanted.iter().map(|page| i64::from(page.compressed_page_size)).sum();
        // No column has a dictionary: these pages are all that there is to it.
        let chunk = group.column(at).clone().into_builder();
        let chunk = chunk.set_data_page_offset(wanted[0].offset).set_total_compressed_size(bytes).build()?;
        let descriptor = chunk.column_descr_ptr();
        let reader =
            SerializedPageReader::new(Arc::new(chunks.clone()), &chunk, end_row as usize, Some(wanted.to_vec()))?;
        let next = wanted[0].first_row_index as u32;
        let reader = ColumnReaderImpl::new(descriptor, Box::new(reader));
        Ok(Self { reader, next, levels: Vec::new(), values: Vec::new() })
    }

    fn skip_to(&mut self, row: u32) -> Result<(), ParquetError> {
        while self.next < row {
            let skipped = self.reader.skip_records((row - self.next) as usize)?;
            if skipped == 0 {
                return Err(ParquetError::EOF(format!("the column ends at row {}", self.next)));
            }
            self.next += skipped as u32;
        }
        Ok(())
    }

    /// Appends the values of rows that all have one.
    fn required(&mut self, rows: Range<u32>, values: &mut Vec<T::T>) -> Result<(), ParquetError> {
        self.skip_to(rows.start)?;
        while self.next < rows.end {
            let (records, ..) = self.reader.read_records((rows.end - self.next) as usize, None, None, values)?;
            if records == 0 {
                return Err(ParquetError::EOF(format!("the column ends at row {}", self.next)));
            }
            self.next += records as u32;
        }
        Ok(())
    }

    /// Calls `each` with the values that are there, and their rows, counted from the first.
    fn optional(&mut self, rows: Range<u32>, mut each: impl FnMut(usize, &T::T)) -> Result<(), ParquetError> {
        self.skip_to(rows.start)?;
        while self.next < rows.end {
            self.levels.clear();
            self.values.clear();
            let wanted = (rows.end - self.next) as usize;
            let (records, ..) = self.reader.read_records(wanted, Some(&mut self.levels), None, &mut self.values)?;
            if records == 0 {
                return Err(ParquetError::EOF(format!("the column ends at row {}", self.next)));
            }
            let first = (self.next - rows.start) as usize;
            let there = self.levels.iter().enumerate().filter(|(_, level)| **level > 0).map(|(row, _)| first + row);
            there.zip(&self.values).for_each(|(row, value)| each(row, value));
            self.next += records as u32;
        }
        Ok(())
    }
}
