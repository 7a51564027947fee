//! Every line that a log query finds, without a cap.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::stream;
use query::export::Export;
use query::formats::{Format, FormatWriter};
use query::logql::{Expr, parse};
use query::{CancelOnDrop, Direction, LogQuery, QueryError};

use super::params::Params;
use super::sql::{answer, format};
use crate::app::App;
use crate::error::ApiError;
use crate::tenant;

/// `/farol/api/v1/export`.
pub(crate) async fn run(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let now = app.clock.now_ns();
    let bounds = params.ordered_bounds(now)?;
    let Expr::Log(log) = parse(params.get("query")).map_err(QueryError::from)? else {
        return Err(ApiError::bad_request("only log queries can be exported"));
    };
    let named = Some(params.get("format")).filter(|name| !name.is_empty());
    let format = format(&headers, named, Format::Ndjson)?;
    let query = LogQuery {
        log,
        time: bounds.start..bounds.end,
        limit: 0,
        direction: if params.forward()? { Direction::Forward } else { Direction::Backward },
        interval: 0,
        categorize: false,
    };
    let house = app.house()?;
    let place = house.queries.enter().await?;
    let snapshot = Arc::new(house.store.snapshot(&tenant, Some(query.time.clone())));
    let export = Export::new(query, format);
    let writer = FormatWriter::new(format, export.schema())?;
    let pages = stream::unfold(Some((export, snapshot, Arc::clone(&app))), move |state| async move {
        let (mut export, snapshot, app) = state?;
        let read = tokio::task::spawn_blocking(move || {
            let house = app.house().map_err(|error| QueryError::BadQuery(error.message))?;
            // Each page has a deadline of its own: an export takes as long as its reader does.
            let budget = house.engine.budget();
            let _cancel = CancelOnDrop(Arc::clone(&budget));
            let page = export.next_page(&house.engine, &snapshot, &budget, now)?;
            Ok::<_, QueryError>(page.map(|page| (page, (export, snapshot, app))))
        });
        match read.await {
            Ok(Ok(Some((page, state)))) => Some((Ok(page), Some(state))),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some((Err(error), None)),
            Err(lost) => Some((Err(QueryError::BadQuery(format!("the export ended by itself: {lost}"))), None)),
        }
    });
    answer(format, writer, Box::pin(pages), place).await
}
