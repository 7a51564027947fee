//! Remote write 1.0 and 2.0, unpacked: no message makes a decoder panic; what it takes is inside of the limits.
#![no_main]

use ingest::remote_write::{decode_message, v2};
use libfuzzer_sys::fuzz_target;

mod check;

fuzz_target!(|bytes: &[u8]| {
    for decode in [decode_message, v2::decode_message] {
        if let Ok(decoded) = decode(bytes, &check::limits(), 1_748_736_000_000_000_000) {
            check::metrics(&decoded);
        }
    }
});
