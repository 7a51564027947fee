//! Speed of finding the patterns of 100,000 lines: their forms, and what forms have in common.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::LogBatch;
use storage::patterns::PatternMiner;

mod records;

use records::{RECORDS, batch};

fn mine(c: &mut Criterion) {
    let batches: Vec<LogBatch> = (0..100).map(batch).collect();
    let lines: Vec<&str> = batches.iter().flat_map(|batch| (0..batch.len()).map(|i| batch.message(i))).collect();
    let mut group = c.benchmark_group("patterns of 100,000 lines");
    group.throughput(Throughput::Elements(100 * RECORDS as u64));
    group.bench_function("forms", |b| {
        b.iter(|| {
            let mut miner = PatternMiner::default();
            lines.iter().map(|line| miner.line(black_box(line))).sum::<u32>()
        });
    });
    group.bench_function("forms and patterns", |b| {
        b.iter(|| {
            let mut miner = PatternMiner::default();
            lines.iter().for_each(|line| {
                miner.line(black_box(line));
            });
            miner.finish().texts().len()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = mine
}
criterion_main!(benches);
