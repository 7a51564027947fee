//! OTLP's export requests, over HTTP and gRPC alike.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use ingest::{otlp_json, otlp_logs};

use super::body::Encoding;
use super::otlp::{self, ExportResponse, Format};
use super::{Decoder, Door, Packed, batch, receive, take};
use crate::app::App;
use crate::error::ApiError;

/// `POST /v1/logs`.
pub(crate) async fn logs(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let format = match Format::of(&parts.headers) {
        Ok(format) => format,
        Err(error) => return error.into_response(),
    };
    let taken = async {
        let encoding = Encoding::of(&parts.headers)?;
        let packed = receive(&app, &parts.headers, body, encoding).await?;
        take_logs(&app, &parts.headers, packed, format).await
    };
    match taken.await {
        Ok(response) => response.into_http(format, "rejectedLogRecords"),
        Err(error) => otlp::refuse(format, &error),
    }
}

/// Takes an `ExportLogsServiceRequest` in.
///
/// # Errors
/// See [`take`].
pub(crate) async fn take_logs(
    app: &App,
    headers: &HeaderMap,
    packed: Packed,
    format: Format,
) -> Result<ExportResponse, ApiError> {
    let decode: Decoder = match format {
        Format::Protobuf => batch::plain(otlp_logs::decode),
        Format::Json => batch::plain(otlp_json::decode),
    };
    let taken = take(app, headers, Door::logs("otlp"), packed, decode).await?;
    Ok(ExportResponse::new(taken.refused_count as u64, taken.refusals("record")))
}
