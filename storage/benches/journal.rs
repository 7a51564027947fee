//! Speed of the way to the disk: serialising, framing (with zstd), appending with fdatasync, and replay.
//!
//! The records have the shape of the reference load: about 330 bytes of JSON, a message of 60 to 250 bytes, a trace
//! id and up to six attributes.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use storage::journal::{FrameEncoder, FrameInput, Journal, JournalOptions};
use storage::{Labels, Level, LogBatch, LogBatchBuilder, NOT_OBSERVED, RealDisk, Stream, Tenant, Value, batch_codec};

const RECORDS: usize = 1_000;

const MESSAGES: [&str; 5] = [
    "sshd(pam_unix)[{}]: session opened for user test by (uid={}) from 10.{}.7.9 port 443",
    "BLOCK* NameSystem.addStoredBlock: blockMap updated: 10.251.{}.80:50010 is added to blk_{}{} size 67108864",
    "GET /api/v2/orders/{}?page={} HTTP/1.1 status: 200 len: {} time: 0.2477829",
    "Received block blk_{}{} of size 67108864 from /10.250.{}.18 by the data node, writing it to the replica now",
    "generating core.{} because the kernel reported a machine check interrupt at address 0x{}{}",
];

/// A generator of numbers, the same on every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn batch(seed: u64) -> LogBatch {
    let mut numbers = Numbers(seed * 2 + 1);
    let mut builder = LogBatchBuilder::default();
    for i in 0..RECORDS {
        let service = numbers.next() % 20;
        let labels = [("service_name", format!("service-{service}")), ("k8s_namespace_name", "prod-eu".to_owned())];
        let resource = [("host_name", format!("node-{}.eu1.example.internal", numbers.next() % 10))];
        let stream = builder.stream(Stream::new(Labels::new(labels), Labels::new(resource)));
        let trace = [numbers.next().to_be_bytes(), numbers.next().to_be_bytes()].concat();
        let method = ["GET", "PUT", "POST"][(numbers.next() % 3) as usize];
        let path = format!("/api/v2/items/{}", numbers.next() % 1_000);
        let user = format!("u{}", numbers.next() % 100_000);
        let values = [
            ("trace_id", Value::Hex(&trace)),
            ("http_method", Value::Str(method)),
            ("http_status_code", Value::Int([200, 204, 404, 500][(numbers.next() % 4) as usize])),
            ("url_path", Value::Str(&path)),
            ("duration_ms", Value::Double((numbers.next() % 100_000) as f64 / 100.0)),
            ("user_id", Value::Str(&user)),
        ];
        for (key, value) in values {
            let key = builder.key(key);
            builder.attribute(key, value);
        }
        let mut message = String::new();
        for part in MESSAGES[(numbers.next() % 5) as usize].split("{}") {
            message.push_str(part);
            message.push_str(&(numbers.next() % 100_000).to_string());
        }
        let time = 1_748_736_000_000_000_000 + i as i64 * 1_000_003;
        builder.finish_record(stream, time, NOT_OBSERVED, Level::Info, &message);
    }
    builder.build()
}

fn input(seed: u64) -> FrameInput {
    FrameInput { tenant: Tenant::default(), idempotency_key: None, batch: Arc::new(batch(seed)) }
}

fn serialise(c: &mut Criterion) {
    let input = input(1);
    let mut bytes = Vec::new();
    batch_codec::encode(&input.batch, &mut bytes);
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("encode", |b| {
        b.iter(|| {
            bytes.clear();
            batch_codec::encode(black_box(&input.batch), &mut bytes);
        });
    });
    group.bench_function("decode", |b| b.iter(|| batch_codec::decode(black_box(&bytes)).unwrap()));
    let encoder = FrameEncoder::default();
    group.bench_function("frame (encode, zstd, crc)", |b| b.iter(|| encoder.encode(black_box(&input)).unwrap()));
    group.finish();
}

fn append(c: &mut Criterion) {
    let encoder = FrameEncoder::default();
    let frames: Vec<_> = (0..16).map(|seed| encoder.encode(&input(seed)).unwrap()).collect();
    let mut group = c.benchmark_group("journal append (write, fdatasync)");
    for waiting in [1, 16] {
        let data = tempfile::tempdir().unwrap();
        let options = JournalOptions::new(Path::new("quarantine"));
        let (mut journal, _) = Journal::open(Arc::new(RealDisk), data.path(), &options).unwrap();
        group.throughput(Throughput::Elements((RECORDS * waiting) as u64));
        group.bench_function(format!("{waiting} frames of {RECORDS} records"), |b| {
            b.iter_batched(|| frames[..waiting].to_vec(), |f| journal.append(f).unwrap(), BatchSize::PerIteration);
            journal.release(u64::MAX).unwrap();
        });
    }
    group.finish();
}

fn replay(c: &mut Criterion) {
    let data = tempfile::tempdir().unwrap();
    let options = JournalOptions::new(Path::new("quarantine"));
    let encoder = FrameEncoder::default();
    let (mut journal, _) = Journal::open(Arc::new(RealDisk), data.path(), &options).unwrap();
    for seed in 0..100 {
        journal.append(vec![encoder.encode(&input(seed)).unwrap()]).unwrap();
    }
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(100 * RECORDS as u64));
    group.sample_size(10);
    group.bench_function("replay", |b| {
        b.iter(|| {
            let (_, replay) = Journal::open(Arc::new(RealDisk), data.path(), &options).unwrap();
            assert_eq!(replay.map(|frame| frame.content.batch.len()).sum::<usize>(), 100 * RECORDS);
        });
    });
    group.finish();
}

criterion_group!(benches, serialise, append, replay);
criterion_main!(benches);
