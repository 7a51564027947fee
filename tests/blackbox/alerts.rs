//! Rules: they fire and resolve, their states survive a kill, broken files keep what they said.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Folder, Server};

/// How long something may take to come about before the test gives up.
const PATIENCE: Duration = Duration::from_secs(90);

#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return found;
        }
        sleep(Duration::from_millis(200));
    }
    panic!("not within {PATIENCE:?}: {what}");
}

fn push(server: &Server, line: &str) {
    let body = json!({ "app": "shop", "message": line }).to_string();
    let path = "/farol/api/v1/ingest/jsonlines?stream_fields=app&message_field=message";
    server.post(path, "application/x-ndjson", &[], body).ok();
}

fn put_rules(server: &Server, namespace: &str, yaml: &str) {
    server.post(&format!("/loki/api/v1/rules/{namespace}"), "application/yaml", &[], yaml).ok();
}

/// The rule of that name, as Prometheus's API shows it.
fn rule(server: &Server, name: &str) -> Option<Value> {
    let answer = server.get("/api/v1/rules", &[("rule_name[]", name)]).ok().json();
    answer["data"]["groups"][0]["rules"].as_array()?.first().cloned()
}

fn state(server: &Server, name: &str) -> String {
    rule(server, name).and_then(|rule| Some(rule["state"].as_str()?.to_owned())).unwrap_or_default()
}

fn samples(server: &Server, query: &str) -> Vec<Value> {
    let answer = server.get("/api/v1/query", &[("query", query)]).ok().json();
    answer["data"]["result"].as_array().cloned().unwrap_or_default()
}

const BOOM: &str = "
name: shop
interval: 1s
rules:
  - record: shop:boom:count
    expr: sum by (app) (count_over_time({app=\"shop\"} |= \"boom\" [8s]))
  - alert: Boom
    expr: sum by (app) (count_over_time({app=\"shop\"} |= \"boom\" [8s])) > 0
    for: 2s
    labels: {severity: page}
    annotations: {summary: \"{{ $labels.app }} has {{ $value }}\"}
";

#[test]
fn a_rule_over_logs_fires_tells_why_and_resolves() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    put_rules(&server, "team", BOOM);
    push(&server, "all is well");
    push(&server, "boom 1");
    until("firing", || (state(&server, "Boom") == "firing").then_some(()));
    let shown = rule(&server, "Boom").expect("the rule");
    assert_eq!(shown["alerts"][0]["labels"], json!({ "alertname": "Boom", "app": "shop", "severity": "page" }));
    assert_eq!(shown["alerts"][0]["annotations"]["summary"], "shop has 1");
    assert_eq!(shown["alerts"][0]["value"], "1e+00");
    let alerts = until("the series ALERTS", || {
        Some(samples(&server, "ALERTS{alertstate=\"firing\"}")).filter(|s| !s.is_empty())
    });
    assert_eq!(alerts[0]["metric"]["alertname"], "Boom");
    assert_eq!(samples(&server, "shop:boom:count")[0]["metric"]["app"], "shop");

    let listed = server.get("/farol/api/v1/rules", &[]).ok().json();
    let rules = listed["groups"][0]["rules"].as_array().expect("rules").clone();
    let id = rules.iter().find(|rule| rule["name"] == "Boom").expect("Boom")["id"].as_str().expect("an id").to_owned();
    let explained = server.get(&format!("/farol/api/v1/rules/{id}/explain"), &[]).ok().json();
    assert_eq!(explained["alerts_now"][0]["state"], "firing");
    let lines = explained["alerts_now"][0]["lines"].to_string();
    assert!(lines.contains("boom 1") && !lines.contains("well"), "{lines}");
    assert!(explained["evaluations"].as_array().is_some_and(|all| all.iter().any(|one| one["holds"] == true)));

    until("resolved", || (state(&server, "Boom") == "inactive").then_some(()));
    let history = |to: &str| server.lines(&format!("{{source=\"farol_alerts\"}} | rule=\"Boom\" | to=\"{to}\""));
    assert_eq!((history("pending").len(), history("firing").len(), history("inactive").len()), (1, 1, 1));
    until("ALERTS ends", || samples(&server, "ALERTS").is_empty().then_some(()));
    server.stop(&[]);
}

/// The alert waits on where it was, and its history says each thing once.
#[test]
fn a_kill_while_an_alert_waits_changes_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    put_rules(&server, "team", &BOOM.replace("for: 2s", "for: 6s").replace("[8s]", "[10m]"));
    push(&server, "boom 1");
    until("pending", || (state(&server, "Boom") == "pending").then_some(()));
    let since = rule(&server, "Boom").expect("the rule")["alerts"][0]["activeAt"].clone();
    server.kill();

    let server = Server::start(&folder);
    let alert = rule(&server, "Boom").expect("the rule")["alerts"][0].clone();
    assert_eq!(alert["activeAt"], since);
    until("firing", || (state(&server, "Boom") == "firing").then_some(()));
    assert_eq!(rule(&server, "Boom").expect("the rule")["alerts"][0]["activeAt"], since);
    server.kill();

    let server = Server::start(&folder);
    assert_eq!(state(&server, "Boom"), "firing");
    let history = |to: &str| server.lines(&format!("{{source=\"farol_alerts\"}} | rule=\"Boom\" | to=\"{to}\""));
    assert_eq!((history("pending").len(), history("firing").len()), (1, 1));
    server.stop(&[]);
}

#[test]
fn a_broken_file_keeps_what_it_said() {
    let folder = Folder::new();
    let rules = folder.data().with_file_name("rules");
    std::fs::create_dir_all(&rules).expect("a folder");
    let file = rules.join("a.yml");
    let group = |alert: &str| {
        format!("groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: {alert}\n    expr: vector(1)\n")
    };
    std::fs::write(&file, group("First")).expect("write");
    let config = folder.data().with_file_name("farol.toml");
    std::fs::write(&config, format!("[rules]\nfolder = {:?}\n", rules)).expect("write");
    let server = Server::start_with(&folder, &["--config", config.to_str().expect("a path")]);
    until("firing", || (state(&server, "First") == "firing").then_some(()));

    std::fs::write(&file, group("First").replace("vector(1)", "vector(1")).expect("write");
    let mistake = until("the mistake is told", || {
        let listed = server.get("/farol/api/v1/rules", &[]).ok().json();
        listed["mistakes"].as_array()?.first().cloned()
    });
    assert_eq!(mistake["line"], 6);
    assert_eq!(state(&server, "First"), "firing");

    std::fs::write(&file, group("Second")).expect("write");
    until("the other rule fires", || (state(&server, "Second") == "firing").then_some(()));
    assert_eq!(rule(&server, "First"), None);
    let over = server.lines("{source=\"farol_alerts\"} | rule=\"First\" | to=\"inactive\"");
    assert_eq!(over.len(), 1);
    server.stop(&["rules stay as they were"]);
}

/// A stream that was sending and has stopped fires a rule that does not name it.
#[test]
fn a_source_that_stops_is_missed() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let rules = "
name: silence
interval: 1s
rules:
  - alert: Silent
    silent_source: {match: '{app=~\".+\"}', after: 5s, forget: 1h, by: [app]}
";
    put_rules(&server, "team", rules);
    push(&server, "the last line");
    let other = || {
        let path = "/farol/api/v1/ingest/jsonlines?stream_fields=app&message_field=message";
        server.post(path, "application/x-ndjson", &[], r#"{"app":"chatty","message":"still here"}"#).ok();
    };
    let alert = until("firing", || {
        other();
        let rule = rule(&server, "Silent")?;
        (rule["state"] == "firing").then(|| rule["alerts"].clone())
    });
    assert_eq!(alert.as_array().map(Vec::len), Some(1), "{alert}");
    assert_eq!(alert[0]["labels"], json!({ "alertname": "Silent", "app": "shop" }));
    push(&server, "back again");
    until("resolved", || {
        other();
        (state(&server, "Silent") == "inactive").then_some(())
    });
    server.stop(&[]);
}

/// Pages of groups lead from one to the next until all were seen.
#[test]
fn groups_come_in_pages() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    for name in ["a", "b", "c"] {
        put_rules(&server, "team", &format!("name: {name}\nrules: [{{record: x, expr: \"vector(1)\"}}]\n"));
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let mut query = vec![("group_limit", "2")];
        if !token.is_empty() {
            query.push(("group_next_token", &token));
        }
        let data = server.get("/api/v1/rules", &query).ok().json()["data"].clone();
        let groups = data["groups"].as_array().expect("groups");
        seen.extend(groups.iter().filter_map(|group| group["name"].as_str().map(str::to_owned)));
        match data["groupNextToken"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => break,
        }
    }
    assert_eq!(seen, ["a", "b", "c"]);
    server.stop(&[]);
}

#[test]
fn lokis_ruler_api_takes_and_gives_groups() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    assert_eq!(server.get("/loki/api/v1/rules", &[]).status, 404);
    put_rules(&server, "team", BOOM);
    let all = server.get("/loki/api/v1/rules", &[]).ok().body;
    assert!(all.starts_with("team:") && all.contains("record: shop:boom:count"), "{all}");
    let one = server.get("/loki/api/v1/rules/team/shop", &[]).ok().body;
    assert!(one.contains("interval: 1s"), "{one}");
    let wrong = server.post("/loki/api/v1/rules/team", "application/yaml", &[], BOOM.replace("sum by", "sum bye"));
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("rule 1, \"shop:boom:count\""), "{}", wrong.body);
    assert_eq!(server.get_as("other", "/loki/api/v1/rules", &[]).status, 404);
    server.kill();

    let server = Server::start(&folder);
    assert_eq!(server.get("/loki/api/v1/rules/team/shop", &[]).ok().body, one);
    assert_eq!(server.delete("/loki/api/v1/rules/team/shop").status, 202);
    assert_eq!(server.delete("/loki/api/v1/rules/team").status, 404);
    server.stop(&[]);
}
