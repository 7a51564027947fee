//! The reading side: which frames a folder holds, which bytes are damaged, and the replay.
//!
//! A file is read frame by frame. Where there is no valid frame the rest is searched for the next one: what lies
//! between is damage. When there is no next one it is the tail, and the sequences tell what it was: a torn write that
//! nobody was told about, or frames that are missing now.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;

use super::frame::{FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FRAME_MAGIC, FileName, FrameHeader, FrameInput};
use super::{Journal, JournalOptions};
use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;

/// Extension of a file that takes another's place once it is whole.
const REWRITTEN: &str = "new";

/// Bytes of the journal that could not be read, set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The journal file.
    pub path: PathBuf,
    /// Where the damage begins.
    pub offset: u64,
    /// How many bytes are damaged.
    pub bytes: u64,
    /// How many acknowledged frames are certainly missing: 0 when the sequences around show no gap.
    pub frames_missing: u64,
    /// What is wrong, for people.
    pub reason: String,
    /// The copy of the damaged bytes; `None` when it could not be made.
    pub quarantined: Option<PathBuf>,
}

/// What a journal folder holds, before anything is replayed or changed.
#[derive(Debug)]
pub struct JournalScan {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    pub(super) files: Vec<ScannedFile>,
    pub(super) last_sequence: u64,
}

#[derive(Debug)]
pub(super) struct ScannedFile {
    pub(super) name: FileName,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// The last sequence that counts; 0 without any.
    pub(super) last_sequence: u64,
    frames: Vec<FramePlace>,
    gaps: Vec<Gap>,
    pub(super) unreadable: Option<String>,
}

/// Where a valid frame lies.
#[derive(Debug, Clone, Copy)]
struct FramePlace {
    offset: u64,
    header: FrameHeader,
}

/// Bytes without a valid frame.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    offset: u64,
    bytes: u64,
    /// The sequences of the frames around it, of which those between are missing.
    after_sequence: u64,
    /// `None` at the end of the file.
    before_sequence: Option<u64>,
    /// It begins with a frame whose bytes are all there but not as they were written: no torn write looks so after
    /// the process was killed.
    whole_frame: bool,
}

/// Every journal file of a folder, in order.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(FileName, PathBuf, u64)>, StorageError> {
    let entries = match disk.list(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StorageError::io("list", dir, e)),
    };
    let mut files: Vec<_> = entries
        .into_iter()
        .filter_map(|entry| Some((FileName::parse(&entry.path)?, entry.path, entry.bytes)))
        .collect();
    files.sort();
    Ok(files)
}

impl JournalScan {
    /// Looks at every frame of the journal in `dir`. A file that cannot be read is damage, not a failure; a folder
    /// that is not there is an empty journal.
    ///
    /// # Errors
    /// `Io` when the folder cannot be listed.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, StorageError> {
        let listed = list(disk.as_ref(), dir)?;
        let mut files = Vec::with_capacity(listed.len());
        for (i, (name, path, bytes)) in listed.iter().enumerate() {
            // From the first sequence of any later file on, frames are void.
            let void_from = listed[i + 1..].iter().map(|(later, ..)| later.first_sequence).min();
            files.push(scan_file(disk.as_ref(), *name, path, *bytes, void_from.unwrap_or(u64::MAX)));
        }
        let last_sequence = files.iter().map(|file| file.last_sequence).max().unwrap_or(0);
        let begun = files.last().map_or(0, |file| file.name.first_sequence.saturating_sub(1));
        Ok(Self { disk, dir: dir.to_owned(), files, last_sequence: last_sequence.max(begun) })
    }

    /// The first sequence that has not been released: frames before it are in committed segments. `None` when the
    /// journal holds no file with a frame, so that all that ever was in it has been released.
    pub fn first_sequence(&self) -> Option<u64> {
        let used = self.files.iter().filter(|file| file.bytes > FILE_HEADER_BYTES as u64);
        used.map(|file| file.name.first_sequence).min()
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// The last sequence that was given out, as far as the journal knows.
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Gets ready to append after what is there, and to replay what is not flushed. Damage is copied into the
    /// quarantine and reported. What is there is made durable: it may be what a process wrote that was killed before it
    /// could do so, and from here on it counts.
    ///
    /// # Errors
    /// `Io` or `DiskFull` when the journal's folder cannot be made, or its files cannot be made durable.
    pub fn open(self, options: &JournalOptions) -> Result<(Journal, Replay), StorageError> {
        self.disk.create_dir_durable(&self.dir).map_err(|e| StorageError::io("make folder", &self.dir, e))?;
        self.make_durable()?;
        let journal = Journal::after(self.disk.clone(), &self.dir, options, &self);
        Ok((journal, self.into_replay(options.flushed_sequence, Some(&options.quarantine))))
    }

    /// What was read may be in the page cache alone: of a process that was killed before its sync, or whose sync failed,
    /// after which Linux takes the pages for clean and a second sync does nothing. Only the newest file can be so; it is
    /// written anew. Without room for that a sync has to do.
    fn make_durable(&self) -> Result<(), StorageError> {
        let failed = |e| StorageError::io("sync", &self.dir, e);
        for entry in self.disk.list(&self.dir).map_err(failed)? {
            if entry.path.extension().is_some_and(|extension| extension == REWRITTEN) {
                self.disk.remove(&entry.path).map_err(failed)?;
            }
        }
        for file in self.files.iter().filter(|file| file.unreadable.is_none()) {
            let synced = self.disk.open(&file.path).and_then(|open| open.sync());
            synced.map_err(|e| StorageError::io("sync", &file.path, e))?;
        }
        let newest = self.files.last().filter(|file| file.unreadable.is_none() && file.last_sequence > 0);
        match newest.map(|file| self.rewrite(file)) {
            Some(Err(e)) if e.kind() == io::ErrorKind::StorageFull => {}
            Some(Err(e)) => return Err(failed(e)),
            Some(Ok(())) | None => {}
        }
        self.disk.sync_dir(&self.dir).map_err(failed)
    }

    fn rewrite(&self, file: &ScannedFile) -> io::Result<()> {
        let content = self.disk.open(&file.path)?.read_up_to(0, file.bytes)?;
        let copy = file.path.with_extension(REWRITTEN);
        let new = self.disk.create(&copy)?;
        new.write_at(0, &content)?;
        new.sync()?;
        self.disk.rename(&copy, &file.path)
    }

    /// Reads every frame that is not flushed without touching anything: for who only checks.
    pub fn inspect(self, flushed_sequence: u64) -> Replay {
        self.into_replay(flushed_sequence, None)
    }

    fn into_replay(self, flushed_sequence: u64, quarantine: Option<&Path>) -> Replay {
        let (damage, torn_bytes) = self.judge(flushed_sequence, quarantine);
        let files = self.files.into_iter().map(|file| {
            let wanted = file.frames.into_iter().filter(|frame| frame.header.sequence > flushed_sequence);
            (file.path, wanted.collect::<Vec<_>>())
        });
        let mut files: Vec<_> = files.filter(|(_, frames)| !frames.is_empty()).collect();
        files.reverse();
        Replay { disk: self.disk, files, open: None, damage, torn_bytes }
    }

    /// Tells damage from torn tails, and says how many bytes of the latter there are.
    fn judge(&self, flushed_sequence: u64, quarantine: Option<&Path>) -> (Vec<Damage>, u64) {
        let (mut damage, mut torn_bytes) = (Vec::new(), 0);
        for (i, file) in self.files.iter().enumerate() {
            let mut report = |offset, bytes, frames_missing, reason: String| {
                let quarantined = quarantine.and_then(|to| self.set_aside(file, offset, bytes, to));
                damage.push(Damage { path: file.path.clone(), offset, bytes, frames_missing, reason, quarantined });
            };
            // What comes next, as far as later files tell.
            let next = self.files[i + 1..].iter().map(|later| later.name.first_sequence).min();
            if let Some(reason) = &file.unreadable {
                let missing = next.map_or(0, |next| {
                    missing(file.last_sequence.max(file.name.first_sequence.saturating_sub(1)), next, flushed_sequence)
                });
                report(0, file.bytes, missing, format!("it cannot be read: {reason}"));
                continue;
            }
            for gap in &file.gaps {
                let missing = match gap.before_sequence.or(next) {
                    Some(next) => missing(gap.after_sequence, next, flushed_sequence),
                    None => 0,
                };
                let is_tail = gap.before_sequence.is_none();
                let is_torn = is_tail && missing == 0 && (next.is_some() || !gap.whole_frame);
                if is_torn {
                    torn_bytes += if next.is_none() { gap.bytes } else { 0 };
                } else if missing > 0 || gap.after_sequence >= flushed_sequence {
                    let reason = match (is_tail, missing) {
                        (true, 0) => "the last frame is not as it was written; it may never have been acknowledged",
                        (true, _) => "the end of the file holds no valid frame",
                        (false, _) => "the middle of the file holds no valid frame",
                    };
                    report(gap.offset, gap.bytes, missing, reason.to_owned());
                }
            }
            let ends_whole = file.gaps.last().is_none_or(|gap| gap.before_sequence.is_some());
            if let (true, Some(next)) = (ends_whole, next) {
                let last = file.last_sequence.max(file.name.first_sequence.saturating_sub(1));
                let missing = missing(last, next, flushed_sequence);
                if missing > 0 {
                    report(file.bytes, 0, missing, "the frames that should follow are in no file".to_owned());
                }
            }
        }
        (damage, torn_bytes)
    }

    /// Copies bytes of a file into the quarantine; the same damage has the same name there. A file that cannot be read
    /// is moved there as a whole.
    fn set_aside(&self, file: &ScannedFile, offset: u64, bytes: u64, to: &Path) -> Option<PathBuf> {
        let name = file.path.file_name()?.to_str()?;
        let is_whole = file.unreadable.is_some();
        let copy = if is_whole { to.join(name) } else { to.join(format!("{name}.at-{offset}")) };
        if !is_whole && (bytes == 0 || self.disk.open(&copy).is_ok()) {
            return (bytes > 0).then_some(copy);
        }
        let set_aside = || {
            if is_whole {
                self.disk.create_dir_durable(to)?;
                self.disk.rename(&file.path, &copy)?;
                self.disk.sync_dir(to)?;
                return self.disk.sync_dir(&self.dir);
            }
            let damaged = self.disk.open(&file.path)?.read_up_to(offset, bytes)?;
            self.disk.create_dir_durable(to)?;
            let file = self.disk.create(&copy)?;
            file.write_at(0, &damaged)?;
            file.sync()?;
            self.disk.sync_dir(to)
        };
        match set_aside() {
            Ok(()) => Some(copy),
            Err(e) => {
                tracing::warn!(path = %copy.display(), error = %e, "damaged journal bytes cannot be set aside");
                None
            }
        }
    }
}

/// How many sequences lie between two, of those that are not flushed.
fn missing(after: u64, before: u64, flushed: u64) -> u64 {
    before.saturating_sub(after.max(flushed)).saturating_sub(1)
}

fn scan_file(disk: &dyn Disk, name: FileName, path: &Path, bytes: u64, void_from: u64) -> ScannedFile {
    let empty = ScannedFile {
        name,
        path: path.to_owned(),
        bytes,
        last_sequence: 0,
        frames: Vec::new(),
        gaps: Vec::new(),
        unreadable: None,
    };
    match disk.open(path).and_then(|file| file.read_up_to(0, bytes)) {
        Ok(content) => find_frames(&content, empty, void_from),
        Err(e) => ScannedFile { unreadable: Some(e.to_string()), ..empty },
    }
}

/// Finds every valid frame of a file's content, and the gaps between.
fn find_frames(content: &[u8], mut file: ScannedFile, void_from: u64) -> ScannedFile {
    let mut offset = FILE_HEADER_BYTES;
    let mut last = file.name.first_sequence.saturating_sub(1);
    while offset < content.len() {
        let (found, header) = match next_frame(content, offset, file.name.salt, last) {
            Some(found) => found,
            None => (content.len(), None),
        };
        if found > offset {
            let whole = FrameHeader::parse(&content[offset..], file.name.salt)
                .is_some_and(|header| header.frame_bytes() <= content.len() - offset);
            file.gaps.push(Gap {
                offset: offset as u64,
                bytes: (found - offset) as u64,
                after_sequence: last,
                before_sequence: header.map(|header| header.sequence),
                whole_frame: whole,
            });
        }
        let Some(header) = header else { break };
        if header.sequence >= void_from {
            break;
        }
        last = header.sequence;
        file.last_sequence = last;
        file.frames.push(FramePlace { offset: found as u64, header });
        offset = found + header.frame_bytes();
    }
    file
}

/// The first valid frame at or after `offset` that comes after `last`.
fn next_frame(content: &[u8], offset: usize, salt: u32, last: u64) -> Option<(usize, Option<FrameHeader>)> {
    let valid = |at: usize| {
        let header = FrameHeader::parse(content.get(at..)?, salt)?;
        let payload = content.get(at + FRAME_HEADER_BYTES..at + header.frame_bytes())?;
        (header.sequence > last && header.holds(payload)).then_some(header)
    };
    if let Some(header) = valid(offset) {
        return Some((offset, Some(header)));
    }
    let rest = content.get(offset..)?;
    memmem::find_iter(rest, &FRAME_MAGIC).find_map(|at| Some((offset + at, Some(valid(offset + at)?))))
}

/// One frame, read back.
#[derive(Debug, Clone)]
pub struct ReplayedFrame {
    /// Its place in the journal.
    pub sequence: u64,
    /// What it holds.
    pub content: FrameInput,
}

/// Every frame that is not flushed, in order of sequence. A frame that cannot be read is reported in
/// [`Self::damage`] and skipped.
#[derive(Debug)]
pub struct Replay {
    disk: Arc<dyn Disk>,
    /// The last one comes first, so that it can be popped.
    files: Vec<(PathBuf, Vec<FramePlace>)>,
    open: Option<OpenFile>,
    damage: Vec<Damage>,
    torn_bytes: u64,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    frames: std::vec::IntoIter<FramePlace>,
}

impl Replay {
    /// What could not be read so far; complete once the iterator has ended.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Bytes at the end of the journal that were never acknowledged, and are ignored.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// How many frames there are to replay.
    pub fn frames_left(&self) -> usize {
        let waiting: usize = self.files.iter().map(|(_, frames)| frames.len()).sum();
        waiting + self.open.as_ref().map_or(0, |open| open.frames.len())
    }

    fn read(open: &OpenFile, place: &FramePlace) -> Result<FrameInput, String> {
        let payload = open
            .file
            .read_up_to(place.offset + FRAME_HEADER_BYTES as u64, u64::from(place.header.payload_bytes))
            .map_err(|e| e.to_string())?;
        if !place.header.holds(&payload) {
            return Err("the checksum does not match any more".to_owned());
        }
        place.header.decode(&payload)
    }

    fn report(&mut self, path: &Path, place: &FramePlace, reason: String) {
        let bytes = place.header.frame_bytes() as u64;
        let damage =
            Damage { path: path.to_owned(), offset: place.offset, bytes, frames_missing: 1, reason, quarantined: None };
        self.damage.push(damage);
    }
}

impl Iterator for Replay {
    type Item = ReplayedFrame;

    fn next(&mut self) -> Option<ReplayedFrame> {
        loop {
            let Some(open) = &mut self.open else {
                let (path, frames) = self.files.pop()?;
                match self.disk.open(&path) {
                    Ok(file) => self.open = Some(OpenFile { path, file, frames: frames.into_iter() }),
                    Err(e) => frames.iter().for_each(|place| self.report(&path, place, e.to_string())),
                }
                continue;
            };
            let Some(place) = open.frames.next() else {
                self.open = None;
                continue;
            };
            match Self::read(open, &place) {
                Ok(content) => return Some(ReplayedFrame { sequence: place.header.sequence, content }),
                Err(reason) => {
                    let path = open.path.clone();
                    self.report(&path, &place, reason);
                }
            }
        }
    }
}
