//! The targets: one file for each service that takes messages, with its settings, its request, and its limits.
//!
//! A target makes requests of a [`Message`]; it sends nothing itself. Whatever is too long for the service is cut, with a
//! sign that it was: a message is never refused for its length.

pub(crate) mod discord;
pub(crate) mod email;
pub(crate) mod googlechat;
pub(crate) mod mattermost;
pub(crate) mod msteams;
pub(crate) mod ntfy;
pub(crate) mod opsgenie;
pub(crate) mod pagerduty;
pub(crate) mod rocketchat;
pub(crate) mod slack;
pub(crate) mod telegram;
pub(crate) mod webhook;

#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Method;
use serde::Serialize;

use super::config::secret::{source, url_source};
use super::config::yaml::{GlobalYaml, HttpConfigYaml};
use super::message::Message;
use crate::scrape::client::{HttpClient, Reply};
use crate::scrape::config::{HttpSettings, Secret, Source};

/// The sign that something was cut.
const CUT: &str = "… (cut)";

/// How a receiver is told.
#[derive(Debug)]
pub(crate) enum Target {
    /// By requests over HTTP.
    Http(Box<dyn HttpTarget>),
    /// By mail.
    Email(Box<email::Email>),
}

/// A service that takes messages over HTTP.
#[async_trait]
pub(crate) trait HttpTarget: fmt::Debug + Send + Sync {
    /// What the service is asked with.
    fn client(&self) -> &HttpClient;

    /// What is to be sent, in order. `thread` is what [`HttpTarget::thread`] found when the group was told of first.
    ///
    /// # Errors
    /// When a template or a file of a secret fails; the message has no secret.
    async fn requests(&self, message: &Message<'_>, thread: Option<&str>) -> Result<Vec<Request>, String>;

    /// What an answer with a good status says against the message.
    fn refusal(&self, _reply: &Reply) -> Option<String> {
        None
    }

    /// Where later messages about the same group belong.
    fn thread(&self, _reply: &Reply) -> Option<String> {
        None
    }

    /// How long the service may take, if the settings say so.
    fn timeout(&self) -> Option<Duration> {
        None
    }
}

/// One request. Its URL and its headers may be secret, and are not shown.
pub(crate) struct Request {
    /// How it is asked.
    pub(crate) method: Method,
    /// Where.
    pub(crate) url: String,
    /// Besides those of the settings.
    pub(crate) headers: Vec<(String, String)>,
    /// What is said.
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl Request {
    /// A POST of JSON.
    ///
    /// # Errors
    /// When the body cannot be written.
    pub(crate) fn json(url: String, body: &impl Serialize) -> Result<Self, String> {
        let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Ok(Self { method: Method::POST, url, headers, body })
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// What settings of all targets start from.
#[derive(Debug)]
pub(crate) struct Common<'a> {
    /// What holds where nothing else is said.
    pub(crate) global: &'a GlobalYaml,
    /// Where relative paths begin.
    pub(crate) folder: &'a Path,
    http: Arc<HttpClient>,
}

impl<'a> Common<'a> {
    /// What `global` says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(global: &'a GlobalYaml, folder: &'a Path) -> Result<Self, String> {
        let http = Arc::new(client(global.http_config.as_ref(), folder)?);
        Ok(Self { global, folder, http })
    }

    /// The client of a target: its own, or that of all which have none.
    pub(crate) fn http(&self, own: Option<&HttpConfigYaml>) -> Result<Arc<HttpClient>, String> {
        match own {
            Some(_) => client(own, self.folder).map(Arc::new),
            None => Ok(Arc::clone(&self.http)),
        }
    }

    /// A secret of the target's, or else of `global`.
    pub(crate) fn secret(&self, name: &str, own: Pair<'_>, global: Pair<'_>) -> Result<Option<Source>, String> {
        match source(name, own.0, own.1, self.folder)? {
            None => source(name, global.0, global.1, self.folder).map_err(|why| format!("global: {why}")),
            found => Ok(found),
        }
    }

    /// A secret URL of the target's, or else of `global`.
    pub(crate) fn url(&self, name: &str, own: Pair<'_>, global: Pair<'_>) -> Result<Option<Source>, String> {
        match url_source(name, own.0, own.1, self.folder)? {
            None => url_source(name, global.0, global.1, self.folder).map_err(|why| format!("global: {why}")),
            found => Ok(found),
        }
    }
}

/// A secret that is given, and the file that it stands in.
pub(crate) type Pair<'a> = (Option<&'a Secret>, Option<&'a str>);

/// No secret.
pub(crate) const NONE: Pair<'static> = (None, None);

fn client(own: Option<&HttpConfigYaml>, folder: &Path) -> Result<HttpClient, String> {
    let yaml = own.map(HttpConfigYaml::http_client).unwrap_or_default();
    let settings = HttpSettings::new(&yaml, folder).map_err(|why| format!("http_config: {why}"))?;
    Ok(HttpClient::new(settings))
}

/// A template of the settings, or the one that is taken when they have none.
pub(crate) fn template(own: Option<&String>, default: &str) -> String {
    own.cloned().unwrap_or_else(|| default.to_owned())
}

/// At most so many characters; what is longer ends with a sign that it was cut.
pub(crate) fn cut(text: &str, characters_max: usize) -> String {
    if text.chars().nth(characters_max).is_none() {
        return text.to_owned();
    }
    let sign = if characters_max > 4 * CUT.chars().count() { CUT } else { "…" };
    let kept = characters_max.saturating_sub(sign.chars().count());
    text.chars().take(kept).chain(sign.chars()).collect()
}

/// At most so many bytes, as [`cut`].
pub(crate) fn cut_bytes(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(CUT.len()));
    format!("{}{CUT}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "long…");
        let long = "ä".repeat(100);
        assert_eq!(cut(&long, 99).chars().count(), 99);
        assert!(cut(&long, 99).ends_with(CUT));
        assert_eq!(cut_bytes("abc", 3), "abc");
        let cut = cut_bytes(&long, 50);
        assert!(cut.len() <= 50 && cut.ends_with(CUT) && cut.starts_with('ä'), "{cut}");
    }

    #[test]
    fn a_request_shows_no_secret() {
        let request = Request::json("https://hooks.example/secret".to_owned(), &"x").map(|r| r.header("A", "secret"));
        assert!(!format!("{request:?}").contains("secret"));
    }
}
