//! OTLP's export requests, over HTTP and gRPC alike.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use ingest::delta::Deltas;
use ingest::{otlp_json, otlp_logs, otlp_metrics};

use super::body::Encoding;
use super::otlp::{self, ExportResponse, Format};
use super::{Decoder, Door, Packed, batch, receive, take};
use crate::app::App;
use crate::config::DeltaMode;
use crate::error::ApiError;

/// `POST /v1/logs`.
pub(crate) async fn logs(State(app): State<App>, request: Request) -> Response {
    export(&app, request, "rejectedLogRecords", take_logs).await
}

/// `POST /v1/metrics`.
pub(crate) async fn metrics(State(app): State<App>, request: Request) -> Response {
    export(&app, request, "rejectedDataPoints", take_metrics).await
}

async fn export(
    app: &App,
    request: Request,
    rejected_name: &str,
    take: impl AsyncFnOnce(&App, &HeaderMap, Packed, Format) -> Result<ExportResponse, ApiError>,
) -> Response {
    let (parts, body) = request.into_parts();
    let format = match Format::of(&parts.headers) {
        Ok(format) => format,
        Err(error) => return error.into_response(),
    };
    let taken = async {
        let encoding = Encoding::of(&parts.headers)?;
        let packed = receive(app, &parts.headers, body, encoding).await?;
        take(app, &parts.headers, packed, format).await
    };
    match taken.await {
        Ok(response) => response.into_http(format, rejected_name),
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

/// Takes an `ExportMetricsServiceRequest` in.
///
/// # Errors
/// See [`take`].
pub(crate) async fn take_metrics(
    app: &App,
    headers: &HeaderMap,
    packed: Packed,
    format: Format,
) -> Result<ExportResponse, ApiError> {
    let decode = match format {
        Format::Protobuf => otlp_metrics::decode,
        Format::Json => otlp_metrics::decode_json,
    };
    let own = Arc::clone(app);
    let decode: Decoder = Box::new(move |bytes, arrival| {
        let settings = &own.config.otlp_metrics;
        let deltas = match settings.deltas {
            DeltaMode::Accumulate => Deltas::Accumulate { accumulator: &own.deltas, tenant: arrival.tenant.as_str() },
            DeltaMode::Keep => Deltas::Keep,
        };
        decode(bytes, &settings.options(), arrival.limits, arrival.now_ns, deltas).map(Into::into)
    });
    let taken = take(app, headers, Door::metrics("otlp"), packed, decode).await?;
    Ok(ExportResponse::new(taken.refused_count as u64, taken.refusals("data point")))
}
