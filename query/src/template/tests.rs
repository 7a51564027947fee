//! Templates against what Go makes of them.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

struct Seen(BTreeMap<String, String>);

impl Context for Seen {
    fn dot(&self) -> Value {
        Value::Labels
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        loki::call(name, arguments, self)
    }
}

impl loki::Record for Seen {
    fn labels(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    fn line(&self) -> &str {
        r#"{"user":{"id":7,"name":"x"},"list":[1,"b",null],"f":1.5}"#
    }

    /// 2024-02-03 04:05:06.078 UTC.
    fn timestamp(&self) -> i64 {
        1_706_933_106_078_000_000
    }

    fn now(&self) -> i64 {
        1_706_933_107_000_000_000
    }
}

fn seen() -> Seen {
    let pairs =
        [("a", "1"), ("b", "two words"), ("e", ""), ("n", "-12"), ("f", "0.25"), ("u", "é日本"), ("path", "/x/y?q=1")];
    Seen(pairs.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
}

#[track_caller]
fn check(template: &str, text: &str) {
    let rendered = Template::parse("line", template, &[loki::FUNCTIONS]).and_then(|t| t.render(&seen()));
    assert_eq!(rendered.as_deref(), Ok(text), "{template}");
}

#[track_caller]
fn fails(template: &str, message: &str) {
    let rendered = Template::parse("line", template, &[loki::FUNCTIONS]).and_then(|t| t.render(&seen()));
    assert_eq!(rendered, Err(format!("template: line:{message}")), "{template}");
}

#[test]
fn texts_and_fields() {
    check("", "");
    check("plain } { text", "plain } { text");
    check("{{.a}}-{{ .b }}-{{.nosuch}}", "1-two words-");
    check("a {{- .a -}} \n b{{/* a comment */}}c{{- /* trims */ -}} d", "a1bcd");
    check("{{\"q\\\"\\u00e9\"}}{{`raw \\n`}}{{'a'}}{{0x10}}{{1.50}}{{true}}{{-3}}", "q\"éraw \\n97161.5true-3");
    check("{{$}}", "map[a:1 b:two words e: f:0.25 n:-12 path:/x/y?q=1 u:é日本]");
    check("{{ $.a }}{{ (.b) }}{{ print 1 2 \"x\" 3 }}", "1two words1 2x3");
    check("{{ __line__ | len }} {{ __timestamp__ | unixEpoch }}", "56 1706933106");
}

#[test]
fn control() {
    check("{{if .a}}yes{{else}}no{{end}}{{if .e}}yes{{else if .b}}b{{else}}no{{end}}", "yesb");
    check("{{with .b}}<{{.}}>{{end}}{{with .e}}x{{else}}none{{end}}{{with $x := .a}}{{$x}}{{end}}", "<two words>none1");
    check("{{$x := .a}}{{$x = \"new\"}}{{if true}}{{$x = \"newer\"}}{{end}}{{$x}}", "newer");
    check("{{range $k, $v := (fromJson __line__).user}}{{$k}}={{$v}};{{end}}", "id=7;name=x;");
    check("{{range $i, $v := (fromJson __line__).list}}{{$i}}:{{$v}} {{end}}", "0:1 1:b 2:<no value> ");
    check("{{range (fromJson \"[]\")}}x{{else}}empty{{end}}", "empty");
    check(
        "{{range $i, $v := fromJson \"[1,2,3,4]\"}}{{if eq $i 1}}{{continue}}{{end}}{{if eq $i 3}}{{break}}{{end}}{{$v}}{{end}}",
        "13",
    );
    check("{{define \"t\"}}[{{.}}]{{end}}{{template \"t\" .a}}{{block \"u\" .b}}({{.}}){{end}}", "[1](two words)");
    check("{{and .a .b}}|{{or .e .b}}|{{not .e}}|{{and .e .nosuch}}|{{or 0 \"\"}}", "two words|two words|true||");
    check("{{range $k, $v := .}}{{$k}}{{end}}", "abefnpathu");
}

#[test]
fn comparisons() {
    check(
        "{{eq .a \"1\"}}{{eq .a \"2\" \"1\"}}{{ne 1 2}}{{lt 1 2}}{{le 2 2}}{{gt \"b\" \"a\"}}{{ge 1.5 2.5}}",
        "truetruetruetruetruetruefalse",
    );
    check("{{if gt (int .n) -20}}x{{end}}{{eq (len .b) 9}}", "xtrue");
    fails("{{eq .a 1}}", "1:2: executing \"line\" at <eq .a 1>: error calling eq: incompatible types for comparison");
}

#[test]
fn text_functions() {
    check("{{.b | upper}} {{ToLower \"ÀB\"}} {{title .b}} {{title \"it's a-b\"}}", "TWO WORDS àb Two Words It'S A-B");
    check(
        "{{Replace .b \"o\" \"0\" 1}} {{replace \"o\" \"0\" .b}} {{Replace \"aaa\" \"a\" \"b\" -1}}",
        "tw0 words tw0 w0rds bbb",
    );
    check(
        "{{Trim \"xxaxx\" \"x\"}}{{TrimLeft \"xxa\" \"x\"}}{{TrimRight \"axx\" \"x\"}}{{TrimPrefix \"pre-a\" \"pre-\"}}{{TrimSuffix \"a.go\" \".go\"}}{{TrimSpace \"  a \"}}",
        "aaaaaa",
    );
    check("{{trim \" a \"}}{{trimAll \"$\" \"$5$\"}}{{trimPrefix \"-\" \"-h\"}}{{trimSuffix \"-\" \"h-\"}}", "a5hh");
    check(
        "{{trunc 3 .b}}|{{trunc -5 .b}}|{{trunc 99 .b}}|{{substr 4 7 .b}}|{{substr 4 -1 .b}}|{{substr -1 3 .b}}",
        "two|words|two words|wor|words|two",
    );
    // Each byte of a letter that is cut in two is one that Go cannot show.
    check(
        "{{trunc 2 \"日\"}}|{{substr 1 3 \"日\"}}|{{slice \"a日\" 0 2}}",
        "\u{FFFD}\u{FFFD}|\u{FFFD}\u{FFFD}|a\u{FFFD}",
    );
    check(
        "{{alignLeft 3 .u}}|{{alignLeft 5 .u}}|{{alignRight 2 .u}}|{{alignRight 5 .u}}|",
        "é日本|é日本  |日本|  é日本|",
    );
    check("{{indent 2 \"a\\nb\"}}{{nindent 1 \"c\"}}{{repeat 3 \"ab\"}}", "  a\n  b\n cababab");
    check("{{contains \"wo\" .b}}{{hasPrefix \"two\" .b}}{{hasSuffix \"x\" .b}}", "truetruefalse");
    check(
        "{{regexReplaceAll \"(w)(o)\" .b \"$2$1\"}} {{regexReplaceAllLiteral \"w\" .b \"$1\"}} {{count \"o\" .b}}",
        "tow owrds t$1o $1ords 2",
    );
    check(
        "{{urlencode .path}} {{urldecode \"a%20b+c\"}} {{b64enc .a}} {{b64dec \"MQ\"}} {{b64dec \"dHdv\"}}",
        "%2Fx%2Fy%3Fq%3D1 a b c MQ== 1 two",
    );
    check(
        "{{html \"<a href='x'>&\"}} {{js \"it's\"}} {{urlquery \"a b\"}} {{println \"x\" 1}}",
        "&lt;a href=&#39;x&#39;&gt;&amp; it\\'s a+b x 1\n",
    );
    check("{{.nosuch | default \"d\"}} {{.a | default \"d\"}} {{default 5 0}}", "d 1 5");
    check(
        "{{index (fromJson __line__).list 1}} {{index . \"b\"}} {{slice .b 4 7}} {{(fromJson __line__).f}} {{fromJson \"nope\"}}",
        "b two words wor 1.5 <no value>",
    );
}

#[test]
fn number_functions() {
    check(
        "{{add 1 .a 2.9 \"x\"}} {{sub 5 .a}} {{mul 2 3 .a}} {{div 7 2}} {{mod 7 4}} {{max 1 .n 9}} {{min 1 .n}}",
        "4 4 6 3 3 9 -12",
    );
    check(
        "{{addf 0.1 0.2}} {{subf .f 0.5}} {{mulf 1.1 1.1}} {{divf 10 3}} {{maxf 1 2.5}} {{minf 1 .f}}",
        "0.3 -0.25 1.21 3.3333333333333335 2.5 0.25",
    );
    check(
        "{{ceil .f}} {{floor -1.5}} {{round 3.14159 2}} {{round 2.5 0}} {{int \"12.0\"}} {{int 3.9}} {{float64 .a}} {{int \"0x1F\"}} {{int \"nope\"}}",
        "1 -2 3.14 3 12 3 1 31 0",
    );
    check("{{bytes \"1KiB\"}} {{duration \"1m30s\"}} {{duration_seconds \"500ms\"}}", "1024 90 0.5");
    check(
        "{{printf \"%d|%5d|%-5d|%05d|%x|%s|%q|%v|%t|%%\" 42 42 42 -42 255 .b .a 1.5 true}}",
        "42|   42|42   |-0042|ff|two words|\"1\"|1.5|true|%",
    );
    check(
        "{{printf \"%5.1f|%05.1f|%-10s|%10s|%.2s|%e|%g|%+d|%c|%T\" 3.14159 2.5 \"ab\" \"cd\" \"xyz\" 1234.5 1e9 5 65 1.5}}",
        "  3.1|002.5|ab        |        cd|xy|1.234500e+03|1e+09|+5|A|float64",
    );
    check(
        "{{printf \"%d %s\" \"x\" 5}} {{printf \"%d\"}} {{printf \"a\" 1}} {{printf \"%!\"}}",
        "%!d(string=x) %!s(int=5) %!d(MISSING) a%!(EXTRA int=1) %!!(MISSING)",
    );
}

#[test]
fn times() {
    check("{{__timestamp__ | date \"2006-01-02T15:04:05.000Z07:00\"}}", "2024-02-03T04:05:06.078Z");
    check(
        "{{unixEpochMillis __timestamp__}} {{unixEpochNanos __timestamp__}} {{unixEpoch now}}",
        "1706933106078 1706933106078000000 1706933107",
    );
    check(
        "{{toDate \"2006-01-02\" \"2024-02-03\" | unixEpoch}} {{unixToTime \"1706933106\" | date \"15:04\"}} {{unixToTime \"1706933106078\" | unixEpochMillis}}",
        "1706918400 04:05 1706933106078",
    );
    check("{{toDate \"2006\" \"bad\"}}", "0001-01-01 00:00:00 +0000 UTC");
    check(
        "{{(__timestamp__).Year}} {{__timestamp__.Format \"Jan\"}} {{now.Unix}} {{__timestamp__}}",
        "2024 Feb 1706933107 2024-02-03 04:05:06.078 +0000 UTC",
    );
}

#[test]
fn failures_are_told_as_go_does() {
    fails(
        "{{ .f | float64 | round 2 }}",
        "1:24: executing \"line\" at <2>: wrong type for value; expected int; got float64",
    );
    fails("x\n{{upper 5}}", "2:8: executing \"line\" at <5>: expected string; found 5");
    fails("{{trunc \"x\" .a}}", "1:8: executing \"line\" at <\"x\">: expected integer; found \"x\"");
    fails(
        "{{alignLeft (add 1 2) .a}}",
        "1:19: executing \"line\" at <2>: wrong type for value; expected int; got int64",
    );
    fails("{{upper}}", "1:2: executing \"line\" at <upper>: wrong number of args for upper: want 1 got 0");
    fails(
        "{{div 1 0}}",
        "1:2: executing \"line\" at <div 1 0>: error calling div: runtime error: integer divide by zero",
    );
    fails("{{.a.b}}", "1:2: executing \"line\" at <.a.b>: can't evaluate field b in type string");
    fails("{{template \"nosuch\"}}", "1:11: executing \"line\" at <nosuch>: template \"nosuch\" not defined");
    fails(
        "{{repeat 999999999 \"x\"}}",
        "1:2: executing \"line\" at <repeat 999999999 \"x\">: error calling repeat: strings: Repeat output length overflow",
    );
    fails(
        "{{define \"r\"}}{{template \"r\"}}{{end}}{{template \"r\"}}",
        "1:25: executing \"r\" at <r>: exceeded maximum template depth (64)",
    );
    fails(
        "{{duration \"x\"}}",
        "1:2: executing \"line\" at <duration \"x\">: error calling duration: time: invalid duration \"x\"",
    );
    fails(
        "{{upper (fromJson __line__).nosuch}}",
        "1:18: executing \"line\" at <__line__>: invalid value; expected string",
    );
}

#[test]
fn malformed_templates_are_refused() {
    fails("{{", "1: unclosed action");
    fails("a\n{{.a", "2: unclosed action");
    fails("{{frob .a}}", "1: function \"frob\" not defined");
    fails("{{if .a}}", "1: unexpected EOF");
    fails("{{end}}", "1: unexpected {{end}}");
    fails("{{else}}", "1: unexpected {{else}}");
    fails("{{}}", "1: missing value for command");
    fails("{{.a | }}", "1: missing value for command");
    fails("{{(.a}}", "1: unclosed left paren");
    fails("{{.a)}}", "1: unexpected right paren");
    fails("{{\"x}}", "1: unterminated quoted string");
    fails("{{$x}}", "1: undefined variable \"$x\"");
    fails("{{break}}", "1: {{break}} outside {{range}}");
    fails("{{.a | 5}}", "1: non executable command in pipeline stage 2");
    fails("{{/* x }}", "1: unclosed comment");
    fails("{{1a}}", "1: bad number syntax: \"1a\"");
}

#[test]
fn fields_are_known() {
    let template = Template::parse(
        "x",
        "{{.a}}{{if .b}}{{range .c}}{{.d}}{{end}}{{else}}{{$.e}}{{end}}{{(fromJson .f).g}}",
        &[loki::FUNCTIONS],
    )
    .unwrap();
    assert_eq!(template.fields().collect::<Vec<_>>(), ["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(Template::parse("x", "{{ .a }}", &[loki::FUNCTIONS]).unwrap().only_field(), Some("a"));
    assert_eq!(Template::parse("x", "{{ .a.b }}", &[loki::FUNCTIONS]).unwrap().only_field(), None);
    assert_eq!(Template::parse("x", "{{.a}} ", &[loki::FUNCTIONS]).unwrap().only_field(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// No text makes reading or running panic.
    #[test]
    fn never_panics(parts in prop::collection::vec(prop_oneof![
        r"\{\{|\}\}|\{\{- | -\}\}|\(|\)|\||:=|=|,|\$x|\.a|\.|\$",
        "if |else|end|range |with |define |template |break|nil|true",
        "printf |index |slice |eq |add |div |round |trunc |substr |repeat |alignLeft |date |toDate |fromJson |unixToTime |replace |default |regexReplaceAll |len |__line__",
        "\"[a-z%0-9.é\\\\-]{0,5}\"|[0-9]{1,3}|-[0-9]|0x|1e9|1\\.5|`[a-z%]`",
        " ",
    ], 0..24)) {
        let text = parts.concat();
        if let Ok(template) = Template::parse("line", &text, &[loki::FUNCTIONS]) {
            let _ = template.render(&seen());
        }
    }
}
