//! What a query of metrics sees: the segments and memtables of one moment, as one set of series.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::error::StorageError;
use crate::labels::Labels;
use crate::metrics::MetricMetadata;
use crate::metrics::batch::SeriesId;
use crate::metrics::matching::LabelMatcher;
use crate::metrics::memtable::{MemoryPart, Place};
use crate::metrics::samples::Samples;
use crate::metrics::segment::MetricSegment;
use crate::metrics::series_index::SeriesIndex;

/// Every sample of a tenant acknowledged before it was taken, exactly once.
#[derive(Debug, Clone, Default)]
pub struct MetricSnapshot {
    /// The oldest first: where two have a sample of the same time, the later one counts.
    pub(crate) segments: Vec<Arc<MetricSegment>>,
    pub(crate) memory: Vec<Arc<MemoryPart>>,
    pub(crate) metadata: Vec<MetricMetadata>,
}

/// An exemplar as queries see it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredExemplar {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The value.
    pub value: f64,
    /// Such as `trace_id`.
    pub labels: Labels,
}

/// The labels of a series, and its exemplars by time.
pub type SeriesExemplars = (Arc<Labels>, Vec<StoredExemplar>);

/// The series of a snapshot that match, sorted by their labels, and where their samples lie.
#[derive(Debug)]
pub struct Selection {
    labels: Vec<Arc<Labels>>,
    segments: Vec<InSegment>,
    memory: Vec<InMemory>,
    start: i64,
    end: i64,
}

#[derive(Debug)]
struct InSegment {
    segment: Arc<MetricSegment>,
    index: Arc<SeriesIndex>,
    /// Place in the selection and number in the segment; both rise.
    series: Vec<(u32, u32)>,
}

#[derive(Debug)]
struct InMemory {
    part: Arc<MemoryPart>,
    /// By place in the selection: where the rows lie.
    places: Vec<(u32, Vec<Place>)>,
    /// Place in the selection, and index among the part's histograms; by place.
    histograms: Vec<(u32, u32)>,
}

impl MetricSnapshot {
    /// The same without what cannot have samples between two times, both inside, in milliseconds.
    fn parts(&self, start: i64, end: i64) -> (Vec<Arc<MetricSegment>>, Vec<Arc<MemoryPart>>) {
        let (start_ns, end_ns) = (start.saturating_mul(1_000_000), end.saturating_mul(1_000_000));
        let in_time = |segment: &&Arc<MetricSegment>| {
            let (first, last) = segment.time_bounds();
            last >= start_ns && first <= end_ns
        };
        let recent =
            |part: &&Arc<MemoryPart>| part.time_bounds().is_some_and(|(first, last)| last >= start && first <= end);
        (self.segments.iter().filter(in_time).cloned().collect(), self.memory.iter().filter(recent).cloned().collect())
    }

    /// Equal for two snapshots of a tenant only if they hold the same samples of the time from `start` to `end`, both
    /// inside, in milliseconds.
    pub fn identity(&self, start: i64, end: i64) -> u128 {
        let (segments, memory) = self.parts(start, end);
        let ids = segments.iter().map(|segment| (0_u8, segment.meta().id));
        let all = ids.chain(memory.iter().map(|part| (1, part.last_sequence())));
        let mut bytes = Vec::with_capacity((segments.len() + memory.len()) * 9);
        for (kind, id) in all {
            bytes.push(kind);
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        xxhash_rust::xxh3::xxh3_128(&bytes)
    }

    /// The series that pass all matchers and may have samples between two times, both inside, in milliseconds.
    ///
    /// # Errors
    /// `Io` or `Corrupt` when an index cannot be read.
    pub fn select(&self, matchers: &[LabelMatcher], start: i64, end: i64) -> Result<Selection, StorageError> {
        let (segments, memory) = self.parts(start, end);
        let mut found = Found::default();
        let mut in_segments = Vec::with_capacity(segments.len());
        for segment in segments {
            let index = segment.index()?;
            let mut numbers = index.select(matchers)?;
            if (start, end) != (i64::MIN, i64::MAX) {
                numbers.retain(|&number| index.entries()[number as usize].overlaps(start, end));
            }
            let mut series = Vec::with_capacity(numbers.len());
            found.begin_part();
            index.labels(&numbers, |number, label_bytes| series.push((found.place(label_bytes), number)))?;
            in_segments.push(InSegment { segment, index, series });
        }
        let mut in_memory = Vec::with_capacity(memory.len());
        for part in memory {
            let numbers = part.select(matchers)?;
            found.begin_part();
            let places: Vec<u32> = numbers.iter().map(|&number| found.place(part.label_bytes(number))).collect();
            let rows = part.places(&numbers);
            let mut histograms = Vec::new();
            for (h, at) in part.histograms().zip(0..) {
                if let Ok(series) = numbers.binary_search(&h.series) {
                    histograms.push((places[series], at));
                }
            }
            in_memory.push(InMemory { part, places: places.into_iter().zip(rows).collect(), histograms });
        }
        let (labels, moved) = found.sorted();
        let to = |place: u32| moved.as_ref().map_or(place, |moved| moved[place as usize]);
        for part in &mut in_segments {
            part.series.iter_mut().for_each(|(place, _)| *place = to(*place));
        }
        for part in &mut in_memory {
            part.places.iter_mut().for_each(|(place, _)| *place = to(*place));
            part.places.sort_unstable_by_key(|(place, _)| *place);
            part.histograms.iter_mut().for_each(|(place, _)| *place = to(*place));
            part.histograms.sort_unstable();
        }
        Ok(Selection { labels, segments: in_segments, memory: in_memory, start, end })
    }

    /// The names of all labels of the series that match; of all series when there are no matchers. Sorted.
    ///
    /// # Errors
    /// As [`Self::select`].
    pub fn label_names(&self, matchers: &[LabelMatcher], start: i64, end: i64) -> Result<Vec<String>, StorageError> {
        let mut names = BTreeSet::new();
        let mut add = |name: &str| {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        };
        if matchers.is_empty() {
            let (segments, memory) = self.parts(start, end);
            segments.iter().try_for_each(|segment| {
                segment.index()?.label_names(&mut add);
                Ok::<(), StorageError>(())
            })?;
            memory.iter().for_each(|part| part.each_label(|name, _| add(name)));
        } else {
            let selection = self.select(matchers, start, end)?;
            selection.labels.iter().flat_map(|labels| labels.iter()).for_each(|(name, _)| add(name));
        }
        Ok(names.into_iter().collect())
    }

    /// The values of a label of the series that match; of all series when there are no matchers. Sorted.
    ///
    /// # Errors
    /// As [`Self::select`].
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[LabelMatcher],
        start: i64,
        end: i64,
    ) -> Result<Vec<String>, StorageError> {
        let mut values = BTreeSet::new();
        let mut add = |value: &str| {
            if !values.contains(value) {
                values.insert(value.to_owned());
            }
        };
        if matchers.is_empty() {
            let (segments, memory) = self.parts(start, end);
            segments.iter().try_for_each(|segment| {
                segment.index()?.label_values(name, &mut add);
                Ok::<(), StorageError>(())
            })?;
            memory.iter().for_each(|part| {
                part.each_label(|other, value| {
                    if other == name {
                        add(value);
                    }
                });
            });
        } else {
            let selection = self.select(matchers, start, end)?;
            selection.labels.iter().filter_map(|labels| labels.get(name)).for_each(add);
        }
        Ok(values.into_iter().collect())
    }

    /// The exemplars of the series that match, between two times, both inside; sorted by series and time.
    ///
    /// # Errors
    /// As [`Self::select`].
    pub fn exemplars(
        &self,
        matchers: &[LabelMatcher],
        start: i64,
        end: i64,
    ) -> Result<Vec<SeriesExemplars>, StorageError> {
        // Samples of the series may lie outside of the time: only the exemplars' own counts.
        let selection = self.select(matchers, i64::MIN, i64::MAX)?;
        let mut found: Vec<Vec<StoredExemplar>> = vec![Vec::new(); selection.labels.len()];
        let in_time = |time: i64| (start..=end).contains(&time);
        for part in &selection.segments {
            let place: FxHashMap<u32, u32> = part.series.iter().map(|&(place, number)| (number, place)).collect();
            for (number, timestamp, value, labels) in part.segment.exemplars()? {
                if let Some(&place) = place.get(&number).filter(|_| in_time(timestamp)) {
                    found[place as usize].push(StoredExemplar { timestamp, value, labels });
                }
            }
        }
        for part in &selection.memory {
            let numbers = part.part.select(matchers)?;
            let mut wanted = FxHashMap::default();
            for &number in &numbers {
                let labels = Labels::of_flat(part.part.label_bytes(number));
                if let Ok(place) = selection.labels.binary_search_by(|known| known.as_ref().cmp(&labels)) {
                    wanted.insert(number, place);
                }
            }
            for e in part.part.exemplars().filter(|e| in_time(e.timestamp)) {
                if let Some(&place) = wanted.get(&e.series) {
                    found[place].push(StoredExemplar {
                        timestamp: e.timestamp,
                        value: e.value,
                        labels: e.labels.clone(),
                    });
                }
            }
        }
        let with_any = selection.labels.into_iter().zip(found).filter(|(_, found)| !found.is_empty());
        Ok(with_any
            .map(|(labels, mut found)| {
                found.sort_by(|a, b| a.timestamp.cmp(&b.timestamp).then_with(|| a.labels.cmp(&b.labels)));
                found.dedup();
                (labels, found)
            })
            .collect())
    }

    /// What the coarsest samples between two times, both inside, stand for, in milliseconds; 0 when all are there.
    pub fn resolution_ms(&self, start: i64, end: i64) -> u32 {
        let (segments, _) = self.parts(start, end);
        segments.iter().map(|segment| segment.meta().resolution_ms).max().unwrap_or(0)
    }

    /// What was said of metrics, by name.
    pub fn metadata(&self) -> &[MetricMetadata] {
        &self.metadata
    }

    /// First and last time of all samples, in milliseconds, both inside; rounded outwards.
    pub fn time_bounds(&self) -> Option<(i64, i64)> {
        let segments = self.segments.iter().map(|segment| {
            let (first, last) = segment.time_bounds();
            (first.div_euclid(1_000_000), last.div_euclid(1_000_000))
        });
        segments
            .chain(self.memory.iter().filter_map(|part| part.time_bounds()))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

/// Series as they are found, each once.
#[derive(Default)]
struct Found {
    labels: Vec<Arc<Labels>>,
    /// Of the parts before the present one, by what they are: of the first part there is nothing to compare with.
    place: FxHashMap<SeriesId, u32>,
    /// How many of the series are in `place`.
    placed: usize,
}

impl Found {
    /// Says that what follows is of another part; within a part no series comes twice.
    fn begin_part(&mut self) {
        for (labels, at) in self.labels[self.placed..].iter().zip(self.placed as u32..) {
            self.place.insert(SeriesId::of(labels.flat()), at);
        }
        self.placed = self.labels.len();
    }

    fn place(&mut self, label_bytes: &[u8]) -> u32 {
        if self.placed > 0
            && let Some(&known) = self.place.get(&SeriesId::of(label_bytes))
        {
            return known;
        }
        self.labels.push(Arc::new(Labels::of_flat(label_bytes)));
        self.labels.len() as u32 - 1
    }

    /// The labels in order, and where each went; `None` when they were in order.
    fn sorted(self) -> (Vec<Arc<Labels>>, Option<Vec<u32>>) {
        if self.labels.is_sorted() {
            return (self.labels, None);
        }
        let mut order: Vec<u32> = (0..self.labels.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| self.labels[a as usize].cmp(&self.labels[b as usize]));
        let mut moved = vec![0; order.len()];
        order.iter().zip(0..).for_each(|(&from, to)| moved[from as usize] = to);
        (order.iter().map(|&at| Arc::clone(&self.labels[at as usize])).collect(), Some(moved))
    }
}

impl Selection {
    /// The labels of each series, sorted.
    pub fn labels(&self) -> &[Arc<Labels>] {
        &self.labels
    }

    /// How many segments are looked at.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Reads the samples of some series and hands them over, one series after the other, each once.
    ///
    /// # Errors
    /// `Io` or `Corrupt` when a segment cannot be read; what `each` answered.
    pub fn read<E: From<StorageError>>(
        &self,
        series: Range<usize>,
        mut each: impl FnMut(usize, &Samples) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut found: Vec<Samples> = vec![Samples::default(); series.len()];
        let wanted = |place: u32| (series.start as u32..series.end as u32).contains(&place);
        for part in &self.segments {
            let from = part.series.partition_point(|(place, _)| (*place as usize) < series.start);
            let here = part.series[from..].iter().take_while(|(place, _)| wanted(*place));
            let (places, numbers): (Vec<u32>, Vec<u32>) = here.copied().unzip();
            part.segment.read(&part.index, &numbers, (self.start, self.end), |at, samples| {
                found[places[at] as usize - series.start].take_from(samples);
                Ok::<(), E>(())
            })?;
        }
        for part in &self.memory {
            let from = part.places.partition_point(|(place, _)| (*place as usize) < series.start);
            for (place, places) in part.places[from..].iter().take_while(|(place, _)| wanted(*place)) {
                let samples = &mut found[*place as usize - series.start];
                for rows in places {
                    part.part.read(rows, |timestamps, values, starts| samples.append(timestamps, values, starts));
                }
            }
            let from = part.histograms.partition_point(|(place, _)| (*place as usize) < series.start);
            for (place, at) in part.histograms[from..].iter().take_while(|(place, _)| wanted(*place)) {
                if let Some(h) = part.part.histogram(*at) {
                    let samples = &mut found[*place as usize - series.start];
                    samples.append_histogram(h.timestamp, Arc::new(h.histogram.clone()), h.start);
                }
            }
        }
        for (samples, at) in found.iter_mut().zip(series) {
            samples.settle();
            samples.cut(self.start, self.end);
            each(at, samples)?;
        }
        Ok(())
    }
}
