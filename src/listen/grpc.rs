//! OTLP over gRPC: unary calls whose message goes to the same decoder as OTLP/HTTP's body, without being decoded
//! into structures first.
//!
//! The framing is written out here (a call is one HTTP/2 request with a five-byte prefix before the message, and
//! trailers that carry the status), so that the cap on decompression and the status codes are ours: a message that
//! is too large must be `RESOURCE_EXHAUSTED`, which exporters do not send again, and not `OUT_OF_RANGE`, which they
//! do. After "gRPC over HTTP2" of the gRPC project.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message;

use crate::api::push::body::{self, Encoding};
use crate::api::push::otlp::{self, Status};
use crate::api::push::{self, Packed};
use crate::app::App;
use crate::error::{ApiError, Kind};

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc+proto");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// Compressed flag and length.
const PREFIX_BYTES: usize = 5;

/// `opentelemetry.proto.collector.logs.v1.LogsService/Export`.
pub(crate) async fn export_logs(State(app): State<App>, request: Request) -> Response {
    export(&app, request, push::take_otlp_logs).await
}

/// `opentelemetry.proto.collector.metrics.v1.MetricsService/Export`.
pub(crate) async fn export_metrics(State(app): State<App>, request: Request) -> Response {
    export(&app, request, push::take_otlp_metrics).await
}

async fn export(
    app: &App,
    request: Request,
    take: impl AsyncFnOnce(&App, &HeaderMap, Packed, otlp::Format) -> Result<otlp::ExportResponse, ApiError>,
) -> Response {
    let (parts, body) = request.into_parts();
    let taken = async {
        let packed = message(app, &parts.headers, body).await?;
        take(app, &parts.headers, packed, otlp::Format::Protobuf).await
    };
    answer(taken.await.map(|response| response.encode_to_vec()))
}

/// Any other method.
pub(crate) async fn unimplemented(request: Request) -> Response {
    let path = request.uri().path();
    let what = format!(
        "{path} is not served here: logs go to opentelemetry.proto.collector.logs.v1.LogsService/Export, metrics to \
         opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
    );
    trailers_only(12, &what, None)
}

/// The one message of a unary call, still packed.
async fn message(app: &App, headers: &HeaderMap, body: Body) -> Result<Packed, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.starts_with("application/grpc") {
        return Err(ApiError::new(Kind::UnsupportedMedia, "this address speaks gRPC; OTLP/HTTP is on port 4318"));
    }
    let encoding = match headers.get("grpc-encoding").map(|value| value.to_str().unwrap_or("?")) {
        None | Some("identity") => Encoding::Identity,
        Some("gzip") => Encoding::Gzip,
        Some("zstd") => Encoding::Zstd,
        Some(other) => {
            let what = format!("grpc-encoding {other:?} not supported: use identity, gzip or zstd");
            return Err(ApiError::new(Kind::UnsupportedMedia, what));
        }
    };
    let admitted = push::admit(app, headers)?;
    let config = &app.config.ingest;
    let max = config.body_size_max.0 as usize + PREFIX_BYTES;
    let mut bytes = body::collect(body, headers, max, config.body_timeout.0).await?;
    if bytes.len() < PREFIX_BYTES {
        return Err(ApiError::bad_request("the call has no message"));
    }
    let flag = bytes.get_u8();
    let length = bytes.get_u32() as usize;
    if bytes.len() != length {
        return Err(ApiError::bad_request(format!(
            "a call has one message: it says {length} bytes and has {}",
            bytes.len()
        )));
    }
    let encoding = match flag {
        0 => Encoding::Identity,
        1 => encoding,
        other => return Err(ApiError::bad_request(format!("the message's compressed flag is {other}"))),
    };
    Ok(Packed { bytes, encoding, admitted })
}

fn answer(message: Result<Vec<u8>, ApiError>) -> Response {
    match message {
        Ok(message) => {
            let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
            framed.put_u8(0);
            framed.put_u32(message.len() as u32);
            framed.extend_from_slice(&message);
            let mut trailers = HeaderMap::new();
            trailers.insert(STATUS, HeaderValue::from_static("0"));
            let frames =
                [Ok::<_, std::convert::Infallible>(Frame::data(framed.freeze())), Ok(Frame::trailers(trailers))];
            let body = Body::new(StreamBody::new(stream::iter(frames)));
            ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
        }
        Err(error) => {
            let status = Status::of(&error);
            let details = (!status.details.is_empty()).then(|| Bytes::from(status.encode_to_vec()));
            trailers_only(status.code, &status.message, details)
        }
    }
}

/// An answer without a message: the status is in the headers.
fn trailers_only(code: i32, message: &str, details: Option<Bytes>) -> Response {
    let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, CONTENT_TYPE)]).into_response();
    let headers = response.headers_mut();
    headers.insert(STATUS, HeaderValue::from(code));
    if let Ok(value) = HeaderValue::from_str(&percent_encode(message)) {
        headers.insert(MESSAGE, value);
    }
    if let Some(Ok(value)) = details.map(|details| HeaderValue::from_str(&STANDARD_NO_PAD.encode(details))) {
        headers.insert(DETAILS, value);
    }
    response
}

/// `grpc-message` is percent-encoded outside of printable ASCII.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_message_is_framed_and_followed_by_the_status() {
        let collected = answer(Ok(b"abc".to_vec())).into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()[STATUS], "0");
        assert_eq!(collected.to_bytes().as_ref(), b"\0\0\0\0\x03abc");
    }

    #[test]
    fn an_error_is_in_the_headers() {
        let response = answer(Err(ApiError::new(Kind::Busy, "zu viel: 100 %, später")));
        let headers = response.headers();
        assert_eq!((response.status(), &headers[STATUS]), (StatusCode::OK, &HeaderValue::from_static("8")));
        assert_eq!(headers[MESSAGE], "zu viel: 100 %25, sp%C3%A4ter");
        assert!(headers.contains_key(DETAILS));
        assert!(!answer(Err(ApiError::new(Kind::TooLarge, "x"))).headers().contains_key(DETAILS));
    }
}
