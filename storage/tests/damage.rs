//! Damage from outside, as a crash of the machine or a failing disk leaves it: bytes behind the end of a segment's
//! files cost nothing, and a catalog that is gone is put together again from the segments.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use storage::catalog::{CatalogState, Found, recover};
use storage::segment::{
    Segment, SegmentCache, SegmentOrder, WriteOptions, merge_segments, segment_files, write_segment,
};
use storage::{
    Disk, FaultyDisk, Labels, Level, Lineage, LogBatch, LogBatchBuilder, NOT_OBSERVED, SegmentMeta, Stream, Tenant,
};

const DAY_NS: i64 = 86_400_000_000_000;

fn batch(records: usize, day: i32) -> Arc<LogBatch> {
    let mut builder = LogBatchBuilder::default();
    for i in 0..records {
        let stream = builder.stream(Stream::new(Labels::new([("app", format!("a{}", i % 3))]), Labels::default()));
        let time = i64::from(day) * DAY_NS + i as i64;
        builder.finish_record(stream, time, NOT_OBSERVED, Level::Info, &format!("message number {i}"));
    }
    Arc::new(builder.build())
}

fn written(disk: &FaultyDisk, id: u64, lineage: Lineage) -> SegmentMeta {
    let order = SegmentOrder { id, tenant: Tenant::default(), day: 5, created_ns: 9, lineage };
    write_segment(disk, &path(id), order, &[batch(3_000, 5)], &WriteOptions::default()).unwrap()
}

fn path(id: u64) -> std::path::PathBuf {
    Path::new("/data").join(id.to_string())
}

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::seeded(1);
    disk.create_dir_durable(Path::new("/data")).unwrap();
    disk
}

#[test]
fn bytes_behind_the_end_of_a_segment_cost_nothing() {
    for tail in [vec![0; 4096], (0..39_u8).collect()] {
        let disk = disk();
        let meta = written(&disk, 1, Lineage::of_flush(1, 2, 0, 1));
        let (parquet, index) = segment_files(&path(1));
        for file in [parquet, index] {
            assert!(disk.damage(&file, |bytes| bytes.extend_from_slice(&tail)));
        }
        assert_eq!(Segment::read_meta(&disk, &path(1)).unwrap(), meta);
        let shared: Arc<dyn Disk> = Arc::new(disk);
        let segment = Segment::open(&shared, &path(1), meta, &SegmentCache::new(1 << 20)).unwrap();
        segment.verify().unwrap();
        assert_eq!(segment.row_count(), 3_000);
    }
}

#[test]
fn a_segment_that_is_cut_is_refused() {
    let disk = disk();
    let meta = written(&disk, 1, Lineage::of_flush(1, 2, 0, 1));
    let (_, index) = segment_files(&path(1));
    disk.damage(&index, |bytes| bytes.truncate(bytes.len() - 7));
    Segment::read_meta(&disk, &path(1)).unwrap_err();
    let shared: Arc<dyn Disk> = Arc::new(disk);
    Segment::open(&shared, &path(1), meta, &SegmentCache::new(1 << 20)).unwrap_err();
}

#[test]
fn a_lost_catalog_is_put_together_from_what_segments_say() {
    let disk = disk();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let flushed: Vec<SegmentMeta> =
        (1..=3).map(|id| written(&disk, id, Lineage::of_flush(id * 10, id * 10 + 9, 0, 1))).collect();
    let inputs: Vec<Arc<Segment>> = flushed[..2]
        .iter()
        .map(|meta| {
            Arc::new(Segment::open(&shared, &path(meta.id), meta.clone(), &SegmentCache::new(1 << 20)).unwrap())
        })
        .collect();
    let lineage = Lineage::of_merge(&flushed[..2]);
    let order = SegmentOrder { id: 4, tenant: Tenant::default(), day: 5, created_ns: 9, lineage };
    let merged = merge_segments(&disk, &path(4), order, &inputs, &WriteOptions::default()).unwrap();
    assert_eq!(merged.rows, 6_000);
    let said = |id| Segment::read_meta(&disk, &path(id)).unwrap();
    let found =
        Found { ids: (1..=4).collect(), orphans: (1..=4).map(said).collect(), journal_first_sequence: Some(40) };
    let recovery = recover(&CatalogState::default(), &found);
    assert_eq!(recovery.segments, [flushed[2].clone(), merged]);
    assert_eq!(recovery.flushed_sequence, 39);
    assert_eq!(recovery.delete.iter().map(|dropped| dropped.id).collect::<Vec<_>>(), [1, 2]);
}
