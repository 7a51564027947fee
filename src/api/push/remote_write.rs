//! Prometheus's remote write, 1.0 and 2.0: samples in, 204 out.
//!
//! Senders throw a batch away at any status of 4xx, and most of them at 429 too, unless they are told otherwise; at 5xx
//! they wait and send it again. So what may be sent again is a 503 here.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ingest::{Written, remote_write};

use super::body::Encoding;
use super::{Door, batch, receive, take};
use crate::app::App;
use crate::error::{ApiError, Kind};

const SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    /// `prometheus.WriteRequest`: 1.0, and where the sender does not say.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// `POST /api/v1/write`.
pub(crate) async fn push(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let message = match Message::of(&parts.headers) {
        Ok(message) => message,
        Err(error) => return error.into_response(),
    };
    let taken = async {
        let encoding = match Encoding::of(&parts.headers)? {
            // The first senders did not say it.
            Encoding::Identity => Encoding::Snappy,
            encoding => encoding,
        };
        let packed = receive(&app, &parts.headers, body, encoding).await?;
        let decode = match message {
            Message::V1 => remote_write::decode_message,
            Message::V2 => remote_write::v2::decode_message,
        };
        take(&app, &parts.headers, Door::metrics("remote_write"), packed, batch::plain(decode)).await
    };
    let (mut response, written) = match taken.await {
        Ok(taken) if taken.refused_count == 0 => (StatusCode::NO_CONTENT.into_response(), taken.written),
        // As in Prometheus: the good ones are kept, and the sender hears of the others.
        Ok(taken) => (ApiError::bad_request(taken.refusals("series")).into_response(), taken.written),
        Err(error) => (refuse(error), Written::default()),
    };
    if message == Message::V2 {
        tell_written(&mut response, written);
    }
    response
}

impl Message {
    /// Reads `Content-Type`.
    ///
    /// # Errors
    /// `UnsupportedMedia` for others: the sender may fall back to 1.0.
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let name = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
        let mut parts = name.split(';').map(str::trim);
        let is_protobuf = matches!(parts.next().unwrap_or_default(), "" | "application/x-protobuf");
        match parts.find_map(|part| part.strip_prefix("proto=")) {
            None | Some("prometheus.WriteRequest") if is_protobuf => Ok(Self::V1),
            Some("io.prometheus.write.v2.Request") if is_protobuf => Ok(Self::V2),
            _ => Err(ApiError::new(
                Kind::UnsupportedMedia,
                format!(
                    "Content-Type {name:?} not supported: use application/x-protobuf, with proto=prometheus.WriteRequest \
                     or proto=io.prometheus.write.v2.Request"
                ),
            )),
        }
    }
}

fn refuse(error: ApiError) -> Response {
    let may_be_sent_again = matches!(error.kind, Kind::Busy | Kind::TooSlow | Kind::DiskFull);
    let mut response = error.into_response();
    if may_be_sent_again {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// Senders of 2.0 take an answer without these for one of a server that knows 1.0 only.
fn tell_written(response: &mut Response, written: Written) {
    for (name, count) in [(SAMPLES, written.samples), (HISTOGRAMS, written.histograms), (EXEMPLARS, written.exemplars)]
    {
        response.headers_mut().insert(name, count.into());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_content_type_must_fit() {
        let check = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(name));
            Message::of(&headers)
        };
        assert_eq!(Message::of(&HeaderMap::new()).unwrap(), Message::V1);
        assert_eq!(check("application/x-protobuf").unwrap(), Message::V1);
        assert_eq!(check("application/x-protobuf; proto=prometheus.WriteRequest").unwrap(), Message::V1);
        assert_eq!(check("application/x-protobuf;proto=io.prometheus.write.v2.Request").unwrap(), Message::V2);
        for other in ["application/json", "application/x-protobuf;proto=some.Other"] {
            assert_eq!(check(other).unwrap_err().kind, Kind::UnsupportedMedia);
        }
    }

    #[test]
    fn what_may_be_sent_again_is_a_503() {
        let status = |kind| refuse(ApiError::new(kind, "x")).status();
        assert_eq!(status(Kind::Busy), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(Kind::DiskFull), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(Kind::TooLarge), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(refuse(ApiError::new(Kind::Busy, "x")).headers()[header::RETRY_AFTER], "1");
    }
}
