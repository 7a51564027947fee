//! The order of an instant query's answer.

use std::cmp::Ordering;

use super::Evaluator;
use super::column::Series;
use super::labels::text;
use crate::error::QueryError;
use crate::promql::ast::Call;

impl Evaluator<'_> {
    pub(super) fn sorted(&self, call: &Call) -> Result<Vec<Series>, QueryError> {
        let mut series = self.vector(&call.args[0])?;
        match call.function {
            "sort" | "sort_desc" => {
                for one in &mut series {
                    one.column = std::mem::take(&mut one.column).map_floats(|value| value);
                }
                series.retain(|one| !one.column.is_empty());
                let value = |one: &Series| one.column.values.first().copied().unwrap_or(f64::NAN);
                let descending = call.function == "sort_desc";
                series.sort_by(|a, b| by_value(value(a), value(b), descending));
            }
            function => {
                let names: Vec<&str> = call.args[1..].iter().map(text).collect();
                series.sort_by(|a, b| {
                    let get = |one: &Series, name: &str| one.labels.get(name).unwrap_or_default().to_owned();
                    let by_labels = names.iter().map(|name| natural(&get(a, name), &get(b, name)));
                    let order = by_labels.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels));
                    if function == "sort_by_label_desc" { order.reverse() } else { order }
                });
            }
        }
        Ok(series)
    }
}

/// NaN comes last either way.
fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => {
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if descending { order.reverse() } else { order }
        }
        (a, b) => a.cmp(&b),
    }
}

/// Numbers inside of text count as numbers: `a2` comes before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (pieces(a), pieces(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => {
                let number = |piece: &str| piece.parse::<u128>().ok();
                let order = match (number(a), number(b)) {
                    (Some(x), Some(y)) => x.cmp(&y).then_with(|| b.len().cmp(&a.len())),
                    _ => a.cmp(b),
                };
                if order != Ordering::Equal {
                    return order;
                }
            }
        }
    }
}

/// Runs of digits and runs of other characters, by turns.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != first).unwrap_or(rest.len());
        let (piece, more) = rest.split_at(end);
        rest = more;
        Some(piece)
    })
}
