//! JSON lines: one object a line in, counts and the numbers of bad lines out.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ingest::jsonlines::{self, JsonLinesOptions};
use serde_json::json;

use super::body::Encoding;
use super::{Door, Taken, batch, receive, take};
use crate::api::params::Params;
use crate::app::App;

/// Bad lines that an answer names.
const BAD_LINES_SHOWN: usize = 100;

/// `POST /farol/api/v1/ingest/jsonlines?time_field=..&message_field=..&stream_fields=a,b`.
pub(crate) async fn push(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let taken = async {
        let params = Params::of_query(parts.uri.query().unwrap_or_default())?;
        let options = options(&params);
        let packed = receive(&app, &parts.headers, body, Encoding::of(&parts.headers)?).await?;
        let decode = batch::plain(move |bytes, limits, now_ns| Ok(jsonlines::decode(bytes, &options, limits, now_ns)));
        take(&app, &parts.headers, Door::logs("jsonlines"), packed, decode).await
    };
    match taken.await {
        Ok(taken) => answer(&taken),
        Err(error) => {
            let message = error.message.clone();
            let mut response = error.into_response();
            *response.body_mut() = json!({"error": message}).to_string().into();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
    }
}

fn options(params: &Params) -> JsonLinesOptions {
    let given = |name: &str| Some(params.get(name).to_owned()).filter(|value| !value.is_empty());
    JsonLinesOptions {
        time_field: given("time_field"),
        message_field: given("message_field"),
        stream_fields: given("stream_fields")
            .map(|fields| fields.split(',').map(|field| field.trim().to_owned()).collect()),
    }
}

fn answer(taken: &Taken) -> Response {
    let shown = taken.refused.iter().take(BAD_LINES_SHOWN);
    let errors: Vec<_> = shown.map(|refusal| json!({"line": refusal.position, "error": refusal.message})).collect();
    let body = json!({"accepted": taken.records, "rejected": taken.refused.len(), "errors": errors});
    // Nothing that could be used is the sender's mistake; anything else is told beside the success.
    let status = if taken.records == 0 && !taken.refused.is_empty() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    (status, Json(body)).into_response()
}
