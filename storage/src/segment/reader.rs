//! An open segment: streams and runs in memory, everything else read when it is asked for.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::cache::SegmentCache;
use super::columns::{self, ColumnKind, ColumnSpec, Role};
use super::container::{self, Container, Section, le_u32};
use super::meta::SegmentMeta;
use super::parquet_file::{FOOTER_BYTES, ParquetFile};
use super::pattern_runs::PatternRuns;
use super::runs;
use super::sparse::sparse_columns;
use super::writer::{BLOCK_ROWS, by_key, segment_files};
use crate::batch::{Level, Stream, ValueKind};
use crate::disk::{Disk, DiskFile, first_bytes};
use crate::error::StorageError;
use crate::index::blocks::BlockSet;
use crate::index::probe::{Filters, IndexSource, narrow_any, narrow_to_values};
use crate::index::tokens::{Demands, demands};
use crate::index::words::Words;
use crate::patterns::PatternTable;
use crate::ranges::{rows_in, united, within};
use crate::read::{AttributeSelection, Left, Predicate, Projection, Rows, Run};

/// Rows of a piece that is read.
pub(crate) const PIECE_ROWS: usize = 8192;

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    meta: SegmentMeta,
    parquet_path: PathBuf,
    /// Held open, so that the segment stays readable when its name is gone.
    parquet_file: Arc<dyn DiskFile>,
    container: Container,
    streams: Vec<Arc<Stream>>,
    /// Names of all labels and resource attributes of the streams, sorted.
    stream_names: Vec<Arc<str>>,
    pub(super) runs: Vec<Run>,
    /// The rows that are there: all but those that were deleted since it was written.
    pub(super) present: Vec<Range<u32>>,
    specs: Vec<ColumnSpec>,
    sparse_keys: Vec<String>,
    keys: Vec<Arc<str>>,
    /// Where each block's bloom filter ends; empty without an index.
    filter_ends: Vec<u32>,
    open_blocks: BlockSet,
    parquet: OnceLock<ParquetFile>,
    cache: SegmentCache,
}

impl Segment {
    /// Opens the segment at `path` (without extension): checks and reads the index file's small sections; the Parquet
    /// footer is read at the first [`Self::read`], the rest of the index through `cache`.
    ///
    /// # Errors
    /// `Io` when a file is missing; `Corrupt` when it is damaged or not the one that `meta` describes.
    pub fn open(
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
        let damaged = |what: &str| container.damaged(0, format!("{what} cannot be read"));
        let own = own_meta(&container)?;
        if own.id != meta.id || own.tenant != meta.tenant || own.rows != meta.rows || index_bytes != meta.index_bytes {
            return Err(container.damaged(0, format!("it is not the segment {} that the catalog means", meta.id)));
        }
        let streams =
            runs::unpack_streams(&container.unpack(Section::Streams)?).ok_or_else(|| damaged("the streams"))?;
        let runs = runs::unpack_runs(&container.unpack(Section::Runs)?).ok_or_else(|| damaged("the runs"))?;
        if runs.last().map_or(0, |run| run.rows.end) != meta.rows
            || runs.iter().any(|run| run.stream as usize >= streams.len())
        {
            return Err(damaged("the runs"));
        }
        let (specs, sparse_keys): (Vec<ColumnSpec>, Vec<String>) =
            serde_json::from_slice(&container.unpack(Section::Columns)?).map_err(|_| damaged("the column list"))?;
        let numbers = |bytes: Vec<u8>| bytes.chunks_exact(4).map(|n| le_u32(n, 0)).collect::<Vec<u32>>();
        let filter_ends = numbers(container.read(Section::FilterEnds)?);
        let mut open_blocks = BlockSet::none(filter_ends.len() as u32);
        numbers(container.read(Section::OpenBlocks)?).into_iter().for_each(|block| open_blocks.insert(block));
        let mut keys: Vec<Arc<str>> = by_key(&specs).into_keys().map(Arc::from).collect();
        keys.extend(sparse_keys.iter().map(|key| Arc::from(key.as_str())));
        keys.sort();
        keys.dedup();
        Ok(Self {
            parquet_path,
            parquet_file,
            container,
            stream_names: stream_names(&streams),
            streams,
            runs,
            present: united(std::slice::from_ref(&(0..meta.rows))),
            meta,
            specs,
            sparse_keys,
            keys,
            filter_ends,
            open_blocks,
            parquet: OnceLock::new(),
            cache: cache.clone(),
        })
    }

    /// What a segment says of itself in its index file: what a lost catalog is put together from. `index_crc32c` and
    /// `index_bytes` are taken from the file as it is.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn read_meta(disk: &dyn Disk, path: &Path) -> Result<SegmentMeta, StorageError> {
        let (_, index_path) = segment_files(path);
        let file = disk.open(&index_path).map_err(|e| StorageError::io("open", &index_path, e))?;
        let bytes = file.read_up_to(0, u64::MAX).map_err(|e| StorageError::io("read", &index_path, e))?;
        let end = memchr::memmem::rfind(&bytes, container::MAGIC).map_or(bytes.len(), |at| at + container::MAGIC.len());
        let bytes = bytes.get(..end).unwrap_or_default();
        let mut meta = own_meta(&Container::open(&index_path, first_bytes(file, end as u64))?)?;
        meta.index_bytes = bytes.len() as u64;
        meta.index_crc32c = crc32c::crc32c(bytes);
        Ok(meta)
    }

    /// What it is.
    pub fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// The distinct streams, sorted.
    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.streams
    }

    /// See [`crate::read::Part::has_stream_name`].
    pub fn has_stream_name(&self, name: &str) -> bool {
        self.stream_names.binary_search_by(|known| known.as_ref().cmp(name)).is_ok()
    }

    /// The runs, in row order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// First and last time, both inside.
    pub fn time_bounds(&self) -> Option<(i64, i64)> {
        (self.meta.rows > 0).then_some((self.meta.first_ns, self.meta.last_ns))
    }

    /// How many rows.
    pub fn row_count(&self) -> u32 {
        self.meta.rows
    }

    /// The attribute keys, sorted.
    pub fn attribute_keys(&self) -> Vec<Arc<str>> {
        self.keys.clone()
    }

    /// See [`crate::read::Part::attribute_kinds`]; keys without a column of their own have none.
    pub fn attribute_kinds(&self) -> Vec<(Arc<str>, Option<ValueKind>)> {
        let dense = by_key(&self.specs);
        let kind = |key: &Arc<str>| match dense.get(key.as_ref()) {
            Some(spec) if !self.sparse_keys.iter().any(|sparse| **sparse == **key) => Some(spec.kind.value_kind()),
            _ => None,
        };
        self.keys.iter().map(|key| (Arc::clone(key), kind(key))).collect()
    }

    pub(crate) fn specs(&self) -> &[ColumnSpec] {
        &self.specs
    }

    pub(crate) fn parquet(&self) -> Result<&ParquetFile, StorageError> {
        if let Some(file) = self.parquet.get() {
            return Ok(file);
        }
        let file = ParquetFile::open(Arc::clone(&self.parquet_file), &self.parquet_path, &self.specs)?;
        if file.row_count() != i64::from(self.meta.rows) {
            return Err(file.damaged(&format!("{} rows, the index has {}", file.row_count(), self.meta.rows)));
        }
        Ok(self.parquet.get_or_init(|| file))
    }

    /// Columns of the file as they are, in pieces as [`Self::read`] answers them.
    pub(super) fn columns(
        &self,
        ranges: &[Range<u32>],
        names: &[&str],
    ) -> Result<ParquetRecordBatchReader, StorageError> {
        self.parquet()?.read(ranges, names, PIECE_ROWS, (self.meta.id, &self.cache))
    }

    /// See [`crate::read::Part::announce_prune`].
    pub fn announce_prune(&self, predicate: &Predicate) {
        let id = self.meta.id;
        let values = self.indexed_values(predicate);
        let of_values = values.iter().filter_map(|(key, _)| self.value_filters_of(key));
        let missing = of_values.filter(|number| !self.cache.has_filters((id, Some(*number))));
        let mut sections: Vec<Section> = missing.map(Section::ValueFilters).collect();
        let (wants_words, wants_filters) = (!self.cache.has_words(id), !self.cache.has_filters((id, None)));
        if wants_words || wants_filters {
            let demanded: Vec<Demands> = predicate.message.iter().flatten().map(|n| demands(&n.text)).collect();
            let words = demanded.iter().any(|one| !one.exact.is_empty() || !one.inside.is_empty());
            let filters = demanded.iter().any(|one| !one.keys.is_empty());
            sections.extend((wants_words && words).then_some(Section::Words));
            sections.extend((wants_filters && filters).then_some(Section::Filters));
        }
        self.container.will_read(&sections);
    }

    /// See [`crate::read::Part::announce_patterns`].
    pub fn announce_patterns(&self) {
        if !self.cache.has_patterns(self.meta.id) {
            self.container.will_read(&[Section::Patterns, Section::PatternRuns]);
        }
    }

    /// See [`crate::read::Part::announce_open`].
    pub fn announce_open(&self) {
        if self.parquet.get().is_none() {
            let end = self.meta.parquet_bytes;
            self.parquet_file.will_read(std::slice::from_ref(&(end.saturating_sub(FOOTER_BYTES)..end)));
        }
    }

    /// See [`crate::read::Part::announce_read`].
    pub fn announce_read(&self, ranges: &[Range<u32>], projection: &Projection) {
        let ranges = &within(ranges, &self.present);
        let wanted = self.wanted(projection);
        let columns: Vec<&str> = wanted.columns.iter().map(String::as_str).collect();
        // What is wrong with the file is told when it is read.
        if let Ok(parquet) = self.parquet() {
            parquet.announce(ranges, &columns, (self.meta.id, &self.cache));
        }
    }

    /// See [`crate::read::Part::prune_counted`].
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the index cannot be read.
    pub fn prune(&self, predicate: &Predicate) -> Result<(Vec<Range<u32>>, Left), StorageError> {
        let mut ranges = self.prune_runs(predicate);
        let in_time = rows_in(&ranges);
        if ranges.is_empty() || self.rules_out(predicate)? {
            return Ok((Vec::new(), Left { in_time, with_values: 0 }));
        }
        let mut with_values = in_time;
        let values = self.indexed_values(predicate);
        let looked_up = !predicate.message.is_empty() || !values.is_empty();
        if looked_up && !self.filter_ends.is_empty() {
            let mut blocks = BlockSet::none(self.filter_ends.len() as u32);
            for range in &ranges {
                for block in range.start / BLOCK_ROWS..=(range.end - 1) / BLOCK_ROWS {
                    blocks.insert(block);
                }
            }
            for (key, values) in &values {
                narrow_to_values(self, &mut blocks, key, values)?;
            }
            if !values.is_empty() {
                with_values = rows_in(&cut_to_blocks(&ranges, &blocks));
            }
            for any in &predicate.message {
                if blocks.is_empty() {
                    break;
                }
                narrow_any(self, &mut blocks, any)?;
            }
            ranges = cut_to_blocks(&ranges, &blocks);
        }
        Ok((ranges, Left { in_time, with_values }))
    }

    fn prune_runs(&self, predicate: &Predicate) -> Vec<Range<u32>> {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for run in &self.runs {
            let in_time = predicate.time.as_ref().is_none_or(|t| run.last >= t.start && run.first < t.end);
            let wanted = predicate.streams.as_ref().is_none_or(|s| s.get(run.stream as usize) == Some(&true));
            if in_time && wanted {
                match ranges.last_mut() {
                    Some(last) if last.end == run.rows.start => last.end = run.rows.end,
                    _ => ranges.push(run.rows.clone()),
                }
            }
        }
        ranges
    }

    /// Whether some attribute that must have a value has it nowhere.
    fn rules_out(&self, predicate: &Predicate) -> Result<bool, StorageError> {
        for (key, values) in &predicate.attributes {
            if values.iter().any(String::is_empty) {
                continue;
            }
            if self.keys.binary_search(key).is_err() {
                return Ok(true);
            }
            let spec = self.specs.iter().find(|s| s.role == Role::Attribute && *s.key == **key);
            let Some(spec) = spec.filter(|s| s.identifier && !s.in_filters && !self.sparse_keys.contains(&s.key))
            else {
                continue;
            };
            if let Some(stored) = stored_values(spec, values)
                && self.parquet()?.rules_out(&spec.column, &stored)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The attributes of the predicate that the blocks' filters know, with their values as they are stored.
    fn indexed_values<'p>(&self, predicate: &'p Predicate) -> Vec<(&'p str, Vec<Vec<u8>>)> {
        let known = predicate.attributes.iter().filter_map(|(key, values)| {
            let spec = self.specs.iter().find(|s| s.role == Role::Attribute && *s.key == **key)?;
            let usable =
                spec.in_filters && !self.sparse_keys.contains(&spec.key) && !values.iter().any(String::is_empty);
            Some((key.as_ref(), stored_values(spec, values).filter(|_| usable)?))
        });
        known.collect()
    }

    /// See [`crate::read::Part::read`].
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the file cannot be read.
    #[allow(clippy::type_complexity, reason = "the contract of Part::read")]
    pub fn read<'a>(
        &'a self,
        ranges: &[Range<u32>],
        projection: &Projection,
    ) -> Result<Box<dyn Iterator<Item = Result<Rows, StorageError>> + Send + 'a>, StorageError> {
        let ranges = &within(ranges, &self.present);
        if ranges.is_empty() {
            return Ok(Box::new(std::iter::empty()));
        }
        let wanted = self.wanted(projection);
        let columns: Vec<&str> = wanted.columns.iter().map(String::as_str).collect();
        let piece_rows = if wanted.all_sparse && self.sparse_keys.len() > 64 { 512 } else { PIECE_ROWS };
        let parquet = self.parquet()?;
        let reader = parquet.read(ranges, &columns, piece_rows, (self.meta.id, &self.cache))?;
        let mut cursor = RangeCursor { ranges: ranges.iter().cloned().collect(), current: 0..0 };
        let projection = projection.clone();
        Ok(Box::new(reader.map(move |piece| {
            let piece = piece.map_err(|e| parquet.damaged(&e))?;
            let ranges = cursor.take(piece.num_rows() as u32);
            self.rows(&piece, ranges, &projection, &wanted)
        })))
    }

    /// The number of an attribute that has filters of its own.
    fn value_filters_of(&self, key: &str) -> Option<u32> {
        let is_key = |spec: &ColumnSpec| spec.role == Role::Attribute && spec.key == key;
        let mut known = (0..).zip(self.specs.iter().filter(|spec| spec.in_filters));
        let (number, _) = known.find(|(_, spec)| is_key(spec))?;
        self.container.has(Section::ValueFilters(number)).then_some(number)
    }

    fn wanted(&self, projection: &Projection) -> Wanted {
        let mut wanted = Wanted::default();
        for (asked, column) in [
            (projection.observed, columns::OBSERVED),
            (projection.level, columns::LEVEL),
            (projection.message, columns::MESSAGE),
            (projection.pattern, columns::PATTERN),
        ] {
            if asked {
                wanted.columns.push(column.to_owned());
            }
        }
        let dense = by_key(&self.specs);
        match &projection.attributes {
            AttributeSelection::None => {}
            AttributeSelection::Keys(keys) => {
                for key in keys {
                    match dense.get(key.as_ref()) {
                        Some(spec) => wanted.dense.push((Arc::clone(key), (*spec).clone())),
                        None if self.sparse_keys.iter().any(|k| **k == **key) => wanted.sparse.push(Arc::clone(key)),
                        None => {}
                    }
                }
            }
            AttributeSelection::All => {
                wanted.dense = dense.into_iter().map(|(key, spec)| (Arc::from(key), spec.clone())).collect();
                wanted.dense.sort_by(|a, b| a.0.cmp(&b.0));
                wanted.all_sparse = true;
            }
            AttributeSelection::Share { nth, of } => {
                let mine = |(at, spec): (usize, &ColumnSpec)| {
                    (at as u32 % of == *nth).then(|| (Arc::from(spec.key.as_str()), spec.clone()))
                };
                let attributes = self.specs.iter().filter(|spec| spec.role == Role::Attribute);
                wanted.dense = attributes.enumerate().filter_map(mine).collect();
                wanted.all_sparse = *nth == 0;
            }
        }
        wanted.columns.extend(wanted.dense.iter().map(|(_, spec)| spec.column.clone()));
        if wanted.all_sparse || !wanted.sparse.is_empty() {
            wanted.columns.push(columns::RESIDUAL.to_owned());
        }
        if !projection.run_times || wanted.columns.is_empty() {
            wanted.columns.push(columns::TIMESTAMP.to_owned());
        }
        wanted
    }

    fn rows(
        &self,
        piece: &RecordBatch,
        ranges: Vec<Range<u32>>,
        projection: &Projection,
        wanted: &Wanted,
    ) -> Result<Rows, StorageError> {
        let missing = |name: &str| self.container.damaged(0, format!("the Parquet file has no column {name}"));
        let column = |name: &str| ParquetFile::column(piece, name).ok_or_else(|| missing(name));
        let timestamp = match ParquetFile::column(piece, columns::TIMESTAMP) {
            None if projection.run_times => runs::first_times(&self.runs, &ranges, piece.num_rows()).into(),
            _ => columns::nanoseconds(column(columns::TIMESTAMP)?).ok_or_else(|| missing(columns::TIMESTAMP))?,
        };
        let observed = match (projection.observed, ParquetFile::column(piece, columns::OBSERVED)) {
            (false, _) => None,
            (true, None) => Some(Int64Array::new_null(piece.num_rows())),
            (true, Some(delay)) => {
                let delay = delay.as_primitive_opt::<Int64Type>().ok_or_else(|| missing(columns::OBSERVED))?;
                Some(delay.iter().zip(timestamp.values()).map(|(d, t)| d.map(|d| t.wrapping_add(d))).collect())
            }
        };
        let level = match projection.level {
            true => Some(levels(column(columns::LEVEL)?).ok_or_else(|| missing(columns::LEVEL))?),
            false => None,
        };
        let message = match projection.message {
            true => {
                Some(column(columns::MESSAGE)?.as_string_opt::<i32>().ok_or_else(|| missing(columns::MESSAGE))?.clone())
            }
            false => None,
        };
        let pattern = match (projection.pattern, ParquetFile::column(piece, columns::PATTERN)) {
            (true, Some(numbers)) => {
                let numbers = numbers.as_primitive_opt::<Int32Type>().ok_or_else(|| missing(columns::PATTERN))?;
                let patterns =
                    DictionaryArray::try_new(numbers.clone(), Arc::clone(self.patterns()?.texts()) as ArrayRef);
                Some(patterns.map_err(|e| self.container.damaged(0, format!("the patterns: {e}")))?)
            }
            _ => None,
        };
        let mut attributes: Vec<(Arc<str>, ArrayRef)> = Vec::with_capacity(wanted.dense.len());
        for (key, spec) in &wanted.dense {
            let array = column(&spec.column)?;
            if array.null_count() < array.len() {
                attributes.push((Arc::clone(key), Arc::clone(array)));
            }
        }
        if let Some(residual) = ParquetFile::column(piece, columns::RESIDUAL) {
            let others: Vec<&str> = match &projection.attributes {
                AttributeSelection::Share { .. } => self.specs.iter().map(|spec| spec.key.as_str()).collect(),
                _ => Vec::new(),
            };
            sparse_columns(residual, wanted, &others, &mut attributes).ok_or_else(|| missing(columns::RESIDUAL))?;
        }
        let streams = runs::streams_of(&self.runs, &ranges);
        Ok(Rows { ranges, streams, timestamp, observed, level, message, pattern, attributes })
    }

    /// See [`crate::read::Part::patterns`].
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the index cannot be read.
    pub fn patterns(&self) -> Result<Arc<PatternTable>, StorageError> {
        self.cache.patterns(self.meta.id, || {
            let damaged = |e: serde_json::Error| self.container.damaged(0, format!("the patterns: {e}"));
            serde_json::from_slice(&self.container.unpack(Section::Patterns)?).map(PatternTable::new).map_err(damaged)
        })
    }

    /// See [`crate::read::Part::pattern_runs`].
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the index cannot be read.
    pub fn pattern_runs(&self) -> Result<Option<Arc<PatternRuns>>, StorageError> {
        if self.is_masked() || !self.container.has(Section::PatternRuns) {
            return Ok(None);
        }
        let patterns = self.patterns()?.rows().len();
        let load = || {
            let unpacked =
                PatternRuns::unpack(&self.container.unpack(Section::PatternRuns)?, patterns, self.runs.len());
            unpacked.ok_or_else(|| self.container.damaged(0, "the patterns of runs cannot be read".to_owned()))
        };
        self.cache.pattern_runs(self.meta.id, load).map(Some)
    }

    /// Checks both files against their checksums and the runs against the rows.
    ///
    /// # Errors
    /// `Io` or `Corrupt`, with the first thing that is wrong.
    pub fn verify(&self) -> Result<(), StorageError> {
        let values = self.specs.iter().filter(|spec| spec.in_filters).zip(0..).map(|(_, at)| Section::ValueFilters(at));
        for section in [Section::Words, Section::Filters, Section::PatternRuns].into_iter().chain(values) {
            self.container.read(section)?;
        }
        let file = &self.parquet_file;
        let (mut crc, mut at) = (0, 0);
        loop {
            let bytes = file.read_up_to(at, 1 << 20).map_err(|e| StorageError::io("read", &self.parquet_path, e))?;
            if bytes.is_empty() {
                break;
            }
            crc = crc32c::crc32c_append(crc, &bytes);
            at += bytes.len() as u64;
        }
        let parquet = self.parquet()?;
        if crc != self.meta.parquet_crc32c || at != self.meta.parquet_bytes {
            return Err(parquet.damaged(&"the file does not match its checksum"));
        }
        let mut runs = self.runs.iter();
        let mut current: Option<(&Run, i64)> = None;
        let mut row = 0;
        for rows in self.read(std::slice::from_ref(&(0..self.meta.rows)), &Projection::default())? {
            for &time in rows?.timestamp.values() {
                if current.is_none_or(|(run, _)| row == run.rows.end) {
                    let run = runs.next().ok_or_else(|| parquet.damaged(&"more rows than runs"))?;
                    if run.first != time {
                        return Err(
                            parquet.damaged(&format!("row {row} is at {time}, its run begins at {}", run.first))
                        );
                    }
                    current = Some((run, time));
                }
                if let Some((run, last)) = &mut current {
                    if time < *last || time > run.last {
                        return Err(parquet.damaged(&format!("row {row} at {time} is out of order")));
                    }
                    *last = time;
                }
                row += 1;
            }
        }
        Ok(())
    }
}

/// Columns to read and what becomes of them.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    columns: Vec<String>,
    dense: Vec<(Arc<str>, ColumnSpec)>,
    pub(super) sparse: Vec<Arc<str>>,
    pub(super) all_sparse: bool,
}

pub(crate) fn own_meta(container: &Container) -> Result<SegmentMeta, StorageError> {
    SegmentMeta::from_bytes(&container.read(Section::Meta)?).map_err(|e| container.damaged(0, format!("metadata: {e}")))
}

/// The parts of `ranges` that lie in `blocks`.
fn cut_to_blocks(ranges: &[Range<u32>], blocks: &BlockSet) -> Vec<Range<u32>> {
    let mut out: Vec<Range<u32>> = Vec::new();
    let mut left = blocks.iter().peekable();
    for range in ranges {
        while let Some(&block) = left.peek() {
            let rows = block * BLOCK_ROWS..(block + 1) * BLOCK_ROWS;
            let (start, end) = (rows.start.max(range.start), rows.end.min(range.end));
            if start < end {
                match out.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => out.push(start..end),
                }
            }
            if rows.end > range.end {
                break;
            }
            left.next();
        }
    }
    out
}

fn levels(column: &ArrayRef) -> Option<UInt8Array> {
    let dictionary: &DictionaryArray<Int32Type> = column.as_dictionary_opt()?;
    let names = dictionary.values().as_string_opt::<i32>()?;
    let numbers: Vec<u8> = names
        .iter()
        .map(|name| Level::ALL.into_iter().find(|l| Some(l.as_str()) == name).unwrap_or_default() as u8)
        .collect();
    Some(dictionary.keys().iter().map(|key| key.and_then(|k| numbers.get(k as usize).copied())).collect())
}

fn stream_names(streams: &[Arc<Stream>]) -> Vec<Arc<str>> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for stream in streams {
        names.extend(stream.labels().iter().chain(stream.resource().iter()).map(|(name, _)| name));
    }
    names.into_iter().map(Arc::from).collect()
}

/// Values as an identifier-like column has them.
fn stored_values(spec: &ColumnSpec, values: &[String]) -> Option<Vec<Vec<u8>>> {
    match spec.kind {
        ColumnKind::Str => Some(values.iter().map(|v| v.clone().into_bytes()).collect()),
        ColumnKind::Hex => Some(values.iter().filter_map(|v| unhex(v)).collect()),
        _ => None,
    }
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    text.as_bytes().chunks_exact(2).map(|two| Some(digit(two[0])? << 4 | digit(two[1])?)).collect()
}

/// Walks through ranges as pieces come in.
struct RangeCursor {
    ranges: VecDeque<Range<u32>>,
    current: Range<u32>,
}

impl RangeCursor {
    fn take(&mut self, mut rows: u32) -> Vec<Range<u32>> {
        let mut out = Vec::new();
        while rows > 0 {
            if self.current.is_empty() {
                match self.ranges.pop_front() {
                    Some(next) => self.current = next,
                    None => break,
                }
            }
            let count = rows.min(self.current.end - self.current.start);
            if count > 0 {
                out.push(self.current.start..self.current.start + count);
            }
            self.current.start += count;
            rows -= count;
        }
        out
    }
}

impl IndexSource for Segment {
    fn words(&self) -> Result<Arc<Words>, StorageError> {
        self.cache
            .words(self.meta.id, || Words::open(self.container.unpack(Section::Words)?).map_err(|e| self.damaged(&e)))
    }

    fn open_blocks(&self) -> &BlockSet {
        &self.open_blocks
    }

    fn filters(&self) -> Result<Filters<'_>, StorageError> {
        let bytes = self.cache.filters((self.meta.id, None), || self.container.read(Section::Filters))?;
        Ok(Filters { bytes, start: 0, ends: self.filter_ends.as_slice().into() })
    }

    fn value_filters(&self, key: &str) -> Result<Filters<'_>, StorageError> {
        // Segments of before have values and tokens in the same filters.
        let Some(number) = self.value_filters_of(key) else {
            return self.filters();
        };
        let section = Section::ValueFilters(number);
        let bytes = self.cache.filters((self.meta.id, Some(number)), || self.container.read(section))?;
        let start = 4 * self.filter_ends.len();
        let ends = bytes.get(..start).unwrap_or_default().chunks_exact(4).map(|end| le_u32(end, 0)).collect::<Vec<_>>();
        if ends.len() != self.filter_ends.len() {
            return Err(self.container.damaged(0, format!("the filters of {key} are too short")));
        }
        Ok(Filters { bytes, start, ends: ends.into() })
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> StorageError {
        self.container.damaged(0, error.to_string())
    }
}
