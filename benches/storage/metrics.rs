//! Speed of metrics in a store: appends to fsync, the flush of a memtable, the merge of segments, and reading; a sample is
//! an element.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::metrics::{LabelMatcher, MetricBatch, Samples, Wanted};
use storage::{RealDisk, SettableClock, StorageError, Store, StoreConfig, Tenant};
use tokio::runtime::Runtime;

mod samples;

const SERIES: usize = 10_000;
const STEPS: usize = 60;
/// Segments that are merged.
const INPUTS: usize = 4;

struct House {
    runtime: Runtime,
    store: Arc<Store>,
    batches: Vec<MetricBatch>,
    _folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let config = StoreConfig { memtable_bytes: 1 << 30, ..StoreConfig::new(folder.path()) };
        let clock = Arc::new(SettableClock::new(0));
        let store = runtime.block_on(Store::open(config, Arc::new(RealDisk), clock)).unwrap();
        let mut hosts = samples::Hosts::new(SERIES);
        let mut batches = Vec::new();
        (0..STEPS).for_each(|_| hosts.step(2_000, |batch| batches.push(batch)));
        Self { runtime, store, batches, _folder: folder }
    }

    fn append(&self, batches: &[MetricBatch]) {
        let tenant = Tenant::default();
        let all = batches.iter().map(|batch| self.store.append_metrics(&tenant, batch.clone(), None));
        self.runtime.block_on(futures::future::try_join_all(all)).unwrap();
    }

    fn flush(&self, compact: bool) {
        self.runtime.block_on(self.store.flush(compact)).unwrap();
    }

    fn read(&self, matchers: &[LabelMatcher]) -> usize {
        let selection = self.store.metrics(&Tenant::default()).select(matchers, i64::MIN, i64::MAX).unwrap();
        let (mut count, all) = (0, selection.labels().len());
        for from in (0..all).step_by(32) {
            let each = |_, samples: &Samples| -> Result<(), StorageError> {
                count += samples.len();
                Ok(())
            };
            selection.read(from..all.min(from + 32), each).unwrap();
        }
        count
    }
}

/// Times `what` on a fresh house each, after `before`.
fn timed(c: &mut Criterion, name: &str, before: impl Fn(&House), what: impl Fn(&House)) {
    let mut group = c.benchmark_group("metrics");
    group.throughput(Throughput::Elements((SERIES * STEPS) as u64));
    group.bench_function(name, |b| {
        b.iter_custom(|rounds| {
            let mut time = Duration::ZERO;
            for _ in 0..rounds {
                let house = House::new();
                before(&house);
                let begun = Instant::now();
                what(&house);
                time += begun.elapsed();
            }
            time
        });
    });
    group.finish();
}

fn write(c: &mut Criterion) {
    timed(c, "append (to fsync)", |_| {}, |house| house.append(&house.batches));
    timed(c, "flush", |house| house.append(&house.batches), |house| house.flush(false));
    let in_segments = |house: &House| {
        for part in house.batches.chunks(house.batches.len().div_ceil(INPUTS)) {
            house.append(part);
            house.flush(false);
        }
    };
    timed(c, "merge", in_segments, |house| house.flush(true));
}

fn read(c: &mut Criterion) {
    let house = House::new();
    house.append(&house.batches);
    let is = |name: &str, value: &str| LabelMatcher { name: name.to_owned(), wanted: Wanted::Is(value.to_owned()) };
    let asked = [
        ("all", vec![is("job", "node")]),
        ("one host", vec![is("instance", "10.0.0.7:9100")]),
        ("one name", vec![is("__name__", "node_memory_130_bytes")]),
    ];
    for place in ["memtable", "segment"] {
        for (what, matchers) in &asked {
            let mut group = c.benchmark_group("metrics read");
            group.throughput(Throughput::Elements(house.read(matchers) as u64));
            group.bench_function(format!("{what}, {place}"), |b| b.iter(|| house.read(matchers)));
            group.finish();
        }
        house.flush(true);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = write, read
}
criterion_main!(benches);
