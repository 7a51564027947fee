//! `query` and `query_range`: PromQL in, a vector, a matrix, a scalar or a string out.

use std::sync::Arc;
use std::time::Duration;

use ::query::cache::{AnswerKey, PromAnswer};
use ::query::promql::PromStats;
use ::query::promql::eval::{Evaluated, Options, Query, Value};
use ::query::promql::parser::parse;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;

use super::error::PromError;
use super::params::{duration, limit, parse_duration, time, wanted_time};
use super::{Asked, answer, with_metrics};
use crate::api::params::Params;
use crate::app::App;

const MS_NS: i64 = 1_000_000;
/// What is said when there is more than `limit`.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

/// `/api/v1/query`.
pub(crate) async fn instant(State(app): State<App>, asked: Asked) -> Result<Response, PromError> {
    let time = time(&asked.params, "time", app.clock.now_ns() / MS_NS)?;
    run(&app, asked, Steps { start: time, end: time, step: None }).await
}

/// `/api/v1/query_range`.
pub(crate) async fn range(State(app): State<App>, asked: Asked) -> Result<Response, PromError> {
    let params = &asked.params;
    let (start, end) = (wanted_time(params, "start")?, wanted_time(params, "end")?);
    if end < start {
        return Err(PromError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = parse_duration(params.get("step")).map_err(|why| PromError::parameter("step", why))?;
    if step <= 0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(PromError::parameter("step", why));
    }
    let points_max = app.config.query.points_max;
    if i128::from(end - start) * i128::from(MS_NS) / i128::from(step) > points_max as i128 {
        return Err(PromError::bad_data(format!(
            "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX)",
            thousands(points_max)
        )));
    }
    run(&app, asked, Steps { start, end, step: Some((step / MS_NS).max(1)) }).await
}

/// When to evaluate, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Steps {
    start: i64,
    end: i64,
    step: Option<i64>,
}

async fn run(app: &App, asked: Asked, steps: Steps) -> Result<Response, PromError> {
    let Asked { tenant, params, may_keep } = asked;
    let limit = limit(&params)?;
    let engine = &app.house()?.engine;
    let budget = match duration(&params, "timeout")? {
        None => engine.budget(),
        Some(ns) => engine.budget_within(Duration::from_nanos(ns.max(0) as u64)),
    };
    let options = options(&params)?;
    let text = params.get("query").to_owned();
    let expr = parse(&text).map_err(|error| PromError::parameter("query", error))?;
    let stats_wanted = params.get("stats").to_owned();
    let request = format!("promql {steps:?} {options:?} {limit} {stats_wanted:?} {text}");
    let key = may_keep.then(|| AnswerKey { tenant: tenant.clone(), request, snapshot: 0 });
    let app_too = Arc::clone(app);
    let (answer, cached) = with_metrics(app, tenant, budget, move |house, snapshot, budget| {
        if let Some(known) = key.as_ref().and_then(|key| house.answers.get_metrics(key, snapshot)) {
            return Ok((known, true));
        }
        let Steps { start, end, step } = steps;
        let done = house.engine.promql(snapshot, &Query { text: &text, expr, start, end, step, options }, budget);
        app_too.stats.queried(&counted(&done));
        let (mut evaluated, stats) = done?;
        if truncate(&mut evaluated.value, limit) {
            evaluated.warnings.push(TRUNCATED.to_owned());
        }
        evaluated.warnings.extend(stats_warning(&stats_wanted));
        budget.take(answer::text_bytes(&evaluated.value) as u64)?;
        let Evaluated { value, warnings, infos, .. } = &evaluated;
        let with_stats = (!stats_wanted.is_empty()).then_some(&stats);
        let body = answer::evaluated(value, with_stats, warnings, infos);
        let answer = Arc::new(PromAnswer::new(Bytes::from(body), stats, snapshot));
        if let Some(key) = key {
            house.answers.put_metrics(key, &answer);
        }
        Ok((answer, false))
    })
    .await?;
    Ok(answer::explain(answer::json(answer.body.clone()), &PromStats { cached, ..answer.stats }))
}

/// `lookback_delta`, and else what the server does by default.
fn options(params: &Params) -> Result<Options, PromError> {
    let mut options = Options::default();
    match params.get("lookback_delta") {
        "" => {}
        text => {
            let wrong = |why| PromError::bad_data(format!("error parsing lookback delta duration: {why}"));
            let lookback_ms = parse_duration(text).map_err(wrong)? / MS_NS;
            if lookback_ms > 0 {
                options.lookback_ms = lookback_ms;
            }
        }
    }
    Ok(options)
}

/// For the server's figures.
fn counted<E>(done: &Result<(Evaluated, PromStats), E>) -> Result<((), ::query::QueryStats), ()> {
    done.as_ref().map(|(_, stats)| ((), (*stats).into())).map_err(|_| ())
}

/// Leaves at most `limit` series, and says whether there were more.
fn truncate(value: &mut Value, limit: usize) -> bool {
    let before = match value {
        Value::Vector(samples) => {
            let before = samples.len();
            samples.truncate(limit);
            before
        }
        Value::Matrix(series) => {
            let before = series.len();
            series.truncate(limit);
            before
        }
        Value::Scalar(..) | Value::String(..) => 0,
    };
    before > limit
}

fn stats_warning(stats: &str) -> Option<String> {
    (!["", "true", "all"].contains(&stats)).then(|| {
        format!(
            "value {stats:?} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \
             \"true\" or \"all\""
        )
    })
}

/// `11000` as `11,000`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(11_000), "11,000");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn odd_stats_are_warned_of() {
        assert_eq!(stats_warning("all"), None);
        assert!(stats_warning("yes").is_some_and(|warning| warning.starts_with("value \"yes\" for parameter")));
    }
}
