//! What is kept in the catalog of the states of rules, and of groups that came over HTTP.

use serde::{Deserialize, Serialize};
use storage::{DocumentChange, Tenant};

use crate::alert::rule::{GroupKey, Language};
use crate::alert::state::{Event, Phase, RuleState};

/// States, by the rule's id.
pub(crate) const STATE: &str = "rule_state";
/// Groups that came over HTTP.
pub(crate) const GROUP: &str = "rule_group";

/// The state of a rule, with the changes that led to it: they are in the history for certain only when the next state is
/// kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StateDocument {
    /// The group's namespace.
    pub(crate) namespace: String,
    /// The group's name.
    pub(crate) group: String,
    /// The rule's name.
    pub(crate) rule: String,
    /// When it was evaluated, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// Its alerts.
    pub(crate) state: RuleState,
    /// What changed then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) changes: Vec<Change>,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// From.
    pub(crate) from: Phase,
    /// The alert as it is since.
    pub(crate) instance: crate::alert::state::Instance,
}

impl From<&Event> for Change {
    fn from(event: &Event) -> Self {
        Self { from: event.from, instance: event.instance.clone() }
    }
}

/// A group that came over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupDocument {
    /// The namespace it was put in.
    pub(crate) namespace: String,
    /// Of a group that does not say its own.
    pub(crate) language: Language,
    /// The group, as it came.
    pub(crate) yaml: String,
}

/// Under which id a group is kept: no other group's.
pub(crate) fn group_id(key: &GroupKey) -> String {
    format!("{}:{}/{}", key.namespace.len(), key.namespace, key.name)
}

/// Keeps a document.
pub(crate) fn put(kind: &'static str, tenant: &Tenant, id: String, document: &impl Serialize) -> DocumentChange {
    // Maps with names that are texts, and numbers: nothing that JSON cannot write.
    let bytes = serde_json::to_vec(document).unwrap_or_default();
    DocumentChange::Put { kind, tenant: tenant.clone(), id, bytes }
}

/// Forgets a document.
pub(crate) fn delete(kind: &'static str, tenant: &Tenant, id: String) -> DocumentChange {
    DocumentChange::Delete { kind, tenant: tenant.clone(), id }
}
