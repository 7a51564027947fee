//! `GET /farol/api/v1/rules/{id}/explain?at=...`: why a rule did or did not fire. The expression is evaluated again at the
//! rule's own times around the one that is asked about; what happened then is read from the history.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use query::logql::parse;
use query::promql::eval::Point;
use query::{Answer, CancelOnDrop, Direction, LogQuery, QueryError, Request, engine};
use serde_json::{Map, Value, json};
use storage::Tenant;

use super::farol::{no_such_rule, rule as shown_rule};
use super::time;
use crate::alert::evaluate::{Reader, Sample};
use crate::alert::history::SOURCE;
use crate::alert::rule::{Query, Rule};
use crate::alert::ruler::{Ruler, Running, Watched, records};
use crate::alert::state::{self, Outcome, Phase, RuleState};
use crate::alert::{labelling, ruler};
use crate::api::params::{Params, parse_time};
use crate::app::App;
use crate::error::ApiError;
use crate::tenant;

/// Evaluations that are shown when the request does not say.
const STEPS_DEFAULT: i64 = 10;
/// And how many may be asked for.
const STEPS_MAX: i64 = 120;
/// Series that are shown of each.
const SERIES_MAX: usize = 20;
/// Records of the history that are shown.
const RECORDS_MAX: usize = 200;

/// The handler.
pub(crate) async fn explain(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let ruler = app.ruler()?;
    let (running, watched) = ruler.rule(&tenant, &id).ok_or_else(|| no_such_rule(&id))?;
    let now_ns = app.clock.now_ns();
    let at_ns = parse_time(params.get("at"), now_ns)
        .map_err(|why| ApiError::bad_request(format!("could not parse 'at' parameter: {why}")))?;
    let steps = params.number("steps", STEPS_DEFAULT)?.clamp(1, STEPS_MAX);
    let at_ms = at_ns / 1_000_000;
    let times = times(&running, at_ms, now_ns / 1_000_000, steps);
    let asking = Asking { app: &app, ruler, tenant: &tenant, running: &running, watched: &watched };
    let evaluations = asking.evaluations(&times).await?;
    let judged = evaluations.iter().rev().find(|evaluation| evaluation.at_ms <= at_ms);
    let (first, last) = (times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default());
    let history = asking.history(first - running.interval_ms, last + running.interval_ms).await?;
    let rule = &watched.rule;
    let state: Vec<Value> = watched.status().state.instances.iter().map(instance).collect();
    Ok(Json(json!({
        "rule": shown_rule(&watched),
        "group": running.group.key.name,
        "namespace": running.group.key.namespace,
        "at": time(at_ns),
        "verdict": judged.map(|judged| verdict(rule, judged)),
        "evaluations": evaluations.iter().map(Evaluation::shown).collect::<Vec<_>>(),
        "alerts_now": state,
        "notification": asking.passages(judged.map(|judged| &judged.state), at_ms),
        "history": history,
    }))
    .into_response())
}

/// The group's times up to the one that is asked about, and the next one if it has come.
fn times(running: &Running, at_ms: i64, now_ms: i64, steps: i64) -> Vec<i64> {
    let interval = running.interval_ms;
    let next = ruler::next_time(running, at_ms);
    (0..=steps).map(|step| next - (steps - step) * interval).filter(|&at| at <= now_ms.max(at_ms)).collect()
}

/// What the expression came to at one time.
struct Evaluation {
    at_ms: i64,
    outcome: Result<Vec<Sample>, String>,
    /// The left side of the comparison.
    compared: Option<Result<Vec<Sample>, String>>,
    /// The alerts, as they would be if the rule had begun with the first of these evaluations.
    state: RuleState,
}

impl Evaluation {
    fn shown(&self) -> Value {
        let mut shown = Map::new();
        shown.insert("at".to_owned(), records::time(self.at_ms).into());
        match &self.outcome {
            Ok(samples) => {
                shown.insert("holds".to_owned(), (!samples.is_empty()).into());
                shown.insert("result".to_owned(), series(samples));
            }
            Err(error) => drop(shown.insert("error".to_owned(), error.clone().into())),
        }
        match &self.compared {
            Some(Ok(samples)) => drop(shown.insert("compared".to_owned(), series(samples))),
            Some(Err(error)) => drop(shown.insert("compared_error".to_owned(), error.clone().into())),
            None => {}
        }
        shown.insert("state".to_owned(), self.state.phase().as_str().into());
        Value::Object(shown)
    }
}

fn series(samples: &[Sample]) -> Value {
    let one = |sample: &Sample| {
        let labels: Map<String, Value> =
            sample.labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        let value = match &sample.point {
            Point::Float(value) => value.to_string(),
            Point::Histogram(histogram) => query::promql::histogram::to_text(histogram),
        };
        json!({ "labels": labels, "value": value })
    };
    let shown: Vec<Value> = samples.iter().take(SERIES_MAX).map(one).collect();
    json!({ "count": samples.len(), "series": shown })
}

fn instance(one: &state::Instance) -> Value {
    json!({
        "labels": one.labels,
        "state": if one.phase == Phase::Inactive { "resolved" } else { one.phase.as_str() },
        "active_since": records::time(one.active_since_ms),
        "firing_since": one.fired_at_ms.map(records::time),
        "resolved_at": one.resolved_at_ms.map(records::time),
        "keeps_firing_since": one.keep_firing_since_ms.map(records::time),
        "value": one.value.map(|value| value.to_string()),
        "lines": one.lines,
    })
}

/// In a sentence, what an evaluation means.
fn verdict(rule: &Rule, last: &Evaluation) -> String {
    let threshold = rule.query.threshold(&rule.expr);
    let Some(alerting) = rule.alerting() else { return "a recording rule does not fire".to_owned() };
    match (&last.outcome, last.state.phase()) {
        (Err(error), phase) => format!("the expression cannot be evaluated: {error}; the rule is {}", phase.as_str()),
        (Ok(samples), Phase::Inactive) if samples.is_empty() => match (&last.compared, threshold) {
            (Some(Ok(compared)), _) if compared.is_empty() => {
                "the condition does not hold: what it compares has no data".to_owned()
            }
            (Some(Ok(compared)), Some(threshold)) => {
                let values: Vec<String> = compared.iter().take(5).map(|sample| sample.value().to_string()).collect();
                format!("the condition does not hold: no value is {threshold}; the values are {}", values.join(", "))
            }
            _ => "the condition does not hold: the expression returned nothing".to_owned(),
        },
        (Ok(_), Phase::Pending) => {
            let since = last.state.active().map(|one| one.active_since_ms).min().unwrap_or(last.at_ms);
            let held = (last.at_ms - since) / 1000;
            format!(
                "the condition holds, for {held} s as far as these evaluations reach; it must for {} s",
                alerting.for_ms / 1000
            )
        }
        (Ok(samples), Phase::Firing) if samples.is_empty() => {
            format!(
                "it fires because of keep_firing_for ({} s); the condition does not hold any more",
                alerting.keep_firing_for_ms / 1000
            )
        }
        (Ok(_), Phase::Firing) => "it fires: the condition has held for long enough".to_owned(),
        (Ok(_), Phase::Inactive) => "the condition holds".to_owned(),
    }
}

struct Asking<'a> {
    app: &'a App,
    ruler: &'a Ruler,
    tenant: &'a Tenant,
    running: &'a Running,
    watched: &'a Watched,
}

impl Asking<'_> {
    /// The evaluations at these times.
    async fn evaluations(&self, times: &[i64]) -> Result<Vec<Evaluation>, ApiError> {
        let rule = &self.watched.rule;
        let reader = Reader::new(self.app, self.tenant, self.ruler.settings.timeout).map_err(ApiError::bad_request)?;
        let compared: Option<Query> = rule.query.compared();
        let (mut all, mut state) = (Vec::new(), RuleState::default());
        for &at_ms in times {
            let as_of = at_ms - self.running.query_offset_ms;
            let outcome = reader.samples(&rule.query, &rule.expr, as_of).await;
            let left = match &compared {
                Some(compared) => Some(reader.samples(compared, "", as_of).await),
                None => None,
            };
            if let Some(alerting) = rule.alerting() {
                let place = labelling::Place {
                    at_ms: as_of,
                    external_url: self.ruler.settings.external_url.clone(),
                    external_labels: self.ruler.external_labels(),
                };
                let held = match outcome.clone() {
                    Ok(samples) => labelling::candidates(&reader, rule, samples, &place).await.map(Outcome::Holds),
                    Err(why) => Err(why),
                };
                let held = held.unwrap_or_else(Outcome::Failed);
                if let Ok((after, _)) = state::step(alerting, &state, held, &labelling::own_labels(rule), at_ms) {
                    state = after;
                }
            }
            all.push(Evaluation { at_ms, outcome, compared: left, state: state.clone() });
        }
        Ok(all)
    }

    /// Who would be told of the alerts, and what stands in the way.
    fn passages(&self, replayed: Option<&RuleState>, at_ms: i64) -> Value {
        let Some(notifier) = self.ruler.notifier() else { return Value::Null };
        let now = self.watched.status().state.clone();
        let alerts = replayed.into_iter().flat_map(RuleState::active).chain(now.active());
        let mut labels: Vec<&state::Labels> = alerts.map(|one| &one.labels).collect();
        labels.sort();
        labels.dedup();
        let one = |labels: &&state::Labels| json!({ "labels": labels, "routes": notifier.passages(self.tenant, labels, at_ms) });
        labels.iter().take(SERIES_MAX).map(one).collect()
    }

    /// What the history says of the rule, and of messages about its alerts.
    async fn history(&self, from_ms: i64, to_ms: i64) -> Result<Value, ApiError> {
        let rule = &self.watched.rule;
        let text = format!("{{source={SOURCE:?}}} | rule_id={:?} or rule=~{:?}", rule.id, about(&rule.name));
        let log = match parse(&text).map_err(QueryError::from)? {
            query::logql::Expr::Log(log) => log,
            query::logql::Expr::Metric(_) => return Ok(Value::Null),
        };
        let request = Request::Logs(LogQuery {
            log,
            time: from_ms.saturating_mul(1_000_000)..to_ms.saturating_mul(1_000_000),
            limit: RECORDS_MAX,
            direction: Direction::Backward,
            interval: 0,
            categorize: false,
        });
        let house = self.app.house()?;
        let snapshot = house.store.snapshot(self.tenant, Some(engine::reach(&request)));
        let budget = house.engine.budget();
        let _cancel = CancelOnDrop(std::sync::Arc::clone(&budget));
        let (app, now) = (self.app.clone(), self.app.clock.now_ns());
        let run = move || Ok::<_, ApiError>(app.house()?.engine.run(&snapshot, &request, &budget, now)?);
        let (answer, _) = tokio::task::spawn_blocking(run)
            .await
            .map_err(|_| ApiError::new(crate::error::Kind::Internal, "the query ended early"))??;
        let Answer::Streams(streams) = answer else { return Ok(Value::Null) };
        let mut records: Vec<(i64, Value)> = Vec::new();
        for stream in streams {
            let fields: Map<String, Value> =
                stream.labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
            for entry in stream.entries {
                records.push((
                    entry.timestamp,
                    json!({ "at": time(entry.timestamp), "message": entry.line, "fields": fields }),
                ));
            }
        }
        records.sort_by_key(|(at, _)| *at);
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }
}

/// A regular expression for lists of names with commas that have this one.
fn about(name: &str) -> String {
    format!("(.*,)?{}(,.*)?", regex::escape(name))
}
