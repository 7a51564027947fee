//! Every action, and what is refused.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

/// Rules as YAML, labels before, labels after; `None` when they are dropped.
fn check(rules: &str, before: &[(&str, &str)], after: Option<&[(&str, &str)]>) {
    let yaml: Vec<RuleYaml> = serde_saphyr::from_str(rules).unwrap();
    let rules: Vec<Rule> = yaml.iter().map(|rule| Rule::new(rule, false).unwrap()).collect();
    let mut labels: LabelMap = before.iter().copied().collect();
    let kept = apply(&rules, &mut labels).then_some(labels);
    assert_eq!(kept, after.map(|after| after.iter().copied().collect()), "{yaml:?}");
}

const ABC: [(&str, &str); 3] = [("a", "foo"), ("b", "bar"), ("c", "baz")];

#[test]
fn replace() {
    let rule = "- {source_labels: [a], regex: f(.*), target_label: d, replacement: 'ch${1}-ch${1}'}";
    check(rule, &ABC, Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "choo-choo")]));
    check(
        "- {source_labels: [a, b], regex: f(.*);(.*)r, target_label: a, replacement: 'b${1}${2}m'}\n\
         - {source_labels: [c, a], regex: (b).*b(.*)ba(.*), target_label: d, replacement: $1$2$2$3}",
        &ABC,
        Some(&[("a", "boobam"), ("b", "bar"), ("c", "baz"), ("d", "boooom")]),
    );
    check(
        "- {source_labels: [a], regex: '.*(b).*', target_label: d}",
        &[("a", "abc")],
        Some(&[("a", "abc"), ("d", "b")]),
    );
    // No match, no change; the whole value must match.
    check(
        "- {source_labels: [a], regex: f, target_label: b, replacement: bar}",
        &[("a", "foo")],
        Some(&[("a", "foo")]),
    );
    // An empty result removes the label.
    check(
        "- {source_labels: [a], regex: (f).*, target_label: $1, replacement: $2}",
        &[("a", "foo"), ("f", "x")],
        Some(&[("a", "foo")]),
    );
    check("- {target_label: a, replacement: ''}", &[("a", "foo"), ("b", "c")], Some(&[("b", "c")]));
    check(
        "- {source_labels: [none], target_label: x, replacement: static}",
        &[("a", "foo")],
        Some(&[("a", "foo"), ("x", "static")]),
    );
    check("- {source_labels: [a], regex: , target_label: x, replacement: y}", &[("a", "foo")], Some(&[("a", "foo")]));
    check(
        "- {source_labels: [z], regex: , target_label: x, replacement: y}",
        &[("a", "foo")],
        Some(&[("a", "foo"), ("x", "y")]),
    );
}

#[test]
fn templates() {
    let before = [("a", "some-name-value")];
    let regex = "source_labels: [a], regex: 'some-([^-]+)-([^,]+)'";
    check(
        &format!("- {{{regex}, target_label: '${{1}}', replacement: '${{2}}'}}"),
        &before,
        Some(&[("a", "some-name-value"), ("name", "value")]),
    );
    for (target, replacement) in [("${1}", "${3}"), ("${3}", "${1}")] {
        check(
            &format!("- {{{regex}, target_label: '{target}', replacement: '{replacement}'}}"),
            &before,
            Some(&before),
        );
    }
    // Without braces the name goes on as long as it can; $$ is $; what is no variable stays.
    let rule = |replacement: &str| format!("- {{{regex}, target_label: r, replacement: '{replacement}'}}");
    for (replacement, result) in [("$1x-", "-"), ("${1}x", "namex"), ("$$1", "$1"), ("$-", "$-"), ("${1", "${1")] {
        check(&rule(replacement), &before, Some(&[("a", "some-name-value"), ("r", result)]));
    }
    check(
        "- {source_labels: [a], regex: '(line1).*(?<second>line2)', target_label: 'l_$1', replacement: 'v_$second'}",
        &[("a", "line1\nline2")],
        Some(&[("a", "line1\nline2"), ("l_line1", "v_line2")]),
    );
    check(
        "- {source_labels: ['utf-8.label'], regex: 'x(.)', target_label: 'other.label${1}', replacement: 'm${1}'}",
        &[("utf-8.label", "xy")],
        Some(&[("other.labely", "my"), ("utf-8.label", "xy")]),
    );
}

#[test]
fn keep_and_drop() {
    let foo = [("a", "foo")];
    for (rule, kept) in [
        ("{source_labels: [a], regex: '.*o.*', action: drop}", false),
        ("{source_labels: [a], regex: no-match, action: drop}", true),
        // Anchored as a whole.
        ("{source_labels: [a], regex: f|o, action: drop}", true),
        ("{source_labels: [a], regex: no-match, action: keep}", false),
        ("{source_labels: [a], regex: 'f.*', action: KEEP}", true),
        ("{source_labels: [b], action: keep}", true),
        ("{source_labels: [a, a], separator: '', regex: foofoo, action: keep}", true),
    ] {
        check(&format!("- {rule}"), &foo, kept.then_some(&foo));
    }
    let ports = [("__port1", "1234"), ("__port2", "5678"), ("__tmp_port", "1234")];
    for (action, target, kept) in [
        ("keepequal", "__port1", true),
        ("dropequal", "__port1", false),
        ("dropequal", "__port2", true),
        ("keepequal", "__port2", false),
    ] {
        let rule = format!("- {{source_labels: [__tmp_port], target_label: {target}, action: {action}}}");
        check(&rule, &ports, kept.then_some(&ports));
    }
}

#[test]
fn hashmod() {
    let rule = "- {source_labels: [c], target_label: d, modulus: 1000, action: hashmod}";
    check(rule, &ABC, Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "976")]));
    let rule = "- {source_labels: [a], target_label: b, modulus: 1000, action: hashmod}";
    check(rule, &[("a", "foo\nbar")], Some(&[("a", "foo\nbar"), ("b", "734")]));
}

#[test]
fn names() {
    let labels = [("a", "foo"), ("b1", "bar"), ("b2", "baz")];
    check(
        "- {regex: (b.*), replacement: 'bar_${1}', action: labelmap}",
        &labels,
        Some(&[("a", "foo"), ("b1", "bar"), ("b2", "baz"), ("bar_b1", "bar"), ("bar_b2", "baz")]),
    );
    check("- {regex: (b.*), action: labelkeep}", &labels, Some(&[("b1", "bar"), ("b2", "baz")]));
    check("- {regex: (b.*), action: labeldrop}", &labels, Some(&[("a", "foo")]));
    check(
        "- {regex: '__meta_(my.*)', action: labelmap}",
        &[("__meta_my_bar", "aaa"), ("__meta_other", "ccc")],
        Some(&[("__meta_my_bar", "aaa"), ("__meta_other", "ccc"), ("my_bar", "aaa")]),
    );
}

#[test]
fn case() {
    check(
        "- {source_labels: [foo], target_label: up, action: uppercase}\n\
         - {source_labels: [foo], target_label: low, action: lowercase}",
        &[("foo", "bAr123Foo")],
        Some(&[("foo", "bAr123Foo"), ("low", "bar123foo"), ("up", "BAR123FOO")]),
    );
}

#[test]
fn rules_follow_each_other() {
    check(
        "- {source_labels: [tags], regex: '(?:.+,|^)path:(/[^,]+).*', target_label: __metrics_path__}\n\
         - {source_labels: [tags], regex: '(?:.+,|^)job:([^,]+).*', target_label: job}\n\
         - {source_labels: [tags], regex: '(?:.+,|^)label:([^=]+)=([^,]+).*', target_label: '${1}', replacement: '${2}'}\n\
         - {regex: tags, action: labeldrop}\n\
         - {source_labels: [foo], regex: '^bar$', action: keep}",
        &[("tags", "path:/secret,job:some-job,label:foo=bar")],
        Some(&[("__metrics_path__", "/secret"), ("foo", "bar"), ("job", "some-job")]),
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    for (rule, is_legacy, why) in [
        ("{action: replace}", false, "relabel action replace needs a target_label"),
        ("{action: hashmod, target_label: a}", false, "relabel action hashmod needs a modulus"),
        ("{action: hashmod, modulus: 2}", false, "relabel action hashmod needs a target_label"),
        (
            "{action: lowercase, target_label: a, replacement: b}",
            false,
            "relabel action lowercase takes no replacement",
        ),
        ("{action: labeldrop, regex: a, source_labels: [b]}", false, "relabel action labeldrop takes a regex"),
        ("{action: labelkeep, regex: a, separator: x}", false, "relabel action labelkeep takes a regex"),
        ("{action: dropequal, source_labels: [a], target_label: b, regex: c}", false, "relabel action dropequal takes"),
        ("{target_label: a-b}", true, "\"a-b\" is no label name"),
        ("{target_label: 'a${1}-'}", true, "\"a${1}-\" is no label name"),
        ("{action: labelmap, replacement: 'x-${1}'}", true, "\"x-${1}\" makes no label name"),
        ("{target_label: a, regex: '('}", false, "regex \"(\":"),
    ] {
        let yaml: RuleYaml = serde_saphyr::from_str(rule).unwrap();
        let error = Rule::new(&yaml, is_legacy).unwrap_err();
        assert!(error.starts_with(why), "{rule}: {error}");
    }
    let legacy = "{source_labels: [a], target_label: 'a_${1}_$x', replacement: b}";
    Rule::new(&serde_saphyr::from_str(legacy).unwrap(), true).unwrap();
    serde_saphyr::from_str::<RuleYaml>("{action: explode}").unwrap_err();
}
