//! `/loki/api/v1/patterns`: which patterns lines have, and how many lines of each over time.

use std::collections::BTreeMap;

use ::query::logql::vector::Series;
use ::query::logql::{Expr, parse, to_line};
use ::query::{Answer, QueryError, Request, Steps};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use storage::patterns::PatternMiner;

use super::run;
use crate::api::params::Params;
use crate::app::App;
use crate::error::ApiError;
use crate::tenant;

/// Patterns of an answer, the most frequent ones.
const PATTERNS_MAX: usize = 300;
const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;

/// Counts are exact and of all that is stored. Patterns that the parts of the store found apart are put together anew.
pub(crate) async fn patterns(
    State(app): State<App>,
    tenant: tenant::Of,
    headers: HeaderMap,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let log = match parse(params.get("query")).map_err(QueryError::from)? {
        log @ Expr::Log(_) => to_line(&log),
        Expr::Metric(_) => return Err(ApiError::bad_request("query must be a log selector, as {app=\"web\"}")),
    };
    let bounds = params.ordered_bounds(app.clock.now_ns())?;
    let step_ms = (params.step(bounds, app.config.query.points_max)? / MS).max(1);
    let step = step_ms * MS;
    let asked = format!("sum by (pattern, detected_level) (count_over_time({log} [{step_ms}ms]))");
    let Expr::Metric(expr) = parse(&asked).map_err(QueryError::from)? else {
        return Err(ApiError::bad_request("query must be a log selector"));
    };
    // A bucket has its start and not its end; a range has its end.
    let first = bounds.start.div_euclid(step) * step;
    let count = u32::try_from((bounds.end - first).div_euclid(step) + 1).unwrap_or(u32::MAX);
    let steps = Steps { start: first.saturating_add(step - 1), step, count };
    let done = run(&app, &tenant.0, &headers, Request::Metric { expr, steps }).await?;
    let series = match done.answer() {
        Answer::Series { series, .. } => series.as_slice(),
        _ => &[],
    };
    let shown: Vec<Value> = together(series)
        .into_iter()
        .take(PATTERNS_MAX)
        .map(|one| {
            let time = |at: &u32| (first + i64::from(*at) * step).div_euclid(SECOND);
            let samples: Vec<(i64, u64)> = one.counts.iter().map(|(at, lines)| (time(at), *lines)).collect();
            json!({ "pattern": one.pattern, "level": one.level, "samples": samples })
        })
        .collect();
    Ok(Json(json!({ "status": "success", "data": shown })))
}

/// A pattern's lines of a level.
struct Pattern {
    pattern: String,
    level: String,
    /// Lines, by number of step.
    counts: BTreeMap<u32, u64>,
}

/// Series by what is one pattern over all of them, the most frequent first.
fn together(series: &[Series]) -> Vec<Pattern> {
    let mut miner = PatternMiner::default();
    let lines = |one: &Series| one.points.iter().map(|(_, lines)| *lines as u64).sum::<u64>();
    let forms: Vec<u32> =
        series.iter().map(|one| miner.pattern(one.labels.get("pattern").unwrap_or_default(), lines(one))).collect();
    let patterns = miner.finish();
    let mut found: BTreeMap<(usize, &str), BTreeMap<u32, u64>> = BTreeMap::new();
    for (one, form) in series.iter().zip(forms) {
        let key = (patterns.of_form(form), one.labels.get("detected_level").unwrap_or_default());
        let counts = found.entry(key).or_default();
        one.points.iter().for_each(|(at, lines)| *counts.entry(*at).or_default() += *lines as u64);
    }
    let mut found: Vec<Pattern> = found
        .into_iter()
        .map(|((pattern, level), counts)| {
            let pattern = patterns.texts().get(pattern).cloned().unwrap_or_default();
            Pattern { pattern, level: level.to_owned(), counts }
        })
        .collect();
    found.sort_by_key(|one| std::cmp::Reverse(one.counts.values().sum::<u64>()));
    found
}
