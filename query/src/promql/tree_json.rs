//! Tree -> JSON, as `/api/v1/parse_query` answers it for the tree view of a web page.

use serde_json::{Value, json};

use super::ast::{
    Aggregate, At, Binary, Call, Cardinality, Duration, DurationExpr, Edges, Expr, Grouping, Matcher, Node, Subquery,
    VectorMatching, VectorSelector,
};
use super::functions::signature;
use crate::number::format_float;

/// A node has a `type` and what belongs to it, its children among that.
pub fn tree_json(expr: &Expr) -> Value {
    match &expr.node {
        Node::Number(value) | Node::Duration(value) => node("numberLiteral", [("val", format_float(*value).into())]),
        Node::String(text) => node("stringLiteral", [("val", text.as_str().into())]),
        Node::Vector(selector) => with_selector(node("vectorSelector", []), selector),
        Node::Matrix(matrix) => {
            let node = with_length(node("matrixSelector", []), "range", Some(&matrix.range));
            with_selector(node, &matrix.selector)
        }
        Node::Subquery(subquery) => subquery_json(subquery, tree_json(&subquery.expr)),
        Node::Call(call) => {
            let args = call.args.iter().map(tree_json).collect();
            node("call", [("func", function_json(call)), ("args", Value::Array(args))])
        }
        Node::Aggregate(aggregate) => {
            let parameter = aggregate.parameter.as_deref().map_or(Value::Null, tree_json);
            aggregate_json(aggregate, parameter, tree_json(&aggregate.expr))
        }
        Node::Binary(binary) => binary_json(binary, tree_json(&binary.left), tree_json(&binary.right)),
        Node::Unary { negative, expr } => {
            node("unaryExpr", [("op", if *negative { "-" } else { "+" }.into()), ("expr", tree_json(expr))])
        }
        Node::Paren(inner) => node("parenExpr", [("expr", tree_json(inner))]),
    }
}

fn node<const N: usize>(kind: &str, members: [(&str, Value); N]) -> Value {
    let kind = ("type".to_owned(), kind.into());
    Value::Object(std::iter::once(kind).chain(members.map(|(name, value)| (name.to_owned(), value))).collect())
}

fn with<const N: usize>(mut node: Value, members: [(&str, Value); N]) -> Value {
    if let Value::Object(object) = &mut node {
        object.extend(members.map(|(name, value)| (name.to_owned(), value)));
    }
    node
}

fn with_selector(node: Value, selector: &VectorSelector) -> Value {
    let matcher = |m: &Matcher| json!({"name": m.name, "value": m.value, "type": m.op.as_str()});
    let node = with(
        node,
        [
            ("name", selector.name.as_deref().unwrap_or_default().into()),
            ("matchers", selector.matchers.iter().map(matcher).collect()),
            ("anchored", (selector.edges == Edges::Anchored).into()),
            ("smoothed", (selector.edges == Edges::Smoothed).into()),
        ],
    );
    with_at(with_length(node, "offset", selector.offset.as_ref()), selector.at)
}

fn with_at(node: Value, at: Option<At>) -> Value {
    let (timestamp, start_or_end) = match at {
        None => (None, None),
        Some(At::Time(milliseconds)) => (Some(milliseconds), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
    };
    with(node, [("timestamp", timestamp.into()), ("startOrEnd", start_or_end.into())])
}

/// `name`, in milliseconds and 0 where that is not known yet, and `nameExpr`, which is null where it is.
fn with_length(node: Value, name: &str, duration: Option<&Duration>) -> Value {
    let (milliseconds, expr) = match duration {
        None => (0, Value::Null),
        Some(Duration::Constant(milliseconds)) => (*milliseconds, Value::Null),
        Some(Duration::Expr(expr, _)) => (0, duration_json(expr, false)),
    };
    with(node, [(name, milliseconds.into()), (&format!("{name}Expr"), expr)])
}

fn duration_json(expr: &DurationExpr, wrapped: bool) -> Value {
    let json = |expr: &DurationExpr| duration_json(expr, false);
    let of = |op: &str, left: Value, right: Value| {
        node("durationExpr", [("op", op.into()), ("lhs", left), ("rhs", right), ("wrapped", wrapped.into())])
    };
    match expr {
        // Prometheus wraps a number by putting a plus before it.
        DurationExpr::Number(..) if wrapped => of("+", Value::Null, json(expr)),
        DurationExpr::Number(seconds, written) => {
            node("numberLiteral", [("val", format_float(*seconds).into()), ("duration", (*written).into())])
        }
        DurationExpr::Step => of("step", Value::Null, Value::Null),
        DurationExpr::Range => of("range", Value::Null, Value::Null),
        DurationExpr::Negative(inner) => of("-", Value::Null, json(inner)),
        DurationExpr::Binary(op, left, right) => of(op.encode_utf8(&mut [0; 4]), json(left), json(right)),
        DurationExpr::Min(left, right) => of("min_of", json(left), json(right)),
        DurationExpr::Max(left, right) => of("max_of", json(left), json(right)),
        DurationExpr::Paren(inner) => duration_json(inner, true),
    }
}

fn subquery_json(subquery: &Subquery, expr: Value) -> Value {
    let node = with_length(node("subquery", [("expr", expr)]), "range", Some(&subquery.range));
    let node = with_length(node, "step", subquery.step.as_ref());
    with_at(with_length(node, "offset", subquery.offset.as_ref()), subquery.at)
}

fn function_json(call: &Call) -> Value {
    signature(call.function).map_or(Value::Null, |function| {
        json!({
            "name": function.name,
            "argTypes": function.args.iter().map(|arg| arg.result_type()).collect::<Vec<_>>(),
            "variadic": function.variadic,
            "returnType": function.returns.result_type(),
        })
    })
}

fn aggregate_json(aggregate: &Aggregate, parameter: Value, expr: Value) -> Value {
    let (Grouping::By(labels) | Grouping::Without(labels)) = &aggregate.grouping;
    node(
        "aggregation",
        [
            ("op", aggregate.op.as_str().into()),
            ("expr", expr),
            ("param", parameter),
            ("grouping", labels.as_slice().into()),
            ("without", matches!(aggregate.grouping, Grouping::Without(_)).into()),
        ],
    )
}

fn binary_json(binary: &Binary, left: Value, right: Value) -> Value {
    node(
        "binaryExpr",
        [
            ("op", binary.op.as_str().into()),
            ("lhs", left),
            ("rhs", right),
            ("matching", binary.matching.as_ref().map_or(Value::Null, matching_json)),
            ("bool", binary.bool_result.into()),
        ],
    )
}

fn matching_json(matching: &VectorMatching) -> Value {
    let card = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({
        "card": card,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]
mod tests {
    use super::*;
    use crate::promql::parser::parse;

    #[track_caller]
    fn is(query: &str, wanted: Value) {
        assert_eq!(tree_json(&parse(query).unwrap()), wanted, "{query}");
    }

    /// The member of that path, `a.b.c`.
    #[track_caller]
    fn has(query: &str, path: &str, wanted: Value) {
        let tree = tree_json(&parse(query).unwrap());
        let found = tree.pointer(&format!("/{}", path.replace('.', "/")));
        assert_eq!(found, Some(&wanted), "{query} at {path}");
    }

    #[test]
    fn leaves() {
        is("-0x10", json!({"type": "numberLiteral", "val": "-16"}));
        is("1h", json!({"type": "numberLiteral", "val": "3600"}));
        is("\"a\"", json!({"type": "stringLiteral", "val": "a"}));
        is(
            "a{b!~\"c\"} smoothed @ 1.5 offset -1s",
            json!({
                "type": "vectorSelector", "name": "a", "offset": -1000, "offsetExpr": null, "timestamp": 1500,
                "startOrEnd": null, "anchored": false, "smoothed": true, "matchers": [
                    {"name": "b", "value": "c", "type": "!~"}, {"name": "__name__", "value": "a", "type": "="},
                ],
            }),
        );
        has("{__name__=\"a\"}", "name", json!(""));
        has("a[5m] @ end()", "type", json!("matrixSelector"));
        has("a[5m] @ end()", "range", json!(300_000));
        has("a[5m] @ end()", "startOrEnd", json!("end"));
    }

    #[test]
    fn branches() {
        let a = tree_json(&parse("a").unwrap());
        is("+(a)", json!({"type": "unaryExpr", "op": "+", "expr": {"type": "parenExpr", "expr": a}}));
        is(
            "topk by (b) (1, a)",
            json!({
                "type": "aggregation", "op": "topk", "expr": a, "param": {"type": "numberLiteral", "val": "1"},
                "grouping": ["b"], "without": false,
            }),
        );
        has("sum without () (a)", "without", json!(true));
        has("sum(a)", "param", Value::Null);
        is(
            "round(a)",
            json!({
                "type": "call", "args": [a],
                "func": {
                    "name": "round", "argTypes": ["vector", "scalar"], "variadic": 1, "returnType": "vector",
                },
            }),
        );
        is(
            "a > bool on (b) group_left (c) fill_right (2) a",
            json!({
                "type": "binaryExpr", "op": ">", "lhs": a, "rhs": a, "bool": true, "matching": {
                    "card": "many-to-one", "labels": ["b"], "on": true, "include": ["c"],
                    "fillValues": {"lhs": null, "rhs": 2.0},
                },
            }),
        );
        has("a and a", "matching.card", json!("many-to-many"));
        has("a + 1", "matching", Value::Null);
    }

    #[test]
    fn durations() {
        let number =
            |seconds: &str, written: bool| json!({"type": "numberLiteral", "val": seconds, "duration": written});
        let node = |op: &str, left: Value, right: Value, wrapped: bool| json!({"type": "durationExpr", "op": op, "lhs": left, "rhs": right, "wrapped": wrapped});
        let step = node("step", Value::Null, Value::Null, false);
        let query = "a[1m * 2:max_of(step(), (5))] offset -(step() - 1)";
        has(query, "range", json!(0));
        has(query, "rangeExpr", node("*", number("60", true), number("2", false), false));
        let five = node("+", Value::Null, number("5", false), true);
        has(query, "stepExpr", node("max_of", step.clone(), five, false));
        let less = node("-", step, number("1", false), true);
        has(query, "offsetExpr", node("-", Value::Null, less, false));
        has("a[5m:]", "step", json!(0));
    }
}
