//! Notifications: a configuration of Alertmanager, alerts from outside, a sink that misbehaves, and `kill -9`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Folder, Server};

const PATIENCE: Duration = Duration::from_secs(60);

/// What came to a path: its key and its body.
type Received = BTreeMap<String, Vec<(String, Value)>>;

/// Takes notifications. A path that begins with `/fail3` fails three times, one with `/hang` never answers.
#[derive(Clone)]
struct Sink {
    port: u16,
    accepted: Arc<Mutex<Received>>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let sink = Self { port, accepted: Arc::default() };
        let (accepted, tries) = (Arc::clone(&sink.accepted), Arc::new(Mutex::new(BTreeMap::<String, u32>::new())));
        spawn(move || {
            for stream in listener.incoming().flatten() {
                let (accepted, tries) = (Arc::clone(&accepted), Arc::clone(&tries));
                spawn(move || serve(stream, &accepted, &tries));
            }
        });
        sink
    }

    #[track_caller]
    fn wait_for(&self, path: &str, count: usize) -> Vec<(String, Value)> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let received = self.accepted.lock().expect("lock").get(path).cloned().unwrap_or_default();
            if received.len() >= count {
                return received;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("{path}: {:?}", self.accepted.lock().expect("lock"));
    }
}

fn serve(mut stream: TcpStream, accepted: &Mutex<Received>, tries: &Mutex<BTreeMap<String, u32>>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            return;
        }
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_lowercase().starts_with(name));
            line.and_then(|line| line.split_once(": ")).map_or_else(String::new, |(_, value)| value.to_owned())
        };
        if body.len() < header("content-length:").parse().unwrap_or(0) {
            continue;
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if path.starts_with("/hang") {
            sleep(PATIENCE);
            return;
        }
        let tried = {
            let mut tries = tries.lock().expect("lock");
            let tried = tries.entry(path.clone()).or_default();
            *tried += 1;
            *tried
        };
        let status = if path.starts_with("/fail3") && tried <= 3 { "500 No" } else { "200 OK" };
        if status == "200 OK" {
            let json = serde_json::from_str(body).unwrap_or(Value::Null);
            accepted.lock().expect("lock").entry(path).or_default().push((header("x-farol-notification:"), json));
        }
        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
}

fn config(folder: &Folder, text: &str) -> String {
    let path = folder.log().with_file_name("alertmanager.yml");
    std::fs::write(&path, text).expect("a file");
    format!("alerts.config={}", path.display())
}

fn start(folder: &Folder, config: &str) -> Server {
    Server::start_with(folder, &["--set", config, "--set", "alerts.retry_pause_max=1s"])
}

fn alert(name: &str, more: &Value) -> Value {
    let mut alert = json!({"labels": {"alertname": name, "job": "api"}, "annotations": {"summary": "s"}});
    alert.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    alert
}

const ALERTS: &str = "/alertmanager/api/v2/alerts";
const SILENCES: &str = "/alertmanager/api/v2/silences";

#[test]
fn alerts_from_outside_are_told_in_groups_and_when_they_are_over() {
    let (folder, sink) = (Folder::new(), Sink::start());
    let port = sink.port;
    let config = config(
        &folder,
        &format!(
            "route: {{receiver: ops, group_by: [job], group_wait: 200ms, group_interval: 500ms}}\n\
             receivers: [{{name: ops, webhook_configs: [{{url: 'http://127.0.0.1:{port}/ops'}},\
             {{url: 'http://127.0.0.1:{port}/hang/S3CRET', timeout: 1s}}, {{url: 'http://127.0.0.1:{port}/fail3'}}]}}]\n"
        ),
    );
    let server = start(&folder, &config);
    server.post_json(ALERTS, &[], &json!([alert("A", &json!({})), alert("B", &json!({}))])).ok();
    let told = sink.wait_for("/ops", 1);
    assert_eq!((&told[0].1["status"], &told[0].1["version"]), (&"firing".into(), &"4".into()));
    assert_eq!(told[0].1["alerts"].as_array().map(Vec::len), Some(2), "{told:?}");
    assert_eq!(told[0].1["groupKey"], r#"{}:{job="api"}"#);
    // What fails is tried again; what hangs holds nothing up.
    sink.wait_for("/fail3", 1);
    let ends = "2020-01-01T00:00:00Z";
    let over = json!({"startsAt": ends, "endsAt": ends});
    let shown = server.get(ALERTS, &[("filter", "alertname=A")]).ok().json();
    assert_eq!(shown[0]["status"]["state"], "active", "{shown}");
    let over_now = |name: &str| {
        let mut over = over.clone();
        over["startsAt"] = shown[0]["startsAt"].clone();
        over["endsAt"] = shown[0]["updatedAt"].clone();
        alert(name, &over)
    };
    sleep(Duration::from_millis(50));
    server.post_json(ALERTS, &[], &json!([over_now("A"), over_now("B")])).ok();
    let told = sink.wait_for("/ops", 2);
    assert_eq!(told.last().expect("a message").1["status"], "resolved", "{told:?}");
    let history = server.lines(r#"{source="farol_alerts"} | event="notification" | outcome="failed""#);
    assert!(history.iter().any(|line| line.contains("no answer within 1s")), "{history:?}");
    assert!(history.iter().any(|line| line.contains("status code 500")), "{history:?}");
    for page in [server.get("/metrics", &[]), server.get("/alertmanager/api/v2/status", &[])] {
        assert!(!page.ok().body.contains("S3CRET"));
    }
    assert!(!history.concat().contains("S3CRET") && !server.log_text().contains("S3CRET"));
}

/// Killed at any time, the server tells what it was to tell; what comes twice has the same key. `FAROL_KILLS` says how
/// often; it is a few times otherwise.
#[test]
fn what_was_taken_is_told_after_a_kill() {
    let kills = std::env::var("FAROL_KILLS").map_or(6, |kills| kills.parse::<u64>().expect("FAROL_KILLS is a number"));
    let (folder, sink) = (Folder::new(), Sink::start());
    let port = sink.port;
    let config = config(
        &folder,
        &format!(
            "route: {{receiver: ops, group_by: [alertname], group_wait: 300ms, group_interval: 1m}}\n\
             receivers: [{{name: ops, webhook_configs: [{{url: 'http://127.0.0.1:{port}/ops'}}]}}]\n"
        ),
    );
    let mut names = Vec::new();
    let mut server = start(&folder, &config);
    for round in 0..kills {
        let outside: Vec<String> = (0..5).map(|at| format!("A{}", round * 5 + at)).collect();
        let alerts: Vec<Value> = outside.iter().map(|name| alert(name, &json!({}))).collect();
        server.post_json(ALERTS, &[], &json!(alerts)).ok();
        let rule = format!("R{round}");
        let group = format!("name: {rule}\ninterval: 1s\nrules: [{{alert: {rule}, expr: vector(1)}}]\n");
        server.post("/loki/api/v1/rules/kills", "application/yaml", &[], group).ok();
        names.extend(outside);
        names.push(rule);
        // Before the groups' time, in the middle of it, and after.
        sleep(Duration::from_millis(round * 137 % 1_300));
        server.kill();
        server = start(&folder, &config);
    }
    let begun = Instant::now();
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    while keys.len() < names.len() && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(200));
        keys.clear();
        let told = sink.wait_for("/ops", 1);
        for (key, body) in told.iter().filter(|(_, body)| body["status"] == "firing") {
            let name = body["groupLabels"]["alertname"].as_str().expect("a name").to_owned();
            assert_eq!(keys.entry(name).or_insert_with(|| key.clone()), key, "{told:?}");
        }
    }
    let missing: Vec<&String> = names.iter().filter(|name| !keys.contains_key(*name)).collect();
    assert!(missing.is_empty(), "not told of {missing:?}");
}

#[test]
fn silences_are_made_shown_and_ended() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    server.post_json(ALERTS, &[], &json!([alert("A", &json!({}))])).ok();
    let silence = json!({
        "matchers": [{"name": "alertname", "value": "A", "isRegex": false}],
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2126-01-01T00:00:00Z",
        "createdBy": "ann", "comment": "known",
    });
    let id = server.post_json(SILENCES, &[], &silence).ok().json()["silenceID"].as_str().expect("an id").to_owned();
    let shown = server.get(ALERTS, &[]).ok().json();
    assert_eq!(shown[0]["status"]["silencedBy"], json!([id]), "{shown}");
    assert_eq!(server.get(ALERTS, &[("silenced", "false")]).ok().json(), json!([]));
    server.kill();
    let server = Server::start(&folder);
    let one = format!("/alertmanager/api/v2/silence/{id}");
    assert_eq!(server.get(&one, &[]).ok().json()["status"]["state"], "active");
    let mut weekly = silence.clone();
    weekly["recurrence"] = json!({"weekdays": ["saturday"], "startTime": "22:00", "duration": "9d"});
    let refused = server.post_json(SILENCES, &[], &weekly);
    assert!(refused.status == 400 && refused.body.contains("at most 1w"), "{refused:?}");
    weekly["recurrence"]["duration"] = "4h".into();
    server.post_json(SILENCES, &[], &weekly).ok();
    assert_eq!(server.get(SILENCES, &[]).ok().json().as_array().map(Vec::len), Some(2));
    assert_eq!(server.get("/alertmanager/api/v2/silence/none", &[]).status, 404);
}

/// A broken configuration does not start, and while the server runs the one before goes on.
#[test]
fn a_broken_configuration_is_named() {
    let (folder, sink) = (Folder::new(), Sink::start());
    let good = format!(
        "route: {{receiver: ops, group_wait: 100ms, group_interval: 300ms}}\n\
         receivers: [{{name: ops, webhook_configs: [{{url: 'http://127.0.0.1:{}/ops'}}]}}]\n",
        sink.port
    );
    let setting = config(&folder, &good);
    let server = start(&folder, &setting);
    config(&folder, "route: {receiver: nobody}\n");
    let answer = server.post("/alertmanager/-/reload", "text/plain", &[], "");
    assert!(answer.status == 500 && answer.body.contains("alertmanager.yml:1:8"), "{answer:?}");
    server.post_json(ALERTS, &[], &json!([alert("A", &json!({}))])).ok();
    sink.wait_for("/ops", 1);

    config(&folder, &good.replace("/ops", "/new"));
    server.reload();
    let begun = Instant::now();
    while !server.log_text().contains("settings were read again") {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log_text());
        sleep(Duration::from_millis(50));
    }
    server.post_json(ALERTS, &[], &json!([alert("B", &json!({}))])).ok();
    sink.wait_for("/new", 1);
}
