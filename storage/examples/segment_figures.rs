//! Figures of writing and reading segments, on JSON lines like those of a load generator:
//! `segment_figures FILE.jsonl... [--rows N]`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs, reason = "an example")]

use std::sync::Arc;
use std::time::Instant;

use storage::segment::{Lineage, Segment, SegmentOrder, WriteOptions, write_segment};
use storage::{
    AttributeSelection, Labels, Level, LogBatchBuilder, NOT_OBSERVED, Needle, Predicate, Projection, RealDisk, Stream,
    Tenant, Value,
};

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}

fn main() {
    let mut builder = LogBatchBuilder::default();
    let files: Vec<String> = std::env::args().skip(1).collect();
    for file in &files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let v: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
            let s = |k: &str| v[k].as_str().unwrap().to_owned();
            let stream = builder.stream(Stream::new(
                Labels::new([
                    ("service", s("service.name")),
                    ("namespace", s("k8s.namespace.name")),
                    ("severity", s("severity")),
                ]),
                Labels::default(),
            ));
            for (k, x) in &v {
                let key = k.replace('.', "_");
                if ["timestamp", "message", "severity", "service_name", "k8s_namespace_name"].contains(&key.as_str()) {
                    continue;
                }
                let k = builder.key(&key);
                if key == "trace_id" {
                    let t = x.as_str().unwrap();
                    let b: Vec<u8> = (0..16).map(|i| u8::from_str_radix(&t[i * 2..i * 2 + 2], 16).unwrap()).collect();
                    builder.attribute(k, Value::Hex(&b));
                } else {
                    let text = x.as_str().map_or_else(|| x.to_string(), str::to_owned);
                    builder.attribute(k, Value::Str(&text));
                }
            }
            let t = s("timestamp");
            let sec: i64 = t[8..10].parse::<i64>().unwrap() * 86400
                + t[11..13].parse::<i64>().unwrap() * 3600
                + t[14..16].parse::<i64>().unwrap() * 60
                + t[17..19].parse::<i64>().unwrap();
            let us: i64 = t[20..26].parse().unwrap();
            builder.finish_record(
                stream,
                (1_748_649_600 + sec) * 1_000_000_000 + us * 1000,
                NOT_OBSERVED,
                Level::Info,
                v["message"].as_str().unwrap(),
            );
        }
    }
    let batch = Arc::new(builder.build());
    let folder = tempfile::tempdir().unwrap();
    let tenant = Tenant::new("default").unwrap();
    let (c, t) = (cpu(), Instant::now());
    let path = folder.path().join("1");
    let order = SegmentOrder { id: 1, tenant, day: 20240, created_ns: 0, lineage: Lineage::default() };
    let meta = write_segment(&RealDisk, &path, order, std::slice::from_ref(&batch), &WriteOptions::default()).unwrap();
    let n = batch.len() as f64;
    println!(
        "{} rows, write {:.2} us CPU a row ({:.2} wall), parquet {:.2} index {:.2} bytes a row, {} streams",
        n,
        (cpu() - c) * 1e6 / n,
        t.elapsed().as_secs_f64() * 1e6 / n,
        meta.parquet_bytes as f64 / n,
        meta.index_bytes as f64 / n,
        meta.streams
    );
    let segment = Segment::open(&(Arc::new(RealDisk) as Arc<dyn storage::Disk>), &path, meta).unwrap();
    segment.verify().unwrap();
    for needle in [
        "5f0c7b1e-93ad-4d26-b8e4-1c6a9e02d7f3",
        "quota ledger desynchronised",
        "Qorvex",
        "timeout",
        "zyxqvortex7731ulm",
    ] {
        let predicate = Predicate {
            message: vec![vec![Needle { text: needle.into(), ignore_case: false }]],
            ..Predicate::default()
        };
        segment.prune(&predicate).unwrap();
        let t = Instant::now();
        let ranges = segment.prune(&predicate).unwrap();
        let pruned = t.elapsed();
        let t = Instant::now();
        let mut hits = 0;
        for rows in segment.read(&ranges, &Projection { message: true, ..Projection::default() }).unwrap() {
            hits += rows.unwrap().message.unwrap().iter().filter(|m| m.unwrap().contains(needle)).count();
        }
        println!(
            "{needle}: prune {pruned:?}, {} rows left, {hits} hits in {:?}",
            ranges.iter().map(|r| r.len()).sum::<usize>(),
            t.elapsed()
        );
    }
    let all = [0..segment.row_count()];
    for (name, projection) in [
        ("timestamp", Projection::default()),
        ("message", Projection { message: true, ..Projection::default() }),
        (
            "url_path",
            Projection { attributes: AttributeSelection::Keys(vec!["url_path".into()]), ..Projection::default() },
        ),
        (
            "user_id",
            Projection { attributes: AttributeSelection::Keys(vec!["user_id".into()]), ..Projection::default() },
        ),
        (
            "trace_id",
            Projection { attributes: AttributeSelection::Keys(vec!["trace_id".into()]), ..Projection::default() },
        ),
        (
            "duration_ms",
            Projection { attributes: AttributeSelection::Keys(vec!["duration_ms".into()]), ..Projection::default() },
        ),
    ] {
        let t = Instant::now();
        let count: usize = segment.read(&all, &projection).unwrap().map(|r| r.unwrap().timestamp.len()).sum();
        println!("read {name}: {count} rows in {:?}", t.elapsed());
    }
    if std::env::var_os("KEEP").is_some() {
        println!("{}", folder.keep().display());
    }
}
