//! Prometheus's `/api/v1/rules` and `/api/v1/alerts`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use query::promql::ast::Matcher;
use query::promql::parser::parse_selector;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use super::{alert, group, rule};
use crate::alert::rule::{GroupKey, Rule};
use crate::alert::ruler::Running;
use crate::api::params::Params;
use crate::app::App;
use crate::error::{ApiError, Kind};
use crate::tenant;

/// `/api/v1/rules`, with `type`, `rule_name[]`, `rule_group[]`, `file[]`, `match[]`, `exclude_alerts`, `group_limit` and
/// `group_next_token`.
pub(crate) async fn rules(State(app): State<App>, tenant::Of(tenant): tenant::Of, params: Params) -> Response {
    answer(app.ruler().and_then(|ruler| found(&ruler.groups(&tenant), &params)))
}

/// `/api/v1/alerts`.
pub(crate) async fn alerts(State(app): State<App>, tenant::Of(tenant): tenant::Of) -> Response {
    answer(app.ruler().map(|ruler| {
        let groups = ruler.groups(&tenant);
        let watched = groups.iter().flat_map(|running| &running.rules);
        let alerts: Vec<Value> =
            watched.flat_map(|watched| watched.status().state.active().map(alert).collect::<Vec<_>>()).collect();
        json!({ "alerts": alerts })
    }))
}

fn found(groups: &[std::sync::Arc<Running>], params: &Params) -> Result<Value, ApiError> {
    let wanted = Wanted::read(params)?;
    let (limit, token) = page(params)?;
    let mut groups = groups.iter().peekable();
    if !token.is_empty() {
        while groups.next_if(|running| token_of(&running.group.key) != token).is_some() {}
        if groups.peek().is_none() {
            return Err(ApiError::bad_request(
                "invalid group_next_token '".to_owned() + token + "': the group is not there any more; begin again",
            ));
        }
    }
    let (mut shown, mut next) = (Vec::new(), None);
    for running in groups.filter(|running| wanted.group(running)) {
        let chosen = running.rules.iter().filter(|watched| wanted.rule(&watched.rule));
        let rules: Vec<Value> = chosen.map(|watched| rule(watched, !wanted.exclude_alerts)).collect();
        if rules.is_empty() {
            continue;
        }
        if shown.len() == limit {
            next = Some(token_of(&running.group.key));
            break;
        }
        shown.push(group(running, &rules));
    }
    let mut data = json!({ "groups": shown });
    if let (Some(next), Some(fields)) = (next, data.as_object_mut()) {
        fields.insert("groupNextToken".to_owned(), next.into());
    }
    Ok(data)
}

fn page(params: &Params) -> Result<(usize, &str), ApiError> {
    let token = params.get("group_next_token");
    match params.get("group_limit") {
        "" if !token.is_empty() => {
            Err(ApiError::bad_request("group_limit needs to be present in order to paginate over the groups"))
        }
        "" => Ok((usize::MAX, token)),
        text => match text.parse::<usize>() {
            Ok(limit) if limit > 0 => Ok((limit, token)),
            _ => Err(ApiError::bad_request(format!("group_limit must be a number above 0: {text:?}"))),
        },
    }
}

/// The same for the same group, as long as it is there.
fn token_of(key: &GroupKey) -> String {
    format!("{:032x}", xxh3_128(format!("{};{}", key.namespace, key.name).as_bytes()))
}

/// What is asked for.
struct Wanted<'p> {
    alerting: bool,
    recording: bool,
    names: Vec<&'p str>,
    groups: Vec<&'p str>,
    files: Vec<&'p str>,
    matchers: Vec<Vec<Matcher>>,
    exclude_alerts: bool,
}

impl<'p> Wanted<'p> {
    fn read(params: &'p Params) -> Result<Self, ApiError> {
        let kind = params.get("type").to_ascii_lowercase();
        if !["", "alert", "record"].contains(&kind.as_str()) {
            return Err(ApiError::bad_request(format!("invalid parameter \"type\": not supported value {kind:?}")));
        }
        let all = |name| -> Vec<&'p str> { params.all(name).collect() };
        let selector = |text: &str| {
            parse_selector(text)
                .map_err(|error| ApiError::bad_request(format!("invalid parameter \"match[]\": {error}")))
        };
        let exclude = params.get("exclude_alerts");
        Ok(Self {
            alerting: kind != "record",
            recording: kind != "alert",
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            matchers: params.all("match[]").map(selector).collect::<Result<_, _>>()?,
            exclude_alerts: match exclude.to_ascii_lowercase().as_str() {
                "" | "false" | "0" | "f" => false,
                "true" | "1" | "t" => true,
                _ => return Err(ApiError::bad_request(format!("invalid parameter \"exclude_alerts\": {exclude:?}"))),
            },
        })
    }

    fn group(&self, running: &Running) -> bool {
        let key = &running.group.key;
        let has = |wanted: &[&str], name: &str| wanted.is_empty() || wanted.contains(&name);
        has(&self.groups, &key.name) && has(&self.files, &key.namespace)
    }

    fn rule(&self, rule: &Rule) -> bool {
        let is_kind = if rule.alerting().is_some() { self.alerting } else { self.recording };
        let fits = |matcher: &Matcher| matcher.matches(rule.labels.get(&matcher.name).map_or("", String::as_str));
        is_kind
            && (self.names.is_empty() || self.names.contains(&rule.name.as_str()))
            && (self.matchers.is_empty() || self.matchers.iter().any(|set| set.iter().all(fits)))
    }
}

fn answer(data: Result<Value, ApiError>) -> Response {
    match data {
        Ok(data) => Json(json!({ "status": "success", "data": data })).into_response(),
        Err(error) => {
            let (status, kind) = match error.kind {
                Kind::BadRequest => (StatusCode::BAD_REQUEST, "bad_data"),
                Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            };
            (status, Json(json!({ "status": "error", "errorType": kind, "error": error.message }))).into_response()
        }
    }
}
