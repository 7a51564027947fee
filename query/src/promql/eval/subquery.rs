//! Subqueries, and range vectors as answers of their own.

use std::sync::Arc;

use storage::metrics::ResetHint;

use super::column::{Column, Grid, Point, Series};
use super::counts::Buckets;
use super::prepare::{ms, unwrapped};
use super::rate::{bounds, edges};
use super::select::Split;
use super::{Evaluation, Evaluator, SeriesPoints, Value};
use crate::error::QueryError;
use crate::promql::ast::{At, Edges, Expr, MatrixSelector, Node, Subquery};
use crate::promql::source::Samples;

impl Evaluator<'_> {
    /// Evaluates the inner query at its own steps: multiples of its step, as far back as any step of the outer one looks.
    pub(super) fn subquery(&self, subquery: &Subquery) -> Result<(Grid, Vec<Series>), QueryError> {
        let offset = subquery.offset.as_ref().map_or(0, ms);
        let (first, last) = match subquery.at {
            Some(At::Time(time)) => (time - offset, time - offset),
            _ => (self.grid.start - offset, self.grid.last() - offset),
        };
        let step = subquery.step.as_ref().map_or(self.options.subquery_step_ms, ms).max(1);
        let after = first - ms(&subquery.range);
        let grid = Grid::new(after.div_euclid(step) * step + step, last, step);
        let inner = Evaluator { grid, is_range: grid.count > 1, buckets: Buckets::Needed, ..*self };
        let series = match inner.eval(&subquery.expr)? {
            Evaluation::Vector(series) => series,
            Evaluation::Scalar(values) => {
                let column = Column { values, histograms: Vec::new() };
                vec![Series { labels: Arc::default(), drop_name: false, column }]
            }
            Evaluation::String(_) => return Err(QueryError::Execution("a subquery of a string".to_owned())),
        };
        Ok((grid, series))
    }

    /// A range vector, at the only step.
    pub(super) fn matrix(&self, expr: &Expr) -> Result<Value, QueryError> {
        let expr = unwrapped(expr);
        let mut matrix = match &expr.node {
            Node::Matrix(matrix) => self.selected(matrix)?,
            Node::Subquery(subquery) => {
                let (grid, series) = self.subquery(subquery)?;
                let points = |column: &Column| {
                    (0..grid.count).filter_map(|at| Some((grid.time(at), column.get(at)?))).collect::<Vec<_>>()
                };
                let series = super::merge::without_names(series, grid)?;
                series
                    .iter()
                    .map(|s| SeriesPoints { labels: Arc::clone(&s.labels), points: points(&s.column) })
                    .collect()
            }
            _ => return Err(QueryError::Execution("a range vector is wanted".to_owned())),
        };
        matrix.retain(|series| !series.points.is_empty());
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Value::Matrix(matrix))
    }

    fn selected(&self, matrix: &MatrixSelector) -> Result<Vec<SeriesPoints>, QueryError> {
        let selector = &matrix.selector;
        let (end, _) = self.reference_times(selector);
        let (start, lookback) = (end - ms(&matrix.range), self.options.lookback_ms);
        let (before, after) = match selector.edges {
            Edges::Extrapolated => (0, 0),
            Edges::Anchored => (lookback, 0),
            Edges::Smoothed => (lookback, lookback),
        };
        let set = self.source.select(&selector.matchers, start - before + 1, end + after)?;
        let mut out = Vec::new();
        set.read(0..set.labels().len(), &mut |at, samples| {
            self.count_samples(samples.len())?;
            let split = Split::of(samples);
            let points = match selector.edges {
                Edges::Extrapolated => plain(&split),
                edges => extended(&split, start, end, edges == Edges::Smoothed)?,
            };
            out.push(SeriesPoints { labels: Arc::clone(&set.labels()[at]), points });
            Ok(())
        })?;
        Ok(out)
    }
}

fn plain(split: &Split<'_>) -> Vec<(i64, Point)> {
    let (floats, histograms) = (split.floats(), split.histograms());
    let mut points: Vec<(i64, Point)> =
        floats.times.iter().zip(floats.values).map(|(&time, &value)| (time, Point::Float(value))).collect();
    if !histograms.is_empty() {
        let own = histograms.times.iter().zip(histograms.values);
        points.extend(own.map(|(&time, histogram)| (time, Point::Histogram(Arc::clone(histogram)))));
        points.sort_by_key(|(time, _)| *time);
    }
    points
}

/// With a sample at each end of the range.
fn extended(split: &Split<'_>, start: i64, end: i64, smoothed: bool) -> Result<Vec<(i64, Point)>, QueryError> {
    let floats = split.floats();
    if !split.histograms().is_empty() {
        let word = if smoothed { "smoothed" } else { "anchored" };
        return Err(QueryError::Execution(format!("{word} modifier is not supported with histograms")));
    }
    let Some((first, last)) = bounds(floats.times, start, i64::MAX, false).and_then(|_| {
        bounds(floats.times, start, end, smoothed).or_else(|| bounds(floats.times, start, i64::MAX, smoothed))
    }) else {
        return Ok(Vec::new());
    };
    let (left, right) = edges(&floats, (first, last), (start, end), smoothed, false);
    let from = if floats.times[first] <= start { first + 1 } else { first };
    let to = if floats.times[last] >= end { last } else { last + 1 };
    let inside = from..to.max(from);
    let mut points = vec![(start, Point::Float(left))];
    points.extend(inside.map(|at| (floats.times[at], Point::Float(floats.values[at]))));
    points.push((end, Point::Float(right)));
    Ok(points)
}

/// A column of a subquery as samples. What histograms say of resets is not true of every other one.
pub(super) fn samples(column: &Column, grid: Grid) -> Samples {
    let mut samples = Samples::default();
    for at in 0..grid.count {
        let Some(point) = column.get(at) else { continue };
        let row = samples.timestamps.len() as u32;
        samples.timestamps.push(grid.time(at));
        match point {
            Point::Float(value) => samples.values.push(value),
            Point::Histogram(mut histogram) => {
                if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
                    Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
                }
                samples.values.push(f64::NAN);
                samples.histograms.push((row, histogram));
            }
        }
    }
    samples
}
