//! Prometheus's functions in templates.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// Answers every query but `nothing` and `broken` with two samples.
struct Two;

impl Querier for Two {
    fn query(&self, expr: &str) -> Result<Vec<QueriedSample>, String> {
        let sample = |instance: &str, value: f64| QueriedSample {
            labels: texts(&[("__name__", "up"), ("instance", instance), ("__value__", "text")]),
            value: Number::Float(value),
        };
        match expr {
            "nothing" => Ok(Vec::new()),
            "broken" => Err("no such thing".to_owned()),
            _ => Ok(vec![sample("b", 21.5), sample("a", 11.0)]),
        }
    }
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn data() -> Data {
    Data {
        labels: texts(&[("job", "api"), ("instance", "host-1.example.com:9100")]),
        external_labels: texts(&[("region", "eu")]),
        external_url: "https://farol.example.com:7600/some/path".to_owned(),
        value: Number::Float(0.25),
        at_ms: 1_700_000_000_500,
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(expand("alert", text, &data(), &Two).as_deref(), Ok(expected), "{text}");
}

#[track_caller]
fn fails(text: &str, expected: &str) {
    assert_eq!(expand("alert", text, &data(), &Two), Err(expected.to_owned()), "{text}");
}

#[test]
fn variables_and_fields() {
    check("no template } here", "no template } here");
    check("{{ $labels.job }} {{ .Labels.job }} {{ $labels.nosuch }}|{{ $value }} {{ .Value }}", "api api |0.25 0.25");
    check(
        "{{ $externalLabels.region }} {{ .ExternalLabels.region }} {{ $externalURL }}",
        "eu eu https://farol.example.com:7600/some/path",
    );
    check(
        "{{ range $name, $value := $labels }}{{ $name }}={{ $value }};{{ end }}",
        "instance=host-1.example.com:9100;job=api;",
    );
    check(
        "{{ $labels }} {{ index $labels \"job\" }} {{ len .Labels }}",
        "map[instance:host-1.example.com:9100 job:api] api 2",
    );
    check("{{ if eq $labels.job \"api\" }}yes{{ end }}{{ with $labels.nosuch }}x{{ else }}none{{ end }}", "yesnone");
    check("{{ define \"t\" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template \"t\" (args 1 \"two\") }}", "1-two");
}

#[test]
fn queries() {
    check("{{ query \"up\" | first | value }} {{ (query \"up\" | first).Labels.instance }}", "21.5 b");
    check(
        "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}:{{ .Value }} {{ end }}",
        "a:11 b:21.5 ",
    );
    check("{{ with query \"up\" }}{{ . | first | label \"instance\" }}{{ . | first | strvalue }}{{ end }}", "btext");
    check("{{ with query \"nothing\" }}x{{ else }}none{{ end }}{{ query \"up\" | len }}", "none2");
    check("{{ query \"up\" | first | label \"nosuch\" }}{{ printf \"%.1f\" (query \"up\" | first | value) }}", "21.5");
    fails(
        "{{ query \"nothing\" | first }}",
        "error executing template alert: template: alert:1:21: executing \"alert\" at <first>: error calling first: first() called on vector with no elements",
    );
    fails(
        "{{ query \"broken\" }}",
        "error executing template alert: template: alert:1:3: executing \"alert\" at <query \"broken\">: error calling query: no such thing",
    );
    fails(
        "{{ (query \"nothing\").nosuch }}",
        "error executing template alert: template: alert:1:10: executing \"alert\" at <\"nothing\">: can't evaluate field nosuch in type template.queryResult",
    );
    fails(
        "{{ first 5 }}",
        "error executing template alert: template: alert:1:9: executing \"alert\" at <5>: expected template.queryResult; found 5",
    );
}

#[test]
fn numbers_for_people() {
    check(
        "{{ humanize 0.0 }} {{ humanize 7.0 }} {{ humanize 2345678.0 }} {{ humanize 0.0123 }} {{ humanize \"1500\" }} {{ humanize -4000 }}",
        "0 7 2.346M 12.3m 1.5k -4k",
    );
    check(
        "{{ humanize1024 0.5 }} {{ humanize1024 2048 }} {{ humanize1024 5368709120.0 }} {{ humanize1024 \"1\" }}",
        "0.5 2ki 5Gi 1",
    );
    check(
        "{{ humanizeDuration 0 }} {{ humanizeDuration 12.3456 }} {{ humanizeDuration 61.5 }} {{ humanizeDuration 3661 }} {{ humanizeDuration -90061.0 }}",
        "0s 12.35s 1m 1s 1h 1m 1s -1d 1h 1m 1s",
    );
    check(
        "{{ humanizeDuration 0.25 }} {{ humanizeDuration 0.000002 }} {{ humanizeDuration \"59.9\" }}",
        "250ms 2us 59.9s",
    );
    check(
        "{{ humanizePercentage 0.12344 }} {{ humanizePercentage \"2\" }} {{ $value | humanizePercentage }}",
        "12.34% 200% 25%",
    );
    check(
        "{{ humanizeTimestamp 1700000000.5 }} {{ humanizeTimestamp \"-1\" }}",
        "2023-11-14 22:13:20.5 +0000 UTC 1969-12-31 23:59:59 +0000 UTC",
    );
    check(
        "{{ range (args \"+Inf\" \"NaN\") }}{{ humanize . }} {{ humanize1024 . }} {{ humanizeDuration . }} {{ humanizeTimestamp . }};{{ end }}",
        "+Inf +Inf +Inf +Inf;NaN NaN NaN NaN;",
    );
    fails(
        "{{ humanize \"one\" }}",
        "error executing template alert: template: alert:1:3: executing \"alert\" at <humanize \"one\">: error calling humanize: strconv.ParseFloat: parsing \"one\": invalid syntax",
    );
    fails(
        "{{ humanizeTimestamp 1e30 }}",
        "error executing template alert: template: alert:1:3: executing \"alert\" at <humanizeTimestamp 1e30>: error calling humanizeTimestamp: 1e+30 cannot be represented as a nanoseconds timestamp since it overflows int64",
    );
}

#[test]
fn times() {
    check("{{ now }} {{ (now | toTime).Format \"15:04:05.000\" }}", "1.7000000005e+09 22:13:20.500");
    check("{{ (toTime \"1700000000\").Year }} {{ (90 | toDuration).String }} {{ toDuration 0.5 }}", "2023 1m30s 500ms");
    check(
        "{{ (\"-1h\" | parseDuration | toDuration | (now | toTime).Add).Unix }} {{ parseDuration \"1h30m\" }}",
        "1699996400 5400",
    );
    check("{{ (now | toTime).AddDate 0 1 0 }}", "2023-12-14 22:13:20.5 +0000 UTC");
}

#[test]
fn texts_and_links() {
    check("{{ title \"it's a bAD day\" }} {{ toUpper \"é\" }} {{ toLower \"ÀB\" }}", "It's A BAD Day É àb");
    check("{{ match \"^a.c$\" \"abc\" }} {{ reReplaceAll \"(.*)-[0-9]+\" \"$1\" \"host-17\" }}", "true host");
    check(
        "{{ graphLink \"up == 0\" }} {{ tableLink \"up\" }}",
        "/graph?g0.expr=up+%3D%3D+0&g0.tab=0 /graph?g0.expr=up&g0.tab=1",
    );
    check(
        "{{ pathPrefix }} {{ externalURL }} {{ urlQueryEscape \"a b&c\" }} {{ safeHtml \"<b>\" }}",
        "/some/path https://farol.example.com:7600/some/path a+b%26c <b>",
    );
}

#[test]
fn hosts() {
    for (given, port, domain) in [
        ("db.example.com", "db.example.com", "db"),
        ("db.example.com:5432", "db.example.com", "db:5432"),
        ("10.1.2.3:80", "10.1.2.3", "10.1.2.3:80"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3"),
        ("fe80::1", "fe80::1", "fe80::1"),
        ("[fe80::1]:80", "fe80::1", "[fe80::1]:80"),
        ("[fe80::1]::80", "[fe80::1]::80", "[fe80::1]::80"),
    ] {
        check(
            &format!("{{{{ stripPort \"{given}\" }}}} {{{{ stripDomain \"{given}\" }}}}"),
            &format!("{port} {domain}"),
        );
    }
}

#[test]
fn malformed_texts_are_found_before_they_are_filled() {
    assert_eq!(read("alert", "{{ $labels.job }}").err(), None);
    assert_eq!(read("alert", "{{ $nosuch }}").err().unwrap(), "template: alert:1: undefined variable \"$nosuch\"");
    assert_eq!(
        read("alert", "{{ humanise 5 }}").err().unwrap(),
        "template: alert:1: function \"humanise\" not defined"
    );
    assert_eq!(
        read("alert", "{{\u{a0}}}").err().unwrap(),
        "template: alert:1: unrecognized character in action: U+00A0"
    );
    fails("{{", "error parsing template alert: template: alert:1: unclosed action");
}

/// What would not end, or fill the memory, fails.
#[test]
fn bounds() {
    let long = "{{ range $i := 2000000 }}{{ end }}";
    assert!(expand("alert", long, &data(), &Two).unwrap_err().ends_with("the template does too much"));
    let grows = "{{ $x := \"aaaaaaaaaa\" }}{{ range $i := 100 }}{{ $x = print $x $x }}{{ end }}";
    let error = expand("alert", grows, &data(), &Two).unwrap_err();
    assert!(error.contains("does too much") || error.contains("too long"), "{error}");
    let nests = "{{ $x := args 1 }}{{ range $i := 100 }}{{ $x = args $x $x }}{{ end }}{{ $x }}";
    assert!(expand("alert", nests, &data(), &Two).unwrap_err().contains("more than 10000 values"));
    let calls = "{{ define \"r\" }}{{ if true }}{{ if true }}{{ if true }}{{ template \"r\" }}{{ end }}{{ end }}{{ end }}{{ end }}{{ template \"r\" }}";
    assert!(expand("alert", calls, &data(), &Two).unwrap_err().contains("nested too deeply"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// No text makes reading or filling panic.
    #[test]
    fn never_panics(parts in prop::collection::vec(prop_oneof![
        r"\{\{|\}\}|\{\{- | -\}\}|\(|\)|\||:=|=|,|\$x|\$labels|\$value|\.Labels\.job|\.Value|\.|\$",
        "if |else|end|range |with |define |template |break|continue|nil|true",
        "query |first |label |value |sortByLabel |strvalue |args |humanize |humanize1024 |humanizeDuration |humanizeTimestamp ",
        "toTime |toDuration |now|parseDuration |stripPort |stripDomain |title |match |reReplaceAll |printf |index |slice |call ",
        "\"[a-z%0-9.é:\\[\\]-]{0,6}\"|[0-9]{1,3}|-[0-9]|1e309|-1e19|1\\.5|\\.Format |\\.Add |\\.AddDate |\\.Round ",
        " ",
    ], 0..24)) {
        let _ = expand("alert", &parts.concat(), &data(), &Two);
    }
}
