//! Speed of each protocol's decoder on a body of 1,000 records of the reference load's shape: a message, a trace id and
//! six attributes, 20 streams.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

mod wire;

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ingest::exposition::Format;
use ingest::jsonlines::JsonLinesOptions;
use ingest::{Limits, exposition, jsonlines, loki, otlp_json, otlp_logs};

const RECORDS: usize = 1_000;
const STREAMS: usize = 20;
const NOW_NS: i64 = 1_748_736_000_000_000_000;

/// A record, as the load generator makes it.
struct Record {
    time: i64,
    message: String,
    trace: u128,
    /// All but the trace id.
    attributes: [(&'static str, String); 5],
}

fn records() -> impl Iterator<Item = Record> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..RECORDS).map(move |i| Record {
        time: NOW_NS + i as i64 * 1_000_003,
        message: format!(
            "GET /api/v2/orders/{}?page={} HTTP/1.1 status: 200 len: {} time: 0.2477829 from \"10.251.{}.80\"",
            next() % 100_000,
            next() % 9,
            next() % 65_536,
            next() % 256
        ),
        trace: u128::from(next()) << 64 | u128::from(next()),
        attributes: [
            ("http.method", ["GET", "PUT", "POST"][(next() % 3) as usize].to_owned()),
            ("http.status_code", ["200", "204", "404", "500"][(next() % 4) as usize].to_owned()),
            ("url.path", format!("/api/v2/items/{}", next() % 1_000)),
            ("duration_ms", format!("{}", (next() % 100_000) as f64 / 100.0)),
            ("user_id", format!("u{}", next() % 100_000)),
        ],
    })
}

/// Streams with their records, as an agent groups them.
fn streams() -> Vec<(String, Vec<Record>)> {
    let mut streams: Vec<_> = (0..STREAMS).map(|i| (format!("service-{i}"), Vec::new())).collect();
    for (i, record) in records().enumerate() {
        streams[i * 7 % STREAMS].1.push(record);
    }
    streams
}

fn otlp_protobuf_body() -> Vec<u8> {
    let mut body = Vec::new();
    for (service, records) in streams() {
        let mut scope_logs = Vec::new();
        for record in records {
            let mut one = Vec::new();
            wire::fixed64(&mut one, 1, record.time as u64);
            wire::number(&mut one, 2, 9);
            let mut text = Vec::new();
            wire::bytes(&mut text, 1, record.message.as_bytes());
            wire::bytes(&mut one, 5, &text);
            for (name, value) in &record.attributes {
                wire::bytes(&mut one, 6, &wire::key_value(name, value));
            }
            wire::bytes(&mut one, 9, &record.trace.to_be_bytes());
            wire::bytes(&mut scope_logs, 2, &one);
        }
        let mut resource = Vec::new();
        wire::bytes(&mut resource, 1, &wire::key_value("service.name", &service));
        let mut resource_logs = Vec::new();
        wire::bytes(&mut resource_logs, 1, &resource);
        wire::bytes(&mut resource_logs, 2, &scope_logs);
        wire::bytes(&mut body, 1, &resource_logs);
    }
    body
}

fn otlp_json_body() -> Vec<u8> {
    let text = |value: &str| serde_json::json!({ "stringValue": value });
    let resource_logs: Vec<_> = streams()
        .into_iter()
        .map(|(service, records)| {
            let records: Vec<_> = records
                .into_iter()
                .map(|record| {
                    let attributes: Vec<_> = record
                        .attributes
                        .iter()
                        .map(|(name, value)| serde_json::json!({ "key": name, "value": text(value) }))
                        .collect();
                    serde_json::json!({
                        "timeUnixNano": record.time.to_string(), "severityNumber": 9, "body": text(&record.message),
                        "attributes": attributes, "traceId": format!("{:032x}", record.trace),
                    })
                })
                .collect();
            let resource = serde_json::json!({ "attributes": [{ "key": "service.name", "value": text(&service) }] });
            serde_json::json!({ "resource": resource, "scopeLogs": [{ "logRecords": records }] })
        })
        .collect();
    serde_json::to_vec(&serde_json::json!({ "resourceLogs": resource_logs })).unwrap()
}

fn loki_protobuf_body() -> Vec<u8> {
    let mut body = Vec::new();
    for (service, records) in streams() {
        let mut stream = Vec::new();
        wire::bytes(&mut stream, 1, format!("{{service=\"{service}\", level=\"info\"}}").as_bytes());
        for record in records {
            let mut time = Vec::new();
            wire::number(&mut time, 1, (record.time / 1_000_000_000) as u64);
            wire::number(&mut time, 2, (record.time % 1_000_000_000) as u64);
            let mut entry = Vec::new();
            wire::bytes(&mut entry, 1, &time);
            wire::bytes(&mut entry, 2, record.message.as_bytes());
            wire::bytes(&mut entry, 3, &wire::pair("trace_id", &format!("{:032x}", record.trace)));
            for (name, value) in &record.attributes {
                wire::bytes(&mut entry, 3, &wire::pair(&name.replace('.', "_"), value));
            }
            wire::bytes(&mut stream, 2, &entry);
        }
        wire::bytes(&mut body, 1, &stream);
    }
    body
}

fn loki_json_body() -> Vec<u8> {
    let streams: Vec<_> = streams()
        .into_iter()
        .map(|(service, records)| {
            let values: Vec<_> = records
                .into_iter()
                .map(|record| {
                    let mut metadata = serde_json::Map::new();
                    metadata.insert("trace_id".to_owned(), format!("{:032x}", record.trace).into());
                    for (name, value) in record.attributes {
                        metadata.insert(name.replace('.', "_"), value.into());
                    }
                    serde_json::json!([record.time.to_string(), record.message, metadata])
                })
                .collect();
            serde_json::json!({ "stream": { "service": service, "level": "info" }, "values": values })
        })
        .collect();
    serde_json::to_vec(&serde_json::json!({ "streams": streams })).unwrap()
}

fn json_lines_body() -> Vec<u8> {
    let mut body = String::new();
    for (i, record) in records().enumerate() {
        let mut line = serde_json::Map::new();
        line.insert("timestamp".to_owned(), record.time.into());
        line.insert("message".to_owned(), record.message.into());
        line.insert("service".to_owned(), format!("service-{}", i % STREAMS).into());
        line.insert("trace_id".to_owned(), format!("{:032x}", record.trace).into());
        for (name, value) in record.attributes {
            line.insert(name.to_owned(), value.into());
        }
        writeln!(body, "{}", serde_json::Value::Object(line)).unwrap();
    }
    body.into_bytes()
}

/// Samples as a target exposes them.
fn exposition_body(open_metrics: bool) -> Vec<u8> {
    let mut body = String::from("# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n");
    for (i, record) in records().enumerate() {
        let [method, status, ..] = record.attributes;
        let (method, status) = (method.1, status.1);
        writeln!(
            body,
            "http_requests_total{{handler=\"/api/v2/items/{i}\",method=\"{method}\",status=\"{status}\"}} {}",
            record.time % 1_000_003
        )
        .unwrap();
    }
    if open_metrics {
        body = body.replace("# TYPE http_requests_total", "# TYPE http_requests") + "# EOF\n";
    }
    body.into_bytes()
}

fn decode(c: &mut Criterion) {
    let limits = Limits::default();
    let options = JsonLinesOptions { stream_fields: Some(vec!["service".to_owned()]), ..JsonLinesOptions::default() };
    let mut group = c.benchmark_group("decode 1,000 records");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let mut protocol = |name: &str, body: Vec<u8>, decode: &dyn Fn(&[u8]) -> usize| {
        assert_eq!(decode(&body), RECORDS, "{name}");
        group.bench_function(name, |b| b.iter(|| decode(black_box(&body))));
    };
    protocol("OTLP protobuf", otlp_protobuf_body(), &|body| {
        otlp_logs::decode(body, &limits, NOW_NS).unwrap().batch.len()
    });
    protocol("OTLP JSON", otlp_json_body(), &|body| otlp_json::decode(body, &limits, NOW_NS).unwrap().batch.len());
    protocol("Loki protobuf", loki_protobuf_body(), &|body| loki::decode_protobuf(body, &limits).unwrap().batch.len());
    protocol("Loki JSON", loki_json_body(), &|body| loki::decode_json(body, &limits).unwrap().batch.len());
    protocol("JSON lines", json_lines_body(), &|body| jsonlines::decode(body, &options, &limits, NOW_NS).batch.len());
    for (name, format) in [("Prometheus text", Format::Text), ("OpenMetrics text", Format::OpenMetrics)] {
        protocol(name, exposition_body(format == Format::OpenMetrics), &|body| {
            exposition::decode(body, format, &[], &limits, NOW_NS).unwrap().batch.len()
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = decode
}
criterion_main!(benches);
