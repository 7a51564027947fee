//! A rule file as it stands, before anything is checked but its form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::slo::SloYaml;
use super::{Language, Verdict};
use crate::scrape::Lapse;

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileYaml {
    /// Its groups.
    pub(crate) groups: Option<Vec<Spanned<GroupYaml>>>,
    /// Grafana's and Mimir's tools name the namespace here; the file's path is what counts.
    #[serde(skip_serializing)]
    pub(crate) namespace: Option<String>,
}

/// A group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the names are Prometheus's")]
pub(crate) struct GroupYaml {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<Lapse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query_offset: Option<Lapse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) language: Option<Language>,
    pub(crate) rules: Option<Vec<Spanned<RuleYaml>>>,
    /// Thanos's word for what to do when a store is away: there is one store here.
    #[serde(skip_serializing)]
    pub(crate) partial_response_strategy: Option<String>,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the names are Prometheus's")]
pub(crate) struct RuleYaml {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) record: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alert: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expr: Option<Spanned<String>>,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<Lapse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_firing_for: Option<Lapse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    /// Farol's: what no data means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) no_data: Option<Verdict>,
    /// Farol's: what an error means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on_error: Option<Verdict>,
    /// Farol's: how many of the last matching lines are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lines: Option<usize>,
    /// Farol's, in place of `expr`: sources that were sending and have stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) silent_source: Option<SilentSourceYaml>,
    /// Farol's: a service level objective, which becomes several rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slo: Option<SloYaml>,
}

/// Sources that were sending and have stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SilentSourceYaml {
    /// Which: a selector of series, or of streams in a group of LogQL.
    #[serde(rename = "match")]
    pub(crate) selector: Spanned<String>,
    /// How long nothing has come before it counts as silent.
    pub(crate) after: Lapse,
    /// How long a source is remembered after it sent last.
    #[serde(default = "default_forget")]
    pub(crate) forget: Lapse,
    /// The labels that make a source; all, when it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<Vec<String>>,
}

fn default_forget() -> Lapse {
    Lapse::seconds(86_400)
}
