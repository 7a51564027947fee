//! Rule files: what is read, and every mistake with its line.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const FILE: &str = r#"
groups:
  - name: web
    interval: 30s
    query_offset: 1m
    limit: 7
    labels: {team: core, severity: none}
    rules:
      - record: job:requests:rate5m
        expr: sum by (job) (rate(requests_total[5m]))
      - alert: High
        expr: job:requests:rate5m{job="a"} > 100
        for: 5m
        keep_firing_for: 10m
        labels: {severity: page, code: 7}
        annotations: {summary: "{{ $value }} of {{ $labels.job }}"}
  - name: logs
    language: logql
    rules:
      - alert: Errors
        expr: sum(count_over_time({app="x"} |= "error" [5m])) > 5
        no_data: alert
        on_error: ok
"#;

fn mistakes(text: &str) -> Vec<String> {
    parse_file(text, "a.yml", Language::Promql).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn prometheus_files_are_read() {
    let groups = parse_file(FILE, "a.yml", Language::Promql).unwrap();
    assert_eq!(groups.len(), 2);
    let web = &groups[0];
    assert_eq!((web.interval_ms, web.query_offset_ms, web.limit), (30_000, Some(60_000), 7));
    let (record, alert) = (&web.rules[0], &web.rules[1]);
    assert_eq!(record.kind, RuleKind::Recording);
    assert_eq!(record.labels["team"], "core");
    let alerting = alert.alerting().unwrap();
    assert_eq!((alerting.for_ms, alerting.keep_firing_for_ms), (300_000, 600_000));
    assert_eq!((alerting.no_data, alerting.on_error, alerting.lines), (Verdict::Ok, Verdict::Keep, 0));
    assert_eq!((alert.labels["severity"].as_str(), alert.labels["code"].as_str()), ("page", "7"));
    assert_eq!(alert.line, 11);
    assert_eq!(alert.query.threshold(&alert.expr).unwrap(), "> 100");
    assert_eq!(alert.query.metric_names().unwrap(), ["job:requests:rate5m"]);
    let logs = &groups[1].rules[0];
    assert_eq!(logs.query.threshold(&logs.expr).unwrap(), "> 5");
    let alerting = logs.alerting().unwrap();
    assert_eq!((alerting.no_data, alerting.on_error, alerting.lines), (Verdict::Alert, Verdict::Ok, 5));
}

#[test]
fn files_without_groups_are_no_mistake() {
    for text in ["", "# nothing\n", "groups: []\n", "groups:\n", "---\n"] {
        assert_eq!(parse_file(text, "a.yml", Language::Promql).unwrap(), [], "{text:?}");
    }
}

/// An id outlives a change of the expression, and tells rules apart that differ in nothing else.
#[test]
fn ids_stay_and_differ() {
    let ids = |text: &str| -> Vec<String> {
        let groups = parse_file(text, "a.yml", Language::Promql).unwrap();
        groups.iter().flat_map(|group| &group.rules).map(|rule| rule.id.clone()).collect()
    };
    let file = |expr: &str| {
        format!("groups: [{{name: g, rules: [{{alert: a, expr: {expr}}}, {{alert: a, expr: 'up < 2'}}]}}]")
    };
    let first = ids(&file("up"));
    assert_eq!(first, ids(&file("down")));
    assert_ne!(first[0], first[1]);
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let text = "groups:\n- name: a\n  rules:\n  - alert: x\n    expr: 'up ='\n  - record: y\n    expr: up\n    for: 1m\n  - expr: up\n- name: a\n";
    assert_eq!(
        mistakes(text).iter().map(|m| m.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect::<Vec<_>>(),
        [
            "a.yml:5: group \"a\", rule 1, \"x\"",
            "a.yml:6: group \"a\", rule 2, \"y\"",
            "a.yml:9: group \"a\", rule 3, \"\"",
            "a.yml:10: groupname",
        ]
    );
    let unknown = mistakes("groups:\n- name: a\n  rules:\n  - alert: x\n    exprs: up\n");
    assert!(unknown[0].starts_with("a.yml:5: ") && unknown[0].contains("exprs"), "{unknown:?}");
    let broken = mistakes("groups:\n- name: a\n  rules: [\n");
    assert!(broken[0].starts_with("a.yml:"), "{broken:?}");
}

#[test]
fn fields_that_do_not_fit_together_are_refused() {
    let rule = |rule: &str| mistakes(&format!("groups: [{{name: g, rules: [{rule}]}}]")).join(" ");
    for (text, part) in [
        ("{alert: a, record: b, expr: up}", "only one of 'record' and 'alert'"),
        ("{alert: a}", "field 'expr' must be set"),
        ("{alert: a, expr: 'up[5m]'}", "range vector"),
        ("{alert: a, expr: up, silent_source: {match: up, after: 5m}}", "only one of 'expr'"),
        ("{alert: a, silent_source: {match: up, after: 2d}}", "must be longer than after"),
        ("{alert: a, expr: up, labels: {__name__: x}}", "invalid label name"),
        ("{record: a, expr: up, annotations: {x: y}}", "invalid field 'annotations'"),
        ("{record: '{a}', expr: up}", "braces present"),
        ("{alert: a, expr: up, lines: 5}", "only a rule in LogQL"),
        ("{alert: a, expr: up, no_data: perhaps}", "perhaps"),
    ] {
        assert!(rule(text).contains(part), "{text}: {}", rule(text));
    }
    for (statement, part) in
        [("selec 1", "selec"), ("drop table logs", "one query"), ("select 1; select 2", "one query")]
    {
        let text = format!("groups: [{{name: g, language: sql, rules: [{{alert: a, expr: '{statement}'}}]}}]");
        assert!(mistakes(&text).join(" ").contains(part), "{statement}: {:?}", mistakes(&text));
    }
}

#[test]
fn silent_sources_are_expressions() {
    let expr = |language: &str, source: &str| {
        let text =
            format!("groups: [{{name: g, language: {language}, rules: [{{alert: a, silent_source: {source}}}]}}]");
        parse_file(&text, "a.yml", Language::Promql).unwrap()[0].rules[0].expr.clone()
    };
    assert_eq!(
        expr("promql", "{match: '{job=\"x\"}', after: 10m}"),
        "time() - max without (__name__) (ts_of_last_over_time({job=\"x\"}[1d])) > 600"
    );
    assert_eq!(
        expr("promql", "{match: up, after: 90s, forget: 2h, by: [job, instance]}"),
        "time() - max by (job, instance) (ts_of_last_over_time(up[2h])) > 90"
    );
    assert_eq!(
        expr("logql", "{match: '{app=~\".+\"}', after: 10m, by: [app]}"),
        "sum by (app) (count_over_time({app=~\".+\"}[1d])) unless sum by (app) (count_over_time({app=~\".+\"}[10m]))"
    );
}

#[test]
fn what_is_compared_is_the_data() {
    let compared = |text: &str, language: Language| {
        let query = Query::parse(text, language).unwrap();
        match query.compared() {
            Some(Query::Promql(expr)) => query::promql::print::print(&expr),
            Some(Query::Logql(expr)) => query::logql::to_line(&query::logql::Expr::Metric(*expr)),
            _ => "-".to_owned(),
        }
    };
    assert_eq!(compared("rate(a[5m]) > 5", Language::Promql), "rate(a[5m])");
    assert_eq!(compared("(a > 5) and on () b", Language::Promql), "a");
    assert_eq!(compared("a unless b", Language::Promql), "a");
    assert_eq!(compared("a > bool 5", Language::Promql), "-");
    assert_eq!(compared("absent(a)", Language::Promql), "-");
    assert_eq!(compared("rate({a=\"b\"}[5m]) > 5", Language::Logql), "rate({a=\"b\"}[5m])");
}
