//! Snappy's raw format, with a cap on what it unpacks to.

use crate::decoded::{DecodeError, DecodeErrorKind};
use crate::limits::Limits;

/// Unpacks a body.
///
/// # Errors
/// `Malformed` when it is not snappy, `TooLarge` when it unpacks to more than `body_bytes_max`.
pub(crate) fn unpack(body: &[u8], limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let corrupt = |_| DecodeError::malformed("snappy: corrupt input");
    let length = snap::raw::decompress_len(body).map_err(corrupt)?;
    if body.is_empty() {
        return Err(DecodeError::malformed("snappy: corrupt input"));
    }
    if length > limits.body_bytes_max {
        return Err(DecodeError {
            kind: DecodeErrorKind::TooLarge,
            message: format!("the request unpacks to {length} bytes, {} are allowed", limits.body_bytes_max),
        });
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(corrupt)
}
