//! What is drawn from a query, and that it is never wrong.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use storage::Labels;

use super::*;
use crate::logql::pipeline::{NoMetadata, Pipeline, Row};
use crate::logql::{Expr, parse};

fn stages(query: &str) -> Vec<Stage> {
    let Expr::Log(log) = parse(&format!("{{app=\"web\"}} {query}")).unwrap() else { panic!("no log query") };
    log.stages
}

/// Clauses joined by `&`, alternatives by `|`; folded texts as `~text`.
fn show(clauses: &[Vec<Needle>]) -> String {
    let text = |n: &Needle| format!("{}{}", if n.ignore_case { "~" } else { "" }, n.text);
    let clause = |c: &Vec<Needle>| c.iter().map(text).collect::<Vec<_>>().join("|");
    clauses.iter().map(clause).collect::<Vec<_>>().join(" & ")
}

#[track_caller]
fn check(query: &str, drawn: &str) {
    assert_eq!(show(&needles(&stages(query), &|name| name == "app")), drawn, "{query}");
}

#[test]
fn line_filters() {
    check(r#"|= "a b" != "c" |= "d""#, "a b & d");
    check(r#"|= "a" or "b""#, "a|b");
    check(r#"|= "" or "b""#, "b");
    check(r#"|= """#, "");
    check(r#"|> "<_> took <_> ms" "#, " took  &  ms");
    check(r#"|= ip("10.0.0.1")"#, "10.0.0.1");
    check(r#"|= ip("10.0.0.0/8")"#, "");
    check(r#"|= "a" or ip("10.0.0.0/8")"#, "");
    check(r#"| line_format "x" |= "a""#, "");
    check(r#"| decolorize |= "a""#, "a");
    check(r#"| unpack |= "a""#, "");
}

#[test]
fn regexes() {
    check(r#"|~ "error|failure""#, "error|failure");
    check(r#"|~ "(?i)error""#, "~error");
    check(r#"|~ "user=(\\d+) failed""#, "user= &  failed");
    check(r#"|~ "a(b|c)d""#, "abd|acd");
    check(r#"|~ "ab?c""#, "abc|ac");
    check(r#"|~ "colou?r.*(red|blue)+""#, "colour|color & red|blue");
    check(r#"|~ "x{3}y{2,}""#, "xxx & y");
    check(r#"|~ "^GET /api$""#, "GET /api");
    check(r#"|~ "\\bword\\b""#, "word");
    check(r#"|~ "[45]\\d\\d""#, "4|5");
    check(r#"|~ ".*""#, "");
    check(r#"|~ "a|b*""#, "");
    check(r#"|~ "(foo.*bar|baz)""#, "bar|baz");
    check(r#"|~ "(?i)straße ПРОСТОЙ""#, "~straße простой");
    check(r#"|~ "abc(?i)def""#, "~abcdef");
    check(r#"|~ "a.+" or "b.+""#, "a|b");
    check(r#"!~ "a""#, "");
}

#[test]
fn labels_behind_a_parser() {
    check(r#"| json | user="x y""#, "x|\\u & y|\\u");
    check(r#"| json | user=~"ab.*cd" and level="err""#, "ab|\\u & cd|\\u & err|\\u");
    check(r#"| json | user="x" or level="err""#, "x|\\u|err|\\u");
    check(r#"| json | user="x" or n > 5"#, "");
    check(r#"| json | app="x""#, "");
    check(r#"| json | app_extracted="x""#, "");
    check(r#"| json | user!="x" | user="" | user=~".*x?""#, "");
    check(r#"| user="x""#, "");
    check(r#"| logfmt | label_format user="y" | user="x""#, "");
    check(r#"| logfmt | line_format "{{.a}}" | user="x""#, "x|\\u");
    check(r#"| line_format "{{.a}}" | logfmt | user="x""#, "");
    check(r#"| unpack | user="x" | json | b="y""#, "x|\\u");
    check(r#"| json | __error__="x""#, "");
    check(r#"| json | path="/api/users""#, "api|\\u & users|\\u");
}

fn contains(line: &str, needle: &Needle) -> bool {
    if needle.ignore_case {
        line.chars().map(fold).collect::<String>().contains(&needle.text)
    } else {
        line.contains(&needle.text)
    }
}

fn any_regex() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[abkséß]{1,3}",
        Just("[ab]".to_owned()),
        Just("[a-f]".to_owned()),
        Just(".".to_owned()),
        Just("\\d".to_owned()),
        Just("^".to_owned()),
        Just("\\b".to_owned())
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join("|"))),
            (inner.clone(), prop_oneof![Just("*"), Just("+"), Just("?"), Just("{2}"), Just("{1,2}")])
                .prop_map(|(i, op)| format!("(?:{i}){op}")),
            inner.prop_map(|i| format!("(?i:{i})")),
        ]
    })
}

fn any_line() -> impl Strategy<Value = String> {
    prop_oneof![
        "[abdkKſKséßẞABS1 ]{0,12}",
        "a=[abk\"\\\\ ]{0,6} b=[abs]{0,3}",
        r#"\{"a":"([abk/]|\\\\u006[1-9]|\\\\/| ){0,6}","b":[1-9]\}"#,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// A line that passes contains what was drawn.
    #[test]
    fn drawn_texts_are_in_every_line_that_passes(regex in any_regex(), other in any_regex(), line in any_line(), form in 0..5) {
        let (regex, other) = (crate::logql::units::quote(&regex), crate::logql::units::quote(&other));
        let query = match form {
            0 => format!("|~ {regex}"),
            1 => format!("|~ {regex} or {other}"),
            2 => format!("| logfmt | a=~{regex}"),
            3 => format!("| json | a=~{regex} or b=~{other}"),
            _ => format!("| json | logfmt | a=~{regex} and b!=\"\""),
        };
        let stages = stages(&query);
        let pipeline = Pipeline::new(&stages).unwrap();
        let drawn = needles(&stages, &|_| false);
        let labels = Labels::new([("app", "web")]);
        let mut row = Row::new(&NoMetadata);
        row.start(0, &labels, 0, &line);
        if pipeline.run(&mut row) {
            for clause in &drawn {
                prop_assert!(clause.iter().any(|needle| contains(&line, needle)), "{} on {:?}: {}", query, line, show(&drawn));
            }
        }
    }
}
