//! JSON lines: no body makes the decoder panic; a bad line is refused alone; what it takes survives the journal.
#![no_main]

use ingest::jsonlines::{JsonLinesOptions, decode};
use libfuzzer_sys::fuzz_target;

mod check;

fuzz_target!(|bytes: &[u8]| {
    let named = JsonLinesOptions {
        time_field: Some("t".to_owned()),
        message_field: Some("m".to_owned()),
        stream_fields: Some(vec!["s".to_owned(), "a.b".to_owned()]),
    };
    for options in [JsonLinesOptions::default(), named] {
        let decoded = decode(bytes, &options, &check::limits(), 1_748_736_000_000_000_000);
        assert!(decoded.batch.len() <= bytes.iter().filter(|&&byte| byte == b'\n').count() + 1);
        check::decoded(&decoded);
    }
});
