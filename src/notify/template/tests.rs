//! Templates of messages, with Alertmanager's functions and data.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::notify::target::testing::{message, resolved_message};

#[track_caller]
fn check(template: &str, expected: &str) {
    assert_eq!(message().text(template).unwrap(), expected, "{template}");
}

#[test]
fn alertmanagers_data_is_there() {
    check("{{ .Receiver }} {{ .Status }} {{ .ExternalURL }}", "ops firing http://farol.example");
    check("{{ .GroupLabels }} {{ .CommonLabels.severity }} {{ .CommonLabels.nothing }}.", "job=api critical .");
    check(
        "{{ range .CommonLabels.SortedPairs }}{{ .Name }}={{ .Value }};{{ end }}",
        "alertname=HighErrors;job=api;severity=critical;",
    );
    check(r#"{{ .CommonLabels.Names | join "," }}"#, "alertname,job,severity");
    check(r#"{{ (.CommonLabels.Remove .GroupLabels.Names).Values | join "," }}"#, "HighErrors,critical");
    check("{{ .Alerts.Firing | len }} {{ len .Alerts.Resolved }}", "1 0");
    check(
        r#"{{ range .Alerts }}{{ .StartsAt.Format "15:04" }} {{ .Labels.job }} {{ .Annotations.summary }}{{ end }}"#,
        "12:00 api Many errors in api",
    );
    check(r#"{{ (index .Alerts 0).GeneratorURL }}"#, "http://farol.example/query");
    check(r#"{{ range $k, $v := .GroupLabels }}{{ $k }}:{{ $v }}{{ end }}"#, "job:api");
}

#[test]
fn alertmanagers_functions_are_there() {
    check(r#"{{ .Status | toUpper }} {{ title "a b" }} {{ match "^fi" .Status }}"#, "FIRING A B true");
    check(r#"{{ reReplaceAll "(.)r" "$1-" .Status }} {{ stringSlice "a" "b" | join "+" }}"#, "fi-ing a+b");
    check(r#"{{ (index .Alerts 0).StartsAt | tz "Europe/Berlin" | date "15:04 MST" }}"#, "13:00 CET");
    check("{{ since (index .Alerts 0).StartsAt | humanizeDuration }}", "1m 0s");
    check("{{ .GroupLabels | toJson }}", r#"{"job":"api"}"#);
    check(r#"{{ (dict "a" (list 1 2)) | toJson }}"#, r#"{"a":[1,2]}"#);
}

/// What fired and since when, the value against the threshold, the expression, the lines, and the links.
#[test]
fn every_wording_explains_itself() {
    for name in ["farol.text", "farol.markdown", "farol.mrkdwn", "farol.html.short", "email.default.html"] {
        let template = format!("{{{{ template {name:?} . }}}}");
        let message = message();
        let said = if name.contains("html") { message.html(&template) } else { message.text(&template) }.unwrap();
        for part in [
            "Many errors in api",
            "Over half of all requests fail.",
            "2026-11-28 12:00:00 UTC",
            "0.75",
            "rate(errors[5m])",
            "12:00:00.000 payment",
            "http://farol.example/query",
            "http://farol.example/#/silences/new?filter=",
            "https://runbooks.example/errors",
            "severity=critical",
        ] {
            assert!(said.contains(part), "{name} lacks {part}: {said}");
        }
        let raw = said.contains("payment <failed> & lost");
        assert_eq!(raw, name == "farol.text" || name == "farol.markdown", "{name}: {said}");
    }
    let over = resolved_message().text(r#"{{ template "farol.text" . }}"#).unwrap();
    assert!(over.contains("[RESOLVED]") && over.contains("resolved 2026-11-28 12:30:00 UTC"), "{over}");
}

#[test]
fn files_go_before_what_is_built_in() {
    let file = (
        PathBuf::from("my.tmpl"),
        r#"{{ define "slack.default.title" }}mine {{ template "__subject" . }}{{ end }}"#.to_owned(),
    );
    let templates = Templates::new([file].iter()).unwrap();
    let said = templates.text(r#"{{ template "slack.default.title" . }}"#, &message().data, 0).unwrap();
    assert_eq!(said, "mine [FIRING:1] HighErrors api: Many errors in api");
    let broken = (PathBuf::from("/etc/broken.tmpl"), "{{ if }}".to_owned());
    let why = Templates::new([broken].iter()).unwrap_err();
    assert!(why.starts_with("/etc/broken.tmpl: "), "{why}");
}
