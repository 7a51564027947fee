//! Rows as LogQL sees them: what each record has beside its stream labels.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array, StringArray,
    UInt8Array,
};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use storage::{Level, Rows, Stream, Value};

use crate::logql::pipeline::Metadata;
use crate::logql::units::parse_float;

/// Loki's name for the level.
pub(crate) const LEVEL: &str = "detected_level";
/// Loki's name for the observed time.
pub(crate) const OBSERVED: &str = "observed_timestamp";
/// The label that has the pattern of the line, for queries that name it; any other label of that name hides it.
pub(crate) const PATTERN: &str = "pattern";

/// A column of attributes with its type known.
#[derive(Debug)]
pub(crate) enum Column<'r> {
    Dictionary { keys: &'r arrow::array::Int32Array, values: &'r StringArray },
    Text(&'r StringArray),
    Int(&'r Int64Array),
    Double(&'r Float64Array),
    Bool(&'r BooleanArray),
    Bytes(&'r BinaryArray),
    Hex(&'r FixedSizeBinaryArray),
}

impl<'r> Column<'r> {
    /// `None` for a type that storage never answers.
    pub(crate) fn of(array: &'r ArrayRef) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Dictionary(_, _) => {
                let dictionary = array.as_dictionary_opt::<Int32Type>()?;
                Self::Dictionary { keys: dictionary.keys(), values: dictionary.values().as_string_opt()? }
            }
            DataType::Utf8 => Self::Text(array.as_string_opt()?),
            DataType::Int64 => Self::Int(array.as_primitive_opt::<Int64Type>()?),
            DataType::Float64 => Self::Double(array.as_primitive_opt::<Float64Type>()?),
            DataType::Boolean => Self::Bool(array.as_boolean_opt()?),
            DataType::Binary => Self::Bytes(array.as_binary_opt()?),
            DataType::FixedSizeBinary(_) => Self::Hex(array.as_fixed_size_binary_opt()?),
            _ => return None,
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Dictionary { keys, .. } => keys.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::Int(array) => array.is_null(row),
            Self::Double(array) => array.is_null(row),
            Self::Bool(array) => array.is_null(row),
            Self::Bytes(array) => array.is_null(row),
            Self::Hex(array) => array.is_null(row),
        }
    }

    /// Leaves the rows of `selected` whose value is one of `values`, as text.
    pub(crate) fn keep_equal(&self, values: &[String], selected: &mut Vec<u32>) {
        let text = |text: &str| values.iter().any(|value| value == text);
        match self {
            Self::Dictionary { keys, values: words } => {
                let mut wanted = vec![false; words.len()];
                for value in values {
                    rows_equal(words, value).into_iter().for_each(|word| wanted[word as usize] = true);
                }
                selected.retain(|&at| {
                    let at = at as usize;
                    keys.is_valid(at) && wanted.get(keys.value(at) as usize) == Some(&true)
                });
            }
            Self::Text(array) => {
                if let [value] = values {
                    keep_rows(selected, &rows_equal(array, value));
                } else {
                    selected.retain(|&at| array.is_valid(at as usize) && text(array.value(at as usize)));
                }
            }
            Self::Hex(array) => {
                let bytes: Vec<Vec<u8>> = values.iter().filter_map(|value| unhex(value)).collect();
                selected.retain(|&at| {
                    let at = at as usize;
                    array.is_valid(at) && bytes.iter().any(|bytes| bytes == array.value(at))
                });
            }
            _ => selected.retain(|&at| self.text(at as usize).is_some_and(|value| text(&value))),
        }
    }

    /// The value as a number: `None` without one, `Err` if it is something else.
    pub(crate) fn number(&self, row: usize) -> Option<Result<f64, ()>> {
        if self.is_null(row) {
            return None;
        }
        let parsed = |text: &str| match text {
            "" => None,
            text => Some(parse_float(text).map_err(drop)),
        };
        match self {
            Self::Int(array) => Some(Ok(array.value(row) as f64)),
            Self::Double(array) => Some(Ok(array.value(row))),
            Self::Dictionary { keys, values } => parsed(values.value(keys.value(row) as usize)),
            Self::Text(array) => parsed(array.value(row)),
            Self::Bool(_) | Self::Bytes(_) | Self::Hex(_) => Some(Err(())),
        }
    }

    /// The value as text, if the row has one.
    pub(crate) fn text(&self, row: usize) -> Option<Cow<'r, str>> {
        if self.is_null(row) {
            return None;
        }
        Some(match self {
            Self::Dictionary { keys, values } => Cow::Borrowed(values.value(keys.value(row) as usize)),
            Self::Text(array) => Cow::Borrowed(array.value(row)),
            Self::Int(array) => Cow::Owned(Value::Int(array.value(row)).to_string()),
            Self::Double(array) => Cow::Owned(Value::Double(array.value(row)).to_string()),
            Self::Bool(array) => Cow::Borrowed(if array.value(row) { "true" } else { "false" }),
            Self::Bytes(array) => Cow::Owned(Value::Bytes(array.value(row)).to_string()),
            Self::Hex(array) => Cow::Owned(Value::Hex(array.value(row)).to_string()),
        })
    }
}

/// The rows of a column that have a value, which is not empty, ascending: looked for in all values at once.
fn rows_equal(array: &StringArray, value: &str) -> Vec<u32> {
    let (data, offsets) = (array.value_data(), array.value_offsets());
    let end = offsets.last().map_or(0, |last| *last as usize);
    let finder = memchr::memmem::Finder::new(value);
    let mut rows: Vec<u32> = Vec::new();
    let (mut row, mut at) = (0, offsets.first().map_or(0, |first| *first as usize));
    while let Some(found) = data.get(at..end).and_then(|rest| finder.find(rest)) {
        let found = at + found;
        // Of the rows that begin here or before, the last; where it ends the next can begin, with the same text.
        row += offsets[row..].partition_point(|offset| *offset as usize <= found).saturating_sub(1);
        if array.is_valid(row) && array.value(row) == value && offsets[row] as usize == found {
            rows.push(row as u32);
        }
        at = found + 1;
    }
    rows
}

/// Leaves the rows of `selected` that are among `rows`; both ascending.
fn keep_rows(selected: &mut Vec<u32>, rows: &[u32]) {
    let mut rows = rows.iter().peekable();
    selected.retain(|at| {
        while rows.next_if(|row| *row < at).is_some() {}
        rows.peek() == Some(&at)
    });
}

/// The bytes of lower-case hex.
fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    text.as_bytes().chunks_exact(2).map(|two| Some(digit(two[0])? << 4 | digit(two[1])?)).collect()
}

/// What a record of a stream has by the stream alone.
#[derive(Debug)]
pub(crate) struct StreamOnly<'s>(pub(crate) &'s Stream);

impl<'a> Metadata<'a> for StreamOnly<'a> {
    fn get(&self, _: usize, name: &str) -> Option<Cow<'a, str>> {
        self.0.resource().get(name).map(Cow::Borrowed)
    }

    fn each(&self, _: usize, visit: &mut dyn FnMut(&'a str, Cow<'a, str>)) {
        self.0.resource().iter().for_each(|(name, value)| visit(name, Cow::Borrowed(value)));
    }
}

/// A piece of rows with everything resolved that looking up a label needs.
#[derive(Debug)]
pub(crate) struct RowsView<'r> {
    pub(crate) rows: &'r Rows,
    pub(crate) streams: &'r [Arc<Stream>],
    /// For each row, its stream.
    pub(crate) stream_of: Vec<u32>,
    columns: Vec<(&'r str, Column<'r>)>,
    level: Option<&'r UInt8Array>,
    observed: Option<&'r Int64Array>,
    pattern: Option<Column<'r>>,
}

impl<'r> RowsView<'r> {
    pub(crate) fn new(rows: &'r Rows, streams: &'r [Arc<Stream>]) -> Self {
        let mut stream_of = Vec::with_capacity(rows.timestamp.len());
        for &(stream, count) in &rows.streams {
            stream_of.extend(std::iter::repeat_n(stream, count as usize));
        }
        let columns = rows.attributes.iter().filter_map(|(key, array)| Some((key.as_ref(), Column::of(array)?)));
        Self {
            streams,
            stream_of,
            columns: columns.collect(),
            level: rows.level.as_ref(),
            observed: rows.observed.as_ref(),
            pattern: rows.pattern.as_ref().and_then(|pattern| {
                Some(Column::Dictionary { keys: pattern.keys(), values: pattern.values().as_string_opt()? })
            }),
            rows,
        }
    }

    pub(crate) fn stream(&self, row: usize) -> &'r Stream {
        &self.streams[self.stream_of[row] as usize]
    }

    /// Whether some row's stream or resource has the label.
    pub(crate) fn any_stream_has(&self, name: &str) -> bool {
        self.rows.streams.iter().any(|(stream, _)| {
            let stream = &self.streams[*stream as usize];
            stream.labels().get(name).is_some() || stream.resource().get(name).is_some()
        })
    }

    /// The patterns of the lines.
    pub(crate) fn pattern_column(&self) -> Option<&Column<'r>> {
        self.pattern.as_ref()
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column<'r>> {
        self.columns.iter().find(|(key, _)| *key == name).map(|(_, column)| column)
    }
}

impl<'a, 'r: 'a> Metadata<'a> for RowsView<'r> {
    fn pattern(&self, record: usize) -> Option<Cow<'a, str>> {
        self.pattern.as_ref()?.text(record)
    }

    fn get(&self, record: usize, name: &str) -> Option<Cow<'a, str>> {
        if let Some(value) = self.column(name).and_then(|column| column.text(record)) {
            return Some(value);
        }
        if let Some(value) = self.stream(record).resource().get(name) {
            return Some(Cow::Borrowed(value));
        }
        match name {
            LEVEL => self.level.map(|level| Cow::Borrowed(Level::from_u8(level.value(record)).as_str())),
            OBSERVED => self.observed.filter(|o| o.is_valid(record)).map(|o| Cow::Owned(o.value(record).to_string())),
            _ => None,
        }
    }

    fn each(&self, record: usize, visit: &mut dyn FnMut(&'a str, Cow<'a, str>)) {
        let mut has_level = false;
        let mut has_observed = false;
        for (key, column) in &self.columns {
            if let Some(value) = column.text(record) {
                has_level |= *key == LEVEL;
                has_observed |= *key == OBSERVED;
                visit(key, value);
            }
        }
        for (key, value) in self.stream(record).resource().iter() {
            if self.column(key).is_none_or(|column| column.is_null(record)) {
                has_level |= key == LEVEL;
                visit(key, Cow::Borrowed(value));
            }
        }
        if let Some(level) = self.level
            && !has_level
        {
            visit(LEVEL, Cow::Borrowed(Level::from_u8(level.value(record)).as_str()));
        }
        if let Some(observed) = self.observed.filter(|o| !has_observed && o.is_valid(record)) {
            visit(OBSERVED, Cow::Owned(observed.value(record).to_string()));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equal_rows_are_found_in_all_values_at_once(
            values in prop::collection::vec(prop::option::of("[ab]{0,3}"), 0..40),
            wanted in "[ab]{1,3}",
            skipped in 0_usize..5,
        ) {
            let array = StringArray::from(values.clone());
            let skipped = skipped.min(values.len());
            let array = array.slice(skipped, values.len() - skipped);
            let column: ArrayRef = Arc::new(array);
            let right: Vec<u32> = (0..).zip(&values[skipped..])
                .filter_map(|(at, value)| (value.as_deref() == Some(wanted.as_str())).then_some(at))
                .filter(|at| at % 3 != 1)
                .collect();
            let mut selected: Vec<u32> = (0..column.len() as u32).filter(|at| at % 3 != 1).collect();
            Column::of(&column).unwrap().keep_equal(std::slice::from_ref(&wanted), &mut selected);
            prop_assert_eq!(selected, right);
        }
    }
}
