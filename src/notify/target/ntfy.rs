//! ntfy: a message to a topic, as JSON. Messages are limited to 4,096 bytes: <https://docs.ntfy.sh/publish/>.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::{Common, HttpTarget, NONE, Request, Target, cut, cut_bytes, template};
use crate::notify::config::secret::check_url;
use crate::notify::config::yaml::{HttpConfigYaml, fields};
use crate::notify::message::Message;
use crate::scrape::client::HttpClient;
use crate::scrape::config::{Secret, Source};

const MESSAGE_BYTES_MAX: usize = 4_096;
const TITLE_MAX: usize = 250;

fields! {
    /// `ntfy_configs`, which Alertmanager does not have.
    struct NtfyYaml {
        send_resolved: bool,
        http_config: HttpConfigYaml,
        url: String,
        topic: String,
        token: Secret,
        token_file: String,
        title: String,
        message: String,
        priority: String,
        tags: Vec<String>,
        click: String,
        markdown: bool,
    }
}

#[derive(Debug)]
struct Ntfy {
    client: Arc<HttpClient>,
    url: String,
    token: Option<Source>,
    topic: String,
    title: String,
    message: String,
    priority: String,
    tags: Vec<String>,
    click: String,
    markdown: bool,
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &NtfyYaml, common: &Common<'_>) -> Result<Target, String> {
    let url = template(yaml.url.as_ref(), "https://ntfy.sh");
    check_url("url", &url)?;
    let fits = |tag: &String| yaml.tags.is_none() && !tag.is_empty();
    let tags = [r#"{{ if eq .Status "firing" }}rotating_light{{ else }}white_check_mark{{ end }}"#.to_owned()];
    Ok(Target::Http(Box::new(Ntfy {
        client: common.http(yaml.http_config.as_ref())?,
        url,
        token: common.secret("token", (yaml.token.as_ref(), yaml.token_file.as_deref()), NONE)?,
        topic: yaml.topic.clone().filter(|topic| !topic.is_empty()).ok_or("topic must be given")?,
        title: template(yaml.title.as_ref(), r#"{{ template "ntfy.default.title" . }}"#),
        message: template(yaml.message.as_ref(), r#"{{ template "ntfy.default.message" . }}"#),
        priority: template(yaml.priority.as_ref(), r#"{{ template "ntfy.default.priority" . }}"#),
        tags: yaml.tags.clone().unwrap_or_else(|| tags.into_iter().filter(fits).collect()),
        click: template(yaml.click.as_ref(), "{{ .ExternalURL }}"),
        markdown: yaml.markdown.unwrap_or(true),
    })))
}

#[async_trait]
impl HttpTarget for Ntfy {
    fn client(&self) -> &HttpClient {
        &self.client
    }

    async fn requests(&self, message: &Message<'_>, _thread: Option<&str>) -> Result<Vec<Request>, String> {
        let mut body = json!({
            "topic": message.text(&self.topic)?.trim(),
            "title": cut(message.text(&self.title)?.trim(), TITLE_MAX),
            "message": cut_bytes(message.text(&self.message)?.trim(), MESSAGE_BYTES_MAX),
            "markdown": self.markdown,
        });
        let tags: Vec<String> = self.tags.iter().map(|tag| message.text(tag)).collect::<Result<_, _>>()?;
        let tags: Vec<&str> = tags.iter().map(|tag| tag.trim()).filter(|tag| !tag.is_empty()).collect();
        if !tags.is_empty() {
            body["tags"] = tags.into();
        }
        if let Some(priority) = priority(message.text(&self.priority)?.trim())? {
            body["priority"] = priority.into();
        }
        let click = message.text(&self.click)?;
        if !click.trim().is_empty() {
            body["click"] = click.trim().into();
        }
        let request = Request::json(self.url.clone(), &body)?;
        Ok(vec![match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {}", token.read().await?)),
            None => request,
        }])
    }
}

/// A number from 1 to 5, or its name.
fn priority(text: &str) -> Result<Option<u8>, String> {
    let named = ["min", "low", "default", "high", "urgent"].iter().position(|name| *name == text);
    match (text, named, text.parse::<u8>()) {
        ("", ..) => Ok(None),
        ("max", ..) => Ok(Some(5)),
        (_, Some(at), _) => Ok(Some(at as u8 + 1)),
        (_, None, Ok(number @ 1..=5)) => Ok(Some(number)),
        _ => Err(format!("priority: {text:?} is none: from 1 to 5, or min, low, default, high, urgent")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::testing::{body, long_message, message, requests, target};

    #[tokio::test]
    async fn a_message_goes_to_a_topic() {
        let target = target("ntfy_configs: [{url: 'http://127.0.0.1/', topic: ops, token: tk_secret}]");
        let sent = body(&target, &message()).await;
        assert_eq!((&sent["topic"], &sent["priority"]), (&"ops".into(), &5.into()));
        assert_eq!(sent["tags"], serde_json::json!(["rotating_light"]));
        assert!(sent["message"].as_str().unwrap().contains("rate(errors[5m])"), "{sent}");
        let request = requests(&target, &message(), None).await.remove(0);
        assert!(request.headers.contains(&("Authorization".to_owned(), "Bearer tk_secret".to_owned())));
        assert!(body(&target, &long_message()).await["message"].as_str().unwrap().len() <= 4096);
    }

    #[test]
    fn priorities_are_read() {
        for (text, number) in [("", None), ("max", Some(5)), ("default", Some(3)), ("4", Some(4))] {
            assert_eq!(super::priority(text).unwrap(), number);
        }
        super::priority("9").unwrap_err();
    }
}
