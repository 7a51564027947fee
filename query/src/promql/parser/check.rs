//! The types of a tree, and what can be wrong with a tree whose syntax is right.

use super::error::ParseError;
use crate::logql::units::quote;
use crate::promql::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Node, Span, ValueType, VectorSelector,
};
use crate::promql::functions::{Signature, signature};

/// What an expression of a checked tree evaluates to.
pub fn value_type(expr: &Expr) -> ValueType {
    match &expr.node {
        Node::Number(_) | Node::Duration(_) => ValueType::Scalar,
        Node::String(_) => ValueType::String,
        Node::Vector(_) | Node::Aggregate(_) => ValueType::Vector,
        Node::Matrix(_) | Node::Subquery(_) => ValueType::Matrix,
        Node::Call(call) => signature(call.function).map_or(ValueType::Vector, |s| s.returns),
        Node::Binary(binary) => of_binary(value_type(&binary.left), value_type(&binary.right)),
        Node::Unary { expr, .. } | Node::Paren(expr) => value_type(expr),
    }
}

fn of_binary(left: ValueType, right: ValueType) -> ValueType {
    if (left, right) == (ValueType::Scalar, ValueType::Scalar) { ValueType::Scalar } else { ValueType::Vector }
}

/// Checks a tree, and completes the matching of its binary operations.
pub(super) fn check(expr: &mut Expr, text: &str) -> Result<ValueType, ParseError> {
    let span = expr.span;
    match &mut expr.node {
        Node::Number(_) | Node::Duration(_) => Ok(ValueType::Scalar),
        Node::String(_) => Ok(ValueType::String),
        Node::Vector(selector) => check_selector(selector, span, false),
        Node::Matrix(matrix) => {
            check_selector(&matrix.selector, span, false)?;
            Ok(ValueType::Matrix)
        }
        Node::Subquery(subquery) => of_subquery(check(&mut subquery.expr, text)?, span),
        Node::Call(call) => check_call(call, span, text),
        Node::Aggregate(aggregate) => check_aggregate(aggregate, text),
        Node::Binary(binary) => check_binary(binary, span, text),
        Node::Paren(inner) => check(inner, text),
        Node::Unary { expr: inner, .. } => of_unary(check(inner, text)?, span),
    }
}

// What recursion need not keep on the stack stands apart from it.

fn of_subquery(inner: ValueType, span: Span) -> Result<ValueType, ParseError> {
    if inner == ValueType::Vector {
        return Ok(ValueType::Matrix);
    }
    let found = inner.result_type();
    fail(span, format!("subquery is only allowed on instant vector, got {found} instead"))
}

fn of_unary(inner: ValueType, span: Span) -> Result<ValueType, ParseError> {
    if matches!(inner, ValueType::Scalar | ValueType::Vector) {
        return Ok(inner);
    }
    let found = quote(inner.as_str());
    let allowed = "unary expression only allowed on expressions of type scalar or instant vector";
    fail(span, format!("{allowed}, got {found}"))
}

fn fail<T>(span: Span, message: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::new(span, message))
}

fn expect_type(expr: &mut Expr, wanted: ValueType, place: &str, text: &str) -> Result<(), ParseError> {
    let found = check(expr, text)?;
    if found == wanted { Ok(()) } else { wrong_type(expr.span, wanted, place, found) }
}

fn wrong_type<T>(span: Span, wanted: ValueType, place: &str, found: ValueType) -> Result<T, ParseError> {
    fail(span, format!("expected type {} in {place}, got {}", wanted.as_str(), found.as_str()))
}

fn check_selector(selector: &VectorSelector, span: Span, may_be_empty: bool) -> Result<ValueType, ParseError> {
    match &selector.name {
        Some(name) => {
            // The last matcher is that of the name itself.
            let others = selector.matchers.iter().rev().skip(1).rev();
            if let Some(second) = others.clone().find(|m| m.name == "__name__") {
                let names = format!("{} or {}", quote(name), quote(&second.value));
                return fail(span, format!("metric name must not be set twice: {names}"));
            }
        }
        // Lest a typo selects every series.
        None if !may_be_empty && selector.matchers.iter().all(|m| m.matches("")) => {
            return fail(span, "vector selector must contain at least one non-empty matcher");
        }
        None => {}
    }
    Ok(ValueType::Vector)
}

fn check_aggregate(aggregate: &mut Aggregate, text: &str) -> Result<ValueType, ParseError> {
    expect_type(&mut aggregate.expr, ValueType::Vector, "aggregation expression", text)?;
    if let Some(parameter) = &mut aggregate.parameter {
        let wanted = if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
        expect_type(parameter, wanted, "aggregation parameter", text)?;
    }
    Ok(ValueType::Vector)
}

fn check_call(call: &mut Call, span: Span, text: &str) -> Result<ValueType, ParseError> {
    let signature = check_count(call, span)?;
    let place = format!("call to function {}", quote(signature.name));
    for (index, argument) in call.args.iter_mut().enumerate() {
        let Some(wanted) = signature.arg_type(index) else { break };
        if signature.name == "info" && index == 1 {
            check_info_labels(argument, span, &place)?;
        } else {
            expect_type(argument, wanted, &place, text)?;
        }
    }
    Ok(signature.returns)
}

fn check_count(call: &Call, span: Span) -> Result<&'static Signature, ParseError> {
    let function = quote(call.function);
    let Some(signature) = signature(call.function) else {
        return fail(span, format!("unknown function with name {function}"));
    };
    let (given, min, max) = (call.args.len(), signature.args_min(), signature.args_max());
    let wanted = match max {
        Some(max) if min == max && given != min => Some(min.to_string()),
        _ if given < min => Some(format!("at least {min}")),
        Some(max) if given > max => Some(format!("at most {max}")),
        _ => None,
    };
    if let Some(wanted) = wanted {
        return fail(span, format!("expected {wanted} argument(s) in call to {function}, got {given}"));
    }
    Ok(signature)
}

/// The second argument of `info`: matchers of labels, which may be any.
fn check_info_labels(argument: &Expr, call: Span, place: &str) -> Result<(), ParseError> {
    let found = value_type(argument);
    if found != ValueType::Vector {
        return wrong_type(call, ValueType::Vector, place, found);
    }
    match &argument.node {
        Node::Vector(selector) if selector.name.is_some() => {
            fail(argument.span, "expected label selectors only, got vector selector instead")
        }
        Node::Vector(selector) => check_selector(selector, argument.span, true).map(drop),
        _ => fail(argument.span, "expected label selectors only"),
    }
}

fn check_binary(binary: &mut Binary, span: Span, text: &str) -> Result<ValueType, ParseError> {
    let left = check(&mut binary.left, text)?;
    let right = check(&mut binary.right, text)?;
    check_operation(binary, (left, right), span, text)
}

fn check_operation(
    binary: &mut Binary,
    (left, right): (ValueType, ValueType),
    span: Span,
    text: &str,
) -> Result<ValueType, ParseError> {
    let found = of_binary(left, right);
    let op = binary.op;
    let operator = || operator_span(binary.left.span, binary.right.span, text);
    if binary.bool_result && !op.is_comparison() {
        return fail(operator(), "bool modifier can only be used on comparison operators");
    }
    if op.is_comparison() && !binary.bool_result && found == ValueType::Scalar {
        return fail(operator(), "comparisons between scalars must use BOOL modifier");
    }
    if let Some(matching) = &binary.matching
        && let Some(label) = matching.labels.iter().find(|label| matching.on && matching.include.contains(label))
    {
        let label = quote(label);
        return fail(operator(), format!("label {label} must not occur in ON and GROUP clause at once"));
    }
    for (side, side_span) in [(left, binary.left.span), (right, binary.right.span)] {
        if !matches!(side, ValueType::Scalar | ValueType::Vector) {
            return fail(side_span, "binary expression must contain only scalar and instant vector types");
        }
    }
    check_matching(binary, (left, right), span)?;
    if op.is_set() && (left == ValueType::Scalar || right == ValueType::Scalar) {
        let op = quote(op.as_str());
        return fail(span, format!("set operator {op} not allowed in binary scalar expression"));
    }
    Ok(found)
}

fn check_matching(binary: &mut Binary, sides: (ValueType, ValueType), span: Span) -> Result<(), ParseError> {
    let op: BinaryOp = binary.op;
    let Some(matching) = &mut binary.matching else { return Ok(()) };
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if sides != (ValueType::Vector, ValueType::Vector) {
        if !matching.labels.is_empty() {
            return fail(span, "vector matching only allowed between instant vectors");
        }
        if fills {
            return fail(span, "filling in missing series only allowed between instant vectors");
        }
        binary.matching = None;
    } else if op.is_set() {
        if matching.cardinality != Cardinality::OneToOne {
            return fail(span, format!("no grouping allowed for {} operation", quote(op.as_str())));
        }
        if fills {
            return fail(span, "filling in missing series not allowed for set operators");
        }
        matching.cardinality = Cardinality::ManyToMany;
    }
    Ok(())
}

/// What stands between two operands, without the space around it.
fn operator_span(left: Span, right: Span, text: &str) -> Span {
    let between = text.get(left.end..right.start).unwrap_or_default();
    let start = left.end + (between.len() - between.trim_start().len());
    Span { start, end: start + between.trim().len() }
}
