//! Speed of the way to the disk: serialising, framing (with zstd), appending with fdatasync, and replay.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use storage::journal::{Batch, FrameEncoder, FrameInput, Journal, JournalOptions};
use storage::{RealDisk, Tenant, batch_codec};

mod records;

use records::{RECORDS, batch};

fn input(seed: u64) -> FrameInput {
    FrameInput { tenant: Tenant::default(), idempotency_key: None, batch: Batch::Logs(Arc::new(batch(seed))) }
}

fn serialise(c: &mut Criterion) {
    let input = input(1);
    let mut bytes = Vec::new();
    let records = batch(1);
    batch_codec::encode(&records, &mut bytes);
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("encode", |b| {
        b.iter(|| {
            bytes.clear();
            batch_codec::encode(black_box(&records), &mut bytes);
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
