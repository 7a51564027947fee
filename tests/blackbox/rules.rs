//! `farol rules`: files checked, unit tests run, alerts tried on what a server has stored.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use serde_json::json;

use crate::harness::{Folder, Server, farol};

const RULES: &str = r#"
groups:
- name: app
  language: logql
  interval: 1m
  rules:
  - alert: Errors
    expr: sum by (app) (count_over_time({app="shop"} |= "error" [1m])) > 0
    for: 1m
    labels: {severity: page}
    annotations: {summary: '{{ $labels.app }}: {{ $value }} errors'}
"#;

fn rules(arguments: &[&str], files: &[&PathBuf]) -> (Option<i32>, String, String) {
    let mut command = farol(&["rules"]);
    let Output { status, stdout, stderr } = command.args(arguments).args(files).output().expect("runs");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

fn file(folder: &Folder, name: &str, text: &str) -> PathBuf {
    fs::create_dir_all(folder.data()).expect("folder");
    let path = folder.data().join(name);
    fs::write(&path, text).expect("file");
    path
}

#[test]
fn check_tells_every_mistake_and_lints() {
    let folder = Folder::new();
    let good = file(&folder, "good.yml", RULES);
    let (code, out, err) = rules(&["check"], &[&good]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("SUCCESS: 1 rules found"), "{out}");

    let bad = RULES.replace("> 0", "> > 0").replace("$labels.app", "$nosuch");
    let bad = file(&folder, "bad.yml", &bad);
    let (code, out, err) = rules(&["check"], &[&bad, &good]);
    assert_eq!(code, Some(1));
    assert!(out.contains("FAILED") && out.contains("SUCCESS"), "{out}");
    assert!(err.contains("bad.yml:7: ") && err.contains("undefined variable"), "{err}");

    let twice = "groups: [{name: a, rules: [{record: x, expr: up}, {record: x, expr: down}]}]";
    let twice = file(&folder, "twice.yml", twice);
    assert_eq!(rules(&["check"], &[&twice]).0, Some(0));
    let (code, out, _) = rules(&["check", "--lint-fatal"], &[&twice]);
    assert_eq!(code, Some(3));
    assert!(out.contains("2 duplicate records of x{}"), "{out}");
    assert_eq!(rules(&["check", "--lint-fatal", "--no-lint"], &[&twice]).0, Some(0));
}

#[test]
fn a_short_form_is_written_out_and_read_again() {
    let folder = Folder::new();
    let slo = "groups: [{name: s, rules: [{slo: {name: shop, objective: 99.5, errors: 'sum(rate(bad[$window]))', total: 'sum(rate(all[$window]))'}}]}]";
    let (code, out, err) = rules(&["check", "--expand"], &[&file(&folder, "slo.yml", slo)]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("slo:errors:ratio_rate3d") && out.contains("> 0.072"), "{out}");
    let (code, out, err) = rules(&["check"], &[&file(&folder, "expanded.yml", &out)]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("SUCCESS: 15 rules found"), "{out}");
}

#[test]
fn unit_tests_pass_and_fail() {
    let folder = Folder::new();
    file(&folder, "rules.yml", RULES);
    let test = r#"
rule_files: [rules.yml]
tests:
- name: errors
  input_streams:
  - {stream: '{app="shop"}', lines: [fine, {line: an error, repeat: 3}]}
  alert_rule_test:
  - {eval_time: 1m, alertname: Errors}
  - eval_time: 2m
    alertname: Errors
    exp_alerts: [{exp_labels: {app: shop, severity: page}, exp_annotations: {summary: 'shop: 1 errors'}}]
"#;
    let (code, out, err) = rules(&["test"], &[&file(&folder, "test.yml", test)]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("SUCCESS"), "{out}");
    let wrong = file(&folder, "wrong.yml", &test.replace("eval_time: 2m", "eval_time: 9m"));
    let (code, out, err) = rules(&["test"], &[&wrong]);
    assert_eq!(code, Some(1));
    assert!(out.contains("FAILED") && err.contains("alertname: Errors, time: 9m"), "{out}{err}");
    assert_eq!(rules(&["test", "--run", "other"], &[&wrong]).0, Some(0));
}

/// Errors from 00:10 to 00:14 of a day: the alert waits a minute, fires, and ends when the last error is a minute old.
#[test]
fn a_backtest_says_when_an_alert_would_have_fired() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let day = 1_767_225_600_u64;
    let lines: Vec<_> = (0..30)
        .map(|minute| {
            let line = if (10..=14).contains(&minute) { "an error" } else { "fine" };
            json!([((day + minute * 60) * 1_000_000_000).to_string(), line])
        })
        .collect();
    let body = json!({"streams": [{"stream": {"app": "shop"}, "values": lines}]});
    assert_eq!(server.post_json("/loki/api/v1/push", &[], &body).status, 204);
    let path = folder.log().with_file_name("rules.yml");
    fs::write(&path, RULES).expect("file");
    let (code, out, err) = rules(
        &["backtest", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:30:00Z", "--url", server.url()],
        &[&path],
    );
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("would have fired once, for 4m in all, 4m at most"), "{out}");
    assert!(
        out.contains("2026-01-01T00:11:00Z to 2026-01-01T00:15:00Z  4m  {app=\"shop\", severity=\"page\"}"),
        "{out}"
    );
    server.stop(&[]);
}
