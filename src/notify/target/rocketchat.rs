//! Rocket.Chat: `chat.postMessage` of its REST API. A message is limited to 5,000 characters unless its administrators say
//! otherwise: <https://developer.rocket.chat/apidocs/post-message>.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Common, HttpTarget, Request, Target, cut, template};
use crate::notify::config::secret::check_url;
use crate::notify::config::yaml::{HttpConfigYaml, fields};
use crate::notify::message::Message;
use crate::scrape::client::{HttpClient, Reply};
use crate::scrape::config::{Secret, Source};

const TITLE_MAX: usize = 1_024;
const TEXT_MAX: usize = 4_000;

fields! {
    /// `rocketchat_configs`.
    struct RocketchatYaml {
        send_resolved: bool,
        http_config: HttpConfigYaml,
        api_url: String,
        token_id: Secret,
        token_id_file: String,
        token: Secret,
        token_file: String,
        channel: String,
        color: String,
        title: String,
        title_link: String,
        text: String,
        fields: Vec<Value>,
        short_fields: bool,
        emoji: String,
        icon_url: String,
        image_url: String,
        thumb_url: String,
        link_names: bool,
        actions: Vec<Value>,
    }
}

#[derive(Debug)]
struct Rocketchat {
    client: Arc<HttpClient>,
    url: String,
    user: Source,
    token: Source,
    yaml: RocketchatYaml,
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &RocketchatYaml, common: &Common<'_>) -> Result<Target, String> {
    let global = common.global;
    let base = yaml.api_url.clone().or_else(|| global.rocketchat_api_url.clone());
    let base = base.unwrap_or_else(|| "https://open.rocket.chat/".to_owned());
    check_url("api_url", &base)?;
    let user = common.secret(
        "token_id",
        (yaml.token_id.as_ref(), yaml.token_id_file.as_deref()),
        (global.rocketchat_token_id.as_ref(), global.rocketchat_token_id_file.as_deref()),
    )?;
    let token = common.secret(
        "token",
        (yaml.token.as_ref(), yaml.token_file.as_deref()),
        (global.rocketchat_token.as_ref(), global.rocketchat_token_file.as_deref()),
    )?;
    Ok(Target::Http(Box::new(Rocketchat {
        client: common.http(yaml.http_config.as_ref())?,
        url: format!("{}/api/v1/chat.postMessage", base.trim_end_matches('/')),
        user: user.ok_or("token_id or token_id_file must be given")?,
        token: token.ok_or("token or token_file must be given")?,
        yaml: yaml.clone(),
    })))
}

#[async_trait]
impl HttpTarget for Rocketchat {
    fn client(&self) -> &HttpClient {
        &self.client
    }

    async fn requests(&self, message: &Message<'_>, _thread: Option<&str>) -> Result<Vec<Request>, String> {
        let yaml = &self.yaml;
        let color = if message.is_firing() { "#d92d20" } else { "#067647" };
        let mut attachment = Map::new();
        for (name, own, default, max) in [
            ("title", &yaml.title, r#"{{ template "rocketchat.default.title" . }}"#, TITLE_MAX),
            ("title_link", &yaml.title_link, r#"{{ template "rocketchat.default.titlelink" . }}"#, usize::MAX),
            ("text", &yaml.text, r#"{{ template "rocketchat.default.text" . }}"#, TEXT_MAX),
            ("color", &yaml.color, color, TITLE_MAX),
            ("image_url", &yaml.image_url, "", usize::MAX),
            ("thumb_url", &yaml.thumb_url, "", usize::MAX),
        ] {
            put(&mut attachment, name, message.text(&template(own.as_ref(), default))?.trim(), max);
        }
        for (name, list) in [("fields", &yaml.fields), ("actions", &yaml.actions)] {
            let Some(list) = list else { continue };
            let mut filled = list.iter().map(|item| message.fill(item)).collect::<Result<Vec<_>, _>>()?;
            for field in filled.iter_mut().filter(|field| name == "fields" && field.get("short").is_none()) {
                field["short"] = yaml.short_fields.unwrap_or(false).into();
            }
            attachment.insert(name.to_owned(), json!(filled));
        }
        let mut body = Map::new();
        for (name, own, default) in [
            ("channel", &yaml.channel, ""),
            ("emoji", &yaml.emoji, r#"{{ template "rocketchat.default.emoji" . }}"#),
            ("avatar", &yaml.icon_url, r#"{{ template "rocketchat.default.iconurl" . }}"#),
            ("alias", &None, r#"{{ template "rocketchat.default.alias" . }}"#),
        ] {
            put(&mut body, name, message.text(&template(own.as_ref(), default))?.trim(), TITLE_MAX);
        }
        if yaml.link_names == Some(true) {
            body.insert("parseUrls".to_owned(), true.into());
        }
        body.insert("attachments".to_owned(), json!([attachment]));
        let request = Request::json(self.url.clone(), &body)?
            .header("X-User-Id", self.user.read().await?)
            .header("X-Auth-Token", self.token.read().await?);
        Ok(vec![request])
    }

    /// The API says what is wrong with status 200 too.
    fn refusal(&self, reply: &Reply) -> Option<String> {
        let answer: Value = serde_json::from_slice(&reply.body).ok()?;
        let is_bad = answer["success"].as_bool() == Some(false);
        is_bad.then(|| format!("Rocket.Chat says: {}", answer["error"].as_str().unwrap_or("no reason")))
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
    use super::super::testing::{body, long_message, message, requests, target};

    #[tokio::test]
    async fn a_message_is_posted_with_a_token() {
        let target =
            target("rocketchat_configs: [{api_url: 'http://127.0.0.1/', token_id: u, token: s3, channel: '#ops'}]");
        let request = requests(&target, &message(), None).await.remove(0);
        assert_eq!(request.url, "http://127.0.0.1/api/v1/chat.postMessage");
        for header in [("X-User-Id", "u"), ("X-Auth-Token", "s3")] {
            assert!(request.headers.contains(&(header.0.to_owned(), header.1.to_owned())));
        }
        let sent = body(&target, &message()).await;
        assert_eq!(sent["channel"], "#ops");
        assert!(sent["attachments"][0]["text"].as_str().unwrap().contains("rate(errors[5m])"), "{sent}");
        let long = body(&target, &long_message()).await;
        assert!(long.to_string().chars().count() < 8_000);
    }
}
