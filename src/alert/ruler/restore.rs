//! States from before the start: taken up by the rules that they are of, and forgotten when there is no such rule any more.

use storage::Tenant;

use super::Ruler;
use super::document::{self, STATE, StateDocument};
use super::records;
use super::series;
use super::watched::{Health, Status};
use crate::alert::rule::Rule;
use crate::alert::state::{Event, Phase};
use crate::documents;

/// Changes that are older are in the history, or their key is forgotten: see `storage.idempotency_window`.
const CHANGES_AGE_MS: i64 = 12 * 3_600_000;

impl Ruler {
    /// Reads all states, and makes sure that what changed last is in the history: the kill may have come between.
    pub(super) async fn restore(&self) -> anyhow::Result<()> {
        let house = self.app.house().map_err(|error| anyhow::anyhow!(error.message))?;
        let states = documents::load::<StateDocument>(&house.store, STATE).await?;
        let now_ms = self.app.clock.now_ns() / 1_000_000;
        for (tenant, id, kept) in states {
            if !kept.changes.is_empty() && now_ms - kept.at_ms < CHANGES_AGE_MS {
                let events = kept.changes.iter().map(|change| {
                    let event = Event { from: change.from, instance: change.instance.clone() };
                    records::changed_before(&kept, &id, &event)
                });
                let records: Vec<_> = events.collect();
                self.record(&tenant, &records, Some(&records::key(&id, kept.at_ms))).await;
            }
            self.restored().insert((tenant, id), kept);
        }
        Ok(())
    }

    /// The state of a rule from before the start, if there is one: whoever asks has it.
    pub(super) fn claim(&self, tenant: &Tenant, rule: &Rule) -> Status {
        let Some(kept) = self.restored().remove(&(tenant.clone(), rule.id.clone())) else { return Status::default() };
        Status {
            written: series::of_state(&kept.state),
            last_evaluation_ns: kept.at_ms.saturating_mul(1_000_000),
            health: Health::Unknown,
            state: kept.state,
            ..Status::default()
        }
    }

    /// Forgets the states whose rules are gone, and resolves what they fired.
    pub(super) async fn forget_unclaimed(&self) {
        let unclaimed: Vec<_> = self.restored().drain().collect();
        let now_ms = self.app.clock.now_ns() / 1_000_000;
        for ((tenant, id), kept) in unclaimed {
            let firing = kept.state.instances.iter().filter(|instance| instance.phase == Phase::Firing);
            let alerts: Vec<_> = firing
                .map(|instance| crate::alert::Alert {
                    labels: instance.labels.clone(),
                    annotations: instance.annotations.clone(),
                    starts_at_ms: instance.fired_at_ms.unwrap_or(instance.active_since_ms),
                    ends_at_ms: Some(now_ms),
                    updated_at_ms: now_ms,
                    ..crate::alert::Alert::default()
                })
                .collect();
            let mut changes = vec![document::delete(STATE, &tenant, id)];
            let notifier = self.notifier();
            changes.extend(notifier.iter().flat_map(|notifier| notifier.stage(&tenant, &alerts)));
            match self.committer.commit(changes).await {
                Ok(()) => notifier.into_iter().for_each(|notifier| notifier.accept(&tenant, alerts.clone())),
                Err(error) => tracing::error!("the state of the rule {} cannot be forgotten: {error}", kept.rule),
            }
        }
    }
}
