//! Merges small segments of one tenant and day into one.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};

use super::columns::{self, ColumnKind, ColumnSpec, Role, kind_letter};
use super::meta::SegmentMeta;
use super::reader::Segment;
use super::writer::{SegmentOrder, WriteOptions, write_segment};
use crate::batch::{LogBatch, LogBatchBuilder, NOT_OBSERVED, Value, ValueKind};
use crate::disk::Disk;
use crate::error::StorageError;
use crate::read::{AttributeSelection, Projection, Rows};

/// Merges segments of one tenant and day into one. The caller keeps their sum small enough for memory: all rows are
/// held at once. Promises as [`write_segment`].
///
/// # Errors
/// As [`write_segment`]; `Corrupt` when an input is damaged.
pub fn merge_segments(
    disk: &dyn Disk,
    path: &Path,
    order: SegmentOrder,
    inputs: &[Arc<Segment>],
    options: &WriteOptions,
) -> Result<SegmentMeta, StorageError> {
    let batches =
        inputs.iter().map(|input| Ok(Arc::new(input.to_batch()?))).collect::<Result<Vec<_>, StorageError>>()?;
    write_segment(disk, path, order, &batches, options)
}

impl Segment {
    /// All rows as one batch, in row order; what was written comes back, but for what was deleted since.
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the segment cannot be read.
    pub fn to_batch(&self) -> Result<LogBatch, StorageError> {
        let projection = Projection {
            run_times: false,
            observed: true,
            level: true,
            message: true,
            pattern: false,
            attributes: AttributeSelection::None,
        };
        let mut builder = LogBatchBuilder::with_capacity(self.row_count() as usize, self.meta().message_bytes as usize);
        let streams: Vec<u32> = self.streams().iter().map(|s| builder.stream(s.as_ref().clone())).collect();
        let specs: Vec<&ColumnSpec> = self.specs().iter().filter(|s| s.role == Role::Attribute).collect();
        let mut names: Vec<&str> = specs.iter().map(|s| s.column.as_str()).collect();
        names.extend([columns::RESIDUAL, columns::RESIDUAL_KINDS]);
        let parquet = self.parquet()?;
        let attributes = self.columns(self.present(), &names)?;
        for (rows, piece) in self.read(self.present(), &projection)?.zip(attributes) {
            let (rows, piece) = (rows?, piece.map_err(|e| parquet.damaged(&e))?);
            let mut row = 0;
            for &(stream, count) in &rows.streams {
                for _ in 0..count {
                    for spec in &specs {
                        if let Some(array) = piece.column_by_name(&spec.column).filter(|a| a.is_valid(row)) {
                            let key = builder.key(&spec.key);
                            put(&mut builder, key, array, spec.kind, row);
                        }
                    }
                    put_residual(&mut builder, &piece, row);
                    finish(&mut builder, &rows, row, streams.get(stream as usize).copied().unwrap_or_default());
                    row += 1;
                }
            }
        }
        Ok(builder.build())
    }
}

fn finish(builder: &mut LogBatchBuilder, rows: &Rows, row: usize, stream: u32) {
    let observed = rows.observed.as_ref().filter(|o| o.is_valid(row)).map_or(NOT_OBSERVED, |o| o.value(row));
    let level = rows.level.as_ref().map_or(0, |l| l.value(row));
    let message = rows.message.as_ref().map_or("", |m| m.value(row));
    builder.finish_record(stream, rows.timestamp.value(row), observed, crate::batch::Level::from_u8(level), message);
}

/// Adds the value of a typed column; one of another type than its spec says cannot be in a file that opened.
fn put(builder: &mut LogBatchBuilder, key: u32, array: &arrow::array::ArrayRef, kind: ColumnKind, row: usize) {
    match (kind, array.data_type()) {
        (ColumnKind::Int, DataType::Int64) => {
            builder.attribute(key, Value::Int(array.as_primitive::<Int64Type>().value(row)));
        }
        (ColumnKind::Double, DataType::Float64) => {
            builder.attribute(key, Value::Double(array.as_primitive::<Float64Type>().value(row)));
        }
        (ColumnKind::Bool, DataType::Boolean) => builder.attribute(key, Value::Bool(array.as_boolean().value(row))),
        (ColumnKind::Bytes, DataType::Binary) => {
            builder.attribute(key, Value::Bytes(array.as_binary::<i32>().value(row)))
        }
        (ColumnKind::Hex, DataType::FixedSizeBinary(_)) => {
            builder.attribute(key, Value::Hex(array.as_fixed_size_binary().value(row)));
        }
        (ColumnKind::Str | ColumnKind::Json, DataType::Dictionary(_, _) | DataType::Utf8) => {
            let text = match array.as_dictionary_opt::<Int32Type>() {
                Some(dictionary) => dictionary.values().as_string::<i32>().value(dictionary.keys().value(row) as usize),
                None => array.as_string::<i32>().value(row),
            };
            let value = if kind == ColumnKind::Str { Value::Str(text) } else { Value::Json(text) };
            builder.attribute(key, value);
        }
        _ => {}
    }
}

fn put_residual(builder: &mut LogBatchBuilder, piece: &arrow::array::RecordBatch, row: usize) {
    let Some(map) = piece.column_by_name(columns::RESIDUAL).and_then(|c| c.as_map_opt()).filter(|m| m.is_valid(row))
    else {
        return;
    };
    let (keys, values) = (map.keys().as_string::<i32>(), map.values().as_string::<i32>());
    let letters = piece
        .column_by_name(columns::RESIDUAL_KINDS)
        .and_then(|c| c.as_string_opt::<i32>())
        .filter(|l| l.is_valid(row))
        .map_or("", |l| l.value(row));
    let range = map.value_offsets()[row] as usize..map.value_offsets()[row + 1] as usize;
    for (nth, at) in range.enumerate() {
        let key = builder.key(keys.value(at));
        let letter = letters.as_bytes().get(nth).map_or('s', |&b| char::from(b));
        put_text(builder, key, values.value(at), letter);
    }
}

/// Brings a value back from its text.
fn put_text(builder: &mut LogBatchBuilder, key: u32, text: &str, letter: char) {
    let is = |kind: ValueKind| letter == kind_letter(kind);
    if is(ValueKind::Json) {
        builder.attribute(key, Value::Json(text));
    } else if let Some(number) = text.parse().ok().filter(|_| is(ValueKind::Int)) {
        builder.attribute(key, Value::Int(number));
    } else if let Some(number) = text.parse().ok().filter(|_| is(ValueKind::Double)) {
        builder.attribute(key, Value::Double(number));
    } else if is(ValueKind::Bool) {
        builder.attribute(key, Value::Bool(text == "true"));
    } else if let Some(bytes) = unbase64(text).filter(|_| is(ValueKind::Bytes)) {
        builder.attribute(key, Value::Bytes(&bytes));
    } else if let Some(bytes) = super::reader::unhex(text).filter(|_| is(ValueKind::Hex)) {
        builder.attribute(key, Value::Hex(&bytes));
    } else {
        builder.attribute(key, Value::Str(text));
    }
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for &byte in four {
            bits = bits << 6 | u32::from(digit(byte)?);
        }
        bits <<= 6 * (4 - four.len());
        out.extend(bits.to_be_bytes().iter().skip(1).take(four.len() * 6 / 8));
    }
    Some(out)
}
