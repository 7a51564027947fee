//! Before evaluation: what depends on the query's range and step becomes constant.

use crate::error::QueryError;
use crate::promql::ast::{At, Call, Duration, DurationExpr, Expr, Node, Span, VectorSelector};

/// What `start()`, `end()`, `range()` and `step()` mean. Milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
}

/// Resolves durations, `@ start()`, `@ end()` and the functions of the query's context.
///
/// # Errors
/// A duration that is none.
pub(super) fn prepare(expr: &mut Expr, context: Context) -> Result<(), QueryError> {
    if let Node::Call(call) = &expr.node
        && let Some(number) = folded(call, context)
    {
        expr.node = Node::Number(number);
        return Ok(());
    }
    match &mut expr.node {
        Node::Number(_) | Node::Duration(_) | Node::String(_) => Ok(()),
        Node::Vector(selector) => prepare_selector(selector, context),
        Node::Matrix(matrix) => {
            resolve(&mut matrix.range, context, false)?;
            prepare_selector(&mut matrix.selector, context)
        }
        Node::Subquery(subquery) => {
            resolve(&mut subquery.range, context, false)?;
            subquery.step.iter_mut().try_for_each(|step| resolve(step, context, false))?;
            subquery.offset.iter_mut().try_for_each(|offset| resolve(offset, context, true))?;
            resolve_at(&mut subquery.at, context);
            prepare(&mut subquery.expr, context)
        }
        Node::Call(call) => call.args.iter_mut().try_for_each(|arg| prepare(arg, context)),
        Node::Aggregate(aggregate) => {
            aggregate.parameter.iter_mut().try_for_each(|parameter| prepare(parameter, context))?;
            prepare(&mut aggregate.expr, context)
        }
        Node::Binary(binary) => {
            prepare(&mut binary.left, context)?;
            prepare(&mut binary.right, context)
        }
        Node::Unary { expr, .. } | Node::Paren(expr) => prepare(expr, context),
    }
}

fn folded(call: &Call, context: Context) -> Option<f64> {
    match call.function {
        "start" => Some(context.start as f64 / 1000.0),
        "end" => Some(context.end as f64 / 1000.0),
        "range" => Some((context.end - context.start) as f64 / 1000.0),
        "step" if context.start == context.end => Some(0.0),
        "step" => Some(context.step as f64 / 1000.0),
        _ => None,
    }
}

fn prepare_selector(selector: &mut VectorSelector, context: Context) -> Result<(), QueryError> {
    selector.offset.iter_mut().try_for_each(|offset| resolve(offset, context, true))?;
    resolve_at(&mut selector.at, context);
    Ok(())
}

fn resolve_at(at: &mut Option<At>, context: Context) {
    match at {
        Some(At::Start) => *at = Some(At::Time(context.start)),
        Some(At::End) => *at = Some(At::Time(context.end)),
        Some(At::Time(_)) | None => {}
    }
}

fn resolve(duration: &mut Duration, context: Context, may_be_negative: bool) -> Result<(), QueryError> {
    let Duration::Expr(expr, span) = duration else { return Ok(()) };
    let wrong = |what: &str| QueryError::Execution(format!("{}: {what}", place(*span)));
    let seconds = seconds(expr, context, *span)?;
    if !seconds.is_finite() {
        return Err(wrong("duration is NaN or infinite"));
    }
    if seconds <= 0.0 && !may_be_negative {
        return Err(wrong("duration must be greater than 0"));
    }
    if seconds.abs() > i64::MAX as f64 / 1e9 {
        return Err(wrong("duration is out of range"));
    }
    *duration = Duration::Constant((seconds * 1000.0) as i64);
    Ok(())
}

fn place(span: Span) -> String {
    format!("{}:{}", span.start, span.end)
}

fn seconds(expr: &DurationExpr, context: Context, span: Span) -> Result<f64, QueryError> {
    let of = |expr: &DurationExpr| seconds(expr, context, span);
    Ok(match expr {
        DurationExpr::Number(number, _) => *number,
        DurationExpr::Step if context.start == context.end && context.step <= 1 => 0.0,
        DurationExpr::Step => context.step as f64 / 1000.0,
        DurationExpr::Range => (context.end - context.start) as f64 / 1000.0,
        DurationExpr::Negative(expr) => -of(expr)?,
        DurationExpr::Min(a, b) => of(a)?.min(of(b)?),
        DurationExpr::Max(a, b) => of(a)?.max(of(b)?),
        DurationExpr::Paren(expr) => of(expr)?,
        DurationExpr::Binary(operator, a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            match operator {
                '+' => a + b,
                '-' => a - b,
                '*' => a * b,
                '/' | '%' if b == 0.0 => {
                    let what = if *operator == '/' { "division" } else { "modulo" };
                    return Err(QueryError::Execution(format!("{}: {what} by zero", place(span))));
                }
                '/' => a / b,
                '%' => a % b,
                _ => a.powf(b),
            }
        }
    })
}

/// A duration in milliseconds, once it is resolved.
pub(super) fn ms(duration: &Duration) -> i64 {
    match duration {
        Duration::Constant(ms) => *ms,
        Duration::Expr(..) => 0,
    }
}

/// Without parentheses around it.
pub(super) fn unwrapped(expr: &Expr) -> &Expr {
    match &expr.node {
        Node::Paren(inner) => unwrapped(inner),
        _ => expr,
    }
}

/// Whether the expression is the same at every step.
pub(super) fn is_invariant(expr: &Expr) -> bool {
    match &expr.node {
        Node::Number(_) | Node::Duration(_) | Node::String(_) => true,
        Node::Vector(selector) => selector.at.is_some(),
        Node::Matrix(matrix) => matrix.selector.at.is_some(),
        Node::Subquery(subquery) => subquery.at.is_some(),
        Node::Call(call) => {
            let depends_on_time = matches!(
                call.function,
                "days_in_month"
                    | "day_of_month"
                    | "day_of_week"
                    | "day_of_year"
                    | "hour"
                    | "minute"
                    | "month"
                    | "year"
                    | "predict_linear"
                    | "time"
            );
            // Of anything but a selector it answers the time of evaluation.
            let of_selector = || matches!(call.args.first().map(|arg| &unwrapped(arg).node), Some(Node::Vector(_)));
            let stamps = matches!(call.function, "timestamp" | "start_timestamp");
            !depends_on_time && (!stamps || of_selector()) && call.args.iter().all(is_invariant)
        }
        Node::Aggregate(aggregate) => {
            is_invariant(&aggregate.expr) && aggregate.parameter.as_deref().is_none_or(is_invariant)
        }
        Node::Binary(binary) => is_invariant(&binary.left) && is_invariant(&binary.right),
        Node::Unary { expr, .. } | Node::Paren(expr) => is_invariant(expr),
    }
}
