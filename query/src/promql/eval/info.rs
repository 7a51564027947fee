//! `info`: labels of info metrics (`target_info`), added to the series of the same instance and job.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use storage::Labels;

use super::Evaluator;
use super::column::{Column, NAME, Series};
use super::merge::same_labels;
use super::prepare::{ms, unwrapped};
use super::select::{Of, metric_text};
use crate::error::QueryError;
use crate::promql::ast::{At, Duration, Edges, Expr, MatchOp, Matcher, Node, Span, VectorSelector};

const TARGET_INFO: &str = "target_info";
/// The labels by which an info series belongs to others.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Name, instance and job of an info series.
type Identity = (String, String, String);

impl Evaluator<'_> {
    pub(super) fn info(&self, args: &[Expr]) -> Result<Vec<Series>, QueryError> {
        let base = self.vector(&args[0])?;
        let matchers = match args.get(1).map(|arg| &unwrapped(arg).node) {
            Some(Node::Vector(selector)) => selector.matchers.clone(),
            _ => vec![matcher(MatchOp::Equal, TARGET_INFO)?],
        };
        let (names, data): (Vec<Matcher>, Vec<Matcher>) = matchers.into_iter().partition(|m| m.name == NAME);
        let names = effective(names)?;
        let is_info = |series: &Series| names.iter().all(|matcher| matcher.matches(series.name()));
        let infos = self.info_series(&args[0], &base, &is_info, &names, &data)?;
        let mut by_identity: FxHashMap<Identity, Vec<usize>> = FxHashMap::default();
        for (at, info) in infos.iter().enumerate() {
            by_identity.entry(identity(&info.labels, info.name())).or_default().push(at);
        }
        let info_names: BTreeSet<&str> = infos.iter().map(Series::name).collect();
        let mut out: Vec<Series> = Vec::new();
        let mut place: FxHashMap<Labels, usize> = FxHashMap::default();
        for series in &base {
            let ignored = is_info(series);
            for step in 0..self.grid.count {
                let Some(point) = series.column.get(step) else { continue };
                let labels = match ignored {
                    true => Some(series.labels.as_ref().clone()),
                    false => {
                        let found = info_names.iter().map(|name| {
                            let own = by_identity.get(&identity(&series.labels, name)).map(Vec::as_slice);
                            newest(&infos, own.unwrap_or_default(), step)
                        });
                        let found: Vec<Option<usize>> = found.collect::<Result<_, _>>()?;
                        let found: Vec<&Labels> =
                            found.into_iter().flatten().map(|at| infos[at].labels.as_ref()).collect();
                        enriched(&series.labels, &found, &data)?
                    }
                };
                let Some(labels) = labels else { continue };
                let at = *place.entry(labels.clone()).or_insert_with(|| {
                    let column = Column::absent(self.grid.count);
                    out.push(Series { labels: Arc::new(labels), drop_name: series.drop_name, column });
                    out.len() - 1
                });
                if out[at].column.is_present(step) {
                    return Err(same_labels());
                }
                out[at].column.set(step, Some(point));
            }
        }
        Ok(out)
    }

    /// The info series that can belong to the base ones; their values are the times of their samples.
    fn info_series(
        &self,
        arg: &Expr,
        base: &[Series],
        is_info: &dyn Fn(&Series) -> bool,
        names: &[Matcher],
        data: &[Matcher],
    ) -> Result<Vec<Series>, QueryError> {
        let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for series in base.iter().filter(|series| !is_info(series)) {
            for label in IDENTIFYING {
                if let Some(value) = series.labels.get(label) {
                    values.entry(label).or_default().insert(value);
                }
            }
        }
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let mut matchers = Vec::new();
        for (label, values) in values {
            let any: Vec<String> = values.into_iter().map(regex::escape).collect();
            let made = Matcher::new(label, MatchOp::Regex, any.join("|"));
            matchers.push(made.map_err(|e| QueryError::Execution(e.to_string()))?);
        }
        matchers.extend(data.iter().chain(names).cloned());
        let (at, offset) = when(arg, 0).unwrap_or((None, 0));
        let offset = Some(Duration::Constant(offset));
        let selector = VectorSelector { name: None, matchers, offset, at, edges: Edges::default() };
        self.select(&selector, Span::default(), Of::TimeMs)
    }
}

fn matcher(op: MatchOp, name: &str) -> Result<Matcher, QueryError> {
    Matcher::new(NAME, op, name).map_err(|e| QueryError::Execution(e.to_string()))
}

/// The matchers of the info metrics' names: without one that says what they are, those that end in `_info`.
fn effective(mut names: Vec<Matcher>) -> Result<Vec<Matcher>, QueryError> {
    if names.is_empty() {
        return Ok(vec![matcher(MatchOp::Equal, TARGET_INFO)?]);
    }
    if !names.iter().any(|m| matches!(m.op, MatchOp::Equal | MatchOp::Regex)) {
        names.insert(0, matcher(MatchOp::Regex, ".+_info")?);
    }
    Ok(names)
}

fn identity(labels: &Labels, name: &str) -> Identity {
    let get = |label: &str| labels.get(label).unwrap_or_default().to_owned();
    (name.to_owned(), get(IDENTIFYING[0]), get(IDENTIFYING[1]))
}

/// `@` and offset of the first selector, with those of the subqueries around it.
fn when(expr: &Expr, offset: i64) -> Option<(Option<At>, i64)> {
    let of_selector = |selector: &VectorSelector| (selector.at, offset + selector.offset.as_ref().map_or(0, ms));
    match &expr.node {
        Node::Vector(selector) => Some(of_selector(selector)),
        Node::Matrix(matrix) => Some(of_selector(&matrix.selector)),
        Node::Subquery(subquery) => {
            let own = subquery.offset.as_ref().map_or(0, ms);
            let (at, total) = when(&subquery.expr, offset)?;
            Some(if at.is_some() { (at, total) } else { (subquery.at, total + own) })
        }
        Node::Call(call) => call.args.iter().find_map(|arg| when(arg, offset)),
        Node::Aggregate(aggregate) => when(&aggregate.expr, offset),
        Node::Binary(binary) => when(&binary.left, offset).or_else(|| when(&binary.right, offset)),
        Node::Unary { expr, .. } | Node::Paren(expr) => when(expr, offset),
        Node::Number(_) | Node::Duration(_) | Node::String(_) => None,
    }
}

/// Of info series of one identity, the one whose sample is the newest.
fn newest(infos: &[Series], own: &[usize], step: usize) -> Result<Option<usize>, QueryError> {
    let mut best: Option<usize> = None;
    for &at in own.iter().filter(|&&at| infos[at].column.is_present(step)) {
        let time = |at: usize| infos[at].column.values[step];
        match best {
            Some(known) if time(known) > time(at) => {}
            Some(known) if time(known) >= time(at) => {
                return Err(QueryError::Execution(format!(
                    "found duplicate series for info metric: existing {} @ {}, new {} @ {}",
                    metric_text(&infos[known].labels),
                    time(known) as i64,
                    metric_text(&infos[at].labels),
                    time(at) as i64
                )));
            }
            _ => best = Some(at),
        }
    }
    Ok(best)
}

/// The labels of a series with those of its info series; `None` when matchers want what they do not have.
fn enriched(base: &Labels, infos: &[&Labels], data: &[Matcher]) -> Result<Option<Labels>, QueryError> {
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in infos.iter().flat_map(|info| info.iter()) {
        let wanted = data.is_empty() || data.iter().any(|matcher| matcher.name == name);
        if name == NAME || !wanted {
            continue;
        }
        if added.get(name).is_some_and(|known| *known != value) {
            return Err(QueryError::Execution(format!("conflicting label: {name}")));
        }
        if base.get(name).is_none() {
            added.insert(name, value);
        }
    }
    if infos.is_empty() && data.iter().any(|matcher| !matcher.matches("")) {
        return Ok(None);
    }
    Ok(Some(Labels::new(base.iter().chain(added))))
}
