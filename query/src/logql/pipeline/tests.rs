//! Pipelines on single records: stages, a line, and what comes out.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::borrow::Cow;

use storage::Labels;

use super::*;
use crate::logql::{Expr, MetricExpr, parse};

struct Pairs(Vec<(&'static str, &'static str)>);

impl<'a> Metadata<'a> for Pairs {
    fn get(&self, _: usize, name: &str) -> Option<Cow<'a, str>> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| Cow::Borrowed(*v))
    }

    fn each(&self, _: usize, visit: &mut dyn FnMut(&'a str, Cow<'a, str>)) {
        for (name, value) in &self.0 {
            visit(name, Cow::Borrowed(value));
        }
    }
}

/// Of a record of stream `{app="web"}` with metadata `trace_id` and `app`: what the stages make of `line`.
fn run(stages: &str, line: &str) -> String {
    let Expr::Log(log) = parse(&format!("{{app=\"web\"}} {stages}")).unwrap() else { panic!("no log query") };
    let pipeline = Pipeline::new(&log.stages).unwrap();
    let metadata = Pairs(vec![("trace_id", "t1"), ("app", "meta")]);
    let stream = Labels::new([("app", "web"), ("empty", "")]);
    let mut row = Row::new(&metadata);
    row.start(0, &stream, 1_000_000_000, line);
    if !pipeline.run(&mut row) {
        return "-".to_owned();
    }
    let mut labels: Vec<String> = Vec::new();
    row.each(|category, name, value| {
        let untouched = matches!(category, Category::Stream | Category::Metadata);
        if !(untouched && matches!(name, "app" | "trace_id" | "app_extracted" | "empty")) {
            labels.push(format!("{name}={value}"));
        }
    });
    labels.sort();
    format!("{} [{}]", row.line(), labels.join(" "))
}

#[track_caller]
fn check(stages: &str, line: &str, result: &str) {
    assert_eq!(run(stages, line), result, "{stages} on {line}");
}

#[test]
fn line_filters() {
    check(r#"|= "a" != "b" |~ "c|d" !~ "^x""#, "a c", "a c []");
    check(r#"|= "a" != "b""#, "ab", "-");
    check(r#"|= "x" or "y""#, "zy", "zy []");
    check(r#"!= "x" or "y""#, "zy", "-");
    check(r#"|= "" or "y""#, "z", "-");
    check(r#"|= """#, "z", "z []");
    check(r#"!= """#, "z", "-");
    check(r#"|> "<_> took <_>""#, "it took 5", "it took 5 []");
    check(r#"|= ip("10.0.0.0/8")"#, "from 10.1.1.1", "from 10.1.1.1 []");
    check(r#"| decolorize |= "red""#, "\u{1b}[31mred\u{1b}[0m", "red []");
}

#[test]
fn json() {
    let line = r#"{"a":1,"b":{"c":"x","d":[1]},"n":null,"t":true,"app":"y","trace_id":"z","e f":"é\n"}"#;
    check("| json", line, &format!("{line} [a=1 app_extracted=y b_c=x e_f=é\n t=true trace_id_extracted=z]"));
    check(
        "| json",
        "no",
        "no [__error__=JSONParserErr __error_details__=Value looks like object, but can't find closing '}' symbol]",
    );
    check(
        "| json",
        r#"{"a":1,"#,
        "{\"a\":1, [__error__=JSONParserErr __error_details__=Value is array, but can't find closing ']' symbol a=1]",
    );
    check("| json", r#"{"a":1,"a":2}"#, "{\"a\":1,\"a\":2} [a=1]");
    check("| json", r#"{"1a":1,"a.b":{"":2,"1":3}}"#, "{\"1a\":1,\"a.b\":{\"\":2,\"1\":3}} [_1a=1 a_b=2 a_b_1=3]");
    check(
        "| json",
        r#"{"big":12345678901234567890,"f":1.50}"#,
        "{\"big\":12345678901234567890,\"f\":1.50} [big=12345678901234567890 f=1.50]",
    );
    check(
        r#"| json x="b.c", y="b.d[0]", z="q", app="a", o="b""#,
        r#"{"a":1,"b":{"c":"x","d":[1]}}"#,
        "{\"a\":1,\"b\":{\"c\":\"x\",\"d\":[1]}} [app_extracted=1 o={\"c\":\"x\",\"d\":[1]} x=x y=1 z=]",
    );
    check(r#"| json x="b""#, "no", "no [__error__=JSONParserErr]");
    check(r#"| json | a > 0 | logfmt"#, r#"{"a":1}"#, "{\"a\":1} [a=1]");
}

#[test]
fn logfmt() {
    check("| logfmt", r#"a=1 b="x y" c= app=z a=2"#, r#"a=1 b="x y" c= app=z a=2 [a=1 app_extracted=z b=x y]"#);
    check("| logfmt --keep-empty", "a= b", "a= b [a= b=]");
    check("| logfmt", "a=1=2 b=3", "a=1=2 b=3 [b=3]");
    check(
        "| logfmt --strict",
        "a=1 b=2=3 c=4",
        "a=1 b=2=3 c=4 [__error__=LogfmtParserErr __error_details__=logfmt syntax error at pos 8 : unexpected '=' a=1]",
    );
    check(r#"| logfmt x="a", b, app="c""#, "a=1 b=2 c=3 d=4", "a=1 b=2 c=3 d=4 [app_extracted=3 b=2 x=1]");
    check(r#"| logfmt x="q""#, "a=1", "a=1 [x=]");
}

#[test]
fn other_parsers() {
    check("| pattern `<a> <_> <app>`", "1 2 3", "1 2 3 [a=1 app_extracted=3]");
    check(r#"| regexp "(?P<a>\\d+)(?P<b>x)?""#, "n 42", "n 42 [a=42 b=]");
    check(r#"| regexp "(?P<a>z)""#, "n", "n []");
    check("| unpack", r#"{"pod":"p","n":1,"_entry":"line \"q\""}"#, "line \"q\" [pod=p]");
    check("| unpack", r#"{"pod":"p"}"#, "{\"pod\":\"p\"} []");
    check("| unpack", "no", "no [__error__=JSONParserErr __error_details__=expecting json object(6), but it is not]");
}

#[test]
fn label_filters() {
    check("| logfmt | a > 1", "a=2", "a=2 [a=2]");
    check("| logfmt | a > 1", "a=1", "-");
    check("| logfmt | a > 1", "b=1", "-");
    check(
        "| logfmt | a > 1",
        "a=x",
        "a=x [__error__=LabelFilterErr __error_details__=strconv.ParseFloat: parsing \"x\": invalid syntax a=x]",
    );
    check("| logfmt | a > 1s", "a=1500ms", "a=1500ms [a=1500ms]");
    check(
        "| logfmt | a > 1s",
        "a=5",
        "a=5 [__error__=LabelFilterErr __error_details__=time: missing unit in duration \"5\" a=5]",
    );
    check("| logfmt | a >= 1KB", "a=1KiB", "a=1KiB [a=1KiB]");
    check("| logfmt | a != 2 and b = 1 or c = 3", "a=2 c=3", "a=2 c=3 [a=2 c=3]");
    check(r#"| logfmt | a = """#, "b=1", "b=1 [b=1]");
    check(r#"| logfmt | a != """#, "b=1", "-");
    check(r#"| logfmt | a =~ "x|y.+""#, "a=yz", "a=yz [a=yz]");
    check(r#"| logfmt | a !~ "y""#, "a=yz", "a=yz [a=yz]");
    check(r#"| logfmt | a = ip("10.0.0.0/8")"#, "a=10.0.0.1", "a=10.0.0.1 [a=10.0.0.1]");
    check(r#"| logfmt | a != ip("10.0.0.0/8")"#, "a=10.0.0.1", "-");
    // What was found before the error counts; what was not found then passes.
    check(r#"| logfmt --strict | a = ip("10.0.0.0/8") | keep a"#, "a=11.0.0.1 b=c=d", "-");
    check(
        r#"| logfmt --strict a | z = ip("10.0.0.0/8") | drop __error_details__"#,
        "a=11.0.0.1 b=c=d",
        "a=11.0.0.1 b=c=d [__error__=LogfmtParserErr a=11.0.0.1]",
    );
    check(r#"| trace_id = "t1" | app = "web" | app_extracted = "meta""#, "x", "x []");
    check(r#"| json | __error__ = """#, "no", "-");
    check(r#"| json | __error__ != """#, r#"{"a":1}"#, "-");
}

#[test]
fn formats() {
    check(r#"| logfmt | line_format "{{.a}}-{{.nosuch}}-{{.trace_id}}""#, "a=1", "1--t1 [a=1]");
    check(r#"| logfmt | line_format "{{.a}}""#, "a=1", "1 [a=1]");
    check(r#"| logfmt | line_format "b={{.a}}" | logfmt"#, "a=1", "b=1 [a=1 b=1]");
    check(r#"| logfmt | label_format b=a, c="<{{.a}}>""#, "a=1", "a=1 [b=1 c=<>]");
    check(r#"| logfmt | label_format app="x""#, "a=1", "a=1 [a=1 app=x]");
    check("| label_format b=nosuch", "a=1", "a=1 []");
}

#[test]
fn keep_and_drop() {
    check("| logfmt | drop a, app", "a=1 b=2", "a=1 b=2 [b=2]");
    check(r#"| logfmt | drop a="2", b=~"2|3""#, "a=1 b=2", "a=1 b=2 [a=1]");
    check(r#"| logfmt | keep a, b="3""#, "a=1 b=2", "a=1 b=2 [a=1]");
    check("| json | drop __error__, __error_details__", "no", "no []");
    check(
        "| json | keep a",
        "no",
        "no [__error__=JSONParserErr __error_details__=Value looks like object, but can't find closing '}' symbol]",
    );
    check("| logfmt | drop a | logfmt", "a=1", "a=1 []");
    let dropped = "| drop app | logfmt";
    check(dropped, "app=x", "app=x [app_extracted=x]");
}

/// A metric query on the same record: its value and its series, or the error that fails the query.
fn sample(query: &str, line: &str) -> String {
    let Expr::Metric(metric) = parse(query).unwrap() else { panic!("no metric query") };
    let (range, outer) = match &metric {
        MetricExpr::Range(range) => (range, None),
        MetricExpr::Vector(vector) => match &vector.inner {
            MetricExpr::Range(range) => (range, Some(&**vector)),
            _ => panic!("no range"),
        },
        _ => panic!("no range"),
    };
    let extractor = SampleExtractor::new(range, outer).unwrap();
    let metadata = Pairs(vec![("trace_id", "t1")]);
    let stream = Labels::new([("app", "web")]);
    let mut row = Row::new(&metadata);
    row.start(0, &stream, 0, line);
    let Some(value) = extractor.extract(&mut row) else { return "-".to_owned() };
    if let Some(error) = SampleExtractor::fatal_error(&row) {
        return error.lines().next().unwrap().to_owned();
    }
    format!("{value} {}", row.grouped_labels(extractor.group_by()))
}

#[test]
fn samples() {
    let check = |query: &str, line: &str, result: &str| assert_eq!(sample(query, line), result, "{query} on {line}");
    check(r#"rate({app="web"}[1m])"#, "x", r#"1 {app="web", trace_id="t1"}"#);
    check(r#"sum by (app, q) (rate({app="web"}[1m]))"#, "x", r#"1 {app="web"}"#);
    check(r#"sum(bytes_over_time({app="web"}[1m]))"#, "four", "4 {}");
    check(r#"max by (app) (bytes_over_time({app="web"}[1m]))"#, "four", r#"4 {app="web", trace_id="t1"}"#);
    check(r#"sum without (trace_id) (rate({app="web"}[1m]))"#, "x", r#"1 {app="web"}"#);
    check(
        r#"sum_over_time({app="web"} | logfmt | unwrap a [1m])"#,
        "a=5 b=6",
        r#"5 {app="web", b="6", trace_id="t1"}"#,
    );
    check(r#"avg_over_time({app="web"} | logfmt | unwrap a [1m]) by (b)"#, "a=5 b=6", r#"5 {b="6"}"#);
    check(r#"avg_over_time({app="web"} | logfmt | unwrap a [1m]) without (b, app)"#, "a=5 b=6", r#"5 {trace_id="t1"}"#);
    check(r#"avg_over_time({app="web"} | logfmt | unwrap duration(a) [1m]) by ()"#, "a=1500ms", "1.5 {}");
    check(r#"avg_over_time({app="web"} | logfmt | unwrap bytes(a) [1m]) by ()"#, "a=1KiB", "1024 {}");
    check(r#"avg_over_time({app="web"} | logfmt | unwrap z [1m])"#, "a=1", "-");
    check(r#"max_over_time({app="web"} | logfmt | unwrap a | __error__="" [1m])"#, "a=x", "-");
    check(
        r#"max_over_time({app="web"} | logfmt | unwrap a [1m]) by (b)"#,
        "a=x",
        r#"pipeline error: 'SampleExtractionErr' for series: '{__error__="SampleExtractionErr", __error_details__="strconv.ParseFloat: parsing \"x\": invalid syntax", a="x", app="web", trace_id="t1"}'."#,
    );
}

#[test]
fn what_is_not_needed_is_not_parsed() {
    let check = |query: &str, line: &str, result: &str| assert_eq!(sample(query, line), result, "{query} on {line}");
    let broken = r#"{"level":"info","x":"#;
    check(r#"sum by (level) (rate({app="web"} | json [1m]))"#, broken, r#"1 {level="info"}"#);
    check(r#"sum(rate({app="web"} | json [1m]))"#, broken, "1 {}");
    check(
        r#"sum by (q) (rate({app="web"} | json [1m]))"#,
        broken,
        r#"pipeline error: 'JSONParserErr' for series: '{__error__="JSONParserErr", __error_details__="Malformed JSON error", app="web", trace_id="t1"}'."#,
    );
    check(
        r#"sum by (q) (rate({app="web"} | json | __error__!="" [1m]))"#,
        broken,
        r#"1 {__error__="JSONParserErr", __error_details__="Malformed JSON error", __preserve_error__="true", app="web", trace_id="t1"}"#,
    );
}

#[test]
fn malformed_stages_are_named() {
    let check = |stages: &str, error: &str| {
        let Expr::Log(log) = parse(&format!("{{app=\"web\"}} {stages}")).unwrap() else { panic!("no log query") };
        assert_eq!(Pipeline::new(&log.stages).unwrap_err().to_string(), format!("parse error : stage '{error}"));
    };
    check(r#"|~ "(""#, r#"|~ "("' : error parsing regexp: missing closing ): `(`"#);
    check(r#"| a = ip("999.1.1.1")"#, r#"| a=ip("999.1.1.1")' : ip: invalid pattern: "999.1.1.1""#);
    check(r#"|~ ip("1.1.1.1")"#, r#"|~ ip("1.1.1.1")' : ip: invalid operation"#);
    check(
        "| label_format a=b,a=c",
        "| label_format a=b,a=c' : multiple label name 'a' not allowed in a single format operation",
    );
    check(r#"| json a="b[""#, r#"| json a="b["' : cannot parse expression [b[]: invalid array index in ["#);
}
