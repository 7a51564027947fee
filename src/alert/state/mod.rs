//! The states of a rule's alerts, as a pure function: what was, and what the expression came to at one time, give what is
//! and what changed. After Prometheus's `rules/alerting.go`.
//!
//! An alert is *pending* from when its condition first holds, *firing* once it has held for `for`, and goes on firing for
//! `keep_firing_for` after it held last; then it is *resolved*, and remembered as such for a while. A pending alert whose
//! condition does not hold once is gone.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rule::{Alerting, Verdict};

/// How long a resolved alert is remembered, so that it is told again to who missed it, in milliseconds.
pub(crate) const RESOLVED_RETENTION_MS: i64 = 900_000;
/// The label of an alert that is about the rule itself: `no_data` or `error`.
pub(crate) const REASON: &str = "farol_reason";

/// The labels that identify an alert.
pub(crate) type Labels = BTreeMap<String, String>;

/// The state of an alert.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// There is none, or it is resolved.
    #[default]
    Inactive,
    /// The condition holds, not yet for long enough.
    Pending,
    /// It is notified of.
    Firing,
}

impl Phase {
    /// Prometheus's word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// An alert of a rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Instance {
    /// What identifies it.
    pub(crate) labels: Labels,
    /// What is told about it, as of the last time that the condition held.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    /// `Inactive` means resolved.
    pub(crate) phase: Phase,
    /// What the expression returned last.
    #[serde(default, with = "value_text")]
    pub(crate) value: Option<f64>,
    /// Since when the condition holds, in milliseconds since 1970, as all times here.
    pub(crate) active_since_ms: i64,
    /// Since when it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fired_at_ms: Option<i64>,
    /// Since when it is resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resolved_at_ms: Option<i64>,
    /// Since when it fires only because of `keep_firing_for`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keep_firing_since_ms: Option<i64>,
    /// The last matching lines, of a LogQL rule: nanoseconds since 1970, and the line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lines: Vec<(i64, String)>,
    /// The labels that the expression returned, before those of the rule.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) series: Labels,
}

/// The alerts of a rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RuleState {
    /// By labels, each labels once.
    pub(crate) instances: Vec<Instance>,
}

impl RuleState {
    /// Alerts that are pending or firing.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(|instance| instance.phase != Phase::Inactive)
    }

    /// What the rule is: firing if one alert is, else pending if one is.
    pub(crate) fn phase(&self) -> Phase {
        self.instances.iter().map(|instance| instance.phase).max().unwrap_or_default()
    }
}

/// A condition that holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Candidate {
    /// The labels of the alert.
    pub(crate) labels: Labels,
    /// What is told about it.
    pub(crate) annotations: BTreeMap<String, String>,
    /// What the expression returned; `None` for an alert about the rule itself.
    pub(crate) value: Option<f64>,
    /// The labels that the expression returned.
    pub(crate) series: Labels,
}

/// What an expression came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// These conditions hold.
    Holds(Vec<Candidate>),
    /// There is nothing to decide on.
    NoData,
    /// It cannot be evaluated.
    Failed(String),
}

/// A change of state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// What it was.
    pub(crate) from: Phase,
    /// The alert, as it is now.
    pub(crate) instance: Instance,
}

/// Labels that come twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("vector contains metrics with the same labelset after applying alert labels")]
pub(crate) struct DuplicateLabels;

/// What the alerts are after an evaluation at `at_ms`, and what changed. `own` are the labels of an alert about the rule
/// itself.
///
/// # Errors
/// When two conditions have the same labels.
pub(crate) fn step(
    rule: &Alerting,
    before: &RuleState,
    outcome: Outcome,
    own: &Labels,
    at_ms: i64,
) -> Result<(RuleState, Vec<Event>), DuplicateLabels> {
    let (mut candidates, keep) = match outcome {
        Outcome::Holds(candidates) => (candidates, false),
        Outcome::NoData => verdict(rule.no_data, "no_data", "the expression has no data", own),
        Outcome::Failed(why) => {
            let (candidates, keep) = verdict(rule.on_error, "error", &why, own);
            (candidates, keep || rule.on_error == Verdict::Alert)
        }
    };
    candidates.sort_by(|a, b| a.labels.cmp(&b.labels));
    if candidates.windows(2).any(|two| two[0].labels == two[1].labels) {
        return Err(DuplicateLabels);
    }
    let mut stepping = Stepping { rule, at_ms, keep, after: RuleState::default(), events: Vec::new() };
    let mut old = before.instances.iter().peekable();
    for candidate in candidates {
        let mut same = None;
        while let Some(instance) = old.next_if(|instance| instance.labels <= candidate.labels) {
            match instance.labels.cmp(&candidate.labels) {
                Ordering::Equal => same = Some(instance),
                _ => stepping.without_condition(instance),
            }
        }
        stepping.with_condition(same, candidate);
    }
    old.for_each(|instance| stepping.without_condition(instance));
    Ok((stepping.after, stepping.events))
}

/// The conditions that hold by verdict, and whether all others stay as they are.
fn verdict(verdict: Verdict, reason: &str, why: &str, own: &Labels) -> (Vec<Candidate>, bool) {
    match verdict {
        Verdict::Ok => (Vec::new(), false),
        Verdict::Keep => (Vec::new(), true),
        Verdict::Alert => {
            let mut labels = own.clone();
            labels.insert(REASON.to_owned(), reason.to_owned());
            let annotations = BTreeMap::from([("farol_reason".to_owned(), why.to_owned())]);
            (vec![Candidate { labels, annotations, ..Candidate::default() }], false)
        }
    }
}

struct Stepping<'s> {
    rule: &'s Alerting,
    at_ms: i64,
    /// Alerts whose condition is not known stay as they are.
    keep: bool,
    after: RuleState,
    events: Vec<Event>,
}

impl Stepping<'_> {
    fn with_condition(&mut self, before: Option<&Instance>, candidate: Candidate) {
        let before = before.filter(|instance| instance.phase != Phase::Inactive);
        let from = before.map_or(Phase::Inactive, |instance| instance.phase);
        let mut now = Instance {
            phase: if from == Phase::Inactive { Phase::Pending } else { from },
            active_since_ms: before.map_or(self.at_ms, |instance| instance.active_since_ms),
            fired_at_ms: before.and_then(|instance| instance.fired_at_ms),
            lines: before.map(|instance| instance.lines.clone()).unwrap_or_default(),
            labels: candidate.labels,
            annotations: candidate.annotations,
            value: candidate.value,
            series: candidate.series,
            resolved_at_ms: None,
            keep_firing_since_ms: None,
        };
        if now.phase == Phase::Pending && self.at_ms - now.active_since_ms >= self.rule.for_ms {
            now.phase = Phase::Firing;
            now.fired_at_ms = Some(self.at_ms);
        }
        self.go_on(from, now);
    }

    fn without_condition(&mut self, before: &Instance) {
        let mut now = before.clone();
        // What is said about the rule itself is known again with each evaluation.
        if self.keep && before.phase != Phase::Inactive && !before.labels.contains_key(REASON) {
            self.after.instances.push(now);
            return;
        }
        match before.phase {
            Phase::Pending => {
                now.phase = Phase::Inactive;
                self.events.push(Event { from: Phase::Pending, instance: now });
            }
            Phase::Inactive => {
                let is_known = before.resolved_at_ms.is_some_and(|at| self.at_ms - at <= RESOLVED_RETENTION_MS);
                if is_known {
                    self.after.instances.push(now);
                }
            }
            Phase::Firing => {
                let since = before.keep_firing_since_ms.unwrap_or(self.at_ms);
                if self.at_ms - since < self.rule.keep_firing_for_ms {
                    now.keep_firing_since_ms = Some(since);
                } else {
                    now.phase = Phase::Inactive;
                    now.resolved_at_ms = Some(self.at_ms);
                }
                self.go_on(Phase::Firing, now);
            }
        }
    }

    fn go_on(&mut self, from: Phase, now: Instance) {
        if from != now.phase {
            self.events.push(Event { from, instance: now.clone() });
        }
        self.after.instances.push(now);
    }
}

/// JSON has no NaN and no infinities.
mod value_text {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests;
