//! How OTLP says yes and no: export responses and `google.rpc.Status`, as protobuf or JSON, whichever the request is.
//!
//! After the OpenTelemetry protocol specification 1.x, sections "OTLP/HTTP Response" and "OTLP/gRPC Response".

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost::Message;
use serde_json::json;

use crate::error::{ApiError, Kind, add_retry_after};

/// What a request and its answer are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Format {
    /// Reads `Content-Type`; its parameters do not matter.
    ///
    /// # Errors
    /// `UnsupportedMedia` for others, and without one.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let name = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
        match name.split(';').next().unwrap_or_default().trim() {
            "application/x-protobuf" | "application/protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            _ => Err(ApiError::new(
                Kind::UnsupportedMedia,
                format!("Content-Type {name:?} not supported: use application/x-protobuf or application/json"),
            )),
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        })
    }
}

/// `opentelemetry.proto.collector.logs.v1.ExportLogsServiceResponse`; metrics and traces have the same fields.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExportResponse {
    /// Unset when all was taken.
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

/// What was not taken, and why.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartialSuccess {
    /// How many records.
    #[prost(int64, tag = "1")]
    pub(crate) rejected: i64,
    /// For people.
    #[prost(string, tag = "2")]
    pub(crate) error_message: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    /// `google.rpc.Code`.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    /// Of which Farol gives `RetryInfo` only.
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Delay {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

impl ExportResponse {
    /// The answer to a request of which `rejected` records were not taken. With none of them, `why` is a warning.
    pub(crate) fn new(rejected: u64, why: String) -> Self {
        let rejected = i64::try_from(rejected).unwrap_or(i64::MAX);
        let is_told = rejected > 0 || !why.is_empty();
        Self { partial_success: is_told.then_some(PartialSuccess { rejected, error_message: why }) }
    }

    /// As an HTTP answer.
    pub(crate) fn into_http(self, format: Format, rejected_name: &str) -> Response {
        let body = match (format, self.partial_success) {
            (Format::Protobuf, partial_success) => Self { partial_success }.encode_to_vec(),
            (Format::Json, None) => b"{}".to_vec(),
            (Format::Json, Some(partial)) => {
                json!({"partialSuccess": {rejected_name: partial.rejected.to_string(), "errorMessage": partial.error_message}})
                    .to_string()
                    .into_bytes()
            }
        };
        ([(header::CONTENT_TYPE, format.content_type())], body).into_response()
    }
}

impl Status {
    /// The status of an error; it says when to try again where that helps.
    pub(crate) fn of(error: &ApiError) -> Self {
        let details = error.kind.retry_after().map(|after| {
            let delay = Delay { seconds: after.as_secs() as i64, nanos: after.subsec_nanos() as i32 };
            let value = RetryInfo { retry_delay: Some(delay) }.encode_to_vec();
            Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value }
        });
        Self { code: code(error.kind), message: error.message.clone(), details: details.into_iter().collect() }
    }
}

/// An error as an HTTP answer.
pub(crate) fn refuse(format: Format, error: &ApiError) -> Response {
    // Exporters try 429, 502, 503 and 504 again and throw the batch away at any other status.
    let status = match error.kind {
        Kind::DiskFull => StatusCode::SERVICE_UNAVAILABLE,
        kind => kind.status(),
    };
    let body = match format {
        Format::Protobuf => Status::of(error).encode_to_vec(),
        Format::Json => json!({"code": code(error.kind), "message": error.message}).to_string().into_bytes(),
    };
    let mut response = (status, [(header::CONTENT_TYPE, format.content_type())], body).into_response();
    add_retry_after(&mut response, error.kind);
    response
}

/// The `google.rpc.Code`. Too large is `RESOURCE_EXHAUSTED` without `RetryInfo`, which exporters do not try again.
pub(crate) fn code(kind: Kind) -> i32 {
    match kind {
        Kind::BadRequest | Kind::Unprocessable | Kind::LimitExceeded => 3,
        Kind::Timeout | Kind::TooSlow => 4,
        Kind::NotFound => 5,
        Kind::TooLarge | Kind::Busy => 8,
        Kind::UnsupportedMedia => 12,
        Kind::Internal => 13,
        Kind::Unavailable | Kind::DiskFull => 14,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn body(response: Response) -> Vec<u8> {
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn all_taken_is_an_empty_answer() {
        let answer = ExportResponse::new(0, String::new());
        assert_eq!(body(answer.clone().into_http(Format::Protobuf, "rejectedLogRecords")).await, b"");
        assert_eq!(body(answer.into_http(Format::Json, "rejectedLogRecords")).await, b"{}");
    }

    #[tokio::test]
    async fn what_was_refused_is_said() {
        let answer = ExportResponse::new(2, "too long".to_owned());
        let protobuf = body(answer.clone().into_http(Format::Protobuf, "rejectedLogRecords")).await;
        assert_eq!(protobuf, b"\x0a\x0c\x08\x02\x12\x08too long");
        let json = body(answer.into_http(Format::Json, "rejectedLogRecords")).await;
        assert_eq!(json, br#"{"partialSuccess":{"errorMessage":"too long","rejectedLogRecords":"2"}}"#);
    }

    #[tokio::test]
    async fn errors_are_statuses() {
        let response = refuse(Format::Json, &ApiError::bad_request("no"));
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(body(response).await, br#"{"code":3,"message":"no"}"#);
        let full = refuse(Format::Protobuf, &ApiError::new(Kind::DiskFull, "full"));
        assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(full.headers()[header::RETRY_AFTER], "10");
        let status = Status::decode(body(full).await.as_slice()).unwrap();
        assert_eq!((status.code, status.message.as_str()), (14, "full"));
        let retry = RetryInfo::decode(status.details[0].value.as_slice()).unwrap();
        assert_eq!(retry.retry_delay.unwrap().seconds, 10);
        assert!(Status::of(&ApiError::new(Kind::TooLarge, "x")).details.is_empty());
    }

    #[test]
    fn the_content_type_decides() {
        let of = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(name));
            Format::of(&headers)
        };
        assert_eq!(of("application/json; charset=utf-8").unwrap(), Format::Json);
        assert_eq!(of("application/x-protobuf").unwrap(), Format::Protobuf);
        assert_eq!(of("text/plain").unwrap_err().kind, Kind::UnsupportedMedia);
    }
}
