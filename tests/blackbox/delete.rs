//! Deletions over Loki's API.

use serde_json::{Value, json};

use crate::harness::{Folder, Server};

fn push(server: &Server, app: &str, from: u64) {
    let values: Vec<Value> = (from..from + 100)
        .map(|i| json!([(i * 1_000_000_000).to_string(), format!("line {i} of user u{}", i % 5)]))
        .collect();
    let body = json!({"streams": [{"stream": {"app": app}, "values": values}]});
    assert_eq!(server.post_json("/loki/api/v1/push", &[], &body).status, 204);
}

#[test]
fn deleted_lines_are_never_seen_again() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    push(&server, "web", 0);
    server.flush();
    push(&server, "web", 100);
    push(&server, "db", 0);
    let path = "/loki/api/v1/delete?start=50&end=149&query=%7Bapp%3D%22web%22%7D%20%7C%3D%20%22u3%22";
    let answer = server.post(path, "application/x-www-form-urlencoded", &[], "");
    assert_eq!(answer.status, 204);
    let left = |server: &Server| {
        assert_eq!(server.lines(r#"{app="web"}"#).len(), 180);
        assert_eq!(server.lines(r#"{app="web"} |= "u3""#).len(), 20);
        assert_eq!(server.lines(r#"{app="db"} |= "u3""#).len(), 20);
        let asked = [("query", r#"sum(count_over_time({app="web"}[1h]))"#), ("time", "1000")];
        let counted = server.get("/loki/api/v1/query", &asked).ok().json();
        assert_eq!(counted["data"]["result"][0]["value"][1], "180");
        let sql = json!({"query": "select count(*) as n from logs where message like '%u3'"});
        let rows = server.post_json("/farol/api/v1/sql", &[("Accept", "application/json")], &sql).ok().json();
        assert_eq!(rows, json!([{"n": 40}]));
    };
    left(&server);
    server.kill();
    let server = Server::start(&folder);
    left(&server);
    server.flush();
    left(&server);
    let listed = server.get("/loki/api/v1/delete", &[]).ok().json();
    assert_eq!(listed[0]["status"], "processed");
    assert_eq!((&listed[0]["start_time"], &listed[0]["end_time"]), (&json!(50), &json!(149)));
    assert_eq!(listed[0]["query"], r#"{app="web"} |= "u3""#);
    assert_eq!(server.get_as("other", "/loki/api/v1/delete", &[]).ok().json(), json!([]));

    for (parameters, message) in [
        ("start=1", "query not set"),
        ("query=%7Bapp%3D%22web%22%7D", "start time not set"),
        ("query=%7Bapp%3D%22web%22%7D&start=soon", "invalid start time"),
        ("query=%7Bapp%3D%22web%22%7D&start=9&end=4", "start time can't be greater than end time"),
        ("query=%7Bapp%3D%22web%22%7D&start=9&end=9999999999", "deletes in the future"),
        ("query=sum(rate(%7Bapp%3D%22web%22%7D%5B1m%5D))&start=9", "log query"),
    ] {
        let answer = server.post(&format!("/loki/api/v1/delete?{parameters}"), "text/plain", &[], "");
        assert_eq!(answer.status, 400, "{parameters}");
        assert!(answer.body.contains(message), "{parameters}: {}", answer.body);
    }
    server.stop(&[]);
}
