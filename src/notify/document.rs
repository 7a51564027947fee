//! What is kept in the catalog: alerts, silences, groups, messages on their way, and the threads that they belong to.
//!
//! Invariant: a message is put in the queue in the transaction that notes that it was told; it leaves it in the transaction
//! that notes what came of it.

use serde::{Deserialize, Serialize};
use storage::{DocumentChange, Tenant};
use xxhash_rust::xxh3::xxh3_64;

use super::fingerprint;
use super::group::{Group, Reason};
use super::matcher::Labels;
use super::silence::SilenceText;
use crate::alert::Alert;

/// Alerts, by fingerprint and start: what is deleted is not what has fired again since.
pub(crate) const ALERT: &str = "notify_alert";
/// Silences, by id.
pub(crate) const SILENCE: &str = "notify_silence";
/// Groups that were looked at, by the hash of their route and labels.
pub(crate) const GROUP: &str = "notify_group";
/// Messages on their way, by [`Queued::id`].
pub(crate) const MESSAGE: &str = "notify_message";
/// Where later messages of a group belong, by group and integration.
pub(crate) const THREAD: &str = "notify_thread";

/// An alert as it is known here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The alert.
    pub(crate) alert: Alert,
    /// Its end is only what is expected if nobody speaks of it again.
    pub(crate) is_timeout: bool,
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Queued {
    /// Its name, and the key by which a second try is known: in the order in which messages were made.
    pub(crate) id: String,
    /// Who is told.
    pub(crate) receiver: String,
    /// In which way.
    pub(crate) integration: String,
    /// Of which group.
    pub(crate) group_key: String,
    /// What makes it a group.
    pub(crate) group_labels: Labels,
    /// Why.
    pub(crate) reason: Reason,
    /// When it was put in the queue, in milliseconds since 1970.
    pub(crate) created_ms: i64,
    /// Of what. What is over has its end.
    pub(crate) alerts: Vec<Alert>,
}

impl Held {
    fn id(&self) -> String {
        format!("{:016x}-{}", fingerprint::of(&self.alert.labels), self.alert.starts_at_ms)
    }

    /// Keeps it.
    pub(crate) fn put(&self, tenant: &Tenant) -> DocumentChange {
        put(ALERT, tenant, self.id(), self)
    }

    /// Forgets it.
    pub(crate) fn delete(&self, tenant: &Tenant) -> DocumentChange {
        DocumentChange::Delete { kind: ALERT, tenant: tenant.clone(), id: self.id() }
    }
}

impl Group {
    /// Stands for the group in the catalog.
    pub(crate) fn id(&self) -> String {
        let name = format!("{}\n{}\n{}", self.route_id, self.receiver, super::matcher::show_labels(&self.labels));
        format!("{:016x}", xxh3_64(name.as_bytes()))
    }

    /// Keeps it.
    pub(crate) fn put(&self, tenant: &Tenant) -> DocumentChange {
        put(GROUP, tenant, self.id(), self)
    }

    /// Forgets it.
    pub(crate) fn delete(&self, tenant: &Tenant) -> DocumentChange {
        DocumentChange::Delete { kind: GROUP, tenant: tenant.clone(), id: self.id() }
    }
}

impl Queued {
    /// Puts it in the queue.
    pub(crate) fn put(&self, tenant: &Tenant) -> DocumentChange {
        put(MESSAGE, tenant, self.id.clone(), self)
    }

    /// Takes it out.
    pub(crate) fn delete(&self, tenant: &Tenant) -> DocumentChange {
        DocumentChange::Delete { kind: MESSAGE, tenant: tenant.clone(), id: self.id.clone() }
    }

    /// Stands for the group and the integration.
    pub(crate) fn thread_id(&self) -> String {
        let name = format!("{}\n{}\n{}", self.receiver, self.integration, self.group_key);
        format!("{:016x}", xxh3_64(name.as_bytes()))
    }
}

/// Keeps a silence.
pub(crate) fn put_silence(tenant: &Tenant, silence: &SilenceText) -> DocumentChange {
    put(SILENCE, tenant, silence.id.clone(), silence)
}

/// Keeps where messages belong, or forgets it.
pub(crate) fn change_thread(tenant: &Tenant, id: String, thread: Option<&str>) -> DocumentChange {
    match thread {
        Some(thread) => {
            DocumentChange::Put { kind: THREAD, tenant: tenant.clone(), id, bytes: thread.as_bytes().to_vec() }
        }
        None => DocumentChange::Delete { kind: THREAD, tenant: tenant.clone(), id },
    }
}

fn put(kind: &'static str, tenant: &Tenant, id: String, document: &impl Serialize) -> DocumentChange {
    // Maps with names that are texts, and numbers: nothing that JSON cannot write.
    let bytes = serde_json::to_vec(document).unwrap_or_default();
    DocumentChange::Put { kind, tenant: tenant.clone(), id, bytes }
}
