//! What operators and tools do to the server itself.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::api::params::Params;
use crate::app::App;
use crate::error::{ApiError, Kind};
use crate::server;

/// `POST /farol/api/v1/admin/flush`: answers when all that was received is in segments; with `compact=true`, also when
/// compaction has nothing left to do.
pub(crate) async fn flush(State(app): State<App>, params: Params) -> Result<Json<Value>, ApiError> {
    let compact = matches!(params.get("compact"), "true" | "1");
    app.house()?.store.flush(compact).await?;
    Ok(Json(json!({"flushed": true, "compacted": compact})))
}

/// `POST /-/reload`, as in Prometheus: reads the files again that settings name.
pub(crate) async fn reload(State(app): State<App>) -> Result<(), ApiError> {
    let failed = |why| ApiError::new(Kind::Internal, format!("failed to reload config: {why}\n"));
    server::reload(&app).await.map_err(failed)
}
