//! What storage can make of a statement's conditions: a time range, streams, attribute values and texts to look up. All
//! of it only narrows what is read; DataFusion checks every row.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Like, Operator};
use storage::{Needle, Part, Predicate, Stream, TimeRange};

use super::schema::{Columns, MESSAGE, Source, TIMESTAMP};

/// Shortest text worth a look-up.
const NEEDLE_BYTES_MIN: usize = 2;

/// What conditions leave.
#[derive(Debug, Clone, Default)]
pub(super) struct Narrowed {
    /// From the first to the last time, both inside.
    time: Option<(i64, i64)>,
    /// Texts that the message contains.
    needles: Vec<Needle>,
    /// Names that have one of the values.
    equal: Vec<(Arc<str>, Vec<String>)>,
}

impl Narrowed {
    pub(super) fn new(columns: &Columns, filters: &[Expr]) -> Self {
        let mut narrowed = Self::default();
        filters.iter().for_each(|filter| narrowed.take(columns, filter));
        narrowed
    }

    /// Whether anything can be made of a condition.
    pub(super) fn is_used(columns: &Columns, filter: &Expr) -> bool {
        let narrowed = Self::new(columns, std::slice::from_ref(filter));
        narrowed.time.is_some() || !narrowed.needles.is_empty() || !narrowed.equal.is_empty()
    }

    fn take(&mut self, columns: &Columns, filter: &Expr) {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.take(columns, left);
                self.take(columns, right);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (plain(left), plain(right)) {
                (Expr::Column(column), Expr::Literal(value, _)) => self.compare(columns, &column.name, *op, value),
                (Expr::Literal(value, _), Expr::Column(column)) => {
                    if let Some(op) = op.swap() {
                        self.compare(columns, &column.name, op, value);
                    }
                }
                _ => {}
            },
            Expr::Between(between) if !between.negated => {
                if let (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) =
                    (plain(&between.expr), plain(&between.low), plain(&between.high))
                {
                    self.compare(columns, &column.name, Operator::GtEq, low);
                    self.compare(columns, &column.name, Operator::LtEq, high);
                }
            }
            Expr::InList(InList { expr, list, negated: false }) => {
                let texts = list
                    .iter()
                    .map(|value| if let Expr::Literal(value, _) = plain(value) { text(value) } else { None });
                if let (Expr::Column(column), Some(texts)) = (plain(expr), texts.collect::<Option<Vec<String>>>()) {
                    self.equals(columns, &column.name, texts);
                }
            }
            Expr::Like(Like { negated: false, expr, pattern, escape_char: None, case_insensitive }) => {
                if let (Expr::Column(column), Expr::Literal(pattern, _)) = (plain(expr), plain(pattern))
                    && column.name == MESSAGE
                    && let Some(pattern) = text(pattern)
                {
                    self.like(&pattern, *case_insensitive);
                }
            }
            Expr::ScalarFunction(function) if matches!(function.name(), "contains" | "starts_with" | "ends_with") => {
                if let [expr, pattern] = function.args.as_slice()
                    && let (Expr::Column(column), Expr::Literal(pattern, _)) = (plain(expr), plain(pattern))
                    && column.name == MESSAGE
                    && let Some(pattern) = text(pattern)
                {
                    self.needle(&pattern, false);
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, columns: &Columns, column: &str, op: Operator, value: &ScalarValue) {
        if column == TIMESTAMP {
            let Some(time) = nanoseconds(value) else { return };
            match op {
                Operator::Eq => self.within(time, time),
                Operator::Gt | Operator::GtEq => self.within(time, i64::MAX),
                Operator::Lt | Operator::LtEq => self.within(i64::MIN, time),
                _ => {}
            }
        } else if op == Operator::Eq
            && let Some(value) = text(value)
        {
            self.equals(columns, column, vec![value]);
        }
    }

    fn within(&mut self, first: i64, last: i64) {
        let (known_first, known_last) = self.time.unwrap_or((i64::MIN, i64::MAX));
        self.time = Some((known_first.max(first), known_last.min(last)));
    }

    fn equals(&mut self, columns: &Columns, column: &str, values: Vec<String>) {
        let Ok(at) = columns.schema.index_of(column) else { return };
        match &columns.sources[at] {
            Source::Message => {
                if let [value] = values.as_slice() {
                    self.needle(value, false);
                }
            }
            // Numbers have more than one text; only texts are looked up.
            Source::Named(name) if columns.schema.field(at).data_type() == &DataType::Utf8 => {
                self.equal.push((Arc::clone(name), values));
            }
            _ => {}
        }
    }

    /// The longest text between `%` and `_`.
    fn like(&mut self, pattern: &str, ignore_case: bool) {
        if !pattern.contains('\\')
            && let Some(longest) = pattern.split(['%', '_']).max_by_key(|part| part.len())
        {
            self.needle(longest, ignore_case);
        }
    }

    fn needle(&mut self, text: &str, ignore_case: bool) {
        if text.len() >= NEEDLE_BYTES_MIN && (!ignore_case || text.is_ascii()) {
            let text = if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
            self.needles.push(Needle { text, ignore_case });
        }
    }

    /// What to ask a part for.
    pub(super) fn predicate(&self, part: &Part) -> Predicate {
        let wanted = |stream: &Arc<Stream>| {
            self.equal
                .iter()
                .all(|(name, values)| stream.labels().get(name).is_none_or(|value| values.iter().any(|v| v == value)))
        };
        let streams: Vec<bool> = part.streams().iter().map(wanted).collect();
        let attributes = self
            .equal
            .iter()
            .filter(|(name, values)| !values.iter().any(String::is_empty) && !part.has_stream_name(name));
        Predicate {
            time: self.time.map(|(first, last)| first..last.saturating_add(1)),
            streams: Some(streams),
            message: self.needles.iter().map(|needle| vec![needle.clone()]).collect(),
            attributes: attributes.cloned().collect(),
        }
    }

    /// Times outside of this are not wanted.
    pub(super) fn time_range(&self) -> Option<TimeRange> {
        self.time.map(|(first, last)| first..last.saturating_add(1))
    }
}

/// Without casts and names around it that do not change what is compared.
pub(super) fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => plain(&alias.expr),
        other => other,
    }
}

pub(super) fn text(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => text.clone(),
        _ => None,
    }
}

pub(super) fn nanoseconds(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampNanosecond(time, _) => *time,
        ScalarValue::TimestampMicrosecond(time, _) => time.map(|time| time.saturating_mul(1_000)),
        ScalarValue::TimestampMillisecond(time, _) => time.map(|time| time.saturating_mul(1_000_000)),
        ScalarValue::TimestampSecond(time, _) => time.map(|time| time.saturating_mul(1_000_000_000)),
        _ => None,
    }
}
