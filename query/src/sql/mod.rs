//! SQL over the tables `logs`, `metrics` and `series`, by DataFusion: read-only, within a deadline and the queries' memory.
//!
//! The columns of `logs` are `timestamp`, `observed_timestamp`, `level`, `message`, and one for each stream label,
//! resource attribute and attribute that occurs, with names as LogQL has them and types unified across segments.

mod pushdown;
mod samples;
mod schema;
mod table;

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::context::{SQLOptions, SessionConfig, SessionContext};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser;
use storage::Snapshot;
use storage::metrics::MetricSnapshot;

use crate::budget::Budget;
use crate::error::QueryError;
use samples::{MetricTable, Of};
use table::LogTable;

/// The names of the tables.
const LOGS: &str = "logs";
const METRICS: &str = "metrics";
const SERIES: &str = "series";

/// What a statement may use.
#[derive(Debug, Clone)]
pub struct SqlLimits {
    /// Memory for sorting, joining and grouping.
    pub memory_bytes: usize,
    /// Threads of one statement.
    pub threads: NonZeroUsize,
}

/// An answer that is being computed while it is read.
pub struct SqlAnswer {
    /// Names and types.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: SendableRecordBatchStream,
}

/// Plans a statement over snapshots of logs and metrics and starts it. `budget` ends it.
///
/// # Errors
/// `BadQuery` when it is no statement that only reads, or cannot be planned.
pub async fn run(
    snapshot: Arc<Snapshot>,
    metrics: Arc<MetricSnapshot>,
    statement: &str,
    limits: &SqlLimits,
    budget: &Arc<Budget>,
) -> Result<SqlAnswer, QueryError> {
    let config = SessionConfig::new()
        .with_information_schema(true)
        .with_target_partitions(limits.threads.get())
        .set_bool("datafusion.sql_parser.enable_ident_normalization", true);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes)))
        // Nothing but the data folder is written to.
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()
        .map_err(explain)?;
    let context = SessionContext::new_with_config_rt(config, runtime);
    let table = LogTable::new(snapshot, Arc::clone(budget));
    context.register_table(LOGS, Arc::new(table)).map_err(explain)?;
    for (name, of) in [(METRICS, Of::Samples), (SERIES, Of::Series)] {
        let table = MetricTable::new(Arc::clone(&metrics), of, Arc::clone(budget));
        context.register_table(name, Arc::new(table)).map_err(explain)?;
    }
    let only_reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = context.sql_with_options(statement, only_reads).await.map_err(explain)?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.execute_stream().await.map_err(explain)?;
    Ok(SqlAnswer { schema, batches })
}

/// Reads a statement that is to be run later.
///
/// # Errors
/// `BadQuery` when it is not one query. Whether its tables and columns are there shows when it runs.
pub fn check(statement: &str) -> Result<(), QueryError> {
    let mut statements = DFParser::parse_sql(statement).map_err(explain)?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(Statement::Statement(one)), true) if matches!(*one, sqlparser::ast::Statement::Query(_)) => Ok(()),
        _ => Err(QueryError::BadQuery("one query is wanted, such as SELECT".to_owned())),
    }
}

/// An error of DataFusion in the words of whoever asked.
pub fn explain(error: DataFusionError) -> QueryError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(message) => QueryError::TooMuch(format!(
            "the statement needs more memory than it may have: filter or aggregate more ({message})"
        )),
        DataFusionError::External(_) => match error {
            DataFusionError::External(inner) => match inner.downcast::<QueryError>() {
                Ok(error) => *error,
                Err(other) => QueryError::BadQuery(other.to_string()),
            },
            other => QueryError::BadQuery(other.strip_backtrace()),
        },
        _ => QueryError::BadQuery(error.strip_backtrace()),
    }
}

#[cfg(test)]
mod tests;
