//! What a rule says to the notifier: an alert, and what a message about it needs in order to explain itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An alert that fires, or that fired and does not any more. Alerts of the same labels are the same alert.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alert {
    /// What identifies it, `alertname` among them.
    pub(crate) labels: BTreeMap<String, String>,
    /// What is told about it.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Since when it fires, in milliseconds since 1970.
    pub(crate) starts_at_ms: i64,
    /// Since when it does not fire any more; `None` while it fires.
    pub(crate) ends_at_ms: Option<i64>,
    /// When this was last known to be so.
    pub(crate) updated_at_ms: i64,
    /// Where the query can be looked at; empty when that is not known.
    pub(crate) generator_url: String,
    /// Where it comes from; `None` for alerts from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<AlertContext>,
}

impl Alert {
    /// Whether it is over at a time.
    pub(crate) fn is_resolved_at(&self, now_ms: i64) -> bool {
        self.ends_at_ms.is_some_and(|end| end <= now_ms)
    }
}

/// What a rule of this server knows about its alert.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AlertContext {
    /// The rule, as `/farol/api/v1/rules/{id}` names it.
    pub(crate) rule_id: String,
    /// The rule's expression.
    pub(crate) expr: String,
    /// The language of the expression: `promql`, `logql` or `sql`.
    pub(crate) language: String,
    /// What the expression returned last; `None` when it returned nothing or failed.
    pub(crate) value: Option<f64>,
    /// What the value is compared with in the expression, such as `> 0.5`, where it ends in a comparison.
    pub(crate) threshold: Option<String>,
    /// Since when the condition holds, `for` included, in milliseconds since 1970.
    pub(crate) active_since_ms: i64,
    /// The last lines that match, oldest first: nanoseconds since 1970 and the line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lines: Vec<(i64, String)>,
}
