//! The store as its users see it: durable, visible, once.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::batch::{Level, LogBatchBuilder, NOT_OBSERVED, Stream, Value};
use crate::catalog::CommitFault;
use crate::clock::SettableClock;
use crate::disk::RealDisk;
use crate::labels::Labels;
use crate::read::{AttributeSelection, Needle, Predicate, Projection};
use crate::segment::SegmentMeta;

const DAY: i64 = 86_400_000_000_000;

fn config(data: &std::path::Path) -> StoreConfig {
    StoreConfig { maintenance_interval: Duration::from_secs(3600), ..StoreConfig::new(data) }
}

async fn open(data: &std::path::Path) -> Arc<Store> {
    Store::open(config(data), Arc::new(RealDisk), Arc::new(SettableClock::new(30_000 * DAY))).await.unwrap()
}

fn tenant() -> Tenant {
    Tenant::new("t").unwrap()
}

fn batch(app: &str, lines: impl IntoIterator<Item = (i64, String)>) -> LogBatch {
    let mut builder = LogBatchBuilder::default();
    let stream = builder.stream(Stream::new(Labels::new([("app", app)]), Labels::new([("host", "h1")])));
    let (user, rare) = (builder.key("user"), builder.key("rare"));
    for (time, line) in lines {
        builder.attribute(user, Value::Str(&format!("u{}", time % 7)));
        if time % 997 == 0 {
            builder.attribute(rare, Value::Int(time));
        }
        builder.finish_record(stream, time, NOT_OBSERVED, Level::Warn, &line);
    }
    builder.build()
}

/// (time, line, user, rare) of every record, sorted.
fn all(store: &Store) -> Vec<(i64, String, String, Option<String>)> {
    let mut found = Vec::new();
    let projection = Projection { message: true, attributes: AttributeSelection::All, ..Projection::default() };
    for part in store.snapshot(&tenant(), None).parts {
        let ranges = part.prune(&Predicate::default()).unwrap();
        for rows in part.read(&ranges, None, &projection).unwrap() {
            let rows = rows.unwrap();
            let column = |key: &str| {
                let found = rows.attributes.iter().find(|(k, _)| **k == *key);
                found.map(|(_, array)| arrow::compute::cast(array, &arrow::datatypes::DataType::Utf8).unwrap())
            };
            let (user, rare) = (column("user"), column("rare"));
            let text = |array: &Option<arrow::array::ArrayRef>, row: usize| {
                use arrow::array::{Array, AsArray};
                array
                    .as_ref()
                    .map(|a| a.as_string::<i32>().clone())
                    .filter(|a| a.is_valid(row))
                    .map(|a| a.value(row).to_owned())
            };
            assert_eq!(rows.streams.iter().map(|(_, n)| *n as usize).sum::<usize>(), rows.timestamp.len());
            for (row, time) in rows.timestamp.values().iter().enumerate() {
                let line = rows.message.as_ref().unwrap().value(row).to_owned();
                found.push((*time, line, text(&user, row).unwrap_or_default(), text(&rare, row)));
            }
        }
    }
    found.sort();
    found
}

fn lines(times: std::ops::Range<i64>) -> Vec<(i64, String)> {
    times.map(|t| (t, format!("line {t} id=5f0c7b1e93ad4d26-{t:08}"))).collect()
}

fn expected(times: std::ops::Range<i64>) -> Vec<(i64, String, String, Option<String>)> {
    let one = |(t, line): (i64, String)| (t, line, format!("u{}", t % 7), (t % 997 == 0).then(|| t.to_string()));
    lines(times).into_iter().map(one).collect()
}

#[tokio::test]
async fn what_went_in_comes_out_before_and_after_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for start in (0..6000).step_by(1000) {
        store.append(&tenant(), batch("a", lines(start..start + 1000)), None).await.unwrap();
        if start == 2000 {
            store.flush(false).await.unwrap();
        }
    }
    assert_eq!(all(&store), expected(0..6000));
    store.halt().await;
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!(all(&store), expected(0..6000));
    store.flush(false).await.unwrap();
    assert_eq!(all(&store), expected(0..6000));
    assert_eq!(store.stats().segments.load(Ordering::Relaxed), 2);
    store.flush(true).await.unwrap();
    assert_eq!(store.stats().segments.load(Ordering::Relaxed), 1);
    assert_eq!(all(&store), expected(0..6000));
    store.close().await.unwrap();
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!(all(&store), expected(0..6000));
    let needle = |text: &str| Predicate {
        message: vec![vec![Needle { text: text.to_owned(), ignore_case: false }]],
        ..Predicate::default()
    };
    let part = store.snapshot(&tenant(), None).parts.pop().unwrap();
    let kept = |text: &str| part.prune(&needle(text)).unwrap().iter().map(|r| r.len()).sum::<usize>();
    assert!(kept("-00000001") > 0 && kept("nowhere") == 0);
}

#[tokio::test]
async fn rows_of_many_days_and_tenants_go_their_own_ways() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let other = Tenant::new("other").unwrap();
    store.append(&tenant(), batch("a", (0..10).map(|d| (d * DAY, format!("day {d}")))), None).await.unwrap();
    store.append(&other, batch("b", lines(5..7)), None).await.unwrap();
    store.flush(true).await.unwrap();
    assert_eq!(all(&store).len(), 10);
    assert_eq!(store.snapshot(&tenant(), Some(3 * DAY..5 * DAY)).parts.len(), 2);
    assert_eq!(store.snapshot(&other, None).parts.len(), 1);
    assert_eq!(store.tenants(), [other, tenant()]);
}

#[tokio::test]
async fn a_key_counts_once_also_while_the_first_is_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let tries = (0..8).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.append(&tenant(), batch("a", lines(0..3)), Some("k")).await.unwrap() })
    });
    let outcomes = futures::future::join_all(tries).await;
    let stored = outcomes.iter().filter(|o| matches!(o, Ok(Appended::Stored))).count();
    assert_eq!(stored, 1);
    for flush in [false, true] {
        if flush {
            store.flush(false).await.unwrap();
        }
        assert_eq!(store.append(&tenant(), batch("a", lines(0..3)), Some("k")).await.unwrap(), Appended::Duplicate);
    }
    assert_eq!(store.append(&tenant(), batch("a", lines(3..4)), Some("l")).await.unwrap(), Appended::Stored);
    assert_eq!(all(&store).len(), 4);
}

#[tokio::test]
async fn a_snapshot_stays_readable_while_its_segments_are_merged_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for start in 0..4 {
        store.append(&tenant(), batch("a", lines(start * 10..start * 10 + 10)), None).await.unwrap();
        store.flush(false).await.unwrap();
    }
    let before = store.snapshot(&tenant(), None);
    store.flush(true).await.unwrap();
    let rows: usize = before
        .parts
        .iter()
        .flat_map(|p| {
            p.read(&p.prune(&Predicate::default()).unwrap(), None, &Projection::default())
                .unwrap()
                .map(|r| r.unwrap().timestamp.len())
                .collect::<Vec<_>>()
        })
        .sum();
    assert_eq!(rows, 40);
    drop(before);
    store.flush(true).await.unwrap();
    let files = segment_files_below(&RealDisk, &folder.path().join("segments")).unwrap();
    assert_eq!(files.len(), 1, "replaced files are gone: {files:?}");
}

#[tokio::test]
async fn retention_removes_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.retention = Some(Duration::from_secs(86_400 * 3));
    config.maintenance_interval = Duration::from_millis(10);
    let clock = Arc::new(SettableClock::new(10 * DAY));
    let store = Store::open(config, Arc::new(RealDisk), Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
    store.append(&tenant(), batch("a", (0..10).map(|d| (d * DAY, format!("day {d}")))), None).await.unwrap();
    store.flush(false).await.unwrap();
    while all(&store).len() > 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(all(&store).first().map(|r| r.0), Some(7 * DAY));
    store.close().await.unwrap();
}

/// A commit whose outcome is not known is neither made twice nor forgotten, whatever it was.
#[tokio::test]
async fn a_commit_that_fails_or_is_said_to_fail_doubles_nothing() {
    for fault in [CommitFault::Fails, CommitFault::IsReportedToFail] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        config.retention = Some(Duration::from_secs(86_400 * 10));
        let clock = Arc::new(SettableClock::new(DAY));
        let store = Store::open_unattended(config.clone(), Arc::new(RealDisk), Arc::clone(&clock) as Arc<dyn Clock>)
            .await
            .unwrap();
        for start in [0, 100] {
            let key = format!("k{start}");
            store.append(&tenant(), batch("a", lines(start..start + 100)), Some(&key)).await.unwrap();
            store.shared.catalog.faults.order(fault);
            store.flush(false).await.unwrap_err();
            assert_eq!(all(&store), expected(0..start + 100));
            store.flush(false).await.unwrap();
            assert_eq!(all(&store), expected(0..start + 100));
            assert_eq!(
                store.append(&tenant(), batch("a", lines(start..start + 100)), Some(&key)).await.unwrap(),
                Appended::Duplicate
            );
        }
        assert_eq!(store.stats().segments.load(Ordering::Relaxed), 2);
        store.shared.catalog.faults.order(fault);
        store.flush(true).await.unwrap_err();
        assert_eq!(all(&store), expected(0..200));
        store.flush(true).await.unwrap();
        assert_eq!(store.stats().segments.load(Ordering::Relaxed), 1);
        assert_eq!(all(&store), expected(0..200));
        assert_eq!(segment_files_below(&RealDisk, &folder.path().join("segments")).unwrap().len(), 1, "{fault:?}");
        store.close().await.unwrap();
        drop(store);
        let store =
            Store::open_unattended(config, Arc::new(RealDisk), Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
        assert_eq!(all(&store), expected(0..200));
        clock.set(20 * DAY);
        store.shared.catalog.faults.order(fault);
        store.shared.turn(&store.jobs).await.unwrap_err();
        store.shared.turn(&store.jobs).await.unwrap();
        assert_eq!(all(&store), []);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn files_that_do_not_say_what_they_are_are_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.append(&tenant(), batch("a", lines(0..10)), None).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let day = folder.path().join("segments/t/logs/1970-01-01");
    std::fs::write(day.join("0000000000000077.parquet"), "cut short").unwrap();
    let store = open(folder.path()).await;
    assert_eq!(all(&store), expected(0..10));
    let aside = folder.path().join("quarantine/segments_t_logs_1970-01-01_0000000000000077.parquet");
    assert_eq!(std::fs::read(aside).unwrap(), b"cut short");
    store.append(&tenant(), batch("a", lines(10..20)), None).await.unwrap();
    store.flush(false).await.unwrap();
    let files = segment_files_below(&RealDisk, &folder.path().join("segments")).unwrap();
    assert_eq!(files.keys().copied().collect::<Vec<_>>(), [1, 78], "its number is not given out again");
}

#[tokio::test]
async fn what_a_flush_says_of_itself_begins_where_the_last_one_ended() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for start in [0, 10, 20] {
        store.append(&tenant(), batch("a", lines(start..start + 10)), None).await.unwrap();
        store.append(&tenant(), batch("a", []), None).await.unwrap();
        store.flush(false).await.unwrap();
    }
    let said = |s: &SegmentMeta| (s.lineage.first_sequence, s.lineage.last_sequence);
    let (segments, flushed_sequence) = store.shared.catalog.contents().await.unwrap();
    assert_eq!(segments.iter().map(said).collect::<Vec<_>>(), [(1, 2), (3, 4), (5, 6)]);
    assert_eq!(flushed_sequence, 6);
}

#[tokio::test]
async fn a_key_that_is_in_the_journal_twice_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("journal");
    let options = crate::journal::JournalOptions::new(&folder.path().join("quarantine"));
    let (mut journal, _) = crate::journal::Journal::open(Arc::new(RealDisk), &dir, &options).unwrap();
    let frame = |key: &str, times| {
        let batch = Arc::new(batch("a", lines(times)));
        let input = FrameInput {
            tenant: tenant(),
            idempotency_key: Some(key.to_owned()),
            batch: crate::journal::Batch::Logs(batch),
        };
        FrameEncoder::default().encode(&input).unwrap()
    };
    journal.append(vec![frame("k", 0..5), frame("l", 5..9), frame("k", 0..5)]).unwrap();
    drop(journal);
    let store = open(folder.path()).await;
    assert_eq!(all(&store), expected(0..9));
    assert_eq!(store.append(&tenant(), batch("a", lines(5..9)), Some("l")).await.unwrap(), Appended::Duplicate);
    store.flush(false).await.unwrap();
    store.halt().await;
    drop(store);
    // The frame that did not count is behind what is flushed: it is met again, and does not count again.
    let store = open(folder.path()).await;
    assert_eq!(all(&store), expected(0..9));
}
