//! SQL in, rows out, in the format that the caller accepts.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use query::formats::{Format, FormatWriter};
use query::sql::{self, SqlAnswer, SqlLimits};
use query::{CancelOnDrop, QueryError};
use serde::Deserialize;

use super::params::Params;
use super::push::body;
use crate::app::App;
use crate::error::ApiError;
use crate::tenant;

/// Longest statement.
const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// A statement as JSON.
#[derive(Debug, Deserialize)]
struct Statement {
    query: String,
    format: Option<String>,
}

/// `/farol/api/v1/sql`: the statement is in the parameter `query`, in JSON as `query`, or the body itself.
pub(crate) async fn run(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let tenant = tenant::of(&parts.headers)?;
    let params = Params::of_query(parts.uri.query().unwrap_or_default())?;
    let (statement, named) = statement(&app, &parts.headers, body, &params).await?;
    if statement.trim().is_empty() {
        return Err(ApiError::bad_request("there is no statement: give it as the parameter query, or as the body"));
    }
    let format = format(&parts.headers, named.as_deref(), Format::Json)?;
    let house = app.house()?;
    let place = house.queries.enter().await?;
    let snapshot = Arc::new(house.store.snapshot(&tenant, None));
    let metrics = Arc::new(house.store.metrics(&tenant));
    let budget = house.engine.budget();
    let cancel = CancelOnDrop(Arc::clone(&budget));
    let limits = SqlLimits {
        memory_bytes: usize::try_from(app.memory.query_bytes / 2).unwrap_or(usize::MAX),
        threads: house.engine.limits().threads,
    };
    let SqlAnswer { schema, batches } = sql::run(snapshot, metrics, &statement, &limits, &budget).await?;
    let batches = batches.map(|batch| batch.map_err(sql::explain));
    answer(format, FormatWriter::new(format, &schema)?, Box::pin(batches), (cancel, place)).await
}

async fn statement(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    params: &Params,
) -> Result<(String, Option<String>), ApiError> {
    let named = Some(params.get("format").to_owned()).filter(|name| !name.is_empty());
    let body = body::collect(body, headers, STATEMENT_BYTES_MAX, app.config.ingest.body_timeout.0).await?;
    if body.is_empty() {
        return Ok((params.get("query").to_owned(), named));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.starts_with("application/json") {
        let statement: Statement = serde_json::from_slice(&body)
            .map_err(|e| ApiError::bad_request(format!("the body is no JSON object with a \"query\": {e}")))?;
        return Ok((statement.query, statement.format.or(named)));
    }
    let text = String::from_utf8(body.to_vec()).map_err(|_| ApiError::bad_request("the body is no UTF-8"))?;
    if content_type.starts_with("application/x-www-form-urlencoded") {
        let form = Params::of_query(&text).unwrap_or_default();
        let of_form = Some(form.get("format").to_owned()).filter(|name| !name.is_empty());
        if !form.get("query").is_empty() {
            return Ok((form.get("query").to_owned(), of_form.or(named)));
        }
        // `curl -d 'select ...'` says that it sends a form, and sends the statement.
    }
    Ok((text, named))
}

/// The format that is named, else the one that is accepted, else the default.
///
/// # Errors
/// `BadRequest` for a name that is none.
pub(super) fn format(headers: &HeaderMap, named: Option<&str>, default: Format) -> Result<Format, ApiError> {
    if let Some(name) = named {
        return Format::from_name(name).ok_or_else(|| {
            ApiError::bad_request(format!("format {name:?} is not known: json, ndjson, csv, arrow or parquet"))
        });
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(Format::from_accept(accept).unwrap_or(default))
}

/// Writes batches as they come. What goes wrong before the first of them is an answer of its own; after that the body
/// breaks off, so that nobody takes it for the whole.
pub(super) async fn answer<S, G>(
    format: Format,
    mut writer: FormatWriter,
    mut batches: S,
    guard: G,
) -> Result<Response, ApiError>
where
    S: Stream<Item = Result<arrow::array::RecordBatch, QueryError>> + Send + Unpin + 'static,
    G: Send + 'static,
{
    let first = match batches.next().await.transpose()? {
        Some(batch) => writer.write(&batch)?,
        None => return Ok(respond(format, Body::from(writer.finish()?))),
    };
    let rest = stream::unfold((Some(writer), batches, guard), |(writer, mut batches, guard)| async move {
        let mut writer = writer?;
        match batches.next().await {
            Some(batch) => {
                let written = batch.and_then(|batch| writer.write(&batch));
                let next = written.is_ok().then_some(writer);
                Some((written, (next, batches, guard)))
            }
            None => Some((writer.finish(), (None, batches, guard))),
        }
    });
    let bytes = stream::once(async { Ok(first) }).chain(rest);
    Ok(respond(format, Body::from_stream(bytes.map(|bytes| bytes.map(Bytes::from)))))
}

fn respond(format: Format, body: Body) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()))], body).into_response()
}
