//! `farol rules test`: files that pass, and files that must fail.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const RULES: &str = r#"
groups:
- name: web
  rules:
  - record: job:requests:rate1m
    expr: sum by (job) (rate(requests_total[2m]))
  - alert: Busy
    expr: job:requests:rate1m > 1
    for: 2m
    labels: {severity: '{{ if gt $value 5.0 }}page{{ else }}ticket{{ end }}'}
    annotations:
      summary: '{{ $labels.job }} at {{ $value | humanize }}/s in {{ $externalLabels.region }}'
      others: '{{ with query "count(job:requests:rate1m)" }}{{ . | first | value }}{{ end }}'
- name: logs
  language: logql
  rules:
  - alert: Errors
    expr: sum by (app) (count_over_time({app="api"} |= "error" [5m])) > 1
    annotations: {summary: '{{ $labels.app }} logged {{ $value }} errors'}
"#;

const TEST: &str = r#"
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
- name: busy
  interval: 1m
  external_labels: {region: eu}
  input_series:
  - {series: 'requests_total{job="a"}', values: '0+600x10'}
  - {series: 'requests_total{job="b"}', values: '0+6x10'}
  input_streams:
  - {stream: '{app="api"}', lines: [started, an error, '', {line: another error, repeat: 2}]}
  alert_rule_test:
  - eval_time: 2m
    alertname: Busy
  - eval_time: 4m
    alertname: Busy
    exp_alerts:
    - exp_labels: {job: a, severity: page}
      exp_annotations: {summary: a at 10/s in eu, others: "2"}
  - eval_time: 2m
    alertname: Errors
  - eval_time: 4m
    alertname: Errors
    exp_alerts:
    - exp_labels: {app: api}
      exp_annotations: {summary: api logged 3 errors}
  promql_expr_test:
  - expr: job:requests:rate1m
    eval_time: 5m
    exp_samples:
    - {labels: 'job:requests:rate1m{job="b"}', value: 0.1}
    - {labels: 'job:requests:rate1m{job="a"}', value: 10}
  - expr: count by (alertname, alertstate) (ALERTS)
    eval_time: 4m
    exp_samples:
    - {labels: '{alertname="Busy", alertstate="firing"}', value: 1}
    - {labels: '{alertname="Errors", alertstate="firing"}', value: 1}
  logql_expr_test:
  - expr: sum(count_over_time({app="api"}[10m]))
    eval_time: 5m
    exp_samples: [{value: 4}]
"#;

fn run_text(rules: &str, test: &str) -> Result<(), Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    run_file(&folder.path().join("test.yml"), test, &[], Language::Promql)
}

#[test]
fn rules_over_series_and_lines_fire_as_expected() {
    assert_eq!(run_text(RULES, TEST), Ok(()));
}

#[track_caller]
fn fails(from: &str, to: &str, why: &str) {
    let test = TEST.replace(from, to);
    assert_ne!(test, TEST, "{from}");
    let errors = run_text(RULES, &test).unwrap_err();
    assert!(errors.len() == 1 && errors[0].contains(why), "{from}: {errors:#?}");
}

#[test]
fn what_is_otherwise_is_told() {
    fails("severity: page", "severity: ticket", "alertname: Busy, time: 4m");
    fails("logged 3", "logged 4", "got:[\n            0:\n              Labels:{alertname=\"Errors\", app=\"api\"}");
    fails("value: 0.1}", "value: 0.2}", "exp: job:requests:rate1m{job=\"a\"} 10, job:requests:rate1m{job=\"b\"} 0.2");
    fails("[{value: 4}]", "[{value: 5}]", "expr: \"sum(count_over_time({app=\\\"api\\\"}[10m]))\", time: 5m0s,");
    fails("[{value: 4}]", "[]", "exp: nil");
    fails("0+600x10", "0+600y10", "input_series: requests_total{job=\"a\"}");
    fails("interval: 1m\n  external", "intervall: 1m\n  external", "intervall");
    fails(
        "alertname: Errors\n    exp",
        "exp",
        "misses required attribute alertname at eval_time 4m (in TestGroup busy)",
    );
}

/// An expression that fails ends the test.
#[test]
fn rules_that_fail_end_the_test() {
    let rules = "groups: [{name: g, rules: [{record: x, expr: a * on () b}]}]";
    let test = "rule_files: [rules.yml]\ntests: [{input_series: [{series: a, values: 1}, {series: 'b{i=\"1\"}', values: 1}, {series: 'b{i=\"2\"}', values: 1}]}]";
    let errors = run_text(rules, test).unwrap_err();
    assert!(errors.len() == 1 && errors[0].starts_with("    rule: x, time: 0s, err: "), "{errors:#?}");
}

#[test]
fn only_the_tests_that_are_asked_for_run() {
    let text = "tests: [{name: good}, {name: bad, promql_expr_test: [{expr: '1', eval_time: 0}]}]";
    let run = |name: &str| run_file(Path::new("t.yml"), text, &[Regex::new(name).unwrap()], Language::Promql);
    assert_eq!(run("^good$"), Ok(()));
    assert!(run("bad").is_err());
}
