//! Speed of pruning a segment of 100,000 records by text, with the index in memory, and of opening one. Prints how many
//! rows each needle leaves to be read.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use storage::segment::{Segment, SegmentCache};
use storage::{Disk, Needle, Predicate, Projection, RealDisk};

mod records;

use records::segment;

fn prune(c: &mut Criterion) {
    let (_folder, path, segment) = segment(100);
    let everything = Projection { message: true, ..Projection::default() };
    let whole = 0..segment.row_count();
    let rows = segment.read(std::slice::from_ref(&whole), &everything).unwrap().next().unwrap().unwrap();
    let messages = rows.message.unwrap();
    let message = messages.iter().flatten().find(|message| message.contains("addStoredBlock")).unwrap();
    let identifier = message.split(' ').find(|word| word.starts_with("blk_")).unwrap();
    let mut group = c.benchmark_group("prune 100,000 records by text");
    for (name, needle) in [
        ("a word", "kernel"),
        ("part of a word", "ernel repo"),
        ("a word that is nowhere", " nowhere "),
        ("an identifier", identifier),
        ("an identifier that is nowhere", "blk_99999999999999"),
        ("a phrase", "opened for user test by"),
    ] {
        let needle = Needle { text: needle.to_owned(), ignore_case: false };
        let predicate = Predicate { message: vec![vec![needle]], ..Predicate::default() };
        let left: u32 = segment.prune(&predicate).unwrap().0.iter().map(|range| range.end - range.start).sum();
        println!("{name}: {left} rows are left");
        group.bench_function(name, |b| b.iter(|| segment.prune(black_box(&predicate)).unwrap().0));
    }
    group.finish();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    c.bench_function("open a segment of 100,000 records", |b| {
        b.iter(|| Segment::open(&disk, &path, segment.meta().clone(), &SegmentCache::new(1 << 20)).unwrap());
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = prune
}
criterion_main!(benches);
