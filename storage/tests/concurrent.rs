//! Snapshots taken while batches come in and memtables are flushed, compacted and their files removed: each has every
//! acknowledged row once, each batch whole, and reads the same however late it is read.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use storage::{
    Labels, Level, LogBatch, LogBatchBuilder, NOT_OBSERVED, Predicate, Projection, RealDisk, SettableClock, Snapshot,
    Store, StoreConfig, Stream, Tenant,
};

const WRITERS: u64 = 3;
const BATCHES: u64 = 300;
const ROWS: u64 = 20;
const DAY_NS: i64 = 86_400_000_000_000;

/// The rows of one batch lie in two days, so that it ends in two segments.
fn batch(writer: u64, number: u64) -> LogBatch {
    let mut builder = LogBatchBuilder::default();
    for row in 0..ROWS {
        let stream = builder.stream(Stream::new(Labels::new([("w", writer.to_string())]), Labels::default()));
        let time = (row % 2) as i64 * DAY_NS + (number * ROWS + row) as i64;
        builder.finish_record(stream, time, NOT_OBSERVED, Level::Info, &format!("{writer} {number} {row}"));
    }
    builder.build()
}

/// How often each row is there, by writer, batch and row.
fn rows(snapshot: &Snapshot) -> BTreeMap<(u64, u64, u64), u64> {
    let projection = Projection { message: true, ..Projection::default() };
    let mut found = BTreeMap::new();
    for part in &snapshot.parts {
        for rows in part.read(&part.prune(&Predicate::default()).unwrap(), None, &projection).unwrap() {
            for message in rows.unwrap().message.unwrap().iter().flatten() {
                let numbers: Vec<u64> = message.split(' ').map(|n| n.parse().unwrap()).collect();
                *found.entry((numbers[0], numbers[1], numbers[2])).or_default() += 1;
            }
        }
    }
    found
}

/// `acknowledged` is how many batches of each writer were acknowledged before the snapshot was taken.
fn check(snapshot: &Snapshot, acknowledged: &[u64]) {
    let rows = rows(snapshot);
    assert!(rows.values().all(|&times| times == 1), "a row is there twice");
    for (writer, &at_least) in (0..).zip(acknowledged) {
        let there: Vec<(u64, u64)> =
            rows.keys().filter(|(of, ..)| *of == writer).map(|&(_, number, row)| (number, row)).collect();
        let batches = there.len() as u64 / ROWS;
        assert!(batches >= at_least, "{batches} batches of writer {writer}, {at_least} were acknowledged");
        let expected: Vec<(u64, u64)> =
            (0..batches).flat_map(|number| (0..ROWS).map(move |row| (number, row))).collect();
        assert_eq!(there, expected, "the batches of a writer are there whole and in order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_snapshot_misses_or_doubles_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        memtable_bytes: 40_000,
        maintenance_interval: Duration::from_millis(5),
        journal_file_bytes: 20_000,
        ..StoreConfig::new(folder.path())
    };
    let store = Store::open(config.clone(), Arc::new(RealDisk), Arc::new(SettableClock::new(DAY_NS))).await.unwrap();
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..WRITERS).map(|_| AtomicU64::new(0)).collect());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, acknowledged) = (Arc::clone(&store), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for number in 0..BATCHES {
                    store.append(&Tenant::default(), batch(writer, number), None).await.unwrap();
                    acknowledged[writer as usize].store(number + 1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let flusher = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for turn in 0.. {
                store.flush(turn % 3 == 0).await.unwrap();
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        })
    };
    let mut snapshots = 0;
    let mut late = Vec::new();
    while writers.iter().any(|writer| !writer.is_finished()) {
        let before: Vec<u64> = acknowledged.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        let snapshot = store.snapshot(&Tenant::default(), None);
        snapshots += 1;
        if snapshots % 7 == 0 {
            late.push((snapshot, before));
            continue;
        }
        tokio::task::spawn_blocking(move || check(&snapshot, &before)).await.unwrap();
    }
    for writer in writers {
        writer.await.unwrap();
    }
    flusher.abort();
    assert!(flusher.await.unwrap_err().is_cancelled(), "every flush went well");
    store.flush(true).await.unwrap();
    assert!(snapshots > 10, "{snapshots} snapshots");
    for (snapshot, before) in &late {
        check(snapshot, before);
    }
    check(&store.snapshot(&Tenant::default(), None), &[BATCHES; WRITERS as usize]);
    drop(late);
    store.close().await.unwrap();
    drop(store);
    let store = Store::open(config, Arc::new(RealDisk), Arc::new(SettableClock::new(DAY_NS))).await.unwrap();
    check(&store.snapshot(&Tenant::default(), None), &[BATCHES; WRITERS as usize]);
    assert_eq!(store.stats().segments.load(Ordering::SeqCst), 2, "one segment a day");
    store.close().await.unwrap();
}
