//! InfluxDB's line protocol, as Telegraf and others send it to version 1 and 2, and what they ask before they send.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ingest::influx::{self, InfluxOptions, Precision};
use serde_json::{Value, json};

use super::body::Encoding;
use super::{Door, Taken, batch, receive, take};
use crate::api::params::Params;
use crate::app::App;
use crate::error::{ApiError, Kind, add_retry_after};

const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-influxdb-version"), HeaderValue::from_static("1.8.0"));
/// Lines that an answer names.
const LINES_SHOWN: usize = 10;

/// `POST /influx/write?db=..&precision=..`: version 1.
pub(crate) async fn push_v1(State(app): State<App>, request: Request) -> Response {
    answer(push(&app, request, "db").await, |_, message| json!({ "error": message }))
}

/// `POST /influx/api/v2/write?bucket=..&precision=..`: version 2.
pub(crate) async fn push_v2(State(app): State<App>, request: Request) -> Response {
    answer(push(&app, request, "bucket").await, |kind, message| json!({ "code": code(kind), "message": message }))
}

async fn push(app: &App, request: Request, database: &str) -> Result<Taken, ApiError> {
    let (parts, body) = request.into_parts();
    let params = Params::of_query(parts.uri.query().unwrap_or_default())?;
    let precision = params.get("precision");
    let options = InfluxOptions {
        precision: Precision::named(precision)
            .ok_or_else(|| ApiError::bad_request(format!("invalid precision {precision:?}: use ns, us, ms or s")))?,
        database: params.get(database).to_owned(),
    };
    let packed = receive(app, &parts.headers, body, Encoding::of(&parts.headers)?).await?;
    let decode = batch::plain(move |bytes, limits, now_ns| influx::decode(bytes, &options, limits, now_ns));
    take(app, &parts.headers, Door::metrics("influx"), packed, decode).await
}

fn answer(taken: Result<Taken, ApiError>, body: impl FnOnce(Kind, &str) -> Value) -> Response {
    let error = match taken {
        Ok(taken) if taken.refused_count == 0 => return (StatusCode::NO_CONTENT, [VERSION]).into_response(),
        Ok(taken) => ApiError::bad_request(partial(&taken)),
        Err(error) => error,
    };
    // What may be sent again is so at 503 for every sender.
    let status = match error.kind {
        Kind::DiskFull => StatusCode::SERVICE_UNAVAILABLE,
        kind => kind.status(),
    };
    let mut response = (status, [VERSION], Json(body(error.kind, &error.message))).into_response();
    add_retry_after(&mut response, error.kind);
    response
}

/// As InfluxDB words it: senders take "partial write" as a sign that the rest is stored.
fn partial(taken: &Taken) -> String {
    let shown: Vec<&str> = taken.refused.iter().take(LINES_SHOWN).map(|refusal| refusal.message.as_str()).collect();
    let lines = shown.join("\n");
    if taken.records == 0 { lines } else { format!("partial write: {lines} dropped={}", taken.refused_count) }
}

fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::BadRequest | Kind::Unprocessable | Kind::LimitExceeded | Kind::UnsupportedMedia => "invalid",
        Kind::NotFound => "not found",
        Kind::TooLarge => "request too large",
        Kind::Busy => "too many requests",
        Kind::Unavailable | Kind::DiskFull | Kind::TooSlow | Kind::Timeout => "unavailable",
        Kind::Internal => "internal error",
    }
}

/// `GET /influx/ping`.
pub(crate) async fn ping(request: Request) -> Response {
    let is_verbose = request.uri().query().is_some_and(|query| query.contains("verbose=true"));
    if is_verbose {
        return ([VERSION], Json(json!({ "version": "1.8.0" }))).into_response();
    }
    (StatusCode::NO_CONTENT, [VERSION]).into_response()
}

/// `GET /influx/health`: version 2.
pub(crate) async fn health() -> Json<Value> {
    Json(json!({ "name": "influxdb", "message": "ready for writes", "status": "pass", "checks": [] }))
}

/// `/influx/query`: what senders of version 1 ask before they write. Databases need not be made here.
pub(crate) async fn query(params: Params) -> Response {
    let asked = params.get("q").trim().to_ascii_lowercase();
    let result = if asked.starts_with("create database") || asked.starts_with("create retention policy") {
        json!({ "statement_id": 0 })
    } else if asked.starts_with("show databases") {
        let series = json!([{ "name": "databases", "columns": ["name"], "values": [["default"]] }]);
        json!({ "statement_id": 0, "series": series })
    } else {
        let message = "InfluxQL is not answered here: ask in PromQL at /api/v1/query";
        return (StatusCode::BAD_REQUEST, [VERSION], Json(json!({ "error": message }))).into_response();
    };
    ([VERSION], Json(json!({ "results": [result] }))).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use axum::http::header;
    use ingest::{Refusal, RefusalReason, Written};

    use super::*;

    fn taken(records: u64) -> Taken {
        let refused = |message: &str| Refusal {
            position: 1,
            reason: RefusalReason::Malformed,
            message: format!("unable to parse '{message}': missing fields"),
        };
        Taken { records, refused: vec![refused("a"), refused("b")], refused_count: 2, written: Written::default() }
    }

    #[test]
    fn errors_are_worded_as_in_influxdb() {
        let lines = "unable to parse 'a': missing fields\nunable to parse 'b': missing fields";
        assert_eq!(partial(&taken(0)), lines);
        assert_eq!(partial(&taken(3)), format!("partial write: {lines} dropped=2"));
        let busy = answer(Err(ApiError::new(Kind::Busy, "x")), |kind, _| json!(code(kind)));
        assert_eq!(busy.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(busy.headers()[header::RETRY_AFTER], "1");
    }
}
