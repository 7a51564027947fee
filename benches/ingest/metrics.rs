//! Speed of the decoders of samples, on what an agent sends at once: 2,000 series of one sample, eight labels each.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

mod wire;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ingest::{Limits, remote_write};

const SERIES: usize = 2_000;
const NOW_NS: i64 = 1_748_736_000_000_000_000;
const METRICS: [&str; 4] =
    ["node_cpu_seconds_total", "http_requests_total", "go_memstats_alloc_bytes", "process_open_fds"];

/// Name and labels, sorted.
fn labels(i: usize) -> [(&'static str, String); 8] {
    [
        ("__name__", METRICS[i % 4].to_owned()),
        ("cluster", "eu-west-1-production".to_owned()),
        ("code", ["200", "404", "500"][i % 3].to_owned()),
        ("instance", format!("10.32.{}.{}:9100", i / 200, i % 200)),
        ("job", "kubernetes-pods".to_owned()),
        ("namespace", format!("team-{}", i % 17)),
        ("path", format!("/api/v2/items/{}", i % 50)),
        ("pod", format!("checkout-7f9c6d8b5-{:05}", i * 31 % 100_000)),
    ]
}

fn remote_write_message() -> Vec<u8> {
    let mut body = Vec::new();
    for i in 0..SERIES {
        let mut series = Vec::new();
        for (name, value) in labels(i) {
            let mut label = Vec::new();
            wire::bytes(&mut label, 1, name.as_bytes());
            wire::bytes(&mut label, 2, value.as_bytes());
            wire::bytes(&mut series, 1, &label);
        }
        let mut sample = Vec::new();
        wire::double(&mut sample, 1, i as f64 * 1.5);
        wire::number(&mut sample, 2, (NOW_NS / 1_000_000) as u64);
        wire::bytes(&mut series, 2, &sample);
        wire::bytes(&mut body, 1, &series);
    }
    body
}

fn decode(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("decode 2,000 samples");
    group.throughput(Throughput::Elements(SERIES as u64));
    let mut protocol = |name: &str, body: Vec<u8>, decode: &dyn Fn(&[u8]) -> usize| {
        assert_eq!(decode(&body), SERIES, "{name}");
        group.bench_function(name, |b| b.iter(|| decode(black_box(&body))));
    };
    let message = remote_write_message();
    let packed = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    protocol("remote write", packed, &|body| remote_write::decode(body, &limits, NOW_NS).unwrap().batch.len());
    protocol("remote write, unpacked", message, &|body| {
        remote_write::decode_message(body, &limits, NOW_NS).unwrap().batch.len()
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = decode
}
criterion_main!(benches);
