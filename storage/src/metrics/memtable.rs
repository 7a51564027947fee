//! Samples that are not in a segment yet, of one tenant. New ones are queryable at once; every so many rows the newest
//! are sorted by series into a *run*, so that a query finds those of a series without looking at all.
//!
//! The series are numbered in the order they first came. The table of the next generation ([`Table::heir`]) goes on with the
//! numbers, labels and index of the one before: a series that goes on is kept once, however often samples are flushed.
//!
//! What a query holds ([`MemoryPart`]) never changes. Within a series, samples are in the order they came; of a plain value
//! and a histogram of the same time the histogram counts.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::StorageError;
use crate::labels::labels_of;
use crate::metrics::batch::{Exemplar, HistogramSample, MetricBatch, SeriesId};
use crate::metrics::matching::{LabelIndex, LabelMatcher, matching};

/// Rows of a run; more when there are more series.
const RUN_ROWS_MIN: usize = 64 << 10;
/// Series of a piece of the table: a snapshot shares all but the last with the table.
const PIECE_SERIES: usize = 1024;

/// Hash maps whose keys are hashes.
type ByHash<K, V> = HashMap<K, V, BuildHasherDefault<Hashed>>;

/// Takes the low half of a 128-bit hash for the hash.
#[derive(Debug, Default)]
pub(crate) struct Hashed(u64);

impl std::hash::Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0.rotate_left(8) ^ u64::from(byte));
    }

    fn write_u128(&mut self, number: u128) {
        self.0 = number as u64;
    }
}

/// One tenant's samples.
#[derive(Debug, Default)]
pub(crate) struct Table {
    place: ByHash<SeriesId, u32>,
    /// Of each number the series: what sends, sends its series in the same order again and again, so that most are found at
    /// the number after the one before.
    ids: Vec<SeriesId>,
    pieces: Vec<Arc<Vec<Arc<[u8]>>>>,
    index: Arc<Mutex<MemoryIndex>>,
    /// The series that this generation has something of.
    seen: Seen,
    runs: Vec<Arc<Rows>>,
    tail: Vec<Arc<Rows>>,
    tail_rows: usize,
    histograms: Vec<Arc<Vec<HistogramSample>>>,
    exemplars: Vec<Arc<Vec<Exemplar>>>,
    bounds: Option<(i64, i64)>,
    /// The journal's sequence of the last batch.
    last_sequence: u64,
}

/// A set of series, by number.
#[derive(Debug, Clone, Default)]
struct Seen {
    bits: Vec<u64>,
    count: usize,
}

impl Seen {
    fn add(&mut self, series: u32) {
        let (word, bit) = (series as usize / 64, 1 << (series % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        self.count += usize::from(self.bits[word] & bit == 0);
        self.bits[word] |= bit;
    }

    /// Ascending.
    fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.bits.len() as u32 * 64).filter(|&series| self.has(series))
    }

    fn has(&self, series: u32) -> bool {
        self.bits.get(series as usize / 64).is_some_and(|word| word >> (series % 64) & 1 == 1)
    }
}

/// Samples in columns.
#[derive(Debug, Default)]
struct Rows {
    /// Of each sample.
    series: Vec<u32>,
    timestamps: Vec<i64>,
    values: Vec<f64>,
    /// Empty, or of each sample.
    starts: Vec<i64>,
}

impl Table {
    /// The table of the next generation, to be put in the place of this one, which takes no more samples. Series that have
    /// ended are forgotten once they are the greater part.
    pub(crate) fn heir(&mut self) -> Self {
        if self.seen.count * 2 < self.ids.len() {
            return Self::default();
        }
        Self {
            place: std::mem::take(&mut self.place),
            ids: std::mem::take(&mut self.ids),
            pieces: self.pieces.clone(),
            index: Arc::clone(&self.index),
            ..Self::default()
        }
    }

    /// Whether this generation has something of any series.
    pub(crate) fn is_empty(&self) -> bool {
        self.seen.count == 0
    }

    /// Takes the samples of the batch of a journal sequence in; answers about how many bytes that takes.
    pub(crate) fn insert(&mut self, sequence: u64, batch: &MetricBatch) -> usize {
        self.last_sequence = sequence;
        let mut bytes = 0;
        let mut guess = 0;
        let places: Vec<u32> = (0..batch.series_count())
            .map(|index| {
                let is_next = self.ids.get(guess) == batch.ids.get(index);
                let at = if is_next { guess as u32 } else { self.number(batch, index, &mut bytes) };
                guess = at as usize + 1;
                self.seen.add(at);
                at
            })
            .collect();
        let place = |series: u32| places[series as usize];
        if !batch.values.is_empty() {
            let rows = Rows {
                series: batch.series.iter().map(|&series| place(series)).collect(),
                timestamps: batch.timestamps.clone(),
                values: batch.values.clone(),
                starts: batch.starts.clone(),
            };
            bytes += rows.values.len() * if rows.starts.is_empty() { 20 } else { 28 };
            self.tail_rows += rows.values.len();
            self.tail.push(Arc::new(rows));
        }
        if !batch.histograms.is_empty() {
            let moved = batch.histograms.iter().map(|h| HistogramSample { series: place(h.series), ..h.clone() });
            let moved: Vec<HistogramSample> = moved.collect();
            bytes += moved.iter().map(|h| size_of::<HistogramSample>() + h.histogram.memory_bytes()).sum::<usize>();
            self.histograms.push(Arc::new(moved));
        }
        if !batch.exemplars.is_empty() {
            let moved = batch.exemplars.iter().map(|e| Exemplar { series: place(e.series), ..e.clone() }).collect();
            bytes += batch.exemplars.len() * 160;
            self.exemplars.push(Arc::new(moved));
        }
        let others = || batch.histograms.iter().map(|h| h.timestamp).chain(batch.exemplars.iter().map(|e| e.timestamp));
        let times = || batch.timestamps.iter().copied().chain(others());
        if let (Some(first), Some(last)) = (times().min(), times().max()) {
            let (known_first, known_last) = self.bounds.unwrap_or((first, last));
            self.bounds = Some((first.min(known_first), last.max(known_last)));
        }
        if self.tail_rows >= RUN_ROWS_MIN.max(self.count() as usize * 2) {
            let run = sorted(&self.tail, self.count() as usize);
            self.runs.push(Arc::new(run));
            self.tail.clear();
            self.tail_rows = 0;
        }
        bytes
    }

    /// The number of a series of a batch; a new one, and what that takes, if it has none.
    fn number(&mut self, batch: &MetricBatch, index: usize, bytes: &mut usize) -> u32 {
        let series = batch.series(index);
        let next = self.ids.len() as u32;
        let at = *self.place.entry(series.id).or_insert(next);
        if at == next {
            *bytes += series.label_bytes.len() + 112;
            self.ids.push(series.id);
            match self.pieces.last_mut().filter(|piece| piece.len() < PIECE_SERIES) {
                Some(piece) => Arc::make_mut(piece).push(series.label_bytes.into()),
                None => self.pieces.push(Arc::new(vec![series.label_bytes.into()])),
            }
        }
        at
    }

    /// How many numbers are given.
    fn count(&self) -> u32 {
        self.pieces.last().map_or(0, |last| ((self.pieces.len() - 1) * PIECE_SERIES + last.len()) as u32)
    }

    /// What a query sees.
    pub(crate) fn part(&self) -> Arc<MemoryPart> {
        Arc::new(MemoryPart {
            pieces: self.pieces.clone(),
            count: self.count(),
            seen: self.seen.clone(),
            index: Arc::clone(&self.index),
            runs: self.runs.clone(),
            tail: self.tail.clone(),
            histograms: self.histograms.clone(),
            histogram_ends: self
                .histograms
                .iter()
                .scan(0, |end, batch| {
                    *end += batch.len() as u32;
                    Some(*end)
                })
                .collect(),
            exemplars: self.exemplars.clone(),
            bounds: self.bounds,
            last_sequence: self.last_sequence,
        })
    }
}

/// All rows by series; those of a series stay in the order they came.
fn sorted(tail: &[Arc<Rows>], series_count: usize) -> Rows {
    let mut next = vec![0_u32; series_count + 1];
    for &series in tail.iter().flat_map(|rows| &rows.series) {
        next[series as usize + 1] += 1;
    }
    for at in 1..next.len() {
        next[at] += next[at - 1];
    }
    let count = next.last().copied().unwrap_or_default() as usize;
    let with_starts = tail.iter().any(|rows| !rows.starts.is_empty());
    let mut run = Rows {
        series: vec![0; count],
        timestamps: vec![0; count],
        values: vec![0.0; count],
        starts: vec![0; if with_starts { count } else { 0 }],
    };
    for rows in tail {
        for (row, &series) in rows.series.iter().enumerate() {
            let to = next[series as usize] as usize;
            next[series as usize] += 1;
            run.series[to] = series;
            run.timestamps[to] = rows.timestamps[row];
            run.values[to] = rows.values[row];
            if let (true, Some(&start)) = (with_starts, rows.starts.get(row)) {
                run.starts[to] = start;
            }
        }
    }
    run
}

/// The series of a table by label, as far as queries have asked.
#[derive(Debug, Default)]
struct MemoryIndex {
    count: u32,
    values: HashMap<String, BTreeMap<String, Vec<u32>>>,
}

impl LabelIndex for MemoryIndex {
    fn count(&self) -> u32 {
        self.count
    }

    fn with_value(&self, name: &str, value: &str, take: &mut dyn FnMut(u32)) -> Result<(), StorageError> {
        let found = self.values.get(name).and_then(|values| values.get(value));
        found.into_iter().flatten().for_each(|&series| take(series));
        Ok(())
    }

    fn with_values(
        &self,
        name: &str,
        prefix: &str,
        passes: &dyn Fn(&str) -> bool,
        take: &mut dyn FnMut(u32),
    ) -> Result<(), StorageError> {
        let Some(values) = self.values.get(name) else { return Ok(()) };
        let begun = values.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        let alike = begun.take_while(|(value, _)| value.starts_with(prefix));
        alike.filter(|(value, _)| passes(value)).flat_map(|(_, series)| series).for_each(|&series| take(series));
        Ok(())
    }
}

/// Which rows of a [`MemoryPart`] belong to one series: the run (or, beyond the runs, batch of the tail), and the rows in
/// it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    rows: u32,
    range: Range<u32>,
}

/// What a query sees of one tenant's memtable: every sample that was acknowledged before, none that came later.
#[derive(Debug)]
pub struct MemoryPart {
    pieces: Vec<Arc<Vec<Arc<[u8]>>>>,
    count: u32,
    index: Arc<Mutex<MemoryIndex>>,
    seen: Seen,
    runs: Vec<Arc<Rows>>,
    tail: Vec<Arc<Rows>>,
    histograms: Vec<Arc<Vec<HistogramSample>>>,
    /// Of each of `histograms`, how many there are up to its end.
    histogram_ends: Vec<u32>,
    exemplars: Vec<Arc<Vec<Exemplar>>>,
    bounds: Option<(i64, i64)>,
    last_sequence: u64,
}

impl MemoryPart {
    /// The journal's sequence of the last batch. Two parts of a store have the same samples only if it is the same.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// The numbers of the series that it has something of, ascending.
    pub(crate) fn series(&self) -> Vec<u32> {
        self.seen.iter().collect()
    }

    /// First and last time, both inside, in milliseconds.
    pub(crate) fn time_bounds(&self) -> Option<(i64, i64)> {
        self.bounds
    }

    /// The flat labels of a series.
    pub(crate) fn label_bytes(&self, series: u32) -> &[u8] {
        &self.pieces[series as usize / PIECE_SERIES][series as usize % PIECE_SERIES]
    }

    /// The series that match, ascending.
    pub(crate) fn select(&self, matchers: &[LabelMatcher]) -> Result<Vec<u32>, StorageError> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        for series in index.count..self.count {
            for (name, value) in labels_of(self.label_bytes(series)) {
                if !index.values.contains_key(name) {
                    index.values.insert(name.to_owned(), BTreeMap::new());
                }
                let Some(values) = index.values.get_mut(name) else { continue };
                match values.get_mut(value) {
                    Some(known) => known.push(series),
                    None => drop(values.insert(value.to_owned(), vec![series])),
                }
            }
        }
        index.count = index.count.max(self.count);
        let mut found = matching(&*index, matchers)?;
        // The index may know series that came after this part was taken.
        found.truncate(found.partition_point(|&series| series < self.count));
        found.retain(|&series| self.seen.has(series));
        Ok(found)
    }

    /// Where the rows of each of `series` (ascending) lie, in the order they came.
    pub(crate) fn places(&self, series: &[u32]) -> Vec<Vec<Place>> {
        let mut places: Vec<Vec<Place>> = vec![Vec::new(); series.len()];
        for (rows, run) in self.runs.iter().zip(0..) {
            let mut from = 0;
            for (answer, wanted) in series.iter().enumerate() {
                let rest = &rows.series[from..];
                let start = from + skip(rest, |other| other < wanted);
                let end = start + skip(&rows.series[start..], |other| other == wanted);
                if start < end {
                    places[answer].push(Place { rows: run, range: start as u32..end as u32 });
                }
                from = end;
            }
        }
        let mut answers = vec![u32::MAX; if self.tail.is_empty() { 0 } else { self.count as usize }];
        for (&series, answer) in series.iter().zip(0..) {
            if let Some(place) = answers.get_mut(series as usize) {
                *place = answer;
            }
        }
        for (rows, at) in self.tail.iter().zip(self.runs.len() as u32..) {
            for (series, row) in rows.series.iter().zip(0..) {
                if let Some(places) = places.get_mut(answers[*series as usize] as usize) {
                    places.push(Place { rows: at, range: row..row + 1 });
                }
            }
        }
        places
    }

    /// Calls `each` with timestamps, values and starts (empty when none is known) of the rows of a place.
    pub(crate) fn read(&self, place: &Place, mut each: impl FnMut(&[i64], &[f64], &[i64])) {
        let at = place.rows as usize;
        let Some(rows) = self.runs.get(at).or_else(|| self.tail.get(at - self.runs.len())) else { return };
        let range = place.range.start as usize..place.range.end as usize;
        let starts = if rows.starts.is_empty() { &[] } else { &rows.starts[range.clone()] };
        each(&rows.timestamps[range.clone()], &rows.values[range], starts);
    }

    /// Every histogram, in the order they came.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = &HistogramSample> {
        self.histograms.iter().flat_map(|batch| batch.iter())
    }

    /// A histogram, by its place in [`Self::histograms`].
    pub(crate) fn histogram(&self, at: u32) -> Option<&HistogramSample> {
        let batch = self.histogram_ends.partition_point(|&end| end <= at);
        let begin = if batch == 0 { 0 } else { self.histogram_ends[batch - 1] };
        self.histograms.get(batch)?.get((at - begin) as usize)
    }

    /// How many samples, those of the same series and time each.
    #[cfg(test)]
    pub(crate) fn sample_count(&self) -> usize {
        self.runs.iter().chain(&self.tail).map(|rows| rows.values.len()).sum::<usize>() + self.histograms().count()
    }

    /// Calls `each` with the time of every sample and exemplar.
    pub(crate) fn each_time(&self, mut each: impl FnMut(i64)) {
        self.runs.iter().chain(&self.tail).flat_map(|rows| &rows.timestamps).for_each(|&time| each(time));
        self.histograms().for_each(|h| each(h.timestamp));
        self.exemplars().for_each(|e| each(e.timestamp));
    }

    /// Calls `each` with every name and value of a label.
    pub(crate) fn each_label(&self, mut each: impl FnMut(&str, &str)) {
        self.seen
            .iter()
            .flat_map(|series| labels_of(self.label_bytes(series)))
            .for_each(|(name, value)| each(name, value));
    }

    /// Every exemplar, in the order they came.
    pub(crate) fn exemplars(&self) -> impl Iterator<Item = &Exemplar> {
        self.exemplars.iter().flat_map(|batch| batch.iter())
    }
}

/// How many at the start pass: looks at the first ones, then in steps that double, so that what is near is found fast.
fn skip(rows: &[u32], passes: impl Fn(&u32) -> bool) -> usize {
    let mut step = 1;
    while rows.get(step).is_some_and(&passes) {
        step *= 2;
    }
    let from = step / 2;
    from + rows[from..rows.len().min(step + 1)].partition_point(passes)
}
