//! Speed of writing segments: a flush of a memtable, with and without the index, and a merge of small segments. Prints
//! how many bytes a record takes.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::segment::{Segment, SegmentCache, WriteOptions, merge_segments, write_segment};
use storage::{Disk, LogBatch, RealDisk};

mod records;

use records::{RECORDS, batch, order};

const BATCHES: u64 = 50;
/// Segments that are merged.
const INPUTS: u64 = 5;

fn write(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1");
    let batches: Vec<Arc<LogBatch>> = (0..BATCHES).map(|seed| Arc::new(batch(seed))).collect();
    let mut group = c.benchmark_group("write a segment (to fsync)");
    group.throughput(Throughput::Elements(BATCHES * RECORDS as u64));
    for (name, index_rows_min) in [("with index", 1024), ("without index", u32::MAX)] {
        let options = WriteOptions { index_rows_min, ..WriteOptions::default() };
        let meta = write_segment(&RealDisk, &path, order(1), &batches, &options).unwrap();
        let bytes = |bytes: u64| bytes as f64 / f64::from(meta.rows);
        println!(
            "{name}: {:.1} bytes a record in Parquet, {:.1} in the index",
            bytes(meta.parquet_bytes),
            bytes(meta.index_bytes)
        );
        group.bench_function(name, |b| {
            b.iter(|| write_segment(&RealDisk, &path, order(1), &batches, &options).unwrap());
        });
    }
    group.finish();
}

fn merge(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let inputs: Vec<Arc<Segment>> = (0..INPUTS)
        .map(|id| {
            let path = folder.path().join(id.to_string());
            let of_input = BATCHES / INPUTS;
            let batches: Vec<Arc<LogBatch>> =
                (id * of_input..(id + 1) * of_input).map(|seed| Arc::new(batch(seed))).collect();
            let meta = write_segment(&RealDisk, &path, order(id), &batches, &WriteOptions::default()).unwrap();
            Arc::new(Segment::open(&disk, &path, meta, &SegmentCache::new(1 << 20)).unwrap())
        })
        .collect();
    let path = folder.path().join("merged");
    let mut group = c.benchmark_group("merge segments (to fsync)");
    group.throughput(Throughput::Elements(BATCHES * RECORDS as u64));
    group.bench_function(format!("{INPUTS} of {} records", BATCHES / INPUTS * RECORDS as u64), |b| {
        b.iter(|| merge_segments(&RealDisk, &path, order(9), &inputs, &WriteOptions::default()).unwrap());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = write, merge
}
criterion_main!(benches);
