//! Rules as they are evaluated: YAML ([`yaml`]) -> checked ([`check`]) -> [`RuleGroup`].
//!
//! The form is Prometheus's rule file, and what Farol adds to it are fields that Prometheus does not have: the group's
//! `language`, and of a rule `no_data`, `on_error`, `lines`, `silent_source` and `slo`. A rule
//! that got through here can be evaluated: its expression is parsed, and its labels are labels.

mod check;
mod expression;
mod silent_source;
mod slo;
mod yaml;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use check::{expand_file, parse_file, parse_group};
pub(crate) use expression::Query;
pub(crate) use yaml::GroupYaml;

/// What is wrong with a rule file: every mistake, with its line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub(crate) struct Mistakes(pub(crate) Vec<Mistake>);

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The file; empty when the text has no file.
    pub(crate) file: String,
    /// Counted from 1; 0 when it is not known.
    pub(crate) line: u64,
    /// Which group and rule, and what is wrong.
    pub(crate) message: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", 0) => f.write_str(&self.message),
            ("", line) => write!(f, "line {line}: {}", self.message),
            (file, 0) => write!(f, "{file}: {}", self.message),
            (file, line) => write!(f, "{file}:{line}: {}", self.message),
        }
    }
}

/// In which language the expressions of a group are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    /// Over metrics.
    #[default]
    Promql,
    /// Over logs.
    Logql,
    /// Over logs: the numeric column `value`, and every other column is a label.
    Sql,
}

impl Language {
    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Promql => "promql",
            Self::Logql => "logql",
            Self::Sql => "sql",
        }
    }
}

/// What becomes of a rule's alerts when its expression has no data, or cannot be evaluated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It counts as a condition that does not hold.
    #[default]
    Ok,
    /// It is an alert of its own, after `for`, with the label `farol_reason`.
    Alert,
    /// Alerts stay as they are.
    Keep,
}

/// Where a group comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    /// The path of its file, or the namespace in which it was put over HTTP.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

/// Rules that are evaluated one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RuleGroup {
    /// Where it comes from.
    pub(crate) key: GroupKey,
    /// How often it is evaluated, in milliseconds; 0 means as often as the server is set to.
    pub(crate) interval_ms: i64,
    /// It is evaluated as of so many milliseconds before its time; `None` means as the server is set to.
    pub(crate) query_offset_ms: Option<i64>,
    /// How many alerts or series a rule may have; 0 means any number.
    pub(crate) limit: usize,
    /// Of its expressions.
    pub(crate) language: Language,
    /// In order.
    pub(crate) rules: Vec<Arc<Rule>>,
    /// As it was written.
    pub(crate) yaml: Arc<GroupYaml>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    /// The same as long as namespace, group, kind, name and labels are: what its state is kept under.
    pub(crate) id: String,
    /// The alert's or the recorded metric's name.
    pub(crate) name: String,
    /// The expression as it was written.
    pub(crate) expr: String,
    /// The expression.
    pub(crate) query: Query,
    /// Labels of the group and of the rule; templates for alerts.
    pub(crate) labels: BTreeMap<String, String>,
    /// What it does with what the expression returns.
    pub(crate) kind: RuleKind,
    /// The line in its file.
    pub(crate) line: u64,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RuleKind {
    /// It keeps the result as series.
    Recording,
    /// It makes alerts of it.
    Alerting(Alerting),
}

/// How a rule alerts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Alerting {
    /// How long the condition holds before the alert fires, in milliseconds.
    pub(crate) for_ms: i64,
    /// How long the alert goes on firing after the condition held last, in milliseconds.
    pub(crate) keep_firing_for_ms: i64,
    /// Templates of what is told.
    pub(crate) annotations: BTreeMap<String, String>,
    /// When there is no data.
    pub(crate) no_data: Verdict,
    /// When it cannot be evaluated.
    pub(crate) on_error: Verdict,
    /// How many of the last matching lines are told, of a LogQL rule.
    pub(crate) lines: usize,
}

impl Rule {
    /// How it alerts, if it does.
    pub(crate) fn alerting(&self) -> Option<&Alerting> {
        match &self.kind {
            RuleKind::Alerting(alerting) => Some(alerting),
            RuleKind::Recording => None,
        }
    }
}

#[cfg(test)]
mod tests;
