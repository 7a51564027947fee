//! Protocol decoders: bytes in, batch out. One protocol, one file; no sockets, no storage engine.
//!
//! Every decoder ends in a [`Decoded`]: the batch of the records that were taken, and why others were not. A body that cannot
//! be understood at all is a [`DecodeError`]. Promise: no input makes a decoder panic, or allocate far beyond the
//! body's size.

pub mod admit;
pub mod decoded;
pub mod exposition;
pub mod jsonlines;
pub mod level;
pub mod limits;
pub mod loki;
pub mod names;
pub mod otlp_json;
pub mod otlp_logs;
mod protobuf;
mod selector;
pub mod time;

pub use decoded::{DecodeError, DecodeErrorKind, Decoded, DecodedMetrics, Refusal, RefusalReason};
pub use limits::Limits;
