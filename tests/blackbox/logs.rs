//! Logs in over every protocol, out over LogQL and SQL.

use serde_json::{Value, json};

use crate::harness::{Folder, Server};

const DAY: u64 = 86_400_000_000_000;

#[test]
fn every_door_leads_to_the_same_search() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let loki = json!({"streams": [{"stream": {"app": "door"}, "values": [
        ["1000", "over loki", {"user_id": "u7"}]]}]});
    assert_eq!(server.post_json("/loki/api/v1/push", &[], &loki).status, 204);
    let otlp = json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "door"}}]},
        "scopeLogs": [{"logRecords": [{
            "timeUnixNano": "2000", "severityNumber": 17, "severityText": "ERROR",
            "traceId": "5b8efff798038103d269b633813fc60c",
            "body": {"stringValue": "over otlp"},
            "attributes": [{"key": "user.id", "value": {"stringValue": "u7"}},
                           {"key": "tries", "value": {"intValue": "3"}}]}]}]}]});
    let answer = server.post_json("/v1/logs", &[], &otlp).ok();
    assert_eq!(answer.json(), json!({}), "partial_success is unset when all is accepted");
    let lines = "{\"time\":\"1970-01-01T00:00:00.000003Z\",\"message\":\"over lines\",\"service\":\"door\",\"user\":{\"id\":\"u7\"}}\n";
    let path = "/farol/api/v1/ingest/jsonlines?time_field=time&message_field=message&stream_fields=service";
    server.post(path, "application/x-ndjson", &[], lines).ok();

    for _ in 0..2 {
        assert_eq!(server.lines(r#"{service_name=~".+"}"#), ["over loki", "over otlp", "over lines"]);
        assert_eq!(server.lines(r#"{service_name=~".+"} | user_id="u7""#).len(), 3);
        assert_eq!(server.lines(r#"{service_name=~".+"} |= "otl""#), ["over otlp"]);
        assert_eq!(server.lines(r#"{service_name="door"} | trace_id="5b8efff798038103d269b633813fc60c""#).len(), 1);
        assert_eq!(server.lines(r#"{service_name=~".+"} | tries > 2 | detected_level="error""#), ["over otlp"]);
        let sql = json!({"query": "select count(*) as n from logs where user_id = 'u7'"});
        let rows = server.post_json("/farol/api/v1/sql", &[("Accept", "application/json")], &sql).ok().json();
        assert_eq!(rows, json!([{"n": 3}]));
        server.flush();
    }
    server.stop(&[]);
}

#[test]
fn a_retry_with_the_same_key_counts_once_also_across_a_restart() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let body = json!({"streams": [{"stream": {"app": "once"}, "values": [["1000", "line"]]}]});
    let key = [("Idempotency-Key", "order-17")];
    for _ in 0..2 {
        assert_eq!(server.post_json("/loki/api/v1/push", &key, &body).status, 204);
    }
    server.kill();
    let server = Server::start(&folder);
    assert_eq!(server.post_json("/loki/api/v1/push", &key, &body).status, 204);
    server.flush();
    server.kill();
    let server = Server::start(&folder);
    assert_eq!(server.post_json("/loki/api/v1/push", &key, &body).status, 204);
    assert_eq!(server.lines(r#"{app="once"}"#), ["line"]);
    let other = [("Idempotency-Key", "order-18")];
    assert_eq!(server.post_json("/loki/api/v1/push", &other, &body).status, 204);
    assert_eq!(server.lines(r#"{app="once"}"#), ["line", "line"]);
    server.stop(&[]);
}

#[test]
fn tenants_do_not_see_each_other() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    for tenant in ["blue", "green"] {
        let body = json!({"streams": [{"stream": {"app": tenant}, "values": [["1000", tenant]]}]});
        server.post_json("/loki/api/v1/push", &[("X-Scope-OrgID", tenant)], &body).ok();
    }
    for _ in 0..2 {
        assert_eq!(server.lines_as("blue", r#"{app=~".+"}"#), ["blue"]);
        assert_eq!(server.lines_as("green", r#"{app=~".+"}"#), ["green"]);
        assert_eq!(server.lines(r#"{app=~".+"}"#), Vec::<String>::new());
        let values = server.get_as("blue", "/loki/api/v1/label/app/values", &[("start", "0"), ("end", "2000")]);
        assert_eq!(values.ok().json()["data"], json!(["blue"]));
        server.flush();
    }
    let answer = server.post_json("/loki/api/v1/push", &[("X-Scope-OrgID", "../up")], &json!({"streams": []}));
    assert_eq!(answer.status, 400, "{}", answer.body);
    server.stop(&[]);
}

#[test]
fn bad_lines_do_not_sink_the_good_ones() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let body = "{\"msg\":\"one\",\"ts\":1}\nthis is no json\n{\"msg\":\"three\",\"ts\":3}\n";
    let answer = server.post("/farol/api/v1/ingest/jsonlines", "application/x-ndjson", &[], body);
    assert!((200..500).contains(&answer.status), "{answer:?}");
    assert!(answer.body.contains('2'), "the line number is named: {}", answer.body);
    assert_eq!(server.lines(r#"{service_name=~".+"}"#), ["one", "three"]);
    server.stop(&[]);
}

#[test]
fn what_cannot_be_taken_is_refused_in_the_protocols_terms() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let check = |path: &str, content_type: &str, headers: &[(&str, &str)], body: &[u8], status: u16| {
        let answer = server.post(path, content_type, headers, body);
        assert_eq!(answer.status, status, "{path} {content_type} {headers:?}: {}", answer.body);
        assert!(!answer.body.is_empty() && !answer.body.contains("panicked"), "a readable reason");
    };
    check("/v1/logs", "application/json", &[], b"{\"resourceLogs\": 5", 400);
    check("/v1/logs", "application/x-protobuf", &[], b"\xff\xff\xff\xff", 400);
    check("/v1/logs", "text/plain", &[], b"hello", 415);
    check("/v1/logs", "application/json", &[("Content-Encoding", "br")], b"hello", 415);
    check("/v1/logs", "application/json", &[("Content-Encoding", "gzip")], b"not gzip", 400);
    check("/loki/api/v1/push", "application/json", &[], b"{\"streams\": [", 400);
    check("/loki/api/v1/push", "application/x-protobuf", &[], b"\x00garbage", 400);
    let answer = server.get("/loki/api/v1/query_range", &[("query", "{app=")]);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("parse error at line 1"), "{}", answer.body);
    server.stop(&[]);
}

#[test]
fn counts_and_rates_agree_before_and_after_a_flush() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let base = 20_000 * DAY;
    for service in ["api", "web"] {
        let values: Vec<Value> = (0..600_u64)
            .map(|i| {
                let line =
                    format!("level={} took={}ms id={i:08x}", if i % 10 == 0 { "error" } else { "info" }, i % 100);
                json!([(base + i * 1_000_000_000).to_string(), line, {"code": (200 + i % 3).to_string()}])
            })
            .collect();
        server
            .post_json(
                "/loki/api/v1/push",
                &[],
                &json!({"streams": [{"stream": {"service": service}, "values": values}]}),
            )
            .ok();
    }
    let instant = |query: &str| -> Value {
        let time = (base + 600_000_000_000).to_string();
        server.get("/loki/api/v1/query", &[("query", query), ("time", &time)]).ok().json()["data"]["result"].clone()
    };
    let value = |query: &str| -> f64 {
        instant(query)[0]["value"][1].as_str().and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("{query}"))
    };
    for _ in 0..2 {
        assert_eq!(
            value(r#"sum(count_over_time({service=~".+"}[10m]))"#),
            1198.0,
            "the first second lies outside (t-10m, t]"
        );
        assert_eq!(value(r#"sum(count_over_time({service="api"} |= "level=error" [10m]))"#), 59.0);
        assert_eq!(value(r#"sum(count_over_time({service="api"} | logfmt | level="error" [10m]))"#), 59.0);
        assert_eq!(value(r#"sum(count_over_time({service="api"} | code="201" [10m]))"#), 200.0);
        assert_eq!(
            value(r#"max_over_time({service="api"} | logfmt | unwrap duration_seconds(took) [10m]) by (service)"#),
            0.099
        );
        assert_eq!(
            instant(r#"topk(1, sum by (code) (count_over_time({service="web"} | code="202" [10m])))"#)[0]["metric"],
            json!({"code": "202"})
        );
        assert_eq!(value(r#"sum(rate({service="api"}[10m])) * 600"#), 599.0);
        server.flush();
    }
    server.stop(&[]);
}

#[test]
fn volumes_over_time_are_told_at_the_ends_of_their_steps() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    // A record counts its text and eight bytes.
    let values: Vec<Value> =
        [12, 19, 20, 35, 40].iter().map(|second: &u64| json!([(second * 1_000_000_000).to_string(), "ab"])).collect();
    let body = json!({"streams": [{"stream": {"app": "v"}, "values": values}]});
    assert_eq!(server.post_json("/loki/api/v1/push", &[], &body).status, 204);
    for end in ["41", "40.5"] {
        let asked = [("query", r#"{app="v"}"#), ("start", "12"), ("end", end), ("step", "10")];
        let told = server.get("/loki/api/v1/index/volume_range", &asked).ok().json();
        let result = json!([{"metric": {"app": "v"}, "values":
            [[19.999, "20"], [29.999, "10"], [39.999, "10"], [end.parse::<f64>().expect("a number"), "10"]]}]);
        let whole = |mut result: Value| {
            let time = &mut result[0]["values"][3][0];
            *time = json!(time.as_f64());
            result
        };
        assert_eq!(whole(told["data"]["result"].clone()), whole(result), "until {end}");
    }
    let asked = [("query", r#"{app="v"}"#), ("start", "10"), ("end", "40"), ("step", "10")];
    let told = server.get("/loki/api/v1/index/volume_range", &asked).ok().json();
    assert_eq!(told["data"]["result"][0]["values"], json!([[19.999, "20"], [29.999, "10"], [40, "10"]]));
    server.stop(&[]);
}

#[test]
fn a_kept_answer_is_never_out_of_date() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let push = |time: u64| {
        let body = json!({"streams": [{"stream": {"app": "kept"}, "values": [[time.to_string(), "line"]]}]});
        server.post_json("/loki/api/v1/push", &[], &body).ok();
    };
    for round in 1..=4_u64 {
        push(round * 1000);
        // Twice, so that the second may come from the cache; after a flush, other parts hold the same records.
        for _ in 0..2 {
            assert_eq!(server.lines(r#"{app="kept"}"#).len() as u64, round);
        }
        if round == 2 {
            server.flush();
            assert_eq!(server.lines(r#"{app="kept"}"#).len() as u64, round);
        }
    }
    server.stop(&[]);
}
