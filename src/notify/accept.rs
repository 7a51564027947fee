//! The ways in: alerts of this server's rules, and alerts from outside.

use std::sync::atomic::Ordering;

use storage::{DocumentChange, StorageError, Tenant};

use super::Alertmanager;
use super::document::Held;
use crate::alert::Alert;

/// An alert as another server says it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given {
    /// Labels, annotations and URL.
    pub(crate) alert: Alert,
    /// Since when it fires, if that is said.
    pub(crate) starts_at_ms: Option<i64>,
    /// Until when, if that is said; else until nobody has spoken of it for a while.
    pub(crate) ends_at_ms: Option<i64>,
}

/// What stands in place of what is blackened.
const BLACKENED: &str = "█████";

impl Alertmanager {
    /// What is to be committed so that alerts of rules are not lost: it belongs into the transaction of the rules' own state.
    pub(crate) fn stage(&self, tenant: &Tenant, alerts: &[Alert]) -> Vec<DocumentChange> {
        let now_ms = self.now_ms();
        let mut state = self.state();
        let state = state.entry(tenant.clone()).or_default();
        let held = alerts.iter().map(|alert| self.held_of_rule(alert.clone()));
        held.flat_map(|held| state.merged(tenant, &held, now_ms).1).collect()
    }

    /// Takes alerts in that [`Self::stage`] was asked about, once that is committed.
    pub(crate) fn accept(&self, tenant: &Tenant, alerts: Vec<Alert>) {
        self.stats.alerts_received.fetch_add(alerts.len() as u64, Ordering::Relaxed);
        let held = alerts.into_iter().map(|alert| self.held_of_rule(alert)).collect();
        self.insert(tenant, held);
    }

    /// Takes alerts of other servers in: they are on disk when it returns.
    ///
    /// # Errors
    /// When the catalog cannot be written: nothing was taken.
    pub(crate) async fn give(&self, tenant: &Tenant, given: Vec<Given>) -> Result<(), StorageError> {
        self.stats.alerts_received.fetch_add(given.len() as u64, Ordering::Relaxed);
        let (now_ms, timeout_ms) = (self.now_ms(), self.config().resolve_timeout_ms);
        let held = given.into_iter().map(|given| {
            let starts_at_ms = given.starts_at_ms.or(given.ends_at_ms).unwrap_or(now_ms);
            let ends_at_ms = given.ends_at_ms.unwrap_or(now_ms + timeout_ms);
            let alert = Alert { starts_at_ms, ends_at_ms: Some(ends_at_ms), updated_at_ms: now_ms, ..given.alert };
            Held { alert, is_timeout: given.ends_at_ms.is_none() }
        });
        self.put(tenant, held.collect(), Vec::new()).await
    }

    /// Takes alerts in, together with other changes: all of it is on disk when it returns.
    ///
    /// # Errors
    /// When the catalog cannot be written: nothing was taken.
    pub(crate) async fn put(
        &self,
        tenant: &Tenant,
        alerts: Vec<Held>,
        mut changes: Vec<DocumentChange>,
    ) -> Result<(), StorageError> {
        let _committing = self.committing.lock().await;
        let now_ms = self.now_ms();
        {
            let mut state = self.state();
            let state = state.entry(tenant.clone()).or_default();
            changes.extend(alerts.iter().flat_map(|held| state.merged(tenant, held, now_ms).1));
        }
        self.store.apply_documents(&changes).await?;
        self.insert(tenant, alerts);
        Ok(())
    }

    fn insert(&self, tenant: &Tenant, alerts: Vec<Held>) {
        if alerts.is_empty() {
            return;
        }
        let (config, now_ms) = (self.config(), self.now_ms());
        let mut state = self.state();
        let state = state.entry(tenant.clone()).or_default();
        for held in alerts {
            let (merged, _) = state.merged(tenant, &held, now_ms);
            state.insert(merged, &config, now_ms);
        }
        self.wake.notify_one();
    }

    /// Lines of logs are blackened before they are kept, and there are only so many.
    fn held_of_rule(&self, mut alert: Alert) -> Held {
        if let Some(context) = &mut alert.context {
            let more = context.lines.len().saturating_sub(self.settings.lines_max);
            context.lines.drain(..more);
            for (_, line) in &mut context.lines {
                for pattern in &self.settings.redact {
                    *line = pattern.replace_all(line, BLACKENED).into_owned();
                }
            }
        }
        Held { alert, is_timeout: false }
    }
}
