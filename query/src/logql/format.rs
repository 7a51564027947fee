//! Syntax tree -> text: in one line ([`to_line`], Loki's `String()`), or over several lines as `format_query` lays it
//! out ([`pretty`]).
//!
//! Promise: either text parses to the same tree. Where Loki's own layout loses something (`or` in line filters,
//! precedence in long operations, odd sizes), it is kept here.

use super::ast::{
    BinaryExpr, BinaryOp, Comparison, Expr, Extraction, GroupSide, Grouping, LabelChoice, LabelFilter,
    LabelFormatValue, LabelReplace, LineFilter, LineFilterKind, LineOperand, LogExpr, Logfmt, Matcher, MatchingLabels,
    MetricExpr, RangeAggregation, Stage, Unwrap, VectorAggregation,
};
use super::units::{format_bytes, format_go_duration, format_prometheus_duration, quote};
use crate::number::{format_float, format_float_general};

/// What is longer than this is laid out over several lines.
const LINE_CHARS_MAX: usize = 100;

/// The query in one line, in Loki's canonical form.
pub fn to_line(expr: &Expr) -> String {
    match expr {
        Expr::Log(log) => log_line(log),
        Expr::Metric(metric) => metric_line(metric),
    }
}

/// The query as `format_query` answers it.
pub fn pretty(expr: &Expr) -> String {
    match expr {
        Expr::Log(log) => pretty_log(log, 0),
        Expr::Metric(metric) => pretty_metric(metric, 0),
    }
}

fn joined<T>(items: &[T], separator: &str, text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(separator)
}

fn log_line(log: &LogExpr) -> String {
    let mut line = selector(&log.matchers);
    for stage in &log.stages {
        line.push(' ');
        line.push_str(&stage_line(stage));
    }
    line
}

/// A stream selector: `{a="b", c=~"d"}`.
pub fn selector(matchers: &[Matcher]) -> String {
    format!("{{{}}}", joined(matchers, ", ", matcher))
}

fn matcher(m: &Matcher) -> String {
    format!("{}{}{}", m.name, m.op.as_str(), quote(&m.value))
}

pub(crate) fn stage_line(stage: &Stage) -> String {
    match stage {
        Stage::LineFilter(filter) => line_filter(filter),
        Stage::Json(extractions) if extractions.is_empty() => "| json".to_owned(),
        Stage::Json(found) => format!("| json {}", joined(found, ",", extraction)),
        Stage::Logfmt(logfmt) => logfmt_line(logfmt),
        Stage::Pattern(pattern) => format!("| pattern {}", quote(pattern)),
        Stage::Regexp(regex) => format!("| regexp {}", quote(regex)),
        Stage::Unpack => "| unpack".to_owned(),
        Stage::Decolorize => "| decolorize".to_owned(),
        Stage::LabelFilter(filter) => format!("| {}", label_filter(filter)),
        Stage::LineFormat(template) => format!("| line_format {}", quote(template)),
        Stage::LabelFormat(formats) => {
            let formats = joined(formats, ",", |f| match &f.value {
                LabelFormatValue::Rename(source) => format!("{}={source}", f.name),
                LabelFormatValue::Template(template) => format!("{}={}", f.name, quote(template)),
            });
            format!("| label_format {formats}")
        }
        Stage::Keep(choices) => format!("| keep {}", joined(choices, ",", label_choice)),
        Stage::Drop(choices) => format!("| drop {}", joined(choices, ",", label_choice)),
    }
}

fn line_filter(filter: &LineFilter) -> String {
    let operator = match (filter.kind, filter.negated) {
        (LineFilterKind::Contains, false) => "|=",
        (LineFilterKind::Contains, true) => "!=",
        (LineFilterKind::Regex, false) => "|~",
        (LineFilterKind::Regex, true) => "!~",
        (LineFilterKind::Pattern, false) => "|>",
        (LineFilterKind::Pattern, true) => "!>",
    };
    let operands = joined(&filter.operands, " or ", |operand| match operand {
        LineOperand::Text(text) => quote(text),
        LineOperand::Ip(pattern) => format!("ip({})", quote(pattern)),
    });
    format!("{operator} {operands}")
}

fn extraction(e: &Extraction) -> String {
    format!("{}={}", e.name, quote(&e.expression))
}

fn logfmt_line(logfmt: &Logfmt) -> String {
    let mut line = "| logfmt".to_owned();
    if logfmt.strict {
        line.push_str(" --strict");
    }
    if logfmt.keep_empty {
        line.push_str(" --keep-empty");
    }
    if !logfmt.extractions.is_empty() {
        line.push(' ');
        line.push_str(&joined(&logfmt.extractions, ",", extraction));
    }
    line
}

fn label_choice(choice: &LabelChoice) -> String {
    match choice {
        LabelChoice::Name(name) => name.clone(),
        LabelChoice::Matches(m) => matcher(m),
    }
}

/// A label filter as Loki writes it: `( a="b" , c>5 )`.
pub fn label_filter(filter: &LabelFilter) -> String {
    match filter {
        LabelFilter::And(left, right) => format!("( {} , {} )", label_filter(left), label_filter(right)),
        LabelFilter::Or(left, right) => format!("( {} or {} )", label_filter(left), label_filter(right)),
        LabelFilter::Text(m) => match &m.op {
            super::ast::MatchOp::Regex | super::ast::MatchOp::NotRegex if !m.value.contains(['`', '\r']) => {
                format!("{}{}`{}`", m.name, m.op.as_str(), m.value)
            }
            _ => matcher(m),
        },
        LabelFilter::Number(c) => comparison(c, &format_float(c.value)),
        LabelFilter::Duration(c) => comparison(c, &format_go_duration(c.value)),
        LabelFilter::Bytes(c) => comparison(c, &format_bytes(c.value)),
        LabelFilter::Ip { name, negated, pattern } => {
            format!("{name}{}ip({})", if *negated { "!=" } else { "=" }, quote(pattern))
        }
    }
}

fn comparison<T>(c: &Comparison<T>, value: &str) -> String {
    format!("{}{}{value}", c.name, c.op.as_str())
}

fn unwrap_parts(unwrap: &Unwrap) -> Vec<String> {
    let first = match unwrap.conversion.as_str() {
        Some(function) => format!("| unwrap {function}({})", unwrap.label),
        None => format!("| unwrap {}", unwrap.label),
    };
    let filters = unwrap.filters.iter().map(|filter| format!("| {}", label_filter(filter)));
    std::iter::once(first).chain(filters).collect()
}

fn metric_line(metric: &MetricExpr) -> String {
    match metric {
        MetricExpr::Range(range) => range_line(range),
        MetricExpr::Vector(vector) => vector_line(vector),
        MetricExpr::Binary(binary) => {
            let operator = binary_operator(binary, ",");
            format!("({} {operator} {})", metric_line(&binary.left), metric_line(&binary.right))
        }
        MetricExpr::Literal(value) => literal(*value),
        MetricExpr::VectorLiteral(value) => format!("vector({})", vector_value(*value)),
        MetricExpr::LabelReplace(replace) => {
            let arguments = replace_arguments(replace).join(",");
            format!("label_replace({},{arguments})", metric_line(&replace.inner))
        }
    }
}

/// A number; those that have no literal form, as an operation that gives them.
fn literal(value: f64) -> String {
    match value {
        f64::INFINITY => "(2 ^ 1024)".to_owned(),
        f64::NEG_INFINITY => "(-2 ^ 1025)".to_owned(),
        value if value.is_nan() => "(0 / 0)".to_owned(),
        value => format_float_general(value),
    }
}

/// Six digits after the point, more where these would not do.
fn vector_value(value: f64) -> String {
    let short = format!("{value:.6}");
    if short.parse() == Ok(value) { short } else { format_float(value) }
}

fn replace_arguments(replace: &LabelReplace) -> [String; 4] {
    [&replace.target, &replace.replacement, &replace.source, &replace.regex].map(|argument| quote(argument))
}

fn range_line(range: &RangeAggregation) -> String {
    let mut line = format!("{}(", range.op);
    if let Some(parameter) = range.parameter {
        line.push_str(&format_float(parameter));
        line.push(',');
    }
    line.push_str(&log_line(&range.log));
    if let Some(unwrap) = &range.unwrap {
        for part in unwrap_parts(unwrap) {
            line.push(' ');
            line.push_str(&part);
        }
    }
    line.push_str(&format!("[{}]", format_prometheus_duration(range.range_ns)));
    if range.offset_ns != 0 {
        line.push_str(&format!(" offset {}", format_go_duration(range.offset_ns)));
    }
    line.push(')');
    if let Some(grouping) = &range.grouping {
        line.push_str(&grouping_text(grouping, ","));
    }
    line
}

fn grouping_text(grouping: &Grouping, comma: &str) -> String {
    let word = if grouping.without { "without" } else { "by" };
    format!(" {word} ({})", grouping.labels.join(comma))
}

fn vector_line(vector: &VectorAggregation) -> String {
    let grouping = vector.grouping.as_ref().map_or(String::new(), |g| grouping_text(g, ","));
    let parameter = vector.parameter.map_or(String::new(), |p| format!("{p},"));
    format!("{}{grouping}({parameter}{})", vector.op, metric_line(&vector.inner))
}

/// The operator with its modifiers.
fn binary_operator(binary: &BinaryExpr, comma: &str) -> String {
    let mut text = binary.op.as_str().to_owned();
    if binary.return_bool {
        text.push_str(" bool");
    }
    let Some(labels) = &binary.matching.labels else { return text };
    let (word, labels) = match labels {
        MatchingLabels::On(labels) => ("on", labels),
        MatchingLabels::Ignoring(labels) => ("ignoring", labels),
    };
    let mut group = match binary.matching.group {
        None => "",
        Some(GroupSide::Left) => "group_left",
        Some(GroupSide::Right) => "group_right",
    }
    .to_owned();
    // An operand in parentheses must not be read as the list of labels to include.
    if binary.matching.group.is_some() {
        group.push_str(&format!(" ({})", binary.matching.include.join(comma)));
    }
    format!("{text} {word} ({}) {group}", labels.join(comma))
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn is_long(line: &str) -> bool {
    line.len() > LINE_CHARS_MAX
}

fn pretty_log(log: &LogExpr, level: usize) -> String {
    let line = log_line(log);
    if !is_long(&line) || log.stages.is_empty() {
        return indent(level) + &line;
    }
    let mut lines = vec![indent(level) + &selector(&log.matchers)];
    let inner = indent(level + 1);
    // Neighbouring line filters stay in one line when they fit.
    for group in log.stages.chunk_by(|a, b| matches!((a, b), (Stage::LineFilter(_), Stage::LineFilter(_)))) {
        let one = joined(group, " ", stage_line);
        if is_long(&one) {
            lines.extend(group.iter().map(|stage| inner.clone() + &stage_line(stage)));
        } else {
            lines.push(inner.clone() + &one);
        }
    }
    lines.join("\n")
}

fn pretty_metric(metric: &MetricExpr, level: usize) -> String {
    let line = metric_line(metric);
    if !is_long(&line) {
        return indent(level) + &line;
    }
    match metric {
        MetricExpr::Range(range) => pretty_range(range, level),
        MetricExpr::Vector(vector) => pretty_vector(vector, level),
        MetricExpr::Binary(binary) => pretty_binary(binary, level),
        MetricExpr::LabelReplace(replace) => {
            let inner = indent(level + 1);
            let mut arguments = vec![pretty_metric(&replace.inner, level + 1)];
            arguments.extend(replace_arguments(replace).iter().map(|argument| inner.clone() + argument));
            format!("{}label_replace(\n{}\n{})", indent(level), arguments.join(",\n"), indent(level))
        }
        MetricExpr::Literal(_) | MetricExpr::VectorLiteral(_) => indent(level) + &line,
    }
}

fn pretty_range(range: &RangeAggregation, level: usize) -> String {
    let mut text = format!("{}{}(\n", indent(level), range.op);
    if let Some(parameter) = range.parameter {
        text.push_str(&format!("{}{},\n", indent(level + 1), format_float_general(parameter)));
    }
    text.push_str(&pretty_log(&range.log, level + 1));
    if let Some(unwrap) = &range.unwrap {
        for part in unwrap_parts(unwrap) {
            text.push_str(&format!("\n{}{part}", indent(level + 2)));
        }
    }
    text.push_str(&format!(" [{}]", format_prometheus_duration(range.range_ns)));
    if range.offset_ns != 0 {
        text.push_str(&format!(" offset {}", format_prometheus_duration(range.offset_ns)));
    }
    text.push_str(&format!("\n{})", indent(level)));
    if let Some(grouping) = &range.grouping {
        text.push_str(&grouping_text(grouping, ", "));
    }
    text
}

fn pretty_vector(vector: &VectorAggregation, level: usize) -> String {
    let grouping = vector.grouping.as_ref().map_or(String::new(), |g| grouping_text(g, ", "));
    let parameter = vector.parameter.map_or(String::new(), |p| format!("{}{p},\n", indent(level + 1)));
    let inner = pretty_metric(&vector.inner, level + 1);
    format!("{}{}{grouping}(\n{parameter}{inner}\n{})", indent(level), vector.op, indent(level))
}

fn pretty_binary(binary: &BinaryExpr, level: usize) -> String {
    let side = |metric: &MetricExpr, is_right: bool| {
        if needs_parentheses(binary.op, metric, is_right) && is_long(&metric_line(metric)) {
            format!("{}(\n{}\n{})", indent(level + 1), pretty_metric(metric, level + 2), indent(level + 1))
        } else {
            pretty_metric(metric, level + 1)
        }
    };
    let operator = binary_operator(binary, ", ");
    format!("{}\n{}{}\n{}", side(&binary.left, false), indent(level), operator.trim_end(), side(&binary.right, true))
}

/// Whether a side, written without parentheses, would be torn apart by the operator beside it.
fn needs_parentheses(op: BinaryOp, side: &MetricExpr, is_right: bool) -> bool {
    let MetricExpr::Binary(inner) = side else { return false };
    let (outer, inner) = (precedence(op), precedence(inner.op));
    let right_associative = op == BinaryOp::Pow;
    inner < outer || (inner == outer && is_right != right_associative)
}

/// How tightly an operator binds.
pub(crate) fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod => 5,
        BinaryOp::Pow => 6,
        _ => 3,
    }
}
