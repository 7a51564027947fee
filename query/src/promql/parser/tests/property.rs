//! For texts that are made up: nothing panics, and what is printed is read as the same tree.

use proptest::prelude::*;

use super::super::{parse, parse_selector};
use crate::promql::ast::{Duration, Expr, Matcher, Node, Span, VectorSelector};
use crate::promql::print::{pretty, print};

/// The tree without its places, and with matchers in order.
fn bare(mut expr: Expr) -> Expr {
    expr.span = Span::default();
    let inner = |expr: Box<Expr>| Box::new(bare(*expr));
    expr.node = match expr.node {
        Node::Vector(selector) => Node::Vector(bare_selector(selector)),
        Node::Matrix(mut matrix) => {
            matrix.range = bare_duration(matrix.range);
            matrix.selector = bare_selector(matrix.selector);
            Node::Matrix(matrix)
        }
        Node::Subquery(mut subquery) => {
            subquery.expr = inner(subquery.expr);
            subquery.range = bare_duration(subquery.range);
            subquery.step = subquery.step.map(bare_duration);
            subquery.offset = subquery.offset.map(bare_duration);
            Node::Subquery(subquery)
        }
        Node::Call(mut call) => {
            call.args = call.args.into_iter().map(bare).collect();
            Node::Call(call)
        }
        Node::Aggregate(mut aggregate) => {
            aggregate.parameter = aggregate.parameter.map(inner);
            aggregate.expr = inner(aggregate.expr);
            Node::Aggregate(aggregate)
        }
        Node::Binary(mut binary) => {
            (binary.left, binary.right) = (inner(binary.left), inner(binary.right));
            Node::Binary(binary)
        }
        Node::Unary { negative, expr } => Node::Unary { negative, expr: inner(expr) },
        Node::Paren(expr) => Node::Paren(inner(expr)),
        leaf @ (Node::Number(_) | Node::Duration(_) | Node::String(_)) => leaf,
    };
    expr
}

fn bare_selector(mut selector: VectorSelector) -> VectorSelector {
    let key = |m: &Matcher| (m.name.clone(), m.op.as_str(), m.value.clone());
    selector.matchers.sort_by_key(key);
    selector.offset = selector.offset.map(bare_duration);
    selector
}

fn bare_duration(duration: Duration) -> Duration {
    match duration {
        Duration::Expr(expr, _) => Duration::Expr(expr, Span::default()),
        constant => constant,
    }
}

fn same_when_printed(query: &str) -> Result<(), TestCaseError> {
    let Ok(expr) = parse(query) else { return Ok(()) };
    prop_assert!(query.get(expr.span.start..expr.span.end).is_some());
    let (line, lines) = (print(&expr), pretty(&expr));
    let again = |text: &str| parse(text).map(|expr| format!("{:?}", bare(expr))).map_err(|e| e.to_string());
    let wanted = Ok(format!("{:?}", bare(expr)));
    prop_assert_eq!(again(&line), wanted.clone(), "{} -> {}", query, line);
    prop_assert_eq!(again(&lines), wanted, "{} -> {}", query, lines);
    Ok(())
}

fn choice(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        choice(&["0", "1", "-2", "0x1f", "017", "1_0.5", "5e-3", "Inf", "-inf", "NaN", "5m", "1y1ms", "-1h30m"]),
        any::<f64>().prop_map(|value| format!("{value:e}")),
        any::<u32>().prop_map(|milliseconds| format!("{milliseconds}ms")),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        choice(&["\"a\"", "'\\x41\\'\"'", "`\\d`", "\"\\xff\\n\\u00e9\"", "\"\""]),
        "[a-zé\\pL\u{0}-\u{1f}\u{80}-\u{2ff}]{0,8}".prop_map(|text| crate::logql::units::quote(&text)),
    ]
}

fn length() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        choice(&["5m", "1h30m", "90", "0.25", "1y2ms", "step()", "range()", "+1", "-2s"]),
        (1..u32::MAX).prop_map(|milliseconds| format!("{milliseconds}ms")),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            (choice(&["+", "-", "*", "/", "%", "^"]), two.clone()).prop_map(|(op, (a, b))| format!("{a} {op} {b}")),
            (choice(&["min_of", "MAX_OF"]), two).prop_map(|(name, (a, b))| format!("{name}({a},{b})")),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    choice(&["a", "b:c", "sum", "by", "offset", "or", "start", "step", "fill", "without", "_x9"])
}

fn labels() -> impl Strategy<Value = String> {
    let label = prop_oneof![choice(&["a", "by", "\"without\"", "\"x.y\"", "bool", "\"inf\"", "le"]), text()];
    prop::collection::vec(label, 0..3).prop_map(|labels| format!("({})", labels.join(",")))
}

fn modifiers() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        choice(&["@ 5", "@ -1.5", "@ start()", "@ end()", "anchored", "smoothed", "offset 5m", "offset -step()"]),
        (choice(&["", "+", "-", "--"]), length()).prop_map(|(sign, length)| format!("offset {sign}({length})")),
        (choice(&["", "+", "-", "--"]), length()).prop_map(|(sign, length)| format!("offset {sign}{length}")),
    ];
    prop::collection::vec(one, 0..3).prop_map(|all| all.join(" "))
}

fn selector() -> impl Strategy<Value = String> {
    let matcher = prop_oneof![
        (choice(&["a", "sum", "\"x y\"", "__name__"]), choice(&["=", "!="]), text())
            .prop_map(|(label, op, value)| format!("{label}{op}{value}")),
        (choice(&["b", "le"]), choice(&["=~", "!~"]), choice(&["\"a|b\"", "\".+\"", "`\\d+`"]))
            .prop_map(|(label, op, value)| format!("{label}{op}{value}")),
        text(),
    ];
    let matchers = prop::collection::vec(matcher, 0..3).prop_map(|all| format!("{{{}}}", all.join(",")));
    prop_oneof![name(), matchers.clone(), (name(), matchers).prop_map(|(name, all)| format!("{name}{all}"))]
}

fn query() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        2 => (selector(), modifiers()).prop_map(|(selector, modifiers)| format!("{selector} {modifiers}")),
        1 => number(),
    ];
    leaf.prop_recursive(5, 24, 3, |inner| {
        let operator = choice(&[
            "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", "<= bool", ">", ">=", "and", "or", "unless", "</",
            ">/",
        ]);
        let group =
            (choice(&["on", "ignoring"]), labels(), choice(&["", "group_left", "group_right ()", "fill (1e9)"]))
                .prop_map(|(on, labels, group)| format!("{on} {labels} {group}"));
        let matching = prop_oneof![3 => Just(String::new()), 1 => group];
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            (two, operator, matching).prop_map(|((a, b), op, matching)| format!("{a} {op} {matching} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            (choice(&["sum", "avg", "GROUP"]), choice(&["by", "without"]), labels(), inner.clone())
                .prop_map(|(op, word, labels, a)| format!("{op} {word} {labels} ({a})")),
            (choice(&["topk(2, ", "count_values(\"x\", ", "abs(", "scalar(", "vector("]), inner.clone())
                .prop_map(|(call, a)| format!("{call}{a})")),
            (choice(&["rate", "sum_over_time"]), selector(), length(), modifiers())
                .prop_map(|(call, a, range, modifiers)| format!("{call}({a}[{range}] {modifiers})")),
            (inner, length(), prop_oneof![Just(String::new()), length()], modifiers())
                .prop_map(|(a, range, step, modifiers)| format!("max_over_time(({a})[{range}:{step}] {modifiers})")),
        ]
    })
}

#[test]
fn a_power_of_infinity_stays_one() {
    for query in ["Inf ^ a + a", "+Inf ^ a", "Inf ^ -a ^ Inf", "(Inf) ^ a"] {
        same_when_printed(query).unwrap();
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_the_same(query in query()) {
        same_when_printed(&query)?;
    }

    #[test]
    fn tokens_in_any_order(tokens in prop::collection::vec(
        prop_oneof![
            3 => choice(&[
                "(", ")", "[", "]", "{", "}", ",", ":", "@", "=", "=~", "!=", "!~", "+", "-", "^", "<", "offset", "by", "on",
                "bool", "group_left", "fill", "step", "start", "min_of", "sum", "topk", "rate", "1", "5m", "#", "\n", " ",
            ]),
            1 => prop_oneof![name(), text(), number(), length(), selector()],
        ], 0..24,
    )) {
        for separator in ["", " "] {
            let text = tokens.join(separator);
            same_when_printed(&text)?;
            let _ = parse_selector(&text);
        }
    }

    #[test]
    fn any_text(text in ".{0,40}") {
        same_when_printed(&text)?;
        let _ = parse_selector(&text);
    }
}
