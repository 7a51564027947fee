//! What tools ask a Loki about itself, answered for one process.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{ApiError, Kind};

/// `GET /config`: the settings in use, as TOML.
pub(crate) async fn config(State(app): State<App>) -> Result<String, ApiError> {
    toml::to_string(&app.config).map_err(|e| ApiError::new(Kind::Internal, format!("write the settings: {e}")))
}

/// `GET /services`: all of one process, in one state.
pub(crate) async fn services(State(app): State<App>) -> String {
    let state = if app.not_ready().is_none() { "Running" } else { "Starting" };
    ["server", "ingester", "store", "querier", "compactor"].map(|name| format!("{name} => {state}\n")).concat()
}

/// `GET /ring`: there is one member.
pub(crate) async fn ring(State(app): State<App>) -> Response {
    let state = if app.not_ready().is_none() { "ACTIVE" } else { "JOINING" };
    let address = app.config.http.to_string();
    Json(json!({"shards": [{"id": "farol", "state": state, "address": address, "zone": ""}]})).into_response()
}

/// `GET /loki/api/v1/drilldown-limits`: what Grafana's Logs Drilldown may ask for.
pub(crate) async fn drilldown_limits(State(app): State<App>) -> Json<Value> {
    let query = &app.config.query;
    let retention = app.config.storage.retention.set().map_or("0s".to_owned(), |span| span.to_string());
    Json(json!({
        "limits": {
            "discover_log_levels": true,
            "discover_service_name": ["service_name"],
            "log_level_fields": ["level", "severity"],
            "max_entries_limit_per_query": query.entries_max,
            "max_line_size_truncate": false,
            "max_query_bytes_read": "0B",
            "max_query_length": "0s",
            "max_query_lookback": "0s",
            "max_query_range": "0s",
            "max_query_series": query.series_max,
            "metric_aggregation_enabled": false,
            "otlp_config": {},
            "pattern_persistence_enabled": true,
            "query_timeout": query.timeout.to_string(),
            "retention_period": retention,
            "retention_stream": [],
            "volume_enabled": true,
            "volume_max_series": 1000,
        },
        "pattern_ingester_enabled": true,
        "version": concat!("farol-", env!("CARGO_PKG_VERSION")),
    }))
}
