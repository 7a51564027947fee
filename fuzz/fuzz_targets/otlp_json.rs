//! OTLP logs as JSON: no body makes the decoder panic; what it takes survives the journal.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod check;

const NOW_NS: i64 = 1_748_736_000_000_000_000;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(decoded) = ingest::otlp_json::decode(bytes, &check::limits(), NOW_NS) {
        check::decoded(&decoded);
    }
});
