//! What is in lines and streams without anybody having said so, for pickers of fields and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use query::detected::Detector;
use query::labels::streams_about;
use query::logql::{Expr, parse};
use query::{Answer, CancelOnDrop, Direction, LogQuery, QueryError, Request};
use serde_json::{Value, json};
use storage::Tenant;

use super::answer::json as json_body;
use super::{blocking, run_on, selector, with_snapshot};
use crate::api::params::Params;
use crate::app::App;
use crate::error::ApiError;
use crate::tenant;

/// Lines that are looked at when the query does not say.
const DEFAULT_LINES: i64 = 100;
/// Fields, or values, in an answer when the query does not say.
const DEFAULT_LIMIT: i64 = 1000;
/// Labels that are shown although all of their values are identifiers.
const ALWAYS_SHOWN: [&str; 4] = ["cluster", "namespace", "instance", "pod"];

/// `/loki/api/v1/detected_fields`.
pub(crate) async fn fields(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = limit(&params)?;
    let detector = detect(&app, tenant, &params).await?;
    let fields: Vec<Value> = detector
        .fields()
        .iter()
        .take(limit)
        .map(|(name, field)| {
            let parsers = (!field.parsers.is_empty()).then_some(&field.parsers);
            let mut shown =
                json!({"label": name, "type": field.kind, "cardinality": field.values.len(), "parsers": parsers});
            if let Some(path) = &field.json_path {
                shown["jsonPath"] = json!(path);
            }
            shown
        })
        .collect();
    Ok(with_limit("fields", &fields, limit))
}

/// `/loki/api/v1/detected_field/{name}/values`.
pub(crate) async fn field_values(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = limit(&params)?;
    let detector = detect(&app, tenant, &params).await?;
    let values: BTreeSet<&String> = detector.fields().get(&name).iter().flat_map(|field| &field.values).collect();
    let values: Vec<Value> = values.into_iter().take(limit).map(|value| json!(value)).collect();
    Ok(with_limit("values", &values, limit))
}

/// `/loki/api/v1/detected_labels`.
pub(crate) async fn labels(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    params: Params,
) -> Result<Response, ApiError> {
    let selectors = match params.get("query") {
        "" | "{}" => Vec::new(),
        text => vec![selector(text)?],
    };
    let bounds = params.ordered_bounds(app.clock.now_ns())?;
    let found = with_snapshot(&app, tenant, bounds.start..bounds.end, move |snapshot, time| {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for stream in streams_about(snapshot, &selectors, time)? {
            for (name, value) in stream.labels().iter() {
                let values = match found.get_mut(name) {
                    Some(values) => values,
                    None => found.entry(name.to_owned()).or_default(),
                };
                if !values.contains(value) {
                    values.insert(value.to_owned());
                }
            }
        }
        Ok(found)
    });
    let shown = found
        .await?
        .into_iter()
        .filter(|(name, values)| ALWAYS_SHOWN.contains(&name.as_str()) || !are_identifiers(values));
    let shown: Vec<Value> = shown.map(|(name, values)| json!({"label": name, "cardinality": values.len()})).collect();
    Ok(json_body(json!({"detectedLabels": shown}).to_string().into_bytes()))
}

/// Whether all values are identifiers, by which nobody picks. A label of 0 and 1 is a yes or no.
fn are_identifiers(values: &BTreeSet<String>) -> bool {
    let yes_or_no = values.iter().all(|value| value == "0" || value == "1");
    !yes_or_no && values.iter().all(|value| is_identifier(value))
}

/// A number or a UUID.
fn is_identifier(value: &str) -> bool {
    let is_uuid = || {
        let hex = value.bytes().filter(|byte| *byte != b'-');
        value.len() == 36 && hex.clone().count() == 32 && hex.clone().all(|byte| byte.is_ascii_hexdigit())
    };
    value.parse::<f64>().is_ok() || is_uuid()
}

fn limit(params: &Params) -> Result<usize, ApiError> {
    let default = params.number("field_limit", DEFAULT_LIMIT)?;
    match params.number("limit", default)? {
        limit if limit > 0 => Ok(limit as usize),
        _ => Err(ApiError::bad_request("limit must be a positive value")),
    }
}

/// As Loki writes it: what is empty is left out.
fn with_limit(name: &str, found: &[Value], limit: usize) -> Response {
    let body = if found.is_empty() { json!({}) } else { json!({name: found, "limit": limit}) };
    json_body(format!("{body}\n").into_bytes())
}

/// Looks at the newest lines that a query finds.
async fn detect(app: &App, tenant: Tenant, params: &Params) -> Result<Detector, ApiError> {
    let bounds = params.ordered_bounds(app.clock.now_ns())?;
    let Expr::Log(log) = parse(params.get("query")).map_err(QueryError::from)? else {
        return Err(ApiError::bad_request("only log selector is supported"));
    };
    let lines = params.number("line_limit", DEFAULT_LINES)?;
    if lines <= 0 || lines > app.config.query.entries_max as i64 {
        return Err(ApiError::bad_request("line_limit must be a positive value within the limit of entries"));
    }
    let request = Request::Logs(LogQuery {
        log,
        time: bounds.start..bounds.end,
        limit: lines as usize,
        direction: Direction::Backward,
        interval: 0,
        categorize: true,
    });
    let place = app.house()?.queries.enter().await?;
    let budget = app.house()?.engine.budget();
    let _cancel = CancelOnDrop(Arc::clone(&budget));
    let app = Arc::clone(app);
    blocking(move || {
        let _place = place;
        let snapshot = app.house()?.store.snapshot(&tenant, Some(bounds.start..bounds.end));
        let mut detector = Detector::new().map_err(QueryError::from)?;
        if let (Answer::Streams(streams), _) = run_on(&app, &snapshot, &request, &budget)? {
            detector.look_at(&streams);
        }
        Ok(detector)
    })
    .await
}
