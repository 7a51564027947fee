//! The serialised form of a batch: bytes are an error or a batch that is written and read as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod check;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(batch) = storage::batch_codec::decode(bytes) {
        check::batch(&batch);
    }
});
