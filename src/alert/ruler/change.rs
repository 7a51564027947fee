//! Groups come, change and go while others run. A rule that stays keeps its state; one that goes resolves what it fires,
//! and its series end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use storage::Tenant;
use storage::metrics::MetricBatchBuilder;

use super::document::{self, STATE};
use super::schedule;
use super::series::Writing;
use super::watched::{Origin, Running, Status, Watched};
use super::{Place, Ruler, records};
use crate::alert::Alert;
use crate::alert::history::Record;
use crate::alert::rule::RuleGroup;
use crate::alert::state::{Event, Phase};

/// The rules of groups that were stopped, by id, with their group.
type Left = HashMap<String, (Arc<Running>, Arc<Watched>)>;

impl Ruler {
    /// Of the groups that `scope` says, these are there from now on. Groups that stay the same go on undisturbed.
    pub(super) async fn change(
        self: &Arc<Self>,
        tenant: &Tenant,
        origin: Origin,
        scope: impl Fn(&RuleGroup) -> bool,
        wanted: Vec<RuleGroup>,
    ) {
        let _one = self.changing.lock().await;
        let place = |group: RuleGroup| ((tenant.clone(), origin, group.key.clone()), group);
        let mut wanted: BTreeMap<Place, RuleGroup> = wanted.into_iter().map(place).collect();
        let stay: BTreeSet<Place> = wanted.keys().cloned().collect();
        let stopped: Vec<Arc<Running>> = {
            let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
            wanted.retain(|at, group| groups.get(at).is_none_or(|running| *running.group != *group));
            let goes = |at: &Place, running: &Running| {
                let is_in_scope = at.0 == *tenant && at.1 == origin && scope(&running.group);
                wanted.contains_key(at) || (is_in_scope && !stay.contains(at))
            };
            let places: Vec<Place> =
                groups.iter().filter(|(at, running)| goes(at, running)).map(|(at, _)| at.clone()).collect();
            places.iter().filter_map(|at| groups.remove(at)).collect()
        };
        let mut left = Left::new();
        for running in stopped {
            running.stop.cancel();
            // What is being evaluated ends first.
            drop(running.busy.lock().await);
            left.extend(running.rules.iter().map(|w| (w.rule.id.clone(), (Arc::clone(&running), Arc::clone(w)))));
        }
        for (at, group) in wanted {
            self.start_group(at, group, &mut left);
        }
        self.retire(tenant, left).await;
    }

    fn start_group(self: &Arc<Self>, at: Place, group: RuleGroup, left: &mut Left) {
        let (tenant, origin, _) = at.clone();
        let status = |rule: &crate::alert::rule::Rule, left: &mut Left| -> Status {
            match left.remove(&rule.id) {
                Some((_, watched)) => watched.status().clone(),
                None => self.claim(&tenant, rule),
            }
        };
        let rules = group.rules.iter().map(|rule| Watched::new(Arc::clone(rule), status(rule, left))).collect();
        let interval_ms = if group.interval_ms > 0 { group.interval_ms } else { self.settings.interval_ms };
        let query_offset_ms = group.query_offset_ms.unwrap_or(self.settings.query_offset_ms);
        let running = Arc::new(Running::new(
            (tenant, origin),
            Arc::new(group),
            (interval_ms, query_offset_ms),
            rules,
            self.stop.child_token(),
        ));
        self.groups.write().unwrap_or_else(PoisonError::into_inner).insert(at, Arc::clone(&running));
        self.tasks.spawn(schedule::run(Arc::clone(self), running));
    }

    /// What is left of rules that are gone: their alerts are over, their series end, their states are forgotten.
    async fn retire(&self, tenant: &Tenant, left: Left) {
        if left.is_empty() {
            return;
        }
        let at_ms = self.app.clock.now_ns() / 1_000_000;
        let mut batch = MetricBatchBuilder::default();
        let (mut changes, mut alerts, mut told): (Vec<_>, Vec<Alert>, Vec<Record>) = Default::default();
        for (id, (running, watched)) in left {
            let status = watched.status();
            let _ended = Writing::new(&mut batch, at_ms).finish(&status.written);
            for instance in status.state.active() {
                let mut instance = instance.clone();
                let from = std::mem::replace(&mut instance.phase, Phase::Inactive);
                instance.resolved_at_ms = Some(at_ms);
                if from == Phase::Firing {
                    alerts.push(self.alert(&running, &watched.rule, &instance, at_ms));
                }
                told.push(records::changed(&running, &watched.rule, &Event { from, instance }, at_ms));
            }
            changes.push(document::delete(STATE, tenant, id));
        }
        let notifier = self.notifier();
        changes.extend(notifier.iter().flat_map(|notifier| notifier.stage(tenant, &alerts)));
        if let Err(error) = self.committer.commit(changes).await {
            tracing::error!("the states of rules that are gone cannot be forgotten: {error}");
            return;
        }
        if let Some(notifier) = notifier {
            notifier.accept(tenant, alerts);
        }
        self.record(tenant, &told, None).await;
        let batch = batch.finish();
        if let Ok(house) = self.app.house()
            && !batch.is_empty()
            && let Err(error) = house.store.append_metrics(tenant, batch, None).await
        {
            tracing::warn!("series of rules that are gone are not marked as ended: {error}");
        }
    }
}
