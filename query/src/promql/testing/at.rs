//! An instant query with its time written into it: whenever it is asked, it must answer the same.

use crate::promql::ast::{At, Expr, Node, VectorSelector};

/// Functions whose answer depends on when they are evaluated, whatever their arguments.
const OF_EVALUATION_TIME: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
];

/// The query with `@ time` at every selector and subquery that has none, but for those inside of a subquery. `None` if
/// what it answers depends on the time anyway.
pub(super) fn pinned(expr: &Expr, time: i64) -> Option<Expr> {
    let mut pinned = expr.clone();
    pin(&mut pinned, time).then_some(pinned)
}

/// Other times at which to ask it.
pub(super) fn other_times(time: i64) -> Vec<i64> {
    if time == 0 { vec![-1000, 0, 1000] } else { vec![-10 * time, 0, time / 5, time, 10 * time] }
}

fn pin(expr: &mut Expr, time: i64) -> bool {
    match &mut expr.node {
        Node::Number(_) | Node::String(_) | Node::Duration(_) => true,
        Node::Vector(selector) => pin_selector(selector, time),
        Node::Matrix(matrix) => pin_selector(&mut matrix.selector, time),
        Node::Subquery(subquery) => {
            // What is inside of it follows its time.
            pin_at(&mut subquery.at, time);
            true
        }
        Node::Call(call) => {
            !OF_EVALUATION_TIME.contains(&call.function) && call.args.iter_mut().all(|arg| pin(arg, time))
        }
        Node::Aggregate(aggregate) => {
            aggregate.parameter.as_mut().is_none_or(|parameter| pin(parameter, time)) && pin(&mut aggregate.expr, time)
        }
        Node::Binary(binary) => pin(&mut binary.left, time) && pin(&mut binary.right, time),
        Node::Unary { expr, .. } | Node::Paren(expr) => pin(expr, time),
    }
}

fn pin_selector(selector: &mut VectorSelector, time: i64) -> bool {
    pin_at(&mut selector.at, time);
    true
}

fn pin_at(at: &mut Option<At>, time: i64) {
    if !matches!(at, Some(At::Time(_))) {
        *at = Some(At::Time(time));
    }
}
