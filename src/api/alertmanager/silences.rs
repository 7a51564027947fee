//! Silences. Besides Alertmanager's fields there are `recurrence` and `remindBefore`.

use axum::Json;
use axum::extract::{Path, Request, State};
use chrono::DateTime;
use serde::Deserialize;
use serde_json::{Value, json};

use super::filter::{flag, is_about, matchers};
use super::{BODY_BYTES_MAX, Refusal, notifier};
use crate::api::params::Params;
use crate::api::push::body;
use crate::app::App;
use crate::error::{ApiError, Kind};
use crate::notify::Labels;
use crate::notify::silence::{MatcherText, RecurrenceText, Silence, SilenceState, SilenceText};
use crate::notify::view::show_time;
use crate::tenant::Of;

/// `GET /alertmanager/api/v2/silences`
pub(crate) async fn all(State(app): State<App>, Of(tenant): Of, params: Params) -> Result<Json<Vec<Value>>, Refusal> {
    let notifier = notifier(&app)?;
    let (wanted, now_ms) = (matchers(&params)?, notifier.now_ms());
    let mut states = Vec::new();
    for state in [SilenceState::Active, SilenceState::Pending, SilenceState::Expired] {
        if flag(&params, state.as_str())? {
            states.push(state);
        }
    }
    let mut silences = notifier.silences(&tenant);
    silences.retain(|silence| states.contains(&silence.state(now_ms)) && is_about(silence.matchers(), &wanted));
    // Those that hold, by when they end; those that will, by when they begin; those that are over, the last first.
    silences.sort_by_key(|silence| {
        let state = silence.state(now_ms);
        let time = match state {
            SilenceState::Active => silence.text.ends_at_ms,
            SilenceState::Pending => silence.text.starts_at_ms,
            SilenceState::Expired => -silence.text.ends_at_ms,
        };
        (state, time)
    });
    Ok(Json(silences.iter().map(|silence| view(silence, now_ms)).collect()))
}

/// `GET /alertmanager/api/v2/silence/{id}`
pub(crate) async fn one(
    State(app): State<App>,
    Of(tenant): Of,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let notifier = notifier(&app)?;
    let silence = notifier.silence(&tenant, &id).ok_or_else(|| ApiError::new(Kind::NotFound, "silence not found"))?;
    Ok(Json(view(&silence, notifier.now_ms())))
}

/// `DELETE /alertmanager/api/v2/silence/{id}`: it ends now.
pub(crate) async fn expire(State(app): State<App>, Of(tenant): Of, Path(id): Path<String>) -> Result<(), Refusal> {
    Ok(notifier(&app)?.expire_silence(&tenant, &id).await?)
}

/// A silence as it is sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<MatcherText>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
    #[serde(default)]
    annotations: Labels,
    #[serde(default)]
    recurrence: Option<RecurrenceText>,
    #[serde(default)]
    remind_before: Option<String>,
}

/// `POST /alertmanager/api/v2/silences`: makes a silence, or changes the one whose id is given. It is on disk then.
pub(crate) async fn set(State(app): State<App>, Of(tenant): Of, request: Request) -> Result<Json<Value>, Refusal> {
    let (parts, stream) = request.into_parts();
    let timeout = app.config.ingest.body_timeout.0;
    let bytes = body::collect(stream, &parts.headers, BODY_BYTES_MAX, timeout).await?;
    let posted: Posted = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("parsing silence body failed: {error}")))?;
    let notifier = notifier(&app)?;
    let text = text(posted, notifier.now_ms()).map_err(ApiError::bad_request)?;
    let id = notifier.set_silence(&tenant, text).await?;
    Ok(Json(json!({"silenceID": id})))
}

fn text(posted: Posted, now_ms: i64) -> Result<SilenceText, String> {
    let (starts_at_ms, ends_at_ms) = (time("startsAt", &posted.starts_at)?, time("endsAt", &posted.ends_at)?);
    if starts_at_ms >= ends_at_ms {
        return Err("Failed to create silence: start time must be before end time".to_owned());
    }
    if ends_at_ms < now_ms {
        return Err("Failed to create silence: end time can't be in the past".to_owned());
    }
    Ok(SilenceText {
        id: posted.id.unwrap_or_default(),
        matchers: posted.matchers,
        starts_at_ms,
        ends_at_ms,
        updated_at_ms: now_ms,
        created_by: posted.created_by,
        comment: posted.comment,
        annotations: posted.annotations,
        recurrence: posted.recurrence,
        remind_before: posted.remind_before,
        reminded_for_ms: None,
    })
}

fn time(name: &str, text: &str) -> Result<i64, String> {
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| format!("{name}: {text:?} is no time of RFC 3339"))?;
    Ok(time.timestamp_millis())
}

fn view(silence: &Silence, now_ms: i64) -> Value {
    let text = &silence.text;
    let mut view = json!({
        "id": text.id,
        "status": {"state": silence.state(now_ms).as_str()},
        "updatedAt": show_time(text.updated_at_ms),
        "comment": text.comment,
        "createdBy": text.created_by,
        "endsAt": show_time(text.ends_at_ms),
        "matchers": text.matchers,
        "startsAt": show_time(text.starts_at_ms),
        "annotations": text.annotations,
    });
    if let Some(recurrence) = &text.recurrence {
        view["recurrence"] = json!(recurrence);
    }
    if let Some(before) = &text.remind_before {
        view["remindBefore"] = before.as_str().into();
    }
    view
}
