//! Every try to deliver a message is a record in the history of alerts.

use std::sync::Arc;

use storage::{Clock, Level, Store, Tenant};

use super::{Attempt, Recorder};
use crate::alert::history::{Field, Record, Spool};

/// What keeps records, without holding up who delivers. It ends when the recorder is dropped, and all is kept.
pub(super) fn recorder(store: Arc<Store>, clock: Arc<dyn Clock>) -> Recorder {
    let spool = Spool::start(store);
    Arc::new(move |tenant: &Tenant, attempt: &Attempt| spool.push(tenant, record(attempt, clock.now_ns())))
}

fn record(attempt: &Attempt, time_ns: i64) -> Record {
    let mut fields: Vec<(&'static str, Field)> = [
        ("event", "notification"),
        ("rule", &attempt.alerts.join(",")),
        ("receiver", &attempt.receiver),
        ("integration", &attempt.integration),
        ("group_key", &attempt.group_key),
        ("key", &attempt.key),
        ("reason", &attempt.reason),
        ("status", &attempt.status),
        ("outcome", attempt.outcome),
        ("error", attempt.error.as_deref().unwrap_or_default()),
    ]
    .into_iter()
    .map(|(name, text)| (name, Field::Text(text.to_owned())))
    .collect();
    let numbers = [
        ("attempt", Some(i64::from(attempt.attempt))),
        ("status_code", attempt.status_code.map(i64::from)),
        ("latency_ms", i64::try_from(attempt.latency_ms).ok()),
    ];
    fields.extend(numbers.into_iter().filter_map(|(name, number)| Some((name, Field::Integer(number?)))));
    let level = if attempt.outcome == "delivered" { Level::Info } else { Level::Error };
    Record { time_ns, level, message: message(attempt), fields }
}

fn message(attempt: &Attempt) -> String {
    let Attempt { receiver, integration, group_key, status, outcome, .. } = attempt;
    let why = attempt.error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!(
        "notification {outcome} to {receiver} ({integration}), {status}, {group_key}, attempt {}{why}",
        attempt.attempt
    )
}
