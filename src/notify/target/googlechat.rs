//! Google Chat: a webhook of a space. Text is limited to 4,096 characters, a message to 32,000 bytes:
//! <https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages>.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::{Common, HttpTarget, NONE, Request, Target, cut, template};
use crate::notify::config::yaml::{HttpConfigYaml, fields};
use crate::notify::message::Message;
use crate::scrape::client::HttpClient;
use crate::scrape::config::{Secret, Source};

const TEXT_MAX: usize = 4_096;

fields! {
    /// `googlechat_configs`, which Alertmanager does not have.
    struct GoogleChatYaml {
        send_resolved: bool,
        http_config: HttpConfigYaml,
        webhook_url: Secret,
        webhook_url_file: String,
        text: String,
        threading: bool,
    }
}

#[derive(Debug)]
struct GoogleChat {
    client: Arc<HttpClient>,
    url: Source,
    text: String,
    threading: bool,
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &GoogleChatYaml, common: &Common<'_>) -> Result<Target, String> {
    let url = common.url("webhook_url", (yaml.webhook_url.as_ref(), yaml.webhook_url_file.as_deref()), NONE)?;
    Ok(Target::Http(Box::new(GoogleChat {
        client: common.http(yaml.http_config.as_ref())?,
        url: url.ok_or("webhook_url or webhook_url_file must be given")?,
        text: template(yaml.text.as_ref(), r#"{{ template "googlechat.default.text" . }}"#),
        threading: yaml.threading.unwrap_or(true),
    })))
}

#[async_trait]
impl HttpTarget for GoogleChat {
    fn client(&self) -> &HttpClient {
        &self.client
    }

    async fn requests(&self, message: &Message<'_>, _thread: Option<&str>) -> Result<Vec<Request>, String> {
        let mut body = json!({"text": cut(message.text(&self.text)?.trim(), TEXT_MAX)});
        let mut url = url::Url::parse(&self.url.read().await?).map_err(|_| "webhook_url: this is no URL")?;
        if self.threading {
            // All messages about a group are one thread.
            body["thread"] = json!({"threadKey": message.group_id()});
            url.query_pairs_mut().append_pair("messageReplyOption", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD");
        }
        // The same request id twice is one message.
        url.query_pairs_mut().append_pair("requestId", &message.key);
        Ok(vec![Request::json(url.into(), &body)?])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::testing::{body, long_message, message, requests, target};

    #[tokio::test]
    async fn a_message_is_text_in_a_thread() {
        let target = target("googlechat_configs: [{webhook_url: 'http://127.0.0.1/v1/spaces/x/messages?key=k'}]");
        let sent = body(&target, &message()).await;
        assert!(sent["text"].as_str().unwrap().contains("HighErrors"), "{sent}");
        assert_eq!(sent["thread"]["threadKey"], message().group_id());
        let url = requests(&target, &message(), None).await.remove(0).url;
        assert!(url.contains("?key=k&messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD&requestId="), "{url}");
        assert_eq!(body(&target, &long_message()).await["text"].as_str().unwrap().chars().count(), 4096);
    }
}
