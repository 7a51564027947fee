//! Discord: a webhook of a channel. Limits: <https://discord.com/developers/docs/resources/message#create-message>.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::{Common, HttpTarget, NONE, Request, Target, cut, template};
use crate::notify::config::yaml::{HttpConfigYaml, fields};
use crate::notify::message::Message;
use crate::scrape::client::HttpClient;
use crate::scrape::config::{Secret, Source};

const CONTENT_MAX: usize = 2_000;
const TITLE_MAX: usize = 256;
const DESCRIPTION_MAX: usize = 4_096;
const USERNAME_MAX: usize = 80;
const RED: u32 = 0xD9_2D_20;
const GREEN: u32 = 0x06_76_47;

fields! {
    /// `discord_configs`.
    struct DiscordYaml {
        send_resolved: bool,
        http_config: HttpConfigYaml,
        webhook_url: Secret,
        webhook_url_file: String,
        content: String,
        title: String,
        message: String,
        username: String,
        avatar_url: String,
    }
}

#[derive(Debug)]
struct Discord {
    client: Arc<HttpClient>,
    url: Source,
    content: String,
    title: String,
    message: String,
    username: String,
    avatar_url: String,
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &DiscordYaml, common: &Common<'_>) -> Result<Target, String> {
    let url = common.url("webhook_url", (yaml.webhook_url.as_ref(), yaml.webhook_url_file.as_deref()), NONE)?;
    Ok(Target::Http(Box::new(Discord {
        client: common.http(yaml.http_config.as_ref())?,
        url: url.ok_or("webhook_url or webhook_url_file must be given")?,
        content: template(yaml.content.as_ref(), r#"{{ template "discord.default.content" . }}"#),
        title: template(yaml.title.as_ref(), r#"{{ template "discord.default.title" . }}"#),
        message: template(yaml.message.as_ref(), r#"{{ template "discord.default.message" . }}"#),
        username: template(yaml.username.as_ref(), ""),
        avatar_url: template(yaml.avatar_url.as_ref(), ""),
    })))
}

#[async_trait]
impl HttpTarget for Discord {
    fn client(&self) -> &HttpClient {
        &self.client
    }

    async fn requests(&self, message: &Message<'_>, _thread: Option<&str>) -> Result<Vec<Request>, String> {
        let mut embed = json!({"color": if message.is_firing() { RED } else { GREEN }});
        for (name, template, max) in
            [("title", &self.title, TITLE_MAX), ("description", &self.message, DESCRIPTION_MAX)]
        {
            let text = cut(message.text(template)?.trim(), max);
            if !text.is_empty() {
                embed[name] = text.into();
            }
        }
        let mut body = json!({"embeds": [embed]});
        for (name, template, max) in [
            ("content", &self.content, CONTENT_MAX),
            ("username", &self.username, USERNAME_MAX),
            ("avatar_url", &self.avatar_url, usize::MAX),
        ] {
            let text = cut(message.text(template)?.trim(), max);
            if !text.is_empty() {
                body[name] = text.into();
            }
        }
        // What users write cannot call everybody.
        body["allowed_mentions"] = json!({"parse": ["users", "roles"]});
        Ok(vec![Request::json(self.url.read().await?, &body)?])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::testing::{body, long_message, message, target};

    #[tokio::test]
    async fn a_message_has_an_embed() {
        let target = target("discord_configs: [{webhook_url: 'http://127.0.0.1/discord', username: farol}]");
        let sent = body(&target, &message()).await;
        let embed = &sent["embeds"][0];
        assert!(embed["title"].as_str().unwrap().contains("HighErrors"), "{sent}");
        assert!(embed["description"].as_str().unwrap().contains("rate(errors[5m]) > 0.5"), "{sent}");
        assert_eq!((&sent["username"], &embed["color"]), (&"farol".into(), &super::RED.into()));
    }

    #[tokio::test]
    async fn a_long_message_is_cut() {
        let target = target(
            "discord_configs: [{webhook_url: 'http://127.0.0.1/discord', content: '{{ .CommonAnnotations.description }}'}]",
        );
        let sent = body(&target, &long_message()).await;
        let length = |value: &serde_json::Value| value.as_str().unwrap().chars().count();
        assert!(length(&sent["embeds"][0]["title"]) <= 256);
        assert_eq!(length(&sent["embeds"][0]["description"]), 4096);
        assert_eq!(length(&sent["content"]), 2000);
    }
}
