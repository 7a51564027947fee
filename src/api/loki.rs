//! Loki's query API.

mod answer;
pub(crate) mod delete;
pub(crate) mod detected;
mod labels;
mod patterns;
mod query;
mod tail;
mod volume;

pub(crate) use labels::{index_shards, index_stats, label_names, label_values, series};
pub(crate) use patterns::patterns;
pub(crate) use query::{format_query, instant, range};
pub(crate) use tail::tail;
pub(crate) use volume::{volume, volume_range};

use std::sync::Arc;

use ::query::cache::AnswerKey;
use axum::http::HeaderMap;

use ::query::logql::{Matcher, parse_matchers};
use ::query::{Answer, Budget, CancelOnDrop, QueryError, QueryStats, Request, engine};
use storage::{Snapshot, Tenant};

use crate::api::params::may_keep;
use crate::app::App;
use crate::error::{ApiError, Kind};

/// An answered request.
struct Done {
    kept: Arc<(Answer, QueryStats)>,
    cached: bool,
}

impl Done {
    fn answer(&self) -> &Answer {
        &self.kept.0
    }

    fn stats(&self) -> QueryStats {
        QueryStats { cached: self.cached, ..self.kept.1 }
    }
}

/// Runs a request on a thread where it may block, unless the same was answered before of the same records and the
/// headers do not say `Cache-Control: no-store`. If whoever asked goes away, it is stopped.
///
/// # Errors
/// Those of the query; `Busy` when too many run.
async fn run(app: &App, tenant: &Tenant, headers: &HeaderMap, request: Request) -> Result<Done, ApiError> {
    let house = app.house()?;
    house.engine.check(&request)?;
    let snapshot = house.store.snapshot(tenant, Some(engine::reach(&request)));
    let asked = format!("{request:?}");
    // A template may ask what time it is.
    let key = (may_keep(headers) && !asked.contains("now")).then(|| AnswerKey {
        tenant: tenant.clone(),
        request: asked,
        snapshot: snapshot.identity(),
    });
    if let Some(known) = key.as_ref().and_then(|key| house.answers.get(key)) {
        return Ok(Done { kept: known, cached: true });
    }
    let place = house.queries.enter().await?;
    let budget = house.engine.budget();
    let _cancel = CancelOnDrop(Arc::clone(&budget));
    let app = Arc::clone(app);
    blocking(move || {
        let _place = place;
        let house = app.house()?;
        let done = house.engine.run(&snapshot, &request, &budget, app.clock.now_ns());
        app.stats.queried(&done);
        let answer = Arc::new(done?);
        if let Some(key) = key {
            house.answers.put(key, &answer);
        }
        Ok(Done { kept: answer, cached: false })
    })
    .await
}

/// Runs a request that the server itself makes over a snapshot. Blocks.
fn run_on(
    app: &App,
    snapshot: &Snapshot,
    request: &Request,
    budget: &Arc<Budget>,
) -> Result<(Answer, QueryStats), ApiError> {
    Ok(app.house()?.engine.run(snapshot, request, budget, app.clock.now_ns())?)
}

/// Does something with a snapshot on a thread where it may block.
async fn with_snapshot<T: Send + 'static>(
    app: &App,
    tenant: Tenant,
    time: storage::TimeRange,
    work: impl FnOnce(&Snapshot, &storage::TimeRange) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let place = app.house()?.queries.enter().await?;
    let app = Arc::clone(app);
    blocking(move || {
        let _place = place;
        let snapshot = app.house()?.store.snapshot(&tenant, Some(time.clone()));
        work(&snapshot, &time)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let lost = |e| Err(ApiError::new(Kind::Internal, format!("the query ended by itself: {e}")));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(lost)
}

/// The matchers of a selector without stages, as `match[]` and `query` of the label endpoints have it.
///
/// # Errors
/// `BadRequest` when it is something else.
fn selector(text: &str) -> Result<Vec<Matcher>, ApiError> {
    Ok(parse_matchers(text).map_err(QueryError::from)?)
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let kind = match error {
            QueryError::Storage(error) => return error.into(),
            QueryError::BadQuery(_) | QueryError::Execution(_) => Kind::BadRequest,
            QueryError::TooMuch(_) => Kind::LimitExceeded,
            QueryError::Deadline { .. } => Kind::Timeout,
            QueryError::Cancelled => Kind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}
