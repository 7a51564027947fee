//! The tables `metrics` (a row a sample) and `series` (a row a series) as DataFusion sees them.
//!
//! What a statement says of `timestamp`, of `name` and of single labels (`labels['job'] = 'api'`) chooses the series and
//! the time that are read; DataFusion checks every row.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, MapBuilder, MapFieldNames, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use storage::metrics::{LabelMatcher, MetricMetadata, MetricSnapshot, Samples, Selection, Wanted, is_stale};
use storage::{Labels, StorageError};

use super::pushdown::{nanoseconds, plain, text};
use super::table::outside;
use crate::budget::Budget;
use crate::error::QueryError;

/// The label that is a metric's name.
const NAME_LABEL: &str = "__name__";
const TIMESTAMP: &str = "timestamp";
const NAME: &str = "name";
const LABELS: &str = "labels";
const VALUE: &str = "value";
/// What was said of a metric.
const SAID: [&str; 3] = ["type", "help", "unit"];
/// Series that are read together.
const PIECE_SERIES: usize = 64;
/// Rows of a record batch, about.
const BATCH_ROWS: usize = 8192;
/// Record batches that wait to be taken, for each thread.
const WAITING: usize = 2;

/// What rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Samples,
    Series,
}

/// One of the tables, over one snapshot.
pub(super) struct MetricTable {
    snapshot: Arc<MetricSnapshot>,
    of: Of,
    schema: SchemaRef,
    budget: Arc<Budget>,
}

impl MetricTable {
    pub(super) fn new(snapshot: Arc<MetricSnapshot>, of: Of, budget: Arc<Budget>) -> Self {
        let labels = Field::new_map(LABELS, "entries", key_field(), value_field(), false, false);
        let mut fields = vec![Field::new(NAME, DataType::Utf8, false), labels];
        match of {
            Of::Samples => {
                let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
                fields.push(Field::new(TIMESTAMP, time, false));
                fields.push(Field::new(VALUE, DataType::Float64, true));
            }
            Of::Series => {
                fields.extend(SAID.map(|name| Field::new(name, DataType::Utf8, true)));
            }
        }
        Self { snapshot, of, schema: Arc::new(Schema::new(fields)), budget }
    }
}

fn key_field() -> Field {
    Field::new("key", DataType::Utf8, false)
}

fn value_field() -> Field {
    Field::new("value", DataType::Utf8, false)
}

impl fmt::Debug for MetricTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricTable").field("of", &self.of).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for MetricTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let used = |filter: &&Expr| match Wish::of(std::slice::from_ref(*filter)).is_empty() {
            true => TableProviderFilterPushDown::Unsupported,
            false => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(used).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wish = Wish::of(filters);
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        let snapshot = Arc::clone(&self.snapshot);
        let selected = tokio::task::spawn_blocking(move || snapshot.select(&wish.matchers, wish.start, wish.end));
        let selected = selected.await.map_err(|e| outside(QueryError::Execution(e.to_string())))?;
        let selection = Arc::new(selected.map_err(|e| outside(e.into()))?);
        let (count, threads) = (selection.labels().len(), state.config().target_partitions().max(1));
        let pieces: Vec<Range<usize>> =
            (0..count).step_by(PIECE_SERIES).map(|from| from..count.min(from + PIECE_SERIES)).collect();
        let share = |at: usize| {
            Arc::new(Share {
                selection: Arc::clone(&selection),
                pieces: pieces.iter().skip(at).step_by(threads).cloned().collect(),
                schema: Arc::clone(&schema),
                metadata: if self.of == Of::Series { self.snapshot.metadata().into() } else { Arc::default() },
                of: self.of,
                budget: Arc::clone(&self.budget),
            }) as Arc<dyn PartitionStream>
        };
        let shares = (0..threads.min(pieces.len().max(1))).map(share).collect();
        Ok(Arc::new(StreamingTableExec::try_new(schema, shares, None, [], false, limit)?))
    }
}

/// What conditions leave of series and time.
#[derive(Debug)]
struct Wish {
    matchers: Vec<LabelMatcher>,
    /// Milliseconds, both inside.
    start: i64,
    end: i64,
}

impl Wish {
    fn of(filters: &[Expr]) -> Self {
        let mut wish = Self { matchers: Vec::new(), start: i64::MIN, end: i64::MAX };
        filters.iter().for_each(|filter| wish.take(filter));
        wish
    }

    fn is_empty(&self) -> bool {
        self.matchers.is_empty() && (self.start, self.end) == (i64::MIN, i64::MAX)
    }

    fn take(&mut self, filter: &Expr) {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.take(left);
                self.take(right);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (plain(left), plain(right)) {
                (expr, Expr::Literal(value, _)) => self.compare(expr, *op, value),
                (Expr::Literal(value, _), expr) => {
                    if let Some(op) = op.swap() {
                        self.compare(expr, op, value);
                    }
                }
                _ => {}
            },
            Expr::Between(between) if !between.negated => {
                if let (Expr::Literal(low, _), Expr::Literal(high, _)) = (plain(&between.low), plain(&between.high)) {
                    self.compare(plain(&between.expr), Operator::GtEq, low);
                    self.compare(plain(&between.expr), Operator::LtEq, high);
                }
            }
            Expr::InList(InList { expr, list, negated: false }) => {
                let texts = list.iter().map(|value| match plain(value) {
                    Expr::Literal(value, _) => text(value),
                    _ => None,
                });
                if let (Some(name), Some(values)) = (label(plain(expr)), texts.collect::<Option<Vec<String>>>()) {
                    self.matchers.push(LabelMatcher { name, wanted: Wanted::OneOf(values) });
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, expr: &Expr, op: Operator, value: &ScalarValue) {
        if let Expr::Column(column) = expr
            && column.name == TIMESTAMP
        {
            let Some(ns) = nanoseconds(value) else { return };
            // Rounded outwards.
            let (down, up) = (ns.div_euclid(1_000_000), ns.saturating_add(999_999).div_euclid(1_000_000));
            if matches!(op, Operator::Eq | Operator::Gt | Operator::GtEq) {
                self.start = self.start.max(down);
            }
            if matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq) {
                self.end = self.end.min(up);
            }
            return;
        }
        if let (Operator::Eq, Some(name), Some(value)) = (op, label(expr), text(value)) {
            self.matchers.push(LabelMatcher { name, wanted: Wanted::Is(value) });
        }
    }
}

/// The label that an expression is: `name`, or `labels['job']`.
fn label(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) if column.name == NAME => Some(NAME_LABEL.to_owned()),
        Expr::ScalarFunction(function) if function.name() == "get_field" => match function.args.as_slice() {
            [map, key] => match (plain(map), plain(key)) {
                (Expr::Column(column), Expr::Literal(key, _)) if column.name == LABELS => text(key),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// What one thread reads.
struct Share {
    selection: Arc<Selection>,
    pieces: Arc<[Range<usize>]>,
    schema: SchemaRef,
    metadata: Arc<[MetricMetadata]>,
    of: Of,
    budget: Arc<Budget>,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("pieces", &self.pieces.len()).finish_non_exhaustive()
    }
}

impl PartitionStream for Share {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), WAITING);
        let out = stream.tx();
        let (selection, pieces, budget) =
            (Arc::clone(&self.selection), Arc::clone(&self.pieces), Arc::clone(&self.budget));
        let (of, metadata, mut rows) = (self.of, Arc::clone(&self.metadata), RowBuilder::new(&self.schema));
        stream.spawn_blocking(move || {
            let mut send = |batch| if out.blocking_send(Ok(batch)).is_ok() { Ok(()) } else { Err(Ended::Enough) };
            let mut read = || -> std::result::Result<(), Ended> {
                for piece in pieces.iter() {
                    budget.check().map_err(|e| Ended::Failed(outside(e)))?;
                    match of {
                        Of::Series => {
                            for at in piece.clone() {
                                rows.series(&selection.labels()[at], &metadata)?;
                            }
                            rows.hand_over(BATCH_ROWS, &mut send)?;
                        }
                        Of::Samples => selection.read(piece.clone(), |at, samples| {
                            rows.samples(&selection.labels()[at], samples, &mut send)
                        })?,
                    }
                }
                rows.hand_over(1, &mut send)
            };
            match read() {
                Ok(()) | Err(Ended::Enough) => Ok(()),
                Err(Ended::Failed(error)) => Err(error),
            }
        });
        stream.build()
    }
}

/// Why a thread reads no further.
enum Ended {
    /// Whoever reads has enough.
    Enough,
    Failed(DataFusionError),
}

impl From<StorageError> for Ended {
    fn from(error: StorageError) -> Self {
        Self::Failed(outside(error.into()))
    }
}

impl From<ArrowError> for Ended {
    fn from(error: ArrowError) -> Self {
        Self::Failed(error.into())
    }
}

type Send<'s> = &'s mut dyn FnMut(RecordBatch) -> std::result::Result<(), Ended>;

/// Rows on their way into record batches. What no column wants is not put together.
struct RowBuilder {
    schema: SchemaRef,
    name: StringBuilder,
    labels: MapBuilder<StringBuilder, StringBuilder>,
    timestamps: Vec<i64>,
    values: Float64Builder,
    /// Type, help, unit.
    said: [StringBuilder; 3],
    wants_name: bool,
    wants_labels: bool,
    count: usize,
}

impl RowBuilder {
    fn new(schema: &SchemaRef) -> Self {
        let names = MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
        let labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
            .with_keys_field(key_field())
            .with_values_field(value_field());
        let wants = |name: &str| schema.index_of(name).is_ok();
        Self {
            name: StringBuilder::new(),
            labels,
            timestamps: Vec::new(),
            values: Float64Builder::new(),
            said: Default::default(),
            wants_name: wants(NAME),
            wants_labels: wants(LABELS),
            count: 0,
            schema: Arc::clone(schema),
        }
    }

    fn row(&mut self, labels: &Labels) -> std::result::Result<(), ArrowError> {
        if self.wants_name {
            self.name.append_value(labels.get(NAME_LABEL).unwrap_or_default());
        }
        if self.wants_labels {
            for (name, value) in labels.iter().filter(|(name, _)| *name != NAME_LABEL) {
                self.labels.keys().append_value(name);
                self.labels.values().append_value(value);
            }
            self.labels.append(true)?;
        }
        self.count += 1;
        Ok(())
    }

    fn series(&mut self, labels: &Labels, metadata: &[MetricMetadata]) -> std::result::Result<(), ArrowError> {
        self.row(labels)?;
        let known = said_of(metadata, labels.get(NAME_LABEL).unwrap_or_default());
        let texts = known.map(|known| [known.kind.as_str(), &known.help, &known.unit]);
        for (at, column) in self.said.iter_mut().enumerate() {
            column.append_option(texts.map(|texts| texts[at]));
        }
        Ok(())
    }

    fn samples(&mut self, labels: &Labels, samples: &Samples, send: Send<'_>) -> std::result::Result<(), Ended> {
        let mut histograms = samples.histograms.iter().map(|(row, _)| *row).peekable();
        for (row, (&time, &value)) in (0..).zip(samples.timestamps.iter().zip(&samples.values)) {
            let is_histogram = histograms.next_if_eq(&row).is_some();
            if is_stale(value) && !is_histogram {
                continue;
            }
            self.row(labels)?;
            self.timestamps.push(time);
            self.values.append_option((!is_histogram).then_some(value));
            self.hand_over(BATCH_ROWS, send)?;
        }
        Ok(())
    }

    /// Hands over the rows, if there are so many.
    fn hand_over(&mut self, least: usize, send: Send<'_>) -> std::result::Result<(), Ended> {
        if self.count < least {
            return Ok(());
        }
        let times = TimestampMillisecondArray::from(std::mem::take(&mut self.timestamps)).with_timezone("UTC");
        let mut all: Vec<(&str, ArrayRef)> = vec![
            (NAME, Arc::new(self.name.finish())),
            (LABELS, Arc::new(self.labels.finish())),
            (TIMESTAMP, Arc::new(times)),
            (VALUE, Arc::new(self.values.finish())),
        ];
        for (name, column) in SAID.into_iter().zip(&mut self.said) {
            all.push((name, Arc::new(column.finish())));
        }
        let column = |field: &Arc<Field>| all.iter().find(|(name, _)| name == field.name()).map(|(_, c)| Arc::clone(c));
        let columns: Vec<ArrayRef> = self.schema.fields().iter().filter_map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.count));
        self.count = 0;
        send(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// What was said of a metric: of its own name, or of the histogram, summary or counter that it is a part of.
fn said_of<'m>(metadata: &'m [MetricMetadata], name: &str) -> Option<&'m MetricMetadata> {
    let of = |name: &str| metadata.binary_search_by(|known| known.name.as_str().cmp(name)).ok().map(|at| &metadata[at]);
    let parts = ["_bucket", "_sum", "_count", "_total", "_info"].into_iter();
    of(name).or_else(|| parts.filter_map(|end| name.strip_suffix(end)).find_map(of))
}
