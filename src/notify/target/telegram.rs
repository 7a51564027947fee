//! Telegram: `sendMessage` of its Bot API. A text is limited to 4,096 characters: <https://core.telegram.org/bots/api#sendmessage>.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Common, HttpTarget, Request, Target, cut, template};
use crate::notify::config::secret::check_url;
use crate::notify::config::yaml::{HttpConfigYaml, fields};
use crate::notify::message::Message;
use crate::scrape::client::{HttpClient, Reply};
use crate::scrape::config::{Secret, Source};

const TEXT_MAX: usize = 4_096;

fields! {
    /// `telegram_configs`.
    struct TelegramYaml {
        send_resolved: bool,
        http_config: HttpConfigYaml,
        api_url: String,
        bot_token: Secret,
        bot_token_file: String,
        chat_id: i64,
        chat_id_file: String,
        message_thread_id: i64,
        message: String,
        disable_notifications: bool,
        parse_mode: String,
    }
}

#[derive(Debug)]
struct Telegram {
    client: Arc<HttpClient>,
    url: String,
    token: Source,
    chat: Source,
    thread: Option<i64>,
    message: String,
    is_silent: bool,
    parse_mode: String,
}

/// Checks the settings.
///
/// # Errors
/// What is missing or wrong.
pub(crate) fn checked(yaml: &TelegramYaml, common: &Common<'_>) -> Result<Target, String> {
    let global = common.global;
    let url = yaml.api_url.clone().or_else(|| global.telegram_api_url.clone());
    let url = url.unwrap_or_else(|| "https://api.telegram.org".to_owned());
    check_url("api_url", &url)?;
    let token = common.secret(
        "bot_token",
        (yaml.bot_token.as_ref(), yaml.bot_token_file.as_deref()),
        (global.telegram_bot_token.as_ref(), global.telegram_bot_token_file.as_deref()),
    )?;
    let chat = match (yaml.chat_id.filter(|id| *id != 0), &yaml.chat_id_file) {
        (Some(_), Some(_)) => return Err("at most one of chat_id and chat_id_file may be given".to_owned()),
        (Some(id), None) => Source::Plain(id.to_string()),
        (None, Some(file)) => Source::File(common.folder.join(file)),
        (None, None) => return Err("chat_id or chat_id_file must be given".to_owned()),
    };
    let parse_mode = template(yaml.parse_mode.as_ref(), "HTML");
    if !["", "HTML", "Markdown", "MarkdownV2"].contains(&parse_mode.as_str()) {
        return Err(format!("parse_mode: {parse_mode:?} is none of Markdown, MarkdownV2, HTML and \"\""));
    }
    Ok(Target::Http(Box::new(Telegram {
        client: common.http(yaml.http_config.as_ref())?,
        url: url.trim_end_matches('/').to_owned(),
        token: token.ok_or("bot_token or bot_token_file must be given")?,
        chat,
        thread: yaml.message_thread_id.filter(|id| *id != 0),
        message: template(yaml.message.as_ref(), r#"{{ template "telegram.default.message" . }}"#),
        is_silent: yaml.disable_notifications.unwrap_or(false),
        parse_mode,
    })))
}

#[async_trait]
impl HttpTarget for Telegram {
    fn client(&self) -> &HttpClient {
        &self.client
    }

    async fn requests(&self, message: &Message<'_>, _thread: Option<&str>) -> Result<Vec<Request>, String> {
        let is_html = self.parse_mode == "HTML";
        let text = if is_html { message.html(&self.message)? } else { message.text(&self.message)? };
        let text = if is_html { cut_html(text.trim(), TEXT_MAX) } else { cut(text.trim(), TEXT_MAX) };
        let chat = self.chat.read().await?;
        let chat: i64 = chat.parse().map_err(|_| "chat_id_file: the file holds no number")?;
        let mut body = json!({
            "chat_id": chat,
            "text": text,
            "disable_notification": self.is_silent,
            "link_preview_options": {"is_disabled": true},
        });
        if !self.parse_mode.is_empty() {
            body["parse_mode"] = self.parse_mode.as_str().into();
        }
        if let Some(thread) = self.thread {
            body["message_thread_id"] = thread.into();
        }
        let url = format!("{}/bot{}/sendMessage", self.url, self.token.read().await?);
        Ok(vec![Request::json(url, &body)?])
    }

    fn refusal(&self, reply: &Reply) -> Option<String> {
        let answer: Value = serde_json::from_slice(&reply.body).ok()?;
        let is_bad = answer["ok"].as_bool() == Some(false);
        is_bad.then(|| format!("Telegram says: {}", answer["description"].as_str().unwrap_or("no reason")))
    }
}

/// Cuts HTML so that no tag and no entity is torn, and every tag that is open is closed.
fn cut_html(html: &str, characters_max: usize) -> String {
    if html.chars().count() <= characters_max {
        return html.to_owned();
    }
    let (mut kept, mut open, mut characters) = (String::new(), Vec::<&str>::new(), 0);
    let mut rest = html;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '<' => rest.find('>').map_or(rest.len(), |at| at + 1),
            '&' => rest.find(';').filter(|at| *at < 10).map_or(1, |at| at + 1),
            c => c.len_utf8(),
        };
        let Some((piece, after)) = rest.split_at_checked(end) else { break };
        let closing: usize = open.iter().map(|name| name.len() + 3).sum();
        let longest_tag = if first == '<' { piece.len() + 3 } else { 0 };
        characters += piece.chars().count();
        if characters + closing + longest_tag + 1 > characters_max {
            break;
        }
        if first == '<' {
            let inner = piece.trim_matches(['<', '>']);
            match inner.strip_prefix('/') {
                Some(_) => drop(open.pop()),
                None => open.push(inner.split(' ').next().unwrap_or_default()),
            }
        }
        kept.push_str(piece);
        rest = after;
    }
    kept.push('…');
    for name in open.iter().rev() {
        kept.push_str(&format!("</{name}>"));
    }
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::testing::{body, long_message, message, requests, target};
    use super::*;

    #[tokio::test]
    async fn a_message_is_sent_by_a_bot() {
        let target = target("telegram_configs: [{api_url: 'http://127.0.0.1', bot_token: '7:s', chat_id: -5}]");
        let sent = body(&target, &message()).await;
        assert_eq!((&sent["chat_id"], &sent["parse_mode"]), (&(-5).into(), &"HTML".into()));
        assert!(sent["text"].as_str().unwrap().contains("rate(errors[5m]) &gt; 0.5"), "{sent}");
        let request = requests(&target, &message(), None).await.remove(0);
        assert_eq!(request.url, "http://127.0.0.1/bot7:s/sendMessage");
        let long = body(&target, &long_message()).await;
        assert!(long["text"].as_str().unwrap().chars().count() <= 4096);
    }

    #[test]
    fn tags_are_not_torn() {
        assert_eq!(cut_html("<b>abc</b>", 10), "<b>abc</b>");
        assert_eq!(cut_html("<b>abcdefgh</b>", 12), "<b>abcd…</b>");
        assert_eq!(cut_html("ab&amp;cdefgh", 6), "ab…");
        assert_eq!(cut_html("abc<i>d</i>efgh", 8), "abc…");
    }
}
