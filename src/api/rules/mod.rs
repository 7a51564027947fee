//! Rules and their alerts over HTTP: as Prometheus shows them, as Loki's ruler takes and gives them, and in Farol's own
//! way.

pub(crate) mod explain;
pub(crate) mod farol;
pub(crate) mod loki;
pub(crate) mod prometheus;

use serde_json::{Map, Value, json};

use crate::alert::ruler::{Running, Watched, records};
use crate::alert::state::Instance;

/// What Go writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Nanoseconds since 1970 as RFC 3339; 0 is a time that never was.
fn time(ns: i64) -> String {
    if ns == 0 {
        return NEVER.to_owned();
    }
    chrono::DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// An alert as Prometheus shows it.
fn alert(instance: &Instance) -> Value {
    let mut alert = json!({
        "labels": instance.labels,
        "annotations": instance.annotations,
        "state": instance.phase.as_str(),
        "activeAt": records::time(instance.active_since_ms),
        "value": scientific(instance.value.unwrap_or(0.0)),
    });
    if let (Some(since), Some(fields)) = (instance.keep_firing_since_ms, alert.as_object_mut()) {
        fields.insert("keepFiringSince".to_owned(), records::time(since).into());
    }
    alert
}

/// A rule as Prometheus shows it.
fn rule(watched: &Watched, with_alerts: bool) -> Value {
    let (rule, status) = (&watched.rule, watched.status().clone());
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    if let Some(alerting) = rule.alerting() {
        put("state", status.state.phase().as_str().into());
        put("name", rule.name.clone().into());
        put("query", rule.expr.clone().into());
        put("duration", (alerting.for_ms as f64 / 1000.0).into());
        put("keepFiringFor", (alerting.keep_firing_for_ms as f64 / 1000.0).into());
        put("labels", json!(rule.labels));
        put("annotations", json!(alerting.annotations));
        let alerts: Vec<Value> = status.state.active().filter(|_| with_alerts).map(alert).collect();
        put("alerts", alerts.into());
        put("type", "alerting".into());
    } else {
        put("name", rule.name.clone().into());
        put("query", rule.expr.clone().into());
        if !rule.labels.is_empty() {
            put("labels", json!(rule.labels));
        }
        put("type", "recording".into());
    }
    put("health", status.health.as_str().into());
    if !status.last_error.is_empty() {
        put("lastError", status.last_error.into());
    }
    put("evaluationTime", status.took.as_secs_f64().into());
    put("lastEvaluation", time(status.last_evaluation_ns).into());
    Value::Object(fields)
}

/// A group as Prometheus shows it, with these of its rules.
fn group(running: &Running, rules: &[Value]) -> Value {
    let last = running.last_run();
    json!({
        "name": running.group.key.name,
        "file": running.group.key.namespace,
        "rules": rules,
        "interval": running.interval_ms as f64 / 1000.0,
        "limit": running.group.limit,
        "evaluationTime": last.took.as_secs_f64(),
        "lastEvaluation": time(last.began_ns),
    })
}

/// As Go's `%e` with as many digits as are needed: `1e+00`, `2.5e-07`.
fn scientific(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_go_writes_them() {
        for (value, text) in [
            (1.0, "1e+00"),
            (0.0, "0e+00"),
            (2.5e-7, "2.5e-07"),
            (-1234.5, "-1.2345e+03"),
            (1e120, "1e+120"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(scientific(value), text);
        }
    }
}
