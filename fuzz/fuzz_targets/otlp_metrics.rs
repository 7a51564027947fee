//! OTLP metrics, protobuf and JSON: no body makes a decoder panic; what it takes is inside of the limits but for labels that
//! are made of several attributes.
#![no_main]

use ingest::delta::{DeltaAccumulator, DeltaSettings, Deltas};
use ingest::otlp_metrics::{OtlpMetricsOptions, decode, decode_json};
use libfuzzer_sys::fuzz_target;

mod check;

fuzz_target!(|bytes: &[u8]| {
    let accumulator = DeltaAccumulator::new(DeltaSettings::default());
    let deltas = Deltas::Accumulate { accumulator: &accumulator, tenant: "a" };
    for decode in [decode, decode_json] {
        let options = OtlpMetricsOptions::default();
        if let Ok(decoded) = decode(bytes, &options, &check::limits(), 1_748_736_000_000_000_000, deltas) {
            assert!(decoded.batch.samples().all(|(series, ..)| (series as usize) < decoded.batch.series_count()));
        }
    }
});
