//! The language by examples: what is read as what, what is refused, how deep it may go.

mod property;
mod refused;

use super::*;
use crate::promql::ast::{At, Cardinality, Duration, DurationExpr, Edges, ValueType};
use crate::promql::print::{pretty, print};
use crate::promql::tree_json::tree_json;

/// The query, printed; equal to the query where `printed` is empty.
#[track_caller]
fn reads(query: &str, printed: &str) {
    match parse(query) {
        Ok(expr) => assert_eq!(print(&expr), if printed.is_empty() { query } else { printed }, "{query}"),
        Err(error) => panic!("{query}: {error}"),
    }
}

/// Both texts are the same tree but for parentheses.
#[track_caller]
fn binds(query: &str, explicit: &str) {
    assert_eq!(shape(&parse(query).unwrap()), shape(&parse(explicit).unwrap()), "{query}");
}

/// A text with parentheses around every operation instead of those that were written.
fn shape(expr: &Expr) -> String {
    match &expr.node {
        Node::Paren(inner) => shape(inner),
        Node::Binary(binary) => format!("({} {} {})", shape(&binary.left), binary.op.as_str(), shape(&binary.right)),
        Node::Unary { expr, .. } => format!("(-{})", shape(expr)),
        _ => print(expr),
    }
}

#[track_caller]
fn node(query: &str) -> Node {
    parse(query).unwrap().node
}

#[test]
fn numbers_and_strings() {
    reads("1", "");
    reads("+0x1F", "31");
    reads("-017", "-15");
    reads("1_000.25", "1000.25");
    reads(".5e1", "5");
    reads("inF", "+Inf");
    reads("-Inf", "-Inf");
    reads("nan", "NaN");
    reads("5m", "");
    reads("-1h30m", "");
    reads("90m", "1h30m");
    assert_eq!(node("1m5s"), Node::Duration(65.0));
    reads(r#"'it\'s "\x41\u00e9"'"#, r#""it's \"Aé\"""#);
    reads(r"`\d \n`", r#""\\d \\n""#);
    reads("\"\\xff\"", r#""\ufffd""#);
}

#[test]
fn operators() {
    binds("1 + 2 * 3 ^ 2", "1 + (2 * (3 ^ 2))");
    binds("2 ^ 3 ^ 2", "2 ^ (3 ^ 2)");
    binds("a - b - c", "(a - b) - c");
    binds("-a ^ 2", "-(a ^ 2)");
    binds("-a * 2", "(-a) * 2");
    binds("2 ^ -a * 3", "(2 ^ (-a)) * 3");
    binds("a or b and c unless d", "a or ((b and c) unless d)");
    binds("a == b + c and d", "(a == (b + c)) and d");
    binds("a atan2 b * c", "(a atan2 b) * c");
    binds("a </ 1 + 2 >/ 3", "(a </ (1 + 2)) >/ 3");
    binds("- - a", "-(-a)");
    reads("1 <= bool 2", "");
    reads("foo<bool 2 OR bar", "foo < bool 2 or bar");
    reads("a\n# so it is\n+ # and\r\n b", "a + b");
    reads("+a", "");
    assert_eq!(node("- 5"), Node::Number(-5.0));
    assert_eq!(node("--5"), Node::Number(5.0));
    assert!(matches!(node("a + 1"), Node::Binary(binary) if binary.matching.is_none()));
}

#[test]
fn matching() {
    reads("a+on(b)group_left(c,)d", "a + on (b) group_left (c) d");
    reads("a / ignoring (by, \"x.y\") group_right b", "a / ignoring (by, \"x.y\") group_right () b");
    reads("a * on () b", "");
    reads("a * ignoring () b", "a * b");
    reads("a + fill(-1) b", "a + fill (-1) b");
    reads("a + fill_right(2m) fill_left(0x10) b", "a + fill_left (16) fill_right (120) b");
    reads("a == bool on(x) group_left fill(1e9) b", "a == bool on (x) group_left () fill (1e+09) b");
    reads("fill + fill_left{a=\"b\"} - fill_right", "");
    let cardinality = |query: &str| match node(query) {
        Node::Binary(binary) => binary.matching.unwrap().cardinality,
        other => panic!("{other:?}"),
    };
    assert_eq!(cardinality("a and on(x) b"), Cardinality::ManyToMany);
    assert_eq!(cardinality("a + on(x) group_left b"), Cardinality::ManyToOne);
    assert_eq!(cardinality("a + on(x) group_right b"), Cardinality::OneToMany);
    assert_eq!(cardinality("a + b"), Cardinality::OneToOne);
}

#[test]
fn selectors() {
    reads("a", "");
    reads("a:b:c{}", "a:b:c");
    reads(r#"a{b="c", d!='e', f=~`g.*`, h!~"i",}"#, r#"a{b="c",d!="e",f=~"g.*",h!~"i"}"#);
    reads(r#"{"my.metric", "my.label"="x", sum="y"}"#, r#"{"my.label"="x",__name__="my.metric",sum="y"}"#);
    reads(r#"{__name__=~"a|b"}"#, "");
    reads(r#"{a="", b=~".+"}"#, r#"{a="",b=~".+"}"#);
    for word in ["sum", "by", "WITHOUT", "offset", "or", "start", "step", "max_of", "anchored", "limitk"] {
        reads(word, "");
        reads(&format!("{word}{{a=\"b\"}} + {word}"), "");
    }
    let Node::Vector(selector) = node(r#"a{b=~"c|d", "e"!="f"}"#) else { panic!() };
    let matchers: Vec<_> = selector.matchers.iter().map(|m| (m.name.as_str(), m.op.as_str(), &*m.value)).collect();
    assert_eq!(matchers, [("b", "=~", "c|d"), ("e", "!=", "f"), ("__name__", "=", "a")]);
    assert!(selector.matchers[0].matches("d") && !selector.matchers[0].matches("cd"));
}

#[test]
fn ranges_and_modifiers() {
    reads("a[5m]", "");
    reads("a [ 300 ] offset -1h", "a[5m] offset -1h");
    reads("a[1h:]", "");
    reads(
        "max_over_time(rate(a[5m])[1h:30s] @ -1.5 offset 1d)",
        "max_over_time(rate(a[5m])[1h:30s] @ -1.500 offset 1d)",
    );
    reads("a offset 1d @ start()", "a @ start() offset 1d");
    reads("a @ end()", "");
    reads("a @ 1m", "a @ 60.000");
    reads("rate(a[5m] smoothed @ start() offset 1m)", "");
    reads("a smoothed[1m]", "a[1m] smoothed");
    reads("a anchored", "");
    reads("a offset 0s offset 5m", "a offset 5m");
    // A modifier binds to what stands right before it.
    binds("-a offset 5m ^ 2 + b", "(-((a offset 5m) ^ 2)) + b");
    let Node::Matrix(matrix) = node("a[5m] anchored @ 1.0004 offset 2d") else { panic!() };
    assert_eq!((matrix.range, matrix.selector.at), (Duration::Constant(300_000), Some(At::Time(1_000))));
    assert_eq!(
        (matrix.selector.edges, matrix.selector.offset),
        (Edges::Anchored, Some(Duration::Constant(172_800_000)))
    );
}

#[test]
fn durations() {
    reads("a[5m+step()]", "a[5m + step()]");
    reads("a[(step())*-2:1h/3]", "a[(step()) * -2:1h / 3]");
    reads("a[MIN_OF(range(), 5m) ^ 2 ^ -1]", "a[min_of(range(), 5m) ^ 2 ^ -1]");
    reads("a[step():step()]", "");
    reads("a[((1m))]", "a[(1m)]");
    reads("a[- 1m + 2m]", "a[-1m + 2m]");
    reads("a[-(1m) % --step()]", "a[-(1m) % --step()]");
    reads("a offset +step()", "a offset step()");
    reads("a offset -(1m*2)", "a offset -(1m * 2)");
    reads("a offset -max_of(1, 2s)", "");
    reads("a offset (1m) * 2", "");
    reads("a offset --1m * 2", "a offset ++1m * 2");
    reads("a offset +-step() ^ 2", "");
    reads("a offset --step()", "");
    reads("a offset (1m) @ 5", "a @ 5.000 offset (1m)");
    reads("a offset (1m) @ 5 and b", "a @ 5.000 offset (1m) and b");
    reads("a offset (1m) @ 5 + b", "a offset (1m) @ 5.000 + b");
    reads("b ^ -a offset +(1m) + b", "b ^ -a offset +(1m) + b");
    // After a single operand, the operator belongs to the whole.
    reads("(a offset 1m) * 2", "");
    binds("a offset 1m * 2", "(a offset 1m) * 2");
    binds("a offset -2 ^ 2", "(a offset -2) ^ 2");
    binds("a offset step() + 8000", "(a offset step()) + 8000");
    binds("a offset -(step()) + 8000", "(a offset -(step())) + 8000");
    let Node::Matrix(matrix) = node("a[ 1m*step()]") else { panic!() };
    let (one, step) = (DurationExpr::Number(60.0, true), DurationExpr::Step);
    let product = DurationExpr::Binary('*', Box::new(one), Box::new(step));
    assert_eq!(matrix.range, Duration::Expr(product, Span { start: 3, end: 12 }));
}

#[test]
fn calls_and_aggregations() {
    reads("time()", "");
    reads("sum by () (a)", "sum(a)");
    reads("sum(a) without ()", "sum without () (a)");
    reads("SUM BY(by, sum, \"a b\",)(a)", "sum by (by, sum, \"a b\") (a)");
    reads("topk without(x) (5, a)", "topk without (x) (5, a)");
    reads("count_values(\"v\", a)", "");
    reads("limitk(2, limit_ratio(-0.5, a))", "");
    reads("label_join(a, \"b\", \",\")", "");
    reads("round(a) + round(a, 0.1) + hour()", "");
    reads("start() + end() + step() + range() + max_of(1, min_of(2, 3))", "");
    reads("info(a, {})", "");
    reads("info(a, {__name__=~\".+_info\"})", "");
    reads("histogram_quantiles(a, \"q\", 0.5, 0.9)", "");
    assert!(matches!(node("rate(a[5m])"), Node::Call(call) if call.function == "rate"));
}

#[test]
fn types() {
    let check = |query: &str, wanted: ValueType| assert_eq!(value_type(&parse(query).unwrap()), wanted, "{query}");
    check("1 + -(2m)", ValueType::Scalar);
    check("\"x\"", ValueType::String);
    check("1 + a", ValueType::Vector);
    check("-a", ValueType::Vector);
    check("scalar(a) > bool time()", ValueType::Scalar);
    check("a[5m]", ValueType::Matrix);
    check("sum(a)[5m:]", ValueType::Matrix);
    check("(rate(a[5m]))", ValueType::Vector);
}

#[test]
fn places() {
    let query = " sum( (a) ) +\n b{c=\"d\"}  offset (1m) ";
    let expr = parse(query).unwrap();
    let text = |span: Span| query.get(span.start..span.end).unwrap();
    assert_eq!(text(expr.span), query.trim());
    let Node::Binary(binary) = expr.node else { panic!() };
    assert_eq!((text(binary.left.span), text(binary.right.span)), ("sum( (a) )", "b{c=\"d\"}  offset (1m)"));
    assert_eq!(parse("a\n  + )").unwrap_err().to_string(), "2:6: parse error: unexpected right parenthesis ')'");
    assert_eq!(parse("").unwrap_err().to_string(), "unknown position: parse error: no expression found in input");
    // Columns are bytes.
    assert_eq!(parse("{\"é\"} )").unwrap_err().span, Span { start: 8, end: 8 });
}

#[test]
fn selectors_alone() {
    let names = |text: &str| parse_selector(text).unwrap().into_iter().map(|m| m.name).collect::<Vec<_>>();
    assert_eq!(names("up{job=\"x\"}"), ["job", "__name__"]);
    assert_eq!(names("{}"), Vec::<String>::new());
    let refused = |text: &str, message: &str| assert_eq!(parse_selector(text).unwrap_err().to_string(), message);
    refused("up[5m]", "1:3: parse error: unexpected \"[\"");
    refused("up offset 5m", "1:4: parse error: unexpected <offset>");
    refused("", "unknown position: parse error: unexpected end of input");
    refused("up{job=}", "1:8: parse error: unexpected \"}\" in label matching, expected string");
    refused("1", "1:1: parse error: unexpected number \"1\"");
}

/// What is at the limit is read and printed, and what is far beyond is refused, on a thread's usual stack.
#[test]
fn limits() {
    let (depth, chain) = (DEPTH_MAX as usize, CHAIN_MAX as usize);
    let at_most = |levels: usize, query: &dyn Fn(usize) -> String| {
        both_ways(&query(levels));
        for levels in [levels + 1, 20_000] {
            let error = parse(&query(levels)).expect_err("too much");
            assert!(error.message.starts_with("the query "), "{error}");
        }
    };
    for wrap in ["(", "abs(", "sum by (x) (", "topk(1, "] {
        at_most(depth, &|n| format!("{}a{}", wrap.repeat(n), ")".repeat(n)));
    }
    at_most(depth, &|n| format!("a[{}1m{}]", "(".repeat(n), ")".repeat(n)));
    at_most(depth, &|n| format!("a offset {}1{}", "min_of(".repeat(n), ", 2)".repeat(n)));
    at_most(depth, &|n| format!("{}a{}", "a or b and c == d + e * (".repeat(n), ")".repeat(n)));
    for link in [" + a", " or a", " / 2", " ^ a", " unless on (x) b"] {
        at_most(chain, &|n| format!("a{}", link.repeat(n)));
    }
    for sign in ["-", "+"] {
        at_most(chain, &|n| format!("{}a", sign.repeat(n)));
        at_most(chain - 1, &|n| format!("a[{}step()]", sign.repeat(n)));
    }
    at_most(chain - 1, &|n| format!("a[1{}]", "+1".repeat(n)));
    at_most(chain - 1, &|n| format!("a[1{}]", "^step()".repeat(n)));
    assert!(parse(&format!("a{}", "[1m:]".repeat(50_000))).is_err());
    assert!(parse(&"a".repeat(QUERY_BYTES_MAX + 1)).is_err());
}

/// Printed, and read again.
#[track_caller]
fn both_ways(query: &str) {
    let expr = parse(query).unwrap();
    assert_eq!(print(&parse(&print(&expr)).unwrap()), print(&expr));
    assert_eq!(print(&parse(&pretty(&expr)).unwrap()), print(&expr));
    assert!(tree_json(&expr).is_object());
}
