//! Mattermost: an incoming webhook. A post is limited to 16,383 characters:
//! <https://developers.mattermost.com/integrate/webhooks/incoming/>.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Common, HttpTarget, Request, Target, cut, template};
use crate::notify::config::yaml::{HttpConfigYaml, fields};
use crate::notify::message::Message;
use crate::scrape::client::HttpClient;
use crate::scrape::config::{Secret, Source};

const TITLE_MAX: usize = 1_024;
const TEXT_MAX: usize = 7_600;

fields! {
    /// `mattermost_configs`.
    struct MattermostYaml {
        send_resolved: bool,
        http_config: HttpConfigYaml,
        webhook_url: Secret,
        webhook_url_file: String,
        channel: String,
        username: String,
        text: String,
        fallback: String,
        color: String,
        pretext: String,
        author_name: String,
        author_link: String,
        author_icon: String,
        title: String,
        title_link: String,
        fields: Vec<Value>,
        thumb_url: String,
        footer: String,
        footer_icon: String,
        image_url: String,
        icon_url: String,
        icon_emoji: String,
        attachments: Vec<Value>,
        #[serde(rename = "type")]
        kind: String,
        props: Value,
        priority: Value,
    }
}

#[derive(Debug)]
struct Mattermost {
    client: Arc<HttpClient>,
    url: Source,
    yaml: MattermostYaml,
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &MattermostYaml, common: &Common<'_>) -> Result<Target, String> {
    let global = common.global;
    let url = common.url(
        "webhook_url",
        (yaml.webhook_url.as_ref(), yaml.webhook_url_file.as_deref()),
        (global.mattermost_webhook_url.as_ref(), global.mattermost_webhook_url_file.as_deref()),
    )?;
    Ok(Target::Http(Box::new(Mattermost {
        client: common.http(yaml.http_config.as_ref())?,
        url: url.ok_or("webhook_url or webhook_url_file must be given")?,
        yaml: yaml.clone(),
    })))
}

#[async_trait]
impl HttpTarget for Mattermost {
    fn client(&self) -> &HttpClient {
        &self.client
    }

    async fn requests(&self, message: &Message<'_>, _thread: Option<&str>) -> Result<Vec<Request>, String> {
        let yaml = &self.yaml;
        let mut body = Map::new();
        for (name, own, default) in [
            ("channel", &yaml.channel, ""),
            ("username", &yaml.username, r#"{{ template "mattermost.default.username" . }}"#),
            ("icon_url", &yaml.icon_url, ""),
            ("icon_emoji", &yaml.icon_emoji, ""),
            ("type", &yaml.kind, ""),
        ] {
            put(&mut body, name, message.text(&template(own.as_ref(), default))?.trim(), TITLE_MAX);
        }
        for (name, own) in [("props", &yaml.props), ("priority", &yaml.priority)] {
            if let Some(own) = own {
                body.insert(name.to_owned(), message.fill(own)?);
            }
        }
        let attachments = match &yaml.attachments {
            Some(own) => own.iter().map(|attachment| message.fill(attachment)).collect::<Result<_, _>>()?,
            None => vec![self.attachment(message)?],
        };
        body.insert("attachments".to_owned(), attachments.into());
        Ok(vec![Request::json(self.url.read().await?, &body)?])
    }
}

impl Mattermost {
    fn attachment(&self, message: &Message<'_>) -> Result<Value, String> {
        let yaml = &self.yaml;
        let mut attachment = Map::new();
        for (name, own, default, max) in [
            ("fallback", &yaml.fallback, r#"{{ template "mattermost.default.fallback" . }}"#, TITLE_MAX),
            ("color", &yaml.color, r#"{{ template "mattermost.default.color" . }}"#, TITLE_MAX),
            ("pretext", &yaml.pretext, "", TEXT_MAX),
            ("text", &yaml.text, r#"{{ template "mattermost.default.text" . }}"#, TEXT_MAX),
            ("author_name", &yaml.author_name, "", TITLE_MAX),
            ("author_link", &yaml.author_link, "", usize::MAX),
            ("author_icon", &yaml.author_icon, "", usize::MAX),
            ("title", &yaml.title, r#"{{ template "mattermost.default.title" . }}"#, TITLE_MAX),
            ("title_link", &yaml.title_link, r#"{{ template "mattermost.default.titlelink" . }}"#, usize::MAX),
            ("thumb_url", &yaml.thumb_url, "", usize::MAX),
            ("footer", &yaml.footer, "", TITLE_MAX),
            ("footer_icon", &yaml.footer_icon, "", usize::MAX),
            ("image_url", &yaml.image_url, "", usize::MAX),
        ] {
            put(&mut attachment, name, message.text(&template(own.as_ref(), default))?.trim(), max);
        }
        if let Some(fields) = &yaml.fields {
            let fields = fields.iter().map(|field| message.fill(field)).collect::<Result<Vec<_>, _>>()?;
            attachment.insert("fields".to_owned(), json!(fields));
        }
        Ok(attachment.into())
    }
}

fn put(object: &mut Map<String, Value>, name: &str, text: &str, max: usize) {
    if !text.is_empty() {
        object.insert(name.to_owned(), cut(text, max).into());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::testing::{body, long_message, message, target};

    #[tokio::test]
    async fn a_webhook_takes_an_attachment() {
        let target = target("mattermost_configs: [{webhook_url: 'http://127.0.0.1/hooks/x', channel: ops}]");
        let sent = body(&target, &message()).await;
        let attachment = &sent["attachments"][0];
        assert_eq!((&sent["channel"], &attachment["color"]), (&"ops".into(), &"#d92d20".into()));
        assert!(attachment["text"].as_str().unwrap().contains("rate(errors[5m]) > 0.5"), "{sent}");
        let long = body(&target, &long_message()).await;
        assert!(long["attachments"][0]["text"].as_str().unwrap().chars().count() <= 7_600);
    }
}
