//! Groups of alerts, and what is decided when one's time has come: whom to tell, and of what. All of it is pure, so that
//! tests can turn the time. After Alertmanager's pipeline of inhibition, times, silences and deduplication.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::config::{Config, Integration};
use super::inhibit::Index;
use super::matcher::Labels;
use super::route::Route;
use super::silence::{Silence, SilenceState};
use crate::alert::Alert;

/// Alerts that are told of together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// The node of the routing tree.
    pub(crate) route_id: String,
    /// Alertmanager's name for it: the matchers on the way, and the labels.
    pub(crate) key: String,
    /// What its alerts share.
    pub(crate) labels: Labels,
    /// Who is told.
    pub(crate) receiver: String,
    /// When it is looked at next, in milliseconds since 1970.
    pub(crate) next_flush_ms: i64,
    /// Whether it was looked at before.
    pub(crate) has_flushed: bool,
    /// What was last told, by integration.
    pub(crate) told: BTreeMap<String, Told>,
    /// The fingerprints of its alerts. They are not kept: alerts find their group again.
    #[serde(skip)]
    pub(crate) alerts: BTreeSet<u64>,
}

/// What an integration was told last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Of these that they fire.
    pub(crate) firing: BTreeSet<u64>,
    /// Of these that they do not any more.
    pub(crate) resolved: BTreeSet<u64>,
    /// When.
    pub(crate) at_ms: i64,
}

/// Why somebody is told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// The group is new.
    First,
    /// An alert was not told of yet.
    NewAlerts,
    /// No alert fires any more.
    AllResolved,
    /// An alert does not fire any more.
    SomeResolved,
    /// It was told so long ago that it is told again.
    Repeat,
}

/// What stands between an alert and its receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub(crate) enum Obstacle {
    /// Another alert explains it.
    Inhibited {
        /// The other's fingerprint.
        by: String,
    },
    /// It is known.
    Silenced {
        /// The silences' ids.
        by: Vec<String>,
    },
    /// The route is muted at this time.
    Muted {
        /// The interval's name.
        by: String,
    },
    /// The route is not active at this time.
    NotActive {
        /// The intervals' names.
        outside: Vec<String>,
    },
}

/// Everything that keeps alerts of one tenant back.
#[derive(Debug)]
pub(crate) struct Muting<'a> {
    /// Alerts that fire.
    pub(crate) inhibition: Index<'a>,
    /// Silences.
    pub(crate) silences: Vec<&'a Silence>,
    /// The intervals.
    pub(crate) config: &'a Config,
    /// Now.
    pub(crate) now_ms: i64,
}

impl Muting<'_> {
    /// What keeps a route's alerts back, whatever they are.
    pub(crate) fn of_route(&self, route: &Route) -> Option<Obstacle> {
        let time = |names: &[String]| self.config.time_of(names, self.now_ms);
        if !route.active_times.is_empty() && time(&route.active_times).is_none() {
            return Some(Obstacle::NotActive { outside: route.active_times.clone() });
        }
        time(&route.mute_times).map(|by| Obstacle::Muted { by })
    }

    /// The alert that keeps another back.
    pub(crate) fn inhibitor(&self, labels: &Labels) -> Option<String> {
        self.inhibition.inhibitor(labels).map(super::fingerprint::show)
    }

    /// The silences that an alert is known by.
    pub(crate) fn silenced_by(&self, labels: &Labels) -> Vec<String> {
        let holds = |silence: &&&Silence| silence.state(self.now_ms) == SilenceState::Active && silence.covers(labels);
        self.silences.iter().filter(holds).map(|silence| silence.text.id.clone()).collect()
    }

    /// What keeps an alert back on a route.
    pub(crate) fn obstacle(&self, route: &Route, labels: &Labels) -> Option<Obstacle> {
        if let Some(by) = self.inhibitor(labels) {
            return Some(Obstacle::Inhibited { by });
        }
        if let Some(obstacle) = self.of_route(route) {
            return Some(obstacle);
        }
        let by = self.silenced_by(labels);
        (!by.is_empty()).then_some(Obstacle::Silenced { by })
    }
}

/// What comes of looking at a group.
#[derive(Debug, Default)]
pub(crate) struct Flush {
    /// What is told, by integration.
    pub(crate) messages: Vec<(String, Reason, Vec<Alert>)>,
    /// What integrations have been told then.
    pub(crate) told: Vec<(String, Told)>,
    /// Alerts that are over, and no matter for the group any more; with when they were last spoken of.
    pub(crate) over: Vec<(u64, i64)>,
}

/// Looks at a group's alerts.
pub(crate) fn flush(
    group: &Group,
    route: &Route,
    alerts: &[(u64, &Alert)],
    integrations: &[&Integration],
    muting: &Muting<'_>,
) -> Flush {
    let now_ms = muting.now_ms;
    let is_over = |alert: &Alert| alert.is_resolved_at(now_ms);
    let over = alerts.iter().filter(|(_, alert)| is_over(alert)).map(|(id, alert)| (*id, alert.updated_at_ms));
    let mut flush = Flush { over: over.collect(), ..Flush::default() };
    let shown: Vec<&(u64, &Alert)> =
        alerts.iter().filter(|(_, alert)| muting.obstacle(route, &alert.labels).is_none()).collect();
    if shown.is_empty() {
        return flush;
    }
    let ids = |over: bool| shown.iter().filter(|(_, alert)| is_over(alert) == over).map(|(id, _)| *id).collect();
    let (firing, resolved): (BTreeSet<u64>, BTreeSet<u64>) = (ids(false), ids(true));
    for integration in integrations {
        let before = group.told.get(&integration.name);
        let sends_resolved = integration.send_resolved;
        let reason = needs_message(before, &firing, &resolved, (sends_resolved, route.repeat_interval_ms), now_ms);
        let Some(reason) = reason else { continue };
        let told = Told { firing: firing.clone(), resolved: resolved.clone(), at_ms: now_ms };
        flush.told.push((integration.name.clone(), told));
        let wanted = shown.iter().filter(|(_, alert)| sends_resolved || !is_over(alert));
        // What fires has no end, even if one is expected: the message must not say that it is over later.
        let settled = wanted
            .map(|(_, alert)| Alert { ends_at_ms: alert.ends_at_ms.filter(|end| *end <= now_ms), ..(*alert).clone() });
        let mut settled: Vec<Alert> = settled.collect();
        if !settled.is_empty() {
            settled.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
            flush.messages.push((integration.name.clone(), reason, settled));
        }
    }
    flush
}

/// By job and instance first, as in Alertmanager, then by all labels.
fn sort_key(alert: &Alert) -> (Option<&String>, Option<&String>, &Labels) {
    (alert.labels.get("job"), alert.labels.get("instance"), &alert.labels)
}

/// Whether an integration is to be told, which sends resolved alerts or does not, and repeats after so long.
pub(crate) fn needs_message(
    before: Option<&Told>,
    firing: &BTreeSet<u64>,
    resolved: &BTreeSet<u64>,
    (sends_resolved, repeat_ms): (bool, i64),
    now_ms: i64,
) -> Option<Reason> {
    let Some(before) = before else { return (!firing.is_empty()).then_some(Reason::First) };
    if !firing.is_subset(&before.firing) {
        return Some(Reason::NewAlerts);
    }
    if firing.is_empty() {
        return (!before.firing.is_empty()).then_some(Reason::AllResolved);
    }
    if sends_resolved && !resolved.is_subset(&before.resolved) {
        return Some(Reason::SomeResolved);
    }
    (before.at_ms < now_ms - repeat_ms).then_some(Reason::Repeat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        before: Option<(&[u64], &[u64], i64)>,
        firing: &[u64],
        resolved: &[u64],
        sends: bool,
        expected: Option<Reason>,
    ) {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        let before =
            before.map(|(firing, resolved, at_ms)| Told { firing: set(firing), resolved: set(resolved), at_ms });
        assert_eq!(needs_message(before.as_ref(), &set(firing), &set(resolved), (sends, 100), 1_000), expected);
    }

    /// The cases of Alertmanager's deduplication.
    #[test]
    fn who_is_told_when() {
        check(None, &[1], &[], true, Some(Reason::First));
        check(None, &[], &[1], true, None);
        check(Some((&[1, 2, 3], &[], 950)), &[2, 3, 4], &[], true, Some(Reason::NewAlerts));
        check(Some((&[1, 2, 3], &[], 950)), &[2, 3], &[], true, None);
        check(Some((&[1, 2, 3], &[], 899)), &[2, 3], &[], true, Some(Reason::Repeat));
        check(Some((&[1, 2, 3], &[], 900)), &[2, 3], &[], true, None);
        check(Some((&[1, 2], &[3], 950)), &[], &[1, 2], true, Some(Reason::AllResolved));
        check(Some((&[1, 2], &[3], 950)), &[], &[1, 2], false, Some(Reason::AllResolved));
        check(Some((&[], &[3], 0)), &[], &[3, 4], true, None);
        check(Some((&[1, 2], &[], 950)), &[1], &[2], true, Some(Reason::SomeResolved));
        check(Some((&[1, 2], &[], 950)), &[1], &[2], false, None);
        check(Some((&[1, 2], &[2], 950)), &[1], &[2], true, None);
    }
}
