//! Alerting: rules over logs and metrics, evaluated on time, whose alerts go to the notifier.
//!
//! Flow: rules ([`rule`]) -> when a group's time has come ([`ruler`]) -> what expressions come to ([`evaluate`]) -> conditions
//! that hold ([`labelling`]) -> states of alerts ([`state`]) -> the catalog, the notifier, the [`history`].

pub(crate) mod evaluate;
mod event;
pub(crate) mod history;
pub(crate) mod labelling;
pub(crate) mod rule;
pub(crate) mod ruler;
pub(crate) mod state;
mod stats;

pub(crate) use event::{Alert, AlertContext};

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use storage::Tenant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::OrOff;
use rule::Language;
use ruler::{Ruler, Settings};

/// Begins to evaluate rules, until `stop`. `own` is where this server answers over HTTP.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn start(app: &App, own: SocketAddr, stop: CancellationToken) -> anyhow::Result<Arc<Ruler>> {
    let config = &app.config.rules;
    let milliseconds = |span: crate::config::Span| i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX);
    let folders = [(&config.folder, Language::Promql), (&config.logql_folder, Language::Logql)];
    let folders = folders.into_iter().filter_map(|(folder, language)| match folder {
        OrOff::Set(path) => Some((path.as_path().to_owned(), language)),
        OrOff::Off => None,
    });
    let settings = Settings {
        folders: folders.collect(),
        tenant: Tenant::new(&config.tenant).context("rules.tenant")?,
        interval_ms: milliseconds(config.interval),
        query_offset_ms: milliseconds(config.query_offset),
        timeout: config.timeout.0,
        concurrent_max: config.concurrent_max.max(1),
        external_url: app.config.external_url(own).into(),
        resend_ms: milliseconds(config.resend),
    };
    Ruler::start(app, settings, stop).await
}

/// Reads the rule files again. Those that are broken keep what they said.
///
/// # Errors
/// What is wrong with them, or that the server is not ready.
pub(crate) async fn reload(app: &App) -> Result<(), String> {
    let ruler = app.ruler().map_err(|error| error.message)?;
    if ruler.read_folders(true).await {
        return Ok(());
    }
    let mistakes: Vec<String> = ruler.mistakes().await.iter().map(ToString::to_string).collect();
    Err(format!("rules: {}", mistakes.join("; ")))
}
