//! Why somebody is told of an alert, or is not.

use serde::Serialize;
use storage::Tenant;

use super::Alertmanager;
use super::fingerprint;
use super::group::{Group, Obstacle};
use super::matcher::Labels;
use super::route::GroupBy;

/// What becomes of an alert on one route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Passage {
    /// Who is told.
    pub(crate) receiver: String,
    /// The group that the alert is in, or would be in.
    pub(crate) group_key: String,
    /// What the group is made by; `["..."]` for all labels.
    pub(crate) group_by: Vec<String>,
    /// How long a new group waits, in milliseconds.
    pub(crate) group_wait_ms: i64,
    /// How long a group waits before it tells of changes.
    pub(crate) group_interval_ms: i64,
    /// How long before it tells the same again.
    pub(crate) repeat_interval_ms: i64,
    /// When the group is looked at next, in milliseconds since 1970, if it is there.
    pub(crate) next_look_ms: Option<i64>,
    /// What stands in the way.
    pub(crate) obstacle: Option<Obstacle>,
    /// When integrations were told last that the alert fires, in milliseconds since 1970.
    pub(crate) told_ms: std::collections::BTreeMap<String, i64>,
}

impl Alertmanager {
    /// What becomes of an alert with these labels, on each of its routes. Silences, inhibition and times are as they are known
    /// now, and asked for the given time.
    pub(crate) fn passages(&self, tenant: &Tenant, labels: &Labels, at_ms: i64) -> Vec<Passage> {
        let config = self.config();
        let mut state = self.state();
        let state = state.entry(tenant.clone()).or_default();
        let (muting, id) = (state.muting(&config, at_ms), fingerprint::of(labels));
        let routes = config.route.of(labels).into_iter();
        routes
            .map(|route| {
                let wanted = Group::new(route, labels);
                let group = state.groups.get(&wanted.id());
                let told =
                    group.into_iter().flat_map(|group| &group.told).filter(|(_, told)| told.firing.contains(&id));
                Passage {
                    receiver: route.receiver.clone(),
                    group_key: wanted.key,
                    group_by: match &route.group_by {
                        GroupBy::All => vec!["...".to_owned()],
                        GroupBy::Names(names) => names.clone(),
                    },
                    group_wait_ms: route.group_wait_ms,
                    group_interval_ms: route.group_interval_ms,
                    repeat_interval_ms: route.repeat_interval_ms,
                    next_look_ms: group.map(|group| group.next_flush_ms),
                    obstacle: muting.obstacle(route, labels),
                    told_ms: told.map(|(integration, told)| (integration.clone(), told.at_ms)).collect(),
                }
            })
            .collect()
    }
}
