//! Influx line protocol: no body makes the decoder panic; what it takes is inside of the limits.
#![no_main]

use ingest::influx::{InfluxOptions, Precision, decode};
use libfuzzer_sys::fuzz_target;

mod check;

fuzz_target!(|bytes: &[u8]| {
    let options = InfluxOptions { precision: Precision::Nanoseconds, database: "db".to_owned() };
    if let Ok(decoded) = decode(bytes, &options, &check::limits(), 1_748_736_000_000_000_000) {
        check::metrics(&decoded);
    }
});
