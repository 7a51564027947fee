//! Alertmanager's API v2 under `/alertmanager`, for `amtool`, for whatever shows alerts, and for servers that send theirs.
//! Errors are a JSON text, as there.

mod alerts;
mod filter;
mod silences;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{ApiError, add_retry_after};
use crate::notify::Alertmanager;
use crate::notify::view::show_time;

pub(crate) use alerts::{groups, list, post};
pub(crate) use silences::{all as silences, expire as expire_silence, one as silence, set as set_silence};

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 16 << 20;

/// An error as Alertmanager says it.
#[derive(Debug)]
pub(crate) struct Refusal(ApiError);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.0.kind.status(), Json(self.0.message)).into_response();
        add_retry_after(&mut response, self.0.kind);
        response
    }
}

fn notifier(app: &App) -> Result<&Arc<Alertmanager>, ApiError> {
    app.notifier()
}

/// `GET /alertmanager/api/v2/status`. Secrets of the configuration are hidden.
pub(crate) async fn status(State(app): State<App>) -> Result<Json<Value>, Refusal> {
    let notifier = notifier(&app)?;
    Ok(Json(json!({
        "cluster": {"status": "disabled", "peers": []},
        "config": {"original": notifier.config().to_yaml()},
        "uptime": show_time(app.started_ns / 1_000_000),
        "versionInfo": {
            "branch": "", "buildDate": "", "buildUser": "", "goVersion": "", "revision": "",
            "version": env!("CARGO_PKG_VERSION"),
        },
    })))
}

/// `GET /alertmanager/api/v2/receivers`
pub(crate) async fn receivers(State(app): State<App>) -> Result<Json<Value>, Refusal> {
    let config = notifier(&app)?.config();
    let mut receivers: Vec<_> = config.receivers.iter().collect();
    receivers.sort_by_key(|(_, receiver)| receiver.place);
    Ok(Json(receivers.into_iter().map(|(name, _)| json!({"name": name})).collect()))
}

/// `GET /alertmanager/-/healthy` and `/-/ready`
pub(crate) async fn healthy(State(app): State<App>) -> Response {
    match app.not_ready() {
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
        None => "OK".into_response(),
    }
}

/// `POST /alertmanager/-/reload`
pub(crate) async fn reload(State(app): State<App>) -> Result<(), Response> {
    let notifier = notifier(&app).map_err(|error| Refusal(error).into_response())?;
    let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    notifier.reload().await.map_err(|error| {
        let text = format!("failed to reload config: {error}\n");
        (StatusCode::INTERNAL_SERVER_ERROR, content_type, text).into_response()
    })
}
