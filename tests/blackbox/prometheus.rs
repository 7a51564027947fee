//! Prometheus's API: samples in by remote write, out by every route.

use serde_json::{Value, json};

use crate::harness::{Answer, Folder, Server};

/// A series: labels, and samples of (milliseconds, value).
type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn field(out: &mut Vec<u8>, tag: u64, bytes: &[u8]) {
    varint(out, tag << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A body of remote write 1.0.
fn body(all: &[Series<'_>]) -> Vec<u8> {
    let mut request = Vec::new();
    for (labels, samples) in all {
        let mut series = Vec::new();
        for (name, value) in *labels {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut series, 1, &label);
        }
        for (time, value) in *samples {
            let mut sample = vec![1 << 3 | 1];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(2 << 3);
            varint(&mut sample, *time as u64);
            field(&mut series, 2, &sample);
        }
        field(&mut request, 1, &series);
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

fn write(server: &Server, all: &[Series<'_>]) {
    let answer = server.post("/api/v1/write", "application/x-protobuf", &[("content-encoding", "snappy")], body(all));
    assert_eq!(answer.status, 204, "{}", answer.body);
}

fn counters(server: &Server) {
    let up: &[(i64, f64)] = &[(1_000, 1.0), (61_000, 3.0), (121_000, 6.0)];
    write(
        server,
        &[
            (&[("__name__", "hits"), ("instance", "a"), ("job", "web")], up),
            (&[("__name__", "hits"), ("instance", "b"), ("job", "web")], up),
            (&[("__name__", "size"), ("job", "db")], &[(1_000, 0.5)]),
        ],
    );
}

fn data(answer: Answer) -> Value {
    let whole = answer.ok().json();
    assert_eq!(whole["status"], "success");
    whole["data"].clone()
}

fn refused(answer: &Answer, status: u16, kind: &str, error: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    let whole = answer.json();
    assert_eq!((&whole["status"], &whole["errorType"]), (&json!("error"), &json!(kind)));
    assert!(whole["error"].as_str().unwrap().contains(error), "{whole}");
}

#[test]
fn queries_are_answered_as_prometheus_does() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    counters(&server);
    for prefix in ["/api/v1", "/prometheus/api/v1"] {
        let instant = data(
            server.get(&format!("{prefix}/query"), &[("query", "sum by (job) (increase(hits[2m]))"), ("time", "121")]),
        );
        let expected = json!({"resultType": "vector", "result": [{"metric": {"job": "web"}, "value": [121, "12"]}]});
        assert_eq!(instant, expected);
    }
    server.flush();
    let range = data(server.post(
        "/api/v1/query_range",
        "application/x-www-form-urlencoded",
        &[],
        "query=hits%7Binstance%3D~%22a%7Cx%22%7D&start=1.5&end=121.5&step=60",
    ));
    assert_eq!(
        range,
        json!({"resultType": "matrix", "result": [{
            "metric": {"__name__": "hits", "instance": "a", "job": "web"},
            "values": [[1.5, "1"], [61.5, "3"], [121.5, "6"]],
        }]})
    );
    let scalar = server.get("/api/v1/query", &[("query", "1e30"), ("time", "0"), ("stats", "true")]).ok().json();
    assert_eq!(scalar["data"]["result"], json!([0, "1e+30"]));
    assert!(scalar["data"]["stats"]["samples"].is_object());
    let cut = server.get("/api/v1/query", &[("query", "hits"), ("time", "121"), ("limit", "1")]).ok().json();
    assert_eq!(
        (cut["data"]["result"].as_array().unwrap().len(), &cut["warnings"]),
        (1, &json!(["results truncated due to limit"]))
    );
    server.stop(&[]);
}

#[test]
fn what_is_wrong_is_said_in_prometheuss_words() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    counters(&server);
    let query = |query: &str| server.get("/api/v1/query", &[("query", query), ("time", "121")]);
    refused(&query("sum("), 400, "bad_data", "invalid parameter \"query\": 1:5: parse error");
    refused(&query("hits + on (job) hits"), 422, "execution", "");
    refused(&server.get("/api/v1/query", &[("query", "up"), ("time", "soon")]), 400, "bad_data", "\"soon\"");
    let range = |step: &str| {
        server.get("/api/v1/query_range", &[("query", "up"), ("start", "0"), ("end", "86400"), ("step", step)])
    };
    refused(&range("0"), 400, "bad_data", "zero or negative query resolution step widths");
    refused(&range("1"), 400, "bad_data", "exceeded maximum resolution of 11,000 points per timeseries");
    let late = server.get("/api/v1/query", &[("query", "sum(hits)"), ("timeout", "0.000000001")]);
    refused(&late, 503, "timeout", "");
    refused(&server.get("/api/v1/nosuch", &[]), 404, "not_found", "there is no /nosuch");
    refused(&server.get("/api/v1/series", &[]), 400, "bad_data", "no match[] parameter provided");
    refused(&server.get("/api/v1/series", &[("match[]", "{a=~\".*\"}")]), 400, "bad_data", "non-empty matcher");
    server.stop(&[]);
}

#[test]
fn labels_series_and_status_tell_what_there_is() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    counters(&server);
    let tenant = |path: &str, query: &[(&str, &str)]| data(server.get(path, query));
    let window: &[(&str, &str)] = &[("start", "0"), ("end", "200")];
    assert_eq!(tenant("/api/v1/labels", window), json!(["__name__", "instance", "job"]));
    assert_eq!(tenant("/api/v1/label/job/values", window), json!(["db", "web"]));
    let matched = [("match[]", "hits{instance=\"b\"}"), ("match[]", "size")];
    assert_eq!(
        tenant("/api/v1/series", &matched),
        json!([
            {"__name__": "hits", "instance": "b", "job": "web"},
            {"__name__": "size", "job": "db"},
        ])
    );
    let stats = tenant("/api/v1/status/tsdb", &[]);
    let named = |value: &Value, name: &str| {
        value.as_array().unwrap().iter().find(|one| one["name"] == name).map(|one| one["value"].clone())
    };
    assert_eq!(named(&stats["seriesCountByMetricName"], "hits"), Some(json!(2)), "{stats}");
    assert_eq!(named(&stats["seriesCountByLabelValuePair"], "job=web"), Some(json!(2)), "{stats}");
    assert_eq!(tenant("/api/v1/status/buildinfo", &[])["branch"], "farol");
    assert_eq!(tenant("/api/v1/format_query", &[("query", "sum by(a)(b)")]), "sum by (a) (b)");
    assert_eq!(tenant("/api/v1/parse_query", &[("query", "up")])["type"], "vectorSelector");
    for path in ["status/runtimeinfo", "status/flags", "status/config", "alertmanagers", "targets", "metadata"] {
        assert!(tenant(&format!("/api/v1/{path}"), &[]).is_object(), "{path}");
    }
    server.stop(&[]);
}

#[test]
fn deleted_series_are_gone() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    counters(&server);
    let answer = server.post("/api/v1/admin/tsdb/delete_series?match[]=hits%7Binstance%3D%22a%22%7D", "", &[], "");
    assert_eq!(answer.status, 204, "{}", answer.body);
    let left = data(server.get("/api/v1/query", &[("query", "hits"), ("time", "121")]));
    assert_eq!(left["result"].as_array().unwrap().len(), 1);
    assert_eq!(left["result"][0]["metric"]["instance"], "b");
    server.stop(&[]);
}

/// The same question about the same samples is answered from what is kept; a sample more, or less, is another answer.
#[test]
fn answers_are_kept_and_never_out_of_date() {
    let folder = Folder::new();
    let server = Server::start_with(&folder, &["--set", "scrape.config=off"]);
    counters(&server);
    let ask = |how: &str| {
        let form = "application/x-www-form-urlencoded";
        let body = "query=sum(hits)&start=0&end=180&step=60";
        let answer = server.post("/api/v1/query_range", form, &[("cache-control", how)], body).ok();
        let stats = answer.header("x-farol-stats").expect("the header").to_owned();
        let last = answer.json()["data"]["result"][0]["values"].as_array().expect("values").last().cloned();
        (stats.contains("cache=hit"), last.expect("a value")[1].clone())
    };
    assert_eq!(ask("max-age=0"), (false, "12".into()));
    assert_eq!(ask("max-age=0"), (true, "12".into()));
    assert_eq!(ask("no-store"), (false, "12".into()));
    let other: &[(&str, &str)] = &[("__name__", "hits"), ("instance", "c")];
    write(&server, &[(other, &[(130_000, 5.0)])]);
    assert_eq!(ask("max-age=0"), (false, "17".into()));
    server.flush();
    assert_eq!(ask("max-age=0"), (false, "17".into()));
    write(&server, &[(other, &[(10_000_000, 5.0)])]);
    assert_eq!(ask("max-age=0"), (true, "17".into()), "nothing new in that time");
    server.post("/api/v1/admin/tsdb/delete_series?match[]=hits%7Binstance%3D%22c%22%7D", "", &[], "");
    assert_eq!(ask("max-age=0"), (false, "12".into()));
}
