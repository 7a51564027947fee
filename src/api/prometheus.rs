//! Prometheus's HTTP API, one resource a file.

pub(crate) mod admin;
mod answer;
mod error;
mod federate;
mod labels;
pub(crate) mod metadata;
mod params;
mod parse;
mod query;
mod read;
pub(crate) mod scraped;
pub(crate) mod status;
pub(crate) mod targets;

pub(crate) use error::not_found;
pub(crate) use federate::federate;
pub(crate) use labels::{label_names, label_values, series};
pub(crate) use parse::{format_query, parse_query};
pub(crate) use query::{instant, range};
pub(crate) use read::read;

use std::sync::Arc;

use ::query::{Budget, CancelOnDrop};
use axum::extract::{FromRequest, Request};
use storage::Tenant;
use storage::metrics::MetricSnapshot;

use self::error::{PromError, Type};
use crate::api::params::{Params, may_keep};
use crate::app::{App, House};
use crate::tenant;

/// Whose metrics are asked for what: handler argument.
#[derive(Debug)]
pub(crate) struct Asked {
    tenant: Tenant,
    params: Params,
    /// Whether an answer that was kept will do.
    may_keep: bool,
}

impl FromRequest<App> for Asked {
    type Rejection = PromError;

    async fn from_request(request: Request, app: &App) -> Result<Self, PromError> {
        let tenant = tenant::of(request.headers())?;
        let may_keep = may_keep(request.headers());
        let params = Params::from_request(request, app).await?;
        Ok(Self { tenant, params, may_keep })
    }
}

/// Does something with a tenant's metrics on a thread where it may block, in its turn. If whoever asked goes away, the
/// budget ends.
///
/// # Errors
/// What `work` answered; `Busy` when too many queries run.
async fn with_metrics<T: Send + 'static>(
    app: &App,
    tenant: Tenant,
    budget: Arc<Budget>,
    work: impl FnOnce(&House, &MetricSnapshot, &Budget) -> Result<T, PromError> + Send + 'static,
) -> Result<T, PromError> {
    let _cancel = CancelOnDrop(Arc::clone(&budget));
    let place = app.house()?.queries.enter().await?;
    let app = Arc::clone(app);
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        let house = app.house()?;
        let snapshot = house.store.metrics(&tenant);
        work(house, &snapshot, &budget)
    });
    done.await.unwrap_or_else(|e| Err(PromError::new(Type::Internal, format!("the query ended by itself: {e}"))))
}
