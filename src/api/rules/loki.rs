//! Loki's ruler API: groups of rules as YAML, under namespaces. What comes this way is LogQL unless it says otherwise.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::alert::rule::{GroupYaml, Language};
use crate::alert::ruler::Origin;
use crate::api::push::body;
use crate::app::App;
use crate::error::{ApiError, Kind};
use crate::tenant;

/// Largest group.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// `GET /loki/api/v1/rules`: every group, by namespace.
pub(crate) async fn list(State(app): State<App>, tenant::Of(tenant): tenant::Of) -> Result<Response, ApiError> {
    shown(&app, &tenant, None)
}

/// `GET /loki/api/v1/rules/{namespace}`.
pub(crate) async fn list_namespace(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    Path(namespace): Path<String>,
) -> Result<Response, ApiError> {
    shown(&app, &tenant, Some(&namespace))
}

/// `GET /loki/api/v1/rules/{namespace}/{group}`.
pub(crate) async fn get(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let groups = app.ruler()?.groups(&tenant);
    let found = groups.iter().find(|group| {
        group.origin == Origin::Api && group.group.key.namespace == namespace && group.group.key.name == name
    });
    match found {
        Some(running) => yaml(&*running.group.yaml),
        None => Err(ApiError::new(Kind::NotFound, "group does not exist")),
    }
}

/// `POST /loki/api/v1/rules/{namespace}`: a group, as YAML. 202 means that it is kept and is being evaluated.
pub(crate) async fn put(
    State(app): State<App>,
    Path(namespace): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let tenant = tenant::of(&parts.headers)?;
    let body = body::collect(body, &parts.headers, GROUP_BYTES_MAX, app.config.ingest.body_timeout.0).await?;
    let text = std::str::from_utf8(&body).map_err(|_| ApiError::bad_request("the body is no UTF-8"))?;
    app.ruler()?.put_group(&tenant, &namespace, text, Language::Logql).await?;
    Ok(accepted())
}

/// `DELETE /loki/api/v1/rules/{namespace}/{group}`.
pub(crate) async fn delete(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    app.ruler()?.delete_groups(&tenant, &namespace, Some(&name)).await?;
    Ok(accepted())
}

/// `DELETE /loki/api/v1/rules/{namespace}`.
pub(crate) async fn delete_namespace(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    Path(namespace): Path<String>,
) -> Result<Response, ApiError> {
    app.ruler()?.delete_groups(&tenant, &namespace, None).await?;
    Ok(accepted())
}

fn shown(app: &App, tenant: &storage::Tenant, namespace: Option<&str>) -> Result<Response, ApiError> {
    let groups = app.ruler()?.groups(tenant);
    let mut by_namespace: BTreeMap<&str, Vec<&GroupYaml>> = BTreeMap::new();
    for running in groups.iter().filter(|running| running.origin == Origin::Api) {
        let key = &running.group.key;
        if namespace.is_none_or(|namespace| namespace == key.namespace) {
            by_namespace.entry(&key.namespace).or_default().push(&running.group.yaml);
        }
    }
    if by_namespace.is_empty() {
        return Err(ApiError::new(Kind::NotFound, "no rule groups found"));
    }
    yaml(&by_namespace)
}

fn yaml(content: &impl Serialize) -> Result<Response, ApiError> {
    let text = serde_saphyr::to_string(content)
        .map_err(|error| ApiError::new(Kind::Internal, format!("write rules as YAML: {error}")))?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text).into_response())
}

fn accepted() -> Response {
    let body = json!({ "status": "success", "data": null, "errorType": "", "error": "" });
    (StatusCode::ACCEPTED, Json(body)).into_response()
}
