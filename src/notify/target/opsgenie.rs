//! Opsgenie: its Alert API. One alert a group, made while alerts fire and closed when none does. Limits:
//! <https://docs.opsgenie.com/docs/alert-api>.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Common, HttpTarget, Request, Target, cut, template};
use crate::notify::config::secret::check_url;
use crate::notify::config::yaml::{HttpConfigYaml, fields};
use crate::notify::message::Message;
use crate::scrape::client::HttpClient;
use crate::scrape::config::{Secret, Source};

const MESSAGE_MAX: usize = 130;
const DESCRIPTION_MAX: usize = 15_000;
const DETAILS_MAX: usize = 8_000;
const TAGS_MAX: usize = 20;
const TAG_MAX: usize = 50;

fields! {
    /// `opsgenie_configs`.
    struct OpsgenieYaml {
        send_resolved: bool,
        http_config: HttpConfigYaml,
        api_key: Secret,
        api_key_file: String,
        api_url: String,
        message: String,
        description: String,
        source: String,
        details: BTreeMap<String, String>,
        entity: String,
        responders: Vec<BTreeMap<String, String>>,
        actions: String,
        tags: String,
        note: String,
        priority: String,
        update_alerts: bool,
    }
}

#[derive(Debug)]
struct Opsgenie {
    client: Arc<HttpClient>,
    url: String,
    key: Source,
    yaml: OpsgenieYaml,
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &OpsgenieYaml, common: &Common<'_>) -> Result<Target, String> {
    let global = common.global;
    let key = common.secret(
        "api_key",
        (yaml.api_key.as_ref(), yaml.api_key_file.as_deref()),
        (global.opsgenie_api_key.as_ref(), global.opsgenie_api_key_file.as_deref()),
    )?;
    let url = yaml.api_url.clone().or_else(|| global.opsgenie_api_url.clone());
    let url = url.unwrap_or_else(|| "https://api.opsgenie.com/".to_owned());
    check_url("api_url", &url)?;
    for responder in yaml.responders.iter().flatten() {
        if !["id", "name", "username"].iter().any(|name| responder.contains_key(*name)) {
            return Err("responders: one of id, name and username must be given".to_owned());
        }
        let kind = responder.get("type").map_or("", String::as_str);
        if !["team", "teams", "user", "escalation", "schedule"].contains(&kind) && !kind.contains("{{") {
            return Err(format!("responders: type {kind:?} is none of team, teams, user, escalation and schedule"));
        }
    }
    Ok(Target::Http(Box::new(Opsgenie {
        client: common.http(yaml.http_config.as_ref())?,
        url: format!("{}/v2/alerts", url.trim_end_matches('/')),
        key: key.ok_or("api_key or api_key_file must be given, here or in global")?,
        yaml: yaml.clone(),
    })))
}

#[async_trait]
impl HttpTarget for Opsgenie {
    fn client(&self) -> &HttpClient {
        &self.client
    }

    async fn requests(&self, message: &Message<'_>, _thread: Option<&str>) -> Result<Vec<Request>, String> {
        let key = format!("GenieKey {}", self.key.read().await?);
        let alias = message.group_id();
        let source = template(self.yaml.source.as_ref(), r#"{{ template "opsgenie.default.source" . }}"#);
        let source = cut(message.text(&source)?.trim(), 100);
        let named = format!("{}/{alias}", self.url);
        let post = |url: String, body: &Value| Request::json(url, body).map(|r| r.header("Authorization", key.clone()));
        if !message.is_firing() {
            return Ok(vec![post(format!("{named}/close?identifierType=alias"), &json!({"source": source}))?]);
        }
        let alert = self.alert(message, &alias, &source)?;
        let mut requests = vec![post(self.url.clone(), &alert)?];
        if self.yaml.update_alerts == Some(true) {
            for name in ["message", "description"] {
                let mut request =
                    post(format!("{named}/{name}?identifierType=alias"), &json!({name: alert[name].clone()}))?;
                request.method = axum::http::Method::PUT;
                requests.push(request);
            }
        }
        Ok(requests)
    }
}

impl Opsgenie {
    fn alert(&self, message: &Message<'_>, alias: &str, source: &str) -> Result<Value, String> {
        let yaml = &self.yaml;
        let mut alert = json!({"alias": alias, "source": source, "details": self.details(message)?});
        for (name, own, default, max) in [
            ("message", &yaml.message, r#"{{ template "opsgenie.default.message" . }}"#, MESSAGE_MAX),
            ("description", &yaml.description, r#"{{ template "opsgenie.default.description" . }}"#, DESCRIPTION_MAX),
            ("entity", &yaml.entity, "", 512),
            ("note", &yaml.note, "", 25_000),
        ] {
            let text = message.text(&template(own.as_ref(), default))?;
            if !text.trim().is_empty() {
                alert[name] = cut(text.trim(), max).into();
            }
        }
        for (name, own, many_max, long_max) in
            [("tags", &yaml.tags, TAGS_MAX, TAG_MAX), ("actions", &yaml.actions, 10, 50)]
        {
            let text = message.text(&template(own.as_ref(), ""))?;
            let list = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let list: Vec<String> = list.take(many_max).map(|item| cut(item, long_max)).collect();
            if !list.is_empty() {
                alert[name] = list.into();
            }
        }
        let responders = self.responders(message)?;
        if !responders.is_empty() {
            alert["responders"] = responders.into();
        }
        let priority = message.text(&template(yaml.priority.as_ref(), ""))?;
        if ["P1", "P2", "P3", "P4", "P5"].contains(&priority.trim()) {
            alert["priority"] = priority.trim().into();
        }
        Ok(alert)
    }

    /// The labels that all share, then those of the settings, as many as fit.
    fn details(&self, message: &Message<'_>) -> Result<BTreeMap<String, String>, String> {
        let mut details = message.data.common_labels.clone();
        for (name, own) in self.yaml.details.iter().flatten() {
            details.insert(name.clone(), message.text(own)?);
        }
        let mut characters = 0;
        details.retain(|name, value| {
            characters += name.chars().count() + value.chars().count();
            characters <= DETAILS_MAX
        });
        Ok(details)
    }

    fn responders(&self, message: &Message<'_>) -> Result<Vec<Value>, String> {
        let mut responders = Vec::new();
        for responder in self.yaml.responders.iter().flatten() {
            let mut filled = BTreeMap::new();
            for (name, own) in responder {
                let text = message.text(own)?;
                if !text.trim().is_empty() {
                    filled.insert(name.clone(), text.trim().to_owned());
                }
            }
            if filled.get("type").is_some_and(|kind| kind == "teams") {
                let names = filled.get("name").map_or("", String::as_str);
                let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
                responders.extend(names.map(|name| json!({"type": "team", "name": name})));
            } else if filled.len() > 1 {
                responders.push(json!(filled));
            }
        }
        Ok(responders)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::testing::{body, long_message, message, requests, resolved_message, target};

    #[tokio::test]
    async fn a_group_is_an_alert() {
        let target = target(
            "opsgenie_configs: [{api_url: 'http://127.0.0.1/', api_key: k, tags: 'a, b', priority: P2,
             responders: [{type: teams, name: 'x,y'}]}]",
        );
        let request = requests(&target, &message(), None).await.remove(0);
        assert_eq!(request.url, "http://127.0.0.1/v2/alerts");
        assert!(request.headers.contains(&("Authorization".to_owned(), "GenieKey k".to_owned())));
        let sent = body(&target, &message()).await;
        assert_eq!((&sent["priority"], &sent["details"]["job"]), (&"P2".into(), &"api".into()));
        assert_eq!(sent["tags"], serde_json::json!(["a", "b"]));
        assert_eq!(sent["responders"][1]["name"], "y");
        let over = requests(&target, &resolved_message(), None).await.remove(0);
        let alias = sent["alias"].as_str().unwrap();
        assert_eq!(over.url, format!("http://127.0.0.1/v2/alerts/{alias}/close?identifierType=alias"));
        let long = body(&target, &long_message()).await;
        let length = |name: &str| long[name].as_str().unwrap().chars().count();
        assert!(length("message") <= 130 && length("description") <= 15_000);
    }
}
