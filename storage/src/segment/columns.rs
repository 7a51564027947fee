//! Which columns a segment has, and how rows become columns. FORMAT.md describes the result.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, DictionaryArray, FixedSizeBinaryBuilder, Float64Builder,
    Int32Array, Int64Array, Int64Builder, MapBuilder, StringArray, StringBuilder, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Int32Type;
use serde::{Deserialize, Serialize};

use super::pattern_runs::PatternRuns;
use super::rows::{RowRef, SortedRows};
use crate::batch::{Level, NOT_OBSERVED, Value, ValueKind};
use crate::patterns::{PatternMiner, StoredPatterns};
use crate::read::Run;

/// Names that attributes and labels cannot have as columns.
pub(crate) const TIMESTAMP: &str = "timestamp";
const NS_PER_US: i64 = 1_000;
const NS_PER_MS: i64 = 1_000_000;
/// Whole numbers up to this are doubles without loss.
const DOUBLE_EXACT_MAX: u64 = 1 << 53;
pub(crate) const OBSERVED: &str = "observed_delay_ns";
pub(crate) const LEVEL: &str = "level";
pub(crate) const MESSAGE: &str = "message";
pub(crate) const PATTERN: &str = "pattern";
pub(crate) const RESIDUAL: &str = "attributes";
pub(crate) const RESIDUAL_KINDS: &str = "attribute_kinds";
const RESERVED: [&str; 7] = [TIMESTAMP, OBSERVED, LEVEL, MESSAGE, PATTERN, RESIDUAL, RESIDUAL_KINDS];

/// An attribute that at least one row in this many has gets a column of its own.
const DENSE_ONE_IN: usize = 100;

/// What a column of the file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    Label,
    Resource,
    Attribute,
}

/// How an attribute column's values are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ColumnKind {
    Str,
    Int,
    Double,
    Bool,
    Bytes,
    Hex,
    Json,
}

impl ColumnKind {
    /// The kind of the values.
    pub(crate) fn value_kind(self) -> ValueKind {
        match self {
            Self::Str => ValueKind::Str,
            Self::Int => ValueKind::Int,
            Self::Double => ValueKind::Double,
            Self::Bool => ValueKind::Bool,
            Self::Bytes => ValueKind::Bytes,
            Self::Hex => ValueKind::Hex,
            Self::Json => ValueKind::Json,
        }
    }
}

/// One label, resource or attribute column, as the file's metadata lists it under `farol.columns`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnSpec {
    pub(crate) column: String,
    pub(crate) role: Role,
    pub(crate) key: String,
    pub(crate) kind: ColumnKind,
    /// Most values are different: worth a Parquet bloom filter.
    #[serde(default)]
    pub(crate) identifier: bool,
    /// Its values are in the bloom filters of the index's blocks.
    #[serde(default)]
    pub(crate) in_filters: bool,
}

/// The columns of a segment, in order, and what they mean.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) arrays: Vec<(String, ArrayRef)>,
    pub(crate) specs: Vec<ColumnSpec>,
    /// Keys that only the residual column has.
    pub(crate) sparse_keys: Vec<String>,
    /// What the numbers in the pattern column mean.
    pub(crate) patterns: StoredPatterns,
}

impl Columns {
    /// How many rows of each run have each pattern.
    pub(crate) fn pattern_runs(&self, runs: &[Run]) -> PatternRuns {
        let numbers = self.arrays.iter().find(|(name, _)| name == PATTERN);
        let numbers = numbers.and_then(|(_, numbers)| numbers.as_primitive_opt::<Int32Type>());
        PatternRuns::count(runs, numbers.map_or(&[][..], |numbers| numbers.values()), self.patterns.patterns.len())
    }
}

/// Where one value of an attribute lies.
#[derive(Clone, Copy)]
struct Entry {
    /// Row of the segment.
    row: u32,
    /// Attribute of the row's batch.
    attribute: u32,
}

/// Makes all columns but `message` from sorted rows.
pub(crate) fn columns(rows: &SortedRows<'_>) -> Columns {
    let mut taken: HashSet<String> = RESERVED.iter().map(|&name| name.to_owned()).collect();
    let (numbers, patterns) = patterns(rows);
    let mut out = Columns { arrays: Vec::new(), specs: Vec::new(), sparse_keys: Vec::new(), patterns };
    out.arrays.push((TIMESTAMP.to_owned(), timestamps(rows)));
    if let Some(observed) = observed(rows) {
        out.arrays.push((OBSERVED.to_owned(), observed));
    }
    out.arrays.push((LEVEL.to_owned(), levels(rows)));
    out.arrays.push((PATTERN.to_owned(), numbers));
    shared_columns(rows, Role::Label, &mut taken, &mut out);
    shared_columns(rows, Role::Resource, &mut taken, &mut out);
    attribute_columns(rows, &mut taken, &mut out);
    out
}

/// The messages of rows, in one string array.
pub(crate) fn messages(rows: &SortedRows<'_>, range: std::ops::Range<usize>) -> StringArray {
    let rows_in = rows.rows.get(range).unwrap_or_default();
    let mut offsets: Vec<i32> = Vec::with_capacity(rows_in.len() + 1);
    let mut bytes: Vec<u8> = Vec::new();
    offsets.push(0);
    for &row in rows_in {
        bytes.extend_from_slice(rows.batch(row).message(row.row as usize).as_bytes());
        offsets.push(bytes.len() as i32);
    }
    StringArray::new(OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(bytes), None)
}

/// In the coarsest unit that loses nothing: most clocks tell micro- or milliseconds, and noughts cost room.
fn timestamps(rows: &SortedRows<'_>) -> ArrayRef {
    let values: Vec<i64> = rows.rows.iter().map(|&row| rows.timestamp(row)).collect();
    let all = |unit: i64| values.iter().all(|value| value % unit == 0);
    let of = |unit: i64| values.iter().map(|value| value / unit).collect::<Vec<i64>>();
    if all(NS_PER_MS) {
        Arc::new(TimestampMillisecondArray::from(of(NS_PER_MS)).with_timezone("UTC"))
    } else if all(NS_PER_US) {
        Arc::new(TimestampMicrosecondArray::from(of(NS_PER_US)).with_timezone("UTC"))
    } else {
        Arc::new(TimestampNanosecondArray::from(values).with_timezone("UTC"))
    }
}

/// The timestamps of a column as [`timestamps`] makes it, in nanoseconds.
pub(crate) fn nanoseconds(column: &dyn Array) -> Option<Int64Array> {
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType};
    let times = |values: &[i64], unit: i64| -> Int64Array {
        values.iter().map(|value| value.saturating_mul(unit)).collect::<Vec<i64>>().into()
    };
    if let Some(ns) = column.as_primitive_opt::<TimestampNanosecondType>() {
        return Some(ns.reinterpret_cast::<Int64Type>());
    }
    if let Some(us) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        return Some(times(us.values(), NS_PER_US));
    }
    column.as_primitive_opt::<TimestampMillisecondType>().map(|ms| times(ms.values(), NS_PER_MS))
}

/// How long after the timestamp each row was observed: mostly 0 or small, so it costs little.
fn observed(rows: &SortedRows<'_>) -> Option<ArrayRef> {
    let of = |row: RowRef| rows.batch(row).observed()[row.row as usize];
    if rows.rows.iter().all(|&row| of(row) == NOT_OBSERVED) {
        return None;
    }
    let delays = rows.rows.iter().map(|&row| match of(row) {
        NOT_OBSERVED => None,
        observed => Some(observed.wrapping_sub(rows.timestamp(row))),
    });
    Some(Arc::new(delays.collect::<Int64Array>()))
}

fn levels(rows: &SortedRows<'_>) -> ArrayRef {
    let names = StringArray::from_iter_values(Level::ALL.map(Level::as_str));
    let keys = rows.rows.iter().map(|&row| Some(rows.batch(row).level(row.row as usize) as i32));
    Arc::new(DictionaryArray::<Int32Type>::new(keys.collect(), Arc::new(names)))
}

/// The number of each row's pattern, and the patterns.
fn patterns(rows: &SortedRows<'_>) -> (ArrayRef, StoredPatterns) {
    let mut miner = PatternMiner::default();
    let forms: Vec<u32> = rows.rows.iter().map(|&row| miner.line(rows.batch(row).message(row.row as usize))).collect();
    let patterns = miner.finish();
    let numbers = Int32Array::from_iter_values(forms.iter().map(|form| patterns.of_form(*form) as i32));
    (Arc::new(numbers), patterns.into_stored())
}

/// Columns that are constant over a stream: its labels or its resource attributes.
fn shared_columns(rows: &SortedRows<'_>, role: Role, taken: &mut HashSet<String>, out: &mut Columns) {
    let of = |stream: usize| match role {
        Role::Resource => rows.streams[stream].resource(),
        Role::Label | Role::Attribute => rows.streams[stream].labels(),
    };
    let mut row_count: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, range) in rows.stream_rows.iter().enumerate() {
        for (key, _) in of(at).iter() {
            *row_count.entry(key).or_default() += range.len();
        }
    }
    for (key, count) in row_count {
        if count * DENSE_ONE_IN < rows.rows.len() {
            continue;
        }
        let mut values: Vec<&str> = Vec::new();
        let mut place: BTreeMap<&str, i32> = BTreeMap::new();
        let mut keys: Vec<Option<i32>> = Vec::with_capacity(rows.rows.len());
        for (at, range) in rows.stream_rows.iter().enumerate() {
            let code = of(at).get(key).map(|value| {
                *place.entry(value).or_insert_with(|| {
                    values.push(value);
                    values.len() as i32 - 1
                })
            });
            keys.extend(std::iter::repeat_n(code, range.len()));
        }
        let array = DictionaryArray::<Int32Type>::new(keys.into_iter().collect(), Arc::new(StringArray::from(values)));
        let column = free_name(taken, role, key);
        out.arrays.push((column.clone(), Arc::new(array)));
        out.specs.push(ColumnSpec {
            column,
            role,
            key: key.to_owned(),
            kind: ColumnKind::Str,
            identifier: false,
            in_filters: false,
        });
    }
}

/// A label keeps its name; what comes later and finds its name taken gets its role before it. Keys never have a dot.
fn free_name(taken: &mut HashSet<String>, role: Role, key: &str) -> String {
    let role_name = match role {
        Role::Label => "label",
        Role::Resource => "resource",
        Role::Attribute => "attribute",
    };
    let name = if taken.contains(key) { format!("{role_name}.{key}") } else { key.to_owned() };
    taken.insert(name.clone());
    name
}

fn attribute_columns(rows: &SortedRows<'_>, taken: &mut HashSet<String>, out: &mut Columns) {
    let (keys, entries, repeated) = entries_by_key(rows);
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|&at| keys[at]);
    let mut residual: Vec<(u32, &str, u32)> = repeated.iter().map(|&(at, e)| (e.row, keys[at], e.attribute)).collect();
    for at in order {
        let (key, entries) = (keys[at], &entries[at]);
        let dense = entries.len() * DENSE_ONE_IN >= rows.rows.len();
        match one_kind(rows, entries).filter(|_| dense) {
            Some(kind) => {
                let column = free_name(taken, Role::Attribute, key);
                let (array, identifier) = typed_column(rows, entries, kind);
                out.arrays.push((column.clone(), array));
                out.specs.push(ColumnSpec {
                    column,
                    role: Role::Attribute,
                    key: key.to_owned(),
                    kind,
                    identifier,
                    in_filters: identifier,
                });
            }
            None => {
                residual.extend(entries.iter().map(|e| (e.row, key, e.attribute)));
                out.sparse_keys.push(key.to_owned());
            }
        }
    }
    if !residual.is_empty() {
        residual.sort_unstable();
        residual_columns(rows, &residual, out);
    }
}

/// All values, by key; and those whose row has the key already.
#[allow(clippy::type_complexity, reason = "three lists that belong together for one caller")]
fn entries_by_key<'a>(rows: &SortedRows<'a>) -> (Vec<&'a str>, Vec<Vec<Entry>>, Vec<(usize, Entry)>) {
    let mut keys: Vec<&str> = Vec::new();
    let mut place: rustc_hash::FxHashMap<&str, u32> = rustc_hash::FxHashMap::default();
    let of_batch: Vec<Vec<u32>> = rows
        .batches
        .iter()
        .map(|batch| {
            let mut global = |key: &'a Arc<str>| {
                *place.entry(key.as_ref()).or_insert_with(|| {
                    keys.push(key.as_ref());
                    keys.len() as u32 - 1
                })
            };
            batch.keys.iter().map(&mut global).collect()
        })
        .collect();
    let mut entries: Vec<Vec<Entry>> = vec![Vec::new(); keys.len()];
    let mut repeated = Vec::new();
    for (&at, row) in rows.rows.iter().zip(0..) {
        let batch = rows.batch(at);
        let start = if at.row == 0 { 0 } else { batch.attribute_end[at.row as usize - 1] };
        for attribute in start..batch.attribute_end[at.row as usize] {
            let key = of_batch[at.batch as usize][batch.attributes[attribute as usize].key as usize] as usize;
            let entry = Entry { row, attribute };
            match entries[key].last() {
                Some(last) if last.row == row => repeated.push((key, entry)),
                _ => entries[key].push(entry),
            }
        }
    }
    (keys, entries, repeated)
}

fn value<'a>(rows: &SortedRows<'a>, row: u32, attribute: u32) -> Value<'a> {
    let batch = rows.batch(rows.rows[row as usize]);
    batch.value(&batch.attributes[attribute as usize])
}

/// The kind that all values share, if they do and a typed column can hold it. Whole numbers that a double holds exactly
/// are doubles among doubles: senders of JSON write 12 and 12.5, and both mean the same quantity.
fn one_kind(rows: &SortedRows<'_>, entries: &[Entry]) -> Option<ColumnKind> {
    let mut shared = None;
    for e in entries {
        let batch = rows.batch(rows.rows[e.row as usize]);
        let at = &batch.attributes[e.attribute as usize];
        let this = (at.kind, if at.kind == ValueKind::Hex { at.b } else { 0 });
        let known = shared.get_or_insert(this);
        match (known.0, this.0) {
            _ if *known == this => {}
            (ValueKind::Int, ValueKind::Double) => *known = this,
            (ValueKind::Double, ValueKind::Int) => {}
            _ => return None,
        }
    }
    let exact = |e: &Entry| match value(rows, e.row, e.attribute) {
        Value::Int(i) => i.unsigned_abs() <= DOUBLE_EXACT_MAX,
        _ => true,
    };
    if shared.is_some_and(|(kind, _)| kind == ValueKind::Double) && !entries.iter().all(exact) {
        return None;
    }
    match shared? {
        (ValueKind::Str, _) => Some(ColumnKind::Str),
        (ValueKind::Int, _) => Some(ColumnKind::Int),
        (ValueKind::Double, _) => Some(ColumnKind::Double),
        (ValueKind::Bool, _) => Some(ColumnKind::Bool),
        (ValueKind::Bytes, _) => Some(ColumnKind::Bytes),
        (ValueKind::Json, _) => Some(ColumnKind::Json),
        (ValueKind::Hex, 8 | 16) => Some(ColumnKind::Hex),
        (ValueKind::Hex, _) => None,
    }
}

/// Calls `take` for each row with its value or none.
fn each<'a>(rows: &SortedRows<'a>, entries: &[Entry], mut take: impl FnMut(Option<Value<'a>>)) {
    let mut next = entries.iter().peekable();
    for row in 0..rows.rows.len() as u32 {
        match next.next_if(|e| e.row == row) {
            Some(e) => take(Some(value(rows, e.row, e.attribute))),
            None => take(None),
        }
    }
}

fn typed_column(rows: &SortedRows<'_>, entries: &[Entry], kind: ColumnKind) -> (ArrayRef, bool) {
    let count = rows.rows.len();
    let array: ArrayRef = match kind {
        ColumnKind::Int => {
            let mut builder = Int64Builder::with_capacity(count);
            each(rows, entries, |v| {
                builder.append_option(v.and_then(|v| if let Value::Int(i) = v { Some(i) } else { None }))
            });
            Arc::new(builder.finish())
        }
        ColumnKind::Double => {
            let mut builder = Float64Builder::with_capacity(count);
            each(rows, entries, |v| {
                builder.append_option(v.and_then(|v| match v {
                    Value::Double(d) => Some(d),
                    Value::Int(i) => Some(i as f64),
                    _ => None,
                }));
            });
            Arc::new(builder.finish())
        }
        ColumnKind::Bool => {
            let mut builder = BooleanBuilder::with_capacity(count);
            each(rows, entries, |v| {
                builder.append_option(v.and_then(|v| if let Value::Bool(b) = v { Some(b) } else { None }))
            });
            Arc::new(builder.finish())
        }
        ColumnKind::Str | ColumnKind::Json => {
            let mut builder = StringBuilder::with_capacity(count, entries.len() * 16);
            each(rows, entries, |v| {
                builder
                    .append_option(v.and_then(|v| if let Value::Str(s) | Value::Json(s) = v { Some(s) } else { None }));
            });
            Arc::new(builder.finish())
        }
        ColumnKind::Bytes => {
            let mut builder = BinaryBuilder::with_capacity(count, entries.len() * 16);
            each(rows, entries, |v| {
                builder.append_option(v.and_then(|v| if let Value::Bytes(b) = v { Some(b) } else { None }))
            });
            Arc::new(builder.finish())
        }
        ColumnKind::Hex => hex_column(rows, entries),
    };
    (array, matches!(kind, ColumnKind::Str | ColumnKind::Hex) && is_identifier(rows, entries))
}

fn hex_column(rows: &SortedRows<'_>, entries: &[Entry]) -> ArrayRef {
    let width = entries.first().map_or(16, |e| match value(rows, e.row, e.attribute) {
        Value::Hex(id) => id.len() as i32,
        _ => 16,
    });
    let mut builder = FixedSizeBinaryBuilder::with_capacity(rows.rows.len(), width);
    each(rows, entries, |v| match v {
        Some(Value::Hex(id)) if builder.append_value(id).is_ok() => {}
        _ => builder.append_null(),
    });
    Arc::new(builder.finish())
}

/// Looks at up to 4,096 values spread over the column: an identifier if at least a quarter are different, and not a
/// measured quantity (`12.5` as text), for which nobody looks by its value.
fn is_identifier(rows: &SortedRows<'_>, entries: &[Entry]) -> bool {
    let step = (entries.len() / 4096).max(1);
    let mut seen: HashSet<&[u8]> = HashSet::new();
    let (mut looked, mut measures) = (0, 0);
    for e in entries.iter().step_by(step) {
        looked += 1;
        match value(rows, e.row, e.attribute) {
            Value::Str(s) => {
                measures += usize::from(s.contains('.') && s.parse::<f64>().is_ok());
                seen.insert(s.as_bytes())
            }
            Value::Hex(b) => seen.insert(b),
            _ => false,
        };
    }
    seen.len() * 4 >= looked && seen.len() > 16 && measures * 2 < looked
}

/// The kinds of values, as letters of `attribute_kinds`.
pub(crate) fn kind_letter(kind: ValueKind) -> char {
    match kind {
        ValueKind::Str => 's',
        ValueKind::Int => 'i',
        ValueKind::Double => 'd',
        ValueKind::Bool => 'b',
        ValueKind::Bytes => 'y',
        ValueKind::Hex => 'h',
        ValueKind::Json => 'j',
    }
}

/// The map column of what has no column of its own, and the kinds of its values where they are not all text.
fn residual_columns(rows: &SortedRows<'_>, residual: &[(u32, &str, u32)], out: &mut Columns) {
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    let mut kinds = StringBuilder::new();
    let mut next = residual.iter().peekable();
    let (mut text, mut letters) = (String::new(), String::new());
    let mut any_kind = false;
    for row in 0..rows.rows.len() as u32 {
        letters.clear();
        while let Some(&&(_, key, attribute)) = next.peek().filter(|(r, _, _)| *r == row) {
            next.next();
            let value = value(rows, row, attribute);
            text.clear();
            let _ = write!(text, "{value}");
            letters.push(kind_letter(value.kind()));
            map.keys().append_value(key);
            map.values().append_value(&text);
        }
        let some = !letters.is_empty();
        // The two builders have equal lengths by construction.
        let _ = map.append(some);
        if letters.chars().any(|letter| letter != 's') {
            any_kind = true;
            kinds.append_value(&letters);
        } else {
            kinds.append_null();
        }
    }
    out.arrays.push((RESIDUAL.to_owned(), Arc::new(map.finish())));
    if any_kind {
        out.arrays.push((RESIDUAL_KINDS.to_owned(), Arc::new(kinds.finish())));
    }
}
