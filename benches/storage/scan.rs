//! Speed of reading a segment of 100,000 records: all of a column, and the few rows that an identifier leaves.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::ops::Range;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::segment::Segment;
use storage::{AttributeSelection, Predicate, Projection};

mod records;

use records::{RECORDS, segment};

const BATCHES: u64 = 100;

fn rows(segment: &Segment, ranges: &[Range<u32>], projection: &Projection) -> usize {
    segment.read(ranges, projection).unwrap().map(|rows| rows.unwrap().timestamp.len()).sum()
}

/// All columns that answer a query.
fn everything() -> Projection {
    Projection {
        run_times: false,
        observed: true,
        level: true,
        message: true,
        pattern: false,
        attributes: AttributeSelection::All,
    }
}

fn scan(c: &mut Criterion) {
    let (_folder, _, segment) = segment(BATCHES);
    let whole = 0..segment.row_count();
    let keys = |keys: &[&str]| Projection {
        attributes: AttributeSelection::Keys(keys.iter().map(|&key| key.into()).collect()),
        ..Projection::default()
    };
    let mut group = c.benchmark_group("read 100,000 records");
    group.throughput(Throughput::Elements(BATCHES * RECORDS as u64));
    for (name, projection) in [
        ("timestamps", Projection::default()),
        ("messages", Projection { message: true, ..Projection::default() }),
        ("patterns", Projection { pattern: true, ..Projection::default() }),
        ("levels", Projection { level: true, ..Projection::default() }),
        ("http_method", keys(&["http_method"])),
        ("duration_ms", keys(&["duration_ms"])),
        ("trace_id", keys(&["trace_id"])),
        ("everything", everything()),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| assert_eq!(rows(&segment, std::slice::from_ref(&whole), &projection), 100_000));
        });
    }
    group.finish();
}

fn look_up(c: &mut Criterion) {
    let (_folder, _, segment) = segment(BATCHES);
    let whole = 0..segment.row_count();
    let projection =
        Projection { attributes: AttributeSelection::Keys(vec!["trace_id".into()]), ..Projection::default() };
    let first = segment.read(std::slice::from_ref(&whole), &projection).unwrap().next().unwrap().unwrap();
    let trace = arrow::array::AsArray::as_fixed_size_binary(&first.attributes[0].1).value(777);
    let text: String = trace.iter().map(|byte| format!("{byte:02x}")).collect();
    let predicate = Predicate { attributes: vec![("trace_id".into(), vec![text])], ..Predicate::default() };
    let everything = everything();
    c.bench_function("one trace id of 100,000: prune, then read trace ids of the blocks that are left", |b| {
        b.iter(|| rows(&segment, &segment.prune(&predicate).unwrap().0, &projection));
    });
    c.bench_function("ten rows, everything", |b| {
        let range = 50_000..50_010;
        b.iter(|| assert_eq!(rows(&segment, std::slice::from_ref(&range), &everything), 10));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = scan, look_up
}
criterion_main!(benches);
