//! Start, stop, kill, restart: what was acknowledged stays, and a folder has one master.

use std::fs;

use serde_json::json;

use crate::harness::{Folder, Server, farol, files_below};

fn push(server: &Server, app: &str, entries: &[(u64, &str)]) {
    let values: Vec<_> = entries.iter().map(|(time, line)| json!([time.to_string(), line])).collect();
    let body = json!({"streams": [{"stream": {"app": app}, "values": values}]});
    assert_eq!(server.post_json("/loki/api/v1/push", &[], &body).status, 204);
}

#[test]
fn what_was_acknowledged_survives_kill_and_stop() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    push(&server, "a", &[(1_000, "first"), (2_000, "second")]);
    server.kill();

    let server = Server::start(&folder);
    assert_eq!(server.lines(r#"{app="a"}"#), ["first", "second"]);
    server.flush();
    push(&server, "a", &[(3_000, "third")]);
    server.kill();

    let server = Server::start(&folder);
    assert_eq!(server.lines(r#"{app="a"}"#), ["first", "second", "third"]);
    server.stop(&[]);

    let server = Server::start(&folder);
    assert_eq!(server.lines(r#"{app="a"}"#), ["first", "second", "third"]);
    server.stop(&[]);
    let verified = farol(&["verify", "--data"]).arg(folder.data()).output().expect("verify runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_second_process_on_the_folder_is_refused() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let second = farol(&["serve", "--http", "127.0.0.1:0", "--otlp-http", "off", "--otlp-grpc", "off", "--data"])
        .arg(folder.data())
        .output()
        .expect("runs");
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned() + &String::from_utf8_lossy(&second.stdout);
    assert!(said.contains("another"), "{said}");
    server.stop(&[]);
}

#[test]
fn a_folder_of_a_newer_version_is_refused_untouched() {
    let folder = Folder::new();
    fs::create_dir_all(folder.data()).expect("folder");
    fs::write(folder.data().join("VERSION"), "9999\n").expect("file");
    let refused = farol(&["serve", "--http", "127.0.0.1:0", "--otlp-http", "off", "--otlp-grpc", "off", "--data"])
        .arg(folder.data())
        .output()
        .expect("runs");
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("9999"), "{said}");
    let left: Vec<_> = files_below(&folder.data()).into_iter().filter(|p| !p.ends_with("LOCK")).collect();
    assert_eq!(left, [folder.data().join("VERSION")]);
    assert_eq!(fs::read_to_string(folder.data().join("VERSION")).expect("file"), "9999\n");
}

#[test]
fn a_damaged_segment_is_set_aside_and_the_rest_is_served() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    push(&server, "old", &[(1_000, "lost with its file")]);
    server.flush();
    push(&server, "new", &[(86_400_000_000_000 * 400, "kept")]);
    server.flush();
    server.stop(&[]);
    let damaged = files_below(&folder.data())
        .into_iter()
        .find(|p| p.to_string_lossy().contains("1970-01-01") && p.extension().is_some_and(|e| e == "index"))
        .expect("the segment of 1970-01-01");
    let mut bytes = fs::read(&damaged).expect("index");
    let middle = bytes.len() / 2;
    for byte in bytes.iter_mut().skip(middle / 2).take(middle) {
        *byte ^= 0x55;
    }
    fs::write(&damaged, bytes).expect("write");

    let verified = farol(&["verify", "--data"]).arg(folder.data()).output().expect("verify runs");
    assert!(!verified.status.success(), "verify says what is wrong");
    let server = Server::start(&folder);
    assert_eq!(server.lines(r#"{app=~".+"}"#), ["kept"]);
    let metrics = server.get("/metrics", &[]).ok().body;
    assert!(
        metrics.lines().any(|l| l.starts_with("farol_quarantined") && !l.ends_with(" 0")),
        "quarantine is counted: {metrics}"
    );
    server.stop(&["quarantin", "set aside", "damaged"]);
}

#[test]
fn every_mistake_of_a_configuration_is_listed() {
    let folder = Folder::new();
    let file = folder.log().with_file_name("farol.toml");
    fs::write(&file, "http = \"nonsense\"\nno_such_key = 1\n[storage]\nretention = \"soon\"\n").expect("file");
    let checked = farol(&["check-config", "--config"]).arg(&file).output().expect("runs");
    assert!(!checked.status.success());
    let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    for mistake in ["nonsense", "no_such_key", "soon"] {
        assert!(said.contains(mistake), "{mistake} is named: {said}");
    }
}
