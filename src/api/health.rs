//! Is the server there, and is it ready.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::{ApiError, Kind};

/// `GET /ready`: 200 once all that was acknowledged can be queried; 503 with the reason before that, and when stopping.
pub(crate) async fn ready(State(app): State<App>) -> Response {
    match app.not_ready() {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(reason) => ApiError::new(Kind::Unavailable, reason).into_response(),
    }
}

/// `GET /-/healthy`: 200 while the process answers.
pub(crate) async fn healthy() -> &'static str {
    "Farol is healthy.\n"
}

/// Everything that is not there, in Loki's words.
pub(crate) async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "404 page not found\n")
        .into_response()
}
