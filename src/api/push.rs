//! Taking records in, one way for every protocol: admit, unpack, decode, store, and then say yes.

pub(crate) mod body;
mod jsonlines;
mod loki;
pub(crate) mod otlp;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use ingest::admit::Permit;
use ingest::{DecodeError, DecodeErrorKind, Decoded, Limits, Refusal, otlp_json, otlp_logs};
use storage::{Appended, Tenant};

use self::body::Encoding;
use crate::app::App;
use crate::error::{ApiError, Kind};
use crate::telemetry::Accepted;
use crate::tenant;

pub(crate) use jsonlines::push as push_jsonlines;
pub(crate) use loki::push as push_loki;

/// A body above this size is unpacked, decoded and packed for the journal on a thread of its own, so that it keeps no
/// other request waiting.
const INLINE_BYTES_MAX: usize = 32 << 10;
/// The header under which a batch that is sent again counts once.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest idempotency key.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// What a body is taken to need before it is known how large it is.
const UNKNOWN_BODY_BYTES: u64 = 256 << 10;
/// Refusals that an answer spells out.
const REFUSALS_SHOWN: usize = 5;

/// A body as it came, with the room that it was given.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The bytes.
    pub(crate) bytes: Bytes,
    /// How they are packed.
    pub(crate) encoding: Encoding,
    /// Room in memory.
    pub(crate) admitted: Permit,
}

/// What became of a body's records.
#[derive(Debug)]
pub(crate) struct Taken {
    /// How many are stored.
    pub(crate) records: u64,
    /// Those that are not.
    pub(crate) refused: Vec<Refusal>,
}

/// Turns an unpacked body into a batch.
type Decoder = Box<dyn FnOnce(&[u8], &Limits, i64) -> Result<Decoded, DecodeError> + Send>;

/// Room for a request, before its body is read.
///
/// # Errors
/// `Busy` without room, `Unavailable` while the server is not ready.
pub(crate) fn admit(app: &App, headers: &HeaderMap) -> Result<Permit, ApiError> {
    let bytes = body::content_length(headers).unwrap_or(UNKNOWN_BODY_BYTES);
    admit_bytes(app, bytes)
}

fn admit_bytes(app: &App, bytes: u64) -> Result<Permit, ApiError> {
    app.house()?.admission.admit(bytes).map_err(|busy| ApiError::new(Kind::Busy, busy.to_string()))
}

/// Reads a request's body.
///
/// # Errors
/// See [`admit`] and [`body::collect`].
pub(crate) async fn receive(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    encoding: Encoding,
) -> Result<Packed, ApiError> {
    let admitted = admit(app, headers)?;
    let config = &app.config.ingest;
    let bytes = body::collect(body, headers, config.body_size_max.0 as usize, config.body_timeout.0).await?;
    Ok(Packed { bytes, encoding, admitted })
}

/// Unpacks, decodes and stores. When it answers, the records are on disk and can be found.
///
/// # Errors
/// Whatever keeps the whole body from being stored. Single records that are refused are in the answer.
pub(crate) async fn take(
    app: &App,
    headers: &HeaderMap,
    door: &'static str,
    packed: Packed,
    decode: Decoder,
) -> Result<Taken, ApiError> {
    let tenant = tenant::of(headers)?;
    let key = idempotency_key(headers)?;
    let taken = if packed.bytes.len() <= INLINE_BYTES_MAX {
        store(Arc::clone(app), tenant, key, door, packed, decode).await
    } else {
        let (app, runtime) = (Arc::clone(app), tokio::runtime::Handle::current());
        let work = move || runtime.block_on(store(app, tenant, key, door, packed, decode));
        let lost = |e| Err(ApiError::new(Kind::Internal, format!("taking the records in failed: {e}")));
        tokio::task::spawn_blocking(work).await.unwrap_or_else(lost)
    };
    if let Err(error) = &taken {
        app.stats.refuse(door, error.kind.as_str(), 1);
    }
    taken
}

async fn store(
    app: App,
    tenant: Tenant,
    key: Option<String>,
    door: &'static str,
    packed: Packed,
    decode: Decoder,
) -> Result<Taken, ApiError> {
    let limits = app.config.ingest.limits();
    let bytes_sent = packed.bytes.len() as u64;
    let bytes = body::decompress(packed.bytes, packed.encoding, limits.body_bytes_max)?;
    // The batch needs about as much again.
    let _room = admit_bytes(&app, bytes.len() as u64)?;
    let Decoded { batch, refused } = decode(&bytes, &limits, app.clock.now_ns())?;
    let mut accepted = Accepted { bytes_sent, bytes: bytes.len() as u64, ..Accepted::default() };
    drop(bytes);
    let records = batch.len() as u64;
    if records > 0 {
        match app.house()?.store.append(&tenant, batch, key.as_deref()).await? {
            Appended::Stored => accepted.records = records,
            Appended::Duplicate => accepted.duplicates = 1,
        }
    }
    drop(packed.admitted);
    app.stats.accept(door, accepted);
    for refusal in &refused {
        app.stats.refuse(door, refusal.reason.as_str(), 1);
    }
    Ok(Taken { records, refused })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= IDEMPOTENCY_KEY_BYTES_MAX => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad_request(format!(
            "Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes of plain text"
        ))),
    }
}

/// What was refused, for people: how many, and the first few.
pub(crate) fn refusals(refused: &[Refusal], what: &str) -> String {
    let mut text = format!("{} refused", refused.len());
    for refusal in refused.iter().take(REFUSALS_SHOWN) {
        text.push_str(&format!("; {what} {}: {}", refusal.position, refusal.message));
    }
    if refused.len() > REFUSALS_SHOWN {
        text.push_str("; ...");
    }
    text
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        let kind = match error.kind {
            DecodeErrorKind::Malformed => Kind::BadRequest,
            DecodeErrorKind::TooLarge => Kind::TooLarge,
            DecodeErrorKind::Empty => Kind::Unprocessable,
        };
        Self::new(kind, error.message)
    }
}

/// `POST /v1/logs`: OTLP over HTTP.
pub(crate) async fn push_otlp_logs(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let format = match otlp::Format::of(&parts.headers) {
        Ok(format) => format,
        Err(error) => return error.into_response(),
    };
    let taken = async {
        let encoding = Encoding::of(&parts.headers)?;
        let packed = receive(&app, &parts.headers, body, encoding).await?;
        take_otlp_logs(&app, &parts.headers, packed, format).await
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
pub(crate) async fn take_otlp_logs(
    app: &App,
    headers: &HeaderMap,
    packed: Packed,
    format: otlp::Format,
) -> Result<otlp::ExportResponse, ApiError> {
    let decode: Decoder = match format {
        otlp::Format::Protobuf => Box::new(otlp_logs::decode),
        otlp::Format::Json => Box::new(otlp_json::decode),
    };
    let taken = take(app, headers, "otlp", packed, decode).await?;
    let why = if taken.refused.is_empty() { String::new() } else { refusals(&taken.refused, "record") };
    Ok(otlp::ExportResponse::new(taken.refused.len() as u64, why))
}
