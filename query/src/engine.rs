//! The engine: runs a LogQL query over a snapshot, within its limits.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};
use storage::{Rows, RowsOf, Snapshot, TimeRange};

use crate::budget::{Budget, MemoryPool};
use crate::error::QueryError;
use crate::log_query::{self, LogQuery, LogStream};
use crate::logql::vector::{Leaf, Series, Value, evaluate};
use crate::logql::{MetricExpr, RangeAggregation, VectorAggregation};
use crate::range::{self, Steps};
use crate::stats::{Counters, QueryStats};

/// What queries may use.
#[derive(Debug, Clone)]
pub struct QueryLimits {
    /// How long one may take.
    pub timeout: Duration,
    /// Memory for all of them together.
    pub memory_bytes: u64,
    /// Memory for one.
    pub query_memory_bytes: u64,
    /// Threads for all of them together.
    pub threads: NonZeroUsize,
    /// Series that one may answer.
    pub series_max: usize,
    /// Lines that one may ask for.
    pub entries_max: usize,
    /// How long a time range one may ask for.
    pub range_max: Option<Duration>,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            memory_bytes: 2 << 30,
            query_memory_bytes: 1 << 30,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            series_max: 10_000,
            entries_max: 5_000,
            range_max: None,
        }
    }
}

/// What all threads of a running query share.
pub(crate) struct Context<'q> {
    pub(crate) pool: &'q ThreadPool,
    pub(crate) budget: &'q Arc<Budget>,
    pub(crate) counters: &'q Counters,
    /// Nanoseconds since 1970.
    pub(crate) now: i64,
}

impl Context<'_> {
    /// The threads that work for the query, and where their time is counted.
    pub(crate) fn threads(&self) -> (&ThreadPool, &Counters) {
        (self.pool, self.counters)
    }

    /// Counts rows that were read, and says whether to go on.
    pub(crate) fn look_at(&self, rows: &Rows) -> Result<(), QueryError> {
        Counters::add(&self.counters.rows_read, rows.timestamp.len() as u64);
        let text = rows.message.as_ref().map_or(0, |message| message.value_data().len());
        Counters::add(&self.counters.bytes_read, text as u64);
        self.budget.check()
    }
}

/// Runs queries. One serves the whole program.
#[derive(Debug)]
pub struct Engine {
    limits: QueryLimits,
    pool: ThreadPool,
    memory: Arc<MemoryPool>,
}

/// A log query with what to answer of it, or a metric query with when to evaluate it.
#[derive(Debug, Clone)]
pub enum Request {
    /// Lines.
    Logs(LogQuery),
    /// Numbers.
    Metric {
        /// The query.
        expr: MetricExpr,
        /// When.
        steps: Steps,
    },
}

/// What a query answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Lines by labels, in the order of their first lines.
    Streams(Vec<LogStream>),
    /// Numbers over time; points carry the number of the step.
    Series {
        /// Each label set once.
        series: Vec<Series>,
        /// When the steps are.
        steps: Steps,
    },
    /// A query of literals alone.
    Scalar(f64),
}

impl Engine {
    /// An engine with threads of its own.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(limits: QueryLimits) -> Result<Self, QueryError> {
        let pool = ThreadPoolBuilder::new().num_threads(limits.threads.get()).thread_name(|n| format!("query-{n}"));
        let pool =
            pool.build().map_err(|error| QueryError::BadQuery(format!("cannot start query threads: {error}")))?;
        let memory = MemoryPool::new(limits.memory_bytes, limits.query_memory_bytes);
        Ok(Self { limits, pool, memory })
    }

    /// What queries may use.
    pub fn limits(&self) -> &QueryLimits {
        &self.limits
    }

    /// Bytes that running queries hold.
    pub fn memory_used(&self) -> u64 {
        self.memory.used()
    }

    /// A budget for one query; it begins to run now.
    pub fn budget(&self) -> Arc<Budget> {
        Budget::new(&self.memory, self.limits.timeout)
    }

    /// A budget for a query that must not take longer than this, whatever is allowed.
    pub fn budget_within(&self, timeout: Duration) -> Arc<Budget> {
        Budget::new(&self.memory, self.limits.timeout.min(timeout))
    }

    /// The threads of all queries.
    pub(crate) fn pool(&self) -> &ThreadPool {
        &self.pool
    }

    /// Says whether a query asks for more than it may.
    ///
    /// # Errors
    /// `TooMuch`, in Loki's words.
    pub fn check(&self, request: &Request) -> Result<(), QueryError> {
        let (start, end) = match request {
            Request::Logs(query) => {
                if query.limit > self.limits.entries_max {
                    return Err(QueryError::TooMuch(format!(
                        "max entries limit per query exceeded, limit > max_entries_limit_per_query ({} > {})",
                        query.limit, self.limits.entries_max
                    )));
                }
                (query.time.start, query.time.end)
            }
            Request::Metric { steps, .. } => (steps.start, steps.time(steps.count - 1)),
        };
        match self.limits.range_max {
            Some(max) if i128::from(end) - i128::from(start) > max.as_nanos() as i128 => {
                let length = Duration::from_nanos(end.saturating_sub(start).max(0) as u64);
                Err(QueryError::TooMuch(format!(
                    "the query time range exceeds the limit (query length: {length:?}, limit: {max:?})"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Runs a query. Blocks: call it off the async threads.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn run(
        &self,
        snapshot: &Snapshot,
        request: &Request,
        budget: &Arc<Budget>,
        now: i64,
    ) -> Result<(Answer, QueryStats), QueryError> {
        let began = Instant::now();
        let counters = Counters::default();
        let context = Context { pool: &self.pool, budget, counters: &counters, now };
        let answer = counters.busy(|| match request {
            Request::Logs(query) => log_query::run(&context, snapshot, query).map(Answer::Streams),
            Request::Metric { expr, steps } => self.metric(&context, snapshot, expr, steps),
        })?;
        Ok((answer, counters.stats(began.elapsed().as_nanos() as u64)))
    }

    /// The rows of each segment that a log query leaves, whatever its limit; of records in memory it says nothing.
    /// Blocks.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn rows(
        &self,
        snapshot: &Snapshot,
        query: &LogQuery,
        budget: &Arc<Budget>,
        now: i64,
    ) -> Result<RowsOf, QueryError> {
        let counters = Counters::default();
        log_query::rows(&Context { pool: &self.pool, budget, counters: &counters, now }, snapshot, query)
    }

    fn metric(
        &self,
        context: &Context<'_>,
        snapshot: &Snapshot,
        expr: &MetricExpr,
        steps: &Steps,
    ) -> Result<Answer, QueryError> {
        let mut reading = Reading { context, snapshot, steps };
        match evaluate::<QueryError>(expr, steps.count, &mut reading)? {
            Value::Scalar(value) => Ok(Answer::Scalar(value)),
            Value::Series(series) if series.len() > self.limits.series_max => Err(QueryError::TooMuch(format!(
                "maximum number of series ({}) reached for a single query; consider reducing query cardinality by adding more \
                 specific stream selectors, reducing the time range, or aggregating results with functions like sum(), \
                 count() or topk()",
                self.limits.series_max
            ))),
            Value::Series(series) => Ok(Answer::Series { series, steps: *steps }),
        }
    }
}

/// Range aggregations are read from a snapshot.
struct Reading<'r> {
    context: &'r Context<'r>,
    snapshot: &'r Snapshot,
    steps: &'r Steps,
}

impl Leaf<QueryError> for Reading<'_> {
    fn series(
        &mut self,
        range: &RangeAggregation,
        outer: Option<&VectorAggregation>,
    ) -> Result<Vec<Series>, QueryError> {
        range::series(self.context, self.snapshot, range, outer, self.steps)
    }

    fn reduced(
        &mut self,
        range: &RangeAggregation,
        sum: &VectorAggregation,
        above: &VectorAggregation,
    ) -> Result<Option<Vec<Series>>, QueryError> {
        range::reduced(self.context, self.snapshot, (range, sum, above), self.steps)
    }
}

/// The time range that a request can look at: what its snapshot must hold.
pub fn reach(request: &Request) -> TimeRange {
    match request {
        Request::Logs(query) => query.time.clone(),
        Request::Metric { expr, steps } => {
            let mut reach: Option<TimeRange> = None;
            each_range(expr, &mut |range| {
                let one = range::reach(steps, range.range_ns, range.offset_ns);
                reach = Some(match reach.take() {
                    None => one,
                    Some(all) => all.start.min(one.start)..all.end.max(one.end),
                });
            });
            reach.unwrap_or(0..0)
        }
    }
}

fn each_range(expr: &MetricExpr, visit: &mut dyn FnMut(&RangeAggregation)) {
    match expr {
        MetricExpr::Range(range) => visit(range),
        MetricExpr::Vector(vector) => each_range(&vector.inner, visit),
        MetricExpr::Binary(binary) => {
            each_range(&binary.left, visit);
            each_range(&binary.right, visit);
        }
        MetricExpr::LabelReplace(replace) => each_range(&replace.inner, visit),
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => {}
    }
}
