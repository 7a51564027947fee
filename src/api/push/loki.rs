//! Loki's push API: snappy-packed protobuf or JSON in, 204 out.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ingest::loki;

use super::body::Encoding;
use super::{Door, batch, receive, take};
use crate::app::App;
use crate::error::{ApiError, Kind};

/// `POST /loki/api/v1/push`.
pub(crate) async fn push(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let taken = async {
        let is_json = is_json(&parts.headers)?;
        let encoding = match Encoding::of(&parts.headers)? {
            // Protobuf is always snappy-packed, whether the header says so or not; its decoder unpacks it.
            Encoding::Identity | Encoding::Snappy if !is_json => Encoding::Identity,
            encoding => encoding,
        };
        let packed = receive(&app, &parts.headers, body, encoding).await?;
        let decode = if is_json { loki::decode_json } else { loki::decode_protobuf };
        let decode = batch::plain(move |bytes, limits, _| decode(bytes, limits));
        take(&app, &parts.headers, Door::logs("loki"), packed, decode).await
    };
    match taken.await {
        Ok(taken) if taken.refused.is_empty() => StatusCode::NO_CONTENT.into_response(),
        // As in Loki: the good ones are kept, and the sender hears of the others.
        Ok(taken) => ApiError::bad_request(taken.refusals("entry")).into_response(),
        Err(error) => error.into_response(),
    }
}

fn is_json(headers: &HeaderMap) -> Result<bool, ApiError> {
    let name = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    match name.split(';').next().unwrap_or_default().trim() {
        "application/json" => Ok(true),
        "" | "application/x-protobuf" | "application/protobuf" => Ok(false),
        _ => Err(ApiError::new(
            Kind::UnsupportedMedia,
            format!("Content-Type {name:?} not supported: use application/x-protobuf or application/json"),
        )),
    }
}
