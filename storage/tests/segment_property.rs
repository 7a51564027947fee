//! Properties of segments: what is merged is what went in, whatever kinds of values there are; and what a predicate
//! leaves of a segment, checked row by row, is what a scan of all rows finds.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use storage::segment::{Segment, SegmentCache, SegmentOrder, WriteOptions, merge_segments, write_segment};
use storage::{
    Asked, AttributeSelection, Disk, FaultyDisk, Labels, Level, Lineage, LogBatch, LogBatchBuilder, NOT_OBSERVED,
    Needle, Predicate, Projection, Stream, Tenant, Value,
};

const DAY: i32 = 20_000;
const DAY_NS: i64 = 86_400_000_000_000;
const KEYS: [&str; 6] = ["user", "trace_id", "level", "app", "timestamp", "weight"];
/// An integer of at most this is the same quantity as the double.
const DOUBLE_EXACT_MAX: u64 = 1 << 53;

#[derive(Debug, Clone)]
enum Owned {
    Str(String),
    Int(i64),
    Double(f64),
    Bool(bool),
    Bytes(Vec<u8>),
    Hex(Vec<u8>),
    Json(String),
}

impl Owned {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Str(text) => Value::Str(text),
            Self::Int(number) => Value::Int(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Bool(bool) => Value::Bool(*bool),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Hex(bytes) => Value::Hex(bytes),
            Self::Json(text) => Value::Json(text),
        }
    }
}

#[derive(Debug, Clone)]
struct Record {
    stream: u8,
    time: i64,
    observed: Option<i64>,
    level: u8,
    message: String,
    attributes: Vec<(&'static str, Owned)>,
}

fn value() -> impl Strategy<Value = Owned> {
    let doubles = prop_oneof![any::<f64>(), select(&[0.0, -0.0, 12.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN][..])];
    let hex = prop_oneof![prop::collection::vec(any::<u8>(), 16), prop::collection::vec(any::<u8>(), 1..33)];
    prop_oneof![
        3 => "\\PC{0,12}".prop_map(Owned::Str),
        2 => prop_oneof![any::<i64>(), -9_i64..9].prop_map(Owned::Int),
        2 => doubles.prop_map(Owned::Double),
        1 => any::<bool>().prop_map(Owned::Bool),
        1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(Owned::Bytes),
        2 => hex.prop_map(Owned::Hex),
        1 => select(&["{\"a\":[1,null]}", "[]", ""][..]).prop_map(|text| Owned::Json(text.to_owned())),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let time = (0..DAY_NS, select(&[1, 1_000, 1_000_000][..]))
        .prop_map(|(time, unit)| i64::from(DAY) * DAY_NS + time / unit * unit);
    let observed = prop::option::of(prop_oneof![any::<i64>().prop_map(|o| o.max(NOT_OBSERVED + 1)), Just(7)]);
    let attributes = prop::collection::vec((select(&KEYS[..]), value()), 0..5);
    (0..4_u8, time, observed, 0..8_u8, "\\PC{0,20}", attributes).prop_map(
        |(stream, time, observed, level, message, attributes)| Record {
            stream,
            time,
            observed,
            level,
            message,
            attributes,
        },
    )
}

/// Records of which each key has values of one kind mostly: those that get columns of their own.
fn alike() -> impl Strategy<Value = Vec<Record>> {
    (prop::collection::vec(record(), 1..40), prop::collection::vec(value(), KEYS.len()), any::<bool>()).prop_map(
        |(mut records, typical, alike)| {
            for (i, record) in records.iter_mut().enumerate().filter(|_| alike) {
                for (key, value) in &mut record.attributes {
                    let at = KEYS.iter().position(|k| k == key).unwrap();
                    *value = typical[at].clone();
                    if let Owned::Int(number) = value {
                        *number = number.wrapping_add(i as i64);
                    }
                }
            }
            records
        },
    )
}

fn stream(number: u8) -> Stream {
    match number {
        0 => Stream::new(Labels::default(), Labels::default()),
        1 => Stream::new(Labels::new([("app", "a"), ("message", "x")]), Labels::default()),
        2 => Stream::new(Labels::new([("app", "a")]), Labels::new([("app", "b"), ("host", "")])),
        _ => Stream::new(Labels::new([("env", "é"), ("level", "y")]), Labels::new([("pod", "p")])),
    }
}

fn batch(records: &[Record]) -> Arc<LogBatch> {
    let mut builder = LogBatchBuilder::default();
    for record in records {
        let at = builder.stream(stream(record.stream));
        for (key, value) in &record.attributes {
            let key = builder.key(key);
            builder.attribute(key, value.value());
        }
        let (observed, level) = (record.observed.unwrap_or(NOT_OBSERVED), Level::from_u8(record.level));
        builder.finish_record(at, record.time, observed, level, &record.message);
    }
    Arc::new(builder.build())
}

/// A row as text, the same for rows that mean the same: attributes by key, those of one key in their order.
fn rows(batch: &LogBatch) -> Vec<String> {
    let text = |value: Value<'_>| match value {
        Value::Int(i) if i.unsigned_abs() <= DOUBLE_EXACT_MAX => format!("number {:?}", i as f64),
        Value::Double(d) => format!("number {d:?}"),
        other => format!("{other:?}"),
    };
    let row = |at: usize| {
        let mut attributes: Vec<(&str, String)> =
            batch.attributes(at).map(|(key, value)| (batch.keys()[key as usize].as_ref(), text(value))).collect();
        attributes.sort_by_key(|(key, _)| *key);
        let stream = &batch.streams()[batch.stream_indices()[at] as usize];
        let (time, observed) = (batch.timestamps()[at], batch.observed()[at]);
        let (labels, resource) = (stream.labels(), stream.resource());
        format!("{labels} {resource} {time} {observed} {:?} {:?} {attributes:?}", batch.level(at), batch.message(at))
    };
    (0..batch.len()).map(row).collect()
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::seeded(1);
    disk.create_dir_durable(Path::new("/data")).unwrap();
    disk
}

fn path(id: u64) -> PathBuf {
    Path::new("/data").join(id.to_string())
}

fn order(id: u64) -> SegmentOrder {
    SegmentOrder { id, tenant: Tenant::default(), day: DAY, created_ns: 9, lineage: Lineage::of_flush(id, id, 0, 1) }
}

fn options() -> WriteOptions {
    WriteOptions { index_rows_min: 1, ..WriteOptions::default() }
}

fn written(disk: &FaultyDisk, id: u64, batches: &[Arc<LogBatch>]) -> Arc<Segment> {
    cached(disk, id, batches, 1 << 20)
}

fn cached(disk: &FaultyDisk, id: u64, batches: &[Arc<LogBatch>], cache_bytes: u64) -> Arc<Segment> {
    let meta = write_segment(disk, &path(id), order(id), batches, &options()).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    Arc::new(Segment::open(&shared, &path(id), meta, &SegmentCache::new(cache_bytes)).unwrap())
}

/// What is read of a Parquet file was announced; few pages are kept, more when they are read again, a scan's never.
#[test]
fn reads_are_announced_and_pages_kept() {
    const ROWS: u32 = 80_000;
    let records: Vec<Record> = (0..ROWS)
        .map(|row| Record {
            stream: 1,
            time: i64::from(DAY) * DAY_NS + i64::from(row),
            observed: None,
            level: 1,
            message: format!("{} {row}", row.wrapping_mul(2_654_435_761).to_string().repeat(9)),
            attributes: Vec::new(),
        })
        .collect();
    let disk = disk();
    let segment = cached(&disk, 1, &[batch(&records)], 64 << 20);
    let projection = Projection { message: true, ..Projection::default() };
    let file = path(1).with_extension("parquet");
    // How many bytes reading these rows takes from the disk.
    let read = |rows: std::ops::Range<u32>| {
        disk.watch(&file);
        let count = rows.len();
        let pieces = segment.read(std::slice::from_ref(&rows), &projection).unwrap();
        assert_eq!(pieces.map(|piece| piece.unwrap().timestamp.len()).sum::<usize>(), count);
        let asked = disk.watch(&file);
        let announced = |bytes: &std::ops::Range<u64>| {
            let within = |asked: &Asked| match asked {
                Asked::Announced(all) => all.start <= bytes.start && bytes.end <= all.end,
                Asked::Read(_) => false,
            };
            asked.iter().any(within)
        };
        let reads = asked.iter().filter_map(|asked| if let Asked::Read(bytes) = asked { Some(bytes) } else { None });
        reads.inspect(|bytes| assert!(announced(bytes), "{bytes:?} of {asked:?}")).map(|b| b.end - b.start).sum::<u64>()
    };
    // Opens the file: its footer is not announced here.
    assert_eq!(segment.read(std::slice::from_ref(&(0..1)), &Projection::default()).unwrap().count(), 1);
    assert!(read(20_000..20_010) > 0);
    assert_eq!(read(20_000..20_010), 0, "few pages are kept");
    let quarter = read(0..ROWS / 4);
    assert_eq!(read(0..ROWS / 4), quarter, "more are not");
    assert_eq!(read(0..ROWS / 4), 0, "but when they were read again");
    let all = read(0..ROWS);
    assert!(all > 2 * quarter);
    assert_eq!((read(0..ROWS), read(0..ROWS)), (all, all), "a scan of everything keeps nothing");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_is_merged_is_what_went_in(inputs in prop::collection::vec(alike(), 1..4)) {
        let disk = disk();
        let batches: Vec<Arc<LogBatch>> = inputs.iter().map(|records| batch(records)).collect();
        let expected = sorted(batches.iter().flat_map(|batch| rows(batch)).collect());
        let segments: Vec<Arc<Segment>> =
            batches.iter().zip(1..).map(|(batch, id)| written(&disk, id, std::slice::from_ref(batch))).collect();
        for (batch, segment) in batches.iter().zip(&segments) {
            prop_assert_eq!(sorted(rows(&segment.to_batch().unwrap())), sorted(rows(batch)));
        }
        let meta = merge_segments(&disk, &path(9), order(9), &segments, &options()).unwrap();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let merged = Segment::open(&shared, &path(9), meta, &SegmentCache::new(1 << 20)).unwrap();
        merged.verify().unwrap();
        prop_assert_eq!(sorted(rows(&merged.to_batch().unwrap())), expected);
    }
}

/// Three blocks of rows of some streams, each with words, a number and a trace id of its own.
fn lines() -> Vec<Record> {
    let words = ["connect", "Timeout", "quota", "größe", "billing"];
    let line = |i: u32| {
        let trace = xxhash_rust::xxh3::xxh3_128(&i.to_le_bytes()).to_be_bytes();
        let word = words[(i / 37) as usize % words.len()];
        Record {
            stream: (i % 4) as u8,
            time: i64::from(DAY) * DAY_NS + i64::from(i) * 1_000_003,
            observed: None,
            level: 3,
            message: format!("{word} of request {:x} node-{} ended", u128::from_be_bytes(trace) >> 40, i % 100),
            attributes: vec![("trace_id", Owned::Hex(trace.to_vec())), ("user", Owned::Str(format!("u{}", i % 2_500)))],
        }
    };
    (0..6_000).map(line).collect()
}

#[test]
fn what_a_predicate_leaves_is_what_a_scan_finds() {
    let disk = disk();
    let lines = lines();
    let segment = written(&disk, 1, &[batch(&lines)]);
    let text = |record: &Record, key: &str| {
        record.attributes.iter().find(|(k, _)| *k == key).map(|(_, v)| v.value().to_string()).unwrap_or_default()
    };
    let left_rows = std::cell::Cell::new(0);
    proptest::test_runner::TestRunner::deterministic()
        .run(
            &(
                prop::option::of((0..6_000_i64, 0..6_000_i64)),
                prop::option::of(prop::collection::vec(any::<bool>(), 4)),
                prop::option::of((0..6_000_usize, 0..60_usize, 1..40_usize, any::<bool>())),
                prop::option::of((0..6_000_usize, select(&["user", "trace_id"][..]))),
            ),
            |(time, streams, part, attribute)| {
                let time = time.map(|(a, b)| {
                    let at = |i: i64| i64::from(DAY) * DAY_NS + i * 1_000_003;
                    at(a.min(b))..at(a.max(b))
                });
                let needle = part.map(|(line, from, chars, ignore_case)| {
                    let part: String = lines[line].message.chars().skip(from).take(chars).collect();
                    Needle { text: if ignore_case { part.to_lowercase() } else { part }, ignore_case }
                });
                let attribute = attribute.map(|(line, key)| (Arc::<str>::from(key), vec![text(&lines[line], key)]));
                let wanted = |record: &Record| {
                    let place = segment.streams().iter().position(|s| **s == stream(record.stream)).unwrap();
                    let holds = |n: &Needle| match n.ignore_case {
                        true => record.message.to_lowercase().contains(&n.text),
                        false => record.message.contains(&n.text),
                    };
                    time.as_ref().is_none_or(|time| time.contains(&record.time))
                        && streams.as_ref().is_none_or(|streams| streams[place])
                        && needle.as_ref().is_none_or(holds)
                        && attribute.as_ref().is_none_or(|(key, values)| values.contains(&text(record, key)))
                };
                let predicate = Predicate {
                    time: time.clone(),
                    streams: streams.clone(),
                    message: needle.iter().map(|needle| vec![needle.clone()]).collect(),
                    attributes: attribute.iter().cloned().collect(),
                };
                let mut scanned: Vec<i64> = lines.iter().filter(|l| wanted(l)).map(|l| l.time).collect();
                scanned.sort_unstable();
                let ranges = segment.prune(&predicate).unwrap().0;
                let projection = Projection { attributes: AttributeSelection::None, ..Projection::default() };
                let mut left: Vec<i64> = Vec::new();
                for rows in segment.read(&ranges, &projection).unwrap() {
                    left.extend(rows.unwrap().timestamp.values());
                }
                left_rows.set(left_rows.get() + left.len());
                let of_time = |time: &i64| &lines[((time - i64::from(DAY) * DAY_NS) / 1_000_003) as usize];
                left.retain(|time| wanted(of_time(time)));
                left.sort_unstable();
                prop_assert_eq!(left, scanned);
                Ok(())
            },
        )
        .unwrap();
    let left_rows = left_rows.get();
    assert!(left_rows < 256 * 6_000 / 2, "{left_rows} rows are left: the index decides nothing");
}
