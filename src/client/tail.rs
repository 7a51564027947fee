//! `farol tail`: prints records as the server takes them, until it is interrupted.

use std::process::ExitCode;

use anyhow::{Context, bail};
use futures::StreamExt;
use serde::Deserialize;
use storage::{Clock, SystemClock};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::api::params::parse_span;
use crate::cli::TailArgs;
use crate::client::http::{Client, escape};
use crate::client::print::{Printer, is_closed};
use crate::client::query::{Stream, in_order};

/// A message of the server.
#[derive(Debug, Deserialize)]
struct Tailed {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    dropped_entries: Option<Vec<serde_json::Value>>,
}

/// Connects and prints.
///
/// # Errors
/// When the query is wrong, or the connection ends.
pub(crate) fn run(args: &TailArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the async runtime")?;
    match runtime.block_on(follow(args)) {
        Err(error) if !is_closed(&error) => Err(error),
        _ => Ok(ExitCode::SUCCESS),
    }
}

async fn follow(args: &TailArgs) -> anyhow::Result<()> {
    let since = parse_span(&args.since).map_err(anyhow::Error::msg).context("--since")?;
    let start = SystemClock.now_ns() - since;
    let path = format!("/loki/api/v1/tail?query={}&start={start}&limit={}", escape(&args.query), args.limit);
    let client = Client::new(&args.server);
    let mut request = client.websocket_url(&path).into_client_request().context("--server")?;
    if let Some(tenant) = client.tenant() {
        request.headers_mut().insert("X-Scope-OrgID", tenant.parse().context("--tenant")?);
    }
    let (mut socket, _) = match tokio_tungstenite::connect_async(request).await {
        Ok(connected) => connected,
        Err(Error::Http(response)) => {
            let text = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            bail!("{}: {}", response.status(), text.trim());
        }
        Err(error) => bail!("no answer from {} (is the server running?): {error}", args.server.server),
    };
    let mut printer = Printer::stdout(args.output, args.color);
    while let Some(message) = socket.next().await {
        match message.context("the connection broke")? {
            Message::Text(text) => {
                let tailed: Tailed = serde_json::from_str(&text).context("read the server's message")?;
                for line in in_order(tailed.streams, true)? {
                    printer.line(&line)?;
                }
                printer.flush()?;
                if let Some(dropped) = tailed.dropped_entries.filter(|dropped| !dropped.is_empty()) {
                    eprintln!(
                        "farol: {} records were left out, as they came faster than they were read",
                        dropped.len()
                    );
                }
            }
            Message::Close(Some(frame)) if !frame.reason.is_empty() => bail!("{}", frame.reason),
            Message::Close(_) => bail!("the server ended the tail"),
            _ => {}
        }
    }
    Ok(())
}
