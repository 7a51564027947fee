//! Webhooks: Alertmanager's message of version 4, or a method, headers and a body of one's own for whatever else takes HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{HeaderName, Method};
use serde_json::Value;

use super::{Common, HttpTarget, NONE, Request, Target};
use crate::notify::config::yaml::{HttpConfigYaml, fields};
use crate::notify::message::Message;
use crate::scrape::client::HttpClient;
use crate::scrape::config::{Lapse, Secret, Source};

fields! {
    /// `webhook_configs`; `method`, `headers` and `body` are Farol's own.
    struct WebhookYaml {
        send_resolved: bool,
        http_config: HttpConfigYaml,
        url: Secret,
        url_file: String,
        max_alerts: u64,
        timeout: Lapse,
        payload: Value,
        method: String,
        headers: BTreeMap<String, Secret>,
        body: String,
    }
}

#[derive(Debug)]
struct Webhook {
    client: Arc<HttpClient>,
    url: Source,
    method: Method,
    headers: Vec<(String, Source)>,
    yaml: WebhookYaml,
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &WebhookYaml, common: &Common<'_>) -> Result<Target, String> {
    let url = common.url("url", (yaml.url.as_ref(), yaml.url_file.as_deref()), NONE)?;
    let method = yaml.method.as_deref().unwrap_or("POST").to_uppercase();
    if !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
        return Err(format!("method: {method:?} is none of GET, POST, PUT, PATCH and DELETE"));
    }
    if yaml.body.is_some() && yaml.payload.is_some() {
        return Err("at most one of body and payload may be given".to_owned());
    }
    let mut headers = Vec::new();
    for (name, value) in yaml.headers.iter().flatten() {
        name.parse::<HeaderName>().map_err(|_| format!("headers: {name:?} is no name of a header"))?;
        if let Some(value) = common.secret(&format!("headers: {name}"), (Some(value), None), NONE)? {
            headers.push((name.clone(), value));
        }
    }
    Ok(Target::Http(Box::new(Webhook {
        client: common.http(yaml.http_config.as_ref())?,
        url: url.ok_or("url or url_file must be given")?,
        method: method.parse().map_err(|_| "method: it cannot be used".to_owned())?,
        headers,
        yaml: yaml.clone(),
    })))
}

#[async_trait]
impl HttpTarget for Webhook {
    fn client(&self) -> &HttpClient {
        &self.client
    }

    async fn requests(&self, message: &Message<'_>, _thread: Option<&str>) -> Result<Vec<Request>, String> {
        let url = message.text(&self.url.read().await?).map_err(|_| "url: the template fails".to_owned())?;
        let most = self.yaml.max_alerts.and_then(|most| usize::try_from(most).ok()).filter(|most| *most > 0);
        let mut request = match (&self.yaml.body, &self.yaml.payload) {
            (Some(body), _) => {
                let body = message.text(body)?.into_bytes();
                Request { method: Method::POST, url, headers: Vec::new(), body }
            }
            (None, Some(payload)) => Request::json(url, &message.fill(payload)?)?,
            (None, None) => Request::json(url, &message.version_4(most))?,
        };
        request.method = self.method.clone();
        for (name, value) in &self.headers {
            let value =
                message.text(&value.read().await?).map_err(|_| format!("headers: {name}: the template fails"))?;
            request.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            request.headers.push((name.clone(), value));
        }
        if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("Content-Type", "text/plain; charset=utf-8");
        }
        Ok(vec![request])
    }

    fn timeout(&self) -> Option<std::time::Duration> {
        self.yaml.timeout.map(|timeout| timeout.0).filter(|timeout| !timeout.is_zero())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::super::testing::{body, message, requests, resolved_message, target};

    /// As documented under "webhook_config", field by field.
    #[tokio::test]
    async fn version_4_is_alertmanagers() {
        let target = target("webhook_configs: [{url: 'http://127.0.0.1/hook'}]");
        let sent = body(&target, &message()).await;
        let labels = json!({"alertname": "HighErrors", "job": "api", "severity": "critical"});
        let alert = &sent["alerts"][0];
        let annotations = alert["annotations"].clone();
        assert_eq!(
            sent,
            json!({
                "version": "4",
                "groupKey": r#"{}:{job="api"}"#,
                "truncatedAlerts": 0,
                "status": "firing",
                "receiver": "ops",
                "groupLabels": {"job": "api"},
                "commonLabels": labels,
                "commonAnnotations": annotations,
                "externalURL": "http://farol.example",
                "alerts": [{
                    "status": "firing",
                    "labels": labels,
                    "annotations": annotations,
                    "startsAt": "2026-11-28T12:00:00Z",
                    "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": "http://farol.example/query",
                    "fingerprint": alert["fingerprint"],
                }],
            })
        );
        assert_eq!(body(&target, &resolved_message()).await["alerts"][0]["endsAt"], "2026-11-28T12:30:00.5Z");
    }

    #[tokio::test]
    async fn all_of_it_can_be_ones_own() {
        let target = target(
            "webhook_configs: [{url: 'http://127.0.0.1/{{ .CommonLabels.job }}', method: put,
             headers: {X-Key: s3cret, Content-Type: text/csv}, body: '{{ .Status }},{{ len .Alerts }}'}]",
        );
        let request = requests(&target, &message(), None).await.remove(0);
        assert_eq!((request.method.as_str(), request.url.as_str()), ("PUT", "http://127.0.0.1/api"));
        assert_eq!(String::from_utf8(request.body).unwrap(), "firing,1");
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(request.headers, [header("Content-Type", "text/csv"), header("X-Key", "s3cret")]);
    }

    #[tokio::test]
    async fn a_payload_is_filled() {
        let target = target("webhook_configs: [{url: 'http://127.0.0.1/x', payload: {a: ['{{ .Status }}', 1]}}]");
        assert_eq!(body(&target, &message()).await, json!({"a": ["firing", 1]}));
    }
}
