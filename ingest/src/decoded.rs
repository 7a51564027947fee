//! What a decoder gives back.

use std::fmt;

use storage::LogBatch;
use storage::metrics::MetricBatch;

/// The outcome of a body that could be read.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The records that were taken.
    pub batch: LogBatch,
    /// The records that were not, in order.
    pub refused: Vec<Refusal>,
}

/// The outcome of a body of samples that could be read.
#[derive(Debug, Default)]
pub struct DecodedMetrics {
    /// The samples that were taken.
    pub batch: MetricBatch,
    /// The samples that were not, in order.
    pub refused: Vec<Refusal>,
}

/// A record that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which one: for line protocols the line number, from 1; else the record's number in the request, from 0.
    pub position: usize,
    /// Why, for counting.
    pub reason: RefusalReason,
    /// Why, for people.
    pub message: String,
}

/// Why a record is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalReason {
    /// It cannot be read.
    Malformed,
    /// Its time is not between 1970 and 2262, or cannot be read.
    Timestamp,
    /// It is too large.
    RecordSize,
    /// It has too many attributes.
    AttributeCount,
    /// Its stream has too many labels, or one is too long.
    Labels,
}

impl RefusalReason {
    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Timestamp => "timestamp",
            Self::RecordSize => "record_size",
            Self::AttributeCount => "attribute_count",
            Self::Labels => "labels",
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the sender should do about a body that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// Not send it again: it is not what it claims to be (400).
    Malformed,
    /// Send less at once (413).
    TooLarge,
    /// Send something: there is nothing in it (422).
    Empty,
}

/// A body that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// What to do.
    pub kind: DecodeErrorKind,
    /// What is wrong, and where.
    pub message: String,
}

impl DecodeError {
    /// Not what it claims to be.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self { kind: DecodeErrorKind::Malformed, message: message.into() }
    }
}
