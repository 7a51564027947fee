//! What holds for everything that a decoder takes.

use ingest::{Decoded, DecodedMetrics, Limits};
use storage::metrics::labels_of;
use storage::{LogBatch, batch_codec};

/// Small enough that a fuzzer reaches them.
pub fn limits() -> Limits {
    Limits {
        record_bytes_max: 4096,
        attributes_max: 20,
        labels_max: 8,
        label_name_bytes_max: 64,
        label_value_bytes_max: 64,
        series_labels_max: 8,
        series_label_value_bytes_max: 64,
        metric_batch_bytes_max: 1 << 20,
        ..Limits::default()
    }
}

/// What was taken of a body of samples is inside of the limits.
#[allow(dead_code, reason = "each target has a copy of this file")]
pub fn metrics(decoded: &DecodedMetrics) {
    let limits = limits();
    let batch = &decoded.batch;
    assert!(decoded.refused.len() <= 1_000);
    for index in 0..batch.series_count() {
        let mut labels = 0;
        for (name, value) in labels_of(batch.series(index).label_bytes) {
            assert!(name.len() <= limits.label_name_bytes_max && value.len() <= limits.series_label_value_bytes_max);
            labels += 1;
        }
        assert!((1..=limits.series_labels_max).contains(&labels));
    }
    for (series, time, _) in batch.samples() {
        assert!((series as usize) < batch.series_count() && time >= 0);
    }
}

/// The records are inside of the limits, and the journal gives the same batch back.
pub fn decoded(decoded: &Decoded) {
    batch(&decoded.batch);
}

/// The serialised form of a batch is read back as the same batch, whose parts can all be read.
pub fn batch(batch: &LogBatch) {
    let mut bytes = Vec::new();
    batch_codec::encode(batch, &mut bytes);
    let back = batch_codec::decode(&bytes).expect("what is encoded is decoded");
    let mut again = Vec::new();
    batch_codec::encode(&back, &mut again);
    assert_eq!(bytes, again);
    for i in 0..batch.len() {
        assert_eq!(batch.message(i), back.message(i));
    }
}
