//! Metrics through every door, read back by PromQL; kills while they come in.

use std::time::{Duration, Instant};

use prost::Message;
use serde_json::{Value, json};

use crate::harness::{Folder, Server};

/// `prometheus.WriteRequest`, as far as these tests need it.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// `io.prometheus.write.v2.Request`, as far as these tests need it.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeries2>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

const T: i64 = 1_700_000_000_000;
const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let label = |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
    let sample = |&(timestamp, value): &(i64, f64)| Sample { value, timestamp };
    TimeSeries { labels: labels.iter().map(label).collect(), samples: samples.iter().map(sample).collect() }
}

fn packed(message: &impl Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap()
}

/// Name, labels and all samples of every series of a tenant, sorted.
fn everything(server: &Server, tenant: &str) -> Vec<String> {
    let time = (T / 1000 + 1000).to_string();
    let parameters = [("query", r#"{__name__=~".+"}[1h]"#), ("time", time.as_str())];
    let answer = server.get_as(tenant, "/api/v1/query", &parameters).ok().json();
    let mut found: Vec<String> = answer["data"]["result"]
        .as_array()
        .expect("series")
        .iter()
        .map(|series| format!("{} {}", series["metric"], series["values"]))
        .collect();
    found.sort();
    found
}

#[track_caller]
fn check(server: &Server, tenant: &str, expected: &[(Value, Value)]) {
    let mut expected: Vec<String> = expected.iter().map(|(metric, values)| format!("{metric} {values}")).collect();
    expected.sort();
    assert_eq!(everything(server, tenant), expected, "{tenant}");
}

#[test]
fn what_is_written_remotely_is_read_back() {
    let folder = Folder::new();
    let server = Server::start_with(&folder, &["--set", "scrape.config=off"]);
    let write = |tenant: &str, content_type: &str, body: &[u8]| {
        let headers = [("X-Scope-OrgID", tenant), ("Content-Encoding", "snappy")];
        server.post("/api/v1/write", content_type, &headers, body)
    };
    let good = series(&[("__name__", "a"), ("job", "x")], &[(T, 1.5), (T + 1000, f64::INFINITY), (T + 1000, 2.5)]);
    assert_eq!(write("v1", V1, &packed(&WriteRequest { timeseries: vec![good.clone()] })).status, 204);
    let expected = (json!({"__name__": "a", "job": "x"}), json!([[1_700_000_000, "1.5"], [1_700_000_001, "2.5"]]));
    check(&server, "v1", std::slice::from_ref(&expected));

    // One series without a name: the other one stays.
    let bad = series(&[("job", "x")], &[(T, 1.0)]);
    let partly = write("partly", V1, &packed(&WriteRequest { timeseries: vec![bad, good] }));
    assert_eq!((partly.status, partly.body.contains("no metric name")), (400, true), "{}", partly.body);
    check(&server, "partly", &[expected]);

    let symbols = ["", "__name__", "b"].map(str::to_owned).to_vec();
    let samples = vec![Sample { value: 7.0, timestamp: T }];
    let request = WriteRequest2 { symbols, timeseries: vec![TimeSeries2 { labels_refs: vec![1, 2], samples }] };
    let second = write("v2", V2, &packed(&request));
    assert_eq!((second.status, second.header("X-Prometheus-Remote-Write-Samples-Written")), (204, Some("1")));
    check(&server, "v2", &[(json!({"__name__": "b"}), json!([[1_700_000_000, "7"]]))]);

    for (content_type, body, status) in [
        ("application/json", &b"{}"[..], 415),
        ("application/x-protobuf;proto=other.Request", b"", 415),
        (V1, b"no snappy", 400),
        (V2, b"no snappy", 400),
    ] {
        assert_eq!(write("wrong", content_type, body).status, status, "{content_type}");
    }
    server.stop(&[]);
}

#[test]
fn text_lines_and_otlp_are_read_back() {
    let folder = Folder::new();
    let server = Server::start_with(&folder, &["--set", "scrape.config=off"]);
    let of = |tenant| [("X-Scope-OrgID", tenant)];

    let text = format!("# TYPE hits counter\nhits{{path=\"/\"}} 3 {T}\n");
    let path = "/farol/api/v1/ingest/prometheus?job=batch&extra_label=env=test";
    assert_eq!(server.post(path, "text/plain", &of("text"), text).status, 204);
    let hits = json!({"__name__": "hits", "env": "test", "job": "batch", "path": "/"});
    check(&server, "text", &[(hits, json!([[1_700_000_000, "3"]]))]);

    let lines = format!("cpu,host=a idle=99.5,user=1i {T}\nbroken\n");
    let answer = server.post("/influx/write?db=telegraf&precision=ms", "text/plain", &of("influx"), lines);
    let said = "partial write: unable to parse 'broken': missing fields dropped=1";
    assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some(said)));
    let cpu = |field: &str| json!({"__name__": format!("cpu_{field}"), "db": "telegraf", "host": "a"});
    let (idle, user) = ((cpu("idle"), json!([[1_700_000_000, "99.5"]])), (cpu("user"), json!([[1_700_000_000, "1"]])));
    check(&server, "influx", &[idle.clone(), user]);
    let second = "/influx/api/v2/write?bucket=telegraf&precision=s";
    assert_eq!(server.post(second, "text/plain", &of("influx2"), "cpu,host=a idle=99.5 1700000000").status, 204);
    check(&server, "influx2", &[idle]);
    assert_eq!(server.get("/influx/ping", &[]).status, 204);
    let made = server.get("/influx/query", &[("q", "CREATE DATABASE \"telegraf\"")]).ok().json();
    assert_eq!(made, json!({"results": [{"statement_id": 0}]}));

    let point = json!({"timeUnixNano": (T * 1_000_000).to_string(), "asInt": "5"});
    let sum = json!({"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point]});
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    let metrics = json!([{"name": "orders", "sum": sum}, {"name": "odd", "sum": {"dataPoints": [point]}}]);
    let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]});
    let answer = server.post_json("/v1/metrics", &of("otlp"), &body).ok().json();
    assert_eq!(answer["partialSuccess"]["rejectedDataPoints"], "1", "{answer}");
    let orders = json!({"__name__": "orders_total", "job": "shop"});
    check(&server, "otlp", &[(orders, json!([[1_700_000_000, "5"]]))]);
    server.stop(&[]);
}

/// The scraper reads its file again when it is told to.
#[test]
fn what_is_scraped_is_read_back() {
    let folder = Folder::new();
    let file = folder.log().with_file_name("scrape.yml");
    let job = |name: &str, target: &str| {
        format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: {name}, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
    };
    std::fs::write(&file, job("first", "127.0.0.1:1")).unwrap();
    let server = Server::start_with(&folder, &["--set", &format!("scrape.config={}", file.display())]);
    let wait_for = |query: &str, wanted: &str| {
        let begun = Instant::now();
        loop {
            let answer = server.get("/api/v1/query", &[("query", query)]).ok().json();
            if answer["data"]["result"][0]["value"][1] == wanted {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{query}: {answer}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for(r#"up{job="first"}"#, "0");
    std::fs::write(&file, job("second", server.address())).unwrap();
    server.post("/-/reload", "", &[], "").ok();
    wait_for(r#"up{job="second"}"#, "1");
    wait_for(r#"farol_build_info{job="second"}"#, "1");
    std::fs::write(&file, "scrape_configs: 5\n").unwrap();
    let refused = server.post("/-/reload", "", &[], "");
    assert_eq!((refused.status, refused.body.contains("scrape.yml")), (500, true), "{}", refused.body);
    server.stop(&["could not be read again"]);
}

/// Every batch has the next ten samples of three series. After each kill, each of them is there exactly once; of the batch
/// that was on its way all or nothing. `FAROL_KILLS` asks for more than a few.
#[test]
fn no_acknowledged_sample_is_lost_or_doubled_by_kills() {
    const SAMPLES: i64 = 10;
    let kills: u64 = std::env::var("FAROL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let folder = Folder::new();
    // Small enough that flushes and compactions are killed as well.
    let settings = ["--set", "scrape.config=off", "--set", "storage.memtable_age=200ms"];
    let (mut batches, mut random) = (0, 0x2545_F491_4F6C_DD1D_u64);
    for kill in 0..=kills {
        let server = Server::start_with(&folder, &settings);
        let stored: Vec<i64> = (0..3).map(|of| stored_samples(&server, of)).collect();
        assert!(stored.iter().all(|&count| count == stored[0]), "after {kill} kills: {stored:?}");
        let whole = stored[0] / SAMPLES;
        assert!(
            stored[0] % SAMPLES == 0 && (batches..=batches + 1).contains(&whole),
            "after {kill} kills: {} samples of a series, {batches} batches were acknowledged",
            stored[0]
        );
        batches = whole;
        if kill == kills {
            server.stop(&[]);
            break;
        }
        let address = server.address().to_owned();
        let sender = std::thread::spawn(move || send_until_killed(&address, batches, SAMPLES));
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(50 + random % 700));
        server.kill();
        batches = sender.join().unwrap();
    }
    assert!(batches > 0, "nothing was ever acknowledged");
}

/// Gives how many batches are acknowledged.
fn send_until_killed(address: &str, mut batches: i64, samples: i64) -> i64 {
    let agent = ureq::Agent::new_with_defaults();
    loop {
        let all: Vec<(i64, f64)> = (batches * samples..(batches + 1) * samples).map(|i| (T + i, i as f64)).collect();
        let timeseries = ["0", "1", "2"].map(|of| series(&[("__name__", "crash"), ("of", of)], &all)).to_vec();
        let request = agent.post(format!("http://{address}/api/v1/write")).header("Content-Type", V1);
        match request.send(&packed(&WriteRequest { timeseries })[..]) {
            Ok(answer) => assert_eq!(answer.status(), 204),
            Err(ureq::Error::StatusCode(status)) => panic!("the batch was refused with {status}"),
            Err(_) => return batches,
        }
        batches += 1;
    }
}

/// How many samples a series has; each must be there once, in order, with its value.
fn stored_samples(server: &Server, of: usize) -> i64 {
    let query = format!("crash{{of=\"{of}\"}}[1d]");
    let time = (T / 1000 + 80_000).to_string();
    let answer = server.get("/api/v1/query", &[("query", &query), ("time", &time)]).ok().json();
    let Some(values) = answer["data"]["result"][0]["values"].as_array() else { return 0 };
    for (at, value) in values.iter().enumerate() {
        assert_eq!(value[1].as_str(), Some(at.to_string().as_str()), "sample {at} of series {of}");
    }
    values.len() as i64
}
