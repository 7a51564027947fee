//! How trees are laid out over several lines.

use super::*;
use crate::promql::parser::parse;

#[track_caller]
fn lays_out(query: &str, lines: &[&str]) {
    assert_eq!(pretty_within(&parse(query).unwrap(), 10), lines.join("\n"), "{query}");
}

#[test]
fn what_fits_is_one_line() {
    lays_out("a+1", &["a + 1"]);
    lays_out("sum by()(a)", &["sum(a)"]);
    lays_out("a_long_name{b=\"c\"}", &["a_long_name{b=\"c\"}"]);
    assert_eq!(pretty(&parse("sum(rate(a_long_name[5m]))by(b)").unwrap()), "sum by (b) (rate(a_long_name[5m]))");
}

#[test]
fn what_does_not_is_split() {
    lays_out("rate(abc[5m])", &["rate(", "  abc[5m]", ")"]);
    lays_out("topk(3, abcdefgh)", &["topk(", "  3,", "  abcdefgh", ")"]);
    lays_out("sum by (b) (rate(abc[5m]))", &["sum by (b) (", "  rate(", "    abc[5m]", "  )", ")"]);
    lays_out(
        "aaaaaa + on(b) group_left cccccc > bool 1",
        &["    aaaaaa", "  + on (b) group_left ()", "    cccccc", "> bool", "  1"],
    );
    lays_out("(aaaa + bbbb + c)", &["(", "      aaaa", "    +", "      bbbb", "  +", "    c", ")"]);
    lays_out("-abs(abcdefgh)", &["-abs(", "  abcdefgh", ")"]);
    lays_out("(-(abcdefgh))", &["(", "  -(abcdefgh)", ")"]);
    lays_out("abs(-abs(abcdefg))", &["abs(", "  -abs(", "    abcdefg", "  )", ")"]);
    lays_out(
        "max_over_time(abs(abcdefgh)[1h:] offset 1m)",
        &["max_over_time(", "  abs(", "    abcdefgh", "  )[1h:] offset 1m", ")"],
    );
    // A subquery that fits stands at the left margin.
    lays_out("max_over_time(a[1h:])", &["max_over_time(", "a[1h:]", ")"]);
}

/// A long text is not quoted again at each level, and a deep one is not indented without end.
#[test]
fn stays_small() {
    let arguments = ", \"\"".repeat(1_000);
    let query = format!("label_join(a, \"{}\"{arguments}){}", "x".repeat(100_000), " + 1".repeat(500));
    let lines = pretty(&parse(&query).unwrap());
    assert!(lines.len() < query.len() + 2_500 * (2 * INDENT_MAX + 4), "{}", lines.len());
}
