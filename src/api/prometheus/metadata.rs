//! `metadata` and `query_exemplars`: what is known of metrics beside their samples.

use std::collections::BTreeMap;

use ::query::promql::ast::{Expr, Matcher, Node};
use ::query::promql::parser::parse;
use ::query::promql::source::label_matchers;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use storage::metrics::StoredExemplar;

use super::answer::{list, write_labels, write_number, write_time};
use super::error::PromError;
use super::params::bounds;
use super::{Asked, answer, with_metrics};
use crate::api::params::Params;
use crate::app::App;

/// `/api/v1/metadata`, with `metric`, `limit` and `limit_per_metric`.
pub(crate) async fn metadata(State(app): State<App>, asked: Asked) -> Result<Response, PromError> {
    let params = &asked.params;
    let (limit, per_metric) = (count(params, "limit")?, count(params, "limit_per_metric")?);
    let metric = params.get("metric").to_owned();
    let budget = app.house()?.engine.budget();
    with_metrics(&app, asked.tenant, budget, move |_, snapshot, _| {
        let mut all: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        let wanted = snapshot.metadata().iter().filter(|known| metric.is_empty() || metric == known.name);
        for known in wanted.take(limit) {
            let one = json!({ "type": known.kind.as_str(), "help": known.help, "unit": known.unit });
            let of_metric = all.entry(&known.name).or_default();
            if of_metric.len() < per_metric {
                of_metric.push(one);
            }
        }
        Ok(answer::success(&all))
    })
    .await
}

/// As in Prometheus, a negative number is no limit.
fn count(params: &Params, name: &str) -> Result<usize, PromError> {
    match params.get(name) {
        "" => Ok(usize::MAX),
        text => match text.parse::<i64>() {
            Ok(count) => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
            Err(_) => Err(PromError::bad_data(format!("{name} must be a number"))),
        },
    }
}

/// `/api/v1/query_exemplars`: the exemplars of every series that the query selects.
pub(crate) async fn exemplars(State(app): State<App>, asked: Asked) -> Result<Response, PromError> {
    let (start, end) = bounds(&asked.params)?;
    if end < start {
        return Err(PromError::bad_data("end timestamp must not be before start timestamp"));
    }
    let expr = parse(asked.params.get("query")).map_err(|error| PromError::bad_data(error.to_string()))?;
    let mut selectors = Vec::new();
    each_selector(&expr, &mut |matchers| selectors.push(label_matchers(matchers)));
    if selectors.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let budget = app.house()?.engine.budget();
    with_metrics(&app, asked.tenant, budget, move |_, snapshot, budget| {
        let mut found = BTreeMap::new();
        for matchers in selectors {
            budget.check()?;
            found.extend(snapshot.exemplars(&matchers, start, end)?);
        }
        let mut out = b"{\"status\":\"success\",\"data\":".to_vec();
        list(&mut out, found, |out, (labels, exemplars)| {
            out.extend_from_slice(b"{\"seriesLabels\":");
            write_labels(out, &labels);
            out.extend_from_slice(b",\"exemplars\":");
            list(out, &exemplars, write_exemplar);
            out.push(b'}');
        });
        out.push(b'}');
        Ok(answer::json(out))
    })
    .await
}

fn write_exemplar(out: &mut Vec<u8>, exemplar: &StoredExemplar) {
    out.extend_from_slice(b"{\"labels\":");
    write_labels(out, &exemplar.labels);
    out.extend_from_slice(b",\"value\":\"");
    write_number(out, exemplar.value);
    out.extend_from_slice(b"\",\"timestamp\":");
    write_time(out, exemplar.timestamp);
    out.push(b'}');
}

fn each_selector(expr: &Expr, take: &mut dyn FnMut(&[Matcher])) {
    match &expr.node {
        Node::Vector(selector) => take(&selector.matchers),
        Node::Matrix(matrix) => take(&matrix.selector.matchers),
        Node::Subquery(subquery) => each_selector(&subquery.expr, take),
        Node::Call(call) => call.args.iter().for_each(|arg| each_selector(arg, take)),
        Node::Aggregate(aggregate) => {
            aggregate.parameter.iter().for_each(|parameter| each_selector(parameter, take));
            each_selector(&aggregate.expr, take);
        }
        Node::Binary(binary) => {
            each_selector(&binary.left, take);
            each_selector(&binary.right, take);
        }
        Node::Unary { expr, .. } | Node::Paren(expr) => each_selector(expr, take),
        Node::Number(_) | Node::Duration(_) | Node::String(_) => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_selector_is_found() {
        let mut names = Vec::new();
        let expr =
            parse("sum(rate(a[5m])) / on () (b offset 1m) + max_over_time((-c)[1h:1m]) > topk(scalar(d), e)").unwrap();
        each_selector(&expr, &mut |matchers| names.extend(matchers.iter().map(|matcher| matcher.value.clone())));
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
    }
}
