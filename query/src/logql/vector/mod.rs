//! What happens after the range step: aggregations across series, arithmetic, comparison and set operators.
//!
//! [`evaluate`] walks a metric query; the numbers of its range aggregations come from the closure `leaf`, which reads
//! the logs. Everything is computed step by step, since each step may have other series; a series' points are
//! ascending in step, and steps without a value are left out.

mod aggregate;
mod binary;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use storage::Labels;

pub(crate) use aggregate::aggregate;
pub use binary::scalar_operation;

use super::ast::{LabelReplace, MatchOp, Matcher, MetricExpr, RangeAggregation, RangeOp, VectorAggregation, VectorOp};

/// Values over time with the labels they belong to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// What the values are of.
    pub labels: Labels,
    /// Step number and value, ascending in step, each step at most once.
    pub points: Vec<(u32, f64)>,
}

/// What a metric query answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A query of literals alone.
    Scalar(f64),
    /// Series, each label set once; sorted by labels, or by value if [`is_sorted_by_value`].
    Series(Vec<Series>),
}

/// Why a metric query cannot be computed, in Loki's words. The query is at fault, not the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvaluationError(pub String);

/// What reads the logs.
pub trait Leaf<E> {
    /// The series of a range aggregation, which is told the aggregation that it stands in directly.
    ///
    /// # Errors
    /// Whatever keeps it from reading.
    fn series(&mut self, range: &RangeAggregation, outer: Option<&VectorAggregation>) -> Result<Vec<Series>, E>;

    /// The result of `above` over a `sum` over a range aggregation, if it can be had without making all of its series;
    /// `sum` keeps the series of the range as they are.
    ///
    /// # Errors
    /// Whatever keeps it from reading.
    fn reduced(
        &mut self,
        _range: &RangeAggregation,
        _sum: &VectorAggregation,
        _above: &VectorAggregation,
    ) -> Result<Option<Vec<Series>>, E> {
        Ok(None)
    }
}

impl<E, F> Leaf<E> for F
where
    F: FnMut(&RangeAggregation, Option<&VectorAggregation>) -> Result<Vec<Series>, E>,
{
    fn series(&mut self, range: &RangeAggregation, outer: Option<&VectorAggregation>) -> Result<Vec<Series>, E> {
        self(range, outer)
    }
}

/// Computes a metric query over `steps` steps. `leaf` answers the series of a range aggregation (for
/// `absent_over_time`, any series for the steps with lines).
///
/// # Errors
/// Those of `leaf`, and operators whose sides do not match up.
pub fn evaluate<E: From<EvaluationError>>(expr: &MetricExpr, steps: u32, leaf: &mut dyn Leaf<E>) -> Result<Value, E> {
    if let MetricExpr::Literal(value) = expr {
        return Ok(Value::Scalar(*value));
    }
    let mut series = merged(series_of(expr, None, steps, leaf)?);
    if steps > 1 || !is_sorted_by_value(expr) {
        series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    }
    Ok(Value::Series(series))
}

/// Whether an instant query's series come in the order of their values: there is a `sort` or `sort_desc`.
pub fn is_sorted_by_value(expr: &MetricExpr) -> bool {
    match expr {
        MetricExpr::Vector(v) => matches!(v.op, VectorOp::Sort | VectorOp::SortDesc) || is_sorted_by_value(&v.inner),
        MetricExpr::Binary(b) => is_sorted_by_value(&b.left) || is_sorted_by_value(&b.right),
        MetricExpr::LabelReplace(r) => is_sorted_by_value(&r.inner),
        MetricExpr::Range(_) | MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => false,
    }
}

fn series_of<E: From<EvaluationError>>(
    expr: &MetricExpr,
    outer: Option<&VectorAggregation>,
    steps: u32,
    leaf: &mut dyn Leaf<E>,
) -> Result<Vec<Series>, E> {
    match expr {
        MetricExpr::Range(range) => {
            let series = leaf.series(range, outer)?;
            Ok(if range.op == RangeOp::AbsentOverTime { absent(&range.log.matchers, &series, steps) } else { series })
        }
        MetricExpr::VectorLiteral(value) => {
            let points = (0..steps).map(|step| (step, *value)).collect();
            Ok(vec![Series { labels: Labels::default(), points }])
        }
        MetricExpr::Vector(vector) => {
            if let MetricExpr::Vector(sum) = &vector.inner
                && let MetricExpr::Range(range) = &sum.inner
                && is_pushed_down(range, sum)
                && let Some(series) = leaf.reduced(range, sum, vector)?
            {
                return Ok(series);
            }
            let inner = series_of(&vector.inner, Some(vector), steps, leaf)?;
            Ok(aggregate(vector, &inner, steps))
        }
        MetricExpr::LabelReplace(replace) => Ok(replaced(replace, series_of(&replace.inner, None, steps, leaf)?)),
        MetricExpr::Binary(b) => match (&b.left, &b.right) {
            (MetricExpr::Literal(left), right) => {
                let right = series_of(right, None, steps, leaf)?;
                Ok(binary::with_scalar(b.op, b.return_bool, right, |value| (*left, value)))
            }
            (left, MetricExpr::Literal(right)) => {
                let left = series_of(left, None, steps, leaf)?;
                Ok(binary::with_scalar(b.op, b.return_bool, left, |value| (value, *right)))
            }
            (left, right) => {
                let left = series_of(left, None, steps, leaf)?;
                let right = series_of(right, None, steps, leaf)?;
                Ok(binary::vectors(b, &left, &right, steps)?)
            }
        },
        MetricExpr::Literal(_) => {
            Err(EvaluationError("a number stands where a query for series is needed; write vector(...)".to_owned())
                .into())
        }
    }
}

/// Whether the grouping of a `sum` is applied to lines already, so that it finds its series as they are.
pub(crate) fn is_pushed_down(range: &RangeAggregation, outer: &VectorAggregation) -> bool {
    outer.op == VectorOp::Sum
        && range.grouping.is_none()
        && matches!(
            range.op,
            RangeOp::BytesOverTime | RangeOp::BytesRate | RangeOp::SumOverTime | RangeOp::Rate | RangeOp::CountOverTime
        )
}

/// 1 at each step without any line, with the labels that the selector fixes.
fn absent(matchers: &[Matcher], present: &[Series], steps: u32) -> Vec<Series> {
    let mut seen = vec![false; steps as usize];
    for (step, _) in present.iter().flat_map(|series| &series.points) {
        if let Some(seen) = seen.get_mut(*step as usize) {
            *seen = true;
        }
    }
    let points: Vec<_> = (0..steps).zip(seen).filter(|(_, seen)| !seen).map(|(step, _)| (step, 1.0)).collect();
    let mut labels: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for matcher in matchers {
        // A label that is matched twice, or not by `=`, is not known.
        let known = matcher.op == MatchOp::Equal && !labels.contains_key(&*matcher.name);
        labels.insert(&matcher.name, known.then_some(&*matcher.value));
    }
    let labels = labels.into_iter().filter_map(|(name, value)| Some((name, value.filter(|v| !v.is_empty())?)));
    if points.is_empty() { Vec::new() } else { vec![Series { labels: Labels::new(labels), points }] }
}

fn replaced(replace: &LabelReplace, series: Vec<Series>) -> Vec<Series> {
    series.into_iter().map(|one| Series { labels: replaced_labels(replace, &one.labels), points: one.points }).collect()
}

fn replaced_labels(replace: &LabelReplace, labels: &Labels) -> Labels {
    let source = labels.get(&replace.source).unwrap_or_default();
    let Some(captures) = replace.compiled.captures(source) else { return labels.clone() };
    let mut text = Vec::new();
    captures.expand(replace.replacement.as_bytes(), &mut text);
    let text = String::from_utf8_lossy(&text);
    let others = labels.iter().filter(|(name, value)| *name != replace.target && !value.is_empty());
    let target = (!text.is_empty()).then_some((replace.target.as_str(), &*text));
    Labels::new(others.chain(target))
}

/// Series whose labels have become the same are one.
fn merged(series: Vec<Series>) -> Vec<Series> {
    let mut place: FxHashMap<Labels, usize> = FxHashMap::default();
    let mut out: Vec<Series> = Vec::with_capacity(series.len());
    for one in series.into_iter().filter(|one| !one.points.is_empty()) {
        match place.get(&one.labels) {
            Some(&at) => {
                out[at].points.extend(one.points);
                out[at].points.sort_by_key(|(step, _)| *step);
                out[at].points.dedup_by_key(|(step, _)| *step);
            }
            None => {
                place.insert(one.labels.clone(), out.len());
                out.push(one);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
