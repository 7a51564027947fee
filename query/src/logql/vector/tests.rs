//! Metric queries over made-up range aggregations: `rate({q="name"}[1s])` answers the series called `name`.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::logql::{Expr, parse};
use crate::number::format_float;

/// Series by name: labels `k=v,..`, then one value a step, `_` for none.
const DATA: [(&str, &[&str]); 7] = [
    ("a", &["x=1,y=1: 1 2 3", "x=1,y=2: 10 _ 30", "x=2,y=1: 100 200 _"]),
    ("b", &["x=1: 2 4 0", "x=2: 5 5 5"]),
    ("one", &["x=1,z=9: 2 2 2"]),
    ("odd", &["x=1: NaN 1 +Inf", "x=2: 3 NaN +Inf"]),
    ("dup", &["x=1,y=1: 1 1 1", "x=1,y=2: 1 1 1"]),
    ("gap", &["x=1: _ 1 _"]),
    ("none", &[]),
];

fn series(text: &str) -> Series {
    let (labels, values) = text.split_once(": ").unwrap();
    let labels = Labels::new(labels.split(',').filter(|l| !l.is_empty()).map(|l| l.split_once('=').unwrap()));
    let value = |text: &str| (text != "_").then(|| text.parse::<f64>().unwrap());
    let points = (0..).zip(values.split(' ')).filter_map(|(step, text)| Some((step, value(text)?))).collect();
    Series { labels, points }
}

fn answer(query: &str, steps: u32) -> Result<String, EvaluationError> {
    // `a` in the query is the series called `a`.
    let mut text = String::new();
    for word in query.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let name = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        let known = DATA.iter().any(|(n, _)| *n == name);
        let rest = word.get(name.len()..).unwrap_or_default();
        text +=
            &if known && !query.contains('{') { format!("rate({{q=\"{name}\"}}[1s]){rest}") } else { word.to_owned() };
    }
    let Expr::Metric(expr) = parse(&text).unwrap_or_else(|e| panic!("{text}: {e}")) else { panic!("no metric query") };
    let value =
        evaluate::<EvaluationError>(&expr, steps, &mut |range: &RangeAggregation, _: Option<&VectorAggregation>| {
            let name = &range.log.matchers[0].value;
            let found = DATA.iter().find(|(n, _)| **n == **name).map(|(_, rows)| *rows).unwrap_or_default();
            let cut = |mut s: Series| {
                s.points.retain(|(step, _)| *step < steps);
                s
            };
            Ok(found.iter().map(|row| cut(series(row))).collect())
        })?;
    let shown = |one: &Series| {
        let value = |step| one.points.iter().find(|p| p.0 == step).map_or("_".to_owned(), |p| format_float(p.1));
        let labels: Vec<_> = one.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        format!("{}: {}", labels.join(","), (0..steps).map(value).collect::<Vec<_>>().join(" "))
    };
    Ok(match value {
        Value::Scalar(value) => format_float(value),
        Value::Series(all) => all.iter().map(shown).collect::<Vec<_>>().join(" | "),
    })
}

#[track_caller]
fn check(query: &str, result: &str) {
    assert_eq!(answer(query, 3).as_deref(), Ok(result), "{query}");
}

#[test]
fn aggregations() {
    check("sum(a)", ": 111 202 33");
    check("sum by (x) (a)", "x=1: 11 2 33 | x=2: 100 200 _");
    check("sum without (x) (a)", "y=1: 101 202 3 | y=2: 10 _ 30");
    check(r#"sum without (y) (label_replace(a, "x", "", "x", ".*"))"#, ": 111 202 33");
    check("count(a)", ": 3 2 2");
    check("avg by (x) (a)", "x=1: 5.5 2 16.5 | x=2: 100 200 _");
    check("min(a)", ": 1 2 3");
    check("max(a)", ": 100 200 30");
    check("stdvar by (x) (a)", "x=1: 20.25 0 182.25 | x=2: 0 0 _");
    check("stddev by (x) (a)", "x=1: 4.5 0 13.5 | x=2: 0 0 _");
    check("sum by (nosuch) (a)", ": 111 202 33");
    check("sum(none)", "");
    check("max(odd)", ": 3 1 +Inf");
    check("sum(odd)", ": NaN NaN +Inf");
    check("avg(odd)", ": NaN NaN +Inf");
}

#[test]
fn ranks() {
    check("topk(1, a)", "x=1,y=2: _ _ 30 | x=2,y=1: 100 200 _");
    check("bottomk(1, a)", "x=1,y=1: 1 2 3");
    check("topk by (x) (1, a)", "x=1,y=1: _ 2 _ | x=1,y=2: 10 _ 30 | x=2,y=1: 100 200 _");
    check("approx_topk(2, a)", "x=1,y=1: _ 2 3 | x=1,y=2: 10 _ 30 | x=2,y=1: 100 200 _");
    check("topk(1, odd)", "x=1: _ 1 +Inf | x=2: 3 _ _");
    assert_eq!(answer("sort(a)", 1).unwrap(), "x=1,y=1: 1 | x=1,y=2: 10 | x=2,y=1: 100");
    assert_eq!(answer("sort_desc(a)", 1).unwrap(), "x=2,y=1: 100 | x=1,y=2: 10 | x=1,y=1: 1");
    assert_eq!(answer("topk(2, a)", 1).unwrap(), "x=1,y=2: 10 | x=2,y=1: 100");
    assert_eq!(answer("sort_desc(a) * 2", 1).unwrap(), "x=2,y=1: 200 | x=1,y=2: 20 | x=1,y=1: 2");
}

#[test]
fn scalars() {
    check("2 * 3", "6");
    check("2 * b", "x=1: 4 8 0 | x=2: 10 10 10");
    check("b / 0", "x=1: NaN NaN NaN | x=2: NaN NaN NaN");
    check("b % 3", "x=1: 2 1 0 | x=2: 2 2 2");
    check("b ^ 2", "x=1: 4 16 0 | x=2: 25 25 25");
    check("b > 3", "x=1: _ 4 _ | x=2: 5 5 5");
    check("3 < b", "x=1: _ 4 _ | x=2: 5 5 5");
    check("b > bool 3", "x=1: 0 1 0 | x=2: 1 1 1");
    check("b == 5", "x=2: 5 5 5");
    check("vector(7)", ": 7 7 7");
    check("vector(1) + vector(1)", ": 2 2 2");
    check("vector(10) / 0", ": NaN NaN NaN");
}

#[test]
fn vectors() {
    check("b + b", "x=1: 4 8 0 | x=2: 10 10 10");
    check("a + b", "");
    check("sum by (x) (a) / b", "x=1: 5.5 0.5 NaN | x=2: 20 40 _");
    check("b > on (x) sum by (x) (a)", "x=1: _ 4 _");
    check("b < bool on (x) sum by (x) (a)", "x=1: 1 0 1 | x=2: 1 1 _");
    check("a * on (x) group_left b", "x=1,y=1: 2 8 0 | x=1,y=2: 20 _ 0 | x=2,y=1: 500 1000 _");
    check("a * on (x) group_left (z) one", "x=1,y=1,z=9: 2 4 6 | x=1,y=2,z=9: 20 _ 60");
    check("b - on (x) group_right a", "x=1,y=1: 1 2 -3 | x=1,y=2: -8 _ -30 | x=2,y=1: -95 -195 _");
    check("sum by (x) (a) * ignoring (z) one", "x=1: 22 4 66");
    check("b * ignoring (x) sum(none)", "");
    let fails = |query: &str, error: &str| assert_eq!(answer(query, 3), Err(EvaluationError(error.to_owned())));
    fails(
        "b * on (x) dup",
        "found duplicate series on the right hand-side;many-to-many matching not allowed: matching labels must be unique on one side",
    );
    fails(
        "dup * on (x) group_right b",
        "found duplicate series on the left hand-side;many-to-many matching not allowed: matching labels must be unique on one side",
    );
    fails("dup * on (x) b", MANY);
    fails("dup * on (x) group_left (y) b", "multiple matches for labels: grouping labels must ensure unique matches");
    fails("sum(1)", "a number stands where a query for series is needed; write vector(...)");
}

const MANY: &str = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";

#[test]
fn sets() {
    check("b and gap", "x=1: _ 4 _");
    check("b unless gap", "x=1: 2 _ 0 | x=2: 5 5 5");
    check("gap or b", "x=1: 2 1 0 | x=2: 5 5 5");
    check("a and on (x) gap", "x=1,y=1: _ 2 _");
    check("none or vector(0)", ": 0 0 0");
    check("b unless none", "x=1: 2 4 0 | x=2: 5 5 5");
    check("b unless b > 3", "x=1: 2 _ 0");
}

#[test]
fn replaced_and_absent() {
    check(r#"label_replace(rate({q="b"}[1s]), "w", "v-$1", "x", "(1)")"#, "w=v-1,x=1: 2 4 0 | x=2: 5 5 5");
    check(r#"label_replace(rate({q="b"}[1s]), "x", "", "x", ".*")"#, ": 2 4 0");
    check(r#"label_replace(rate({q="b"}[1s]), "n", "${a}x", "nosuch", "(?P<a>)")"#, "n=x,x=1: 2 4 0 | n=x,x=2: 5 5 5");
    check(r#"absent_over_time({q="gap"}[1s])"#, "q=gap: 1 _ 1");
    check(r#"absent_over_time({q="none", r=~"x", s="1", s="2"}[1s])"#, "q=none: 1 1 1");
    check(r#"absent_over_time({q="b"}[1s])"#, "");
}
