//! The check of a data folder that no process has open: every file against its checksums and against the catalog, every
//! row of every segment read. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::disk::{Disk, DiskFile, RealDisk};
use crate::error::StorageError;
use crate::folder::{segment_folder, segment_path};
use crate::journal::JournalScan;
use crate::lock::lock_existing;
use crate::metrics::MetricSegment;
use crate::read::{AttributeSelection, Projection};
use crate::segment::{Segment, SegmentCache, SegmentMeta, Signal, segment_files};

/// Bytes read at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// Nothing that is read here is asked for again.
const CACHE_BYTES: u64 = 1 << 20;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Files looked at: the version, the catalog, the journal's and the segments'.
    pub files: u64,
    /// Segments that the catalog knows.
    pub segments: u64,
    /// Rows read from them.
    pub rows: u64,
    /// Bytes of their files.
    pub segment_bytes: u64,
    /// Batches in the journal that are not in segments yet.
    pub journal_batches: u64,
    /// Their records.
    pub journal_records: u64,
    /// Bytes at the end of the journal of writes that were never acknowledged; no damage.
    pub torn_bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

impl VerifyReport {
    fn add(&mut self, path: &Path, what: &str) {
        self.problems.push(Problem { path: path.to_owned(), what: what.to_owned() });
    }
}

/// Checks a data folder.
///
/// # Errors
/// `Refused` when a process has it open, when another version wrote it, or when it is no data folder; what is wrong
/// inside is in the report.
pub async fn verify(data: &Path) -> Result<VerifyReport, StorageError> {
    let _lock = lock_existing(data)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    // The version, which opening the folder has looked at, and the catalog.
    let mut report = VerifyReport { files: 2, ..VerifyReport::default() };
    let files = crate::store::segment_files_below(disk.as_ref(), &data.join("segments"))?;
    let (segments, flushed_sequence) = match Catalog::inspect(data).await {
        Ok(state) => (state.segments, state.flushed_sequence),
        Err(error) => {
            report.add(
                &data.join("catalog.sqlite"),
                &format!("{error}; the next start puts it together again from the segments"),
            );
            (from_files(disk.as_ref(), &files, &mut report), 0)
        }
    };
    for meta in &segments {
        let path = segment_path(&segment_folder(data, &meta.tenant, meta.signal, meta.day), meta.id);
        report.segments += 1;
        report.files += 2;
        report.segment_bytes += meta.parquet_bytes + meta.index_bytes;
        match check_segment(&disk, &path, meta) {
            Ok(rows) => report.rows += rows,
            Err(problem) => report.problems.push(problem),
        }
    }
    let known: BTreeSet<u64> = segments.iter().map(|meta| meta.id).collect();
    for (_, path) in files.iter().filter(|(id, _)| !known.contains(id)) {
        report.files += 1;
        // Without a catalog it was looked at already, and said what is wrong.
        if !report.problems.iter().any(|problem| problem.path.with_extension("") == *path) {
            report.add(path, "the catalog does not know it: a crash left it, and the next start deals with it");
        }
    }
    check_journal(disk, data, flushed_sequence, &mut report)?;
    Ok(report)
}

/// What the segments say of themselves, where no catalog does.
fn from_files(disk: &dyn Disk, files: &BTreeMap<u64, PathBuf>, report: &mut VerifyReport) -> Vec<SegmentMeta> {
    let mut found = Vec::new();
    for path in files.values() {
        match Segment::read_meta(disk, path) {
            Ok(meta) => found.push(meta),
            Err(error) => report.problems.push(problem(&segment_files(path).1, &error)),
        }
    }
    found
}

/// An error as a problem of the file that it names.
fn problem(path: &Path, error: &StorageError) -> Problem {
    match error {
        StorageError::Corrupt { path, offset, reason } => {
            Problem { path: path.clone(), what: format!("damaged at byte {offset}: {reason}") }
        }
        other => Problem { path: path.to_owned(), what: other.to_string() },
    }
}

/// Checksums of both files, then every row. Answers how many rows.
fn check_segment(disk: &Arc<dyn Disk>, path: &Path, meta: &SegmentMeta) -> Result<u64, Problem> {
    let (parquet, index) = segment_files(path);
    for (file, bytes, checksum) in
        [(&parquet, meta.parquet_bytes, meta.parquet_crc32c), (&index, meta.index_bytes, meta.index_crc32c)]
    {
        let wrong = |what: String| Problem { path: file.clone(), what };
        let open = disk.open(file).map_err(|e| wrong(format!("cannot be opened: {e}")))?;
        let found = crc_of(open.as_ref(), bytes).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        if found != checksum {
            return Err(wrong(format!("its {bytes} bytes have checksum {found:08x}, the catalog says {checksum:08x}")));
        }
    }
    let wrong = |error: StorageError| problem(&parquet, &error);
    if meta.signal == Signal::Metrics {
        let segment = MetricSegment::open(disk, path, meta.clone(), &SegmentCache::new(CACHE_BYTES)).map_err(wrong)?;
        return check_samples(&segment, &parquet).map_err(wrong)?;
    }
    let segment = Segment::open(disk, path, meta.clone(), &SegmentCache::new(CACHE_BYTES)).map_err(wrong)?;
    segment.verify().map_err(wrong)?;
    let everything = Projection {
        run_times: false,
        observed: true,
        level: true,
        message: true,
        pattern: true,
        attributes: AttributeSelection::All,
    };
    let mut rows = 0;
    for piece in segment.read(std::slice::from_ref(&(0..meta.rows)), &everything).map_err(wrong)? {
        let piece = piece.map_err(wrong)?;
        let outside = piece.timestamp.values().iter().find(|time| !(meta.first_ns..=meta.last_ns).contains(time));
        if let Some(time) = outside {
            return Err(Problem {
                path: parquet.clone(),
                what: format!("a row's time {time} is outside of the segment's"),
            });
        }
        rows += piece.timestamp.len() as u64;
    }
    match rows == u64::from(meta.rows) {
        true => Ok(rows),
        false => {
            Err(Problem { path: parquet.clone(), what: format!("it has {rows} rows, the catalog says {}", meta.rows) })
        }
    }
}

/// Every sample of every series. Answers how many.
fn check_samples(segment: &MetricSegment, parquet: &Path) -> Result<Result<u64, Problem>, StorageError> {
    let index = segment.index()?;
    let series: Vec<u32> = (0..index.entries().len() as u32).collect();
    index.labels(&series, |_, _| {})?;
    segment.exemplars()?;
    let (mut rows, mut wrong) = (0, None);
    segment.read(&index, &series, (i64::MIN, i64::MAX), |at, samples| {
        let entry = &index.entries()[at];
        rows += samples.len() as u64;
        let bounds = (samples.timestamps.first().copied(), samples.timestamps.last().copied());
        let in_order = samples.timestamps.is_sorted_by(|a, b| a < b);
        if samples.len() != entry.rows as usize || bounds != (Some(entry.first), Some(entry.last)) || !in_order {
            wrong.get_or_insert(at);
        }
        Ok::<(), StorageError>(())
    })?;
    Ok(match wrong {
        None => Ok(rows),
        Some(series) => {
            let what = format!("the samples of series {series} are not those that its index tells of");
            Err(Problem { path: parquet.to_owned(), what })
        }
    })
}

fn crc_of(file: &dyn DiskFile, bytes: u64) -> std::io::Result<u32> {
    let (mut crc, mut at) = (0, 0);
    while at < bytes {
        let piece = file.read_up_to(at, PIECE_BYTES.min(bytes - at))?;
        if piece.is_empty() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                format!("it ends at byte {at} of {bytes}"),
            ));
        }
        crc = crc32c::crc32c_append(crc, &piece);
        at += piece.len() as u64;
    }
    Ok(crc)
}

fn check_journal(
    disk: Arc<dyn Disk>,
    data: &Path,
    flushed_sequence: u64,
    report: &mut VerifyReport,
) -> Result<(), StorageError> {
    let scan = JournalScan::new(disk, &data.join("journal"))?;
    report.files += scan.file_count() as u64;
    let mut replay = scan.inspect(flushed_sequence);
    for frame in replay.by_ref() {
        report.journal_batches += 1;
        report.journal_records += frame.content.batch.len() as u64;
    }
    report.torn_bytes = replay.torn_bytes();
    for damage in replay.damage() {
        let what = format!(
            "{} bytes at byte {} are damaged ({}); {} batches are missing",
            damage.bytes, damage.offset, damage.reason, damage.frames_missing
        );
        report.add(&damage.path, &what);
    }
    Ok(())
}
