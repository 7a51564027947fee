//! What a target says at /metrics: no body makes a parser of it panic, whichever format it claims.
#![no_main]

use ingest::exposition::{Format, decode};
use libfuzzer_sys::fuzz_target;

mod check;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let format = match first % 3 {
        0 => Format::Text,
        1 => Format::OpenMetrics,
        _ => Format::Protobuf,
    };
    let limits = check::limits();
    if let Ok(decoded) = decode(body, format, &[], &limits, 0) {
        for index in 0..decoded.batch.series_count() {
            let labels = storage::metrics::labels_of(decoded.batch.series(index).label_bytes);
            assert!(labels.count() <= limits.series_labels_max + 1);
        }
    }
});
