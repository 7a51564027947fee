//! Microsoft Teams: an Adaptive Card to a webhook of Workflows, for `msteams_configs` as well as `msteamsv2_configs`, as the
//! connectors that took the older form are gone. A message is limited to 28 KiB:
//! <https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook>.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Common, HttpTarget, NONE, Request, Target, cut, cut_bytes, template};
use crate::notify::config::yaml::{HttpConfigYaml, fields};
use crate::notify::message::Message;
use crate::scrape::client::HttpClient;
use crate::scrape::config::{Secret, Source};

const MESSAGE_BYTES_MAX: usize = 28 * 1024;
const TITLE_MAX: usize = 1_000;

fields! {
    /// `msteams_configs` and `msteamsv2_configs`.
    struct TeamsYaml {
        send_resolved: bool,
        http_config: HttpConfigYaml,
        webhook_url: Secret,
        webhook_url_file: String,
        title: String,
        summary: String,
        text: String,
    }
}

#[derive(Debug)]
struct Teams {
    client: Arc<HttpClient>,
    url: Source,
    title: String,
    summary: String,
    text: String,
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &TeamsYaml, common: &Common<'_>) -> Result<Target, String> {
    let url = common.url("webhook_url", (yaml.webhook_url.as_ref(), yaml.webhook_url_file.as_deref()), NONE)?;
    Ok(Target::Http(Box::new(Teams {
        client: common.http(yaml.http_config.as_ref())?,
        url: url.ok_or("webhook_url or webhook_url_file must be given")?,
        title: template(yaml.title.as_ref(), r#"{{ template "msteamsv2.default.title" . }}"#),
        summary: template(yaml.summary.as_ref(), r#"{{ template "msteams.default.summary" . }}"#),
        text: template(yaml.text.as_ref(), r#"{{ template "msteamsv2.default.text" . }}"#),
    })))
}

#[async_trait]
impl HttpTarget for Teams {
    fn client(&self) -> &HttpClient {
        &self.client
    }

    async fn requests(&self, message: &Message<'_>, _thread: Option<&str>) -> Result<Vec<Request>, String> {
        let title = cut(message.text(&self.title)?.trim(), TITLE_MAX);
        let summary = cut(message.text(&self.summary)?.trim(), TITLE_MAX);
        let text = message.text(&self.text)?;
        let card = |text: &str| card(&title, &summary, text, message);
        let mut body = card(text.trim());
        // What JSON makes longer counts too, so that one cut may not be enough.
        let mut bytes = MESSAGE_BYTES_MAX;
        while body.to_string().len() > MESSAGE_BYTES_MAX && bytes > 0 {
            bytes = bytes.saturating_sub(2_048);
            body = card(&cut_bytes(text.trim(), bytes));
        }
        Ok(vec![Request::json(self.url.read().await?, &body)?])
    }
}

fn card(title: &str, summary: &str, text: &str, message: &Message<'_>) -> Value {
    let color = if message.is_firing() { "Attention" } else { "Good" };
    json!({
        "type": "message",
        "summary": summary,
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": [
                    {"type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "wrap": true,
                     "style": "heading", "color": color},
                    {"type": "TextBlock", "text": text, "wrap": true},
                ],
            },
        }],
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::testing::{body, long_message, message, requests, target};

    #[tokio::test]
    async fn a_message_is_an_adaptive_card() {
        for kind in ["msteams_configs", "msteamsv2_configs"] {
            let target = target(&format!("{kind}: [{{webhook_url: 'http://127.0.0.1/teams'}}]"));
            let sent = body(&target, &message()).await;
            let attachment = &sent["attachments"][0];
            assert_eq!((&sent["type"], &attachment["content"]["type"]), (&"message".into(), &"AdaptiveCard".into()));
            assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
            assert!(attachment["content"]["body"][1]["text"].as_str().unwrap().contains("rate(errors[5m])"), "{sent}");
            let long = requests(&target, &long_message(), None).await.remove(0).body;
            assert!(long.len() <= 28 * 1024 && long.len() > 20 * 1024, "{}", long.len());
        }
    }
}
