//! Texts that a line must contain to come through a pipeline: what the index is asked before a line is read.
//!
//! [`needles`] answers them in conjunctive form: of each inner list one text is in the line. It is sound: a line
//! without them is always filtered out. It draws on line filters that see the line as stored, and on label filters
//! behind a parser: a parsed value stands in the line, but for what an escape may hide.

mod from_regex;

use std::collections::BTreeSet;

use storage::Needle;

use super::ast::{LabelFilter, LabelFormat, LineFilter, LineFilterKind, LineOperand, MatchOp, Matcher, Stage};
use super::pipeline::{DUPLICATE_SUFFIX, line_texts, reordered};
use from_regex::Literal;
pub use from_regex::fold;

/// The most texts of which one must be there; longer lists tell little.
const ALTERNATIVES_MAX: usize = 64;

/// What a line must contain to pass `stages`. `known` says whether a record can have a label of that name as a stream
/// label or metadata (resource, attribute, level): such a value need not be in the line.
pub fn needles(stages: &[Stage], known: &dyn Fn(&str) -> bool) -> Vec<Vec<Needle>> {
    let mut found = Vec::new();
    let (mut line_is_stored, mut parsed) = (true, false);
    let mut made: BTreeSet<&str> = BTreeSet::new();
    for stage in reordered(stages) {
        match stage {
            Stage::LineFilter(filter) if line_is_stored => found.extend(of_line_filter(filter)),
            Stage::LineFormat(_) | Stage::Decolorize => line_is_stored = false,
            // What a parser finds in a line that a stage made is not in the stored line, and may replace nothing
            // that was found before: nothing is known from here on.
            _ if is_parser(stage) && !line_is_stored => break,
            _ if is_parser(stage) => {
                parsed = true;
                line_is_stored &= !matches!(stage, Stage::Unpack);
            }
            Stage::LabelFormat(formats) => made.extend(formats.iter().map(|f: &LabelFormat| f.name.as_str())),
            Stage::LabelFilter(filter) if parsed => {
                let usable = |name: &str| {
                    !name.starts_with("__") && !name.ends_with(DUPLICATE_SUFFIX) && !made.contains(name) && !known(name)
                };
                found.extend(of_label_filter(filter, &usable));
            }
            _ => {}
        }
    }
    let mut clauses: Vec<Vec<Needle>> = Vec::new();
    for clause in found {
        let needles: Vec<Needle> = clause.into_iter().map(Literal::into_needle).collect();
        if !clauses.contains(&needles) {
            clauses.push(needles);
        }
    }
    clauses
}

/// One of these must be in the line.
type Clause = Vec<Literal>;

fn is_parser(stage: &Stage) -> bool {
    matches!(stage, Stage::Json(_) | Stage::Logfmt(_) | Stage::Pattern(_) | Stage::Regexp(_) | Stage::Unpack)
}

fn of_line_filter(filter: &LineFilter) -> Vec<Clause> {
    if filter.negated {
        return Vec::new();
    }
    // As the filter itself does: an operand that matches everything is left out while there are others.
    let matters = |operand: &&LineOperand| !matches!(operand, LineOperand::Text(text) if text.is_empty());
    let each: Vec<Vec<Clause>> = filter.operands.iter().filter(matters).map(|o| of_operand(filter.kind, o)).collect();
    any_of(each)
}

/// Texts that are, as they are, in every line that an operand matches.
pub(crate) fn required(kind: LineFilterKind, operand: &LineOperand) -> Vec<String> {
    let single = |clause: Clause| match <[Literal; 1]>::try_from(clause) {
        Ok([one]) if !one.ignore_case && !one.text.is_empty() => Some(one.text),
        _ => None,
    };
    of_operand(kind, operand).into_iter().filter_map(single).collect()
}

fn of_operand(kind: LineFilterKind, operand: &LineOperand) -> Vec<Clause> {
    match (kind, operand) {
        // An IPv4 address has one form only.
        (_, LineOperand::Ip(pattern)) if pattern.parse::<std::net::Ipv4Addr>().is_ok() => {
            vec![vec![Literal::exact(pattern)]]
        }
        (_, LineOperand::Ip(_)) => Vec::new(),
        (LineFilterKind::Contains, LineOperand::Text(text)) => vec![vec![Literal::exact(text)]],
        (LineFilterKind::Regex, LineOperand::Text(regex)) => from_regex::clauses(regex),
        (LineFilterKind::Pattern, LineOperand::Text(pattern)) => {
            line_texts(pattern).iter().map(|text| vec![Literal::exact(text)]).collect()
        }
    }
}

/// What follows when one of several conditions holds: of each, its most telling clause, together.
fn any_of(mut each: Vec<Vec<Clause>>) -> Vec<Clause> {
    if each.len() == 1 {
        return each.pop().unwrap_or_default();
    }
    let mut union = Vec::new();
    for clauses in each {
        match best(clauses) {
            Some(clause) => union.extend(clause),
            None => return Vec::new(),
        }
    }
    if union.is_empty() || union.len() > ALTERNATIVES_MAX { Vec::new() } else { vec![union] }
}

/// The clause whose shortest text is longest.
fn best(clauses: Vec<Clause>) -> Option<Clause> {
    clauses.into_iter().max_by_key(|clause| clause.iter().map(|l| l.text.len()).min())
}

fn of_label_filter(filter: &LabelFilter, usable: &dyn Fn(&str) -> bool) -> Vec<Clause> {
    match filter {
        LabelFilter::And(left, right) => {
            let mut both = of_label_filter(left, usable);
            both.extend(of_label_filter(right, usable));
            both
        }
        LabelFilter::Or(left, right) => any_of(vec![of_label_filter(left, usable), of_label_filter(right, usable)]),
        LabelFilter::Text(matcher) if usable(&matcher.name) && !matcher.matches_empty() => of_matcher(matcher),
        _ => Vec::new(),
    }
}

/// A parsed value stands in the line as it is, or with escapes.
fn of_matcher(matcher: &Matcher) -> Vec<Clause> {
    match matcher.op {
        MatchOp::Equal => {
            let value = Literal::exact(&matcher.value);
            pieces(&value).into_iter().map(|piece| vec![piece, hidden()]).collect()
        }
        MatchOp::Regex => {
            from_regex::clauses(&matcher.value).into_iter().filter_map(|clause| visible(&clause)).collect()
        }
        MatchOp::NotEqual | MatchOp::NotRegex => Vec::new(),
    }
}

/// Any character may be written so in JSON and in quoted logfmt values.
fn hidden() -> Literal {
    Literal::exact("\\u")
}

/// Of each text its longest piece that no other escape can tear apart.
fn visible(clause: &[Literal]) -> Option<Clause> {
    let longest = |literal: &Literal| pieces(literal).into_iter().max_by_key(|piece| piece.text.len());
    let mut seen: Clause = clause.iter().map(longest).collect::<Option<_>>()?;
    seen.push(hidden());
    Some(seen)
}

/// The parts between characters that have a short escape, and spaces, for which an invalid character may stand.
fn pieces(literal: &Literal) -> Vec<Literal> {
    let escaped = ['"', '\'', '\\', '/', ' ', '\x08', '\x0C', '\n', '\r', '\t'];
    let parts = literal.text.split(escaped).filter(|part| !part.is_empty());
    parts.map(|part| Literal { text: part.to_owned(), ignore_case: literal.ignore_case }).collect()
}

#[cfg(test)]
mod tests;
