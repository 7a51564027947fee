//! The journal on a faulty disk: damage of every kind, and a model of random appends, faults and crashes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::batch::{Level, LogBatch, LogBatchBuilder, NOT_OBSERVED, Stream, Value};
use crate::disk::{Fault, FaultyDisk};
use crate::labels::Labels;
use crate::tenant::Tenant;

const DIR: &str = "/data/journal";

fn options(flushed_sequence: u64) -> JournalOptions {
    JournalOptions { file_bytes: 700, flushed_sequence, quarantine: PathBuf::from("/data/quarantine") }
}

fn frame(message: &str) -> EncodedFrame {
    let mut builder = LogBatchBuilder::default();
    let stream = builder.stream(Stream::new(Labels::new([("app", "a")]), Labels::default()));
    builder.finish_record(stream, 1, NOT_OBSERVED, Level::Info, message);
    let input = FrameInput {
        tenant: Tenant::new("t-1").unwrap(),
        idempotency_key: message.strip_prefix("key ").map(str::to_owned),
        batch: Batch::Logs(Arc::new(builder.build())),
    };
    FrameEncoder::default().encode(&input).unwrap()
}

fn logs(batch: &Batch) -> &LogBatch {
    match batch {
        Batch::Logs(batch) => batch,
        Batch::Metrics(_) => panic!("a batch of metrics"),
    }
}

fn open(disk: &FaultyDisk, flushed_sequence: u64) -> (Journal, Replay) {
    Journal::open(Arc::new(disk.clone()), Path::new(DIR), &options(flushed_sequence)).unwrap()
}

fn append(journal: &mut Journal, messages: &[&str]) -> Result<u64, StorageError> {
    journal.append(messages.iter().map(|message| frame(message)).collect())
}

/// The messages, and the damage.
fn replayed(disk: &FaultyDisk, flushed_sequence: u64) -> (Vec<(u64, String)>, Vec<Damage>) {
    let (_, mut replay) = open(disk, flushed_sequence);
    let frames: Vec<_> = replay.by_ref().map(|f| (f.sequence, logs(&f.content.batch).message(0).to_owned())).collect();
    (frames, replay.damage().to_vec())
}

fn messages(disk: &FaultyDisk) -> Vec<String> {
    let (frames, damage) = replayed(disk, 0);
    assert_eq!(damage, []);
    frames.into_iter().map(|(_, message)| message).collect()
}

/// A disk with the messages `m1` to `m5` in one file, the file, and where each frame starts.
fn five_messages() -> (FaultyDisk, PathBuf, Vec<usize>) {
    let disk = FaultyDisk::seeded(1);
    let (mut journal, _) = open(&disk, 0);
    let mut starts = vec![journal_file_bytes(&disk)];
    for i in 1..=5 {
        append(&mut journal, &[&format!("m{i}")]).unwrap();
        starts.push(journal_file_bytes(&disk));
    }
    starts[0] = frame::FILE_HEADER_BYTES;
    (disk.clone(), disk.files()[0].0.clone(), starts)
}

fn journal_file_bytes(disk: &FaultyDisk) -> usize {
    disk.files().iter().map(|(_, bytes)| *bytes as usize).sum()
}

#[test]
fn frames_come_back_in_order_with_all_they_hold() {
    let disk = FaultyDisk::seeded(1);
    let (mut journal, _) = open(&disk, 0);
    assert_eq!(append(&mut journal, &["a", "key b"]).unwrap(), 2);
    assert_eq!(append(&mut journal, &["c"]).unwrap(), 3);
    disk.crash();
    let (journal, replay) = open(&disk, 0);
    assert_eq!(journal.next_sequence(), 4);
    assert_eq!(replay.frames_left(), 3);
    let frames: Vec<_> = replay.collect();
    assert_eq!(frames.iter().map(|f| f.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(frames[1].content.idempotency_key.as_deref(), Some("b"));
    assert_eq!(frames[1].content.tenant.as_str(), "t-1");
    assert_eq!(frames[2].content.idempotency_key, None);
    assert_eq!(logs(&frames[2].content.batch).streams()[0].labels().to_string(), r#"{app="a"}"#);
}

#[test]
fn flushed_frames_are_not_replayed_and_their_files_go() {
    let disk = FaultyDisk::seeded(1);
    let (mut journal, _) = open(&disk, 0);
    for i in 1..=20 {
        append(&mut journal, &[&format!("m{i}")]).unwrap();
    }
    let files = disk.files().len();
    assert!(files >= 3, "{files} files");
    let (frames, damage) = replayed(&disk, 18);
    assert_eq!(frames, [(19, "m19".to_owned()), (20, "m20".to_owned())]);
    assert_eq!(damage, []);
    journal.release(18).unwrap();
    assert!(disk.files().len() < files);
    assert_eq!(replayed(&disk, 18).0.len(), 2);
    journal.release(20).unwrap();
    assert_eq!(disk.files(), []);
    assert_eq!(journal.bytes(), 0);
    assert_eq!(append(&mut journal, &["next"]).unwrap(), 21);
    disk.crash();
    assert_eq!(replayed(&disk, 20).0, [(21, "next".to_owned())]);
}

#[test]
fn an_empty_journal_goes_on_after_what_is_flushed() {
    let disk = FaultyDisk::seeded(1);
    let (mut journal, replay) = open(&disk, 41);
    assert_eq!(replay.count(), 0);
    assert_eq!(append(&mut journal, &["a"]).unwrap(), 42);
}

#[test]
fn a_frame_cut_short_is_dropped_and_those_before_it_are_kept() {
    let (disk, path, starts) = five_messages();
    for cut in starts[4]..starts[5] {
        disk.damage(&path, |bytes| bytes.truncate(starts[5].min(bytes.len())));
        let copy = FaultyDisk::seeded(2);
        copy.create_dir_durable(Path::new(DIR)).unwrap();
        let content = disk.open(&path).unwrap().read_up_to(0, cut as u64).unwrap();
        copy.create(&path).unwrap().write_at(0, &content).unwrap();
        assert_eq!(messages(&copy), ["m1", "m2", "m3", "m4"], "cut at {cut}");
        // What comes after goes into another file, and the tear stays without effect.
        let (mut journal, replay) = open(&copy, 0);
        assert_eq!(replay.torn_bytes(), (cut - starts[4]) as u64);
        assert_eq!(append(&mut journal, &["m5 again"]).unwrap(), 5);
        assert_eq!(messages(&copy), ["m1", "m2", "m3", "m4", "m5 again"]);
    }
}

#[test]
fn bytes_appended_behind_the_last_frame_cost_nothing() {
    let garbage: Vec<u8> = (0..97_u8).map(|i| i.wrapping_mul(151)).collect();
    for tail in [vec![0; 4096], garbage, frame::FRAME_MAGIC.to_vec(), vec![b'F'; 33]] {
        let (disk, path, _) = five_messages();
        disk.damage(&path, |bytes| bytes.extend_from_slice(&tail));
        assert_eq!(messages(&disk), ["m1", "m2", "m3", "m4", "m5"]);
        let (mut journal, _) = open(&disk, 0);
        append(&mut journal, &["m6"]).unwrap();
        assert_eq!(messages(&disk), ["m1", "m2", "m3", "m4", "m5", "m6"]);
    }
}

#[test]
fn a_flipped_byte_costs_one_frame_which_is_reported_and_set_aside() {
    let (disk, path, starts) = five_messages();
    let before = disk.open(&path).unwrap().read_up_to(0, u64::MAX).unwrap();
    for at in starts[2]..starts[3] {
        disk.damage(&path, |bytes| {
            bytes.clone_from(&before);
            bytes[at] ^= 0x55;
        });
        let (frames, damage) = replayed(&disk, 0);
        assert_eq!(frames.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [1, 2, 4, 5], "byte {at}");
        let [damage] = &damage[..] else { panic!("byte {at}: {damage:?}") };
        assert_eq!((damage.offset as usize, damage.bytes as usize), (starts[2], starts[3] - starts[2]));
        assert_eq!(damage.frames_missing, 1);
        let copy = disk.open(damage.quarantined.as_ref().unwrap()).unwrap();
        assert_eq!(copy.len().unwrap(), damage.bytes);
        // What is flushed is not missed.
        assert_eq!(replayed(&disk, 3).1, []);
    }
}

#[test]
fn a_flipped_byte_in_the_last_frame_is_told_from_a_torn_write() {
    let (disk, path, starts) = five_messages();
    disk.damage(&path, |bytes| bytes[starts[4] + 40] ^= 1);
    let (frames, damage) = replayed(&disk, 0);
    assert_eq!(frames.len(), 4);
    assert_eq!(damage.len(), 1);
    assert!(damage[0].reason.contains("may never have been acknowledged"), "{damage:?}");
}

#[test]
fn a_damaged_file_header_costs_nothing() {
    let (disk, path, _) = five_messages();
    disk.damage(&path, |bytes| bytes[..frame::FILE_HEADER_BYTES].fill(0xff));
    assert_eq!(messages(&disk), ["m1", "m2", "m3", "m4", "m5"]);
}

#[test]
fn frames_of_a_file_that_is_gone_are_reported() {
    let disk = FaultyDisk::seeded(1);
    let (mut journal, _) = open(&disk, 0);
    for i in 1..=20 {
        append(&mut journal, &[&format!("m{i}")]).unwrap();
    }
    let middle = disk.files()[1].0.clone();
    disk.remove(&middle).unwrap();
    let (frames, damage) = replayed(&disk, 0);
    let missing: u64 = damage.iter().map(|damage| damage.frames_missing).sum();
    assert_eq!(frames.len() as u64 + missing, 20);
    assert!(missing > 0);
}

#[test]
fn a_file_that_cannot_be_read_is_moved_aside_and_the_rest_is_replayed() {
    let disk = FaultyDisk::seeded(1);
    let (mut journal, _) = open(&disk, 0);
    for i in 1..=20 {
        append(&mut journal, &[&format!("m{i}")]).unwrap();
    }
    let middle = disk.files()[1].0.clone();
    assert!(disk.make_unreadable(&middle));
    let (mut journal, mut replay) = open(&disk, 0);
    let frames = replay.by_ref().count() as u64;
    let [damage] = replay.damage() else { panic!("{:?}", replay.damage()) };
    assert!(damage.reason.contains("the sector cannot be read"), "{damage:?}");
    assert_eq!(frames + damage.frames_missing, 20);
    let moved = damage.quarantined.clone().unwrap();
    journal.release(20).unwrap();
    assert_eq!(disk.files().into_iter().map(|(path, _)| path).collect::<Vec<_>>(), [moved]);
}

/// A sender cannot smuggle in frames: the salt of the file is in the checksum.
#[test]
fn a_message_that_imitates_a_frame_is_not_one() {
    let (disk, path, starts) = five_messages();
    let content = disk.open(&path).unwrap().read_up_to(0, u64::MAX).unwrap();
    let other = FaultyDisk::seeded(3);
    let (mut journal, _) = open(&other, 0);
    append(&mut journal, &["x"]).unwrap();
    drop(journal);
    let path = other.files()[0].0.clone();
    other.damage(&path, |bytes| bytes.extend_from_slice(&content[starts[1]..starts[5]]));
    assert_eq!(messages(&other), ["x"]);
}

#[test]
fn a_full_disk_is_told_and_writing_goes_on_when_there_is_room() {
    let disk = FaultyDisk::seeded(5);
    let (mut journal, _) = open(&disk, 0);
    append(&mut journal, &["a"]).unwrap();
    for _ in 0..5 {
        disk.inject(0, Fault::DiskFull(1));
        let error = append(&mut journal, &["b", "c"]).unwrap_err();
        assert!(matches!(error, StorageError::DiskFull { .. }), "{error}");
    }
    append(&mut journal, &["d"]).unwrap();
    disk.crash();
    assert_eq!(messages(&disk), ["a", "d"]);
}

#[test]
fn after_a_failed_sync_a_new_file_is_begun() {
    for seed in 0..50 {
        let disk = FaultyDisk::seeded(seed);
        let (mut journal, _) = open(&disk, 0);
        append(&mut journal, &["a"]).unwrap();
        disk.inject(1, Fault::Io);
        append(&mut journal, &["failed"]).unwrap_err();
        assert_eq!(append(&mut journal, &["b"]).unwrap(), 2);
        assert_eq!(disk.files().len(), 2);
        disk.crash();
        assert_eq!(messages(&disk), ["a", "b"], "seed {seed}");
    }
}

/// Appends, faults and crashes at random: what was acknowledged is there once and in order; what was not is there
/// whole or not at all, and only if nothing was acknowledged after it.
#[test]
fn a_thousand_random_histories_keep_what_was_acknowledged() {
    let (mut crashes, mut came_back, mut failed) = (0, 0, 0);
    for seed in 0..1_000 {
        let mut random = fastrand(seed);
        let disk = FaultyDisk::seeded(seed);
        let (mut acked, mut flushed): (Vec<(u64, String)>, u64) = (Vec::new(), 0);
        let mut sent = 0;
        for _ in 0..4 {
            disk.crash();
            crashes += 1;
            let (mut journal, mut replay) = open(&disk, flushed);
            let found: Vec<_> =
                replay.by_ref().map(|f| (f.sequence, logs(&f.content.batch).message(0).to_owned())).collect();
            let expected: Vec<_> = acked.iter().filter(|(sequence, _)| *sequence > flushed).cloned().collect();
            assert!(found.starts_with(&expected), "seed {seed}: {found:?} instead of {expected:?}");
            assert!(replay.damage().iter().all(|damage| damage.frames_missing == 0), "seed {seed}");
            for extra in &found[expected.len()..] {
                // Not acknowledged, but it counts from here on.
                came_back += 1;
                assert!(!acked.iter().any(|(_, message)| *message == extra.1), "seed {seed}: {extra:?} twice");
                acked.push(extra.clone());
            }
            if random(2) == 0 {
                let fault = [Fault::Io, Fault::DiskFull(3), Fault::Stop][random(3) as usize];
                disk.inject(random(40), fault);
            }
            for _ in 0..random(12) {
                let frames: Vec<String> = (0..=random(3)).map(|i| format!("m{}", sent + i)).collect();
                sent += frames.len() as u64;
                let first = journal.next_sequence();
                match journal.append(frames.iter().map(|message| frame(message)).collect()) {
                    Ok(last) => {
                        assert_eq!(last + 1, first + frames.len() as u64);
                        acked.extend((first..).zip(frames));
                    }
                    Err(_) => failed += 1,
                }
                if random(6) == 0 {
                    flushed = flushed.max(journal.next_sequence().saturating_sub(1 + random(4)));
                    let _ = journal.release(flushed);
                }
            }
        }
    }
    assert!(crashes == 4_000 && came_back > 30 && failed > 500, "{crashes} {came_back} {failed}");
}

/// Whatever a file holds, it is read without a panic, and what is untouched is found.
#[test]
fn any_bytes_are_read() {
    let (disk, path, starts) = five_messages();
    let before = disk.open(&path).unwrap().read_up_to(0, u64::MAX).unwrap();
    for seed in 0..2_000 {
        let mut random = fastrand(seed);
        let mut bytes = before.clone();
        for _ in 0..=random(6) {
            let at = random(bytes.len() as u64) as usize;
            match random(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random(256) as u8),
                2 => drop(bytes.drain(at..(at + random(60) as usize).min(bytes.len()))),
                3 => bytes.extend_from_slice(&before[at.min(before.len())..]),
                _ => bytes[at] = random(256) as u8,
            }
            if bytes.is_empty() {
                break;
            }
        }
        disk.damage(&path, |content| content.clone_from(&bytes));
        let (frames, _) = replayed(&disk, 0);
        for (sequence, message) in &frames {
            assert_eq!(*message, format!("m{sequence}"), "seed {seed}");
        }
        assert!(frames.is_sorted_by(|a, b| a.0 < b.0), "seed {seed}: {frames:?}");
        // The first damage is at `same`, so that every frame that ends before it must be there.
        let same = bytes.iter().zip(&before).take_while(|(a, b)| a == b).count();
        let whole = starts[1..].iter().filter(|&&end| end <= same).count();
        assert!(frames.len() >= whole, "seed {seed}: {} of {whole} frames", frames.len());
    }
}

#[test]
fn to_inspect_changes_nothing() {
    let (disk, path, starts) = five_messages();
    disk.damage(&path, |bytes| bytes[starts[1] + 3] ^= 1);
    let before = disk.files();
    let mut replay = JournalScan::new(Arc::new(disk.clone()), Path::new(DIR)).unwrap().inspect(0);
    assert_eq!(replay.by_ref().count(), 4);
    assert_eq!(replay.damage().len(), 1);
    assert_eq!(replay.damage()[0].quarantined, None);
    assert_eq!(disk.files(), before);
}

/// What version 1 wrote stays readable. `FAROL_WRITE_TESTDATA=1 cargo test -p farol-storage can_be_written` wrote it.
#[test]
fn version_1_is_read() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1/journal");
    let mut replay = JournalScan::new(Arc::new(crate::disk::RealDisk), &testdata).unwrap().inspect(0);
    let frames: Vec<_> = replay.by_ref().collect();
    assert_eq!(replay.damage(), []);
    assert_eq!(frames.iter().map(|frame| frame.sequence).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(frames[0].content.idempotency_key.as_deref(), Some("k-1"));
    assert_eq!(*frames[0].content.tenant.as_str(), *"team-a");
    for frame in &frames {
        assert_eq!(format!("{:?}", logs(&frame.content.batch)), format!("{:?}", every_kind()));
    }
}

#[test]
fn what_version_1_is_read_reads_can_be_written() {
    // With FAROL_WRITE_TESTDATA for good, else beside it.
    let aside = tempfile::tempdir().unwrap();
    let mut testdata = aside.path().join("journal");
    if std::env::var_os("FAROL_WRITE_TESTDATA").is_some() {
        testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1/journal");
    }
    let options = JournalOptions::new(Path::new("/nowhere"));
    let (mut journal, _) = Journal::open(Arc::new(crate::disk::RealDisk), &testdata, &options).unwrap();
    for key in [Some("k-1".to_owned()), None] {
        let input = FrameInput {
            tenant: Tenant::new("team-a").unwrap(),
            idempotency_key: key,
            batch: Batch::Logs(Arc::new(every_kind())),
        };
        journal.append(vec![FrameEncoder::default().encode(&input).unwrap()]).unwrap();
    }
}

/// A batch with every kind of value, as version 1 knows them.
fn every_kind() -> LogBatch {
    let mut builder = LogBatchBuilder::default();
    for (i, observed) in [NOT_OBSERVED, -5, 1_748_736_000_123_456_789].into_iter().enumerate() {
        let labels = Labels::new([("app", "a"), ("região", ["norte", "sul"][i % 2])]);
        let stream = builder.stream(Stream::new(labels, Labels::new([("host", "h-1")])));
        let values = [
            ("text", Value::Str("häuser")),
            ("integer", Value::Int(i64::MIN + i as i64)),
            ("double", Value::Double(-0.5)),
            ("boolean", Value::Bool(i == 1)),
            ("bytes", Value::Bytes(&[0, 255, 7])),
            ("trace_id", Value::Hex(&[9; 16])),
            ("json", Value::Json(r#"{"a":[1]}"#)),
        ];
        for (key, value) in values {
            let key = builder.key(key);
            builder.attribute(key, value);
        }
        builder.finish_record(stream, i64::MAX - i as i64, observed, Level::ALL[i + 3], "a message, ünïcode");
    }
    builder.build()
}

/// A small seeded generator: `random(n)` is below `n`.
fn fastrand(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    }
}
