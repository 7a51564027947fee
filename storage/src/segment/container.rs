//! The container of an index file: named sections with checksums, and a table of them at the end.
//!
//! ```text
//! magic "FAROLIDX", version u32
//! section bytes ...
//! table: for each section kind u32, offset u64, length u64, crc32c u32
//! sections u32, crc32c of the table u32, version u32, magic "FAROLIDX"
//! ```
//! Numbers are little-endian.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::error::StorageError;

/// Version of the index file's layout.
pub(crate) const VERSION: u32 = 1;
pub(crate) const MAGIC: &[u8; 8] = b"FAROLIDX";
/// Sections are small; one that claims to unpack to more is damaged.
const SECTION_BYTES_MAX: usize = 1 << 30;
const HEAD_BYTES: u64 = 12;
const ENTRY_BYTES: usize = 24;
const TAIL_BYTES: usize = 20;

/// The number of the first section of values; those of further attributes follow.
const VALUE_FILTERS: u32 = 1 << 16;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Meta,
    Streams,
    Runs,
    Columns,
    Words,
    OpenBlocks,
    Filters,
    FilterEnds,
    Patterns,
    SeriesLabels,
    SeriesLabelEnds,
    SeriesTerms,
    SeriesPostings,
    SeriesEntries,
    Exemplars,
    PatternRuns,
    /// Of an attribute, by its number among those that have such filters.
    ValueFilters(u32),
}

impl Section {
    /// Its number in the file.
    fn kind(self) -> u32 {
        match self {
            Self::Meta => 1,
            Self::Streams => 2,
            Self::Runs => 3,
            Self::Columns => 4,
            Self::Words => 5,
            Self::OpenBlocks => 6,
            Self::Filters => 7,
            Self::FilterEnds => 8,
            Self::Patterns => 9,
            Self::SeriesLabels => 10,
            Self::SeriesLabelEnds => 11,
            Self::SeriesTerms => 12,
            Self::SeriesPostings => 13,
            Self::SeriesEntries => 14,
            Self::Exemplars => 15,
            Self::PatternRuns => 16,
            Self::ValueFilters(attribute) => VALUE_FILTERS.saturating_add(attribute),
        }
    }
}

/// Puts an index file together in memory.
#[derive(Debug)]
pub(crate) struct ContainerWriter {
    bytes: Vec<u8>,
    table: Vec<u8>,
    sections: u32,
}

impl ContainerWriter {
    pub(crate) fn new() -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        Self { bytes, table: Vec::new(), sections: 0 }
    }

    pub(crate) fn add(&mut self, section: Section, content: &[u8]) {
        self.table.extend_from_slice(&section.kind().to_le_bytes());
        self.table.extend_from_slice(&(self.bytes.len() as u64).to_le_bytes());
        self.table.extend_from_slice(&(content.len() as u64).to_le_bytes());
        self.table.extend_from_slice(&crc32c::crc32c(content).to_le_bytes());
        self.bytes.extend_from_slice(content);
        self.sections += 1;
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&self.table);
        self.bytes.extend_from_slice(&self.sections.to_le_bytes());
        self.bytes.extend_from_slice(&crc32c::crc32c(&self.table).to_le_bytes());
        self.bytes.extend_from_slice(&VERSION.to_le_bytes());
        self.bytes.extend_from_slice(MAGIC);
        self.bytes
    }
}

/// An open index file.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    table: Vec<(u32, u64, u64, u32)>,
}

impl Container {
    pub(crate) fn open(path: &Path, file: Arc<dyn DiskFile>) -> Result<Self, StorageError> {
        let damaged = |offset: u64, reason: String| StorageError::Corrupt { path: path.to_owned(), offset, reason };
        let len = file.len().map_err(|e| StorageError::io("read", path, e))?;
        let tail_at = len
            .checked_sub(TAIL_BYTES as u64)
            .filter(|&at| at >= HEAD_BYTES)
            .ok_or_else(|| damaged(0, format!("{len} bytes are too few for an index file")))?;
        let tail = file.read_up_to(tail_at, TAIL_BYTES as u64).map_err(|e| StorageError::io("read", path, e))?;
        if tail.get(12..) != Some(MAGIC) {
            return Err(damaged(tail_at, "no index file: it does not end in FAROLIDX".to_owned()));
        }
        let version = le_u32(&tail, 8);
        if version != VERSION {
            return Err(damaged(tail_at, format!("index version {version}, this Farol reads {VERSION}")));
        }
        let table_bytes = le_u32(&tail, 0) as usize * ENTRY_BYTES;
        let table_at = tail_at
            .checked_sub(table_bytes as u64)
            .ok_or_else(|| damaged(tail_at, "the section table is longer than the file".to_owned()))?;
        let bytes = file.read_up_to(table_at, table_bytes as u64).map_err(|e| StorageError::io("read", path, e))?;
        if crc32c::crc32c(&bytes) != le_u32(&tail, 4) {
            return Err(damaged(table_at, "the section table does not match its checksum".to_owned()));
        }
        let table = bytes
            .chunks_exact(ENTRY_BYTES)
            .map(|e| (le_u32(e, 0), le_u64(e, 4), le_u64(e, 12), le_u32(e, 20)))
            .collect();
        Ok(Self { path: path.to_owned(), file, table })
    }

    /// Whether the file has the section.
    pub(crate) fn has(&self, section: Section) -> bool {
        self.table.iter().any(|entry| entry.0 == section.kind())
    }

    /// Tells the disk that these sections will be read.
    pub(crate) fn will_read(&self, sections: &[Section]) {
        let wanted = self.table.iter().filter(|entry| sections.iter().any(|section| section.kind() == entry.0));
        let bytes: Vec<_> = wanted.map(|&(_, offset, length, _)| offset..offset.saturating_add(length)).collect();
        self.file.will_read(&bytes);
    }

    /// A section's bytes, checked; empty if the file has none.
    pub(crate) fn read(&self, section: Section) -> Result<Vec<u8>, StorageError> {
        let Some(&(_, offset, length, crc)) = self.table.iter().find(|e| e.0 == section.kind()) else {
            return Ok(Vec::new());
        };
        let bytes = self.file.read_up_to(offset, length).map_err(|e| StorageError::io("read", &self.path, e))?;
        if bytes.len() as u64 != length || crc32c::crc32c(&bytes) != crc {
            return Err(self.damaged(offset, format!("section {section:?} does not match its checksum")));
        }
        Ok(bytes)
    }

    /// A section's bytes that were packed with zstd; empty if the file has none.
    pub(crate) fn unpack(&self, section: Section) -> Result<Vec<u8>, StorageError> {
        let packed = self.read(section)?;
        if packed.is_empty() {
            return Ok(packed);
        }
        unpack(&packed).map_err(|e| self.damaged(0, format!("section {section:?} does not unpack: {e}")))
    }

    pub(crate) fn damaged(&self, offset: u64, reason: String) -> StorageError {
        StorageError::Corrupt { path: self.path.clone(), offset, reason }
    }
}

/// What zstd packed, if it is no more than a section may be.
pub(crate) fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let length = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten().unwrap_or(0);
    match usize::try_from(length).ok().filter(|&length| length <= SECTION_BYTES_MAX) {
        Some(length) => zstd::bulk::decompress(packed, length),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it claims {length} bytes"))),
    }
}

pub(crate) fn le_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(crate) fn le_u64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
