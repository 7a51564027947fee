//! `absent`: 1 where there is nothing.

use std::sync::Arc;

use storage::Labels;

use super::Evaluator;
use super::column::{Column, NAME, Series};
use super::prepare::unwrapped;
use crate::error::QueryError;
use crate::promql::ast::{Expr, MatchOp, Node};

impl Evaluator<'_> {
    pub(super) fn absent(&self, arg: &Expr) -> Result<Vec<Series>, QueryError> {
        let series = self.vector(arg)?;
        let mut column = Column::absent(self.grid.count);
        for step in 0..self.grid.count {
            if !series.iter().any(|one| one.column.is_present(step)) {
                column.values[step] = 1.0;
            }
        }
        let labels = Arc::new(labels(unwrapped(arg)));
        Ok(if column.is_empty() { Vec::new() } else { vec![Series { labels, drop_name: false, column }] })
    }
}

/// The labels that the missing series would surely have: those with one matcher, which says what they are.
pub(super) fn labels(expr: &Expr) -> Labels {
    let matchers = match &expr.node {
        Node::Vector(selector) => &selector.matchers,
        Node::Matrix(matrix) => &matrix.selector.matchers,
        _ => return Labels::default(),
    };
    let mut known: Vec<(&str, &str)> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name != NAME) {
        if matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str()) {
            seen.push(&matcher.name);
            known.push((&matcher.name, &matcher.value));
        } else {
            known.retain(|(name, _)| *name != matcher.name);
        }
    }
    Labels::new(known.into_iter().filter(|(_, value)| !value.is_empty()))
}
