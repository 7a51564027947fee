//! What happens to rules, as records of the history.

use storage::Level;

use super::document::StateDocument;
use super::watched::Running;
use crate::alert::history::{Field, Record};
use crate::alert::rule::Rule;
use crate::alert::state::{Event, Labels, Phase};

/// A change of state.
pub(super) fn changed(running: &Running, rule: &Rule, event: &Event, at_ms: i64) -> Record {
    let key = &running.group.key;
    state_change([&rule.name, &rule.id, &key.name, &key.namespace], event, at_ms)
}

/// A change of state before the start: the same record as then.
pub(super) fn changed_before(kept: &StateDocument, id: &str, event: &Event) -> Record {
    state_change([&kept.rule, id, &kept.group, &kept.namespace], event, kept.at_ms)
}

fn state_change(whose: [&str; 4], event: &Event, at_ms: i64) -> Record {
    let instance = &event.instance;
    let (from, to) = (event.from, instance.phase);
    let value = instance.value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    let labels = shown(&instance.labels);
    let message = format!("{} is {} (was {}): value {value}, {labels}", whose[0], to.as_str(), from.as_str());
    let mut fields = about(whose, "state");
    fields.extend([
        ("from", Field::Text(from.as_str().to_owned())),
        ("to", Field::Text(to.as_str().to_owned())),
        ("labels", Field::Text(labels)),
        ("active_since", Field::Text(time(instance.active_since_ms))),
    ]);
    if let Some(value) = instance.value {
        fields.push(("value", Field::Number(value)));
    }
    let level = if to == Phase::Firing { Level::Warn } else { Level::Info };
    Record { time_ns: at_ms.saturating_mul(1_000_000), level, message, fields }
}

/// An evaluation that failed.
pub(super) fn failed(running: &Running, rule: &Rule, why: &str, at_ms: i64) -> Record {
    let message = format!("{} cannot be evaluated: {why}", rule.name);
    let key = &running.group.key;
    let mut fields = about([&rule.name, &rule.id, &key.name, &key.namespace], "evaluation");
    fields.push(("error", Field::Text(why.to_owned())));
    Record { time_ns: at_ms.saturating_mul(1_000_000), level: Level::Error, message, fields }
}

/// The key of the records of a rule's evaluation: kept again after a kill, they are there once.
pub(super) fn key(rule_id: &str, at_ms: i64) -> String {
    format!("farol_alerts/{rule_id}/{at_ms}")
}

/// Whose it is: the rule's name and id, the group's name and namespace.
fn about(whose: [&str; 4], event: &str) -> Vec<(&'static str, Field)> {
    let names = ["rule", "rule_id", "group", "namespace"];
    let whose = names.into_iter().zip(whose).map(|(name, text)| (name, Field::Text(text.to_owned())));
    [("event", Field::Text(event.to_owned()))].into_iter().chain(whose).collect()
}

fn shown(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// RFC 3339.
pub(crate) fn time(ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(ms).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}
