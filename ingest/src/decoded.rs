//! What a decoder gives back.

use std::collections::BTreeMap;
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
    /// The series or samples that were not, in order; of very many the first ones.
    pub refused: Vec<Refusal>,
    /// How many samples were not taken, by reason, those among them that `refused` has no room for.
    pub refused_samples: BTreeMap<RefusalReason, usize>,
}

/// How much was taken: what remote write 2.0 answers in `X-Prometheus-Remote-Write-*-Written`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Written {
    pub samples: usize,
    pub histograms: usize,
    pub exemplars: usize,
}

impl DecodedMetrics {
    /// Where every refusal is one sample.
    pub(crate) fn one_each(batch: MetricBatch, refused: Vec<Refusal>) -> Self {
        let mut refused_samples = BTreeMap::new();
        for refusal in &refused {
            *refused_samples.entry(refusal.reason).or_default() += 1;
        }
        Self { batch, refused, refused_samples }
    }

    /// How many samples were not taken: OTLP's `rejected_data_points`.
    pub fn refused_count(&self) -> usize {
        self.refused_samples.values().sum()
    }

    /// How much was taken.
    pub fn written(&self) -> Written {
        Written {
            samples: self.batch.samples().len(),
            histograms: self.batch.histograms().len(),
            exemplars: self.batch.exemplars().len(),
        }
    }
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
    /// Its stream or series has too many labels, one is too long, or they are no valid labels.
    Labels,
    /// It is no histogram that makes sense.
    Histogram,
    /// It refers to something that is not there.
    Reference,
    /// Its kind, or the way it is counted, is not known.
    Kind,
    /// It lies before what was counted already.
    OutOfOrder,
    /// There are too many streams of deltas.
    DeltaStreams,
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
            Self::Histogram => "histogram",
            Self::Reference => "reference",
            Self::Kind => "kind",
            Self::OutOfOrder => "out_of_order",
            Self::DeltaStreams => "delta_streams",
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
