//! `query` and `query_range`: LogQL in, streams, a matrix, a vector or a scalar out.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use query::logql::vector::Series;
use query::logql::{Expr, parse, pretty};
use query::{Answer, Direction, LogQuery, QueryError, Request, Steps};

use super::answer::{Shape, respond, success};
use super::run;
use crate::api::params::Params;
use crate::app::App;
use crate::error::ApiError;
use crate::tenant;

/// The header by which Grafana asks for structured metadata and parsed labels apart.
const ENCODING_FLAGS: &str = "x-loki-response-encoding-flags";

/// `/loki/api/v1/query_range`.
pub(crate) async fn range(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let bounds = params.ordered_bounds(app.clock.now_ns())?;
    let expr = parse(params.get("query")).map_err(QueryError::from)?;
    let categorized = is_categorized(&headers);
    let request = match expr {
        Expr::Log(log) => Request::Logs(LogQuery {
            log,
            time: bounds.start..bounds.end,
            limit: params.limit(app.config.query.entries_max)?,
            direction: if params.forward()? { Direction::Forward } else { Direction::Backward },
            interval: params.interval()?,
            categorize: categorized,
        }),
        Expr::Metric(expr) => {
            let step = params.step(bounds, app.config.query.points_max)?;
            // As in Loki, steps lie at multiples of the step, so that a dashboard that refreshes asks for the same points.
            let start = bounds.start - bounds.start.rem_euclid(step);
            let end = bounds.end.saturating_add((-bounds.end).rem_euclid(step));
            Request::Metric { expr, steps: Steps::range(start, end, step) }
        }
    };
    let constant_steps = if let Request::Metric { steps, .. } = &request { Some(*steps) } else { None };
    let done = run(&app, &tenant, &headers, request).await?;
    let (answer, stats) = (done.answer(), &done.stats());
    let shape = Shape { categorized, ..Shape::default() };
    Ok(match (answer, constant_steps) {
        (Answer::Scalar(value), Some(steps)) => respond(&constant(*value, steps), stats, shape),
        _ => respond(answer, stats, shape),
    })
}

/// `/loki/api/v1/query`.
pub(crate) async fn instant(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let time = params.time(app.clock.now_ns())?;
    let request = match parse(params.get("query")).map_err(QueryError::from)? {
        Expr::Log(_) => {
            return Err(ApiError::bad_request(
                "log queries are not supported as an instant query type, please change your query to a range query type",
            ));
        }
        Expr::Metric(expr) => Request::Metric { expr, steps: Steps::instant(time) },
    };
    let done = run(&app, &tenant, &headers, request).await?;
    Ok(respond(done.answer(), &done.stats(), Shape { instant: true, ..Shape::default() }))
}

/// `/loki/api/v1/format_query`: the query as it should be written.
pub(crate) async fn format_query(params: Params) -> Result<Response, ApiError> {
    let expr = parse(params.get("query")).map_err(QueryError::from)?;
    Ok(success(&pretty(&expr)))
}

pub(super) fn is_categorized(headers: &HeaderMap) -> bool {
    let flags = headers.get_all(ENCODING_FLAGS).iter().filter_map(|value| value.to_str().ok());
    flags.flat_map(|flags| flags.split(',')).any(|flag| flag.trim() == "categorize-labels")
}

/// A number at every step.
fn constant(value: f64, steps: Steps) -> Answer {
    let points = (0..steps.count).map(|step| (step, value)).collect();
    Answer::Series { series: vec![Series { labels: storage::Labels::default(), points }], steps }
}
