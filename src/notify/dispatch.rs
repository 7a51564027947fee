//! Looks at groups when their time has come, and at silences before they end.

use std::sync::Arc;
use std::time::Duration;

use storage::{StorageError, Tenant};

use super::Alertmanager;
use super::document::{Held, put_silence};
use super::matcher::{Labels, show_all};
use super::silence::Silence;
use crate::alert::Alert;

/// Groups that are looked at in one transaction.
const GROUPS_MAX: usize = 500;
/// However much is due, alerts and their senders get their turn.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The clock of the machine may be set: it is asked at least so often.
const PAUSE_MAX: Duration = Duration::from_secs(10);

impl Alertmanager {
    /// Looks at what is due until the server stops.
    pub(super) async fn dispatch_until_stopped(self: Arc<Self>) {
        loop {
            let pause = match self.next_due_ms() {
                Some(due_ms) => Duration::from_millis(u64::try_from(due_ms - self.now_ms()).unwrap_or(0)),
                None => PAUSE_MAX,
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.wake.notified() => continue,
                () = tokio::time::sleep(pause.clamp(PAUSE_MIN, PAUSE_MAX)) => {}
            }
            if let Err(error) = self.look_at_due().await {
                tracing::error!("notifications wait, since the catalog cannot be written: {error}");
            }
        }
    }

    fn next_due_ms(&self) -> Option<i64> {
        let default_ms = self.reminder_ms();
        let state = self.state();
        let groups = state.values().filter_map(|state| state.next_flush_ms());
        let silences = state.values().flat_map(|state| state.silences.values());
        groups.chain(silences.filter_map(|silence| silence.reminds_at(default_ms))).min()
    }

    fn reminder_ms(&self) -> Option<i64> {
        self.settings.silence_reminder.and_then(|before| i64::try_from(before.as_millis()).ok())
    }

    /// Looks at all groups whose time has come: what integrations are told is noted and queued in one transaction.
    ///
    /// # Errors
    /// When the catalog cannot be written; the groups' time comes again soon.
    pub(super) async fn look_at_due(self: &Arc<Self>) -> Result<(), StorageError> {
        self.remind_of_silences().await?;
        let tenants: Vec<Tenant> = self.state().keys().cloned().collect();
        for tenant in tenants {
            while self.look_at(&tenant).await? {}
        }
        Ok(())
    }

    /// Whether there was something to do.
    async fn look_at(self: &Arc<Self>, tenant: &Tenant) -> Result<bool, StorageError> {
        let _committing = self.committing.lock().await;
        let (config, now_ms) = (self.config(), self.now_ms());
        let round = match self.state().get(tenant) {
            Some(state) => state.round(tenant, &config, now_ms, GROUPS_MAX),
            None => return Ok(false),
        };
        if round.is_empty() {
            return Ok(false);
        }
        let committed = self.store.apply_documents(&round.changes).await;
        if let Some(state) = self.state().get_mut(tenant) {
            match &committed {
                Ok(()) => state.settle(&round),
                Err(_) => state.put_off(&round, now_ms),
            }
        }
        committed?;
        for queued in round.queued {
            let kind = queued.integration.split('/').next().unwrap_or_default();
            self.stats.of_kind(kind, |stats| stats.queued += 1);
            self.deliver(tenant, queued);
        }
        Ok(true)
    }

    /// Says of silences that end soon, and still keep something back, that they do.
    async fn remind_of_silences(&self) -> Result<(), StorageError> {
        let (now_ms, default_ms) = (self.now_ms(), self.reminder_ms());
        let mut due = Vec::new();
        {
            let state = self.state();
            for (tenant, state) in state.iter() {
                for silence in state.silences.values() {
                    if silence.reminds_at(default_ms).is_some_and(|at| at <= now_ms) {
                        let hidden = state
                            .alerts
                            .values()
                            .filter(|held| !held.alert.is_resolved_at(now_ms) && silence.covers(&held.alert.labels));
                        due.push((tenant.clone(), silence.clone(), hidden.count()));
                    }
                }
            }
        }
        for (tenant, mut silence, hidden) in due {
            silence.text.reminded_for_ms = Some(silence.text.ends_at_ms);
            let is_timely = hidden > 0 && silence.text.ends_at_ms > now_ms;
            let reminder = reminder(&silence, hidden, now_ms);
            let alerts = is_timely.then_some(Held { alert: reminder, is_timeout: false });
            self.put(&tenant, alerts.into_iter().collect(), vec![put_silence(&tenant, &silence.text)]).await?;
            if let Some(state) = self.state().get_mut(&tenant) {
                state.silences.insert(silence.text.id.clone(), silence);
            }
        }
        Ok(())
    }
}

/// An alert that says that a silence ends. It goes where those go that are silenced, as far as labels tell.
fn reminder(silence: &Silence, hidden: usize, now_ms: i64) -> Alert {
    let text = &silence.text;
    let mut labels: Labels = silence.equal_labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if let Some(name) = labels.remove("alertname") {
        labels.insert("silenced_alertname".to_owned(), name);
    }
    labels.insert("alertname".to_owned(), "FarolSilenceEnding".to_owned());
    labels.insert("silence_id".to_owned(), text.id.clone());
    labels.entry("severity".to_owned()).or_insert_with(|| "info".to_owned());
    let until = super::data::show_time(text.ends_at_ms);
    let summary = format!("The silence of {} ends at {until} and still hides {hidden} alert(s)", text.created_by);
    let description = format!("{}: {}", show_all(silence.matchers()), text.comment);
    Alert {
        labels,
        annotations: [("summary".to_owned(), summary), ("description".to_owned(), description)].into(),
        starts_at_ms: now_ms,
        ends_at_ms: Some(text.ends_at_ms),
        updated_at_ms: now_ms,
        ..Alert::default()
    }
}
