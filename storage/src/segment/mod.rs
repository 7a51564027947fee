//! An immutable segment: a Parquet file and its index file, holding rows of one tenant and one UTC day.
//!
//! Flow: [`write_segment`] turns batches into the two files, [`merge_segments`] turns segments into a larger one,
//! [`Segment`] answers queries from them. Invariants: rows are sorted by (stream, timestamp, arrival); streams are
//! sorted; the index prunes only (it may say yes wrongly, never no); nothing that came in is lost on the way.

mod meta;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::{LogBatch, Stream};
use crate::disk::Disk;
use crate::error::StorageError;
use crate::read::{Predicate, Projection, Rows, Run};
use crate::tenant::Tenant;

pub use meta::{Lineage, SegmentMeta};

/// What a segment is called and where it comes from: what the one who orders it knows before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentOrder {
    /// Unique in the data folder.
    pub id: u64,
    /// Whose data it is.
    pub tenant: Tenant,
    /// The UTC day, as days since 1970: rows of other days are left out by [`write_segment`].
    pub day: i32,
    /// Now, nanoseconds since 1970.
    pub created_ns: i64,
    /// Where the rows come from.
    pub lineage: Lineage,
}

/// How segments are written. The default is what measurements chose.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteOptions {
    /// Rows of a block: the unit of the index and of a Parquet page.
    pub block_rows: u32,
    /// Rows of a Parquet row group at most; bounds the memory of a merge.
    pub row_group_rows: u32,
    /// zstd level of the text.
    pub zstd_level: i32,
    /// Size of the bloom filters.
    pub bloom_bits_per_key: f32,
    /// Below this many rows no words and no bloom filters are written: reading all is as fast.
    pub index_rows_min: u32,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            block_rows: 2_048,
            row_group_rows: 524_288,
            zstd_level: 1,
            bloom_bits_per_key: 7.0,
            index_rows_min: 1_024,
        }
    }
}

/// The two files of the segment at `path`, which has no extension: Parquet, index.
pub fn segment_files(path: &Path) -> (PathBuf, PathBuf) {
    (path.with_extension("parquet"), path.with_extension("index"))
}

/// Writes the rows of `inputs` that lie in `order.day` as one segment, at `path` (without extension). When it returns
/// `Ok`, both files and their names are durable; after an error nothing of it remains but files to be removed.
///
/// The memory needed beside the inputs is about the size of the files plus 20 MiB.
///
/// # Errors
/// `DiskFull` or `Io` when the files cannot be written; `Refused` without a row of that day.
pub fn write_segment(
    _disk: &dyn Disk,
    _path: &Path,
    _order: SegmentOrder,
    _inputs: &[Arc<LogBatch>],
    _options: &WriteOptions,
) -> Result<SegmentMeta, StorageError> {
    unimplemented!()
}

/// Merges segments of one tenant and day into one, row by row in order, in bounded memory (about 4 MiB an input plus
/// the compressed row group). Promises as [`write_segment`].
///
/// # Errors
/// As [`write_segment`]; `Corrupt` when an input is damaged.
pub fn merge_segments(
    _disk: &dyn Disk,
    _path: &Path,
    _order: SegmentOrder,
    _inputs: &[Arc<Segment>],
    _options: &WriteOptions,
) -> Result<SegmentMeta, StorageError> {
    unimplemented!()
}

/// An immutable segment, open for reading. Its two files are held open, so that it stays readable when a compaction
/// removes their names.
#[derive(Debug)]
pub struct Segment {
    meta: SegmentMeta,
}

impl Segment {
    /// Opens the segment at `path` (without extension): checks and reads the index file's small sections; the Parquet
    /// footer is read at the first [`Self::read`].
    ///
    /// # Errors
    /// `Io` when a file is missing; `Corrupt` when it is not the one that `meta` describes.
    pub fn open(_disk: &Arc<dyn Disk>, _path: &Path, meta: SegmentMeta) -> Result<Self, StorageError> {
        Ok(Self { meta })
    }

    /// What a segment says of itself in its index file: what a lost catalog is put together from. `index_crc32c` and
    /// `index_bytes` are taken from the file as it is.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn read_meta(_disk: &dyn Disk, _path: &Path) -> Result<SegmentMeta, StorageError> {
        unimplemented!()
    }

    /// What the catalog stores.
    pub fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// Reads both files whole and compares checksums, row counts, sort order, runs and blocks with what the rows say.
    ///
    /// # Errors
    /// `Corrupt` with the first thing that is wrong; `Io`.
    pub fn verify(&self) -> Result<(), StorageError> {
        unimplemented!()
    }

    /// The distinct streams, sorted.
    pub fn streams(&self) -> &[Arc<Stream>] {
        unimplemented!()
    }

    /// First and last timestamp, both inside; `None` without rows.
    pub fn time_bounds(&self) -> Option<(i64, i64)> {
        (self.meta.rows > 0).then_some((self.meta.first_ns, self.meta.last_ns))
    }

    /// How many rows.
    pub fn row_count(&self) -> u32 {
        self.meta.rows
    }

    /// The attribute keys that occur, sorted.
    pub fn attribute_keys(&self) -> Vec<Arc<str>> {
        unimplemented!()
    }

    /// The runs, in row order.
    pub fn runs(&self) -> &[Run] {
        unimplemented!()
    }

    /// See [`crate::read::Part::prune`].
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the index cannot be read.
    pub fn prune(&self, _predicate: &Predicate) -> Result<Vec<Range<u32>>, StorageError> {
        unimplemented!()
    }

    /// See [`crate::read::Part::read`].
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the segment cannot be read.
    #[allow(clippy::type_complexity, reason = "the contract of reading")]
    pub fn read<'a>(
        &'a self,
        _ranges: &[Range<u32>],
        _projection: &Projection,
    ) -> Result<Box<dyn Iterator<Item = Result<Rows, StorageError>> + Send + 'a>, StorageError> {
        unimplemented!()
    }
}
