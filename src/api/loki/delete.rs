//! `/loki/api/v1/delete`: deletions, in Loki's terms. Deleted records are hidden from every query when the answer is
//! sent; their bytes go from the files in the background, usually within seconds.

use std::sync::Arc;

use ::query::logql::{Expr, LogExpr, parse};
use ::query::{CancelOnDrop, Direction, LogQuery, QueryError};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode};
use serde_json::{Value, json};
use storage::{Deletion, DeletionOrder, TimeRange};

use crate::api::params::{Params, parse_time};
use crate::app::App;
use crate::error::{ApiError, Kind};
use crate::tenant;

const MS: i64 = 1_000_000;

/// `POST` and `PUT`: deletes what a log query finds between `start` and `end`, both inside.
pub(crate) async fn add(
    State(app): State<App>,
    tenant: tenant::Of,
    params: Params,
) -> Result<(StatusCode, [(HeaderName, String); 1]), ApiError> {
    let now = app.clock.now_ns();
    let (query, log) = log_query(&params)?;
    let time = time(&params, now)?;
    let order = DeletionOrder { tenant: tenant.0, query, time: time.clone(), created_ns: now };
    let asked =
        LogQuery { log, time, limit: usize::MAX, direction: Direction::Forward, interval: 0, categorize: false };
    let house = app.house()?;
    let budget = house.engine.budget();
    let _cancel = CancelOnDrop(Arc::clone(&budget));
    let (asker, asked_of) = (Arc::clone(&app), budget);
    let find = move |snapshot: &storage::Snapshot| -> Result<storage::RowsOf, ApiError> {
        Ok(asker.house()?.engine.rows(snapshot, &asked, &asked_of, now)?)
    };
    let id = house.store.delete(order, find).await?;
    let name = HeaderName::from_static("x-delete-request-id");
    Ok((StatusCode::NO_CONTENT, [(name, shown_id(id))]))
}

/// `GET`: the deletions there were, oldest first.
pub(crate) async fn list(State(app): State<App>, tenant: tenant::Of) -> Result<Json<Value>, ApiError> {
    let deletions = app.house()?.store.deletions(&tenant.0).await?;
    Ok(Json(deletions.iter().map(shown).collect()))
}

/// `DELETE`: takes back the deletion `request_id`, as long as the records are still in the files.
pub(crate) async fn cancel(State(app): State<App>, tenant: tenant::Of, params: Params) -> Result<StatusCode, ApiError> {
    let store = &app.house()?.store;
    let unknown = || ApiError::new(Kind::NotFound, "could not find delete request with given id");
    let id = u64::from_str_radix(params.get("request_id"), 16).map_err(|_| unknown())?;
    if !store.deletions(&tenant.0).await?.iter().any(|deletion| deletion.id == id) {
        return Err(unknown());
    }
    match store.cancel_deletion(&tenant.0, id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            Err(ApiError::bad_request("deletion of request which is in process or already processed is not allowed"))
        }
    }
}

fn log_query(params: &Params) -> Result<(String, LogExpr), ApiError> {
    let query = params.get("query");
    if query.is_empty() {
        return Err(ApiError::bad_request("query not set"));
    }
    match parse(query).map_err(QueryError::from)? {
        Expr::Log(log) => Ok((query.to_owned(), log)),
        Expr::Metric(_) => Err(ApiError::bad_request("query must be a log query, as {app=\"web\"} |= \"text\"")),
    }
}

fn time(params: &Params, now: i64) -> Result<TimeRange, ApiError> {
    let of = |name: &str| {
        parse_time(params.get(name), now)
            .map_err(|_| ApiError::bad_request(format!("invalid {name} time: require unix seconds or RFC3339 format")))
    };
    if params.get("start").is_empty() {
        return Err(ApiError::bad_request("start time not set"));
    }
    let (start, end) = (of("start")?, of("end")?);
    if end > now {
        return Err(ApiError::bad_request("deletes in the future are not allowed"));
    }
    if start > end {
        return Err(ApiError::bad_request("start time can't be greater than end time"));
    }
    Ok(start..end.saturating_add(1))
}

fn shown_id(id: u64) -> String {
    format!("{id:08x}")
}

fn shown(deletion: &Deletion) -> Value {
    let DeletionOrder { query, time, created_ns, .. } = &deletion.order;
    // Loki's times: seconds, with milliseconds where there are some.
    let seconds = |ns: i64| match ns.div_euclid(MS) {
        ms if ms % 1000 == 0 => json!(ms / 1000),
        ms => json!(ms as f64 / 1000.0),
    };
    json!({
        "request_id": shown_id(deletion.id),
        "start_time": seconds(time.start),
        "end_time": seconds(time.end - 1),
        "query": query,
        "status": if deletion.done { "processed" } else { "received" },
        "created_at": seconds(*created_ns),
    })
}
