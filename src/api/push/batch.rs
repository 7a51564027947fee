//! What decoders of either signal give, in one form, so that all take the same way to the store.

use std::collections::BTreeMap;

use ingest::{DecodeError, Decoded, DecodedMetrics, Limits, Refusal, RefusalReason, Written};
use storage::LogBatch;
use storage::metrics::MetricBatch;

use super::Decoder;

/// What is to be stored.
#[derive(Debug)]
pub(crate) enum Batch {
    /// Log records.
    Logs(LogBatch),
    /// Samples.
    Metrics(MetricBatch),
}

/// What came of a body.
#[derive(Debug)]
pub(crate) struct Read {
    /// What was taken.
    pub(super) batch: Batch,
    /// What was not; of very many the first ones.
    pub(super) refused: Vec<Refusal>,
    /// How much was not, all of it.
    pub(super) refused_by_reason: BTreeMap<RefusalReason, usize>,
    /// Of metrics, how much was taken.
    pub(super) written: Written,
}

impl Batch {
    /// How many records or samples.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Logs(batch) => batch.len(),
            Self::Metrics(batch) => batch.len(),
        }
    }
}

impl From<Decoded> for Read {
    fn from(decoded: Decoded) -> Self {
        let mut refused_by_reason = BTreeMap::new();
        for refusal in &decoded.refused {
            *refused_by_reason.entry(refusal.reason).or_default() += 1;
        }
        Self {
            batch: Batch::Logs(decoded.batch),
            refused: decoded.refused,
            refused_by_reason,
            written: Written::default(),
        }
    }
}

impl From<DecodedMetrics> for Read {
    fn from(decoded: DecodedMetrics) -> Self {
        Self {
            written: decoded.written(),
            batch: Batch::Metrics(decoded.batch),
            refused: decoded.refused,
            refused_by_reason: decoded.refused_samples,
        }
    }
}

/// A decoder that needs no more than the bytes, the limits and the time.
pub(super) fn plain<T: Into<Read>>(
    decode: impl FnOnce(&[u8], &Limits, i64) -> Result<T, DecodeError> + Send + 'static,
) -> Decoder {
    Box::new(move |bytes, arrival| decode(bytes, arrival.limits, arrival.now_ns).map(Into::into))
}
