//! Notifications as a part of this server: started with the store, told to read their settings again.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;

use super::{Alertmanager, history};
use crate::app::App;

/// Begins to tell people of alerts. `own` is where this server answers over HTTP.
///
/// # Errors
/// What is wrong with the settings, or that the catalog cannot be read.
pub(crate) async fn start(app: &App, own: SocketAddr) -> anyhow::Result<Arc<Alertmanager>> {
    let settings = app.config.alerts.settings(app.config.external_url(own)).map_err(anyhow::Error::msg)?;
    let store = Arc::clone(&app.house().map_err(|error| anyhow::Error::msg(error.message))?.store);
    let recorder = history::recorder(Arc::clone(&store), Arc::clone(&app.clock));
    let manager = Alertmanager::open(settings, store, Arc::clone(&app.clock), recorder).await.context("alerts")?;
    manager.start().await?;
    Ok(manager)
}

/// Reads the configuration again. When it is wrong, all goes on as before.
///
/// # Errors
/// What is wrong with it, or that the server is not ready.
pub(crate) async fn reload(app: &App) -> Result<(), String> {
    let notifier = app.notifier().map_err(|error| error.message)?;
    notifier.reload().await.map_err(|error| format!("alerts.config: {error}"))
}
