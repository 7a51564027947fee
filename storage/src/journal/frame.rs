//! Frames: one accepted batch each, with length and checksums, and the names of the files that they lie in.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::LogBatch;
use crate::batch_codec;
use crate::error::StorageError;
use crate::metrics::{self, MetricBatch};
use crate::tenant::Tenant;

/// First bytes of every journal file.
pub(super) const FILE_MAGIC: [u8; 8] = *b"FAROLJNL";
/// Version of the layout of files and frames.
const FILE_VERSION: u32 = 1;
/// Length of a file's header.
pub(super) const FILE_HEADER_BYTES: usize = 32;
/// First bytes of every frame: what a reader looks for after damage.
pub(super) const FRAME_MAGIC: [u8; 4] = *b"FrmL";
/// Length of a frame's header.
pub(super) const FRAME_HEADER_BYTES: usize = 32;
/// Kind of a frame that holds a batch of logs.
const KIND_LOGS: u8 = 1;
/// Kind of a frame that holds a batch of metrics.
const KIND_METRICS: u8 = 2;
/// Largest batch that is read back: far above what a request may hold, and a cap on what a damaged length may ask for.
const BATCH_BYTES_MAX: usize = 1 << 30;
/// Contexts kept for the next frames: each holds about a megabyte.
const CONTEXTS_MAX: usize = 16;

/// A batch of any signal.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Batch {
    Logs(Arc<LogBatch>),
    Metrics(Arc<MetricBatch>),
}

impl Batch {
    /// How many records or samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Logs(batch) => batch.len(),
            Self::Metrics(batch) => batch.len(),
        }
    }

    /// True when there is nothing in it to keep.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Logs(batch) => batch.is_empty(),
            Self::Metrics(batch) => batch.is_empty(),
        }
    }

    /// About how much memory it holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Logs(batch) => batch.memory_bytes(),
            Self::Metrics(batch) => batch.memory_bytes(),
        }
    }
}

/// What goes into a frame.
#[derive(Debug, Clone)]
pub struct FrameInput {
    /// Whose batch it is.
    pub tenant: Tenant,
    /// The key under which the sender retries it; up to 65,535 bytes are kept.
    pub idempotency_key: Option<String>,
    /// The records.
    pub batch: Batch,
}

/// A frame ready to be written, but for its sequence.
#[derive(Debug, Clone)]
pub struct EncodedFrame {
    /// Header and payload; the header's sequence and checksum are filled in by the writer.
    bytes: Vec<u8>,
}

impl EncodedFrame {
    /// Bytes that it takes on disk.
    #[allow(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Gives the frame its place in the journal.
    pub(super) fn seal(&mut self, sequence: u64, salt: u32) -> &[u8] {
        self.bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
        let crc = header_crc(&self.bytes[..FRAME_HEADER_BYTES - 4], salt);
        self.bytes[FRAME_HEADER_BYTES - 4..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}

/// Turns batches into frames; shared by all threads, keeps its compression contexts for the next frame.
#[derive(Default)]
pub struct FrameEncoder {
    contexts: Mutex<Vec<Context>>,
}

impl std::fmt::Debug for FrameEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameEncoder")
    }
}

struct Context {
    zstd: zstd::bulk::Compressor<'static>,
    raw: Vec<u8>,
}

impl FrameEncoder {
    /// Serialises and compresses: about 0.3 us a record, on the caller's thread.
    ///
    /// # Errors
    /// `Refused` when the key or the batch is too large for a frame.
    pub fn encode(&self, input: &FrameInput) -> Result<EncodedFrame, StorageError> {
        let kept = self.contexts.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut context = match kept {
            Some(context) => context,
            None => Context { zstd: compressor()?, raw: Vec::new() },
        };
        let frame = context.encode(input);
        let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        if contexts.len() < CONTEXTS_MAX && context.raw.capacity() <= 16 << 20 {
            contexts.push(context);
        }
        frame
    }
}

fn compressor() -> Result<zstd::bulk::Compressor<'static>, StorageError> {
    zstd::bulk::Compressor::new(1).map_err(|e| StorageError::Refused(format!("zstd cannot start: {e}")))
}

impl Context {
    fn encode(&mut self, input: &FrameInput) -> Result<EncodedFrame, StorageError> {
        self.raw.clear();
        let kind = match &input.batch {
            Batch::Logs(batch) => {
                batch_codec::encode(batch, &mut self.raw);
                KIND_LOGS
            }
            Batch::Metrics(batch) => {
                metrics::codec::encode(batch, &mut self.raw);
                KIND_METRICS
            }
        };
        let key = input.idempotency_key.as_deref().unwrap_or_default().as_bytes();
        let (Ok(key_bytes), Ok(raw_bytes)) = (u16::try_from(key.len()), u32::try_from(self.raw.len())) else {
            return Err(StorageError::Refused("a batch or its idempotency key is too large for the journal".into()));
        };
        if self.raw.len() > BATCH_BYTES_MAX {
            return Err(StorageError::Refused(format!("a batch of {raw_bytes} bytes is too large for the journal")));
        }
        let tenant = input.tenant.as_str().as_bytes();
        let prefix = FRAME_HEADER_BYTES + 1 + tenant.len() + 3 + key.len();
        let mut bytes = Vec::with_capacity(prefix + self.raw.len() / 2 + 64);
        bytes.resize(FRAME_HEADER_BYTES, 0);
        bytes.push(tenant.len() as u8);
        bytes.extend_from_slice(tenant);
        bytes.push(u8::from(input.idempotency_key.is_some()));
        bytes.extend_from_slice(&key_bytes.to_le_bytes());
        bytes.extend_from_slice(key);
        match kind {
            // What is left of a batch of metrics are numbers that do not pack.
            KIND_METRICS => bytes.extend_from_slice(&self.raw),
            _ => self.compress_onto(&mut bytes)?,
        }
        let Ok(payload_bytes) = u32::try_from(bytes.len() - FRAME_HEADER_BYTES) else {
            return Err(StorageError::Refused("a batch is too large for the journal".into()));
        };
        let crc = crc32c::crc32c(&bytes[FRAME_HEADER_BYTES..]);
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
        bytes[16] = kind;
        bytes[20..24].copy_from_slice(&raw_bytes.to_le_bytes());
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
        Ok(EncodedFrame { bytes })
    }

    /// Appends the compressed batch to `bytes`.
    fn compress_onto(&mut self, bytes: &mut Vec<u8>) -> Result<(), StorageError> {
        let failed = |e: std::io::Error| StorageError::Refused(format!("a batch cannot be compressed: {e}"));
        let compressed = self.zstd.compress(&self.raw).map_err(failed)?;
        bytes.extend_from_slice(&compressed);
        Ok(())
    }
}

/// A frame's header, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) sequence: u64,
    pub(super) payload_bytes: u32,
    payload_crc: u32,
    raw_bytes: u32,
    kind: u8,
}

impl FrameHeader {
    /// The header at the start of `bytes`, if there is a valid one.
    pub(super) fn parse(bytes: &[u8], salt: u32) -> Option<Self> {
        let header = bytes.get(..FRAME_HEADER_BYTES)?;
        if header[..4] != FRAME_MAGIC || u32_at(header, 28) != header_crc(&header[..28], salt) {
            return None;
        }
        Some(Self {
            payload_bytes: u32_at(header, 4),
            sequence: u64_at(header, 8),
            kind: header[16],
            raw_bytes: u32_at(header, 20),
            payload_crc: u32_at(header, 24),
        })
    }

    /// Header and payload together.
    pub(super) fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload_bytes as usize
    }

    /// True when `payload` is what was written.
    pub(super) fn holds(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes as usize && crc32c::crc32c(payload) == self.payload_crc
    }

    /// What is in the frame.
    pub(super) fn decode(&self, payload: &[u8]) -> Result<FrameInput, String> {
        if ![KIND_LOGS, KIND_METRICS].contains(&self.kind) {
            return Err(format!("frames of kind {} are not known to this version", self.kind));
        }
        let too_short = || "the payload is too short".to_owned();
        let (&tenant_bytes, rest) = payload.split_first().ok_or_else(too_short)?;
        let (tenant, rest) = rest.split_at_checked(usize::from(tenant_bytes)).ok_or_else(too_short)?;
        let (key_header, rest) = rest.split_at_checked(3).ok_or_else(too_short)?;
        let key_bytes = u16::from_le_bytes([key_header[1], key_header[2]]);
        let (key, compressed) = rest.split_at_checked(usize::from(key_bytes)).ok_or_else(too_short)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| "text is not UTF-8".to_owned());
        let raw_bytes = self.raw_bytes as usize;
        if raw_bytes > BATCH_BYTES_MAX {
            return Err(format!("a batch of {raw_bytes} bytes is too large"));
        }
        let batch = match self.kind {
            KIND_METRICS => Batch::Metrics(Arc::new(metrics::codec::decode(compressed)?)),
            _ => {
                let raw = zstd::bulk::decompress(compressed, raw_bytes).map_err(|e| format!("zstd: {e}"))?;
                Batch::Logs(Arc::new(batch_codec::decode(&raw).map_err(|e| e.to_string())?))
            }
        };
        Ok(FrameInput {
            tenant: Tenant::new(&text(tenant)?).map_err(|e| e.to_string())?,
            idempotency_key: if key_header[0] == 0 { None } else { Some(text(key)?) },
            batch,
        })
    }
}

/// The name of a journal file: `<number>-<first sequence>-<salt>.journal`. All that is needed to read the frames is
/// in it, so that a damaged header costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileName {
    /// Files are read in this order.
    pub(super) number: u64,
    /// Sequence of the first frame.
    pub(super) first_sequence: u64,
    /// Goes into the checksum of each frame's header: bytes of another file, or of a log message that imitates a
    /// frame, are no frame of this one.
    pub(super) salt: u32,
}

impl FileName {
    pub(super) fn parse(path: &Path) -> Option<Self> {
        let mut parts = path.file_name()?.to_str()?.strip_suffix(".journal")?.split('-');
        let number = u64::from_str_radix(parts.next()?, 16).ok()?;
        let first_sequence = u64::from_str_radix(parts.next()?, 16).ok()?;
        let salt = u32::from_str_radix(parts.next()?, 16).ok()?;
        parts.next().is_none().then_some(Self { number, first_sequence, salt })
    }

    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{:08x}-{:016x}-{:08x}.journal", self.number, self.first_sequence, self.salt))
    }

    /// The first bytes of the file, for people and for `file(1)`; readers go by the name.
    pub(super) fn header(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut header = [0; FILE_HEADER_BYTES];
        header[..8].copy_from_slice(&FILE_MAGIC);
        header[8..12].copy_from_slice(&FILE_VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&self.salt.to_le_bytes());
        header[16..24].copy_from_slice(&self.first_sequence.to_le_bytes());
        let crc = crc32c::crc32c(&header[..28]);
        header[28..].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

fn header_crc(header: &[u8], salt: u32) -> u32 {
    crc32c::crc32c_append(salt, header)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
