//! Scraping as a part of this server: started with the store, told to read its settings again, stopped before it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use futures::FutureExt;
use storage::Tenant;
use storage::metrics::MetricBatch;
use tokio_util::sync::CancellationToken;

use crate::api::push::Door;
use crate::app::App;
use crate::error::ApiError;
use crate::scrape::{ScrapeManager, Sink};
use crate::telemetry::Accepted;

const DOOR: Door = Door::metrics("scrape");

/// Begins to scrape, until `stop`. `own` is where this server answers over HTTP.
///
/// # Errors
/// What is wrong with the settings.
pub(crate) fn start(app: &App, own: SocketAddr, stop: CancellationToken) -> anyhow::Result<Arc<ScrapeManager>> {
    let settings = &app.config.scrape;
    let config = settings.load(own).context("scrape.config")?;
    let tenant = Tenant::new(&settings.tenant).context("scrape.tenant")?;
    Ok(ScrapeManager::start(config, own, sink(app, tenant), Arc::clone(&app.clock), stop))
}

/// Reads the file again. When it is wrong, all goes on as before.
///
/// # Errors
/// What is wrong with the settings, or that the server is not ready.
pub(crate) async fn reload(app: &App) -> Result<(), String> {
    let manager = app.scrape().map_err(|error| error.message)?;
    let own = SocketAddr::new(app.config.http.ip(), manager.own().port);
    let config = app.config.scrape.load(own).map_err(|error| format!("scrape.config: {error}"))?;
    manager.reload(config).await;
    Ok(())
}

fn sink(app: &App, tenant: Tenant) -> Sink {
    let app = Arc::clone(app);
    Arc::new(move |batch| {
        let (app, tenant) = (Arc::clone(&app), tenant.clone());
        async move {
            let kept = keep(&app, &tenant, batch).await;
            if let Err(error) = &kept {
                app.stats.refuse(DOOR, error.kind.as_str(), 1);
            }
            kept.map_err(|error| error.message)
        }
        .boxed()
    })
}

async fn keep(app: &App, tenant: &Tenant, batch: MetricBatch) -> Result<(), ApiError> {
    let records = batch.len() as u64;
    if !batch.is_empty() {
        app.house()?.store.append_metrics(tenant, batch, None).await?;
    }
    app.stats.accept(DOOR, Accepted { records, ..Accepted::default() });
    Ok(())
}
