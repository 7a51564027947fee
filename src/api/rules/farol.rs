//! Farol's own way to rules: JSON, with all that is known of them.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{alert, time};
use crate::alert::rule::Language;
use crate::alert::ruler::{Origin, Running, Watched};
use crate::api::params::Params;
use crate::api::push::body;
use crate::app::App;
use crate::error::{ApiError, Kind};
use crate::tenant;

/// Largest group.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// A group that is put.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    namespace: String,
    /// Of a group that does not say its own.
    #[serde(default)]
    language: Language,
    /// With the fields of a rule file.
    group: Value,
}

/// `GET /farol/api/v1/rules`: every group, and what is wrong with rule files; with `namespace`, those of one.
pub(crate) async fn list(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    params: Params,
) -> Result<Response, ApiError> {
    let (ruler, namespace) = (app.ruler()?, params.get("namespace"));
    let groups = ruler.groups(&tenant);
    let wanted = groups.iter().filter(|running| namespace.is_empty() || running.group.key.namespace == namespace);
    let groups: Vec<Value> = wanted.map(|running| group(running)).collect();
    // Files are the business of the tenant that their rules are of.
    let mistakes = if tenant == ruler.settings.tenant { ruler.mistakes().await } else { Vec::new() };
    let mistakes: Vec<Value> =
        mistakes.iter().map(|one| json!({ "file": one.file, "line": one.line, "message": one.message })).collect();
    Ok(Json(json!({ "groups": groups, "mistakes": mistakes })).into_response())
}

/// `GET /farol/api/v1/rules/{id}`.
pub(crate) async fn get(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (running, watched) = app.ruler()?.rule(&tenant, &id).ok_or_else(|| no_such_rule(&id))?;
    let mut shown = rule(&watched);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("namespace".to_owned(), running.group.key.namespace.clone().into());
        fields.insert("group".to_owned(), running.group.key.name.clone().into());
    }
    Ok(Json(shown).into_response())
}

/// `PUT /farol/api/v1/rules`: `{"namespace", "language", "group": {"name", "rules", ...}}`, in place of the group of that name.
pub(crate) async fn put(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let tenant = tenant::of(&parts.headers)?;
    let body = body::collect(body, &parts.headers, GROUP_BYTES_MAX, app.config.ingest.body_timeout.0).await?;
    let put: Put = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request(format!("the body is no JSON object with namespace and group: {error}"))
    })?;
    // JSON is YAML.
    let text = put.group.to_string();
    app.ruler()?.put_group(&tenant, &put.namespace, &text, put.language).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE /farol/api/v1/rules?namespace=...&group=...`; without `group`, all of the namespace.
pub(crate) async fn delete(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    params: Params,
) -> Result<Response, ApiError> {
    let name = Some(params.get("group")).filter(|name| !name.is_empty());
    app.ruler()?.delete_groups(&tenant, params.get("namespace"), name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// There is no rule of that id.
pub(super) fn no_such_rule(id: &str) -> ApiError {
    ApiError::new(Kind::NotFound, format!("there is no rule {id:?}: GET /farol/api/v1/rules lists them"))
}

fn group(running: &Running) -> Value {
    let (group, last) = (&running.group, running.last_run());
    json!({
        "namespace": group.key.namespace,
        "name": group.key.name,
        "origin": match running.origin { Origin::File => "file", Origin::Api => "api" },
        "language": group.language.as_str(),
        "interval_ms": running.interval_ms,
        "query_offset_ms": running.query_offset_ms,
        "limit": group.limit,
        "last_run": { "began": time(last.began_ns), "seconds": last.took.as_secs_f64() },
        "rules": running.rules.iter().map(|watched| rule(watched)).collect::<Vec<_>>(),
    })
}

pub(super) fn rule(watched: &Watched) -> Value {
    let (rule, status) = (&watched.rule, watched.status().clone());
    let mut shown = json!({
        "id": rule.id,
        "name": rule.name,
        "type": if rule.alerting().is_some() { "alerting" } else { "recording" },
        "language": rule.query.language().as_str(),
        "expr": rule.expr,
        "labels": rule.labels,
        "line": rule.line,
        "health": status.health.as_str(),
        "last_error": status.last_error,
        "last_evaluation": time(status.last_evaluation_ns),
        "evaluation_seconds": status.took.as_secs_f64(),
    });
    if let (Some(alerting), Some(fields)) = (rule.alerting(), shown.as_object_mut()) {
        let more = json!({
            "state": status.state.phase().as_str(),
            "threshold": rule.query.threshold(&rule.expr),
            "for_ms": alerting.for_ms,
            "keep_firing_for_ms": alerting.keep_firing_for_ms,
            "annotations": alerting.annotations,
            "no_data": alerting.no_data,
            "on_error": alerting.on_error,
            "lines": alerting.lines,
            "alerts": status.state.active().map(alert).collect::<Vec<_>>(),
        });
        if let Value::Object(more) = more {
            fields.extend(more);
        }
    }
    shown
}
