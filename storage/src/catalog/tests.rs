//! The catalog: commits, damage, and what recovery makes of every state.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use super::*;
use crate::segment::Lineage;
use crate::segment::Signal;

fn meta(id: u64, lineage: Lineage) -> SegmentMeta {
    SegmentMeta {
        id,
        signal: Signal::Logs,
        tenant: Tenant::new("t-1").unwrap(),
        day: -20_000,
        rows: u32::MAX,
        first_ns: i64::MIN,
        last_ns: i64::MAX,
        streams: 3,
        message_bytes: 1 << 40,
        parquet_bytes: 1 << 33,
        index_bytes: 77,
        parquet_crc32c: 0xffff_fff0,
        index_crc32c: 1,
        created_ns: 1_700_000_000_000_000_000,
        resolution_ms: 0,
        lineage,
    }
}

/// A segment that is all of a flush.
fn flush(id: u64, first: u64, last: u64) -> SegmentMeta {
    meta(id, Lineage::of_flush(first, last, 0, 1))
}

fn merge(id: u64, inputs: &[&SegmentMeta]) -> SegmentMeta {
    meta(id, Lineage::of_merge(inputs.iter().copied()))
}

fn ids(segments: &[SegmentMeta]) -> Vec<u64> {
    segments.iter().map(|meta| meta.id).collect()
}

/// A new catalog in `data` that is trusted, as the store leaves it after its first start.
async fn begun(data: &Path) -> Catalog {
    let (catalog, state) = Catalog::open(data).await.unwrap();
    assert_eq!(state, CatalogState::default());
    let recovery = recover(&state, &Found::default());
    assert!(recovery.changed);
    assert_eq!(catalog.adopt(&recovery).await.unwrap(), Settled::Yes);
    catalog
}

async fn reopened(catalog: &Catalog, data: &Path) -> CatalogState {
    catalog.close().await.unwrap();
    let (catalog, state) = Catalog::open(data).await.unwrap();
    catalog.close().await.unwrap();
    state
}

#[tokio::test]
async fn commits_come_back_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let catalog = begun(data.path()).await;
    let (a, b, c) =
        (flush(1, 1, 10), meta(2, Lineage::of_flush(11, 20, 0, 2)), meta(3, Lineage::of_flush(11, 20, 1, 2)));
    assert_eq!(catalog.commit_flush(std::slice::from_ref(&a), 10, &[], &[]).await.unwrap(), Settled::Yes);
    assert_eq!(catalog.commit_flush(&[b.clone(), c.clone()], 20, &[], &[]).await.unwrap(), Settled::Yes);
    let d = merge(4, &[&a, &b]);
    assert_eq!(catalog.commit_compaction(&[1, 2], std::slice::from_ref(&d)).await.unwrap(), Settled::Yes);
    assert_eq!(catalog.commit_removal(&[3]).await.unwrap(), Settled::Yes);
    catalog.forget_dropped(&[1]).await.unwrap();
    let wal = data.path().join("catalog.sqlite-wal");
    assert_eq!(std::fs::metadata(&wal).unwrap().len(), 0, "settled means that nothing is only in the log");
    let state = reopened(&catalog, data.path()).await;
    assert!(state.trusted);
    assert_eq!(state.segments, [d]);
    assert_eq!(state.flushed_sequence, 20);
    assert_eq!(state.dropped.iter().map(|dropped| dropped.id).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(state.dropped[0].tenant.as_str(), "t-1");
    assert_eq!(state.set_aside, None);
}

#[tokio::test]
async fn a_commit_that_removes_what_is_gone_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let catalog = begun(data.path()).await;
    let (a, b) = (flush(1, 1, 10), flush(2, 11, 20));
    let _ = catalog.commit_flush(&[a.clone(), b.clone()], 20, &[], &[]).await.unwrap();
    let _ = catalog.commit_removal(&[1]).await.unwrap();
    let error = catalog.commit_compaction(&[2, 1], &[merge(3, &[&a, &b])]).await.unwrap_err();
    assert!(matches!(error, StorageError::Refused(_)), "{error}");
    assert_eq!(catalog.segments().await.unwrap(), [b]);
    let state = reopened(&catalog, data.path()).await;
    assert_eq!(ids(&state.segments), [2]);
}

#[tokio::test]
async fn idempotency_keys_are_kept_until_they_expire() {
    let data = tempfile::tempdir().unwrap();
    let catalog = begun(data.path()).await;
    let tenant = Tenant::default();
    let key = |key: &str, seen_ns| KeyUse { hash: key_hash(&tenant, key), seen_ns };
    let _ = catalog.commit_flush(&[], 5, &[key("a", 10), key("b", 20), key("a", 30)], &[]).await.unwrap();
    assert_eq!(catalog.key_seen(key_hash(&tenant, "a")).await.unwrap(), Some(10));
    assert_eq!(catalog.key_seen(key_hash(&Tenant::new("other").unwrap(), "a")).await.unwrap(), None);
    assert_eq!(catalog.keys(15).await.unwrap(), [key("b", 20)]);
    assert_eq!(catalog.expire_keys(20).await.unwrap(), 1);
    assert_eq!(catalog.keys(i64::MIN).await.unwrap(), [key("b", 20)]);
}

#[tokio::test]
async fn a_closed_catalog_says_so() {
    let data = tempfile::tempdir().unwrap();
    let catalog = begun(data.path()).await;
    catalog.close().await.unwrap();
    assert!(matches!(catalog.segments().await.unwrap_err(), StorageError::Closed));
    catalog.close().await.unwrap();
}

#[tokio::test]
async fn a_newer_catalog_is_refused_and_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let catalog = begun(data.path()).await;
    catalog.close().await.unwrap();
    let path = data.path().join("catalog.sqlite");
    let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::query("UPDATE schema SET version = 99").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Catalog::open(data.path()).await.unwrap_err();
    assert!(error.to_string().contains("version 99"), "{error}");
    assert!(error.to_string().contains("newer Farol"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// Wherever a byte of the database is flipped, the catalog either says the same as before or is set aside.
#[tokio::test]
async fn a_flipped_byte_is_never_believed() {
    let data = tempfile::tempdir().unwrap();
    let catalog = begun(data.path()).await;
    for i in 1..=20 {
        let _ = catalog.commit_flush(&[flush(i, i, i)], i, &[], &[]).await.unwrap();
    }
    let _ = catalog.commit_removal(&[7]).await.unwrap();
    let good = reopened(&catalog, data.path()).await;
    let path = data.path().join("catalog.sqlite");
    let bytes = std::fs::read(&path).unwrap();
    let (mut set_aside, mut survived) = (0, 0);
    // Every byte of the content of a page would take minutes: a prime stride touches all kinds, the ends all bytes.
    for at in (0..bytes.len()).step_by(193).chain(bytes.len() - 40..bytes.len()) {
        let copy = tempfile::tempdir().unwrap();
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        std::fs::write(copy.path().join("catalog.sqlite"), &damaged).unwrap();
        let (catalog, state) = match Catalog::open(copy.path()).await {
            Ok(opened) => opened,
            // A flipped schema version is refused with words, since it cannot be told from a newer one.
            Err(StorageError::Refused(why)) if why.contains("version") => continue,
            Err(e) => panic!("byte {at}: {e}"),
        };
        catalog.close().await.unwrap();
        if state.trusted {
            survived += 1;
            assert_eq!(state, good, "byte {at}");
        } else {
            set_aside += 1;
            assert!(state.set_aside.unwrap().path.starts_with(copy.path().join("quarantine")), "byte {at}");
        }
    }
    assert!(set_aside > 10 && survived > 100, "{set_aside} set aside, {survived} survived");
}

/// What the crash kit does: the newest files cut, extended or flipped near their end, after a kill.
#[tokio::test]
async fn damage_near_the_end_of_the_files_after_a_kill() {
    for kind in ["truncate", "garbage", "zeros", "flip"] {
        for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
            let data = tempfile::tempdir().unwrap();
            let catalog = begun(data.path()).await;
            for i in 1..=3 {
                assert_eq!(catalog.commit_flush(&[flush(i, i, i)], i, &[], &[]).await.unwrap(), Settled::Yes);
            }
            // A copy of the files is what a kill leaves: the connection is still open.
            let copy = tempfile::tempdir().unwrap();
            for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
                std::fs::copy(data.path().join(name), copy.path().join(name)).unwrap();
            }
            let path = copy.path().join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            let end = bytes.len();
            match kind {
                "truncate" => bytes.truncate(end.saturating_sub(23)),
                "garbage" => bytes.extend((0..37_u8).map(|i| i.wrapping_mul(89))),
                "zeros" => bytes.extend([0; 4096]),
                _ if end > 17 => bytes[end - 17] ^= 0x55,
                _ => {}
            }
            std::fs::write(&path, &bytes).unwrap();
            let (catalog, state) = Catalog::open(copy.path()).await.unwrap();
            if state.trusted {
                assert_eq!((ids(&state.segments), state.flushed_sequence), (vec![1, 2, 3], 3), "{kind} of {file}");
            } else {
                assert_eq!(file, "catalog.sqlite", "{kind}");
                assert!(kind == "truncate" || kind == "flip", "{kind} of {file} must cost nothing");
                let found = Found {
                    ids: [1, 2, 3].into(),
                    orphans: (1..=3).map(|i| flush(i, i, i)).collect(),
                    journal_first_sequence: None,
                };
                let recovery = recover(&state, &found);
                assert_eq!(catalog.adopt(&recovery).await.unwrap(), Settled::Yes);
                let state = reopened(&catalog, copy.path()).await;
                assert!(state.trusted);
                assert_eq!((ids(&state.segments), state.flushed_sequence), (vec![1, 2, 3], 3), "{kind} of {file}");
            }
        }
    }
}

#[tokio::test]
async fn to_inspect_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    assert!(matches!(Catalog::inspect(data.path()).await.unwrap_err(), StorageError::Catalog { .. }));
    let catalog = begun(data.path()).await;
    let _ = catalog.commit_flush(&[flush(1, 1, 10)], 10, &[], &[]).await.unwrap();
    catalog.close().await.unwrap();
    assert_eq!(ids(&Catalog::inspect(data.path()).await.unwrap().segments), [1]);
    let path = data.path().join("catalog.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(5_000);
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(Catalog::inspect(data.path()).await.unwrap_err(), StorageError::Corrupt { .. }));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert!(!data.path().join("quarantine").exists());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_set_aside() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("catalog.sqlite"), "not a database, but long enough to look like one".repeat(30))
        .unwrap();
    let (catalog, state) = Catalog::open(data.path()).await.unwrap();
    assert!(!state.trusted);
    let aside = state.set_aside.unwrap();
    assert!(std::fs::read(&aside.path).unwrap().starts_with(b"not a database"));
    catalog.close().await.unwrap();
}

/// What version 1 wrote stays readable.
#[tokio::test]
async fn version_1_is_read() {
    let data = tempfile::tempdir().unwrap();
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1/catalog.sqlite");
    std::fs::copy(testdata, data.path().join("catalog.sqlite")).unwrap();
    let (catalog, state) = Catalog::open(data.path()).await.unwrap();
    let (a, b) = (flush(1, 1, 10), flush(2, 11, 20));
    assert_eq!((state.trusted, state.flushed_sequence), (true, 20));
    assert_eq!(state.segments, [merge(3, &[&a, &b])]);
    assert_eq!(state.dropped.iter().map(|dropped| dropped.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(catalog.key_seen(key_hash(&Tenant::default(), "k")).await.unwrap(), Some(7));
    // It is of the current version from now on.
    let coarse = SegmentMeta { resolution_ms: 60_000, ..flush(4, 21, 30) };
    let _ = catalog.commit_flush(std::slice::from_ref(&coarse), 30, &[], &[]).await.unwrap();
    catalog.close().await.unwrap();
    let (_, state) = Catalog::open(data.path()).await.unwrap();
    assert_eq!(state.segments, [merge(3, &[&a, &b]), coarse]);
}

fn state(segments: &[&SegmentMeta], flushed_sequence: u64) -> CatalogState {
    let segments = segments.iter().map(|&meta| meta.clone()).collect();
    CatalogState { trusted: true, segments, flushed_sequence, ..CatalogState::default() }
}

/// `there`: segments whose files are there; the catalog says `state`.
#[track_caller]
fn check(
    state: &CatalogState,
    there: &[&SegmentMeta],
    journal: Option<u64>,
    live: &[u64],
    flushed_sequence: u64,
    deleted: &[u64],
) {
    let is_listed = |meta: &SegmentMeta| state.segments.iter().any(|listed| listed.id == meta.id);
    let found = Found {
        ids: there.iter().map(|meta| meta.id).collect(),
        orphans: there.iter().filter(|meta| !is_listed(meta)).map(|&meta| meta.clone()).collect(),
        journal_first_sequence: journal,
    };
    let recovery = recover(state, &found);
    let delete: Vec<u64> = recovery.delete.iter().map(|dropped| dropped.id).collect();
    assert_eq!(
        (ids(&recovery.segments), recovery.flushed_sequence, delete),
        (live.to_vec(), flushed_sequence, deleted.to_vec())
    );
}

#[test]
fn a_trusted_catalog_is_right_about_leftovers() {
    let (a, b) = (flush(1, 1, 10), flush(2, 11, 20));
    let c = merge(3, &[&a, &b]);
    // A flush that was not committed: its frames are in the journal.
    check(&state(&[&a], 10), &[&a, &b], Some(11), &[1], 10, &[2]);
    check(&state(&[&a], 10), &[&a, &b], Some(5), &[1], 10, &[2]);
    // A compaction that was not committed, and one that was.
    check(&state(&[&a, &b], 20), &[&a, &b, &c], None, &[1, 2], 20, &[3]);
    check(&state(&[&c], 20), &[&a, &b, &c], None, &[3], 20, &[1, 2]);
    // A listed file that is gone stays listed: somebody must be told.
    check(&state(&[&a, &b], 20), &[&b], None, &[1, 2], 20, &[]);
}

#[test]
fn a_catalog_that_went_back_in_time_is_put_right() {
    let (a, b) = (flush(1, 1, 10), flush(2, 11, 20));
    let c = merge(3, &[&a, &b]);
    // The journal has released 11 to 20, so the flush had been committed.
    check(&state(&[&a], 10), &[&a, &b], Some(21), &[1, 2], 20, &[]);
    check(&state(&[&a], 10), &[&a, &b], None, &[1, 2], 20, &[]);
    // The inputs are deleted, so the compaction had been committed.
    check(&state(&[&a, &b], 20), &[&c], None, &[3], 20, &[]);
    check(&state(&[&a, &b], 20), &[&b, &c], None, &[3], 20, &[2]);
}

#[test]
fn a_lost_catalog_is_put_together_from_the_segments() {
    let lost = CatalogState::default();
    let (a, b) = (flush(1, 1, 10), flush(2, 11, 20));
    check(&lost, &[], None, &[], 0, &[]);
    check(&lost, &[&a, &b], None, &[1, 2], 20, &[]);
    check(&lost, &[&a, &b], Some(21), &[1, 2], 20, &[]);
    // Whole, so it does not matter whether it was committed.
    check(&lost, &[&a, &b], Some(11), &[1, 2], 20, &[]);
    check(&lost, &[&a, &b], Some(1), &[1, 2], 20, &[]);
    // Merged: the inputs are in it, also when only one is left, and also through two merges.
    let c = merge(3, &[&a, &b]);
    check(&lost, &[&a, &b, &c], None, &[3], 20, &[1, 2]);
    check(&lost, &[&b, &c], Some(15), &[3], 20, &[2]);
    let d = flush(4, 21, 30);
    let e = merge(5, &[&c, &d]);
    check(&lost, &[&a, &d, &e], None, &[5], 30, &[1, 4]);
}

#[test]
fn parts_of_a_flush_that_was_not_committed_are_replayed_instead() {
    let lost = CatalogState::default();
    let a = flush(1, 1, 10);
    let part = |id, part| meta(id, Lineage::of_flush(11, 20, part, 3));
    let later = flush(5, 21, 30);
    check(&lost, &[&a, &part(2, 0), &part(3, 1)], Some(11), &[1], 10, &[2, 3]);
    check(&lost, &[&a, &part(2, 0), &part(3, 1), &part(4, 2)], Some(11), &[1, 2, 3, 4], 20, &[]);
    // What is after a flush that does not count cannot count either: replay goes on from one point.
    check(&lost, &[&a, &part(2, 0), &later], Some(11), &[1], 10, &[2, 5]);
    // The journal has released its beginning: it had been committed, and what is there is what is left.
    check(&lost, &[&a, &part(2, 0), &part(3, 1)], Some(12), &[1, 2, 3], 20, &[]);
    // One part has been merged, so the flush had been committed.
    let merged = merge(6, &[&a, &part(4, 2)]);
    check(&lost, &[&part(2, 0), &part(3, 1), &merged], Some(11), &[2, 3, 6], 20, &[]);
}

#[test]
fn leftovers_do_not_double_what_took_their_place() {
    let lost = CatalogState::default();
    // 1 was left behind by a flush that failed; 2 is the same frames and more, flushed later.
    check(&lost, &[&flush(1, 1, 10), &flush(2, 1, 15)], None, &[2], 15, &[1]);
    // The same frames once more, and nothing else: the try with the later ids counts.
    let part = |id, part| meta(id, Lineage::of_flush(1, 10, part, 2));
    check(&lost, &[&part(1, 0), &part(2, 1), &part(3, 0), &part(4, 1)], Some(1), &[3, 4], 10, &[1, 2]);
    check(&lost, &[&part(1, 0), &part(2, 1), &part(3, 0)], Some(1), &[], 0, &[1, 2, 3]);
    // 3 was left behind by a compaction that failed; 5 took one of its inputs later.
    let (a, b) = (flush(1, 1, 10), flush(2, 11, 20));
    let c = merge(3, &[&a, &b]);
    let d = flush(4, 21, 30);
    let e = merge(5, &[&b, &d]);
    check(&lost, &[&a, &c, &e], None, &[1, 5], 30, &[3]);
}

#[test]
fn what_was_dropped_does_not_come_back() {
    let (a, b) = (flush(1, 1, 10), flush(2, 11, 20));
    let went_back =
        CatalogState { dropped: vec![DroppedSegment { id: 1, tenant: Tenant::default(), day: 0 }], ..state(&[], 10) };
    check(&went_back, &[&a, &b], None, &[2], 20, &[1]);
    check(&went_back, &[&a], None, &[], 10, &[1, 1]);
}
