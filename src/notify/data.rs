//! What templates and webhooks see of a group of alerts, in Alertmanager's words, and what Farol knows besides.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::fingerprint;
use super::matcher::{Comparison, Matcher};
use super::matcher::{Labels, show_all};
use crate::alert::{Alert, AlertContext};

/// When an alert ends that has not.
pub(crate) const NO_END: &str = "0001-01-01T00:00:00Z";

/// A group of alerts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Data {
    /// Who is told.
    pub(crate) receiver: String,
    /// What they are told of.
    pub(crate) alerts: Vec<AlertData>,
    /// What makes them a group.
    pub(crate) group_labels: Labels,
    /// The labels that all have.
    pub(crate) common_labels: Labels,
    /// The annotations that all have.
    pub(crate) common_annotations: Labels,
    /// Where this server is seen.
    pub(crate) external_url: String,
}

/// One alert.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AlertData {
    /// What identifies it.
    pub(crate) labels: Labels,
    /// What is told about it.
    pub(crate) annotations: Labels,
    /// Since when it fires, in milliseconds since 1970.
    pub(crate) starts_at_ms: i64,
    /// Since when it does not, if it does not.
    pub(crate) ends_at_ms: Option<i64>,
    /// Where its query can be looked at.
    pub(crate) generator_url: String,
    /// Where it can be silenced.
    pub(crate) silence_url: String,
    /// What its rule knows.
    pub(crate) context: AlertContext,
}

impl Data {
    /// A group of alerts.
    pub(crate) fn new(receiver: &str, group_labels: Labels, alerts: &[Alert], external_url: &str) -> Self {
        let common = |of: fn(&Alert) -> &Labels| {
            let mut common = alerts.first().map(of).cloned().unwrap_or_default();
            common.retain(|name, value| alerts.iter().all(|alert| of(alert).get(name) == Some(value)));
            common
        };
        Self {
            receiver: regex::escape(receiver).replace("\\-", "-"),
            alerts: alerts.iter().map(|alert| AlertData::new(alert, external_url)).collect(),
            common_labels: common(|alert| &alert.labels),
            common_annotations: common(|alert| &alert.annotations),
            group_labels,
            external_url: external_url.to_owned(),
        }
    }

    /// `firing` while one does.
    pub(crate) fn status(&self) -> &'static str {
        let fires = self.alerts.iter().any(|alert| alert.ends_at_ms.is_none());
        if fires { "firing" } else { "resolved" }
    }

    /// Alertmanager's message of version 4, with at most so many alerts.
    pub(crate) fn version_4(&self, group_key: &str, alerts_max: Option<usize>) -> Value {
        let shown = alerts_max.unwrap_or(self.alerts.len()).min(self.alerts.len());
        json!({
            "version": "4",
            "groupKey": group_key,
            "truncatedAlerts": self.alerts.len() - shown,
            "status": self.status(),
            "receiver": self.receiver,
            "groupLabels": self.group_labels,
            "commonLabels": self.common_labels,
            "commonAnnotations": self.common_annotations,
            "externalURL": self.external_url,
            "alerts": self.alerts.iter().take(shown).map(AlertData::version_4).collect::<Vec<_>>(),
        })
    }
}

impl AlertData {
    fn new(alert: &Alert, external_url: &str) -> Self {
        let matchers = alert.labels.iter().filter_map(|(n, v)| Matcher::new(n, Comparison::Equal, v).ok());
        let filter = show_all(&matchers.collect::<Vec<_>>());
        let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        Self {
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            starts_at_ms: alert.starts_at_ms,
            ends_at_ms: alert.ends_at_ms,
            generator_url: alert.generator_url.clone(),
            silence_url: format!("{external_url}/#/silences/new?filter={}", filter.replace('+', "%20")),
            context: alert.context.clone().unwrap_or_default(),
        }
    }

    /// `firing` or `resolved`.
    pub(crate) fn status(&self) -> &'static str {
        if self.ends_at_ms.is_none() { "firing" } else { "resolved" }
    }

    /// As in the API.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint::show(fingerprint::of(&self.labels))
    }

    fn version_4(&self) -> Value {
        json!({
            "status": self.status(),
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": show_time(self.starts_at_ms),
            "endsAt": self.ends_at_ms.map_or_else(|| NO_END.to_owned(), show_time),
            "generatorURL": self.generator_url,
            "fingerprint": self.fingerprint(),
        })
    }
}

/// As Go writes a time in JSON: no digits of a second that are zero.
pub(crate) fn show_time(ms: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
    let text = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    match text.strip_suffix('Z').and_then(|text| text.split_once('.')) {
        Some((seconds, digits)) => match digits.trim_end_matches('0') {
            "" => format!("{seconds}Z"),
            digits => format!("{seconds}.{digits}Z"),
        },
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_does() {
        assert_eq!(show_time(1_795_867_200_000), "2026-11-28T12:00:00Z");
        assert_eq!(show_time(1_795_867_200_120), "2026-11-28T12:00:00.12Z");
    }

    #[test]
    fn what_all_share_is_common() {
        let alert = |pairs: &[(&str, &str)]| Alert {
            labels: pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            ..Alert::default()
        };
        let alerts = [alert(&[("a", "1"), ("b", "2")]), alert(&[("a", "1"), ("b", "3")])];
        let data = Data::new("team.x-y", Labels::new(), &alerts, "http://f");
        assert_eq!(data.common_labels, Labels::from([("a".to_owned(), "1".to_owned())]));
        assert_eq!(data.receiver, r"team\.x-y");
        let sent = data.version_4("k", Some(1));
        assert_eq!((&sent["truncatedAlerts"], sent["alerts"].as_array().map(Vec::len)), (&1.into(), Some(1)));
        assert!(data.alerts[0].silence_url.ends_with("filter=%7Ba%3D%221%22%2Cb%3D%222%22%7D"));
    }
}
