//! Prometheus's text format, OpenMetrics and their protobuf form, pushed: what a target would say at `/metrics`.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ingest::exposition::{self, Format};

use super::body::Encoding;
use super::{Door, batch, receive, take};
use crate::api::params::Params;
use crate::app::App;
use crate::error::{ApiError, Kind};

/// `POST /farol/api/v1/ingest/prometheus?job=..&instance=..&extra_label=name=value`. These labels win over those of the
/// body.
pub(crate) async fn push(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let taken = async {
        let labels = labels(&Params::of_query(parts.uri.query().unwrap_or_default())?)?;
        let name = parts.headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
        let format = format_of(name)?;
        let packed = receive(&app, &parts.headers, body, Encoding::of(&parts.headers)?).await?;
        let decode =
            batch::plain(move |bytes, limits, now_ns| exposition::decode(bytes, format, &labels, limits, now_ns));
        take(&app, &parts.headers, Door::metrics("prometheus"), packed, decode).await
    };
    match taken.await {
        Ok(taken) if taken.refused_count == 0 => StatusCode::NO_CONTENT.into_response(),
        // The good ones are kept, and the sender hears of the others.
        Ok(taken) => ApiError::bad_request(taken.refusals("line")).into_response(),
        Err(error) => error.into_response(),
    }
}

/// The format of this `Content-Type`; that of senders which say nothing, or what curl says by itself, is text.
fn format_of(name: &str) -> Result<Format, ApiError> {
    match name.split(';').next().unwrap_or_default().trim() {
        "" | "application/x-www-form-urlencoded" | "application/octet-stream" => Ok(Format::Text),
        _ => Format::of_content_type(name).ok_or_else(|| {
            let what = format!("Content-Type {name:?} not supported: use text/plain or application/openmetrics-text");
            ApiError::new(Kind::UnsupportedMedia, what)
        }),
    }
}

fn labels(params: &Params) -> Result<Vec<(String, String)>, ApiError> {
    let mut labels = Vec::new();
    for name in ["job", "instance"] {
        labels.extend(params.all(name).map(|value| (name.to_owned(), value.to_owned())));
    }
    for pair in params.all("extra_label") {
        match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() && name != "__name__" => {
                labels.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(ApiError::bad_request(format!("extra_label {pair:?} is not in the form name=value"))),
        }
    }
    Ok(labels)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_the_address() {
        let of = |query: &str| labels(&Params::of_query(query).unwrap());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(of("extra_label=a=b=c&job=x").unwrap(), [pair("job", "x"), pair("a", "b=c")]);
        for bad in ["extra_label=a", "extra_label==b", "extra_label=__name__=b"] {
            assert_eq!(of(bad).unwrap_err().kind, Kind::BadRequest);
        }
    }

    #[test]
    fn text_is_what_is_not_said() {
        assert_eq!(format_of("").unwrap(), Format::Text);
        assert_eq!(format_of("text/plain; version=0.0.4").unwrap(), Format::Text);
        assert_eq!(format_of("application/openmetrics-text; version=1.0.0").unwrap(), Format::OpenMetrics);
        assert_eq!(format_of("application/json").unwrap_err().kind, Kind::UnsupportedMedia);
    }
}
