//! Inhibition: an alert that explains another keeps its message back.
//!
//! An [`Index`] is made of all alerts at once, so that asking of one costs no walk over the others.

use std::collections::HashMap;

use super::fingerprint;
use super::matcher::{Labels, Matcher, all_match};

/// A rule: while a source fires, its targets are kept back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InhibitRule {
    /// Which alerts keep others back.
    pub(crate) source: Vec<Matcher>,
    /// Which are kept back.
    pub(crate) target: Vec<Matcher>,
    /// The labels in which both must agree; one that is not there is as an empty one.
    pub(crate) equal: Vec<String>,
}

/// The sources of every rule, by the labels in which targets must agree with them.
#[derive(Debug)]
pub(crate) struct Index<'r> {
    rules: Vec<(&'r InhibitRule, HashMap<u64, Sources>)>,
}

/// Two fingerprints of sources: one source is as good as many.
#[derive(Debug, Default)]
struct Sources {
    /// Of one that is a source only.
    only_source: Option<u64>,
    /// Of one that is a target of the same rule too: it does not keep back others like it.
    also_target: Option<u64>,
}

impl<'r> Index<'r> {
    /// An index of alerts that fire.
    pub(crate) fn new<'a>(rules: &'r [InhibitRule], firing: impl Iterator<Item = (u64, &'a Labels)>) -> Self {
        let mut rules: Vec<_> = rules.iter().map(|rule| (rule, HashMap::<u64, Sources>::new())).collect();
        if rules.is_empty() {
            return Self { rules };
        }
        for (id, labels) in firing {
            for (rule, sources) in &mut rules {
                if !all_match(&rule.source, labels) {
                    continue;
                }
                let found = sources.entry(agreement(rule, labels)).or_default();
                let place =
                    if all_match(&rule.target, labels) { &mut found.also_target } else { &mut found.only_source };
                place.get_or_insert(id);
            }
        }
        Self { rules }
    }

    /// The alert that keeps back one with these labels.
    pub(crate) fn inhibitor(&self, labels: &Labels) -> Option<u64> {
        self.rules.iter().find_map(|(rule, sources)| {
            if sources.is_empty() || !all_match(&rule.target, labels) {
                return None;
            }
            let found = sources.get(&agreement(rule, labels))?;
            match all_match(&rule.source, labels) {
                true => found.only_source,
                false => found.only_source.or(found.also_target),
            }
        })
    }
}

fn agreement(rule: &InhibitRule, labels: &Labels) -> u64 {
    let agreed = rule.equal.iter().map(|name| (name.clone(), labels.get(name).cloned().unwrap_or_default()));
    fingerprint::of(&agreed.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::matcher::parse;
    use super::*;

    fn labels(text: &str) -> Labels {
        text.split(',').filter_map(|pair| pair.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    #[track_caller]
    fn check(rule: (&str, &str, &str), firing: &[&str], asked: &str, inhibited: bool) {
        let equal = rule.2.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let rule = InhibitRule { source: parse(rule.0).unwrap(), target: parse(rule.1).unwrap(), equal };
        let firing: Vec<Labels> = firing.iter().map(|text| labels(text)).collect();
        let rules = [rule];
        let index = Index::new(&rules, firing.iter().map(|labels| (fingerprint::of(labels), labels)));
        assert_eq!(index.inhibitor(&labels(asked)).is_some(), inhibited, "{asked}");
    }

    #[test]
    fn a_source_keeps_targets_back_that_agree() {
        let rule = ("severity=critical", "severity=warning", "cluster");
        check(rule, &["severity=critical,cluster=a"], "severity=warning,cluster=a", true);
        check(rule, &["severity=critical,cluster=a"], "severity=warning,cluster=b", false);
        check(rule, &["severity=critical,cluster=a"], "severity=info,cluster=a", false);
        check(rule, &["severity=critical"], "severity=warning", true);
        check(rule, &[], "severity=warning", false);
    }

    /// Who is on both sides of a rule is not kept back by another who is, but is by one who is a source alone.
    #[test]
    fn both_sides() {
        let rule = ("alertname=Down", "cluster=a", "");
        check(rule, &["alertname=Down,cluster=a"], "alertname=Down,cluster=a", false);
        check(rule, &["alertname=Down,cluster=a"], "alertname=Up,cluster=a", true);
        check(rule, &["alertname=Down,cluster=b"], "alertname=Down,cluster=a", true);
    }
}
