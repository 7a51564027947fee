//! Loki's push as JSON: no body makes the decoder panic; what it takes survives the journal.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod check;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(decoded) = ingest::loki::decode_json(bytes, &check::limits()) {
        check::decoded(&decoded);
    }
});
