//! What is accepted, what is refused, and that a tree written out is read back as itself.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::logql::format::{pretty, to_line};

/// Parses, and shows the canonical line.
#[track_caller]
fn check(query: &str, line: &str) {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(to_line(&expr), line);
    for text in [to_line(&expr), pretty(&expr)] {
        let again = parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(again, expr, "{query} became {text}");
    }
}

#[track_caller]
fn refuse(query: &str, error: &str) {
    assert_eq!(parse(query).map(|e| to_line(&e)).unwrap_err().to_string(), error, "{query}");
}

#[test]
fn selectors() {
    check(r#"{app="web"}"#, r#"{app="web"}"#);
    check(r#" ( { a = "b" , c!="d",e=~`x\d`, f !~ "y" } ) "#, r#"{a="b", c!="d", e=~"x\\d", f!~"y"}"#);
    check("{a=\"x\\\"y\\u00e9\\n\"} # a comment", r#"{a="x\"yé\n"}"#);
    check("{a=\"x\"} // other\n/* and\n */ |= `y`", r#"{a="x"} |= "y""#);
    check(r#"{app=~"", env=~".+"}"#, r#"{app=~"", env=~".+"}"#);
    check(r#"{rate="x", ip="y", sum="z", bytes="w"}"#, r#"{rate="x", ip="y", sum="z", bytes="w"}"#);
}

#[test]
fn line_filters() {
    check(r#"{a="b"}|="x"!="y"|~"z"!~"w""#, r#"{a="b"} |= "x" != "y" |~ "z" !~ "w""#);
    check(r#"{a="b"} |> "<_> x" !> "y<_>""#, r#"{a="b"} |> "<_> x" !> "y<_>""#);
    check(r#"{a="b"} |= "x" or "y" or ip("10.0.0.1")"#, r#"{a="b"} |= "x" or "y" or ip("10.0.0.1")"#);
    check(r#"{a="b"} != "x" or "y" |= "z""#, r#"{a="b"} != "x" != "y" |= "z""#);
    check(r#"{a="b"} !~ ip("1.2.3.4")"#, r#"{a="b"} !~ ip("1.2.3.4")"#);
}

#[test]
fn parsers_and_formats() {
    check(r#"{a="b"} | json | logfmt | unpack | decolorize"#, r#"{a="b"} | json | logfmt | unpack | decolorize"#);
    check(r#"{a="b"} | json x="y.z[0]", w"#, r#"{a="b"} | json x="y.z[0]",w="w""#);
    check(
        r#"{a="b"} | logfmt --strict --keep-empty a, b="c""#,
        r#"{a="b"} | logfmt --strict --keep-empty a="a",b="c""#,
    );
    check(r#"{a="b"} | LOGFMT --keep-empty"#, r#"{a="b"} | logfmt --keep-empty"#);
    check(
        r#"{a="b"} | pattern `<x> - <_>` | regexp "(?P<y>.)""#,
        r#"{a="b"} | pattern "<x> - <_>" | regexp "(?P<y>.)""#,
    );
    check(
        r#"{a="b"} | line_format "{{.x}}" | label_format y=z, w="{{.v}}""#,
        r#"{a="b"} | line_format "{{.x}}" | label_format y=z,w="{{.v}}""#,
    );
    check(r#"{a="b"} | keep x, y="z" | drop w, v=~"u.*""#, r#"{a="b"} | keep x,y="z" | drop w,v=~"u.*""#);
}

#[test]
fn label_filters() {
    check(r#"{a="b"} | x = "y" | z=~"w" | v!~"u""#, r#"{a="b"} | x="y" | z=~`w` | v!~`u`"#);
    check(r#"{a="b"} | x > 1 | y == -1.5 | z != 1e3 | w = +2"#, r#"{a="b"} | x>1 | y==-1.5 | z!=1000 | w==2"#);
    check(r#"{a="b"} | x >= 1h30m | y < 1.5s | z=100us"#, r#"{a="b"} | x>=1h30m0s | y<1.5s | z==100µs"#);
    check(r#"{a="b"} | x > 5MB | y <= 1KiB | z = 42B"#, r#"{a="b"} | x>5.0MB | y<=1024B | z==42B"#);
    check(r#"{a="b"} | x = ip("10.0.0.0/8") | y != ip("::1")"#, r#"{a="b"} | x=ip("10.0.0.0/8") | y!=ip("::1")"#);
    check(r#"{a="b"} | x>1 or y>2 and z>3"#, r#"{a="b"} | ( x>1 or ( y>2 , z>3 ) )"#);
    check(r#"{a="b"} | x>1 and y>2 or z>3"#, r#"{a="b"} | ( ( x>1 , y>2 ) or z>3 )"#);
    check(r#"{a="b"} | x>1 or y>2, z="w""#, r#"{a="b"} | ( x>1 or ( y>2 , z="w" ) )"#);
    check(r#"{a="b"} | x>1, y>2 or z="w""#, r#"{a="b"} | ( x>1 , ( y>2 or z="w" ) )"#);
    check(r#"{a="b"} | x>1 y>2 (z="w")"#, r#"{a="b"} | ( x>1 , ( y>2 , z="w" ) )"#);
    check(r#"{a="b"} | (x>1 or y>2) and z>3"#, r#"{a="b"} | ( ( x>1 or y>2 ) , z>3 )"#);
}

#[test]
fn range_aggregations() {
    check(r#"rate({a="b"}[5m])"#, r#"rate({a="b"}[5m])"#);
    check(
        r#"count_over_time(({a="b"} |= "x")[1h30m] offset 1d)"#,
        r#"count_over_time({a="b"} |= "x"[1h30m] offset 24h0m0s)"#,
    );
    check(r#"rate({a="b"}[5m] |= "x" | json)"#, r#"rate({a="b"} |= "x" | json[5m])"#);
    check(r#"rate(({a="b"}[5m]))"#, r#"rate({a="b"}[5m])"#);
    check(r#"rate({a="b"}[5m] offset -5m)"#, r#"rate({a="b"}[5m] offset -5m0s)"#);
    check(r#"sum_over_time({a="b"} | unwrap x [5m])"#, r#"sum_over_time({a="b"} | unwrap x[5m])"#);
    check(r#"sum_over_time({a="b"}[5m] | unwrap x)"#, r#"sum_over_time({a="b"} | unwrap x[5m])"#);
    check(
        r#"quantile_over_time(0.99, {a="b"} | json | unwrap duration(x) | __error__="" | y>1 [5m]) by (c, d)"#,
        r#"quantile_over_time(0.99,{a="b"} | json | unwrap duration(x) | __error__="" | y>1[5m]) by (c,d)"#,
    );
    check(
        r#"avg_over_time({a="b"} | unwrap bytes [5m]) without ()"#,
        r#"avg_over_time({a="b"} | unwrap bytes[5m]) without ()"#,
    );
    check(
        r#"avg_over_time({a="b"} | unwrap bytes(size) [5m]) by ()"#,
        r#"avg_over_time({a="b"} | unwrap bytes(size)[5m]) by ()"#,
    );
    check(r#"absent_over_time({a="b"}[5m])"#, r#"absent_over_time({a="b"}[5m])"#);
}

#[test]
fn vector_aggregations() {
    check(r#"SUM(rate({a="b"}[5m])) BY (c)"#, r#"sum by (c)(rate({a="b"}[5m]))"#);
    check(r#"sum without (c, d) (rate({a="b"}[5m]))"#, r#"sum without (c,d)(rate({a="b"}[5m]))"#);
    check(r#"sum by () (rate({a="b"}[5m]))"#, r#"sum(rate({a="b"}[5m]))"#);
    check(r#"topk by (e) (3, rate({a="b"}[5m]))"#, r#"topk by (e)(3,rate({a="b"}[5m]))"#);
    check(r#"bottomk(3, rate({a="b"}[5m])) without (e)"#, r#"bottomk without (e)(3,rate({a="b"}[5m]))"#);
    check(r#"approx_topk(3, sum by (x) (rate({a="b"}[5m])))"#, r#"approx_topk(3,sum by (x)(rate({a="b"}[5m])))"#);
    check(r#"sort_desc(sort(avg(rate({a="b"}[5m]))))"#, r#"sort_desc(sort(avg(rate({a="b"}[5m]))))"#);
    check(
        r#"label_replace(rate({a="b"}[5m]), "x", "$1", "y", "(.*)")"#,
        r#"label_replace(rate({a="b"}[5m]),"x","$1","y","(.*)")"#,
    );
}

#[test]
fn operators() {
    check("1 + 2 * 3 ^ 2 - -1", "20");
    check("2 ^ 3 ^ 2", "512");
    check("10 - 4 - 3", "3");
    check("1 == bool 1", "1");
    check("-1", "-1");
    assert_eq!(to_line(&parse("1 / 0").unwrap()), "(0 / 0)");
    check("10 ^ 400", "(2 ^ 1024)");
    check("-10 ^ 401", "(-2 ^ 1025)");
    check("vector(1) + vector(1.5)", "(vector(1.000000) + vector(1.500000))");
    check("vector(1) ^ vector(2) ^ vector(3)", "(vector(1.000000) ^ (vector(2.000000) ^ vector(3.000000)))");
    check("vector(1) - vector(2) - vector(3)", "((vector(1.000000) - vector(2.000000)) - vector(3.000000))");
    check(
        "vector(1) or vector(2) and vector(3) > vector(4) + 5 * 6",
        "(vector(1.000000) or (vector(2.000000) and (vector(3.000000) > (vector(4.000000) + 30))))",
    );
    check("vector(1) > bool 0", "(vector(1.000000) > bool 0)");
    check(
        "vector(1) * on (a, b) group_left (c) vector(2)",
        "(vector(1.000000) * on (a,b) group_left (c) vector(2.000000))",
    );
    check(
        "vector(1) * ignoring (a) group_right vector(2)",
        "(vector(1.000000) * ignoring (a) group_right () vector(2.000000))",
    );
    check("vector(1) * ignoring () vector(2)", "(vector(1.000000) * vector(2.000000))");
    check("vector(1) * on () vector(2)", "(vector(1.000000) * on ()  vector(2.000000))");
    check(r#"vector(1)-rate({a="b"}[1m])"#, r#"(vector(1.000000) - rate({a="b"}[1m]))"#);
}

#[test]
fn refusals() {
    refuse("", "parse error : syntax error: unexpected $end");
    refuse("{", "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }");
    refuse(r#"{app=web}"#, "parse error at line 1, col 6: syntax error: unexpected IDENTIFIER, expecting STRING");
    refuse("{app='web'}", "parse error at line 1, col 6: syntax error: unexpected character '\\''");
    refuse(
        r#"{a="b"} | pattern "<a><b>""#,
        "parse error : invalid pattern parser: found consecutive capture '<a><b>': invalid expression",
    );
    refuse(
        r#"{a="b"} | regexp "x""#,
        "parse error : invalid regexp parser: at least one named capture must be supplied",
    );
    refuse(r#"{app=""}"#, &format!("parse error : {NO_NARROWING_MATCHER}"));
    refuse("{}", &format!("parse error : {NO_NARROWING_MATCHER}"));
    refuse(r#"rate({a=~".*"}[1m])"#, &format!("parse error : {NO_NARROWING_MATCHER}"));
    refuse(r#"{app="web" "#, "parse error at line 1, col 12: syntax error: unexpected $end, expecting } or ,");
    refuse("{a=\"b\"}\n | by = 1", "parse error at line 2, col 4: syntax error: unexpected by");
    refuse(r#"{a=~"("}"#, "parse error at line 1, col 5: error parsing regexp: missing closing ): `(`");
    refuse(r#"rate({a="b"}[5])"#, "parse error at line 1, col 13: not a valid duration string: \"5\"");
    refuse(r#"rate({a="b"}[5m)"#, "parse error at line 1, col 13: missing closing ']' in duration");
    refuse(r#"rate({a="b"})"#, "parse error at line 1, col 13: syntax error: unexpected ), expecting RANGE");
    refuse(
        r#"sum_over_time({a="b"}[5m])"#,
        "parse error at line 1, col 1: invalid aggregation sum_over_time without unwrap",
    );
    refuse(
        r#"bytes_rate({a="b"} | unwrap x [5m])"#,
        "parse error at line 1, col 1: invalid aggregation bytes_rate with unwrap",
    );
    refuse(r#"rate({a="b"}[5m]) by (x)"#, "parse error at line 1, col 1: grouping not allowed for rate aggregation");
    refuse(r#"rate(2, {a="b"}[5m])"#, "parse error at line 1, col 1: parameter 2 not supported for operation rate");
    refuse(
        r#"quantile_over_time({a="b"} | unwrap x [5m])"#,
        "parse error at line 1, col 1: parameter required for operation quantile_over_time",
    );
    refuse(r#"topk(rate({a="b"}[5m]))"#, "parse error at line 1, col 1: parameter required for operation topk");
    refuse(
        r#"topk(0, rate({a="b"}[5m]))"#,
        "parse error at line 1, col 1: invalid parameter (must be greater than 0) topk(0",
    );
    refuse(r#"topk(1.5, rate({a="b"}[5m]))"#, "parse error at line 1, col 1: invalid parameter topk(1.5,");
    refuse(r#"sum(1, rate({a="b"}[5m]))"#, "parse error at line 1, col 1: unsupported parameter for operation sum(1,");
    refuse(r#"topk(-1, rate({a="b"}[5m]))"#, "parse error at line 1, col 8: syntax error: unexpected ,");
    refuse(
        r#"{a="b"} + 1"#,
        "parse error at line 1, col 9: unexpected type for left leg of binary operation (+): log query",
    );
    refuse(
        r#"vector(1) and 1"#,
        "parse error at line 1, col 11: unexpected literal for right leg of logical/set binary operation (and): 1.000000",
    );
    refuse(
        r#"sum({a="b"})"#,
        "parse error at line 1, col 5: syntax error: unexpected log query, expecting a metric query such as rate()",
    );
    refuse(r#"{a="b"} | unwrap x"#, "parse error at line 1, col 9: syntax error: unexpected |");
    refuse(r#"{a="b"} | x > "y""#, "parse error at line 1, col 15: syntax error: unexpected STRING, expecting NUMBER");
    refuse(r#"{a="b"} |= "x\q""#, "parse error at line 1, col 12: invalid char escape");
    refuse("{a=\"b\"} |= `x", "parse error at line 1, col 12: literal not terminated");
    refuse(r#"{a="b"} | json | __error__"#, "parse error at line 1, col 27: syntax error: unexpected $end");
    refuse(r#"rate({a="b"}[5m]) @ 1"#, "parse error at line 1, col 19: syntax error: unexpected character '@'");
    refuse(
        r#"sort by (x) (rate({a="b"}[5m]))"#,
        "parse error at line 1, col 1: sort and sort_desc doesn't allow grouping by ",
    );
    refuse(&"(".repeat(1000), "parse error at line 1, col 102: the query is nested too deeply");
    refuse(
        &format!("vector(1){}", "+vector(1)".repeat(1001)),
        "parse error at line 1, col 10010: the query has more than 1000 operators",
    );
    assert!(parse(&format!("vector(1){}", "+vector(1)".repeat(1000))).is_ok());
    assert!(parse(&"x".repeat(200_000)).unwrap_err().message.starts_with("input size too long"));
}

#[test]
fn long_queries_are_laid_out_as_loki_does() {
    let check = |query: &str, laid_out: &str| {
        let expr = parse(query).unwrap();
        assert_eq!(pretty(&expr), laid_out);
        assert_eq!(parse(laid_out).unwrap(), expr);
    };
    check(
        r#"{job="loki", instance="localhost"}|= "error, something that is long enough" != "memcached" |= ip("192.168.0.1") |logfmt"#,
        "{job=\"loki\", instance=\"localhost\"}\n  |= \"error, something that is long enough\" != \"memcached\" |= ip(\"192.168.0.1\")\n  | logfmt",
    );
    check(
        r#"quantile_over_time(0.99,{container="ingress-nginx",service="hosted-grafana"}| json| unwrap response_latency_seconds| __error__=""[1m]) by (cluster)"#,
        "quantile_over_time(\n  0.99,\n  {container=\"ingress-nginx\", service=\"hosted-grafana\"} | json\n    | unwrap response_latency_seconds\n    | __error__=\"\" [1m]\n) by (cluster)",
    );
    check(
        r#"topk(5, count_over_time({foo="bar",namespace="loki",instance="localhost", container="a-container-with-a-long-name"}[5m])) by (container, pod)"#,
        "topk by (container, pod)(\n  5,\n  count_over_time(\n    {foo=\"bar\", namespace=\"loki\", instance=\"localhost\", container=\"a-container-with-a-long-name\"} [5m]\n  )\n)",
    );
    check(
        r#"(sum(rate({job="loki", namespace="loki-prod", instance="localhost"}[5m])) + sum(rate({job="loki"}[5m])))/sum(count_over_time({job="loki", namespace="loki-prod"}[5m]))"#,
        "  (\n      sum(rate({job=\"loki\", namespace=\"loki-prod\", instance=\"localhost\"}[5m]))\n    +\n      sum(rate({job=\"loki\"}[5m]))\n  )\n/\n  sum(count_over_time({job=\"loki\", namespace=\"loki-prod\"}[5m]))",
    );
}

#[test]
fn selectors_alone() {
    assert_eq!(parse_matchers(r#"{a="b"}"#).unwrap().len(), 1);
    assert_eq!(parse_matchers("{}").unwrap().len(), 0);
    assert!(parse_matchers(r#"{a="b"} |= "c""#).is_err());
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\"x\"".to_owned()),
        Just("`a b`".to_owned()),
        "[a-z\\\\\"\n\té🚀\u{200b}]{0,6}".prop_map(|s| crate::logql::units::quote(&s))
    ]
}

fn any_matcher() -> impl Strategy<Value = String> {
    ("[a-d]", "=|!=", any_text()).prop_map(|(name, op, text)| format!("{name}{op}{text}"))
}

fn any_condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any_matcher(),
        Just("z=~`a.+b`".to_owned()),
        ("[a-d]", "==|=|!=|>|>=|<|<=", "-?[0-9]{1,4}(\\.[0-9]{1,3})?").prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        ("[a-d]", "==|>|<=", "[1-9]h[1-9]m|[1-9]{1,2}d|[0-9]\\.[0-9]{1,6}s|[1-9]{1,3}(ns|us|ms)")
            .prop_map(|(a, op, b)| format!("{a}{op}{b}")),
        ("[a-d]", "=|>=", "[0-9]{1,4}(\\.[0-9])?(B|KB|KiB|MB|GiB|TB|PiB)").prop_map(|(a, op, b)| format!("{a}{op}{b}")),
        Just("a=ip(\"10.0.0.0/8\")".to_owned()),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        (inner.clone(), " and | or |, | ", inner, any::<bool>())
            .prop_map(|(a, op, b, wrap)| if wrap { format!("({a}{op}{b})") } else { format!("{a}{op}{b}") })
    })
}

fn any_stage() -> impl Strategy<Value = String> {
    prop_oneof![
        (prop_oneof!["\\|=", "!=", "\\|>", "!>"], prop::collection::vec(any_text(), 1..3))
            .prop_map(|(op, texts)| format!("{op} {}", texts.join(" or "))),
        Just("|~ `x|y`".to_owned()),
        Just("!~ \"x\" or ip(\"1.1.1.1\")".to_owned()),
        Just("| json".to_owned()),
        any_text().prop_map(|t| format!("| json a={t}, b")),
        any_text().prop_map(|t| format!("| logfmt --strict a={t}")),
        Just("| logfmt --keep-empty --strict".to_owned()),
        Just("| pattern `<a> \"<_>` | regexp \"(?P<x>\\\\d)\" | unpack | decolorize".to_owned()),
        any_text().prop_map(|t| format!("| line_format {t} | label_format a={t},b=c")),
        any_matcher().prop_map(|m| format!("| keep a, {m} | drop b, {m}")),
        any_condition().prop_map(|c| format!("| {c}")),
    ]
}

fn any_log() -> impl Strategy<Value = String> {
    (any_matcher(), prop::collection::vec(any_stage(), 0..5))
        .prop_map(|(m, stages)| format!("{{{m}, q=\"y\"}} {}", stages.join(" ")))
}

fn any_metric() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "-?[0-9]{1,3}(\\.[0-9])?",
        "vector\\([0-9]{1,3}(\\.[0-9]{1,9})?\\)",
        (
            any_log(),
            "1ms|5m|1h30m|1y|3d12h",
            prop_oneof![Just(""), Just(" offset 5m"), Just(" offset -1h"), Just(" offset 1us")]
        )
            .prop_map(|(log, range, offset)| format!("rate({log} [{range}]{offset})")),
        (any_log(), any_condition())
            .prop_map(|(log, c)| format!("quantile_over_time(0.9, {log} | unwrap duration(x) | {c} [5m]) by (a, b)")),
    ];
    leaf.prop_recursive(4, 16, 2, |inner| {
        let op = r" \+ |-| \* |/|%|\^| > | == bool | on \(a\) | or | unless on \(b\) | \* on \(a, b\) group_left \(c\) | / ignoring \(x\) group_right\(\) ";
        prop_oneof![
            (inner.clone(), op, inner.clone(), any::<bool>())
                .prop_map(|(a, op, b, wrap)| if wrap { format!("({a}{op}{b})") } else { format!("{a}{op}{b}") }),
            (inner.clone(), "sum|avg by \\(a\\)|topk without \\(b, c\\)|sort").prop_map(|(a, op)| {
                if op.starts_with("topk") { format!("{op} (2, {a})") } else { format!("{op} ({a})") }
            }),
            (inner, any_text()).prop_map(|(a, t)| format!("label_replace({a}, {t}, {t}, \"x\", \"y\")")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// A log query written out, in one line or laid out, is read back as itself.
    #[test]
    fn logs_survive_formatting(query in any_log()) {
        let expr = parse(&query).map_err(|e| TestCaseError::fail(format!("{query}: {e}")))?;
        for text in [to_line(&expr), pretty(&expr)] {
            prop_assert_eq!(parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?, expr.clone(), "{} -> {}", query, text);
        }
    }

    /// So is a metric query, if it is one at all (an operator may not suit its sides).
    #[test]
    fn metrics_survive_formatting(query in any_metric()) {
        // NaN, which two literals can make, is not equal to itself.
        if let Ok(expr) = parse(&query) && expr == expr.clone() {
            for text in [to_line(&expr), pretty(&expr)] {
                prop_assert_eq!(parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?, expr.clone(), "{} -> {}", query, text);
            }
        }
    }

    /// No text makes the parser panic.
    #[test]
    fn never_panics(text in any::<String>()) {
        let _ = parse(&text);
    }

    /// Nor any sequence of what a query is made of.
    #[test]
    fn never_panics_on_fragments(parts in prop::collection::vec(prop_oneof![
        r"[{}()\[\],|=!~<>.+*/%^#-]", "rate|sum|by|on|or|json|logfmt|unwrap|vector|ip|bool|offset|group_left|label_replace|topk",
        "[a-c]", "[0-9]{1,3}", "\"[a-z\\\\\"]{0,3}\"", "\\[5m\\]", "5m|5KB|0x1F|1e5|--strict", " |\n",
    ], 0..30)) {
        let _ = parse(&parts.concat());
    }
}
