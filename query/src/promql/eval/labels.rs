//! `label_replace` and `label_join`.

use std::sync::Arc;

use super::Evaluator;
use super::column::{NAME, Series, with_label};
use super::merge::merged;
use super::prepare::unwrapped;
use crate::error::QueryError;
use crate::promql::ast::{Expr, Node};
use crate::regexp::AnchoredRegex;

impl Evaluator<'_> {
    pub(super) fn label_replace(&self, args: &[Expr]) -> Result<Vec<Series>, QueryError> {
        let (to, replacement, from, pattern) = (text(&args[1]), text(&args[2]), text(&args[3]), text(&args[4]));
        let regex = AnchoredRegex::new(pattern)
            .map_err(|_| QueryError::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        valid(to, "destination", "label_replace")?;
        let mut series = self.vector(&args[0])?;
        for one in &mut series {
            if let Some(value) = replaced(&regex, one.labels.get(from).unwrap_or_default(), replacement) {
                set(one, to, &value);
            }
        }
        merged(series, self.grid)
    }

    pub(super) fn label_join(&self, args: &[Expr]) -> Result<Vec<Series>, QueryError> {
        let (to, separator) = (text(&args[1]), text(&args[2]));
        let from: Vec<&str> = args[3..].iter().map(text).collect();
        from.iter().try_for_each(|from| valid(from, "source", "label_join"))?;
        valid(to, "destination", "label_join")?;
        let mut series = self.vector(&args[0])?;
        for one in &mut series {
            let values: Vec<&str> = from.iter().map(|from| one.labels.get(from).unwrap_or_default()).collect();
            let value = values.join(separator);
            set(one, to, &value);
        }
        merged(series, self.grid)
    }
}

/// The replacement with the groups of the match in it; `None` without a match.
fn replaced(regex: &AnchoredRegex, value: &str, replacement: &str) -> Option<String> {
    let captures = regex.captures(value)?;
    let mut text = Vec::new();
    captures.expand(replacement.as_bytes(), &mut text);
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn set(series: &mut Series, label: &str, value: &str) {
    series.labels = Arc::new(with_label(&series.labels, label, value));
    if label == NAME {
        series.drop_name = false;
    }
}

/// The text of an argument that is a string.
pub(super) fn text(arg: &Expr) -> &str {
    match &unwrapped(arg).node {
        Node::String(text) => text,
        _ => "",
    }
}

fn valid(name: &str, which: &str, function: &str) -> Result<(), QueryError> {
    match is_label_name(name) {
        true => Ok(()),
        false => Err(QueryError::Execution(format!("invalid {which} label name in {function}(): {name}"))),
    }
}

/// Any text is a label's name but an empty one; U+FFFD stands for what was no text.
pub(super) fn is_label_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('\u{fffd}')
}
