//! Which streams there are: what completion of label names and values, `series` and `index/stats` are answered from.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use storage::{Part, Projection, Snapshot, StorageError, Stream, StreamId, TimeRange};

use crate::logql::Matcher;
use crate::scan::wanted_streams;

/// Nanoseconds of a UTC day.
const DAY_NS: i64 = 86_400_000_000_000;

/// A stream and how much of it lies in a time range.
#[derive(Debug, Clone)]
pub struct StreamVolume {
    /// The stream.
    pub stream: Arc<Stream>,
    /// Records; those of a run that reaches out of the range are counted by the part of its time that is inside.
    pub records: u64,
    /// Bytes of text, estimated the same way.
    pub bytes: u64,
}

/// The streams that one of `selectors` wants (all, if there is none) and that have records in `time`; sorted by labels.
///
/// # Errors
/// When a part cannot be read.
pub fn streams(
    snapshot: &Snapshot,
    selectors: &[Vec<Matcher>],
    time: &TimeRange,
) -> Result<Vec<StreamVolume>, StorageError> {
    let mut found: FxHashMap<StreamId, StreamVolume> = FxHashMap::default();
    for part in &snapshot.parts {
        let streams = part.streams();
        let mut wanted = vec![selectors.is_empty(); streams.len()];
        for selector in selectors {
            wanted.iter_mut().zip(wanted_streams(streams, selector)).for_each(|(any, one)| *any |= one);
        }
        for (stream, records, bytes) in volumes(part, &wanted, time)? {
            let stream = &streams[stream as usize];
            let volume = found.entry(stream.id()).or_insert_with(|| StreamVolume {
                stream: Arc::clone(stream),
                records: 0,
                bytes: 0,
            });
            volume.records += records;
            volume.bytes += bytes;
        }
    }
    let mut found: Vec<StreamVolume> = found.into_values().collect();
    found.sort_unstable_by(|a, b| a.stream.cmp(&b.stream));
    Ok(found)
}

/// The streams that one of `selectors` wants and that have records on the UTC days of `time`, each once: for completion,
/// which is by the day, as Loki's index is. In no particular order.
///
/// # Errors
/// When a part cannot be read.
pub fn streams_about(
    snapshot: &Snapshot,
    selectors: &[Vec<Matcher>],
    time: &TimeRange,
) -> Result<Vec<Arc<Stream>>, StorageError> {
    let days =
        time.start - time.start.rem_euclid(DAY_NS)..time.end.saturating_add(DAY_NS - time.end.rem_euclid(DAY_NS));
    let mut found: FxHashMap<StreamId, Arc<Stream>> = FxHashMap::default();
    for part in &snapshot.parts {
        let streams = part.streams();
        let mut wanted = vec![selectors.is_empty(); streams.len()];
        for selector in selectors {
            wanted.iter_mut().zip(wanted_streams(streams, selector)).for_each(|(any, one)| *any |= one);
        }
        let mut there = vec![false; streams.len()];
        match part.runs() {
            Some(runs) => runs.iter().for_each(|run| {
                there[run.stream as usize] |= run.last >= days.start && run.first < days.end;
            }),
            None => {
                let all = 0..part.row_count();
                for rows in part.read(std::slice::from_ref(&all), Some(&wanted), &Projection::default())? {
                    let rows = rows?;
                    let mut times = rows.timestamp.values().iter();
                    for &(stream, count) in &rows.streams {
                        there[stream as usize] |=
                            times.by_ref().take(count as usize).filter(|time| days.contains(time)).count() > 0;
                    }
                }
            }
        }
        for (stream, (wanted, there)) in streams.iter().zip(wanted.into_iter().zip(there)) {
            if wanted && there {
                found.entry(stream.id()).or_insert_with(|| Arc::clone(stream));
            }
        }
    }
    Ok(found.into_values().collect())
}

/// (stream, records, bytes) of the wanted streams of a part.
fn volumes(part: &Part, wanted: &[bool], time: &TimeRange) -> Result<Vec<(u32, u64, u64)>, StorageError> {
    if let Some(runs) = part.runs() {
        let inside =
            runs.iter().filter(|run| wanted[run.stream as usize] && run.last >= time.start && run.first < time.end);
        let volume = |run: &storage::Run| {
            let rows = u64::from(run.rows.end - run.rows.start);
            let share = share(run.first, run.last, time);
            let part = |whole: u64| if share >= 1.0 { whole } else { ((whole as f64 * share) as u64).max(1) };
            (run.stream, part(rows), part(run.message_bytes))
        };
        return Ok(inside.map(volume).collect());
    }
    let mut sums: FxHashMap<u32, (u64, u64)> = FxHashMap::default();
    let projection = Projection { message: true, ..Projection::default() };
    for rows in part.read(std::slice::from_ref(&(0..part.row_count())), Some(wanted), &projection)? {
        let rows = rows?;
        let mut at = 0;
        for &(stream, count) in &rows.streams {
            for row in at..at + count as usize {
                if wanted[stream as usize] && time.contains(&rows.timestamp.value(row)) {
                    let sum = sums.entry(stream).or_default();
                    sum.0 += 1;
                    sum.1 += rows.message.as_ref().map_or(0, |message| message.value_length(row) as u64);
                }
            }
            at += count as usize;
        }
    }
    Ok(sums.into_iter().map(|(stream, (records, bytes))| (stream, records, bytes)).collect())
}

/// Which part of the time from `first` to `last` lies in a range.
fn share(first: i64, last: i64, time: &TimeRange) -> f64 {
    let length = (last as f64 - first as f64).max(1.0);
    let inside = last.min(time.end - 1) as f64 - first.max(time.start) as f64;
    if first >= time.start && last < time.end { 1.0 } else { (inside / length).clamp(0.0, 1.0) }
}

/// The names of all labels of these streams, sorted.
pub fn names(streams: &[Arc<Stream>]) -> Vec<String> {
    let names: BTreeSet<&str> =
        streams.iter().flat_map(|stream| stream.labels().iter().map(|(name, _)| name)).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// The values that these streams have for a label, sorted.
pub fn values(streams: &[Arc<Stream>], name: &str) -> Vec<String> {
    let values: BTreeSet<&str> = streams.iter().filter_map(|stream| stream.labels().get(name)).collect();
    values.into_iter().map(str::to_owned).collect()
}
