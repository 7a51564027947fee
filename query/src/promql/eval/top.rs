//! Aggregations that pick series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use std::sync::Arc;

use storage::Labels;
use xxhash_rust::xxh64::xxh64;

use super::Evaluator;
use super::aggregate::Groups;
use super::annotate::Note;
use super::column::{Column, Series};
use super::prepare::unwrapped;
use crate::error::QueryError;
use crate::promql::ast::{Aggregate, AggregateOp, Span};

impl Evaluator<'_> {
    pub(super) fn top(&self, aggregate: &Aggregate, span: Span) -> Result<Vec<Series>, QueryError> {
        let (op, parameter_span) = (aggregate.op, aggregate.parameter.as_ref().map_or(span, |expr| expr.span));
        let parameter = match &aggregate.parameter {
            Some(parameter) => self.scalar(parameter)?,
            None => Vec::new(),
        };
        let series = self.vector(unwrapped(&aggregate.expr))?;
        if !self.check(op, &parameter, parameter_span)? {
            return Ok(Vec::new());
        }
        let mut groups = Groups::new(&aggregate.grouping);
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (at, one) in series.iter().enumerate() {
            let group = groups.of(&one.labels);
            if group == members.len() {
                members.push(Vec::new());
            }
            members[group].push(at);
        }
        let mut columns: Vec<Column> = vec![Column::absent(self.grid.count); series.len()];
        let offsets: Vec<f64> = match op {
            AggregateOp::LimitRatio => series.iter().map(|one| offset(&one.labels)).collect(),
            _ => Vec::new(),
        };
        // The order in which an instant query answers.
        let mut order = Vec::new();
        for step in 0..self.grid.count {
            let parameter = parameter.get(step).copied().unwrap_or(f64::NAN);
            for members in &members {
                let there = members.iter().copied().filter(|&at| series[at].column.is_present(step));
                let picked = match op {
                    AggregateOp::LimitK => there.take(parameter.max(0.0) as usize).collect(),
                    AggregateOp::LimitRatio => there.filter(|&at| is_sampled(parameter, offsets[at])).collect(),
                    _ => self.greatest(there, &series, step, (op, parameter), span),
                };
                for at in picked {
                    columns[at].set(step, series[at].column.get(step));
                    order.push(at);
                }
            }
            self.budget.check()?;
        }
        if self.grid.count > 1 {
            order = (0..series.len()).collect();
        }
        let mut columns: Vec<Option<Column>> = columns.into_iter().map(Some).collect();
        let kept = order.into_iter().filter_map(|at| {
            let column = columns[at].take().filter(|column| !column.is_empty())?;
            Some(Series { labels: Arc::clone(&series[at].labels), drop_name: series[at].drop_name, column })
        });
        Ok(kept.collect())
    }

    /// Looks at the parameters; false when nothing is asked for.
    fn check(&self, op: AggregateOp, parameter: &[f64], span: Span) -> Result<bool, QueryError> {
        let greatest = parameter.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = parameter.iter().copied().fold(f64::INFINITY, f64::min);
        let any_nan = parameter.iter().any(|value| value.is_nan());
        let wrong = |message: String| Err(QueryError::Execution(message));
        if op == AggregateOp::LimitRatio {
            if greatest == 0.0 && least == 0.0 {
                return Ok(false);
            }
            if any_nan {
                return wrong("Ratio value is NaN".to_owned());
            }
            if greatest > 1.0 {
                self.notes.add(span, &Note::InvalidRatio(greatest, 1.0));
            }
            if least < -1.0 {
                self.notes.add(span, &Note::InvalidRatio(least, -1.0));
            }
            return Ok(true);
        }
        if !any_nan && greatest < 1.0 {
            return Ok(false);
        }
        if any_nan {
            return wrong("Parameter value is NaN".to_owned());
        }
        let text = crate::number::format_float_general;
        if least <= i64::MIN as f64 {
            return wrong(format!("Scalar value {} underflows int64", text(least)));
        }
        if greatest >= i64::MAX as f64 {
            return wrong(format!("Scalar value {} overflows int64", text(greatest)));
        }
        Ok(true)
    }

    /// The `k` greatest (or least) plain values, the first ones first; of equal ones those that come first.
    fn greatest(
        &self,
        there: impl Iterator<Item = usize>,
        series: &[Series],
        step: usize,
        (op, k): (AggregateOp, f64),
        span: Span,
    ) -> Vec<usize> {
        let k = k.max(0.0) as usize;
        let mut found: Vec<(usize, f64)> = Vec::new();
        for at in there {
            if series[at].column.histogram(step).is_some() {
                self.notes.add(span, &Note::IgnoredInAggregation { operation: op.as_str() });
                continue;
            }
            found.push((at, series[at].column.values[step]));
        }
        let order = |a: &(usize, f64), b: &(usize, f64)| {
            let by_value = match op {
                AggregateOp::TopK => b.1.partial_cmp(&a.1),
                _ => a.1.partial_cmp(&b.1),
            };
            // NaN comes last.
            let by_nan = a.1.is_nan().cmp(&b.1.is_nan());
            by_nan.then(by_value.unwrap_or(std::cmp::Ordering::Equal)).then(a.0.cmp(&b.0))
        };
        if k == 0 {
            return Vec::new();
        }
        if found.len() > k {
            found.select_nth_unstable_by(k - 1, order);
            found.truncate(k);
        }
        found.sort_unstable_by(order);
        found.into_iter().map(|(at, _)| at).collect()
    }
}

/// Where a series lies between 0 and 1, by its labels: Prometheus's hash of them, so that both pick the same.
fn offset(labels: &Labels) -> f64 {
    let mut bytes = Vec::new();
    for (name, value) in labels.iter() {
        for text in [name, value] {
            match u8::try_from(text.len()).ok().filter(|&length| length < 255) {
                Some(length) => bytes.push(length),
                None => {
                    bytes.push(255);
                    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
                }
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

fn is_sampled(ratio: f64, offset: f64) -> bool {
    let ratio = ratio.clamp(-1.0, 1.0);
    (ratio > 0.0 && offset < ratio) || (ratio < 0.0 && offset >= 1.0 + ratio)
}
