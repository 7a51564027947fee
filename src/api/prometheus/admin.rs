//! `admin/tsdb/...`: deletions.

use ::query::promql::source::label_matchers;
use axum::extract::State;
use axum::http::StatusCode;
use storage::metrics::SeriesDeletion;

use super::Asked;
use super::error::PromError;
use super::params::{bounds, selectors};
use crate::app::App;

/// `/api/v1/admin/tsdb/delete_series`: answers when no file has the samples any more.
pub(crate) async fn delete_series(State(app): State<App>, asked: Asked) -> Result<StatusCode, PromError> {
    let any: Vec<_> = selectors(&asked.params)?.iter().map(|matchers| label_matchers(matchers)).collect();
    if any.is_empty() {
        return Err(PromError::bad_data("no match[] parameter provided"));
    }
    let (start, end) = bounds(&asked.params)?;
    app.house()?.store.delete_series(&asked.tenant, SeriesDeletion { any, start, end }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `/api/v1/admin/tsdb/clean_tombstones`: a deletion leaves none.
pub(crate) async fn clean_tombstones() -> StatusCode {
    StatusCode::NO_CONTENT
}
