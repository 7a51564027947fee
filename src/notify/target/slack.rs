//! Slack: an incoming webhook, or `chat.postMessage` with a bot's token. With a token the first message of a group begins a
//! thread; what follows answers in it, and when all is over the first message is changed too. With `update_message` it is
//! only changed. Limits: <https://docs.slack.dev/reference/methods/chat.postMessage>.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Common, HttpTarget, Request, Target, cut, template};
use crate::notify::config::secret::check_url;
use crate::notify::config::yaml::{HttpConfigYaml, fields};
use crate::notify::message::Message;
use crate::scrape::client::{HttpClient, Reply};
use crate::scrape::config::{Lapse, Secret, Source};

const TITLE_MAX: usize = 1_024;
/// Slack cuts a message over 40,000 characters; nobody reads so much.
const TEXT_MAX: usize = 8_000;
const APP_URL: &str = "https://slack.com/api/chat.postMessage";

fields! {
    /// `slack_configs`.
    struct SlackYaml {
        send_resolved: bool,
        http_config: HttpConfigYaml,
        api_url: Secret,
        api_url_file: String,
        app_token: Secret,
        app_token_file: String,
        app_url: String,
        channel: String,
        username: String,
        color: String,
        title: String,
        title_link: String,
        pretext: String,
        text: String,
        message_text: String,
        fields: Vec<Value>,
        short_fields: bool,
        footer: String,
        fallback: String,
        callback_id: String,
        icon_emoji: String,
        icon_url: String,
        image_url: String,
        thumb_url: String,
        link_names: bool,
        mrkdwn_in: Vec<String>,
        actions: Vec<Value>,
        update_message: bool,
        timeout: Lapse,
    }
}

#[derive(Debug)]
struct Slack {
    client: Arc<HttpClient>,
    way: Way,
    yaml: SlackYaml,
}

/// How messages come to Slack.
#[derive(Debug)]
enum Way {
    Webhook(Source),
    Bot { url: String, token: Source },
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &SlackYaml, common: &Common<'_>) -> Result<Target, String> {
    let global = common.global;
    let own_token = (yaml.app_token.as_ref(), yaml.app_token_file.as_deref());
    let own_url = (yaml.api_url.as_ref(), yaml.api_url_file.as_deref());
    let has_own = |pair: super::Pair<'_>| pair.0.is_some() || pair.1.is_some();
    // A webhook of its own goes before a token of all, and the other way round.
    let global_token = (global.slack_app_token.as_ref(), global.slack_app_token_file.as_deref());
    let global_token = if has_own(own_url) { super::NONE } else { global_token };
    let global_url = (global.slack_api_url.as_ref(), global.slack_api_url_file.as_deref());
    let global_url = if has_own(own_token) { super::NONE } else { global_url };
    let token = common.secret("app_token", own_token, global_token)?;
    let webhook = common.url("api_url", own_url, global_url)?;
    let way = match (token, webhook) {
        (Some(_), Some(_)) => return Err("at most one of app_token and api_url may be given".to_owned()),
        (Some(token), None) => {
            let url = yaml.app_url.clone().or_else(|| global.slack_app_url.clone());
            let url = url.unwrap_or_else(|| APP_URL.to_owned());
            check_url("app_url", &url)?;
            if yaml.channel.as_deref().unwrap_or_default().is_empty() {
                return Err("channel must be given with app_token".to_owned());
            }
            Way::Bot { url, token }
        }
        (None, Some(url)) => Way::Webhook(url),
        (None, None) => return Err("api_url or app_token must be given, here or in global".to_owned()),
    };
    if yaml.update_message == Some(true) && matches!(way, Way::Webhook(_)) {
        return Err("update_message needs app_token: a webhook cannot change a message".to_owned());
    }
    let client = common.http(yaml.http_config.as_ref())?;
    Ok(Target::Http(Box::new(Slack { client, way, yaml: yaml.clone() })))
}

impl Slack {
    fn body(&self, message: &Message<'_>) -> Result<Map<String, Value>, String> {
        let yaml = &self.yaml;
        let mut body = Map::new();
        for (name, own, default) in [
            ("channel", &yaml.channel, ""),
            ("username", &yaml.username, r#"{{ template "slack.default.username" . }}"#),
            ("icon_emoji", &yaml.icon_emoji, r#"{{ template "slack.default.iconemoji" . }}"#),
            ("icon_url", &yaml.icon_url, r#"{{ template "slack.default.iconurl" . }}"#),
            ("text", &yaml.message_text, ""),
        ] {
            put(&mut body, name, cut(message.text(&template(own.as_ref(), default))?.trim(), TEXT_MAX));
        }
        if yaml.link_names == Some(true) {
            body.insert("link_names".to_owned(), true.into());
        }
        body.insert("attachments".to_owned(), json!([self.attachment(message)?]));
        Ok(body)
    }

    fn attachment(&self, message: &Message<'_>) -> Result<Value, String> {
        let yaml = &self.yaml;
        let mut attachment = Map::new();
        for (name, own, default, max) in [
            ("title", &yaml.title, r#"{{ template "slack.default.title" . }}"#, TITLE_MAX),
            ("title_link", &yaml.title_link, r#"{{ template "slack.default.titlelink" . }}"#, usize::MAX),
            ("pretext", &yaml.pretext, r#"{{ template "slack.default.pretext" . }}"#, TEXT_MAX),
            ("text", &yaml.text, r#"{{ template "slack.default.text" . }}"#, TEXT_MAX),
            ("fallback", &yaml.fallback, r#"{{ template "slack.default.fallback" . }}"#, TITLE_MAX),
            ("callback_id", &yaml.callback_id, r#"{{ template "slack.default.callbackid" . }}"#, TITLE_MAX),
            ("footer", &yaml.footer, r#"{{ template "slack.default.footer" . }}"#, 300),
            ("color", &yaml.color, r#"{{ template "slack.default.color" . }}"#, usize::MAX),
            ("image_url", &yaml.image_url, "", usize::MAX),
            ("thumb_url", &yaml.thumb_url, "", usize::MAX),
        ] {
            put(&mut attachment, name, cut(message.text(&template(own.as_ref(), default))?.trim(), max));
        }
        let short = yaml.short_fields.unwrap_or(false);
        if let Some(fields) = &yaml.fields {
            let mut fields = fields.iter().map(|field| message.fill(field)).collect::<Result<Vec<_>, _>>()?;
            for field in fields.iter_mut().filter(|field| field.get("short").is_none()) {
                field["short"] = short.into();
            }
            attachment.insert("fields".to_owned(), fields.into());
        }
        if let Some(actions) = &yaml.actions {
            let actions = actions.iter().map(|action| message.fill(action)).collect::<Result<Vec<_>, _>>()?;
            attachment.insert("actions".to_owned(), actions.into());
        }
        let marked =
            yaml.mrkdwn_in.clone().unwrap_or_else(|| ["fallback", "pretext", "text"].map(str::to_owned).into());
        attachment.insert("mrkdwn_in".to_owned(), marked.into());
        Ok(attachment.into())
    }
}

fn put(object: &mut Map<String, Value>, name: &str, text: String) {
    if !text.is_empty() {
        object.insert(name.to_owned(), text.into());
    }
}

#[async_trait]
impl HttpTarget for Slack {
    fn client(&self) -> &HttpClient {
        &self.client
    }

    async fn requests(&self, message: &Message<'_>, thread: Option<&str>) -> Result<Vec<Request>, String> {
        let body = self.body(message)?;
        let (url, token) = match &self.way {
            Way::Webhook(url) => return Ok(vec![Request::json(url.read().await?, &body)?]),
            Way::Bot { url, token } => (url, format!("Bearer {}", token.read().await?)),
        };
        let post = |url: String, body: &Map<String, Value>| {
            Request::json(url, body).map(|request| request.header("Authorization", token.clone()))
        };
        let Some((channel, ts)) = thread.and_then(|thread| thread.split_once(' ')) else {
            return Ok(vec![post(url.clone(), &body)?]);
        };
        let only_updates = self.yaml.update_message == Some(true);
        let mut requests = Vec::new();
        if only_updates || !message.is_firing() {
            let mut changed = body.clone();
            changed.insert("channel".to_owned(), channel.into());
            changed.insert("ts".to_owned(), ts.into());
            requests.push(post(url.replace("chat.postMessage", "chat.update"), &changed)?);
        }
        if !only_updates {
            let mut answer = body;
            answer.insert("channel".to_owned(), channel.into());
            answer.insert("thread_ts".to_owned(), ts.into());
            requests.push(post(url.clone(), &answer)?);
        }
        Ok(requests)
    }

    /// The API says what is wrong with status 200.
    fn refusal(&self, reply: &Reply) -> Option<String> {
        let Way::Bot { .. } = &self.way else { return None };
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let is_good = answer["ok"].as_bool() == Some(true);
        (!is_good).then(|| format!("Slack says: {}", answer["error"].as_str().unwrap_or("no answer in JSON")))
    }

    fn thread(&self, reply: &Reply) -> Option<String> {
        let Way::Bot { .. } = &self.way else { return None };
        let answer: Value = serde_json::from_slice(&reply.body).ok()?;
        Some(format!("{} {}", answer["channel"].as_str()?, answer["ts"].as_str()?))
    }

    fn timeout(&self) -> Option<std::time::Duration> {
        self.yaml.timeout.map(|timeout| timeout.0).filter(|timeout| !timeout.is_zero())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::testing::{body, long_message, message, requests, resolved_message, target};
    use super::*;

    #[tokio::test]
    async fn a_webhook_takes_an_attachment() {
        let target = target(
            "slack_configs: [{api_url: 'http://127.0.0.1/slack', channel: '#ops', short_fields: true,
             fields: [{title: Job, value: '{{ .CommonLabels.job }}'}],
             actions: [{type: button, text: Look, url: '{{ .ExternalURL }}'}]}]",
        );
        let sent = body(&target, &message()).await;
        let attachment = &sent["attachments"][0];
        assert_eq!(sent["channel"], "#ops");
        assert_eq!(attachment["color"], "danger");
        assert_eq!(attachment["fields"], json!([{"title": "Job", "value": "api", "short": true}]));
        assert_eq!(attachment["actions"][0]["url"], "http://farol.example");
        assert!(attachment["text"].as_str().unwrap().contains("rate(errors[5m]) &gt; 0.5"), "{sent}");
        let long = body(&target, &long_message()).await;
        assert_eq!(long["attachments"][0]["text"].as_str().unwrap().chars().count(), TEXT_MAX);
    }

    /// What has begun a thread is answered there, and changed at the end.
    #[tokio::test]
    async fn a_bot_keeps_a_thread() {
        let target = target(
            "slack_configs: [{app_token: xoxb-secret, channel: ops, app_url: 'http://127.0.0.1/api/chat.postMessage'}]",
        );
        let first = requests(&target, &message(), None).await;
        assert_eq!(first.len(), 1);
        assert!(first[0].headers.contains(&("Authorization".to_owned(), "Bearer xoxb-secret".to_owned())));
        let Target::Http(slack) = &target else { panic!("{target:?}") };
        let reply = |body: &str| Reply { status: 200, headers: Default::default(), body: body.to_owned().into() };
        let thread = slack.thread(&reply(r#"{"ok":true,"channel":"C1","ts":"17.5"}"#)).unwrap();
        let second = requests(&target, &message(), Some(&thread)).await;
        let said: Value = serde_json::from_slice(&second[0].body).unwrap();
        assert_eq!((second.len(), &said["thread_ts"], &said["channel"]), (1, &"17.5".into(), &"C1".into()));
        let last = requests(&target, &resolved_message(), Some(&thread)).await;
        let said: Value = serde_json::from_slice(&last[0].body).unwrap();
        assert_eq!((last.len(), &said["ts"], &said["thread_ts"]), (2, &"17.5".into(), &Value::Null));
        assert!(last[0].url.ends_with("/api/chat.update"), "{}", last[0].url);
        assert_eq!(slack.refusal(&reply(r#"{"ok":false,"error":"no_channel"}"#)).unwrap(), "Slack says: no_channel");
        assert_eq!(slack.refusal(&reply(r#"{"ok":true}"#)), None);
    }
}
