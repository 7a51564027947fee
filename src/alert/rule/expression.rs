//! Expressions of rules, parsed: what they read, and what they compare.

use query::logql::{self, MetricExpr};
use query::promql::ast::{self, Expr, Node};
use query::promql::parser;

use super::Language;

/// An expression of a rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Query {
    /// PromQL that gives a vector or a scalar.
    Promql(Box<Expr>),
    /// LogQL that gives numbers.
    Logql(Box<MetricExpr>),
    /// A statement.
    Sql(String),
}

impl Query {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, in the words of its language.
    pub(crate) fn parse(text: &str, language: Language) -> Result<Self, String> {
        match language {
            Language::Promql => {
                let expr = parser::parse(text).map_err(|error| format!("could not parse expression: {error}"))?;
                match parser::value_type(&expr) {
                    ast::ValueType::Vector | ast::ValueType::Scalar => Ok(Self::Promql(Box::new(expr))),
                    other => Err(format!("the expression gives a {}, not a vector or a scalar", other.as_str())),
                }
            }
            Language::Logql => match logql::parse(text).map_err(|error| error.to_string())? {
                logql::Expr::Metric(expr) => Ok(Self::Logql(Box::new(expr))),
                logql::Expr::Log(_) => Err("the expression gives lines, not numbers: count them".to_owned()),
            },
            Language::Sql if text.trim().is_empty() => Err("the statement is empty".to_owned()),
            Language::Sql => {
                query::sql::check(text).map_err(|error| error.to_string())?;
                Ok(Self::Sql(text.to_owned()))
            }
        }
    }

    /// The language it is written in.
    pub(crate) fn language(&self) -> Language {
        match self {
            Self::Promql(_) => Language::Promql,
            Self::Logql(_) => Language::Logql,
            Self::Sql(_) => Language::Sql,
        }
    }

    /// What is compared in the outermost comparison (of an `and` or `unless`: of its left side); `None` when nothing is,
    /// and the result itself is the data.
    pub(crate) fn compared(&self) -> Option<Self> {
        match self {
            Self::Promql(expr) => left_of_promql(expr).map(|expr| Self::Promql(Box::new(expr.clone()))),
            Self::Logql(expr) => left_of_logql(expr).map(|expr| Self::Logql(Box::new(expr.clone()))),
            Self::Sql(_) => None,
        }
    }

    /// Operator and right side of the outermost comparison, as text; `text` is the expression as it was written.
    pub(crate) fn threshold(&self, text: &str) -> Option<String> {
        match self {
            Self::Promql(expr) => threshold_of_promql(expr, text),
            Self::Logql(expr) => threshold_of_logql(expr),
            Self::Sql(_) => None,
        }
    }

    /// The metrics that it reads; `None` when it may read any, or reads no metrics by name.
    pub(crate) fn metric_names(&self) -> Option<Vec<&str>> {
        let mut names = Some(Vec::new());
        match self {
            Self::Promql(expr) => each_selector(expr, &mut |selector| {
                let by_name = |matcher: &&ast::Matcher| matcher.name == "__name__" && matcher.op == ast::MatchOp::Equal;
                match (selector.matchers.iter().find(by_name), &mut names) {
                    (Some(matcher), Some(names)) => names.push(matcher.value.as_str()),
                    _ => names = None,
                }
            }),
            Self::Logql(_) => {}
            Self::Sql(_) => names = None,
        }
        names
    }
}

fn left_of_promql(expr: &Expr) -> Option<&Expr> {
    match &expr.node {
        Node::Paren(inner) => left_of_promql(inner),
        Node::Binary(binary) if binary.op.is_comparison() && !binary.bool_result => Some(&binary.left),
        Node::Binary(binary) if binary.op == ast::BinaryOp::And || binary.op == ast::BinaryOp::Unless => {
            left_of_promql(&binary.left).or(Some(&binary.left))
        }
        _ => None,
    }
}

fn left_of_logql(expr: &MetricExpr) -> Option<&MetricExpr> {
    match expr {
        MetricExpr::Binary(binary) if binary.op.comparison().is_some() && !binary.return_bool => Some(&binary.left),
        MetricExpr::Binary(binary) if binary.op == logql::BinaryOp::And || binary.op == logql::BinaryOp::Unless => {
            left_of_logql(&binary.left).or(Some(&binary.left))
        }
        _ => None,
    }
}

fn threshold_of_promql(expr: &Expr, text: &str) -> Option<String> {
    match &expr.node {
        Node::Paren(inner) => threshold_of_promql(inner, text),
        Node::Binary(binary) if binary.op.is_comparison() => {
            let right = text.get(binary.right.span.start..binary.right.span.end)?;
            Some(format!("{} {}", binary.op.as_str(), right.trim()))
        }
        Node::Binary(binary) if binary.op.is_set() => threshold_of_promql(&binary.left, text),
        _ => None,
    }
}

fn threshold_of_logql(expr: &MetricExpr) -> Option<String> {
    let MetricExpr::Binary(binary) = expr else { return None };
    match binary.op.comparison() {
        Some(op) => {
            let right = logql::to_line(&logql::Expr::Metric(binary.right.clone()));
            Some(format!("{} {right}", op.as_str()))
        }
        None if binary.op.is_set() => threshold_of_logql(&binary.left),
        None => None,
    }
}

fn each_selector<'e>(expr: &'e Expr, visit: &mut dyn FnMut(&'e ast::VectorSelector)) {
    match &expr.node {
        Node::Number(_) | Node::Duration(_) | Node::String(_) => {}
        Node::Vector(selector) => visit(selector),
        Node::Matrix(matrix) => visit(&matrix.selector),
        Node::Subquery(subquery) => each_selector(&subquery.expr, visit),
        Node::Call(call) => call.args.iter().for_each(|arg| each_selector(arg, visit)),
        Node::Aggregate(aggregate) => {
            aggregate.parameter.iter().for_each(|parameter| each_selector(parameter, visit));
            each_selector(&aggregate.expr, visit);
        }
        Node::Binary(binary) => {
            each_selector(&binary.left, visit);
            each_selector(&binary.right, visit);
        }
        Node::Unary { expr, .. } | Node::Paren(expr) => each_selector(expr, visit),
    }
}
