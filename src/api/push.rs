//! Taking records in, one way for every protocol: admit, unpack, decode, store, and then say yes.

mod batch;
pub(crate) mod body;
pub(crate) mod influx;
mod jsonlines;
mod loki;
pub(crate) mod otlp;
mod otlp_export;
mod prometheus_text;
mod remote_write;

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use ingest::admit::Permit;
use ingest::{DecodeError, DecodeErrorKind, Limits, Refusal, Written};
use storage::{Appended, Tenant};

use self::batch::{Batch, Read};
use self::body::Encoding;
use crate::app::App;
use crate::error::{ApiError, Kind};
use crate::telemetry::Accepted;
use crate::tenant;

pub(crate) use jsonlines::push as push_jsonlines;
pub(crate) use loki::push as push_loki;
pub(crate) use otlp_export::{
    logs as push_otlp_logs, metrics as push_otlp_metrics, take_logs as take_otlp_logs,
    take_metrics as take_otlp_metrics,
};
pub(crate) use prometheus_text::push as push_prometheus;
pub(crate) use remote_write::push as push_remote_write;

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
    /// How many are stored: records, or samples.
    pub(crate) records: u64,
    /// Those that are not; of very many the first ones.
    pub(crate) refused: Vec<Refusal>,
    /// How many records or samples are not stored.
    pub(crate) refused_count: usize,
    /// Of metrics, what is stored.
    pub(crate) written: Written,
}

/// One way in: what is counted is counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Door {
    /// The protocol.
    pub(crate) protocol: &'static str,
    /// What it brings.
    pub(crate) signal: &'static str,
}

impl Door {
    /// A protocol's logs.
    pub(crate) const fn logs(protocol: &'static str) -> Self {
        Self { protocol, signal: "logs" }
    }

    /// A protocol's metrics.
    pub(crate) const fn metrics(protocol: &'static str) -> Self {
        Self { protocol, signal: "metrics" }
    }
}

/// What a decoder is told beside the bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    /// How large things may be.
    pub(crate) limits: &'a Limits,
    /// When the body came, in nanoseconds since 1970.
    pub(crate) now_ns: i64,
    /// Whose it is.
    pub(crate) tenant: &'a Tenant,
}

/// Turns an unpacked body into a batch.
type Decoder = Box<dyn FnOnce(&[u8], Arrival<'_>) -> Result<Read, DecodeError> + Send>;

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
    door: Door,
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
    door: Door,
    packed: Packed,
    decode: Decoder,
) -> Result<Taken, ApiError> {
    let limits = app.config.ingest.limits();
    let bytes_sent = packed.bytes.len() as u64;
    let bytes = body::decompress(packed.bytes, packed.encoding, limits.body_bytes_max)?;
    // The batch needs about as much again.
    let _room = admit_bytes(&app, bytes.len() as u64)?;
    let read = decode(&bytes, Arrival { limits: &limits, now_ns: app.clock.now_ns(), tenant: &tenant })?;
    let mut accepted = Accepted { bytes_sent, bytes: bytes.len() as u64, ..Accepted::default() };
    drop(bytes);
    let Read { batch, refused, refused_by_reason, written } = read;
    let records = batch.len() as u64;
    match append(&app, &tenant, batch, key.as_deref()).await? {
        Appended::Stored => accepted.records = records,
        Appended::Duplicate => accepted.duplicates = 1,
    }
    drop(packed.admitted);
    app.stats.accept(door, accepted);
    for (reason, count) in &refused_by_reason {
        app.stats.refuse(door, reason.as_str(), *count as u64);
    }
    Ok(Taken { records, refused, refused_count: refused_by_reason.values().sum(), written })
}

async fn append(app: &App, tenant: &Tenant, batch: Batch, key: Option<&str>) -> Result<Appended, ApiError> {
    let store = &app.house()?.store;
    Ok(match batch {
        Batch::Logs(batch) if batch.is_empty() => Appended::Stored,
        Batch::Metrics(batch) if batch.is_empty() => Appended::Stored,
        Batch::Logs(batch) => store.append(tenant, batch, key).await?,
        Batch::Metrics(batch) => store.append_metrics(tenant, batch, key).await?,
    })
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

impl Taken {
    /// What was refused, for people: how many, and the first few; empty when nothing was.
    pub(crate) fn refusals(&self, what: &str) -> String {
        if self.refused.is_empty() {
            return String::new();
        }
        let mut text = format!("{} refused", self.refused_count);
        for refusal in self.refused.iter().take(REFUSALS_SHOWN) {
            text.push_str(&format!("; {what} {}: {}", refusal.position, refusal.message));
        }
        if self.refused.len() > REFUSALS_SHOWN {
            text.push_str("; ...");
        }
        text
    }
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
