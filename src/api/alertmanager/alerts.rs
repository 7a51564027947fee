//! Alerts: those that are known, their groups, and those that other servers send.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Request, State};
use chrono::DateTime;
use serde::Deserialize;

use super::filter::Filter;
use super::{BODY_BYTES_MAX, Refusal, notifier};
use crate::alert::Alert;
use crate::api::params::Params;
use crate::api::push::body;
use crate::app::App;
use crate::error::ApiError;
use crate::notify::view::{AlertView, GroupView};
use crate::notify::{Given, Labels};
use crate::tenant::Of;

/// `GET /alertmanager/api/v2/alerts`
pub(crate) async fn list(
    State(app): State<App>,
    Of(tenant): Of,
    params: Params,
) -> Result<Json<Vec<AlertView>>, Refusal> {
    let filter = Filter::new(&params)?;
    let mut alerts = notifier(&app)?.alerts(&tenant);
    alerts.retain(|alert| filter.takes(alert));
    Ok(Json(alerts))
}

/// `GET /alertmanager/api/v2/alerts/groups`
pub(crate) async fn groups(
    State(app): State<App>,
    Of(tenant): Of,
    params: Params,
) -> Result<Json<Vec<GroupView>>, Refusal> {
    let filter = Filter::new(&params)?;
    let mut groups = notifier(&app)?.groups(&tenant);
    groups.retain_mut(|group| {
        group.alerts.retain(|alert| filter.takes(alert));
        filter.takes_receiver(&group.receiver) && !group.alerts.is_empty()
    });
    Ok(Json(groups))
}

/// An alert as it is sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: Option<String>,
}

/// `POST /alertmanager/api/v2/alerts`. 200 means that the alerts are on disk; those that are wrong in themselves are named,
/// and the others are taken nevertheless.
pub(crate) async fn post(State(app): State<App>, Of(tenant): Of, request: Request) -> Result<(), Refusal> {
    let (parts, stream) = request.into_parts();
    let timeout = app.config.ingest.body_timeout.0;
    let bytes = body::collect(stream, &parts.headers, BODY_BYTES_MAX, timeout).await?;
    let posted: Vec<Posted> = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("parsing alerts body failed: {error}")))?;
    let notifier = notifier(&app)?;
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for alert in posted {
        match given(alert) {
            Ok(alert) => good.push(alert),
            Err(why) => wrong.push(why),
        }
    }
    notifier.stats.alerts_invalid.fetch_add(wrong.len() as u64, Ordering::Relaxed);
    notifier.give(&tenant, good).await.map_err(ApiError::from)?;
    match wrong.as_slice() {
        [] => Ok(()),
        wrong => Err(ApiError::bad_request(wrong.join("; ")).into()),
    }
}

fn given(posted: Posted) -> Result<Given, String> {
    let without_empty = |labels: Labels| labels.into_iter().filter(|(_, value)| !value.is_empty()).collect::<Labels>();
    let labels = without_empty(posted.labels);
    if labels.is_empty() {
        return Err("at least one label pair required".to_owned());
    }
    if labels.keys().chain(posted.annotations.keys()).any(String::is_empty) {
        return Err("invalid label set: invalid name \"\"".to_owned());
    }
    let (starts_at_ms, ends_at_ms) = (time("startsAt", posted.starts_at)?, time("endsAt", posted.ends_at)?);
    if let (Some(start), Some(end)) = (starts_at_ms, ends_at_ms)
        && start > end
    {
        return Err("start time must be before end time".to_owned());
    }
    let alert = Alert {
        labels,
        annotations: posted.annotations,
        generator_url: posted.generator_url.unwrap_or_default(),
        ..Alert::default()
    };
    Ok(Given { alert, starts_at_ms, ends_at_ms })
}

/// A time, if it is given and not Go's zero time.
fn time(name: &str, text: Option<String>) -> Result<Option<i64>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let time = DateTime::parse_from_rfc3339(&text).map_err(|_| format!("{name}: {text:?} is no time of RFC 3339"))?;
    Ok(Some(time.timestamp_millis()).filter(|ms| *ms > -62_135_596_800_000))
}
