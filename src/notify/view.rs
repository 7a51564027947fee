//! What Alertmanager's API shows: alerts with what keeps them back, and groups of them.

use std::cmp::Ordering;

use serde::Serialize;
use storage::Tenant;

use super::Alertmanager;
use super::document::Held;
use super::fingerprint;
use super::group::{Muting, Obstacle};
use super::matcher::Labels;
use super::route::Route;
use super::state::find_route;

/// An alert as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are Alertmanager's")]
pub(crate) struct AlertView {
    pub(crate) annotations: Labels,
    pub(crate) ends_at: String,
    pub(crate) fingerprint: String,
    pub(crate) receivers: Vec<Named>,
    pub(crate) starts_at: String,
    pub(crate) status: StatusView,
    pub(crate) updated_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    pub(crate) generator_url: String,
    pub(crate) labels: Labels,
}

/// Something by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Named {
    /// The name.
    pub(crate) name: String,
}

/// Whether anything keeps an alert back.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are Alertmanager's")]
pub(crate) struct StatusView {
    pub(crate) inhibited_by: Vec<String>,
    pub(crate) muted_by: Vec<String>,
    pub(crate) silenced_by: Vec<String>,
    pub(crate) state: &'static str,
}

/// A group as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct GroupView {
    /// Its alerts.
    pub(crate) alerts: Vec<AlertView>,
    /// What they share.
    pub(crate) labels: Labels,
    /// Who is told.
    pub(crate) receiver: Named,
}

/// Alertmanager's order of label sets: fewer labels first; then, name by name, the one that lacks a label first, or the one
/// with the smaller value.
fn compare(a: &Labels, b: &Labels) -> Ordering {
    let by_labels = || {
        let differing = a.iter().zip(b).find(|(a, b)| a != b);
        differing.map_or(Ordering::Equal, |(a, b)| b.0.cmp(a.0).then_with(|| a.1.cmp(b.1)))
    };
    a.len().cmp(&b.len()).then_with(by_labels)
}

/// As the API writes times: with milliseconds.
pub(crate) fn show_time(ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(ms).unwrap_or(chrono::DateTime::<chrono::Utc>::UNIX_EPOCH);
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

impl Alertmanager {
    /// The alerts that fire, by fingerprint.
    pub(crate) fn alerts(&self, tenant: &Tenant) -> Vec<AlertView> {
        let (config, now_ms) = (self.config(), self.now_ms());
        let mut state = self.state();
        let state = state.entry(tenant.clone()).or_default();
        let muting = state.muting(&config, now_ms);
        let firing = state.alerts.values().filter(|held| !held.alert.is_resolved_at(now_ms));
        firing.map(|held| self.view(held, &config.route, &muting, None)).collect()
    }

    /// The groups, by labels and receiver, with the alerts in them that fire.
    pub(crate) fn groups(&self, tenant: &Tenant) -> Vec<GroupView> {
        let (config, now_ms) = (self.config(), self.now_ms());
        let mut state = self.state();
        let state = state.entry(tenant.clone()).or_default();
        let muting = state.muting(&config, now_ms);
        let mut views: Vec<GroupView> = Vec::new();
        for group in state.groups.values() {
            let route = find_route(&config.route, &group.route_id);
            let muted = route.and_then(|route| muting.of_route(route));
            let alerts = group.alerts.iter().filter_map(|id| state.alerts.get(id));
            let alerts = alerts.filter(|held| !held.alert.is_resolved_at(now_ms));
            let alerts: Vec<_> = alerts.map(|held| self.view(held, &config.route, &muting, muted.as_ref())).collect();
            if alerts.is_empty() {
                continue;
            }
            let receiver = Named { name: group.receiver.clone() };
            views.push(GroupView { alerts, labels: group.labels.clone(), receiver });
        }
        views.sort_by(|a, b| compare(&a.labels, &b.labels).then_with(|| a.receiver.name.cmp(&b.receiver.name)));
        views
    }

    fn view(&self, held: &Held, root: &Route, muting: &Muting<'_>, muted: Option<&Obstacle>) -> AlertView {
        let alert = &held.alert;
        let inhibited_by: Vec<String> = muting.inhibitor(&alert.labels).into_iter().collect();
        let silenced_by = muting.silenced_by(&alert.labels);
        let muted_by = match muted {
            Some(Obstacle::Muted { by }) => vec![by.clone()],
            Some(Obstacle::NotActive { outside }) => outside.clone(),
            _ => Vec::new(),
        };
        let is_free = inhibited_by.is_empty() && silenced_by.is_empty() && muted_by.is_empty();
        // One that this server's own rules keep firing has no end: it is shown as one that would be sent again.
        let expected_ms = muting.now_ms + muting.config.resolve_timeout_ms;
        let receivers = root.of(&alert.labels).into_iter().map(|route| Named { name: route.receiver.clone() });
        AlertView {
            annotations: alert.annotations.clone(),
            ends_at: show_time(alert.ends_at_ms.unwrap_or(expected_ms)),
            fingerprint: fingerprint::show(fingerprint::of(&alert.labels)),
            receivers: receivers.collect(),
            starts_at: show_time(alert.starts_at_ms),
            status: StatusView {
                state: if is_free { "active" } else { "suppressed" },
                inhibited_by,
                muted_by,
                silenced_by,
            },
            updated_at: show_time(alert.updated_at_ms),
            generator_url: alert.generator_url.clone(),
            labels: alert.labels.clone(),
        }
    }
}
