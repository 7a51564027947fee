//! How many bytes streams have, at one time and over time.

use axum::extract::State;
use axum::response::Response;
use query::Steps;
use query::logql::Matcher;
use query::logql::vector::Series;
use query::volume::{VolumeBy, Volumes, volumes};
use query::{Answer, QueryStats};
use storage::TimeRange;

use super::answer::{Shape, respond};
use super::{selector, with_snapshot};
use crate::api::params::Params;
use crate::app::App;
use crate::error::ApiError;
use crate::tenant;

/// Label sets in an answer when the query does not say.
const DEFAULT_LIMIT: i64 = 100;
/// In nanoseconds.
const MILLISECOND: i64 = 1_000_000;

/// What is asked.
struct Asked {
    matchers: Vec<Matcher>,
    time: TimeRange,
    by: VolumeBy,
    limit: usize,
}

/// `/loki/api/v1/index/volume`.
pub(crate) async fn volume(State(app): State<App>, tenant: tenant::Of, params: Params) -> Result<Response, ApiError> {
    let asked = Asked::new(&app, &params)?;
    let end = asked.time.end;
    let step = end.saturating_sub(asked.time.start).max(1);
    let buckets = (asked.time.start, step);
    let mut found = find(&app, tenant, asked, buckets).await?;
    // What lies at the very end is in a bucket of its own.
    found.iter_mut().for_each(|(_, buckets)| *buckets = vec![buckets.iter().sum()]);
    let shape = Shape { instant: true, ..Shape::default() };
    Ok(answer(found, Steps::instant(end), shape))
}

/// `/loki/api/v1/index/volume_range`. As in Loki, buckets begin at multiples of the step, and each is told at its last
/// millisecond, the last one at the end of the time.
pub(crate) async fn volume_range(
    State(app): State<App>,
    tenant: tenant::Of,
    params: Params,
) -> Result<Response, ApiError> {
    let asked = Asked::new(&app, &params)?;
    let bounds = params.ordered_bounds(app.clock.now_ns())?;
    let step = params.step(bounds, app.config.query.points_max)?;
    let origin = asked.time.start - asked.time.start.rem_euclid(step);
    let steps = Steps { start: origin + step - MILLISECOND, step, count: u32::MAX };
    let until = asked.time.end;
    let found = find(&app, tenant, asked, (origin, step)).await?;
    Ok(answer(found, steps, Shape { until: Some(until), ..Shape::default() }))
}

impl Asked {
    fn new(app: &App, params: &Params) -> Result<Self, ApiError> {
        let matchers = selector(params.get("query"))?;
        let bounds = params.ordered_bounds(app.clock.now_ns())?;
        let target: Vec<String> =
            params.get("targetLabels").split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let by = match params.get("aggregateBy") {
            "labels" => VolumeBy::Labels(target),
            "" | "series" if target.is_empty() => {
                VolumeBy::Series(matchers.iter().map(|matcher| matcher.name.to_string()).collect())
            }
            "" | "series" => VolumeBy::Series(target),
            _ => return Err(ApiError::bad_request("invalid aggregation option")),
        };
        let limit = params.number("limit", DEFAULT_LIMIT)?;
        if limit <= 0 {
            return Err(ApiError::bad_request("limit must be a positive value"));
        }
        Ok(Self { matchers, time: bounds.start..bounds.end, by, limit: limit as usize })
    }
}

/// The largest first, up to the limit.
async fn find(
    app: &App,
    tenant: tenant::Of,
    asked: Asked,
    buckets: (i64, i64),
) -> Result<Vec<(storage::Labels, Vec<u64>)>, ApiError> {
    let limit = asked.limit;
    let found: Volumes = with_snapshot(app, tenant.0, asked.time.clone(), move |snapshot, time| {
        Ok(volumes(snapshot, &asked.matchers, time, buckets, &asked.by)?)
    })
    .await?;
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, buckets)| std::cmp::Reverse(buckets.iter().sum::<u64>()));
    found.truncate(limit);
    Ok(found)
}

fn answer(found: Vec<(storage::Labels, Vec<u64>)>, steps: Steps, shape: Shape) -> Response {
    let series = found.into_iter().map(|(labels, buckets)| {
        let points = (0..).zip(buckets).filter(|(_, bytes)| *bytes > 0).map(|(step, bytes)| (step, bytes as f64));
        Series { labels, points: points.collect() }
    });
    let answer = Answer::Series { series: series.collect(), steps };
    respond(&answer, &QueryStats::default(), shape)
}
