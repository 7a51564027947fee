//! The series of a segment, by number and by label, as sections of its index file: front-coded labels in packed blocks, a
//! term dictionary (`name NUL value`) with posting lists behind it, and for each series its rows.
//!
//! Opened, the sections stay packed: a query unpacks the blocks of the series that it finds. FORMAT.md ("Series") has
//! the bytes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use rustc_hash::FxHashMap;
use tantivy_fst::{IntoStreamer, Map, MapBuilder, Streamer};

use crate::error::StorageError;
use crate::labels::labels_of;
use crate::metrics::bytes::{Reader, put_varint, put_zigzag};
use crate::metrics::codec::{put_like, take_like};
use crate::metrics::decimal::Decimal;
use crate::metrics::matching::{LabelIndex, LabelMatcher, matching};
use crate::segment::container::{self, Container, ContainerWriter, Section, le_u32};

/// Series of a block of labels.
const BLOCK_SERIES: usize = 128;

/// How the rows of a series are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SeriesFlags(pub(crate) u8);

impl SeriesFlags {
    /// All values are in the column of doubles.
    pub(crate) const PLAIN: u8 = 1;
    /// Some values are in the column of doubles.
    pub(crate) const EXCEPTIONS: u8 = 2;
    /// Some rows are histograms.
    pub(crate) const HISTOGRAMS: u8 = 4;
    /// Some rows say when their counting began.
    pub(crate) const STARTS: u8 = 8;
    /// Some rows stand for several samples.
    pub(crate) const COARSE: u8 = 16;

    pub(crate) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// The rows of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeriesEntry {
    /// The first row in the file.
    pub(crate) row: u32,
    /// How many rows.
    pub(crate) rows: u32,
    /// Milliseconds of the first and the last row.
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// Milliseconds from row to row, when it is the same for all; else 0.
    pub(crate) interval: i64,
    pub(crate) decimal: Decimal,
    pub(crate) flags: SeriesFlags,
}

impl SeriesEntry {
    /// Of a series that has exemplars alone; its time is one that no query asks for.
    pub(crate) fn without_rows(row: u32) -> Self {
        let decimal = Decimal { base: 0, factor: 1, scale: 0 };
        Self { row, rows: 0, first: 0, last: -1, interval: 0, decimal, flags: SeriesFlags::default() }
    }

    /// Whether a sample may lie between two times, both inside.
    pub(crate) fn overlaps(&self, start: i64, end: i64) -> bool {
        self.rows > 0 && self.last >= start && self.first <= end
    }
}

/// Gathers series, in the order of their labels.
#[derive(Debug, Default)]
pub(crate) struct SeriesIndexWriter {
    labels: Vec<u8>,
    ends: Vec<u32>,
    entries: Vec<SeriesEntry>,
}

impl SeriesIndexWriter {
    pub(crate) fn add(&mut self, label_bytes: &[u8], entry: SeriesEntry) {
        self.labels.extend_from_slice(label_bytes);
        self.ends.push(self.labels.len() as u32);
        self.entries.push(entry);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn entries(&self) -> &[SeriesEntry] {
        &self.entries
    }

    pub(crate) fn labels(&self, series: usize) -> &[u8] {
        let start = if series == 0 { 0 } else { self.ends[series - 1] as usize };
        &self.labels[start..self.ends[series] as usize]
    }

    /// Adds the sections.
    ///
    /// # Errors
    /// What kept something from being packed: memory.
    pub(crate) fn write(&self, container: &mut ContainerWriter) -> std::io::Result<()> {
        let (mut blocks, mut block_ends, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        for first in (0..self.len()).step_by(BLOCK_SERIES) {
            raw.clear();
            let mut last: &[u8] = &[];
            for series in first..self.len().min(first + BLOCK_SERIES) {
                put_like(&mut raw, last, self.labels(series));
                last = self.labels(series);
            }
            blocks.extend_from_slice(&zstd::bulk::compress(&raw, 3)?);
            block_ends.extend_from_slice(&(blocks.len() as u32).to_le_bytes());
        }
        container.add(Section::SeriesLabels, &blocks);
        container.add(Section::SeriesLabelEnds, &block_ends);
        let (terms, postings) = self.terms().map_err(std::io::Error::other)?;
        container.add(Section::SeriesTerms, &zstd::bulk::compress(&terms, 3)?);
        container.add(Section::SeriesPostings, &zstd::bulk::compress(&postings, 3)?);
        container.add(Section::SeriesEntries, &zstd::bulk::compress(&pack_entries(&self.entries), 3)?);
        Ok(())
    }

    /// The term dictionary and the posting lists that its values point at.
    fn terms(&self) -> tantivy_fst::Result<(Vec<u8>, Vec<u8>)> {
        let mut place: FxHashMap<(&str, &str), usize> = FxHashMap::default();
        let mut lists: Vec<((&str, &str), Vec<u32>)> = Vec::new();
        for series in 0..self.len() {
            for pair in labels_of(self.labels(series)) {
                let at = *place.entry(pair).or_insert_with(|| {
                    lists.push((pair, Vec::new()));
                    lists.len() - 1
                });
                lists[at].1.push(series as u32);
            }
        }
        let mut keyed: Vec<(Vec<u8>, &Vec<u32>)> =
            lists.iter().map(|((name, value), series)| (term(name, value), series)).collect();
        keyed.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let (mut terms, mut postings) = (MapBuilder::memory(), Vec::new());
        for (key, series) in keyed {
            terms.insert(key, postings.len() as u64)?;
            put_varint(&mut postings, series.len() as u64);
            let mut last = 0;
            for &series in series {
                put_varint(&mut postings, u64::from(series - last));
                last = series;
            }
        }
        Ok((terms.into_inner()?, postings))
    }
}

fn term(name: &str, value: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + value.len() + 1);
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key.extend_from_slice(value.as_bytes());
    key
}

fn pack_entries(entries: &[SeriesEntry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * 16);
    put_varint(&mut bytes, entries.len() as u64);
    let mut last_first = 0;
    for entry in entries {
        bytes.push(entry.flags.0);
        put_varint(&mut bytes, u64::from(entry.rows));
        put_zigzag(&mut bytes, entry.first.wrapping_sub(last_first));
        last_first = entry.first;
        put_zigzag(&mut bytes, entry.last.wrapping_sub(entry.first));
        put_varint(&mut bytes, entry.interval as u64);
        bytes.push(entry.decimal.scale);
        put_zigzag(&mut bytes, entry.decimal.base);
        put_varint(&mut bytes, entry.decimal.factor as u64);
    }
    bytes
}

fn unpack_entries(bytes: &[u8]) -> Option<Vec<SeriesEntry>> {
    let mut reader = Reader::new(bytes);
    let (mut row, mut last_first) = (0_u32, 0_i64);
    let count = reader.count(8)?;
    (0..count)
        .map(|_| {
            let flags = SeriesFlags(reader.byte()?);
            let rows = u32::try_from(reader.varint()?).ok()?;
            let first = last_first.wrapping_add(reader.zigzag()?);
            last_first = first;
            let last = first.wrapping_add(reader.zigzag()?);
            let interval = reader.varint()? as i64;
            let scale = reader.byte().filter(|&scale| scale <= 14)?;
            let (base, factor) = (reader.zigzag()?, reader.varint()? as i64);
            let entry =
                SeriesEntry { row, rows, first, last, interval, decimal: Decimal { base, factor, scale }, flags };
            row = row.checked_add(rows)?;
            Some(entry)
        })
        .collect()
}

/// The series of an open segment.
pub(crate) struct SeriesIndex {
    blocks: Vec<u8>,
    block_ends: Vec<u32>,
    terms: Map<Vec<u8>>,
    postings: Vec<u8>,
    entries: Vec<SeriesEntry>,
    /// Blocks of labels that were asked for: of each series where its labels end, and the labels.
    unpacked: RwLock<HashMap<u32, Arc<LabelBlock>>>,
}

impl std::fmt::Debug for SeriesIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeriesIndex").field("series", &self.entries.len()).finish_non_exhaustive()
    }
}

/// The labels of some neighbouring series.
#[derive(Debug, Default)]
pub(crate) struct LabelBlock {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl LabelBlock {
    fn labels(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[start..self.ends[at] as usize]
    }
}

impl SeriesIndex {
    /// Opens what [`SeriesIndexWriter::write`] wrote.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub(crate) fn open(container: &Container) -> Result<Self, StorageError> {
        let damaged = |what: &str| container.damaged(0, format!("{what} cannot be read"));
        let terms =
            Map::from_bytes(container.unpack(Section::SeriesTerms)?).map_err(|_| damaged("the labels' dictionary"))?;
        let entries =
            unpack_entries(&container.unpack(Section::SeriesEntries)?).ok_or_else(|| damaged("the series' rows"))?;
        let ends = container.read(Section::SeriesLabelEnds)?;
        let block_ends: Vec<u32> = ends.chunks_exact(4).map(|end| le_u32(end, 0)).collect();
        let blocks = container.read(Section::SeriesLabels)?;
        if block_ends.len() != entries.len().div_ceil(BLOCK_SERIES)
            || block_ends.last().is_some_and(|&end| end as usize != blocks.len())
        {
            return Err(damaged("the series' labels"));
        }
        let postings = container.unpack(Section::SeriesPostings)?;
        Ok(Self { blocks, block_ends, terms, postings, entries, unpacked: RwLock::default() })
    }

    /// About how many bytes it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        // The unpacked blocks are counted as if all were there.
        self.blocks.len() * 8
            + self.terms.as_fst().size()
            + self.postings.len()
            + self.entries.len() * size_of::<SeriesEntry>()
    }

    /// The series, by number.
    pub(crate) fn entries(&self) -> &[SeriesEntry] {
        &self.entries
    }

    /// The series that match, ascending.
    pub(crate) fn select(&self, matchers: &[LabelMatcher]) -> Result<Vec<u32>, StorageError> {
        matching(self, matchers)
    }

    /// Calls `each` with the flat labels of each of `series` (ascending).
    ///
    /// # Errors
    /// `Refused` when the labels are damaged.
    pub(crate) fn labels(&self, series: &[u32], mut each: impl FnMut(u32, &[u8])) -> Result<(), StorageError> {
        let mut held: Option<(u32, Arc<LabelBlock>)> = None;
        for &series in series {
            let number = series / BLOCK_SERIES as u32;
            let block = match held.take() {
                Some((held, block)) if held == number => block,
                _ => self.block(number)?,
            };
            each(series, block.labels(series as usize % BLOCK_SERIES));
            held = Some((number, block));
        }
        Ok(())
    }

    fn block(&self, number: u32) -> Result<Arc<LabelBlock>, StorageError> {
        if let Some(block) = self.unpacked.read().unwrap_or_else(PoisonError::into_inner).get(&number) {
            return Ok(Arc::clone(block));
        }
        let block = self.unpack(number as usize);
        let block = Arc::new(block.ok_or_else(|| StorageError::Refused("a block of series labels is damaged".into()))?);
        self.unpacked.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&block));
        Ok(block)
    }

    fn unpack(&self, number: usize) -> Option<LabelBlock> {
        let start = if number == 0 { 0 } else { *self.block_ends.get(number - 1)? as usize };
        let packed = self.blocks.get(start..*self.block_ends.get(number)? as usize)?;
        let raw = container::unpack(packed).ok()?;
        let mut reader = Reader::new(&raw);
        let mut block = LabelBlock::default();
        let mut last = 0;
        let first = number * BLOCK_SERIES;
        for _ in first..self.entries.len().min(first + BLOCK_SERIES) {
            let start = block.bytes.len();
            take_like(&mut reader, &mut block.bytes, last)?;
            last = start;
            block.ends.push(block.bytes.len() as u32);
        }
        Some(block)
    }

    fn postings(&self, at: u64, take: &mut dyn FnMut(u32)) -> Option<()> {
        let mut reader = Reader::new(self.postings.get(usize::try_from(at).ok()?..)?);
        let mut series = 0_u32;
        for _ in 0..reader.count(1)? {
            series = series.checked_add(u32::try_from(reader.varint()?).ok()?)?;
            take(series);
        }
        Some(())
    }

    /// Calls `each` with every label name.
    pub(crate) fn label_names(&self, mut each: impl FnMut(&str)) {
        let mut from = Vec::new();
        loop {
            let mut stream = self.terms.range().ge(&from).into_stream();
            let Some((key, _)) = stream.next() else { return };
            let name = key.split(|&byte| byte == 0).next().unwrap_or_default();
            each(std::str::from_utf8(name).unwrap_or_default());
            from = [name, &[1]].concat();
        }
    }

    /// Calls `each` with every value of a label, in order.
    pub(crate) fn label_values(&self, name: &str, mut each: impl FnMut(&str)) {
        self.values(name, "", |value, _| each(value));
    }

    fn values(&self, name: &str, prefix: &str, mut each: impl FnMut(&str, u64)) {
        let (begin, head) = (term(name, prefix), name.len() + 1);
        let mut stream = self.terms.range().ge(&begin).into_stream();
        while let Some((key, at)) = stream.next() {
            if !key.starts_with(&begin) {
                break;
            }
            each(std::str::from_utf8(&key[head..]).unwrap_or_default(), at);
        }
    }

    /// The rows of a series between two times, both inside; all that may be, when its times are not regular.
    pub(crate) fn rows_in(&self, series: u32, start: i64, end: i64) -> Range<u32> {
        let entry = &self.entries[series as usize];
        if !entry.overlaps(start, end) {
            return entry.row..entry.row;
        }
        if entry.interval <= 0 {
            return entry.row..entry.row + entry.rows;
        }
        let before = |time: i64| (time - entry.first).div_euclid(entry.interval).clamp(-1, i64::from(entry.rows) - 1);
        let (from, to) = (before(start.saturating_sub(1).max(entry.first - 1)) + 1, before(end.min(entry.last)) + 1);
        entry.row + from as u32..entry.row + to.max(from) as u32
    }
}

impl LabelIndex for SeriesIndex {
    fn count(&self) -> u32 {
        self.entries.len() as u32
    }

    fn with_value(&self, name: &str, value: &str, take: &mut dyn FnMut(u32)) -> Result<(), StorageError> {
        match self.terms.get(term(name, value)) {
            Some(at) => self.postings(at, take).ok_or_else(damaged_postings),
            None => Ok(()),
        }
    }

    fn with_values(
        &self,
        name: &str,
        prefix: &str,
        passes: &dyn Fn(&str) -> bool,
        take: &mut dyn FnMut(u32),
    ) -> Result<(), StorageError> {
        let mut whole = true;
        self.values(name, prefix, |value, at| {
            if passes(value) {
                whole &= self.postings(at, take).is_some();
            }
        });
        if whole { Ok(()) } else { Err(damaged_postings()) }
    }
}

fn damaged_postings() -> StorageError {
    StorageError::Refused("the posting lists of a segment's labels are damaged".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn rows_of_regular_series_are_known_without_reading() {
        let entry = SeriesEntry {
            row: 100,
            rows: 4,
            first: 1000,
            last: 1045,
            interval: 15,
            decimal: Decimal { base: 0, factor: 1, scale: 0 },
            flags: SeriesFlags::default(),
        };
        let entries = unpack_entries(&pack_entries(&[SeriesEntry { row: 0, rows: 100, ..entry }, entry])).unwrap();
        assert_eq!(entries[1], entry);
        let index = SeriesIndex {
            blocks: Vec::new(),
            block_ends: Vec::new(),
            terms: Map::from_iter(Vec::<(&str, u64)>::new()).unwrap(),
            postings: Vec::new(),
            entries,
            unpacked: RwLock::default(),
        };
        let check = |start, end, rows: Range<u32>| assert_eq!(index.rows_in(1, start, end), rows, "{start}..={end}");
        check(0, 2000, 100..104);
        check(1000, 1000, 100..101);
        check(1001, 1045, 101..104);
        check(1001, 1014, 101..101);
        check(1015, 1044, 101..103);
        check(1046, 2000, 100..100);
        check(i64::MIN, 999, 100..100);
        check(i64::MIN, i64::MAX, 100..104);
    }
}
