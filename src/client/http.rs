//! The client's side of HTTP: one agent, the tenant's header, and retries for what may be sent again.

use std::time::Duration;

use anyhow::{Context, bail};
use ureq::Agent;

use crate::cli::ServerArgs;

/// A request that takes longer is given up, and tried again where that is safe.
const TIMEOUT: Duration = Duration::from_secs(120);
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Of an error's text.
const MESSAGE_CHARS_MAX: usize = 500;

/// Talks to one server.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    tenant: Option<String>,
}

/// A body to be posted.
#[derive(Debug)]
pub(crate) struct Post<'a> {
    /// Path and query.
    pub(crate) path: &'a str,
    /// `Content-Type`.
    pub(crate) content_type: &'a str,
    /// The body.
    pub(crate) body: &'a [u8],
    /// `Idempotency-Key`: what makes it safe to send again.
    pub(crate) key: &'a str,
}

impl Client {
    /// A client of the server that the arguments name.
    pub(crate) fn new(args: &ServerArgs) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).build();
        Self { agent: config.into(), base: args.server.trim_end_matches('/').to_owned(), tenant: args.tenant.clone() }
    }

    /// Gets a path with parameters: the answer's body, and what the server says that it looked at.
    ///
    /// # Errors
    /// When the server cannot be reached, or says no; the message is the server's.
    pub(crate) fn get(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<(String, Option<String>)> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        let mut response = request.call().with_context(|| self.unreachable())?;
        let status = response.status();
        let stats = response.headers().get("x-farol-stats").and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let body = response.body_mut().with_config().limit(u64::MAX).read_to_string().context("read the answer")?;
        if status.is_success() { Ok((body, stats)) } else { bail!("{}: {}", status, shorten(&body)) }
    }

    /// Posts until the server has taken it: waits and tries again when it is not there or has no room, at most
    /// `retries` times. The answer's body.
    ///
    /// # Errors
    /// When the server says no for good, or was not there for too long.
    pub(crate) fn post(&self, post: &Post<'_>, retries: u32) -> anyhow::Result<String> {
        let mut wait = WAIT_FIRST;
        let mut tries = 0;
        loop {
            let (why, after) = match self.post_once(post)? {
                Tried::Done(body) => return Ok(body),
                Tried::Again { why, after } => (why, after),
            };
            if tries == retries {
                bail!("given up after {} tries: {why}", tries + 1);
            }
            tries += 1;
            let pause = after.unwrap_or(wait);
            tracing::warn!("{why}: trying again in {:.1} s", pause.as_secs_f64());
            std::thread::sleep(pause);
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    fn post_once(&self, post: &Post<'_>) -> anyhow::Result<Tried> {
        let mut request = self
            .agent
            .post(format!("{}{}", self.base, post.path))
            .header("Content-Type", post.content_type)
            .header("Idempotency-Key", post.key);
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        let mut response = match request.send(post.body) {
            Ok(response) => response,
            Err(ureq::Error::BadUri(why)) => bail!("{}: {why}", self.base),
            Err(error) => return Ok(Tried::Again { why: format!("{}: {error}", self.unreachable()), after: None }),
        };
        let status = response.status();
        let after = response.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.body_mut().read_to_string().unwrap_or_default();
        if status.is_success() {
            return Ok(Tried::Done(body));
        }
        let why = format!("{status}: {}", shorten(&body));
        if status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 408 {
            return Ok(Tried::Again { why, after: after.map(Duration::from_secs).map(|wait| wait.min(WAIT_MAX)) });
        }
        bail!(why)
    }

    fn unreachable(&self) -> String {
        format!("no answer from {} (is the server running? --server names another)", self.base)
    }

    /// The server's address for WebSockets, with a path.
    pub(crate) fn websocket_url(&self, path: &str) -> String {
        match self.base.split_once("://") {
            Some(("https", rest)) => format!("wss://{rest}{path}"),
            Some((_, rest)) => format!("ws://{rest}{path}"),
            None => format!("ws://{}{path}", self.base),
        }
    }

    /// Whose data it is, if that was said.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
}

enum Tried {
    Done(String),
    Again { why: String, after: Option<Duration> },
}

fn shorten(body: &str) -> String {
    body.trim().chars().take(MESSAGE_CHARS_MAX).collect()
}

/// `%41` for all that is not a letter, a digit or one of `-_.~`.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
