//! The one edge to whoever tells people of alerts. There is nobody yet: alerts are shown by the API and kept in the history.

use std::sync::Arc;

use serde_json::Value;
use storage::{DocumentChange, Tenant};

use super::Alert;
use super::state::Labels;
use crate::app::App;

/// Who tells people of alerts.
#[derive(Debug)]
pub(crate) enum Notifier {}

/// Who tells people of alerts, if somebody does.
pub(crate) fn of(_app: &App) -> Option<Arc<Notifier>> {
    None
}

impl Notifier {
    /// What is to be committed together with the states that these alerts come from.
    pub(crate) fn stage(&self, _tenant: &Tenant, _alerts: &[Alert]) -> Vec<DocumentChange> {
        match *self {}
    }

    /// Takes alerts in, once what was staged is committed.
    pub(crate) fn accept(&self, _tenant: &Tenant, _alerts: Vec<Alert>) {
        match *self {}
    }

    /// Who would be told of an alert at a time, and what stands in the way.
    pub(crate) fn passages(&self, _tenant: &Tenant, _labels: &Labels, _at_ms: i64) -> Value {
        match *self {}
    }
}
