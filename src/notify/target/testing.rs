//! For the tests of targets: their settings from YAML, and a message.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::{Request, Target};
use crate::alert::{Alert, AlertContext};
use crate::notify::config::{Config, Integration};
use crate::notify::data::Data;
use crate::notify::matcher::Labels;
use crate::notify::message::Message;
use crate::notify::template::Templates;

/// 2026-11-28 12:00.
const NOON_MS: i64 = 1_795_867_200_000;

static TEMPLATES: LazyLock<Templates> = LazyLock::new(Templates::built_in);

/// The only target of a receiver with these settings.
pub(crate) fn target(settings: &str) -> Target {
    let text = format!("route: {{receiver: ops}}\nreceivers:\n- {{name: ops, {settings}}}\n");
    let mut config = Config::parse(&text, Path::new("alertmanager.yml")).unwrap();
    let integration = config.receivers.remove("ops").unwrap().integrations.remove(0);
    let Integration { target, .. } = Arc::into_inner(integration).unwrap();
    target
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An alert of a rule over logs.
pub(crate) fn alert() -> Alert {
    Alert {
        labels: labels(&[("alertname", "HighErrors"), ("job", "api"), ("severity", "critical")]),
        annotations: labels(&[
            ("summary", "Many errors in api"),
            ("description", "Over half of all requests fail."),
            ("runbook_url", "https://runbooks.example/errors"),
        ]),
        starts_at_ms: NOON_MS,
        ends_at_ms: None,
        updated_at_ms: NOON_MS,
        generator_url: "http://farol.example/query".to_owned(),
        context: Some(AlertContext {
            rule_id: "r1".to_owned(),
            expr: "rate(errors[5m]) > 0.5".to_owned(),
            language: "logql".to_owned(),
            value: Some(0.75),
            threshold: Some("> 0.5".to_owned()),
            active_since_ms: NOON_MS - 300_000,
            lines: vec![(NOON_MS * 1_000_000, "payment <failed> & lost".to_owned())],
        }),
    }
}

fn message_of(alerts: &[Alert]) -> Message<'static> {
    let data = Data::new("ops", labels(&[("job", "api")]), alerts, "http://farol.example");
    Message {
        data,
        templates: &TEMPLATES,
        group_key: r#"{}:{job="api"}"#.to_owned(),
        key: "key-1".to_owned(),
        created_ms: NOON_MS + 60_000,
    }
}

/// One alert that fires.
pub(crate) fn message() -> Message<'static> {
    message_of(&[alert()])
}

/// The same alert, over.
pub(crate) fn resolved_message() -> Message<'static> {
    message_of(&[Alert { ends_at_ms: Some(NOON_MS + 1_800_500), ..alert() }])
}

/// Fifty alerts with long texts, which no service takes whole.
pub(crate) fn long_message() -> Message<'static> {
    let long = |i: usize| {
        let mut alert = alert();
        alert.labels.insert("instance".to_owned(), format!("{i}-{}", "ä".repeat(300)));
        alert.annotations.insert("summary".to_owned(), "sümmary ".repeat(400));
        alert.annotations.insert("description".to_owned(), "\"quoted\" <words> & more\n".repeat(1_000));
        alert
    };
    message_of(&(0..50).map(long).collect::<Vec<_>>())
}

/// The requests of a message.
pub(crate) async fn requests(target: &Target, message: &Message<'_>, thread: Option<&str>) -> Vec<Request> {
    let Target::Http(target) = target else { panic!("{target:?}") };
    target.requests(message, thread).await.unwrap()
}

/// The body of the first request.
pub(crate) async fn body(target: &Target, message: &Message<'_>) -> Value {
    serde_json::from_slice(&requests(target, message, None).await.remove(0).body).unwrap()
}
