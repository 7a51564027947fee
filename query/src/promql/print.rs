//! Tree -> text: in one line ([`print`], Prometheus's `String()`), or over several as `format_query` lays it out
//! ([`pretty`]).
//!
//! Promise: either text parses to the same tree, but for the order of matchers, which are sorted, and for what
//! stands for nothing (`by ()`, a plus sign before a duration). Where Prometheus's own layout loses something (the
//! empty selector of `info`, labels called `without`), it is kept here.

use std::fmt::{self, Write};

use super::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Duration, DurationExpr, Edges, Expr, Grouping, MatchOp, Matcher,
    Node, Subquery, VectorMatching, VectorSelector,
};
use crate::logql::units::{format_prometheus_duration, quote};
use crate::number::{format_float, format_float_general};

/// What is longer than this, in bytes, is laid out over several lines.
const LINE_BYTES_MAX: usize = 100;
/// Levels beyond are not indented further, lest a small query becomes a huge text.
const INDENT_MAX: usize = 50;

/// The query in one line.
pub fn print(expr: &Expr) -> String {
    to_string(|out| write_expr(out, expr, false))
}

/// The query as `format_query` answers it.
pub fn pretty(expr: &Expr) -> String {
    pretty_within(expr, LINE_BYTES_MAX)
}

fn pretty_within(expr: &Expr, line_bytes_max: usize) -> String {
    let mut layout = Layout { out: String::new(), line_bytes_max };
    layout.expr(expr, 0, false);
    layout.out
}

/// Writing into a [`String`] does not fail.
fn to_string(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut out = String::new();
    let _ = write(&mut out);
    out
}

/// `followed` says that an operator comes next that durations have too.
fn write_expr(out: &mut dyn Write, expr: &Expr, followed: bool) -> fmt::Result {
    match &expr.node {
        Node::Number(value) => out.write_str(&format_float(*value)),
        Node::Duration(seconds) => write_seconds(out, *seconds),
        Node::String(text) => write_quoted(out, text),
        Node::Vector(selector) => {
            write_labels(out, selector)?;
            let when = format!("{}{}", at(selector.at), edges(selector.edges));
            write_modifiers(out, &when, selector.offset.as_ref(), followed)
        }
        Node::Matrix(matrix) => {
            write_labels(out, &matrix.selector)?;
            out.write_char('[')?;
            write_duration(out, &matrix.range)?;
            out.write_char(']')?;
            let when = format!("{}{}", edges(matrix.selector.edges), at(matrix.selector.at));
            write_modifiers(out, &when, matrix.selector.offset.as_ref(), followed)
        }
        Node::Subquery(subquery) => {
            write_expr(out, &subquery.expr, false)?;
            write_subquery(out, subquery, followed)
        }
        Node::Call(call) => {
            write!(out, "{}(", call.function)?;
            for (i, argument) in call.args.iter().enumerate() {
                out.write_str(if i == 0 { "" } else { ", " })?;
                write_expr(out, argument, false)?;
            }
            out.write_char(')')
        }
        Node::Aggregate(aggregate) => {
            write_aggregation(out, aggregate)?;
            out.write_char('(')?;
            if let Some(parameter) = &aggregate.parameter {
                write_expr(out, parameter, false)?;
                out.write_str(", ")?;
            }
            write_expr(out, &aggregate.expr, false)?;
            out.write_char(')')
        }
        Node::Binary(binary) => {
            match is_power_of_infinity(binary) {
                true => out.write_str("Inf")?,
                false => write_expr(out, &binary.left, binary.op.of_durations().is_some())?,
            }
            out.write_char(' ')?;
            write_operator(out, binary)?;
            out.write_char(' ')?;
            write_expr(out, &binary.right, followed)
        }
        Node::Unary { negative, expr } => {
            out.write_char(sign(*negative))?;
            write_expr(out, expr, followed)
        }
        Node::Paren(inner) => {
            out.write_char('(')?;
            write_expr(out, inner, false)?;
            out.write_char(')')
        }
    }
}

/// Infinity has a sign when it is written, and before a power that would be the sign of the power.
fn is_power_of_infinity(binary: &Binary) -> bool {
    binary.op == BinaryOp::Pow && matches!(binary.left.node, Node::Number(number) if number == f64::INFINITY)
}

fn sign(negative: bool) -> char {
    if negative { '-' } else { '+' }
}

/// In pieces, so that what measures a line need not read a long text to its end.
fn write_quoted(out: &mut dyn Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(64).map_or(rest.len(), |(at, _)| at);
        let (piece, tail) = rest.split_at(end);
        // The lexer takes this character for broken UTF-8.
        let quoted = quote(piece).replace(char::REPLACEMENT_CHARACTER, "\\ufffd");
        out.write_str(quoted.get(1..quoted.len() - 1).unwrap_or_default())?;
        rest = tail;
    }
    out.write_char('"')
}

/// What was written as a duration: whole milliseconds.
fn write_seconds(out: &mut dyn Write, seconds: f64) -> fmt::Result {
    write_milliseconds(out, (seconds * 1e3).round() as i64)
}

fn write_milliseconds(out: &mut dyn Write, milliseconds: i64) -> fmt::Result {
    if milliseconds < 0 {
        out.write_char('-')?;
    }
    out.write_str(&format_prometheus_duration(milliseconds.saturating_abs().saturating_mul(1_000_000)))
}

fn write_duration(out: &mut dyn Write, duration: &Duration) -> fmt::Result {
    match duration {
        Duration::Constant(milliseconds) => write_milliseconds(out, *milliseconds),
        Duration::Expr(expr, _) => write_duration_expr(out, expr),
    }
}

fn write_duration_expr(out: &mut dyn Write, expr: &DurationExpr) -> fmt::Result {
    let of_two = |out: &mut dyn Write, name: &str, left: &DurationExpr, right: &DurationExpr| {
        write!(out, "{name}(")?;
        write_duration_expr(out, left)?;
        out.write_str(", ")?;
        write_duration_expr(out, right)?;
        out.write_char(')')
    };
    match expr {
        DurationExpr::Number(seconds, true) => write_seconds(out, *seconds),
        DurationExpr::Number(seconds, false) => out.write_str(&format_float(*seconds)),
        DurationExpr::Step => out.write_str("step()"),
        DurationExpr::Range => out.write_str("range()"),
        DurationExpr::Negative(inner) => {
            out.write_char('-')?;
            write_duration_expr(out, inner)
        }
        DurationExpr::Binary(op, left, right) => {
            write_duration_expr(out, left)?;
            write!(out, " {op} ")?;
            write_duration_expr(out, right)
        }
        DurationExpr::Min(left, right) => of_two(out, "min_of", left, right),
        DurationExpr::Max(left, right) => of_two(out, "max_of", left, right),
        DurationExpr::Paren(inner) => {
            out.write_char('(')?;
            write_duration_expr(out, inner)?;
            out.write_char(')')
        }
    }
}

/// Name and matchers.
fn write_labels(out: &mut dyn Write, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref();
    out.write_str(name.unwrap_or_default())?;
    let is_name = |m: &Matcher| m.name == "__name__" && m.op == MatchOp::Equal && Some(m.value.as_str()) == name;
    let mut matchers: Vec<String> =
        selector.matchers.iter().filter(|m| !is_name(m)).map(|m| to_string(|out| write_matcher(out, m))).collect();
    if matchers.is_empty() && name.is_some() {
        return Ok(());
    }
    matchers.sort_unstable();
    write!(out, "{{{}}}", matchers.join(","))
}

fn write_matcher(out: &mut dyn Write, matcher: &Matcher) -> fmt::Result {
    if is_plain(&matcher.name) {
        out.write_str(&matcher.name)?;
    } else {
        write_quoted(out, &matcher.name)?;
    }
    out.write_str(matcher.op.as_str())?;
    write_quoted(out, &matcher.value)
}

/// Whether a label's name needs no quotes.
fn is_plain(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

fn write_label_list(out: &mut dyn Write, labels: &[String]) -> fmt::Result {
    // What is no name between parentheses.
    let is_word = |label: &str| ["without", "inf", "nan"].iter().any(|word| label.eq_ignore_ascii_case(word));
    for (i, label) in labels.iter().enumerate() {
        out.write_str(if i == 0 { "" } else { ", " })?;
        if is_plain(label) && !is_word(label) {
            out.write_str(label)?;
        } else {
            write_quoted(out, label)?;
        }
    }
    Ok(())
}

fn at(at: Option<At>) -> String {
    match at {
        None => String::new(),
        Some(At::Time(milliseconds)) => format!(" @ {:.3}", milliseconds as f64 / 1_000.0),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
    }
}

fn edges(edges: Edges) -> &'static str {
    match edges {
        Edges::Extrapolated => "",
        Edges::Anchored => " anchored",
        Edges::Smoothed => " smoothed",
    }
}

/// The offset, behind the other modifiers where it can be.
fn write_modifiers(out: &mut dyn Write, others: &str, offset: Option<&Duration>, followed: bool) -> fmt::Result {
    let Some(offset) = offset else { return out.write_str(others) };
    let mut text = to_string(|out| write_duration(out, offset));
    // An operator behind a single operand is not the offset's, lest it begins with a parenthesis or two signs.
    let signs = |text: &str| text.bytes().take(2).take_while(|&b| b == b'+' || b == b'-').count();
    while has_operators(offset) && !text.starts_with('(') && signs(&text) < 2 {
        text.insert(0, '+');
    }
    if !followed || !(text.starts_with('(') || signs(&text) == 2) {
        return write!(out, "{others} offset {text}");
    }
    // What follows would be read as part of it.
    match offset {
        _ if !others.is_empty() => write!(out, " offset {text}{others}"),
        Duration::Expr(DurationExpr::Paren(_), _) => write!(out, " offset +{text}"),
        _ => write!(out, " offset +({text})"),
    }
}

/// Whether it is more than one operand with a sign.
fn has_operators(offset: &Duration) -> bool {
    match offset {
        Duration::Expr(DurationExpr::Binary(..), _) => true,
        Duration::Expr(DurationExpr::Negative(inner), _) => {
            matches!(**inner, DurationExpr::Binary(..) | DurationExpr::Negative(_))
        }
        _ => false,
    }
}

/// What follows the expression of a subquery.
fn write_subquery(out: &mut dyn Write, subquery: &Subquery, followed: bool) -> fmt::Result {
    out.write_char('[')?;
    write_duration(out, &subquery.range)?;
    out.write_char(':')?;
    if let Some(step) = &subquery.step {
        write_duration(out, step)?;
    }
    out.write_char(']')?;
    write_modifiers(out, &at(subquery.at), subquery.offset.as_ref(), followed)
}

/// What stands before the parentheses.
fn write_aggregation(out: &mut dyn Write, aggregate: &Aggregate) -> fmt::Result {
    out.write_str(aggregate.op.as_str())?;
    let (word, labels) = match &aggregate.grouping {
        Grouping::By(labels) if labels.is_empty() => return Ok(()),
        Grouping::By(labels) => ("by", labels),
        Grouping::Without(labels) => ("without", labels),
    };
    write!(out, " {word} (")?;
    write_label_list(out, labels)?;
    out.write_str(") ")
}

/// The operator and its modifiers.
fn write_operator(out: &mut dyn Write, binary: &Binary) -> fmt::Result {
    out.write_str(binary.op.as_str())?;
    out.write_str(if binary.bool_result { " bool" } else { "" })?;
    binary.matching.as_ref().map_or(Ok(()), |matching| write_matching(out, matching))
}

fn write_matching(out: &mut dyn Write, matching: &VectorMatching) -> fmt::Result {
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some("group_left"),
        Cardinality::OneToMany => Some("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || group.is_some() {
        write!(out, " {} (", if matching.on { "on" } else { "ignoring" })?;
        write_label_list(out, &matching.labels)?;
        out.write_char(')')?;
    }
    if let Some(group) = group {
        write!(out, " {group} (")?;
        write_label_list(out, &matching.include)?;
        out.write_char(')')?;
    }
    let both = matching.fill_left == matching.fill_right;
    let fills = [
        (if both { "fill" } else { "fill_left" }, matching.fill_left),
        ("fill_right", matching.fill_right.filter(|_| !both)),
    ];
    for (word, value) in fills {
        if let Some(value) = value {
            write!(out, " {word} ({})", format_float_general(value))?;
        }
    }
    Ok(())
}

/// Refuses what would make a line too long.
struct Line {
    bytes_left: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes_left = self.bytes_left.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// The text of [`pretty`] as far as it is written.
struct Layout {
    out: String,
    line_bytes_max: usize,
}

impl Layout {
    fn fits(&self, expr: &Expr) -> bool {
        write_expr(&mut Line { bytes_left: self.line_bytes_max }, expr, false).is_ok()
    }

    fn push(&mut self, write: impl FnOnce(&mut String) -> fmt::Result) {
        // As in `to_string`.
        let _ = write(&mut self.out);
    }

    fn indent(&mut self, level: usize) {
        (0..level.min(INDENT_MAX)).for_each(|_| self.out.push_str("  "));
    }

    /// An expression that begins its line if its level is not 0. Where one is split, its parts are one level deeper.
    fn expr(&mut self, expr: &Expr, level: usize, followed: bool) {
        if let Node::Subquery(subquery) = &expr.node {
            if self.fits(expr) {
                // Without indentation, as Prometheus has it.
                return self.push(|out| write_expr(out, expr, followed));
            }
            self.expr(&subquery.expr, level, false);
            return self.push(|out| write_subquery(out, subquery, followed));
        }
        if let Node::Binary(binary) = &expr.node
            && !self.fits(expr)
        {
            // Its operands begin their own lines.
            if is_power_of_infinity(binary) {
                self.indent(level + 1);
                self.out.push_str("Inf");
            } else {
                self.expr(&binary.left, level + 1, binary.op.of_durations().is_some());
            }
            self.out.push('\n');
            self.indent(level);
            self.push(|out| write_operator(out, binary));
            self.out.push('\n');
            return self.expr(&binary.right, level + 1, followed);
        }
        self.indent(level);
        self.indented(expr, level, followed);
    }

    /// An expression whose line is begun, and that is not split between its operands.
    fn indented(&mut self, expr: &Expr, level: usize, followed: bool) {
        match &expr.node {
            Node::Unary { negative, expr } => {
                self.out.push(sign(*negative));
                let from = self.out.len();
                self.expr(expr, level, followed);
                // What is written has its own indentation, behind the sign.
                let begun = self.out.split_off(from);
                self.out.push_str(begun.trim_start());
            }
            Node::Call(call) if !self.fits(expr) => {
                self.out.push_str(call.function);
                self.out.push_str("(\n");
                for (i, argument) in call.args.iter().enumerate() {
                    self.out.push_str(if i == 0 { "" } else { ",\n" });
                    self.expr(argument, level + 1, false);
                }
                self.close(level);
            }
            Node::Aggregate(aggregate) if !self.fits(expr) => {
                self.push(|out| write_aggregation(out, aggregate));
                self.out.push_str("(\n");
                if let Some(parameter) = &aggregate.parameter {
                    self.expr(parameter, level + 1, false);
                    self.out.push_str(",\n");
                }
                self.expr(&aggregate.expr, level + 1, false);
                self.close(level);
            }
            Node::Paren(inner) if !self.fits(expr) => {
                self.out.push_str("(\n");
                self.expr(inner, level + 1, false);
                self.close(level);
            }
            _ => self.push(|out| write_expr(out, expr, followed)),
        }
    }

    fn close(&mut self, level: usize) {
        self.out.push('\n');
        self.indent(level);
        self.out.push(')');
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
