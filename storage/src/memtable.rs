//! Batches not yet in a segment. A batch is queryable as soon as it is in; many tiny ones are put together, so that a
//! query meets few chunks. What a query holds ([`MemoryPart`]) never changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::DictionaryArray;
use arrow::datatypes::Int32Type;

use memchr::memmem::Finder;

use crate::batch::{LogBatch, LogBatchBuilder, Stream, StreamId, ValueKind};
use crate::catalog::KeyUse;
use crate::journal::Batch;
use crate::metrics::memtable::Table as MetricTable;
use crate::metrics::{MemoryPart as MetricPart, MetricMetadata};
use crate::patterns::PatternMiner;
use crate::read::{Needle, Predicate, Projection, Rows};
use crate::tenant::Tenant;

mod rows;

/// So many neighbouring chunks of like size become one.
const MERGE_CHUNKS: usize = 32;
/// Chunks of this many rows are left as they are.
const CHUNK_ROWS_MAX: usize = 8192;

/// One generation of the memtable, of all tenants: the frames of the journal from one sequence to another.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    tenants: BTreeMap<Tenant, Table>,
    metrics: BTreeMap<Tenant, MetricTable>,
    /// What was said of metrics, by their names.
    metadata: BTreeMap<Tenant, BTreeMap<String, MetricMetadata>>,
    /// First and last journal sequence; `None` while empty.
    sequences: Option<(u64, u64)>,
    keys: Vec<KeyUse>,
    bytes: usize,
    rows: u64,
    /// When the first batch came, nanoseconds since 1970.
    begun_ns: i64,
}

impl Memtable {
    /// Takes in the batch of the journal frame `sequence`; sequences rise.
    pub(crate) fn insert(&mut self, sequence: u64, tenant: &Tenant, batch: &Batch, key: Option<KeyUse>, now_ns: i64) {
        let first = match self.sequences {
            Some((first, _)) => first,
            None => {
                self.begun_ns = now_ns;
                sequence
            }
        };
        self.sequences = Some((first, sequence));
        self.keys.extend(key);
        if batch.is_empty() {
            return;
        }
        self.rows += batch.len() as u64;
        match batch {
            Batch::Logs(batch) => {
                self.bytes += batch.memory_bytes();
                of(&mut self.tenants, tenant).insert(Arc::clone(batch));
            }
            Batch::Metrics(batch) => {
                if batch.series_count() > 0 {
                    self.bytes += of(&mut self.metrics, tenant).insert(sequence, batch);
                }
                let known = of(&mut self.metadata, tenant);
                for metadata in batch.metadata() {
                    if known.get(&metadata.name) != Some(metadata) {
                        self.bytes += 128 + metadata.help.len();
                        known.insert(metadata.name.clone(), metadata.clone());
                    }
                }
            }
        }
    }

    /// The next generation, to be put in the place of this one, which takes no more batches.
    pub(crate) fn heir(&mut self) -> Self {
        let metrics = self.metrics.iter_mut().filter(|(_, table)| !table.is_empty());
        let metrics = metrics.map(|(tenant, table)| (tenant.clone(), table.heir())).collect();
        Self { metrics, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sequences.is_none()
    }

    pub(crate) fn sequences(&self) -> Option<(u64, u64)> {
        self.sequences
    }

    pub(crate) fn keys(&self) -> &[KeyUse] {
        &self.keys
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn begun_ns(&self) -> i64 {
        self.begun_ns
    }

    pub(crate) fn tenants(&self) -> impl Iterator<Item = (&Tenant, Vec<Arc<LogBatch>>)> {
        self.tenants.iter().map(|(tenant, table)| (tenant, table.chunks.iter().map(|c| Arc::clone(&c.batch)).collect()))
    }

    /// Every tenant with metrics.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = (&Tenant, &MetricTable)> {
        self.metrics.iter().filter(|(_, table)| !table.is_empty())
    }

    /// What was said of metrics.
    pub(crate) fn metadata(&self) -> impl Iterator<Item = (&Tenant, &BTreeMap<String, MetricMetadata>)> {
        self.metadata.iter().filter(|(_, known)| !known.is_empty())
    }

    /// The same, one by one.
    pub(crate) fn said(&self) -> Vec<(&Tenant, &MetricMetadata)> {
        self.metadata().flat_map(|(tenant, known)| known.values().map(move |metadata| (tenant, metadata))).collect()
    }

    /// What a query of metrics sees of a tenant, if there is anything.
    pub(crate) fn metric_part(&self, tenant: &Tenant) -> Option<Arc<MetricPart>> {
        self.metrics.get(tenant).map(MetricTable::part)
    }

    /// What a query of logs sees of a tenant, if there is anything.
    pub(crate) fn part(&self, tenant: &Tenant) -> Option<Arc<MemoryPart>> {
        self.tenants.get(tenant).map(Table::part)
    }
}

/// What a map has for a tenant, made if it is missing.
fn of<'m, T: Default>(map: &'m mut BTreeMap<Tenant, T>, tenant: &Tenant) -> &'m mut T {
    map.entry(tenant.clone()).or_default()
}

/// One tenant's chunks, and the streams of all of them.
#[derive(Debug, Default)]
struct Table {
    chunks: Vec<Chunk>,
    streams: Arc<Vec<Arc<Stream>>>,
    place: HashMap<StreamId, u32>,
}

/// A batch with its place in a part.
#[derive(Debug, Clone)]
struct Chunk {
    batch: Arc<LogBatch>,
    /// For each stream of the batch, its index among the part's.
    streams: Arc<[u32]>,
    first: i64,
    last: i64,
}

impl Table {
    fn insert(&mut self, batch: Arc<LogBatch>) {
        let chunk = self.chunk(batch);
        self.chunks.push(chunk);
        while let Some(merged) = self.merge_last() {
            let chunk = self.chunk(Arc::new(merged));
            self.chunks.truncate(self.chunks.len() - MERGE_CHUNKS);
            self.chunks.push(chunk);
        }
    }

    fn chunk(&mut self, batch: Arc<LogBatch>) -> Chunk {
        let mut streams = Vec::with_capacity(batch.streams().len());
        for stream in batch.streams() {
            let next = self.streams.len() as u32;
            let at = *self.place.entry(stream.id()).or_insert(next);
            if at == next {
                Arc::make_mut(&mut self.streams).push(Arc::clone(stream));
            }
            streams.push(at);
        }
        let first = batch.timestamps().iter().copied().min().unwrap_or_default();
        let last = batch.timestamps().iter().copied().max().unwrap_or_default();
        Chunk { batch, streams: streams.into(), first, last }
    }

    /// The last chunks as one, if there are enough of like size.
    fn merge_last(&self) -> Option<LogBatch> {
        let tail = self.chunks.get(self.chunks.len().checked_sub(MERGE_CHUNKS)?..)?;
        let size_class = |chunk: &Chunk| chunk.batch.len().ilog2() / MERGE_CHUNKS.ilog2();
        let class = size_class(tail.first()?);
        let alike = tail.iter().all(|c| c.batch.len() < CHUNK_ROWS_MAX / MERGE_CHUNKS && size_class(c) == class);
        alike.then(|| {
            let mut builder = LogBatchBuilder::default();
            tail.iter().for_each(|chunk| builder.append(&chunk.batch));
            builder.build()
        })
    }

    fn part(&self) -> Arc<MemoryPart> {
        let mut starts = Vec::with_capacity(self.chunks.len() + 1);
        let mut rows = 0;
        for chunk in &self.chunks {
            starts.push(rows);
            rows += chunk.batch.len() as u32;
        }
        starts.push(rows);
        let (chunks, streams) = (self.chunks.clone(), Arc::clone(&self.streams));
        Arc::new(MemoryPart { chunks, starts, streams, patterns: OnceLock::new() })
    }
}

/// What a query sees of one tenant's memtable: every batch that was acknowledged before, none that came later.
#[derive(Debug)]
pub struct MemoryPart {
    chunks: Vec<Chunk>,
    /// First row of each chunk, and the number of rows.
    starts: Vec<u32>,
    streams: Arc<Vec<Arc<Stream>>>,
    /// The pattern of each row, found when first asked for.
    patterns: OnceLock<DictionaryArray<Int32Type>>,
}

impl MemoryPart {
    /// Of one batch alone.
    pub(crate) fn of_batch(batch: Arc<LogBatch>) -> Arc<Self> {
        let mut table = Table::default();
        table.insert(batch);
        table.part()
    }

    /// The distinct streams, in the order they came.
    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.streams
    }

    /// First and last time, both inside.
    pub fn time_bounds(&self) -> Option<(i64, i64)> {
        let first = self.chunks.iter().map(|c| c.first).min()?;
        let last = self.chunks.iter().map(|c| c.last).max()?;
        Some((first, last))
    }

    /// How many rows.
    pub fn row_count(&self) -> u32 {
        self.starts.last().copied().unwrap_or_default()
    }

    /// The attribute keys, sorted.
    pub fn attribute_keys(&self) -> Vec<Arc<str>> {
        let keys: BTreeSet<&Arc<str>> = self.chunks.iter().flat_map(|c| c.batch.keys()).collect();
        keys.into_iter().map(Arc::clone).collect()
    }

    /// See [`crate::read::Part::attribute_kinds`]. Looks at every value.
    pub fn attribute_kinds(&self) -> Vec<(Arc<str>, Option<ValueKind>)> {
        let unified = |a: Option<ValueKind>, b: Option<ValueKind>| match (a?, b?) {
            (a, b) if a == b => Some(a),
            (ValueKind::Int | ValueKind::Double, ValueKind::Int | ValueKind::Double) => Some(ValueKind::Double),
            _ => None,
        };
        let mut found: BTreeMap<&Arc<str>, Option<ValueKind>> = BTreeMap::new();
        for chunk in &self.chunks {
            let mut kinds: Vec<Option<Option<ValueKind>>> = vec![None; chunk.batch.keys().len()];
            for record in 0..chunk.batch.len() {
                for (key, value) in chunk.batch.attributes(record) {
                    let kind = &mut kinds[key as usize];
                    *kind = Some(kind.map_or(Some(value.kind()), |known| unified(known, Some(value.kind()))));
                }
            }
            for (key, kind) in chunk.batch.keys().iter().zip(kinds) {
                let Some(kind) = kind else { continue };
                found.entry(key).and_modify(|known| *known = unified(*known, kind)).or_insert(kind);
            }
        }
        found.into_iter().map(|(key, kind)| (Arc::clone(key), kind)).collect()
    }

    /// See [`crate::read::Part::prune`]: whole chunks are kept or left out.
    pub fn prune(&self, predicate: &Predicate) -> Vec<Range<u32>> {
        let finders: Vec<Vec<Option<Finder<'_>>>> =
            predicate.message.iter().map(|any| any.iter().map(finder).collect()).collect();
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for (chunk, start) in self.chunks.iter().zip(&self.starts) {
            let end = start + chunk.batch.len() as u32;
            if !chunk.may_match(predicate, &finders) {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.end == *start => last.end = end,
                _ => ranges.push(*start..end),
            }
        }
        ranges
    }

    /// See [`crate::read::Part::read`].
    pub fn read<'a>(
        &'a self,
        ranges: &[Range<u32>],
        streams: Option<&[bool]>,
        projection: &Projection,
    ) -> impl Iterator<Item = Rows> + Send + use<'a> {
        rows::read(self, ranges, streams, projection)
    }

    /// The patterns of all rows.
    fn patterns(&self) -> &DictionaryArray<Int32Type> {
        self.patterns.get_or_init(|| {
            let mut miner = PatternMiner::default();
            let rows = self.chunks.iter().flat_map(|chunk| (0..chunk.batch.len()).map(|row| chunk.batch.message(row)));
            let forms: Vec<u32> = rows.map(|line| miner.line(line)).collect();
            miner.finish().column(&forms)
        })
    }

    /// The chunks that `range` meets, with the rows of each.
    fn chunks_in(&self, range: Range<u32>) -> impl Iterator<Item = (usize, Range<u32>)> + '_ {
        let from = self.starts.partition_point(|&start| start <= range.start).saturating_sub(1);
        (from..self.chunks.len()).map_while(move |at| {
            let (start, end) = (self.starts[at], self.starts[at + 1]);
            (start < range.end).then(|| (at, range.start.max(start) - start..range.end.min(end) - start))
        })
    }
}

/// How a needle is looked for in a chunk; `None` where only reading decides.
fn finder(needle: &Needle) -> Option<Finder<'_>> {
    (!needle.ignore_case).then(|| Finder::new(needle.text.as_bytes()))
}

impl Chunk {
    fn may_match(&self, predicate: &Predicate, finders: &[Vec<Option<Finder<'_>>>]) -> bool {
        let in_time = predicate.time.as_ref().is_none_or(|t| self.last >= t.start && self.first < t.end);
        let wanted = |at: &u32| predicate.streams.as_ref().is_none_or(|s| s.get(*at as usize) == Some(&true));
        let text = self.batch.messages.as_bytes();
        in_time
            && self.streams.iter().any(wanted)
            && finders.iter().all(|any| any.iter().any(|f| f.as_ref().is_none_or(|f| f.find(text).is_some())))
            && predicate
                .attributes
                .iter()
                .all(|(key, values)| values.iter().any(String::is_empty) || self.batch.keys().iter().any(|k| k == key))
    }
}
