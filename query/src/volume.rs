//! How many bytes streams have over time, counted as Loki does: text, and eight bytes of time a record. `index/volume` and
//! `index/volume_range` are answered from it.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use storage::{Labels, Part, Projection, Run, Snapshot, StorageError, TimeRange};

use crate::logql::Matcher;
use crate::scan::wanted_streams;

/// What a record counts beside its text.
const TIME_BYTES: u64 = 8;

/// By what volumes are added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeBy {
    /// The values of these labels; streams that lack one of them are left out.
    Series(Vec<String>),
    /// Each of these labels by its name alone; without names, every label.
    Labels(Vec<String>),
}

/// Bytes in each bucket of time, by label set.
pub type Volumes = BTreeMap<Labels, Vec<u64>>;

/// The volumes of the streams that `matchers` want in `time`, in buckets of `step` nanoseconds from `origin` on, which is
/// not after its start. Of a run that reaches over a bucket's end, each bucket gets the part of its time.
///
/// # Errors
/// When a part cannot be read.
pub fn volumes(
    snapshot: &Snapshot,
    matchers: &[Matcher],
    time: &TimeRange,
    (origin, step): (i64, i64),
    by: &VolumeBy,
) -> Result<Volumes, StorageError> {
    let step = step.max(1);
    let count = usize::try_from((time.end - origin).max(1).div_euclid(step)).unwrap_or(0) + 1;
    let buckets = Buckets { time, origin, step, count };
    let mut volumes = Volumes::new();
    for part in &snapshot.parts {
        let wanted = wanted_streams(part.streams(), matchers);
        let by_stream = match part.runs() {
            Some(runs) => of_runs(runs, &wanted, &buckets),
            None => of_rows(part, &wanted, &buckets)?,
        };
        for (stream, bytes) in by_stream {
            for labels in shown(part.streams()[stream as usize].labels(), by) {
                let sums = volumes.entry(labels).or_insert_with(|| vec![0; count]);
                sums.iter_mut().zip(&bytes).for_each(|(sum, bytes)| *sum += bytes);
            }
        }
    }
    volumes.retain(|_, buckets| buckets.iter().any(|bytes| *bytes > 0));
    Ok(volumes)
}

/// Under which labels a stream counts.
fn shown(labels: &Labels, by: &VolumeBy) -> Vec<Labels> {
    match by {
        VolumeBy::Series(names) => {
            let pairs: Option<Vec<(&str, &str)>> =
                names.iter().map(|name| Some((name.as_str(), labels.get(name).filter(|v| !v.is_empty())?))).collect();
            pairs.filter(|pairs| !pairs.is_empty()).map(Labels::new).into_iter().collect()
        }
        VolumeBy::Labels(names) => {
            let wanted = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
            labels.iter().filter(|(name, _)| wanted(name)).map(|(name, _)| Labels::new([(name, "")])).collect()
        }
    }
}

type ByStream = FxHashMap<u32, Vec<u64>>;

/// Neighbouring spans of a time.
struct Buckets<'t> {
    time: &'t TimeRange,
    origin: i64,
    step: i64,
    count: usize,
}

fn of_runs(runs: &[Run], wanted: &[bool], buckets: &Buckets<'_>) -> ByStream {
    let &Buckets { time, origin, step, count } = buckets;
    let mut found = ByStream::default();
    for run in runs.iter().filter(|run| wanted[run.stream as usize]) {
        if run.last < time.start || run.first >= time.end {
            continue;
        }
        let buckets = found.entry(run.stream).or_insert_with(|| vec![0; count]);
        let length = (run.last as f64 - run.first as f64).max(1.0);
        let from = (run.first.max(time.start) - origin) / step;
        let to = (run.last.min(time.end - 1) - origin) / step;
        for bucket in from..=to {
            let start = (origin + bucket * step).max(run.first).max(time.start);
            let end = (origin + (bucket + 1) * step).min(time.end).min(run.last.saturating_add(1));
            let share = ((end as f64 - start as f64) / length).clamp(0.0, 1.0);
            if let Some(bytes) = buckets.get_mut(bucket as usize) {
                let whole = run.message_bytes + u64::from(run.rows.end - run.rows.start) * TIME_BYTES;
                *bytes += (whole as f64 * share).round() as u64;
            }
        }
    }
    found
}

fn of_rows(part: &Part, wanted: &[bool], buckets: &Buckets<'_>) -> Result<ByStream, StorageError> {
    let &Buckets { time, origin, step, count } = buckets;
    let mut found = ByStream::default();
    let projection = Projection { message: true, ..Projection::default() };
    for rows in part.read(std::slice::from_ref(&(0..part.row_count())), Some(wanted), &projection)? {
        let rows = rows?;
        let mut at = 0;
        for &(stream, rows_of_stream) in &rows.streams {
            for row in at..at + rows_of_stream as usize {
                let timestamp = rows.timestamp.value(row);
                if wanted[stream as usize] && time.contains(&timestamp) {
                    let buckets = found.entry(stream).or_insert_with(|| vec![0; count]);
                    let text = rows.message.as_ref().map_or(0, |message| message.value_length(row) as u64);
                    let bytes = text + TIME_BYTES;
                    if let Some(sum) = buckets.get_mut(((timestamp - origin) / step) as usize) {
                        *sum += bytes;
                    }
                }
            }
            at += rows_of_stream as usize;
        }
    }
    Ok(found)
}
