//! The offline check of a data folder finds one changed byte in any kind of file, names the file, and changes nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::{
    Labels, Level, LogBatch, LogBatchBuilder, NOT_OBSERVED, RealDisk, SettableClock, Store, StoreConfig, Stream,
    Tenant, Value, VerifyReport, verify,
};

/// Rows in segments, enough for an index; and in the journal.
const FLUSHED: i64 = 1500;
const WAITING: i64 = 40;

fn batch(times: std::ops::Range<i64>) -> LogBatch {
    let mut builder = LogBatchBuilder::default();
    let stream = builder.stream(Stream::new(Labels::new([("app", "a")]), Labels::default()));
    let key = builder.key("user");
    for time in times {
        builder.attribute(key, Value::Str(&format!("user-{time}")));
        builder.finish_record(stream, time, NOT_OBSERVED, Level::Info, &format!("message number {time}"));
    }
    builder.build()
}

/// A folder with two segments and three batches in the journal, as a kill leaves it.
async fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SettableClock::new(1));
    let store = Store::open(StoreConfig::new(folder.path()), Arc::new(RealDisk), clock).await.unwrap();
    for tenant in ["one", "two"] {
        store.append(&Tenant::new(tenant).unwrap(), batch(0..FLUSHED), Some(tenant)).await.unwrap();
    }
    store.flush(false).await.unwrap();
    for _ in 0..3 {
        store.append(&Tenant::default(), batch(0..WAITING), None).await.unwrap();
    }
    store.halt().await;
    folder
}

/// The only file below `folder` whose path contains all of `parts`.
fn file(folder: &Path, parts: &[&str]) -> PathBuf {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if parts.iter().all(|part| path.to_str().unwrap().contains(part)) {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{parts:?}: {found:?}");
    found.remove(0)
}

/// Checks the folder with one byte of a file changed, and puts the byte back.
async fn with_changed_byte(folder: &Path, path: &Path, at: usize) -> VerifyReport {
    with_changed_bytes(folder, path, &[at]).await
}

async fn with_changed_bytes(folder: &Path, path: &Path, places: &[usize]) -> VerifyReport {
    let whole = fs::read(path).unwrap();
    let mut changed = whole.clone();
    places.iter().for_each(|&at| changed[at] ^= 0x20);
    fs::write(path, &changed).unwrap();
    let report = verify(folder).await.unwrap();
    assert_eq!(fs::read(path).unwrap(), changed, "checking changes nothing");
    fs::write(path, whole).unwrap();
    report
}

#[tokio::test]
async fn a_whole_folder_has_no_problem() {
    let folder = folder().await;
    let report = verify(folder.path()).await.unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.segments, report.rows), (2, 2 * FLUSHED as u64));
    assert_eq!((report.journal_batches, report.journal_records), (3, 3 * WAITING as u64));
    // VERSION, the catalog, one journal file, two files of each segment.
    assert_eq!(report.files, 2 + 1 + 2 * 2);
}

#[tokio::test]
async fn a_changed_byte_anywhere_in_a_segment_is_found() {
    let folder = folder().await;
    for kind in [".parquet", ".index"] {
        let path = file(folder.path(), &["segments/one", kind]);
        let bytes = fs::metadata(&path).unwrap().len() as usize;
        for at in (0..bytes).step_by(bytes / 23).chain([bytes - 1]) {
            let report = with_changed_byte(folder.path(), &path, at).await;
            let names: Vec<&Path> = report.problems.iter().map(|p| p.path.as_path()).collect();
            assert_eq!(names, [path.as_path()], "byte {at} of {kind}");
            assert_eq!(report.rows, FLUSHED as u64, "the other segment is read all the same");
        }
    }
}

#[tokio::test]
async fn a_changed_byte_in_the_journal_is_found() {
    let folder = folder().await;
    let path = file(folder.path(), &[".journal"]);
    let frames: Vec<usize> = memchr::memmem::find_iter(&fs::read(&path).unwrap(), b"FrmL").collect();
    assert_eq!(frames.len(), 3);
    for at in [frames[1], frames[1] + 9, frames[1] + 50, frames[2] - 1] {
        let report = with_changed_byte(folder.path(), &path, at).await;
        assert_eq!(report.problems.len(), 1, "byte {at}: {:?}", report.problems);
        assert_eq!(report.problems[0].path, path);
        assert_eq!(report.journal_batches, 2);
    }
}

#[tokio::test]
async fn a_changed_byte_in_the_catalog_is_found_and_the_rest_is_checked() {
    let folder = folder().await;
    let path = folder.path().join("catalog.sqlite");
    let bytes = fs::read(&path).unwrap();
    // SQLite leaves old copies of a row in free space: one of these is the row.
    let rows = memchr::memmem::find_iter(&bytes, b"flushed_sequence").collect();
    for places in [vec![0], vec![100], rows] {
        let report = with_changed_bytes(folder.path(), &path, &places).await;
        assert_eq!(report.problems.len(), 1, "bytes {places:?}: {:?}", report.problems);
        assert_eq!(report.problems[0].path, path);
        assert_eq!((report.segments, report.rows), (2, 2 * FLUSHED as u64));
        assert_eq!(report.journal_batches, 3);
    }
}

#[tokio::test]
async fn another_version_is_refused() {
    let folder = folder().await;
    fs::write(folder.path().join("VERSION"), "!\n").unwrap();
    assert!(verify(folder.path()).await.unwrap_err().to_string().contains("format version"));
}

#[tokio::test]
async fn files_that_are_missing_short_or_unknown_are_named() {
    let folder = folder().await;
    let (parquet, index) =
        (file(folder.path(), &["segments/one", ".parquet"]), file(folder.path(), &["segments/two", ".index"]));
    let stranger = parquet.with_file_name("0000000000000099.parquet");
    fs::copy(&parquet, &stranger).unwrap();
    fs::remove_file(&parquet).unwrap();
    let bytes = fs::read(&index).unwrap();
    fs::write(&index, &bytes[..bytes.len() - 5]).unwrap();
    let report = verify(folder.path()).await.unwrap();
    let mut named: Vec<PathBuf> = report.problems.into_iter().map(|problem| problem.path).collect();
    named.sort();
    assert_eq!(named, [parquet, stranger.with_extension(""), index]);
    assert_eq!(report.rows, 0);
}
