//! The tables of a segment that are kept in memory: its streams and its runs of rows.

use std::ops::Range;
use std::sync::Arc;

use super::rows::SortedRows;
use crate::batch::Stream;
use crate::labels::Labels;
use crate::read::Run;

/// Runs are cut at this many rows, so that time bounds stay tight in long ones.
const RUN_ROWS_MAX: u32 = 8192;

/// The runs of sorted rows.
pub(crate) fn runs(rows: &SortedRows<'_>) -> Vec<Run> {
    let mut runs = Vec::with_capacity(rows.streams.len());
    for (range, stream) in rows.stream_rows.iter().zip(0..) {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start.saturating_add(RUN_ROWS_MAX));
            let of = |row: u32| rows.timestamp(rows.rows[row as usize]);
            let message_bytes = rows.rows[start as usize..end as usize]
                .iter()
                .map(|&row| rows.batch(row).message(row.row as usize).len() as u64)
                .sum();
            runs.push(Run { stream, rows: start..end, first: of(start), last: of(end - 1), message_bytes });
            start = end;
        }
    }
    runs
}

/// Packs runs: for each, as variable-length integers, stream delta, rows, first time (signed delta to the run before),
/// length in time, message bytes.
pub(crate) fn pack_runs(runs: &[Run]) -> Vec<u8> {
    let mut out = Vec::with_capacity(runs.len() * 16);
    let (mut stream, mut first) = (0, 0);
    put(&mut out, runs.len() as u64);
    for run in runs {
        put(&mut out, u64::from(run.stream - stream));
        put(&mut out, u64::from(run.rows.end - run.rows.start));
        put(&mut out, zigzag(run.first.wrapping_sub(first)));
        put(&mut out, run.last.wrapping_sub(run.first) as u64);
        put(&mut out, run.message_bytes);
        (stream, first) = (run.stream, run.first);
    }
    out
}

/// The reverse of [`pack_runs`]; `None` if the bytes do not hold runs.
pub(crate) fn unpack_runs(bytes: &[u8]) -> Option<Vec<Run>> {
    let mut rest = bytes;
    let count = take(&mut rest)?;
    let mut runs = Vec::with_capacity(usize::try_from(count).ok()?.min(bytes.len()));
    let (mut stream, mut row, mut first) = (0_u32, 0_u32, 0_i64);
    for _ in 0..count {
        stream = stream.checked_add(u32::try_from(take(&mut rest)?).ok()?)?;
        let rows = u32::try_from(take(&mut rest)?).ok()?;
        first = first.wrapping_add(unzigzag(take(&mut rest)?));
        let last = first.wrapping_add(take(&mut rest)? as i64);
        let end = row.checked_add(rows)?;
        runs.push(Run { stream, rows: row..end, first, last, message_bytes: take(&mut rest)? });
        row = end;
    }
    rest.is_empty().then_some(runs)
}

/// Packs streams: for each, labels then resource, as count and length-prefixed strings.
pub(crate) fn pack_streams(streams: &[Arc<Stream>]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, streams.len() as u64);
    for stream in streams {
        for set in [stream.labels(), stream.resource()] {
            put(&mut out, set.len() as u64);
            for (name, value) in set.iter() {
                for part in [name, value] {
                    put(&mut out, part.len() as u64);
                    out.extend_from_slice(part.as_bytes());
                }
            }
        }
    }
    out
}

/// The reverse of [`pack_streams`].
pub(crate) fn unpack_streams(bytes: &[u8]) -> Option<Vec<Arc<Stream>>> {
    let mut rest = bytes;
    let mut streams = Vec::new();
    for _ in 0..take(&mut rest)? {
        let labels = unpack_labels(&mut rest)?;
        let resource = unpack_labels(&mut rest)?;
        streams.push(Arc::new(Stream::new(labels, resource)));
    }
    rest.is_empty().then_some(streams)
}

fn unpack_labels(rest: &mut &[u8]) -> Option<Labels> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for _ in 0..take(rest)? {
        let name = take_text(rest)?;
        pairs.push((name, take_text(rest)?));
    }
    Some(Labels::new(pairs))
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let bytes = usize::try_from(take(rest)?).ok()?;
    let (text, tail) = rest.split_at_checked(bytes)?;
    *rest = tail;
    String::from_utf8(text.to_vec()).ok()
}

pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// The parts of `ranges` (ascending) by stream, as `Rows::streams` wants them.
pub(crate) fn streams_of(runs: &[Run], ranges: &[Range<u32>]) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    for range in ranges {
        let mut at = runs.partition_point(|run| run.rows.end <= range.start);
        while let Some(run) = runs.get(at).filter(|run| run.rows.start < range.end) {
            let rows = run.rows.end.min(range.end) - run.rows.start.max(range.start);
            match out.last_mut() {
                Some(last) if last.0 == run.stream => last.1 += rows,
                _ => out.push((run.stream, rows)),
            }
            at += 1;
        }
    }
    out
}

/// For each row of `ranges` (ascending) the time of the first row of its run.
pub(super) fn first_times(runs: &[Run], ranges: &[Range<u32>], rows: usize) -> Vec<i64> {
    let mut times = Vec::with_capacity(rows);
    for range in ranges {
        let from = runs.partition_point(|run| run.rows.end <= range.start);
        for run in runs.get(from..).unwrap_or_default().iter().take_while(|run| run.rows.start < range.end) {
            let count = run.rows.end.min(range.end) - run.rows.start.max(range.start);
            times.extend(std::iter::repeat_n(run.first, count as usize));
        }
    }
    times
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn runs_and_streams_come_back() {
        let runs = vec![
            Run { stream: 0, rows: 0..5, first: i64::MAX - 3, last: i64::MAX, message_bytes: 7 },
            Run { stream: 0, rows: 5..6, first: -9, last: -9, message_bytes: 0 },
            Run { stream: 3, rows: 6..900, first: 0, last: 1 << 60, message_bytes: 1 << 40 },
        ];
        assert_eq!(unpack_runs(&pack_runs(&runs)).unwrap(), runs);
        let streams = vec![
            Arc::new(Stream::new(Labels::new([("a", "1"), ("é", "")]), Labels::default())),
            Arc::new(Stream::new(Labels::default(), Labels::new([("host", "x")]))),
        ];
        assert_eq!(unpack_streams(&pack_streams(&streams)).unwrap(), streams);
        assert_eq!(unpack_runs(&[5, 1]), None);
        assert_eq!(streams_of(&runs, &[1..2, 4..7, 800..900]), [(0, 3), (3, 101)]);
        let times = first_times(&runs, &[4..7, 7..8], 4);
        assert_eq!(times, [i64::MAX - 3, -9, 0, 0]);
    }
}
