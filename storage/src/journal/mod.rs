//! The journal. Promise: once [`Journal::append`] returns `Ok`, the frames survive a power cut; until then they may
//! come back after one, whole, or not at all.
//!
//! Flow: [`FrameEncoder::encode`] on the caller's thread, [`Journal::append`] on the one thread that writes, then the
//! memtable. A restart replays: [`Journal::open`] gives every frame that is not flushed yet, in order. When the
//! catalog holds what a flush wrote, [`Journal::release`] deletes the files.
//!
//! Invariants: sequences rise by one from frame to frame, across files. A file is only appended to by the process
//! that made it. The name of a file says its first sequence; frames of older files from that sequence on are void
//! (a sync had failed, and their senders were told so). Bytes after the last valid frame of the newest file were
//! never acknowledged. FORMAT.md ("Journal") gives the bytes.

mod frame;
mod reader;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use frame::{Batch, EncodedFrame, FrameEncoder, FrameInput};
pub use reader::{Damage, JournalScan, Replay, ReplayedFrame};
pub use writer::Journal;

use crate::disk::Disk;
use crate::error::StorageError;

/// How a journal is kept.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// A file that has reached this length gets a successor.
    pub file_bytes: u64,
    /// Sequences up to this one are in committed segments: they are not replayed, and their absence is no damage.
    pub flushed_sequence: u64,
    /// Where bytes go that cannot be read.
    pub quarantine: PathBuf,
}

impl JournalOptions {
    /// 32 MiB a file, nothing flushed yet.
    pub fn new(quarantine: &Path) -> Self {
        Self { file_bytes: 32 << 20, flushed_sequence: 0, quarantine: quarantine.to_owned() }
    }
}

impl Journal {
    /// Reads what is in `dir` (made if it is missing) and gets ready to append after it. Damage is set aside and
    /// reported in the [`Replay`], which gives the frames; it is never a reason to fail.
    ///
    /// # Errors
    /// `Io` or `DiskFull` when the folder cannot be made or listed.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: &JournalOptions) -> Result<(Self, Replay), StorageError> {
        JournalScan::new(disk, dir)?.open(options)
    }
}

#[cfg(test)]
mod tests;
