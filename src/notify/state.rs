//! What is known of one tenant: its alerts, its silences, and the groups that alerts are in.

use std::collections::{BTreeMap, BTreeSet};

use storage::{DocumentChange, Tenant};

use super::config::{Config, Integration};
use super::document::{Held, Queued};
use super::fingerprint;
use super::group::{Flush, Group, Muting, flush};
use super::inhibit::Index;
use super::matcher::{Labels, show_labels};
use super::route::Route;
use super::silence::Silence;
use crate::alert::Alert;

/// How long a group that could not be kept waits before it is looked at again.
pub(crate) const AGAIN_MS: i64 = 5_000;

/// A tenant's alerts, silences and groups.
#[derive(Debug, Default)]
pub(crate) struct TenantState {
    /// By fingerprint.
    pub(crate) alerts: BTreeMap<u64, Held>,
    /// By id.
    pub(crate) silences: BTreeMap<String, Silence>,
    /// By [`Group::id`].
    pub(crate) groups: BTreeMap<String, Group>,
    /// Groups that were looked at before the last start, and whose alerts have not come yet.
    pub(crate) known_groups: BTreeMap<String, Group>,
    /// In how many groups an alert is.
    memberships: BTreeMap<u64, usize>,
}

/// A group by its name, what became of it, and those of its alerts that are over: which, and when they ended.
type LookedAt = (String, Group, Vec<(u64, i64)>);

/// What comes of looking at the groups whose time has come.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// To be committed.
    pub(crate) changes: Vec<DocumentChange>,
    /// To be delivered then.
    pub(crate) queued: Vec<Queued>,
    looked_at: Vec<LookedAt>,
}

impl TenantState {
    /// What an alert becomes together with what is known of it, and what is to be committed for that.
    pub(crate) fn merged(&self, tenant: &Tenant, new: &Held, now_ms: i64) -> (Held, Vec<DocumentChange>) {
        let Some(old) = self.alerts.get(&fingerprint::of(&new.alert.labels)) else {
            return (new.clone(), vec![new.put(tenant)]);
        };
        let merged = merge(old, new, now_ms);
        let mut changes = Vec::new();
        if merged.alert.starts_at_ms != old.alert.starts_at_ms {
            changes.push(old.delete(tenant));
        }
        changes.push(merged.put(tenant));
        (merged, changes)
    }

    /// Takes an alert in, as [`Self::merged`] made it: it is in its groups from now on.
    pub(crate) fn insert(&mut self, held: Held, config: &Config, now_ms: i64) {
        let id = fingerprint::of(&held.alert.labels);
        for route in config.route.of(&held.alert.labels) {
            let mut group = Group::new(route, &held.alert.labels);
            let name = group.id();
            let group = self.groups.entry(name).or_insert_with_key(|name| match self.known_groups.remove(name) {
                Some(known) => known,
                None => {
                    group.next_flush_ms = now_ms + route.group_wait_ms;
                    group
                }
            });
            group.hurry(&held.alert, route, now_ms);
            if group.alerts.insert(id) {
                *self.memberships.entry(id).or_default() += 1;
            }
        }
        self.alerts.insert(id, held);
    }

    /// Finds the groups anew, after the configuration has changed. What integrations were told stays known where the route
    /// is still there. Groups that are not any more are to be forgotten: what is returned does it.
    pub(crate) fn regroup(&mut self, tenant: &Tenant, config: &Config, now_ms: i64) -> Vec<DocumentChange> {
        self.known_groups.append(&mut self.groups);
        for group in self.known_groups.values_mut() {
            group.alerts.clear();
        }
        self.memberships.clear();
        for (_, held) in std::mem::take(&mut self.alerts) {
            self.insert(held, config, now_ms);
        }
        let gone = std::mem::take(&mut self.known_groups);
        gone.values().map(|group| group.delete(tenant)).collect()
    }

    /// All that keeps alerts back now.
    pub(crate) fn muting<'a>(&'a self, config: &'a Config, now_ms: i64) -> Muting<'a> {
        let firing = self.alerts.iter().filter(|(_, held)| !held.alert.is_resolved_at(now_ms));
        Muting {
            inhibition: Index::new(&config.inhibit_rules, firing.map(|(id, held)| (*id, &held.alert.labels))),
            silences: self.silences.values().collect(),
            config,
            now_ms,
        }
    }

    /// When the next group is to be looked at.
    pub(crate) fn next_flush_ms(&self) -> Option<i64> {
        self.groups.values().map(|group| group.next_flush_ms).min()
    }

    /// Looks at the groups whose time has come, at most so many. Nothing changes until [`Self::settle`].
    pub(crate) fn round(&self, tenant: &Tenant, config: &Config, now_ms: i64, groups_max: usize) -> Round {
        let mut round = Round::default();
        let due = self.groups.iter().filter(|(_, group)| group.next_flush_ms <= now_ms);
        let due: Vec<_> = due.take(groups_max).collect();
        if due.is_empty() {
            return round;
        }
        let muting = self.muting(config, now_ms);
        for (name, group) in due {
            let Some(route) = find_route(&config.route, &group.route_id) else { continue };
            let alerts = group.alerts.iter().filter_map(|id| Some((*id, &self.alerts.get(id)?.alert)));
            let alerts: Vec<(u64, &Alert)> = alerts.collect();
            let integrations = config.receivers.get(&group.receiver).map_or(&[][..], |r| r.integrations.as_slice());
            let integrations: Vec<&Integration> = integrations.iter().map(AsRef::as_ref).collect();
            let found = flush(group, route, &alerts, &integrations, &muting);
            round.add(tenant, name, group, route, found, now_ms);
        }
        // An alert that is over is forgotten with the last group that it is in.
        let mut over: BTreeMap<u64, usize> = BTreeMap::new();
        for (id, _) in round.looked_at.iter().flat_map(|(_, _, over)| over) {
            *over.entry(*id).or_default() += 1;
        }
        let forgotten = over.iter().filter(|(id, groups)| self.memberships.get(id) == Some(*groups));
        let forgotten: Vec<_> = forgotten.filter_map(|(id, _)| self.alerts.get(id)).map(|a| a.delete(tenant)).collect();
        round.changes.extend(forgotten);
        round
    }

    /// Makes what a round decided so, once it is committed.
    pub(crate) fn settle(&mut self, round: &Round) {
        for (name, after, over) in &round.looked_at {
            let Some(group) = self.groups.get_mut(name) else { continue };
            for (id, updated_at_ms) in over {
                // What has been spoken of since may have fired again.
                let is_same = self.alerts.get(id).is_none_or(|held| held.alert.updated_at_ms == *updated_at_ms);
                if !is_same || !group.alerts.remove(id) {
                    continue;
                }
                let left = self.memberships.get(id).map_or(0, |count| count - 1);
                if left == 0 {
                    self.memberships.remove(id);
                    self.alerts.remove(id);
                } else {
                    self.memberships.insert(*id, left);
                }
            }
            group.next_flush_ms = after.next_flush_ms;
            group.has_flushed = true;
            group.told.clone_from(&after.told);
            if group.alerts.is_empty() {
                self.groups.remove(name);
            }
        }
    }

    /// Puts off what a round decided, since it could not be committed.
    pub(crate) fn put_off(&mut self, round: &Round, now_ms: i64) {
        for (name, ..) in &round.looked_at {
            if let Some(group) = self.groups.get_mut(name) {
                group.next_flush_ms = now_ms + AGAIN_MS;
            }
        }
    }
}

impl Round {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.looked_at.is_empty()
    }

    fn add(&mut self, tenant: &Tenant, name: &str, group: &Group, route: &Route, found: Flush, now_ms: i64) {
        let mut after = group.clone();
        after.next_flush_ms = now_ms + route.group_interval_ms;
        after.has_flushed = true;
        after.told.extend(found.told);
        for (integration, reason, alerts) in found.messages {
            let queued = Queued {
                id: format!("{now_ms:013}-{name}-{}", integration.replace('/', "-")),
                receiver: group.receiver.clone(),
                integration,
                group_key: group.key.clone(),
                group_labels: group.labels.clone(),
                reason,
                created_ms: now_ms,
                alerts,
            };
            self.changes.push(queued.put(tenant));
            self.queued.push(queued);
        }
        let is_done = group.alerts.len() == found.over.len();
        self.changes.push(if is_done { after.delete(tenant) } else { after.put(tenant) });
        self.looked_at.push((name.to_owned(), after, found.over));
    }
}

impl Group {
    /// A group of a route, with the labels that an alert gives it.
    pub(crate) fn new(route: &Route, labels: &Labels) -> Self {
        let labels = route.group_labels(labels);
        Self {
            route_id: route.id.clone(),
            key: format!("{}:{}", route.key, show_labels(&labels)),
            labels,
            receiver: route.receiver.clone(),
            next_flush_ms: i64::MAX,
            has_flushed: false,
            told: BTreeMap::new(),
            alerts: BTreeSet::new(),
        }
    }

    /// An alert that has waited long enough elsewhere does not wait here.
    fn hurry(&mut self, alert: &Alert, route: &Route, now_ms: i64) {
        if !self.has_flushed && alert.starts_at_ms + route.group_wait_ms < now_ms {
            self.next_flush_ms = now_ms;
        }
    }
}

/// The node with an id.
pub(crate) fn find_route<'r>(route: &'r Route, id: &str) -> Option<&'r Route> {
    if route.id == id {
        return Some(route);
    }
    route.routes.iter().find_map(|child| find_route(child, id))
}

/// What two reports of an alert say together: the earliest start, and the end that the later report means. Reports about
/// times that do not touch are two alerts, of which the later counts.
fn merge(old: &Held, new: &Held, now_ms: i64) -> Held {
    let end = |held: &Held| held.alert.ends_at_ms.unwrap_or(i64::MAX);
    let (old_start, new_start) = (old.alert.starts_at_ms, new.alert.starts_at_ms);
    let touches = (end(new) > old_start && end(new) < end(old)) || (new_start > old_start && new_start < end(old));
    let is_same = new_start == old_start || end(new) == end(old);
    if !touches && !is_same {
        return new.clone();
    }
    let (older, younger) = if new.alert.updated_at_ms < old.alert.updated_at_ms { (new, old) } else { (old, new) };
    let mut merged = younger.clone();
    merged.alert.starts_at_ms = old_start.min(new_start);
    let is_expected = older.is_timeout || older.alert.ends_at_ms.is_none();
    let takes_end = match (younger.alert.is_resolved_at(now_ms), older.alert.is_resolved_at(now_ms)) {
        (true, true) => end(older) > end(younger),
        (true, false) => false,
        (false, _) => end(older) > end(younger) && !is_expected,
    };
    if takes_end {
        merged.alert.ends_at_ms = older.alert.ends_at_ms;
        merged.is_timeout = older.is_timeout;
    }
    merged
}

#[cfg(test)]
mod tests;
