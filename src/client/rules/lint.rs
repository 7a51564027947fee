//! Rules that are well-formed, but probably not meant so: duplicates, names that are no names, alerts that nobody can
//! silence or tell apart.

use std::collections::BTreeMap;

use crate::alert::rule::{Rule, RuleGroup};

/// What makes two rules the same: whether they alert, their names and labels.
type Identity<'r> = (bool, &'r str, &'r BTreeMap<String, String>);

/// What to look at, each with file and line.
pub(super) fn findings(groups: &[RuleGroup]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut seen: BTreeMap<Identity<'_>, Vec<String>> = BTreeMap::new();
    for group in groups {
        for rule in &group.rules {
            let place = format!("{}:{}", group.key.namespace, rule.line);
            let is_alert = rule.alerting().is_some();
            seen.entry((is_alert, rule.name.as_str(), &rule.labels)).or_default().push(place.clone());
            findings.extend(of_rule(rule).into_iter().map(|finding| format!("{place}: {}: {finding}", rule.name)));
        }
    }
    for ((is_alert, name, labels), places) in seen.into_iter().filter(|(_, places)| places.len() > 1) {
        let kind = if is_alert { "alerts" } else { "records" };
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let doubt = if is_alert { "" } else { " Might cause inconsistency while recording expressions." };
        findings.push(format!(
            "{} duplicate {kind} of {name}{{{}}}, at {}.{doubt}",
            places.len(),
            labels.join(", "),
            places.join(", ")
        ));
    }
    findings
}

fn of_rule(rule: &Rule) -> Vec<String> {
    let mut findings = Vec::new();
    if rule.alerting().is_none() && !is_metric_name(&rule.name) {
        findings.push("record: not a metric name of letters, digits, _ and :; queries have to quote it".to_owned());
    }
    for name in rule.labels.keys().filter(|name| !is_metric_name(name) || name.contains(':')) {
        findings.push(format!("labels: {name} is not a label name of letters, digits and _; queries have to quote it"));
    }
    if rule.alerting().is_some() && rule.labels.values().any(|text| text.contains("$value") || text.contains(".Value"))
    {
        findings.push("labels: a label with the value makes a new alert whenever the value changes".to_owned());
    }
    findings
}

fn is_metric_name(name: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::alert::rule::{Language, parse_file};

    #[test]
    fn what_is_probably_not_meant_is_told_with_its_place() {
        let text = "groups:\n- name: a\n  rules:\n  - {record: x, expr: up}\n  - {record: x, expr: up == 1}\n  - {record: 'x y', expr: up}\n- name: b\n  rules:\n  - {alert: A, expr: up, labels: {severity: page, at: '{{ $value }}'}}\n  - {alert: A, expr: up, labels: {severity: ticket}}\n";
        let groups = parse_file(text, "r.yml", Language::Promql).unwrap();
        let findings = findings(&groups);
        assert_eq!(findings.len(), 3, "{findings:#?}");
        assert!(findings[0].starts_with("r.yml:6: x y: record: not a metric name"), "{findings:#?}");
        assert!(findings[1].starts_with("r.yml:9: A: labels: a label with the value"), "{findings:#?}");
        assert!(findings[2].starts_with("2 duplicate records of x{}, at r.yml:4, r.yml:5."), "{findings:#?}");
    }
}
