//! What a query sees: a [`Snapshot`] of [`Part`]s, each pruned to row ranges and read as [`Rows`].
//!
//! A part is either an immutable segment or batches of the memtable; both answer the same four questions:
//! which streams, which runs of rows, which ranges can match ([`Part::prune`]), and the rows themselves
//! ([`Part::read`]). Pruning may say yes wrongly, never no: whoever reads checks each row exactly, but for
//! streams, where the answer is exact.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray, UInt8Array};
use arrow::datatypes::Int32Type;

use crate::batch::{Stream, ValueKind};
use crate::error::StorageError;
use crate::memtable::MemoryPart;
use crate::patterns::PatternTable;
use crate::ranges::rows_in;
use crate::segment::{PatternRuns, Segment};

/// Nanoseconds since 1970; `start` is inside, `end` is not.
pub type TimeRange = Range<i64>;

/// What one query sees of one tenant's logs: every acknowledged record exactly once, for as long as it is held.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Segments first, oldest first, then the memtable.
    pub parts: Vec<Part>,
    /// The number of the last batch that may be in it: what [`crate::Store::subscribe`] hands out with a higher number
    /// is not.
    pub last_sequence: u64,
}

impl Snapshot {
    /// Equal for two snapshots of a tenant and a time only if they hold the same records.
    pub fn identity(&self) -> u128 {
        let mut bytes = Vec::with_capacity(self.parts.len() * 9 + 8);
        for part in &self.parts {
            match part {
                Part::Segment(segment) => {
                    bytes.push(0);
                    bytes.extend_from_slice(&segment.meta().id.to_le_bytes());
                    for rows in segment.present().iter().filter(|_| segment.is_masked()) {
                        bytes.extend_from_slice(&rows.start.to_le_bytes());
                        bytes.extend_from_slice(&rows.end.to_le_bytes());
                    }
                }
                Part::Memory(part) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&u64::from(part.row_count()).to_le_bytes());
                    bytes.extend_from_slice(&self.last_sequence.to_le_bytes());
                }
            }
        }
        xxhash_rust::xxh3::xxh3_128(&bytes)
    }

    /// Only the records of these batches.
    pub fn of_batches(batches: Vec<Arc<crate::batch::LogBatch>>) -> Self {
        let parts = batches.into_iter().map(|batch| Part::Memory(MemoryPart::of_batch(batch)));
        Self { parts: parts.collect(), last_sequence: 0 }
    }
}

/// A set of rows that is read as one.
#[derive(Debug, Clone)]
pub enum Part {
    /// Batches not yet in a segment.
    Memory(Arc<MemoryPart>),
    /// An immutable segment. Its files stay readable while this is held, also after a compaction replaced it.
    Segment(Arc<Segment>),
}

/// Consecutive rows of one stream, ascending in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Index into [`Part::streams`].
    pub stream: u32,
    /// Rows of the part, counted from its first.
    pub rows: Range<u32>,
    /// Time of the first row.
    pub first: i64,
    /// Time of the last row.
    pub last: i64,
    /// Bytes of text in all rows.
    pub message_bytes: u64,
}

/// A literal that a row's message must contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    /// What is looked for: any substring of the message, of any length.
    pub text: String,
    /// Compare without regard to case: `text` is lower case, folded as Unicode simple case folding does.
    pub ignore_case: bool,
}

/// What must hold of a row. Every field narrows; the default takes everything.
#[derive(Debug, Clone, Default)]
pub struct Predicate {
    /// Rows outside are not wanted.
    pub time: Option<TimeRange>,
    /// For each of [`Part::streams`], whether its rows are wanted. `None` wants all.
    pub streams: Option<Vec<bool>>,
    /// Of each inner list at least one needle is in the message.
    pub message: Vec<Vec<Needle>>,
    /// For each entry, the attribute `key` (not a stream label or resource attribute) equals one of the values, given
    /// as the text that queries see.
    pub attributes: Vec<(Arc<str>, Vec<String>)>,
}

/// Which columns to read beside the timestamp, which is always there.
#[derive(Debug, Clone, Default)]
pub struct Projection {
    /// Each row's timestamp may be that of the first row of its run, for who knows that this makes no difference: then
    /// the column need not be read.
    pub run_times: bool,
    /// The observed time.
    pub observed: bool,
    /// The level.
    pub level: bool,
    /// The text.
    pub message: bool,
    /// The pattern of the text, see [`crate::patterns`].
    pub pattern: bool,
    /// The attributes.
    pub attributes: AttributeSelection,
}

/// Which attributes to read.
#[derive(Debug, Clone, Default)]
pub enum AttributeSelection {
    /// None.
    #[default]
    None,
    /// These; a key that no row has comes back as no entry.
    Keys(Vec<Arc<str>>),
    /// All that the rows have.
    All,
    /// One of `of` parts of [`Self::All`], counted from 0: so that several threads read the columns of the same rows.
    Share {
        /// Which part.
        nth: u32,
        /// How many parts there are.
        of: u32,
    },
}

/// Rows read from a part, in columns of equal length, in ascending row order.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Where the rows lie in the part.
    pub ranges: Vec<Range<u32>>,
    /// (stream as index into [`Part::streams`], how many rows), covering all rows in order.
    pub streams: Vec<(u32, u32)>,
    /// Nanoseconds since 1970.
    pub timestamp: Int64Array,
    /// Nanoseconds since 1970; null where none was given.
    pub observed: Option<Int64Array>,
    /// [`crate::batch::Level`] as a number.
    pub level: Option<UInt8Array>,
    /// The text.
    pub message: Option<StringArray>,
    /// The pattern of the text; null in segments that know none.
    pub pattern: Option<DictionaryArray<Int32Type>>,
    /// The attributes asked for, by key; null where a row has none. Types: `Dictionary(Int32, Utf8)` or `Utf8` for text
    /// and JSON, `Int64`, `Float64`, `Boolean`, `Binary` for bytes, `FixedSizeBinary(8 | 16)` for hex identifiers of
    /// that length. A key whose values differ in kind comes back as text.
    pub attributes: Vec<(Arc<str>, ArrayRef)>,
}

/// How many rows pruning left, step by step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// By streams and time.
    pub in_time: u64,
    /// Of these, by attributes' values.
    pub with_values: u64,
}

impl Part {
    /// The distinct streams. A segment's are sorted.
    pub fn streams(&self) -> &[Arc<Stream>] {
        match self {
            Self::Memory(part) => part.streams(),
            Self::Segment(part) => part.streams(),
        }
    }

    /// Whether some stream may have a label or resource attribute of that name.
    pub fn has_stream_name(&self, name: &str) -> bool {
        match self {
            Self::Memory(part) => part.streams().iter().any(|stream| stream.has_name(name)),
            Self::Segment(part) => part.has_stream_name(name),
        }
    }

    /// First and last timestamp, both inside; `None` without rows.
    pub fn time_bounds(&self) -> Option<(i64, i64)> {
        match self {
            Self::Memory(part) => part.time_bounds(),
            Self::Segment(part) => part.time_bounds(),
        }
    }

    /// How many rows.
    pub fn row_count(&self) -> u32 {
        match self {
            Self::Memory(part) => part.row_count(),
            Self::Segment(part) => part.row_count(),
        }
    }

    /// A segment's runs in row order, from memory, without reading a row: what counting by stream needs. The memtable
    /// is not sorted and has none.
    pub fn runs(&self) -> Option<&[Run]> {
        match self {
            Self::Memory(_) => None,
            Self::Segment(part) => Some(part.runs()),
        }
    }

    /// The attribute keys that occur, sorted.
    pub fn attribute_keys(&self) -> Vec<Arc<str>> {
        match self {
            Self::Memory(part) => part.attribute_keys(),
            Self::Segment(part) => part.attribute_keys(),
        }
    }

    /// The attribute keys that occur, sorted, each with the kind of its values if all are of one.
    pub fn attribute_kinds(&self) -> Vec<(Arc<str>, Option<ValueKind>)> {
        match self {
            Self::Memory(part) => part.attribute_kinds(),
            Self::Segment(part) => part.attribute_kinds(),
        }
    }

    /// The row ranges that can match, ascending, never touching each other. Rows of unwanted streams are not in them
    /// for a segment; in the memtable they may be, and [`Self::read`] leaves them out.
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the index cannot be read.
    pub fn prune(&self, predicate: &Predicate) -> Result<Vec<Range<u32>>, StorageError> {
        self.prune_counted(predicate).map(|(ranges, _)| ranges)
    }

    /// [`Self::prune`], and how many rows were left on the way.
    ///
    /// # Errors
    /// As there.
    pub fn prune_counted(&self, predicate: &Predicate) -> Result<(Vec<Range<u32>>, Left), StorageError> {
        match self {
            Self::Memory(part) => {
                let ranges = part.prune(predicate);
                let left = rows_in(&ranges);
                Ok((ranges, Left { in_time: left, with_values: left }))
            }
            Self::Segment(part) => part.prune(predicate),
        }
    }

    /// Tells the disk what of the index [`Self::prune`] will look at, so that it comes while other parts are pruned.
    pub fn announce_prune(&self, predicate: &Predicate) {
        if let Self::Segment(segment) = self {
            segment.announce_prune(predicate);
        }
    }

    /// The same for [`Self::patterns`] and [`Self::pattern_runs`].
    pub fn announce_patterns(&self) {
        if let Self::Segment(segment) = self {
            segment.announce_patterns();
        }
    }

    /// Tells the disk that rows will be read, whichever.
    pub fn announce_open(&self) {
        if let Self::Segment(segment) = self {
            segment.announce_open();
        }
    }

    /// Tells the disk what [`Self::read`] will read. Waits for the footer, see [`Self::announce_open`].
    pub fn announce_read(&self, ranges: &[Range<u32>], projection: &Projection) {
        if let Self::Segment(segment) = self {
            segment.announce_read(ranges, projection);
        }
    }

    /// The patterns of its rows, where they are known ahead: what [`Rows::pattern`] has numbers of.
    ///
    /// # Errors
    /// `Io` or `Corrupt` when they cannot be read.
    pub fn patterns(&self) -> Result<Option<Arc<PatternTable>>, StorageError> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::Segment(segment) => segment.patterns().map(Some),
        }
    }

    /// How many rows of each of [`Self::runs`] have each of [`Self::patterns`]; `None` where that is not known ahead.
    ///
    /// # Errors
    /// `Io` or `Corrupt` when they cannot be read.
    pub fn pattern_runs(&self) -> Result<Option<Arc<PatternRuns>>, StorageError> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::Segment(segment) => segment.pattern_runs(),
        }
    }

    /// Reads `ranges` (ascending, as from [`Self::prune`] or any part of them) and hands the rows over in pieces of at
    /// most about 8,192. Blocking: call it off the async threads.
    ///
    /// # Errors
    /// `Io` or `Corrupt` when the segment cannot be read.
    pub fn read(
        &self,
        ranges: &[Range<u32>],
        streams: Option<&[bool]>,
        projection: &Projection,
    ) -> Result<Box<dyn Iterator<Item = Result<Rows, StorageError>> + Send + '_>, StorageError> {
        match self {
            Self::Memory(part) => Ok(Box::new(part.read(ranges, streams, projection).map(Ok))),
            Self::Segment(part) => part.read(ranges, projection),
        }
    }
}
