//! The writing side: one write and one sync for all frames that wait, and what happens when either fails.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::JournalOptions;
use super::frame::{EncodedFrame, FILE_HEADER_BYTES, FileName};
use super::reader::JournalScan;
use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;

/// The append side of the journal. One owner: the thread that writes.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_bytes: u64,
    next_sequence: u64,
    next_number: u64,
    /// Files that are not appended to any more, oldest first.
    done: VecDeque<DoneFile>,
    current: Option<CurrentFile>,
    /// Frames of one append, one after the other.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct DoneFile {
    path: PathBuf,
    bytes: u64,
    /// The last sequence that it may hold; 0 when it holds none that counts.
    last_sequence: u64,
}

#[derive(Debug)]
struct CurrentFile {
    name: FileName,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Where the next frame goes: the end of what is acknowledged.
    bytes: u64,
    last_sequence: u64,
}

impl Journal {
    /// A journal that goes on after what `scan` found, in a new file: those that are there stay as they are.
    pub(super) fn after(disk: Arc<dyn Disk>, dir: &Path, options: &JournalOptions, scan: &JournalScan) -> Self {
        // A file that cannot be read is not ours to delete: opening moves it into the quarantine.
        let done = scan.files.iter().filter(|file| file.unreadable.is_none()).map(|file| DoneFile {
            path: file.path.clone(),
            bytes: file.bytes,
            last_sequence: file.last_sequence,
        });
        Self {
            dir: dir.to_owned(),
            file_bytes: options.file_bytes,
            next_sequence: scan.last_sequence.max(options.flushed_sequence) + 1,
            next_number: scan.files.last().map_or(1, |file| file.name.number + 1),
            done: done.collect(),
            current: None,
            buffer: Vec::new(),
            disk,
        }
    }

    /// Writes the frames in order and makes them durable; returns the sequence of the last one. The first one has
    /// [`Self::next_sequence`] as it was before.
    ///
    /// # Errors
    /// `DiskFull` or `Io`: none of the frames counts, later appends are not affected, and the same frames may be
    /// tried again. After a crash they may come back whole if nothing was appended since.
    pub fn append(&mut self, mut frames: Vec<EncodedFrame>) -> Result<u64, StorageError> {
        if frames.is_empty() {
            return Ok(self.next_sequence - 1);
        }
        if self.current.as_ref().is_some_and(|current| current.bytes >= self.file_bytes) {
            self.retire_current();
        }
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.begin_file()?,
        };
        let last_sequence = self.next_sequence + frames.len() as u64 - 1;
        self.buffer.clear();
        for (frame, sequence) in frames.iter_mut().zip(self.next_sequence..) {
            self.buffer.extend_from_slice(frame.seal(sequence, current.name.salt));
        }
        if let Err(e) = current.file.write_at(current.bytes, &self.buffer) {
            let error = StorageError::io("append to", &current.path, e);
            // What was written of the frames is cut off again. Where that fails too the file is left alone: the next
            // one begins with the same sequence, which makes void whatever may be readable of them.
            match current.file.set_len(current.bytes) {
                Ok(()) => self.current = Some(current),
                Err(_) => self.abandon(current),
            }
            return Err(error);
        }
        if let Err(e) = current.file.sync() {
            // What is on disk now nobody knows, and a second sync that succeeds would not mean anything.
            let error = StorageError::io("sync", &current.path, e);
            self.abandon(current);
            return Err(error);
        }
        current.bytes += self.buffer.len() as u64;
        current.last_sequence = last_sequence;
        self.current = Some(current);
        self.next_sequence = last_sequence + 1;
        if self.buffer.capacity() > 16 << 20 {
            self.buffer = Vec::new();
        }
        Ok(last_sequence)
    }

    /// The sequence that the next frame gets.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.done.iter().map(|file| file.bytes).sum::<u64>() + self.current.as_ref().map_or(0, |file| file.bytes)
    }

    /// Deletes every file whose frames all have a sequence of at most `up_to`, which the catalog must hold as
    /// flushed, durably. When that is all of them, no file is left; the next append begins a new one.
    ///
    /// # Errors
    /// `Io` when a file cannot be deleted or the folder not synced. Nothing is wrong then but the room that it
    /// takes: the next call tries again.
    pub fn release(&mut self, up_to: u64) -> Result<(), StorageError> {
        if self.current.as_ref().is_some_and(|current| current.last_sequence != 0 && current.last_sequence <= up_to) {
            self.retire_current();
        }
        let mut removed = false;
        // From the oldest on, and no further than the first that stays: what is left has no hole.
        while let Some(oldest) = self.done.front().filter(|file| file.last_sequence <= up_to) {
            match self.disk.remove(&oldest.path) {
                Ok(()) => removed = true,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(StorageError::io("delete", &oldest.path, e)),
            }
            self.done.pop_front();
        }
        if removed {
            self.disk.sync_dir(&self.dir).map_err(|e| StorageError::io("sync folder", &self.dir, e))?;
        }
        Ok(())
    }

    fn retire_current(&mut self) {
        if let Some(CurrentFile { path, bytes, last_sequence, .. }) = self.current.take() {
            self.done.push_back(DoneFile { path, bytes, last_sequence });
        }
    }

    /// Leaves a file whose end is not known. Cutting it is an attempt to save room only: its frames past the last
    /// acknowledged one are void because of the name of the next file.
    fn abandon(&mut self, file: CurrentFile) {
        let CurrentFile { path, file, bytes, last_sequence, .. } = file;
        let bytes = match file.set_len(bytes) {
            Ok(()) => bytes,
            Err(_) => file.len().unwrap_or(bytes),
        };
        self.done.push_back(DoneFile { path, bytes, last_sequence });
    }

    fn begin_file(&mut self) -> Result<CurrentFile, StorageError> {
        let name = FileName { number: self.next_number, first_sequence: self.next_sequence, salt: salt() };
        // Never a second time, also when this fails half way: the file may be there.
        self.next_number += 1;
        let path = name.path(&self.dir);
        let begin = || {
            let file = self.disk.create(&path)?;
            file.write_at(0, &name.header())?;
            file.sync()?;
            self.disk.sync_dir(&self.dir)?;
            Ok(file)
        };
        match begin() {
            Ok(file) => Ok(CurrentFile { name, path, file, bytes: FILE_HEADER_BYTES as u64, last_sequence: 0 }),
            Err(e) => {
                // If it cannot be removed it stays as an empty file, which release() deletes.
                if self.disk.remove(&path).is_err() {
                    self.done.push_back(DoneFile { path: path.clone(), bytes: 0, last_sequence: 0 });
                }
                Err(StorageError::io("begin", &path, e))
            }
        }
    }
}

/// A number that differs from file to file: from the keys that the standard library draws for its hash maps.
fn salt() -> u32 {
    std::hash::RandomState::new().build_hasher().finish() as u32
}
