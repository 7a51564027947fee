//! What is refused, where, and in which words: Prometheus's.

use super::super::parse;

/// `text` stands behind the place and `parse error:`.
#[track_caller]
fn refuses(query: &str, column: usize, text: &str) {
    match parse(query) {
        Ok(expr) => panic!("{query} is {expr:?}"),
        Err(error) => assert_eq!(error.to_string(), format!("1:{column}: parse error: {text}"), "{query}"),
    }
}

#[test]
fn characters() {
    refuses("1 +", 4, "unexpected end of input");
    refuses("a $", 3, "unexpected character: '$'");
    refuses("a ! b", 3, "unexpected character after '!': ' '");
    refuses("a !", 3, "unexpected character after '!': '\u{FFFD}'");
    refuses("a =~ b", 3, "unexpected character after '=': '~'");
    refuses("a{b:=\"c\"}", 4, "unexpected character inside braces: ':'");
    refuses("a{b!\"c\"}", 4, "unexpected character after '!' inside braces: '\"'");
    refuses("a{{", 3, "unexpected left brace '{'");
    refuses("a{b=\"c\"", 8, "unexpected end of input inside braces");
    refuses("(a", 3, "unclosed left parenthesis");
    refuses("sum(a))", 8, "unexpected right parenthesis ')'");
    refuses("a]", 2, "unexpected right bracket ']'");
    refuses("a[1m[", 5, "unexpected left bracket '['");
    refuses("a[1m", 5, "unclosed left bracket");
    refuses("a[1m:2m:", 8, "unexpected colon ':'");
    refuses("a[:1m]", 4, "unexpected colon before duration in duration expression");
    refuses("a[1m x]", 6, "unexpected character: 'x', expected ':'");
    refuses("a[x]", 3, "unexpected character in duration expression: 'x'");
    refuses("a[", 3, "unexpected end of input in duration expression");
    refuses("a + 5q", 5, "bad number or duration syntax: \"5\"");
    refuses("5m5", 1, "bad number or duration syntax: \"5m5\"");
    refuses("1e", 1, "bad number or duration syntax: \"1e\"");
    refuses("\"a", 1, "unterminated quoted string");
    refuses("'a\n'", 1, "unterminated quoted string");
    refuses("`a", 1, "unterminated raw string");
    refuses(r#""\q""#, 1, "unknown escape sequence U+0071 'q'");
    refuses(r#""\'""#, 1, "unknown escape sequence U+0027 '''");
    refuses(r#""\xg0""#, 1, "illegal character U+0067 'g' in escape sequence");
    refuses(r#""\777""#, 1, "escape sequence is an invalid Unicode code point");
    refuses(r#""\ud800""#, 1, "escape sequence is an invalid Unicode code point");
    refuses(r#""\"#, 1, "escape sequence not terminated");
    refuses("{\"\u{FFFD}\"}", 2, "invalid UTF-8 rune");
}

#[test]
fn tokens() {
    refuses("a b", 3, "unexpected identifier \"b\"");
    refuses("a a:b", 3, "unexpected metric identifier \"a:b\"");
    refuses("a \"0123456789\"", 3, "unexpected string \"\\\"012345678\"...");
    refuses("a 5m", 3, "unexpected duration \"5m\"");
    refuses("* a", 1, "unexpected <op:*>");
    refuses("a AND and or", 13, "unexpected end of input");
    refuses("a on b", 3, "unexpected <on>");
    refuses("a + group_left(b) c", 5, "unexpected <group_left>");
    refuses("fill(a)", 5, "unexpected \"(\"");
    refuses("a:b(c)", 4, "unexpected \"(\"");
    refuses("a = b", 3, "unexpected \"=\"");
    refuses("0x", 1, "error parsing number: strconv.ParseFloat: parsing \"0x\": invalid syntax");
    refuses("1e999", 1, "error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range");
    refuses("1h5q + 1", 1, "bad number or duration syntax: \"1h5\"");
    refuses("1h5hs", 1, "unknown unit \"hs\" in duration \"1h5hs\"");
    refuses("5m1h", 1, "not a valid duration string: \"5m1h\"");
    refuses("999y", 1, "duration out of range");
}

#[test]
fn labels() {
    refuses("a{b}", 4, "unexpected \"}\" in label matching, expected label matching operator");
    refuses("a{b=c}", 5, "unexpected identifier \"c\" in label matching, expected string");
    refuses("a{=\"c\"}", 3, "unexpected \"=\" in label matching, expected identifier or \"}\"");
    refuses("a{b=\"c\" d}", 9, "unexpected identifier \"d\" in label matching, expected \",\" or \"}\"");
    refuses("a{\"b\"=}", 7, "unexpected \"}\" in label matching, expected string");
    refuses("a{,}", 3, "unexpected \",\" in label matching, expected identifier or \"}\"");
    refuses("a{b=~\"(\"}", 3, "error parsing regexp: missing closing ): `(`");
    refuses("{}", 1, "vector selector must contain at least one non-empty matcher");
    refuses("1 + {a=~\".*\", b!=\"c\", d=\"\"}", 5, "vector selector must contain at least one non-empty matcher");
    refuses("a{__name__!=\"b\"}", 1, "metric name must not be set twice: \"a\" or \"b\"");
    refuses("a{\"b\"}", 1, "metric name must not be set twice: \"a\" or \"b\"");
}

#[test]
fn groupings() {
    refuses("sum by a (b)", 8, "unexpected identifier \"a\" in grouping opts, expected \"(\"");
    refuses("sum by (a b) (c)", 11, "unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"");
    refuses("sum by (,) (c)", 9, "unexpected \",\" in grouping opts, expected label");
    refuses("sum by (without) (c)", 9, "unexpected <without> in grouping opts, expected label");
    refuses("sum by (\"\") (c)", 9, "invalid label name for grouping: \"\"");
    refuses("sum by (a) b", 12, "unexpected identifier \"b\" in aggregation");
    refuses("sum(a b)", 7, "unexpected identifier \"b\" in aggregation");
    refuses("sum(a[1m]) by (x) by (y)", 19, "unexpected <by>");
    refuses("sum a", 5, "unexpected identifier \"a\"");
    refuses("sum()", 1, "no arguments for aggregate expression provided");
    let count = "wrong number of arguments for aggregate expression provided, expected";
    refuses("1 + sum(a, b)", 5, &format!("{count} 1, got 2"));
    refuses("topk(a)", 1, &format!("{count} 2, got 1"));
    refuses("quantile(1, 2, a)", 1, &format!("{count} 2, got 3"));
    refuses("sum(1)", 5, "expected type instant vector in aggregation expression, got scalar");
    refuses("topk(a, b)", 6, "expected type scalar in aggregation parameter, got instant vector");
    refuses("count_values(1, b)", 14, "expected type string in aggregation parameter, got scalar");
}

#[test]
fn calls() {
    refuses("nix(a)", 1, "unknown function with name \"nix\"");
    refuses("Rate(a[1m])", 1, "unknown function with name \"Rate\"");
    refuses("abs(a, )", 6, "trailing commas not allowed in function call args");
    refuses("abs(a b)", 7, "unexpected identifier \"b\"");
    refuses("abs()", 1, "expected 1 argument(s) in call to \"abs\", got 0");
    refuses("round(a, 1, 2)", 1, "expected at most 2 argument(s) in call to \"round\", got 3");
    refuses("label_join(a)", 1, "expected at least 3 argument(s) in call to \"label_join\", got 1");
    refuses("rate(a)", 6, "expected type range vector in call to function \"rate\", got instant vector");
    refuses("sort_by_label(a, \"b\", 1)", 23, "expected type string in call to function \"sort_by_label\", got scalar");
    refuses("info(a, b{c=\"d\"})", 9, "expected label selectors only, got vector selector instead");
    refuses("info(a, {b=\"c\"} + 1)", 9, "expected label selectors only");
    refuses("info(a, 1)", 1, "expected type instant vector in call to function \"info\", got scalar");
    refuses("info({}, {})", 6, "vector selector must contain at least one non-empty matcher");
}

#[test]
fn operations() {
    refuses("1 == 2", 3, "comparisons between scalars must use BOOL modifier");
    refuses("a  + bool b", 4, "bool modifier can only be used on comparison operators");
    refuses("1 and a", 1, "set operator \"and\" not allowed in binary scalar expression");
    refuses("a or on(b) 1", 1, "vector matching only allowed between instant vectors");
    refuses("a + fill(1) 1", 1, "filling in missing series only allowed between instant vectors");
    refuses("a or fill(1) b", 1, "filling in missing series not allowed for set operators");
    refuses("a unless on(b) group_left c", 1, "no grouping allowed for \"unless\" operation");
    refuses("a + on(b,c) group_left(c) d", 3, "label \"c\" must not occur in ON and GROUP clause at once");
    refuses("a[1m] + b", 1, "binary expression must contain only scalar and instant vector types");
    refuses("a + \"b\"", 5, "binary expression must contain only scalar and instant vector types");
    refuses("a + fill(b) c", 10, "unexpected identifier \"b\"");
    let allowed = "unary expression only allowed on expressions of type scalar or instant vector, got";
    refuses("-a[1m]", 1, &format!("{allowed} \"range vector\""));
    refuses("-\"a\"", 1, &format!("{allowed} \"string\""));
}

#[test]
fn modifiers() {
    let only = "modifier must be preceded by an instant vector selector or range vector selector or a subquery";
    refuses("1 offset 1m", 1, &format!("offset {only}"));
    refuses("2 + rate(a[1m]) @ 5", 5, &format!("@ {only}"));
    refuses("a offset 1m offset 2m", 1, "offset may not be set multiple times");
    refuses("a @ 1 @ end()", 1, "@ <timestamp> may not be set multiple times");
    refuses("a offset b", 10, "unexpected identifier \"b\" in offset, expected number, duration, step(), or range()");
    refuses(
        "a offset (1m x)",
        14,
        "unexpected identifier \"x\" in offset, expected number, duration, step(), or range()",
    );
    refuses("a @ b", 5, "unexpected identifier \"b\" in @, expected timestamp");
    refuses("a @ start", 10, "unexpected end of input in @, expected timestamp");
    refuses("a @ step()", 5, "unexpected \"step\" in @, expected timestamp");
    refuses("a @ -Inf", 1, "timestamp out of bounds for @ modifier: -Inf");
    refuses("a @ 1e19", 1, "timestamp out of bounds for @ modifier: 10000000000000000000.000000");
    refuses("(a)[1m]", 4, "ranges only allowed for vector selectors");
    refuses("a offset 1m [1m]", 13, "no offset modifiers allowed before range");
    refuses("a @ 1 [1m]", 7, "no @ modifiers allowed before range");
    refuses("a[1m][1m:]", 1, "subquery is only allowed on instant vector, got matrix instead");
    refuses("1[1m:]", 1, "subquery is only allowed on instant vector, got scalar instead");
    refuses("a anchored smoothed", 1, "anchored and smoothed modifiers cannot be used together");
    refuses("a[1m:] anchored", 1, "anchored modifier is not supported for subqueries");
    refuses("1 smoothed", 1, "smoothed modifier not implemented");
}

#[test]
fn durations() {
    let selector = "in subquery or range selector, expected number, duration, step(), or range()";
    refuses("a[]", 3, &format!("unexpected \"]\" {selector}"));
    refuses("a[1m+]", 6, &format!("unexpected \"]\" {selector}"));
    refuses("a[(1m]", 6, &format!("unexpected \"]\" {selector}"));
    refuses("a[step]", 7, &format!("unexpected \"]\" {selector}"));
    refuses("a[1m 1m]", 6, "unexpected duration \"1m\" in subquery or range, expected \":\" or \"]\"");
    let step = "in subquery selector, expected number, duration, step(), range(), or \"]\"";
    refuses("a[1m:+]", 7, &format!("unexpected \"]\" {step}"));
    refuses("a[1m:1m 2]", 9, "unexpected number \"2\" in subquery selector, expected \"]\"");
    refuses("a[0]", 3, "duration must be greater than 0");
    refuses("a[1m:-1]", 6, "duration must be greater than 0");
    refuses("a[1m/0]", 5, "division by zero");
    refuses("a[step() % 0s]", 10, "modulo by zero");
    refuses("a offset -1e11", 11, "duration out of range");
    refuses("a[1e11 - 1]", 3, "duration out of range");
}
