//! Evaluation, exactly as Prometheus does it, but in columns: an expression is evaluated once for all steps of the query,
//! and gives for each series a value a step. Series are read and worked on in parallel.
//!
//! Flow: tree -> durations resolved (`prepare`) -> columns, from the selectors up -> the answer, with names dropped where
//! values are not the metric's any more. Within a step the order of series is that of their labels, so that sums come out
//! the same each time.

mod absent;
mod aggregate;
mod annotate;
mod binary;
mod classic;
mod column;
mod counts;
mod dates;
mod functions;
mod info;
mod labels;
mod merge;
mod over_time;
mod prepare;
mod ranges;
mod rate;
mod select;
mod sort;
mod subquery;
mod top;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::ThreadPool;
use storage::Labels;

use self::annotate::Notes;
use self::column::{Column, Evaluated as Evaluation, Grid, Series};
use self::counts::Buckets;
use self::prepare::{Context, is_invariant, prepare};
use self::select::Of;
use crate::budget::Budget;
use crate::error::QueryError;
use crate::promql::ast::{Expr, Node, ValueType};
use crate::promql::parser::value_type;
use crate::promql::source::Source;

pub use self::column::Point;

/// How queries are evaluated.
#[derive(Debug, Clone)]
pub struct Options {
    /// How old a sample may be and still count, in milliseconds.
    pub lookback_ms: i64,
    /// The step of subqueries that do not say one, in milliseconds.
    pub subquery_step_ms: i64,
    /// How many samples a query may look at. Without a limit its time and its memory are still bounded, by its budget.
    pub samples_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { lookback_ms: 300_000, subquery_step_ms: 60_000, samples_max: u64::MAX }
    }
}

/// A query, and when to evaluate it. Times in milliseconds since 1970.
#[derive(Debug, Clone)]
pub struct Query<'q> {
    /// Its text, for places in messages.
    pub text: &'q str,
    /// Its tree.
    pub expr: Expr,
    /// First step.
    pub start: i64,
    /// No step is later.
    pub end: i64,
    /// From step to step; `None` for an instant query.
    pub step: Option<i64>,
    /// How.
    pub options: Options,
}

/// A value of one series, at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Milliseconds since 1970.
    pub time: i64,
    /// The value.
    pub point: Point,
}

/// The values of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPoints {
    /// Its labels.
    pub labels: Arc<Labels>,
    /// By time, in milliseconds since 1970.
    pub points: Vec<(i64, Point)>,
}

/// What a query answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, at a time.
    Scalar(i64, f64),
    /// A text, at a time.
    String(i64, String),
    /// A value of each series, in the order that the query makes.
    Vector(Vec<Sample>),
    /// Values of each series, by labels.
    Matrix(Vec<SeriesPoints>),
}

/// The answer, and what is to be known of it.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The answer.
    pub value: Value,
    /// Something may be wrong.
    pub warnings: Vec<String>,
    /// Something worth knowing.
    pub infos: Vec<String>,
    /// How many samples were looked at.
    pub samples: u64,
}

/// Evaluates a query. Blocks.
///
/// # Errors
/// `Execution` when it cannot be evaluated, `TooMuch`, `Deadline` or `Cancelled` when it may not go on, and what kept the
/// samples from being read.
pub fn evaluate(
    query: &Query<'_>,
    source: &dyn Source,
    pool: &ThreadPool,
    budget: &Budget,
) -> Result<Evaluated, QueryError> {
    let mut expr = query.expr.clone();
    prepare(&mut expr, Context { start: query.start, end: query.end, step: query.step.unwrap_or(0) })?;
    let grid = Grid::new(query.start, query.end, query.step.unwrap_or(1));
    let notes = Notes::default();
    let samples = AtomicU64::new(0);
    let (options, is_range) = (&query.options, query.step.is_some());
    let evaluator = Evaluator {
        source,
        pool,
        budget,
        options,
        notes: &notes,
        samples: &samples,
        grid,
        is_range: grid.count > 1,
        buckets: Buckets::default(),
    };
    let value = evaluator.answer(&expr, is_range)?;
    let (warnings, infos) = notes.texts(query.text);
    Ok(Evaluated { value, warnings, infos, samples: samples.into_inner() })
}

/// Evaluates expressions at the steps of a grid.
#[derive(Clone, Copy)]
struct Evaluator<'e> {
    source: &'e dyn Source,
    pool: &'e ThreadPool,
    budget: &'e Budget,
    options: &'e Options,
    notes: &'e Notes,
    samples: &'e AtomicU64,
    grid: Grid,
    /// Whether the query (or subquery) has more than one step.
    is_range: bool,
    /// What the expressions around need of histograms.
    buckets: Buckets,
}

impl Evaluator<'_> {
    fn answer(&self, expr: &Expr, is_range: bool) -> Result<Value, QueryError> {
        let start = self.grid.start;
        if !is_range && value_type(expr) == ValueType::Matrix {
            return self.matrix(expr);
        }
        let series = match self.eval(expr)? {
            Evaluation::String(text) => return Ok(Value::String(start, text)),
            Evaluation::Scalar(values) if !is_range => {
                return Ok(Value::Scalar(start, values.first().copied().unwrap_or(f64::NAN)));
            }
            Evaluation::Scalar(values) => {
                let column = Column { values, histograms: Vec::new() };
                vec![Series { labels: Arc::default(), drop_name: false, column }]
            }
            Evaluation::Vector(series) => merge::without_names(series, self.grid)?,
        };
        if !is_range {
            let one =
                |series: Series| Some(Sample { point: series.column.get(0)?, labels: series.labels, time: start });
            return Ok(Value::Vector(series.into_iter().filter_map(one).collect()));
        }
        let mut matrix: Vec<SeriesPoints> = series
            .into_iter()
            .map(|series| {
                let points = (0..self.grid.count).filter_map(|at| Some((self.grid.time(at), series.column.get(at)?)));
                SeriesPoints { points: points.collect(), labels: series.labels }
            })
            .filter(|series| !series.points.is_empty())
            .collect();
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Value::Matrix(matrix))
    }

    /// What an expression is at every step.
    fn eval(&self, expr: &Expr) -> Result<Evaluation, QueryError> {
        self.budget.check()?;
        if self.grid.count == 0 {
            return Ok(match value_type(expr) {
                ValueType::Scalar => Evaluation::Scalar(Vec::new()),
                ValueType::String => Evaluation::String(String::new()),
                _ => Evaluation::Vector(Vec::new()),
            });
        }
        if self.grid.count > 1 && !matches!(expr.node, Node::Number(_) | Node::String(_)) && is_invariant(expr) {
            let once = Evaluator { grid: self.grid.first_only(), ..*self };
            return Ok(self.spread(once.eval(expr)?));
        }
        match &expr.node {
            Node::Number(number) | Node::Duration(number) => Ok(Evaluation::Scalar(vec![*number; self.grid.count])),
            Node::String(text) => Ok(Evaluation::String(text.clone())),
            Node::Vector(selector) => Ok(Evaluation::Vector(self.select(selector, expr.span, Of::Value)?)),
            Node::Matrix(_) | Node::Subquery(_) => {
                Err(QueryError::Execution("a range vector cannot be evaluated step by step".to_owned()))
            }
            Node::Call(call) => self.inside(expr).call(call, expr.span),
            Node::Aggregate(aggregate) => self.aggregate(aggregate, expr.span).map(Evaluation::Vector),
            Node::Binary(binary) => self.inside(expr).binary(binary, expr.span),
            Node::Unary { negative, expr } => self.unary(*negative, expr),
            Node::Paren(inner) => self.eval(inner),
        }
    }

    /// What evaluates the parts of an expression.
    fn inside(&self, expr: &Expr) -> Self {
        Self { buckets: self.buckets.inside(expr), ..*self }
    }

    /// The only step's values at every step.
    fn spread(&self, once: Evaluation) -> Evaluation {
        match once {
            Evaluation::Scalar(values) => {
                Evaluation::Scalar(vec![values.first().copied().unwrap_or(f64::NAN); self.grid.count])
            }
            Evaluation::String(text) => Evaluation::String(text),
            Evaluation::Vector(mut series) => {
                series.iter_mut().for_each(|series| series.column = series.column.repeated(self.grid.count));
                Evaluation::Vector(series)
            }
        }
    }

    fn unary(&self, negative: bool, expr: &Expr) -> Result<Evaluation, QueryError> {
        let value = self.eval(expr)?;
        if !negative {
            return Ok(value);
        }
        Ok(match value {
            Evaluation::Scalar(values) => Evaluation::Scalar(values.into_iter().map(|value| -value).collect()),
            Evaluation::Vector(mut series) => {
                for one in &mut series {
                    one.drop_name = true;
                    one.column.values.iter_mut().filter(|value| !column::is_absent(**value)).for_each(|v| *v = -*v);
                    for histogram in one.column.histograms.iter_mut().flatten() {
                        crate::promql::histogram::scale(Arc::make_mut(histogram), -1.0);
                    }
                }
                Evaluation::Vector(series)
            }
            text @ Evaluation::String(_) => text,
        })
    }

    /// The series of an expression that is a vector.
    fn vector(&self, expr: &Expr) -> Result<Vec<Series>, QueryError> {
        match self.eval(expr)? {
            Evaluation::Vector(series) => Ok(series),
            _ => Err(QueryError::Execution("an instant vector is wanted".to_owned())),
        }
    }

    /// The numbers of an expression that is a scalar.
    fn scalar(&self, expr: &Expr) -> Result<Vec<f64>, QueryError> {
        match self.eval(expr)? {
            Evaluation::Scalar(values) => Ok(values),
            _ => Err(QueryError::Execution("a scalar is wanted".to_owned())),
        }
    }

    /// Counts samples that are looked at.
    fn count_samples(&self, count: usize) -> Result<(), QueryError> {
        let samples = self.samples.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        if samples > self.options.samples_max {
            let message = "query processing would load too many samples into memory in query execution";
            return Err(QueryError::TooMuch(message.to_owned()));
        }
        Ok(())
    }
}
