//! Protocol decoders: bytes in, batch out. One protocol, one file; no sockets, no storage engine.
//!
//! Every decoder ends in a [`Decoded`]: the batch of the records that were taken, and why others were not. A body that cannot
//! be understood at all is a [`DecodeError`]. Promise: no input makes a decoder panic, or allocate far beyond the
//! body's size.

pub mod admit;
pub mod decoded;
pub mod delta;
pub mod exposition;
mod gather;
pub mod influx;
pub mod jsonlines;
pub mod level;
pub mod limits;
pub mod loki;
pub mod names;
mod native;
mod otlp_any;
pub mod otlp_json;
pub mod otlp_logs;
pub mod otlp_metrics;
mod proto_json;
mod protobuf;
pub mod remote_write;
mod selector;
#[cfg(test)]
mod shown;
mod snappy;
pub mod time;
#[cfg(test)]
mod wire;

pub use decoded::{DecodeError, DecodeErrorKind, Decoded, DecodedMetrics, Refusal, RefusalReason, Written};
pub use limits::Limits;
