//! `/api/v1/targets`, `/api/v1/targets/metadata` and `/api/v1/scrape_pools`: what is scraped, and how that goes. Each
//! function gives what stands under `data` in the answer.

use chrono::{DateTime, SecondsFormat, Utc};
use query::promql::parser::parse_selector;
use serde_json::{Map, Value, json};

use crate::api::params::Params;
use crate::error::{ApiError, Kind};
use crate::scrape::{About, LabelMap, Own, ScrapeManager, Target};

/// What Go writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// `/api/v1/scrape_pools`: the names of all jobs.
pub(crate) fn scrape_pools(manager: &ScrapeManager) -> Value {
    json!({ "scrapePools": manager.scrape_pools() })
}

/// `/api/v1/targets`, with `state` (`any`, `active`, `dropped`) and `scrapePool`.
pub(crate) fn targets(manager: &ScrapeManager, params: &Params) -> Value {
    let (state, wanted) = (params.get("state").to_ascii_lowercase(), params.get("scrapePool"));
    let shows = |kind: &str| ["", "any", kind].contains(&state.as_str());
    let (mut active, mut dropped, mut counts) = (Vec::new(), Vec::new(), Map::new());
    for pool in manager.targets() {
        counts.insert(pool.pool.clone(), pool.seen.dropped_count.into());
        if !wanted.is_empty() && wanted != pool.pool {
            continue;
        }
        if shows("active") {
            active.extend(pool.seen.active.iter().map(|target| active_target(&pool.pool, target, manager.own())));
        }
        if shows("dropped") {
            let target = |labels: &LabelMap| json!({ "discoveredLabels": labels, "scrapePool": pool.pool });
            dropped.extend(pool.seen.dropped.iter().map(target));
        }
    }
    json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": if shows("dropped") { Value::Object(counts) } else { Value::Null },
    })
}

fn active_target(pool: &str, target: &Target, own: &Own) -> Value {
    let status = target.status();
    json!({
        "discoveredLabels": target.discovered(),
        "labels": target.public,
        "scrapePool": pool,
        "scrapeUrl": target.url,
        "globalUrl": global_url(&target.url, own),
        "lastError": status.last_error,
        "lastScrape": status.last_scrape_ns.map_or_else(|| NEVER.to_owned(), time),
        "lastScrapeDuration": status.last_duration.as_secs_f64(),
        "health": status.health.as_str(),
        "scrapeInterval": target.interval.to_string(),
        "scrapeTimeout": target.timeout.to_string(),
    })
}

fn time(ns: i64) -> String {
    DateTime::<Utc>::from_timestamp_nanos(ns).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The URL as others would write it: the name of this machine in place of `localhost`.
fn global_url(url: &str, own: &Own) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else { return url.to_owned() };
    let is_local = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if !is_local || parsed.set_host(Some(&own.host)).is_err() {
        return url.to_owned();
    }
    if parsed.port_or_known_default() == Some(own.port) {
        // This server speaks plain HTTP.
        let _ = parsed.set_scheme("http");
    }
    parsed.to_string()
}

/// `/api/v1/targets/metadata`, with `match_target`, `metric` and `limit`.
///
/// # Errors
/// `BadRequest` when a parameter cannot be read.
pub(crate) fn metadata(manager: &ScrapeManager, params: &Params) -> Result<Value, ApiError> {
    let bad = |why: String| ApiError::new(Kind::BadRequest, why);
    let limit: usize = match params.get("limit") {
        "" => usize::MAX,
        // As in Prometheus, a negative limit is none.
        text => text
            .parse::<i64>()
            .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
            .map_err(|_| bad("limit must be a number".to_owned()))?,
    };
    let matchers = match params.get("match_target") {
        "" => Vec::new(),
        text => parse_selector(text).map_err(|error| bad(format!("invalid parameter \"match_target\": {error}")))?,
    };
    let metric = params.get("metric");
    let is_wanted = |labels: &LabelMap| matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name)));
    let mut all = Vec::new();
    for (labels, known) in manager.target_metadata(is_wanted) {
        if all.len() >= limit {
            break;
        }
        if metric.is_empty() {
            all.extend(known.iter().map(|(name, about)| one(&labels, Some(name), about)));
        } else if let Some(about) = known.get(metric) {
            all.push(one(&labels, None, about));
        }
    }
    Ok(Value::Array(all))
}

fn one(labels: &LabelMap, name: Option<&str>, about: &About) -> Value {
    let mut one = json!({ "target": labels, "type": about.kind.as_str(), "help": about.help, "unit": about.unit });
    if let (Some(name), Some(fields)) = (name, one.as_object_mut()) {
        fields.insert("metric".to_owned(), name.into());
    }
    one
}
