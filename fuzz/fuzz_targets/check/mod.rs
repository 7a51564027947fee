//! What holds for everything that a decoder takes.

use ingest::{Decoded, Limits};
use storage::{LogBatch, batch_codec};

/// Small enough that a fuzzer reaches them.
pub fn limits() -> Limits {
    Limits {
        record_bytes_max: 4096,
        attributes_max: 20,
        labels_max: 8,
        label_name_bytes_max: 64,
        label_value_bytes_max: 64,
        ..Limits::default()
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
