//! The body of a request, collected and unpacked, never larger than the cap: neither as sent nor after
//! decompression.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::error::{ApiError, Kind};

/// First piece of memory for a body; more is taken as the bytes come, not as the header promises.
const FIRST_BYTES: usize = 1 << 20;
/// What is read and thrown away of a body that is too large, in multiples of the cap, so that a client that is
/// still sending gets to read the answer.
const DRAIN_FACTOR: u64 = 8;
/// How long a body that is too large is read and thrown away.
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// Nothing that deflate makes is smaller than its input by more than this factor.
const DEFLATE_RATIO_MAX: usize = 1032;
/// First bytes of snappy's framing format; without them it is one raw block.
const SNAPPY_FRAMED: &[u8] = b"\xff\x06\x00\x00sNaPpY";
/// Largest window of a zstd frame (2^27 bytes, what the reference decoder allows).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or bare RFC 1951 as some senders have it.
    Deflate,
    /// RFC 8878.
    Zstd,
    /// A raw block, or the framing format.
    Snappy,
}

impl Encoding {
    /// Reads `Content-Encoding`.
    ///
    /// # Errors
    /// `UnsupportedMedia` for others, and for more than one.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let name = values.next().map_or("identity", |value| value.to_str().unwrap_or("?"));
        match Self::named(name) {
            Some(encoding) if values.next().is_none() => Ok(encoding),
            _ => Err(ApiError::new(
                Kind::UnsupportedMedia,
                format!("Content-Encoding {name:?} not supported: use identity, gzip, deflate, zstd or snappy"),
            )),
        }
    }

    /// The encoding of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Self::Identity,
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" | "zlib" => Self::Deflate,
            "zstd" => Self::Zstd,
            "snappy" | "x-snappy-framed" => Self::Snappy,
            _ => return None,
        })
    }
}

/// What `Content-Length` promises.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Collects a body of at most `max` bytes within `timeout`. A body that comes as one piece is not copied.
///
/// # Errors
/// `TooLarge`, `TooSlow`, or `BadRequest` when the connection breaks.
pub(crate) async fn collect(body: Body, headers: &HeaderMap, max: usize, timeout: Duration) -> Result<Bytes, ApiError> {
    let promised = content_length(headers);
    if promised.is_some_and(|bytes| bytes > max as u64) {
        // With `Expect: 100-continue` the client waits for the answer before it sends.
        if !headers.contains_key(header::EXPECT) {
            drain(body, max).await;
        }
        return Err(too_large(max, "as sent"));
    }
    let too_slow = |_| ApiError::new(Kind::TooSlow, format!("the body did not arrive within {} s", timeout.as_secs()));
    tokio::time::timeout(timeout, gather(body, promised.unwrap_or(0), max)).await.map_err(too_slow)?
}

async fn gather(mut body: Body, promised: u64, max: usize) -> Result<Bytes, ApiError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::bad_request(format!("the body broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > max {
            drain(body, max).await;
            return Err(too_large(max, "as sent"));
        }
        if all.is_empty() && first.is_empty() {
            first = data;
            continue;
        }
        if !first.is_empty() {
            all.reserve((promised as usize).clamp(first.len() + data.len(), FIRST_BYTES.max(first.len() + data.len())));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads on for a while and throws away.
async fn drain(mut body: Body, max: usize) {
    let read_on = async {
        let mut bytes = 0_u64;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
            if bytes > DRAIN_FACTOR * max as u64 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, read_on).await;
}

fn too_large(max: usize, when: &str) -> ApiError {
    let limit = crate::config::Size(max as u64);
    ApiError::new(Kind::TooLarge, format!("the body is larger than {limit} {when}: send less at once"))
}

/// Unpacks a body into at most `max` bytes.
///
/// # Errors
/// `TooLarge`, or `BadRequest` when the body is not what its encoding says.
pub(crate) fn decompress(body: Bytes, encoding: Encoding, max: usize) -> Result<Bytes, ApiError> {
    let packed = body.as_ref();
    match encoding {
        Encoding::Identity if body.len() > max => Err(too_large(max, "as sent")),
        Encoding::Identity => Ok(body),
        Encoding::Gzip => {
            let size_hint = packed.last_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size) as usize);
            let size_hint = size_hint.min(packed.len().saturating_mul(DEFLATE_RATIO_MAX));
            read_capped(flate2::bufread::MultiGzDecoder::new(packed), size_hint, max, "gzip")
        }
        Encoding::Deflate if is_zlib(packed) => {
            read_capped(flate2::bufread::ZlibDecoder::new(packed), packed.len() * 4, max, "deflate")
        }
        Encoding::Deflate => {
            read_capped(flate2::bufread::DeflateDecoder::new(packed), packed.len() * 4, max, "deflate")
        }
        Encoding::Zstd => {
            let malformed = |e| ApiError::bad_request(format!("the body is not valid zstd: {e}"));
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(malformed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(malformed)?;
            read_capped(decoder, packed.len() * 4, max, "zstd")
        }
        Encoding::Snappy if packed.starts_with(SNAPPY_FRAMED) => {
            read_capped(snap::read::FrameDecoder::new(packed), packed.len() * 2, max, "snappy")
        }
        Encoding::Snappy => decompress_snappy_block(packed, max),
    }
}

fn decompress_snappy_block(packed: &[u8], max: usize) -> Result<Bytes, ApiError> {
    let malformed = |_| ApiError::bad_request("snappy: corrupt input");
    if snap::raw::decompress_len(packed).map_err(malformed)? > max {
        return Err(too_large(max, "after decompression"));
    }
    snap::raw::Decoder::new().decompress_vec(packed).map(Bytes::from).map_err(malformed)
}

fn is_zlib(packed: &[u8]) -> bool {
    matches!(packed, [a, b, ..] if a & 0x0f == 8 && (u16::from(*a) << 8 | u16::from(*b)).is_multiple_of(31))
}

fn read_capped(reader: impl Read, size_hint: usize, max: usize, name: &str) -> Result<Bytes, ApiError> {
    // One byte more than expected, so that the end is noticed without growing.
    let mut unpacked = Vec::with_capacity(size_hint.min(max) + 1);
    let read = reader.take(max as u64 + 1).read_to_end(&mut unpacked);
    read.map_err(|e| ApiError::bad_request(format!("the body is not valid {name}: {e}")))?;
    if unpacked.len() > max { Err(too_large(max, "after decompression")) } else { Ok(unpacked.into()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &[u8] = b"a line, and a line, and a line, and a line, and a line";

    fn packed(encoding: Encoding, text: &[u8]) -> Bytes {
        match encoding {
            Encoding::Identity => text.to_vec(),
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Zstd => zstd::bulk::compress(text, 1).unwrap(),
            Encoding::Snappy => snap::raw::Encoder::new().compress_vec(text).unwrap(),
        }
        .into()
    }

    const ALL: [Encoding; 5] =
        [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Snappy];

    #[test]
    fn every_encoding_is_unpacked() {
        for encoding in ALL {
            let body = packed(encoding, TEXT);
            assert_eq!(decompress(body, encoding, TEXT.len()).unwrap(), TEXT, "{encoding:?}");
        }
    }

    #[test]
    fn a_body_over_the_cap_is_refused_after_decompression() {
        let zeros = vec![0_u8; 10 << 20];
        for encoding in ALL {
            let refused = decompress(packed(encoding, &zeros), encoding, 1 << 20).unwrap_err();
            assert_eq!(refused.kind, Kind::TooLarge, "{encoding:?}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        for encoding in ALL.into_iter().skip(1) {
            let refused = decompress(Bytes::from_static(b"\x1fnothing of the kind"), encoding, 1 << 20).unwrap_err();
            assert_eq!(refused.kind, Kind::BadRequest, "{encoding:?}");
            let cut = packed(encoding, TEXT).slice(..8);
            assert_eq!(decompress(cut, encoding, 1 << 20).unwrap_err().kind, Kind::BadRequest, "{encoding:?} cut");
        }
    }

    #[test]
    fn other_forms_of_the_encodings_are_known() {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(TEXT).unwrap();
        let bare = encoder.finish().unwrap();
        assert_eq!(decompress(bare.into(), Encoding::Deflate, 1 << 20).unwrap(), TEXT);
        let mut framed = snap::write::FrameEncoder::new(Vec::new());
        framed.write_all(TEXT).unwrap();
        let framed = framed.into_inner().unwrap();
        assert_eq!(decompress(framed.into(), Encoding::Snappy, 1 << 20).unwrap(), TEXT);
        let mut twice = packed(Encoding::Gzip, TEXT).to_vec();
        twice.extend_from_slice(&packed(Encoding::Gzip, TEXT));
        assert_eq!(decompress(twice.into(), Encoding::Gzip, 1 << 20).unwrap().len(), 2 * TEXT.len());
    }

    async fn collected(pieces: &[&'static [u8]], promised: Option<u64>, max: usize) -> Result<Bytes, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(bytes) = promised {
            headers.insert(header::CONTENT_LENGTH, bytes.into());
        }
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece))).collect();
        collect(Body::from_stream(futures::stream::iter(pieces)), &headers, max, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn bodies_are_collected_up_to_the_cap() {
        assert_eq!(collected(&[b"abc"], Some(3), 3).await.unwrap().as_ref(), b"abc");
        assert_eq!(collected(&[b"ab", b"", b"cd", b"e"], None, 5).await.unwrap().as_ref(), b"abcde");
        assert_eq!(collected(&[], None, 5).await.unwrap().as_ref(), b"");
        assert_eq!(collected(&[b"ab", b"cd"], None, 3).await.unwrap_err().kind, Kind::TooLarge);
        assert_eq!(collected(&[b"ab"], Some(9), 3).await.unwrap_err().kind, Kind::TooLarge);
    }
}
