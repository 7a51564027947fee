//! Every route, one line each: the table of contents of the server.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::get;

use crate::api::{buildinfo, health};
use crate::app::App;
use crate::telemetry;

/// Everything that listens on the HTTP address.
pub(crate) fn http(app: &App) -> Router {
    let routes = Router::new()
        // About the server.
        .route("/ready", get(health::ready))
        .route("/-/ready", get(health::ready))
        .route("/-/healthy", get(health::healthy))
        .route("/loki/api/v1/status/buildinfo", get(buildinfo::loki));
    finish(routes, app)
}

/// What an OTLP exporter needs, on its own address.
pub(crate) fn otlp_http(app: &App) -> Router {
    finish(Router::new().route("/ready", get(health::ready)), app)
}

/// OTLP over gRPC.
pub(crate) fn otlp_grpc(app: &App) -> Router {
    finish(Router::new(), app)
}

/// Bodies are capped where they are read; what is not here is a 404 as Loki says it.
fn finish(routes: Router<App>, app: &App) -> Router {
    routes
        .layer(from_fn_with_state(Arc::clone(app), telemetry::observe))
        .layer(DefaultBodyLimit::disable())
        .fallback(health::not_found)
        .with_state(Arc::clone(app))
}
