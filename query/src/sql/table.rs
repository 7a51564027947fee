//! The table of logs as DataFusion sees it, read piece by piece through the same pruning as every other query.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use storage::{Part, Projection, Snapshot, TimeRange};

use super::pushdown::Narrowed;
use super::schema::Columns;
use crate::budget::Budget;
use crate::error::QueryError;
use crate::scan::pieces;

/// Rows of a piece, of which a thread reads one after the other.
const PIECE_ROWS: u32 = 131_072;
/// Record batches that wait to be taken, for each thread.
const WAITING: usize = 2;

/// The table `logs` over one snapshot.
pub(super) struct LogTable {
    snapshot: Arc<Snapshot>,
    columns: Columns,
    budget: Arc<Budget>,
}

impl LogTable {
    pub(super) fn new(snapshot: Arc<Snapshot>, budget: Arc<Budget>) -> Self {
        Self { columns: Columns::of(&snapshot), snapshot, budget }
    }
}

impl fmt::Debug for LogTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogTable").field("columns", &self.columns.schema).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for LogTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let used = |filter: &&Expr| match Narrowed::is_used(&self.columns, filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
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
        let columns = self.columns.project(projection);
        let narrowed = Narrowed::new(&self.columns, filters);
        let mut work = Vec::new();
        for part in &self.snapshot.parts {
            let predicate = narrowed.predicate(part);
            let ranges = part.prune(&predicate).map_err(|e| outside(e.into()))?;
            let wanted = Arc::new(predicate.streams.unwrap_or_default());
            let cut = pieces(&ranges, PIECE_ROWS).into_iter();
            work.extend(cut.map(|ranges| Piece { part: part.clone(), wanted: Arc::clone(&wanted), ranges }));
        }
        let threads = state.config().target_partitions().clamp(1, work.len().max(1));
        let mut shares: Vec<Vec<Piece>> = (0..threads).map(|_| Vec::new()).collect();
        for (at, piece) in work.into_iter().enumerate() {
            shares[at % threads].push(piece);
        }
        let share = |pieces: Vec<Piece>| {
            Arc::new(Share {
                pieces: Arc::new(pieces),
                columns: columns.clone(),
                time: narrowed.time_range(),
                budget: Arc::clone(&self.budget),
            }) as Arc<dyn PartitionStream>
        };
        let shares = shares.into_iter().map(share).collect();
        let plan = StreamingTableExec::try_new(Arc::clone(&columns.schema), shares, None, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

#[derive(Debug)]
struct Piece {
    part: Part,
    wanted: Arc<Vec<bool>>,
    ranges: Vec<Range<u32>>,
}

/// What one thread reads.
struct Share {
    pieces: Arc<Vec<Piece>>,
    columns: Columns,
    time: Option<TimeRange>,
    budget: Arc<Budget>,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("pieces", &self.pieces.len()).finish_non_exhaustive()
    }
}

impl PartitionStream for Share {
    fn schema(&self) -> &SchemaRef {
        &self.columns.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.columns.schema), WAITING);
        let out = stream.tx();
        let (pieces, columns) = (Arc::clone(&self.pieces), self.columns.clone());
        let (time, budget) = (self.time.clone(), Arc::clone(&self.budget));
        stream.spawn_blocking(move || {
            let projection = columns.projection();
            for piece in pieces.iter() {
                // Whoever reads may have enough.
                if !piece.read(&columns, &projection, time.as_ref(), &budget, &mut |batch| {
                    out.blocking_send(Ok(batch)).is_ok()
                })? {
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}

impl Piece {
    /// False if `take` wants no more.
    fn read(
        &self,
        columns: &Columns,
        projection: &Projection,
        time: Option<&TimeRange>,
        budget: &Budget,
        take: &mut dyn FnMut(arrow::array::RecordBatch) -> bool,
    ) -> Result<bool> {
        let rows = self.part.read(&self.ranges, Some(&self.wanted), projection).map_err(|e| outside(e.into()))?;
        for rows in rows {
            let rows = rows.map_err(|e| outside(e.into()))?;
            budget.check().map_err(outside)?;
            let selected: Vec<u32> = (0..rows.timestamp.len() as u32)
                .filter(|at| time.is_none_or(|time| time.contains(&rows.timestamp.value(*at as usize))))
                .collect();
            if !selected.is_empty() && !take(columns.batch(&self.part, &rows, &selected)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

pub(super) fn outside(error: QueryError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
