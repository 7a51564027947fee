//! The columns of the table: what of which rows they show, and how rows become a record batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    StringBuilder, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use storage::{AttributeSelection, Level, Part, Projection, Rows, Snapshot, ValueKind};

use crate::metadata::{Column, PATTERN, RowsView};

/// Columns that every table has.
pub(super) const TIMESTAMP: &str = "timestamp";
pub(super) const OBSERVED: &str = "observed_timestamp";
pub(super) const LEVEL: &str = "level";
pub(super) const MESSAGE: &str = "message";

/// What a column shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Timestamp,
    Observed,
    Level,
    Message,
    Pattern,
    /// The stream label, else the attribute, else the resource attribute of that name.
    Named(Arc<str>),
}

/// The columns of the table over one snapshot.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub(super) schema: SchemaRef,
    pub(super) sources: Vec<Source>,
}

/// What the values of a name are in all parts seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Int,
    Double,
    Bool,
    Text,
}

impl Type {
    fn of(kind: Option<ValueKind>) -> Self {
        match kind {
            Some(ValueKind::Int) => Self::Int,
            Some(ValueKind::Double) => Self::Double,
            Some(ValueKind::Bool) => Self::Bool,
            _ => Self::Text,
        }
    }

    fn unify(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Int, Self::Double) | (Self::Double, Self::Int) => Self::Double,
            _ => Self::Text,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Int => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Text => DataType::Utf8,
        }
    }
}

impl Columns {
    /// The columns of everything in the snapshot. A name that a fixed column has gets `_` behind it.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut names: BTreeMap<Arc<str>, Type> = BTreeMap::new();
        let mut labels: BTreeSet<Arc<str>> = BTreeSet::new();
        for part in &snapshot.parts {
            for (key, kind) in part.attribute_kinds() {
                let kind = Type::of(kind);
                names.entry(key).and_modify(|known| *known = known.unify(kind)).or_insert(kind);
            }
            for stream in part.streams() {
                for (name, _) in stream.labels().iter().chain(stream.resource().iter()) {
                    if !labels.contains(name) {
                        labels.insert(name.into());
                    }
                }
            }
        }
        names.extend(labels.into_iter().map(|name| (name, Type::Text)));
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let mut fields = vec![
            Field::new(TIMESTAMP, time.clone(), false),
            Field::new(OBSERVED, time, true),
            Field::new(LEVEL, DataType::Utf8, false),
            Field::new(MESSAGE, DataType::Utf8, false),
            Field::new(PATTERN, DataType::Utf8, true),
        ];
        let mut sources = vec![Source::Timestamp, Source::Observed, Source::Level, Source::Message, Source::Pattern];
        for (name, kind) in names {
            let fixed = [TIMESTAMP, OBSERVED, LEVEL, MESSAGE, PATTERN].contains(&name.as_ref());
            let shown = if fixed { format!("{name}_") } else { name.to_string() };
            fields.push(Field::new(shown, kind.data_type(), true));
            sources.push(Source::Named(name));
        }
        Self { schema: Arc::new(Schema::new(fields)), sources }
    }

    /// Some of the columns.
    pub(super) fn project(&self, indices: Option<&Vec<usize>>) -> Self {
        let Some(indices) = indices else { return self.clone() };
        let schema = Schema::new(indices.iter().map(|&at| self.schema.field(at).clone()).collect::<Vec<_>>());
        Self { schema: Arc::new(schema), sources: indices.iter().map(|&at| self.sources[at].clone()).collect() }
    }

    /// What must be read of a part to show these columns.
    pub(super) fn projection(&self) -> Projection {
        let has = |source: &Source| self.sources.contains(source);
        let keys: Vec<Arc<str>> = self
            .sources
            .iter()
            .filter_map(|s| if let Source::Named(key) = s { Some(Arc::clone(key)) } else { None })
            .collect();
        Projection {
            run_times: false,
            observed: has(&Source::Observed),
            level: has(&Source::Level),
            message: has(&Source::Message),
            pattern: has(&Source::Pattern),
            attributes: if keys.is_empty() { AttributeSelection::None } else { AttributeSelection::Keys(keys) },
        }
    }

    /// The rows at `selected` as these columns.
    pub(super) fn batch(&self, part: &Part, rows: &Rows, selected: &[u32]) -> Result<RecordBatch, ArrowError> {
        let view = RowsView::new(rows, part.streams());
        let columns = self.sources.iter().zip(self.schema.fields());
        let arrays = columns.map(|(source, field)| match source {
            Source::Timestamp => Ok(times(selected.iter().map(|&at| Some(rows.timestamp.value(at as usize))))),
            Source::Observed => {
                Ok(times(selected.iter().map(|&at| {
                    rows.observed.as_ref().filter(|o| o.is_valid(at as usize)).map(|o| o.value(at as usize))
                })))
            }
            Source::Level => {
                let level =
                    |at: &u32| rows.level.as_ref().map_or(Level::Unknown, |l| Level::from_u8(l.value(*at as usize)));
                Ok(Arc::new(StringArray::from_iter_values(selected.iter().map(|at| level(at).as_str()))) as ArrayRef)
            }
            Source::Message => {
                let text = |at: &u32| rows.message.as_ref().map_or("", |m| m.value(*at as usize));
                Ok(Arc::new(StringArray::from_iter_values(selected.iter().map(text))) as ArrayRef)
            }
            Source::Pattern => {
                let text = |at: &u32| view.pattern_column().and_then(|column| column.text(*at as usize));
                Ok(Arc::new(selected.iter().map(text).collect::<StringArray>()) as ArrayRef)
            }
            Source::Named(name) => named(&view, name, field.data_type(), selected),
        });
        let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(selected.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
    }
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

fn named(view: &RowsView<'_>, name: &str, data_type: &DataType, selected: &[u32]) -> Result<ArrayRef, ArrowError> {
    let column = view.column(name);
    let number = |at: &u32| column.and_then(|column| column.number(*at as usize)?.ok());
    Ok(match (data_type, column) {
        (DataType::Int64, Some(Column::Int(array))) => {
            let value = |at: &u32| array.is_valid(*at as usize).then(|| array.value(*at as usize));
            Arc::new(selected.iter().map(value).collect::<Int64Array>())
        }
        (DataType::Int64, _) => Arc::new(Int64Array::new_null(selected.len())),
        (DataType::Float64, _) => Arc::new(selected.iter().map(number).collect::<Float64Array>()),
        (DataType::Boolean, Some(Column::Bool(array))) => {
            let value = |at: &u32| array.is_valid(*at as usize).then(|| array.value(*at as usize));
            Arc::new(selected.iter().map(value).collect::<BooleanArray>())
        }
        (DataType::Boolean, _) => Arc::new(BooleanArray::new_null(selected.len())),
        _ => {
            let mut text = StringBuilder::with_capacity(selected.len(), selected.len() * 16);
            for &at in selected {
                let at = at as usize;
                let stream = view.stream(at);
                if let Some(label) = stream.labels().get(name) {
                    text.append_value(label);
                    continue;
                }
                match column.and_then(|column| column.text(at)) {
                    Some(value) => text.append_value(value),
                    None => text.append_option(stream.resource().get(name)),
                }
            }
            Arc::new(text.finish())
        }
    })
}
