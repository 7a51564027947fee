//! Rows of many batches, in one order.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::batch::{LogBatch, Stream, StreamId};

/// One row of one of several batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowRef {
    /// Index of the batch.
    pub(crate) batch: u32,
    /// Row in it.
    pub(crate) row: u32,
}

/// Rows of batches, sorted by stream, then time, then arrival.
#[derive(Debug)]
pub(crate) struct SortedRows<'a> {
    pub(crate) batches: &'a [Arc<LogBatch>],
    pub(crate) rows: Vec<RowRef>,
    /// The distinct streams of the rows, sorted.
    pub(crate) streams: Vec<Arc<Stream>>,
    /// The rows of each stream.
    pub(crate) stream_rows: Vec<Range<u32>>,
}

/// Nanoseconds of a day.
const DAY_NS: i64 = 86_400_000_000_000;

impl<'a> SortedRows<'a> {
    /// The rows that lie in the UTC day, counted from 1970.
    pub(crate) fn of_day(batches: &'a [Arc<LogBatch>], day: i32) -> Self {
        let mut rows = Vec::new();
        for (batch, at) in batches.iter().zip(0..) {
            for (time, row) in batch.timestamps().iter().zip(0..) {
                if time.div_euclid(DAY_NS) == i64::from(day) {
                    rows.push(RowRef { batch: at, row });
                }
            }
        }
        Self::new(batches, &rows)
    }

    pub(crate) fn new(batches: &'a [Arc<LogBatch>], rows: &[RowRef]) -> Self {
        let (streams, ordinals) = order_streams(batches, rows);
        let mut keys: Vec<(u32, i64, u32)> = rows
            .iter()
            .enumerate()
            .map(|(at, row)| {
                let batch = &batches[row.batch as usize];
                let stream = batch.stream_indices()[row.row as usize];
                let ordinal = ordinals[row.batch as usize][stream as usize];
                (ordinal, batch.timestamps()[row.row as usize], at as u32)
            })
            .collect();
        keys.sort_unstable();
        let mut stream_rows: Vec<Range<u32>> = Vec::with_capacity(streams.len());
        for (at, (ordinal, _, _)) in keys.iter().enumerate() {
            if *ordinal as usize == stream_rows.len() {
                stream_rows.push(at as u32..at as u32);
            }
            if let Some(last) = stream_rows.last_mut() {
                last.end = at as u32 + 1;
            }
        }
        let rows = keys.into_iter().map(|(_, _, at)| rows[at as usize]).collect();
        Self { batches, rows, streams, stream_rows }
    }

    pub(crate) fn batch(&self, row: RowRef) -> &'a LogBatch {
        &self.batches[row.batch as usize]
    }

    pub(crate) fn timestamp(&self, row: RowRef) -> i64 {
        self.batch(row).timestamps()[row.row as usize]
    }
}

/// The streams that the rows use, sorted, and for each batch the place of each of its streams among them.
fn order_streams(batches: &[Arc<LogBatch>], rows: &[RowRef]) -> (Vec<Arc<Stream>>, Vec<Vec<u32>>) {
    let mut used: Vec<Vec<bool>> = batches.iter().map(|batch| vec![false; batch.streams().len()]).collect();
    for row in rows {
        let stream = batches[row.batch as usize].stream_indices()[row.row as usize];
        used[row.batch as usize][stream as usize] = true;
    }
    let mut distinct: HashMap<StreamId, &Arc<Stream>> = HashMap::new();
    for (batch, used) in batches.iter().zip(&used) {
        for (stream, used) in batch.streams().iter().zip(used) {
            if *used {
                distinct.entry(stream.id()).or_insert(stream);
            }
        }
    }
    let mut streams: Vec<Arc<Stream>> = distinct.into_values().map(Arc::clone).collect();
    streams.sort();
    let place: HashMap<StreamId, u32> = streams.iter().zip(0..).map(|(stream, at)| (stream.id(), at)).collect();
    let ordinals = batches
        .iter()
        .map(|batch| batch.streams().iter().map(|s| place.get(&s.id()).copied().unwrap_or(u32::MAX)).collect())
        .collect();
    (streams, ordinals)
}
