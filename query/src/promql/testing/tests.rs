//! Tests of the scripts' language.
#![allow(clippy::unwrap_used, reason = "tests")]

use storage::metrics::{ResetHint, is_stale};

use super::answer::Times;
use super::run;
use super::script::{CommandKind, parse};
use super::series::{Item, parse_series, parse_starts};
use super::store::MemorySource;
use crate::promql::ast::{MatchOp, Matcher};
use crate::promql::histogram::test_expression;
use crate::promql::source::{Samples, Source};

fn floats(values: &str) -> Vec<f64> {
    let items = parse_series(&format!("m {values}")).unwrap().items;
    items.iter().map(|item| if let Item::Float(value) = item { *value } else { f64::NEG_INFINITY }).collect()
}

#[test]
fn sequences_of_floats() {
    let omitted = f64::NEG_INFINITY;
    let check = |text: &str, expected: &[f64]| assert_eq!(floats(text), expected, "{text}");
    check("1 -2 +3.5 .5 1e3 Inf", &[1.0, -2.0, 3.5, 0.5, 1000.0, f64::INFINITY]);
    check("1x2", &[1.0; 3]);
    check("0+10x3", &[0.0, 10.0, 20.0, 30.0]);
    check("5-1x2 _ _x2 7", &[5.0, 4.0, 3.0, omitted, omitted, omitted, 7.0]);
    check("-1-1e1x1", &[-1.0, -11.0]);
    check("", &[]);
    assert!(is_stale(floats("stale")[0]) && floats("NaN")[0].is_nan());
}

#[test]
fn labels_of_series() {
    let check = |line: &str, labels: &str| assert_eq!(parse_series(line).unwrap().labels.to_string(), labels);
    check(r#"m{a="x y}", b=""} 1"#, r#"{__name__="m", a="x y}"}"#);
    check("{} 1", "{}");
    check(r#"{"a.b", "c d"='"'} 1"#, r#"{__name__="a.b", c d="\""}"#);
    check("m:x 1 2", r#"{__name__="m:x"}"#);
    for wrong in [r#"m{a=~"x"} 1"#, "m{a=", "m 1y", "m x", "m 1xx", "{{}} 1", "m {{a:1}}", "m {{schema:1.5}}"] {
        assert!(parse_series(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn sequences_of_histograms() {
    let check = |text: &str, expected: &[&str]| {
        let items = parse_series(&format!("m {text}")).unwrap().items;
        let texts: Vec<_> = items
            .iter()
            .map(|item| match item {
                Item::Histogram { histogram, .. } => test_expression(histogram),
                _ => "_".to_owned(),
            })
            .collect();
        assert_eq!(texts, expected, "{text}");
    };
    check("{{}}", &["{{}}"]);
    let all = "{{schema:-53 count:4 sum:5 custom_values:[1 2] counter_reset_hint:gauge offset:1 buckets:[1 3]}}";
    check(all, &[all]);
    check(
        "{{ schema:1 z_bucket:2 z_bucket_w:0.5 n_offset:-3 n_buckets:[ 1 ] }}x1 _",
        &[
            "{{schema:1 z_bucket:2 z_bucket_w:0.5 n_offset:-3 n_buckets:[1]}}",
            "{{schema:1 z_bucket:2 z_bucket_w:0.5 n_offset:-3 n_buckets:[1]}}",
            "_",
        ],
    );
    check(
        "{{count:2 buckets:[2]}}+{{count:1 buckets:[1]}}x2",
        &["{{count:2 buckets:[2]}}", "{{count:3 buckets:[3]}}", "{{count:4 buckets:[4]}}"],
    );
    check("{{count:2 buckets:[2]}}-{{count:1 buckets:[1]}}x1", &["{{count:2 buckets:[2]}}", "{{count:1 buckets:[1]}}"]);
}

#[test]
fn start_timestamps() {
    let check = |text: &str, expected: &[Option<i64>]| assert_eq!(parse_starts(text).unwrap(), expected, "{text}");
    check("_ _x2 -30s", &[None, None, None, Some(-30_000)]);
    check("-1mx1 0s-1msx2", &[Some(-60_000), Some(-60_000), Some(0), Some(-1), Some(-2)]);
    check("-1h+30mx1", &[Some(-3_600_000), Some(-1_800_000)]);
    assert!(parse_starts("x").is_err() && parse_starts("-1").is_err());
}

fn loaded(script: &str, name: &str) -> Samples {
    let mut source = MemorySource::default();
    for command in parse(script).unwrap() {
        if let CommandKind::Load(load) = command.kind {
            source.load(&load).unwrap();
        }
    }
    let matcher = Matcher::new("__name__", MatchOp::Equal, name).unwrap();
    let set = source.select(&[matcher], 0, i64::MAX).unwrap();
    let mut out = Samples::default();
    set.read(0..set.labels().len(), &mut |_, samples| {
        out = samples.clone();
        Ok(())
    })
    .unwrap();
    out
}

#[test]
fn samples_are_loaded_with_their_starts() {
    let samples = loaded("load 10s\n  m@st _ -5s -5s\n  m 1 _ 3\n\n# more\nload 30s\n m 7 8", "m");
    assert_eq!(samples.timestamps, [0, 20_000, 30_000]);
    assert_eq!(samples.values, [7.0, 3.0, 8.0]);
    assert_eq!(samples.starts, [0, 15_000, 0]);
}

#[test]
fn hints_are_as_of_chunks() {
    let samples = loaded(
        "load 1m\n m {{count:1}} {{count:2}} {{count:1}} {{count:1}} 5 {{count:2}} {{count:3 counter_reset_hint:gauge}}",
        "m",
    );
    let hints: Vec<_> = samples.histograms.iter().map(|(_, histogram)| histogram.reset_hint).collect();
    use ResetHint::{Gauge, NotReset, Unknown};
    assert_eq!(hints, [Unknown, NotReset, Unknown, NotReset, Unknown, Gauge]);
}

#[test]
fn classic_histograms_become_native() {
    let script = "load_with_nhcb 1m\n h_bucket{le=\"1\"} 2\n h_bucket{le=\"+Inf\"} 5\n h_sum 9\n h_count 5";
    let samples = loaded(script, "h");
    assert_eq!(
        test_expression(&samples.histograms[0].1),
        "{{schema:-53 count:5 sum:9 custom_values:[1] buckets:[2 3]}}"
    );
}

#[test]
fn commands() {
    let script = "clear\n\neval_warn instant at 5m sum(x)\n  expect ordered\n {a=\"b\"} 1\n c 2\n\n\
                  eval range from 0 to 1m step 30s x + 1\n expect no_info\n 1 2 3\n\
                  eval instant at 0 1\n 0x10\n";
    assert!(parse(script).is_err(), "a series needs a name or braces");
    let commands = parse(&script.replace(" 1 2 3", " {} 1 2 3\n")).unwrap();
    let evals: Vec<_> = commands
        .iter()
        .filter_map(
            |command| if let CommandKind::Eval(eval) = &command.kind { Some((command.line, eval)) } else { None },
        )
        .collect();
    assert_eq!(evals.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 8, 12]);
    let first = evals[0].1;
    assert!(first.ordered && first.warnings.some && matches!(first.times, Times::Instant(300_000)));
    assert_eq!((first.expr.as_str(), first.series[1].position), ("sum(x)", 2));
    let second = evals[1].1;
    assert!(second.infos.none && matches!(second.times, Times::Range { start: 0, end: 60_000, step: 30_000 }));
    assert_eq!(evals[2].1.scalar, Some(16.0));
    for wrong in ["load", "evil", "eval instant at x 1", "eval instant at 0 x\n expect odd", "load 1m\n m@st _"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

/// Whether the only `eval` over some series passes.
fn passes(eval: &str) -> bool {
    let load = "load 1m\n a{x=\"1\"} 1 2 3\n a{x=\"2\"} 4 5 6\n h {{count:2 sum:3 buckets:[2]}}x2\n\n";
    let reports = run(&format!("{load}{eval}")).unwrap();
    assert_eq!(reports.len(), 1);
    reports[0].result.is_ok()
}

#[test]
fn answers_are_compared() {
    let check = |eval: &str, expected: bool| assert_eq!(passes(eval), expected, "{eval}");
    let sum = "eval instant at 1m sum(a)\n";
    check(&format!("{sum} {{}} 7"), true);
    check(&format!("{sum} {{}} 7.000001"), true);
    check(&format!("{sum} {{}} 7.1"), false);
    check(&format!("{sum} {{x=\"1\"}} 7"), false);
    check(sum, false);
    check(&format!("{sum} 7"), false);
    check(&format!("{sum} {{}} {{{{}}}}"), false);
    check(&format!("{sum} {{}} 7\n b 1"), false);
    check("eval instant at 1m sum(b)", true);
    check("eval instant at 1m 7\n 7", true);
    check("eval instant at 1m 7\n 8", false);
    check("eval instant at 1m \"x\"\n expect string \"x\"", true);
    check("eval instant at 1m \"x\"\n expect string \"y\"", false);
    check("eval_ordered instant at 0 sort(a)\n a{x=\"1\"} 1\n a{x=\"2\"} 4", true);
    check("eval_ordered instant at 0 sort(a)\n a{x=\"2\"} 4\n a{x=\"1\"} 1", false);
    check("eval range from 0 to 2m step 1m sum(a)\n {} 5 7 9", true);
    check("eval range from 0 to 2m step 1m sum(a)\n {} 5 7", false);
    check("eval range from 0 to 2m step 1m sum(a)\n {} 5 7 8", false);
    check("eval range from 0 to 2m step 1m sum(a)\n {} 5 _ 9", false);
    check("eval instant at 1m a[1m]\n expect range vector from 1m to 1m step 1m\n a{x=\"1\"} 2\n a{x=\"2\"} 5", true);
    check("eval instant at 1m a[1m]\n expect range vector from 0 to 1m step 1m\n a{x=\"1\"} 2\n a{x=\"2\"} 5", false);
}

#[test]
fn histograms_are_compared() {
    let check = |histogram: &str, expected: bool| {
        assert_eq!(passes(&format!("eval instant at 1m h\n h {histogram}")), expected, "{histogram}");
    };
    check("{{count:2 sum:3 buckets:[2]}}", true);
    check("{{count:2 sum:3 buckets:[2 0]}}", true);
    check("{{count:2 sum:3 buckets:[2] counter_reset_hint:not_reset}}", true);
    check("{{count:2 sum:3 buckets:[2] counter_reset_hint:gauge}}", false);
    check("{{count:2 sum:4 buckets:[2]}}", false);
    check("{{count:2 sum:3 buckets:[1 1]}}", false);
    check("{{schema:1 count:2 sum:3 buckets:[2]}}", false);
    check("{{count:2 sum:3 offset:1 buckets:[2]}}", false);
    check("2", false);
}

#[test]
fn failures_and_annotations_are_compared() {
    let check = |eval: &str, expected: bool| assert_eq!(passes(eval), expected, "{eval}");
    check("eval_fail instant at 0 a + on () a", true);
    check("eval_fail instant at 0 a", false);
    check("eval instant at 0 a + on () a\n expect fail regex: duplicate series", true);
    check("eval instant at 0 a + on () a\n expect fail msg: duplicate series", false);
    check("eval_fail instant at 0 a + on () a\n expected_fail_regexp .*many-to-many.*", true);
    check("eval instant at 0 a +", false);
    let mixed = "eval instant at 0 sum({__name__=~\"a|h\"})\n";
    check(mixed, true);
    check(&format!("{mixed} expect warn"), true);
    check(&format!("{mixed} expect warn regex: mix of histograms"), true);
    check(&format!("{mixed} expect warn msg: something else"), false);
    check(&format!("{mixed} expect no_warn"), false);
    check(&format!("{mixed} expect info"), false);
    check("eval_warn instant at 0 sum(a)\n {} 5", false);
}
