//! Segments out of memtables, and larger segments out of small ones: series in the order of their labels, the samples of
//! each by time, and of a time that is there twice the one that came last.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::disk::Disk;
use crate::error::StorageError;
use crate::folder::day_of_ms;
use crate::labels::{Labels, compare_labels};
use crate::metrics::coarse::downsample;
use crate::metrics::matching::LabelMatcher;
use crate::metrics::memtable::MemoryPart;
use crate::metrics::samples::Samples;
use crate::metrics::segment::MetricSegment;
use crate::metrics::segment_writer::{MetricSegmentWriter, SeriesRows};
use crate::metrics::series_index::SeriesIndex;
use crate::segment::{SegmentMeta, SegmentOrder};

/// Milliseconds of a UTC day.
const DAY_MS: i64 = 86_400_000;
/// Series of an input of a merge that are read at a time.
const READ_SERIES: usize = 256;

/// Series whose samples of some time are deleted: any of the lists of matchers, milliseconds, both inside.
#[derive(Debug, Clone)]
pub struct SeriesDeletion {
    /// A series is meant when all matchers of one of the lists pass.
    pub any: Vec<Vec<LabelMatcher>>,
    /// First time.
    pub start: i64,
    /// Last time.
    pub end: i64,
}

/// The UTC days that have samples.
pub(crate) fn days(part: &MemoryPart) -> Vec<i32> {
    let Some((first, last)) = part.time_bounds() else { return Vec::new() };
    if day_of_ms(first) == day_of_ms(last) {
        return vec![day_of_ms(first)];
    }
    let mut days = BTreeSet::new();
    part.each_time(|time| {
        days.insert(day_of_ms(time));
    });
    days.into_iter().collect()
}

/// Writes the samples of `order.day` as one segment, at `path` (without extension).
///
/// # Errors
/// `DiskFull` or `Io`; `Refused` without a sample or an exemplar of that day.
pub(crate) fn write_part(
    disk: &dyn Disk,
    path: &Path,
    order: &SegmentOrder,
    part: &MemoryPart,
) -> Result<SegmentMeta, StorageError> {
    let (start, end) = (i64::from(order.day) * DAY_MS, i64::from(order.day) * DAY_MS + DAY_MS - 1);
    let all = part.series();
    let places = part.places(&all);
    let mut histograms: FxHashMap<u32, Vec<(i64, i64, &crate::metrics::Histogram)>> = FxHashMap::default();
    for h in part.histograms() {
        histograms.entry(h.series).or_default().push((h.timestamp, h.start, &h.histogram));
    }
    let mut sorted: Vec<usize> = (0..all.len()).collect();
    sorted.sort_unstable_by(|&a, &b| compare_labels(part.label_bytes(all[a]), part.label_bytes(all[b])));
    let mut writer = MetricSegmentWriter::create(disk, path, 0)?;
    let mut number: FxHashMap<u32, u32> = FxHashMap::default();
    let of_day = part.exemplars().filter(|e| (start..=end).contains(&e.timestamp));
    let with_exemplars: FxHashSet<u32> = of_day.map(|e| e.series).collect();
    let mut samples = Samples::default();
    for at in sorted {
        let series = all[at];
        samples.clear();
        for place in &places[at] {
            part.read(place, |timestamps, values, starts| samples.append(timestamps, values, starts));
        }
        for (timestamp, start, histogram) in histograms.get(&series).into_iter().flatten() {
            samples.append_histogram(*timestamp, Arc::new((*histogram).clone()), *start);
        }
        samples.settle();
        samples.cut(start, end);
        if with_exemplars.contains(&series) {
            number.insert(series, writer.series_count());
        }
        if !samples.is_empty() {
            add(&mut writer, part.label_bytes(series), &samples)?;
        } else if with_exemplars.contains(&series) {
            writer.series_without_samples(part.label_bytes(series));
        }
    }
    let mut exemplars: Vec<(u32, i64, f64, Labels)> = part
        .exemplars()
        .filter(|e| (start..=end).contains(&e.timestamp))
        .map(|e| (number[&e.series], e.timestamp, e.value, e.labels.clone()))
        .collect();
    settle_exemplars(&mut exemplars);
    writer.finish(order, &exemplars)
}

/// What becomes of samples in a merge, beside being put together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Change<'a> {
    /// What it takes is left out.
    pub(crate) deletion: Option<&'a SeriesDeletion>,
    /// Milliseconds that a sample is to stand for; 0 keeps every sample.
    pub(crate) resolution_ms: u32,
}

/// Writes the samples of `inputs`, the oldest first, as one segment. `None` when nothing is left.
///
/// # Errors
/// `DiskFull` or `Io` when it cannot be written; `Corrupt` when an input cannot be read.
pub(crate) fn merge(
    disk: &dyn Disk,
    path: &Path,
    order: &SegmentOrder,
    inputs: &[Arc<MetricSegment>],
    change: Change<'_>,
) -> Result<Option<SegmentMeta>, StorageError> {
    let Change { deletion, resolution_ms } = change;
    let mut inputs = inputs.iter().map(|input| Input::open(input, deletion)).collect::<Result<Vec<_>, _>>()?;
    let mut writer = MetricSegmentWriter::create(disk, path, resolution_ms)?;
    let mut exemplars = Vec::new();
    loop {
        inputs.iter_mut().try_for_each(Input::fill)?;
        let Some(next) = inputs.iter().filter_map(Input::labels).min_by(|a, b| compare_labels(a, b)) else { break };
        let next = next.to_vec();
        let mut samples = Samples::default();
        let mut found = Vec::new();
        for input in &mut inputs {
            if input.labels() == Some(&next)
                && let Some(mut series) = input.waiting.pop_front()
            {
                if let Some(deletion) = deletion.filter(|_| series.deleted) {
                    series.samples.remove(deletion.start, deletion.end);
                }
                samples.take_from(&mut series.samples);
                let deleted = |time: i64| series.deleted && deletion.is_some_and(|d| (d.start..=d.end).contains(&time));
                found.extend(input.exemplars_of(series.number).iter().filter(|(_, time, ..)| !deleted(*time)).cloned());
            }
        }
        samples.settle();
        if resolution_ms > 0 {
            samples = downsample(&samples, resolution_ms);
        }
        let number = writer.series_count();
        if !samples.is_empty() {
            add(&mut writer, &next, &samples)?;
        } else if !found.is_empty() {
            writer.series_without_samples(&next);
        }
        exemplars.extend(found.into_iter().map(|(_, time, value, labels)| (number, time, value, labels)));
    }
    if writer.series_count() == 0 {
        return Ok(None);
    }
    settle_exemplars(&mut exemplars);
    writer.finish(order, &exemplars).map(Some)
}

fn add(writer: &mut MetricSegmentWriter<'_>, label_bytes: &[u8], samples: &Samples) -> Result<(), StorageError> {
    let packed = |(row, histogram): &(u32, Arc<crate::metrics::Histogram>)| {
        let mut bytes = Vec::new();
        histogram.encode(&mut bytes);
        (*row, bytes)
    };
    let histograms: Vec<(u32, Vec<u8>)> = samples.histograms.iter().map(packed).collect();
    writer.series(SeriesRows {
        label_bytes,
        timestamps: &samples.timestamps,
        values: &samples.values,
        starts: &samples.starts,
        histograms: &histograms,
        coarse: samples.coarse.as_deref(),
    })
}

/// By series and time, each once.
fn settle_exemplars(exemplars: &mut Vec<(u32, i64, f64, Labels)>) {
    exemplars.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)).then_with(|| a.3.cmp(&b.3)));
    exemplars.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1 && a.2.to_bits() == b.2.to_bits() && a.3 == b.3);
}

/// An input of a merge, read some series at a time.
struct Input {
    segment: Arc<MetricSegment>,
    index: Arc<SeriesIndex>,
    exemplars: Vec<(u32, i64, f64, Labels)>,
    /// Of the series whose samples are deleted, the numbers, ascending.
    deleted: Vec<u32>,
    next: u32,
    waiting: VecDeque<InputSeries>,
}

struct InputSeries {
    number: u32,
    label_bytes: Vec<u8>,
    samples: Samples,
    deleted: bool,
}

impl Input {
    fn open(segment: &Arc<MetricSegment>, deletion: Option<&SeriesDeletion>) -> Result<Self, StorageError> {
        let index = segment.index()?;
        let mut deleted = Vec::new();
        for matchers in deletion.iter().flat_map(|deletion| &deletion.any) {
            deleted.extend(index.select(matchers)?);
        }
        deleted.sort_unstable();
        deleted.dedup();
        let (segment, exemplars) = (Arc::clone(segment), segment.exemplars()?);
        Ok(Self { segment, index, exemplars, deleted, next: 0, waiting: VecDeque::new() })
    }

    fn labels(&self) -> Option<&[u8]> {
        self.waiting.front().map(|series| series.label_bytes.as_slice())
    }

    /// Those of a series.
    fn exemplars_of(&self, number: u32) -> &[(u32, i64, f64, Labels)] {
        let from = self.exemplars.partition_point(|(of, ..)| *of < number);
        let count = self.exemplars[from..].partition_point(|(of, ..)| *of == number);
        &self.exemplars[from..from + count]
    }

    fn fill(&mut self) -> Result<(), StorageError> {
        if !self.waiting.is_empty() {
            return Ok(());
        }
        let end = (self.next as usize + READ_SERIES).min(self.index.entries().len()) as u32;
        let numbers: Vec<u32> = (self.next..end).collect();
        self.next = end;
        let (waiting, deleted) = (&mut self.waiting, &self.deleted);
        self.index.labels(&numbers, |number, label_bytes| {
            let deleted = deleted.binary_search(&number).is_ok();
            let (label_bytes, samples) = (label_bytes.to_vec(), Samples::default());
            waiting.push_back(InputSeries { number, label_bytes, samples, deleted });
        })?;
        self.segment.read(&self.index, &numbers, (i64::MIN, i64::MAX), |at, samples| {
            if let Some(series) = waiting.get_mut(at) {
                series.samples.take_from(samples);
            }
            Ok::<(), StorageError>(())
        })
    }
}
