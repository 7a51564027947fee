//! `status/...` and `alertmanagers`: what the server is, and how many series of what kind it has.

use std::collections::HashMap;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use storage::Labels;

use super::error::PromError;
use super::{Asked, answer, with_metrics};
use crate::app::App;

/// The version of Prometheus's API that clients should assume: Grafana decides by it what it may ask for.
const PROMETHEUS_VERSION: &str = "3.5.0";
/// How many of each kind `status/tsdb` tells by default, and at most.
const TOP_DEFAULT: usize = 10;
const TOP_MAX: usize = 10_000;
const NAME: &str = "__name__";

/// `/api/v1/status/buildinfo`: Prometheus's version as far as its API goes, Farol's own as the revision.
pub(crate) async fn buildinfo() -> Response {
    answer::success(&json!({
        "version": PROMETHEUS_VERSION,
        "revision": concat!("farol-", env!("CARGO_PKG_VERSION")),
        "branch": "farol",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// `/api/v1/status/runtimeinfo`.
pub(crate) async fn runtimeinfo(State(app): State<App>) -> Result<Response, PromError> {
    let started = time(app.started_ns);
    Ok(answer::success(&json!({
        "startTime": started,
        "CWD": std::env::current_dir().map(|folder| folder.display().to_string()).unwrap_or_default(),
        "hostname": app.scrape()?.own().host,
        "serverTime": time(app.clock.now_ns()),
        "reloadConfigSuccess": true,
        "lastConfigTime": started,
        "corruptionCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": app.config.storage.retention.to_string(),
    })))
}

fn time(ns: i64) -> String {
    DateTime::<Utc>::from_timestamp_nanos(ns).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// `/api/v1/status/flags`: the settings that clients of Prometheus look for, under its names.
pub(crate) async fn flags(State(app): State<App>) -> Response {
    answer::success(&json!({
        "query.lookback-delta": "5m",
        "query.max-concurrency": app.config.query.concurrent_max.to_string(),
        "query.timeout": app.config.query.timeout.to_string(),
        "storage.tsdb.path": app.config.data.display().to_string(),
        "storage.tsdb.retention.time": app.config.storage.retention.to_string(),
        "web.enable-admin-api": "true",
        "web.enable-lifecycle": "true",
        "web.enable-remote-write-receiver": "true",
        "web.listen-address": app.config.http.to_string(),
    }))
}

/// `/api/v1/status/walreplay`: nothing is answered before the journal is replayed.
pub(crate) async fn walreplay() -> Response {
    answer::success(&json!({ "min": 0, "max": 0, "current": 0 }))
}

/// `/api/v1/alertmanagers`: notifications are sent by Farol itself.
pub(crate) async fn alertmanagers() -> Response {
    answer::success(&json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }))
}

/// `/api/v1/status/tsdb`: what makes the number of series, counted over all that is stored.
pub(crate) async fn tsdb(State(app): State<App>, asked: Asked) -> Result<Response, PromError> {
    let top = match asked.params.get("limit") {
        "" => TOP_DEFAULT,
        text => match text.parse::<usize>() {
            Ok(top) if top > TOP_MAX => {
                return Err(PromError::bad_data(format!("limit must not exceed {TOP_MAX}")));
            }
            Ok(top) if top > 0 => top,
            _ => return Err(PromError::bad_data("limit must be a positive number")),
        },
    };
    let budget = app.house()?.engine.budget();
    with_metrics(&app, asked.tenant, budget, move |_, snapshot, budget| {
        let selection = snapshot.select(&[], i64::MIN, i64::MAX)?;
        let mut counts = Counts::default();
        for labels in selection.labels() {
            counts.add(labels);
        }
        budget.check()?;
        let (first, last) = snapshot.time_bounds().unwrap_or((i64::MAX, i64::MIN));
        Ok(answer::success(&json!({
            "headStats": {
                "numSeries": selection.labels().len(),
                "numLabelPairs": counts.by_pair.len(),
                "chunkCount": selection.segment_count(),
                "minTime": first,
                "maxTime": last,
            },
            "seriesCountByMetricName": largest(counts.by_metric.into_iter().map(|(n, c)| (n.to_owned(), c)), top),
            "labelValueCountByLabelName": largest(counts.by_name.iter().map(|(n, c)| ((*n).to_owned(), c.values)), top),
            "memoryInBytesByLabelName": largest(counts.by_name.iter().map(|(n, c)| ((*n).to_owned(), c.bytes)), top),
            "seriesCountByLabelValuePair":
                largest(counts.by_pair.into_iter().map(|((name, value), c)| (format!("{name}={value}"), c)), top),
        })))
    })
    .await
}

/// Series, counted by what they have in common.
#[derive(Default)]
struct Counts<'l> {
    by_metric: HashMap<&'l str, u64>,
    by_pair: HashMap<(&'l str, &'l str), u64>,
    by_name: HashMap<&'l str, OfName>,
}

#[derive(Default)]
struct OfName {
    values: u64,
    bytes: u64,
}

impl<'l> Counts<'l> {
    fn add(&mut self, labels: &'l Labels) {
        for (name, value) in labels.iter() {
            if name == NAME {
                *self.by_metric.entry(value).or_default() += 1;
            }
            let known = self.by_pair.entry((name, value)).or_default();
            *known += 1;
            if *known == 1 {
                let of_name = self.by_name.entry(name).or_default();
                of_name.values += 1;
                of_name.bytes += value.len() as u64;
            }
        }
    }
}

/// The largest first; of the same size by name.
fn largest(counts: impl Iterator<Item = (String, u64)>, top: usize) -> Vec<Value> {
    let mut all: Vec<(String, u64)> = counts.collect();
    all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.into_iter().take(top).map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_counted_by_what_they_share() {
        let series = [[(NAME, "up"), ("job", "a")], [(NAME, "up"), ("job", "bb")], [(NAME, "x"), ("job", "a")]];
        let series = series.map(Labels::new);
        let mut counts = Counts::default();
        series.iter().for_each(|labels| counts.add(labels));
        assert_eq!((counts.by_metric["up"], counts.by_pair[&("job", "a")]), (2, 2));
        assert_eq!((counts.by_name["job"].values, counts.by_name["job"].bytes), (2, 3));
        let top = largest([("b", 1), ("a", 1), ("c", 5)].map(|(n, c)| (n.to_owned(), c)).into_iter(), 2);
        assert_eq!(top, [json!({"name": "c", "value": 5}), json!({"name": "a", "value": 1})]);
    }
}
