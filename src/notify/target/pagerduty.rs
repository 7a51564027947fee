//! PagerDuty: Events API v2, and the older one for who still has a `service_key`. One incident a group: it is triggered
//! while alerts fire, and resolved when none does. Limits: <https://developer.pagerduty.com/docs/events-api-v2>.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Common, HttpTarget, NONE, Request, Target, cut, template};
use crate::notify::config::secret::check_url;
use crate::notify::config::yaml::{HttpConfigYaml, fields};
use crate::notify::message::Message;
use crate::scrape::client::HttpClient;
use crate::scrape::config::{Lapse, Secret, Source};

const SUMMARY_MAX: usize = 1_024;
const EVENT_BYTES_MAX: usize = 512_000;
const URL: &str = "https://events.pagerduty.com/v2/enqueue";
const OLDER_URL: &str = "https://events.pagerduty.com/generic/2010-04-15/create_event.json";

fields! {
    /// `pagerduty_configs`.
    struct PagerdutyYaml {
        send_resolved: bool,
        http_config: HttpConfigYaml,
        service_key: Secret,
        service_key_file: String,
        routing_key: Secret,
        routing_key_file: String,
        url: String,
        client: String,
        client_url: String,
        description: String,
        details: BTreeMap<String, Value>,
        images: Vec<Value>,
        links: Vec<Value>,
        source: String,
        severity: String,
        class: String,
        component: String,
        group: String,
        timeout: Lapse,
    }
}

#[derive(Debug)]
struct Pagerduty {
    client: Arc<HttpClient>,
    url: String,
    key: Source,
    is_older: bool,
    yaml: PagerdutyYaml,
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &PagerdutyYaml, common: &Common<'_>) -> Result<Target, String> {
    let routing = common.secret("routing_key", (yaml.routing_key.as_ref(), yaml.routing_key_file.as_deref()), NONE)?;
    let service = common.secret("service_key", (yaml.service_key.as_ref(), yaml.service_key_file.as_deref()), NONE)?;
    let is_older = service.is_some();
    let key = match (routing, service) {
        (Some(_), Some(_)) => return Err("at most one of routing_key and service_key may be given".to_owned()),
        (Some(key), None) | (None, Some(key)) => key,
        (None, None) => return Err("routing_key or service_key must be given".to_owned()),
    };
    let url = yaml.url.clone().or_else(|| common.global.pagerduty_url.clone());
    let url = url.unwrap_or_else(|| if is_older { OLDER_URL } else { URL }.to_owned());
    check_url("url", &url)?;
    let client = common.http(yaml.http_config.as_ref())?;
    Ok(Target::Http(Box::new(Pagerduty { client, url, key, is_older, yaml: yaml.clone() })))
}

#[async_trait]
impl HttpTarget for Pagerduty {
    fn client(&self) -> &HttpClient {
        &self.client
    }

    async fn requests(&self, message: &Message<'_>, _thread: Option<&str>) -> Result<Vec<Request>, String> {
        let key = self.key.read().await?;
        let details = self.details(message)?;
        let event = |details: &Value| match self.is_older {
            true => self.older_event(message, &key, details),
            false => self.event(message, &key, details),
        };
        let mut body = event(&details)?;
        if body.to_string().len() > EVENT_BYTES_MAX {
            body = event(&json!({"error": "the details were left out: the event was over 512 KB with them"}))?;
        }
        Ok(vec![Request::json(self.url.clone(), &body)?])
    }

    fn timeout(&self) -> Option<std::time::Duration> {
        self.yaml.timeout.map(|timeout| timeout.0).filter(|timeout| !timeout.is_zero())
    }
}

impl Pagerduty {
    fn details(&self, message: &Message<'_>) -> Result<Value, String> {
        let mut details = Map::new();
        for (name, text) in [
            ("firing", r#"{{ template "pagerduty.default.instances" .Alerts.Firing }}"#),
            ("resolved", r#"{{ template "pagerduty.default.instances" .Alerts.Resolved }}"#),
            ("num_firing", "{{ .Alerts.Firing | len }}"),
            ("num_resolved", "{{ .Alerts.Resolved | len }}"),
        ] {
            details.insert(name.to_owned(), message.text(text)?.into());
        }
        for (name, value) in self.yaml.details.iter().flatten() {
            details.insert(name.clone(), message.fill(value)?);
        }
        Ok(details.into())
    }

    fn event(&self, message: &Message<'_>, key: &str, details: &Value) -> Result<Value, String> {
        let yaml = &self.yaml;
        let severity = message.text(&template(yaml.severity.as_ref(), r#"{{ .CommonLabels.severity }}"#))?;
        let severity = ["critical", "warning", "error", "info"].into_iter().find(|known| *known == severity.trim());
        let mut payload = json!({
            "summary": cut(self.description(message)?.trim(), SUMMARY_MAX),
            "severity": severity.unwrap_or("error"),
            "custom_details": details,
        });
        for (name, own, default) in [
            ("source", &yaml.source, r#"{{ template "pagerduty.default.client" . }}"#),
            ("class", &yaml.class, ""),
            ("component", &yaml.component, ""),
            ("group", &yaml.group, ""),
        ] {
            put(&mut payload, name, &message.text(&template(own.as_ref(), default))?);
        }
        let mut event = json!({
            "routing_key": key,
            "dedup_key": message.group_id(),
            "event_action": if message.is_firing() { "trigger" } else { "resolve" },
            "payload": payload,
        });
        self.put_client(&mut event, message)?;
        for (name, list) in [("images", &yaml.images), ("links", &yaml.links)] {
            let filled = list.iter().flatten().map(|item| message.fill(item)).collect::<Result<Vec<_>, _>>()?;
            if !filled.is_empty() {
                event[name] = filled.into();
            }
        }
        Ok(event)
    }

    fn older_event(&self, message: &Message<'_>, key: &str, details: &Value) -> Result<Value, String> {
        let mut event = json!({
            "service_key": key,
            "incident_key": message.group_id(),
            "event_type": if message.is_firing() { "trigger" } else { "resolve" },
            "description": cut(self.description(message)?.trim(), SUMMARY_MAX),
            "details": details,
        });
        self.put_client(&mut event, message)?;
        Ok(event)
    }

    fn description(&self, message: &Message<'_>) -> Result<String, String> {
        let own = self.yaml.description.as_ref();
        message.text(&template(own, r#"{{ template "pagerduty.default.description" . }}"#))
    }

    fn put_client(&self, event: &mut Value, message: &Message<'_>) -> Result<(), String> {
        let (client, url) = (self.yaml.client.as_ref(), self.yaml.client_url.as_ref());
        let client = message.text(&template(client, r#"{{ template "pagerduty.default.client" . }}"#))?;
        let url = message.text(&template(url, r#"{{ template "pagerduty.default.clientURL" . }}"#))?;
        put(event, "client", &client);
        put(event, "client_url", &url);
        Ok(())
    }
}

fn put(object: &mut Value, name: &str, text: &str) {
    if !text.trim().is_empty() {
        object[name] = text.trim().into();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::testing::{body, long_message, message, resolved_message, target};

    #[tokio::test]
    async fn a_group_is_an_incident() {
        let target = target(
            "pagerduty_configs: [{url: 'http://127.0.0.1/v2/enqueue', routing_key: r, details: {team: '{{ .GroupLabels.job }}'}}]",
        );
        let sent = body(&target, &message()).await;
        assert_eq!((&sent["routing_key"], &sent["event_action"]), (&"r".into(), &"trigger".into()));
        assert_eq!(sent["payload"]["severity"], "critical");
        assert_eq!(sent["payload"]["custom_details"]["team"], "api");
        assert!(sent["payload"]["custom_details"]["firing"].as_str().unwrap().contains("rate(errors[5m])"), "{sent}");
        assert!(!sent["payload"]["source"].as_str().unwrap().is_empty());
        let over = body(&target, &resolved_message()).await;
        assert_eq!((&over["event_action"], &over["dedup_key"]), (&"resolve".into(), &sent["dedup_key"]));
        let long = body(&target, &long_message()).await;
        assert!(long["payload"]["summary"].as_str().unwrap().chars().count() <= 1024);
        assert!(long.to_string().len() <= 512_000);
    }

    #[tokio::test]
    async fn a_service_key_is_for_the_older_api() {
        let target = target("pagerduty_configs: [{url: 'http://127.0.0.1/old', service_key: s}]");
        let sent = body(&target, &message()).await;
        assert_eq!((&sent["service_key"], &sent["event_type"]), (&"s".into(), &"trigger".into()));
    }
}
