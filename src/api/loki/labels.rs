//! Which labels, values and streams there are.

use axum::extract::{Path, State};
use axum::response::Response;
use query::QueryError;
use query::labels::{StreamVolume, names, streams, streams_about, values};
use query::logql::{Expr, Matcher, parse};
use serde::Serialize;
use serde_json::json;
use storage::TimeRange;

use super::answer::{json as json_body, success};
use super::{selector, with_snapshot};
use crate::api::params::Params;
use crate::app::App;
use crate::error::{ApiError, Kind};
use crate::tenant;

/// How far back completion looks without a start, as in Loki.
const LABELS_SINCE_NS: i64 = 6 * 3_600_000_000_000;

/// `/loki/api/v1/labels`.
pub(crate) async fn label_names(
    State(app): State<App>,
    tenant: tenant::Of,
    params: Params,
) -> Result<Response, ApiError> {
    let selectors = one_selector(&params)?;
    let time = since_default(&app, &params)?;
    let found = with_snapshot(&app, tenant.0, time, move |snapshot, time| {
        Ok(names(&streams_about(snapshot, &selectors, time)?))
    });
    Ok(success(&found.await?))
}

/// `/loki/api/v1/label/{name}/values`.
pub(crate) async fn label_values(
    State(app): State<App>,
    tenant: tenant::Of,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    if name.is_empty() {
        return Err(ApiError::new(Kind::NotFound, "404 page not found\n"));
    }
    let selectors = one_selector(&params)?;
    let time = since_default(&app, &params)?;
    let found = with_snapshot(&app, tenant.0, time, move |snapshot, time| {
        Ok(values(&streams_about(snapshot, &selectors, time)?, &name))
    });
    Ok(success(&found.await?))
}

/// `/loki/api/v1/series`.
pub(crate) async fn series(State(app): State<App>, tenant: tenant::Of, params: Params) -> Result<Response, ApiError> {
    let texts = params.all("match[]").chain(params.all("match")).filter(|text| !text.is_empty() && *text != "{}");
    let selectors = texts.map(selector).collect::<Result<Vec<_>, _>>()?;
    let time = since_default(&app, &params)?;
    let found = with_snapshot(&app, tenant.0, time, move |snapshot, time| Ok(streams(snapshot, &selectors, time)?));
    let found = found.await?;
    let mut sets: Vec<_> = found.iter().map(|volume| volume.stream.labels()).collect();
    sets.dedup();
    let sets: Vec<query::LabelSet> = sets.into_iter().map(query::LabelSet::from).collect();
    Ok(success(&sets))
}

/// `/loki/api/v1/index/stats`.
pub(crate) async fn index_stats(
    State(app): State<App>,
    tenant: tenant::Of,
    params: Params,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Stats {
        streams: u64,
        chunks: u64,
        bytes: u64,
        entries: u64,
    }
    let selectors = vec![selector(params.get("query"))?];
    let bounds = params.bounds(app.clock.now_ns())?;
    let stats = with_snapshot(&app, tenant.0, bounds.start..bounds.end, move |snapshot, time| {
        let found = streams(snapshot, &selectors, time)?;
        Ok(Stats {
            streams: found.len() as u64,
            chunks: snapshot.parts.len() as u64,
            bytes: found.iter().map(|volume| volume.bytes).sum(),
            entries: found.iter().map(|volume| volume.records).sum(),
        })
    });
    let mut body = Vec::new();
    serde_json::to_writer(&mut body, &stats.await?).map_err(|e| ApiError::bad_request(e.to_string()))?;
    Ok(json_body(body))
}

/// `/loki/api/v1/index/shards`: how a query may be split. One process answers best when it is asked once.
pub(crate) async fn index_shards(
    State(app): State<App>,
    tenant: tenant::Of,
    params: Params,
) -> Result<Response, ApiError> {
    let log = match parse(params.get("query")).map_err(QueryError::from)? {
        Expr::Log(log) => log,
        Expr::Metric(_) => return Err(ApiError::bad_request("only log selectors can be sharded")),
    };
    let bounds = params.ordered_bounds(app.clock.now_ns())?;
    let selectors = vec![log.matchers];
    let found = with_snapshot(&app, tenant.0, bounds.start..bounds.end, move |snapshot, time| {
        Ok((snapshot.parts.len(), streams(snapshot, &selectors, time)?))
    });
    let (parts, found) = found.await?;
    let sum = |value: fn(&StreamVolume) -> u64| found.iter().map(value).sum::<u64>();
    let body = json!({
        "shards": [{
            // All of Loki's fingerprints.
            "bounds": {"min": 0, "max": u64::MAX},
            "stats": {
                "streams": found.len(),
                "chunks": parts,
                "bytes": sum(|volume| volume.bytes),
                "entries": sum(|volume| volume.records),
            },
        }],
    });
    Ok(json_body(body.to_string().into_bytes()))
}

/// The selector in `query`, if there is one.
fn one_selector(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    match params.get("query") {
        "" | "{}" => Ok(Vec::new()),
        text => Ok(vec![selector(text)?]),
    }
}

/// `start` and `end`; without them the last hours, as in Loki.
fn since_default(app: &App, params: &Params) -> Result<TimeRange, ApiError> {
    let now = app.clock.now_ns();
    let mut bounds = params.bounds(now)?;
    if params.get("start").is_empty() && params.get("since").is_empty() {
        bounds.start = bounds.end.min(now).saturating_sub(LABELS_SINCE_NS);
    }
    Ok(bounds.start..bounds.end)
}
