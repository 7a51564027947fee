//! Rows of the memtable as columns.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, DictionaryArray, FixedSizeBinaryBuilder, Float64Builder, Int32Array,
    Int64Array, Int64Builder, StringArray, StringBuilder, UInt8Array,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use super::MemoryPart;
use crate::batch::{LogBatch, NOT_OBSERVED, Value, ValueKind};
use crate::read::{AttributeSelection, Projection, Rows};

/// Rows of a piece.
const PIECE_ROWS: u32 = 8192;

/// See [`crate::read::Part::read`].
pub(super) fn read<'a>(
    part: &'a MemoryPart,
    ranges: &[Range<u32>],
    streams: Option<&[bool]>,
    projection: &Projection,
) -> impl Iterator<Item = Rows> + Send + use<'a> {
    let ranges: Vec<Range<u32>> = ranges.to_vec();
    let streams: Option<Vec<bool>> = streams.map(<[bool]>::to_vec);
    let projection = projection.clone();
    ranges.into_iter().flat_map(move |range| {
        let (streams, projection) = (streams.clone(), projection.clone());
        part.chunks_in(range)
            .flat_map(pieces)
            .filter_map(move |(at, rows)| piece(part, at, rows, streams.as_deref(), &projection))
    })
}

fn pieces((at, rows): (usize, Range<u32>)) -> impl Iterator<Item = (usize, Range<u32>)> {
    let end = rows.end;
    rows.step_by(PIECE_ROWS as usize).map(move |start| (at, start..end.min(start + PIECE_ROWS)))
}

fn piece(
    part: &MemoryPart,
    at: usize,
    range: Range<u32>,
    streams: Option<&[bool]>,
    projection: &Projection,
) -> Option<Rows> {
    let (chunk, first_row) = (&part.chunks[at], part.starts[at]);
    let batch = chunk.batch.as_ref();
    let stream_of = |row: u32| chunk.streams[batch.stream_indices()[row as usize] as usize];
    let wanted = |row: &u32| streams.is_none_or(|s| s.get(stream_of(*row) as usize) == Some(&true));
    let rows: Vec<u32> = range.filter(wanted).collect();
    if rows.is_empty() {
        return None;
    }
    let mut ranges: Vec<Range<u32>> = Vec::new();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &row in &rows {
        let (stream, at) = (stream_of(row), first_row + row);
        match ranges.last_mut() {
            Some(last) if last.end == at => last.end = at + 1,
            _ => ranges.push(at..at + 1),
        }
        match runs.last_mut() {
            Some(last) if last.0 == stream => last.1 += 1,
            _ => runs.push((stream, 1)),
        }
    }
    let observed = |row: &u32| Some(batch.observed()[*row as usize]).filter(|&o| o != NOT_OBSERVED);
    Some(Rows {
        ranges,
        streams: runs,
        timestamp: rows.iter().map(|&row| batch.timestamps()[row as usize]).collect::<Vec<i64>>().into(),
        observed: projection.observed.then(|| rows.iter().map(observed).collect::<Int64Array>()),
        level: projection
            .level
            .then(|| UInt8Array::from_iter_values(rows.iter().map(|&r| batch.level(r as usize) as u8))),
        message: projection.message.then(|| messages(batch, &rows)),
        pattern: projection.pattern.then(|| {
            let all = part.patterns();
            let keys = rows.iter().map(|row| all.keys().value((first_row + row) as usize));
            DictionaryArray::new(Int32Array::from_iter_values(keys), Arc::clone(all.values()))
        }),
        attributes: attributes(batch, &rows, &projection.attributes),
    })
}

fn messages(batch: &LogBatch, rows: &[u32]) -> StringArray {
    let mut offsets: Vec<i32> = Vec::with_capacity(rows.len() + 1);
    let mut bytes: Vec<u8> = Vec::new();
    offsets.push(0);
    for &row in rows {
        bytes.extend_from_slice(batch.message(row as usize).as_bytes());
        offsets.push(bytes.len() as i32);
    }
    StringArray::new(OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(bytes), None)
}

/// The wanted attributes that any of the rows has.
fn attributes(batch: &LogBatch, rows: &[u32], selection: &AttributeSelection) -> Vec<(Arc<str>, ArrayRef)> {
    let wanted: Vec<bool> = match selection {
        AttributeSelection::None => return Vec::new(),
        AttributeSelection::Keys(keys) => batch.keys().iter().map(|k| keys.contains(k)).collect(),
        AttributeSelection::All | AttributeSelection::Share { nth: 0, .. } => vec![true; batch.keys().len()],
        AttributeSelection::Share { .. } => return Vec::new(),
    };
    // Of a key that a row has twice, the first value counts.
    let mut values: Vec<Vec<(u32, Value<'_>)>> = vec![Vec::new(); batch.keys().len()];
    for (&row, at) in rows.iter().zip(0..) {
        for (key, value) in batch.attributes(row as usize) {
            let (key, seen) = (key as usize, values[key as usize].last().is_some_and(|(last, _)| *last == at));
            if wanted[key] && !seen {
                values[key].push((at, value));
            }
        }
    }
    let mut out: Vec<(Arc<str>, ArrayRef)> = batch
        .keys()
        .iter()
        .zip(&values)
        .filter(|(_, values)| !values.is_empty())
        .map(|(key, values)| (Arc::clone(key), column(values, rows.len() as u32)))
        .collect();
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

/// One attribute as a column of its own type, or as text where the kinds differ.
fn column(values: &[(u32, Value<'_>)], rows: u32) -> ArrayRef {
    let kind = |value: &Value<'_>| match value {
        Value::Hex(id) => (ValueKind::Hex, id.len()),
        Value::Json(_) => (ValueKind::Str, 0),
        other => (other.kind(), 0),
    };
    let first = values.first().map_or((ValueKind::Str, 0), |(_, v)| kind(v));
    let same = values.iter().all(|(_, v)| kind(v) == first);
    match first {
        (ValueKind::Int, _) if same => {
            let mut b = Int64Builder::with_capacity(rows as usize);
            each(values, rows, |v| {
                b.append_option(v.and_then(|v| if let Value::Int(i) = v { Some(*i) } else { None }))
            });
            Arc::new(b.finish())
        }
        (ValueKind::Double, _) if same => {
            let mut b = Float64Builder::with_capacity(rows as usize);
            each(values, rows, |v| {
                b.append_option(v.and_then(|v| if let Value::Double(d) = v { Some(*d) } else { None }))
            });
            Arc::new(b.finish())
        }
        (ValueKind::Bool, _) if same => {
            let mut b = BooleanBuilder::with_capacity(rows as usize);
            each(values, rows, |v| {
                b.append_option(v.and_then(|v| if let Value::Bool(x) = v { Some(*x) } else { None }))
            });
            Arc::new(b.finish())
        }
        (ValueKind::Bytes, _) if same => {
            let mut b = BinaryBuilder::new();
            each(values, rows, |v| {
                b.append_option(v.and_then(|v| if let Value::Bytes(x) = v { Some(*x) } else { None }))
            });
            Arc::new(b.finish())
        }
        (ValueKind::Hex, width @ (8 | 16)) if same => {
            let mut b = FixedSizeBinaryBuilder::with_capacity(rows as usize, width as i32);
            each(values, rows, |v| match v {
                Some(Value::Hex(id)) if b.append_value(id).is_ok() => {}
                _ => b.append_null(),
            });
            Arc::new(b.finish())
        }
        _ => {
            let mut b = StringBuilder::new();
            each(values, rows, |v| match v {
                Some(Value::Str(s) | Value::Json(s)) => b.append_value(s),
                Some(v) => b.append_value(v.to_string()),
                None => b.append_null(),
            });
            Arc::new(b.finish())
        }
    }
}

fn each<'a>(values: &'a [(u32, Value<'a>)], rows: u32, mut take: impl FnMut(Option<&'a Value<'a>>)) {
    let mut next = values.iter().peekable();
    for row in 0..rows {
        take(next.next_if(|(at, _)| *at == row).map(|(_, value)| value));
    }
}
