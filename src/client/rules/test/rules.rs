//! The rules of a test, evaluated over and over as the server would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use query::promql::eval::{Point, Sample};
use query::promql::print::print;
use query::template::prometheus::{Data, expand};
use storage::Labels;
use storage::metrics::STALE_NAN_BITS;

use super::lab::{Asking, Lab, number, texts};
use crate::alert::rule::{Alerting, Query, Rule, RuleGroup, RuleKind, Verdict};
use crate::alert::state::{Candidate, Instance, Outcome, Phase, RuleState, step};

type Texts = BTreeMap<String, String>;

/// What a test says about the surroundings.
pub(super) struct Outside {
    pub(super) labels: Texts,
    pub(super) url: String,
}

/// Groups with the states of their rules.
pub(super) struct Rules {
    groups: Vec<Group>,
}

struct Group {
    offset_ms: i64,
    limit: usize,
    rules: Vec<Running>,
}

struct Running {
    rule: Arc<Rule>,
    state: RuleState,
    /// The series of the last evaluation: those that are gone are marked as ended.
    series: BTreeSet<Labels>,
}

impl Rules {
    /// Nothing is evaluated yet.
    pub(super) fn new(groups: &[RuleGroup]) -> Self {
        let running =
            |rule: &Arc<Rule>| Running { rule: Arc::clone(rule), state: RuleState::default(), series: BTreeSet::new() };
        let group = |group: &RuleGroup| Group {
            offset_ms: group.query_offset_ms.unwrap_or(0),
            limit: group.limit,
            rules: group.rules.iter().map(running).collect(),
        };
        Self { groups: groups.iter().map(group).collect() }
    }

    /// Evaluates every group once.
    ///
    /// # Errors
    /// Every rule that failed, and why.
    pub(super) fn evaluate(&mut self, lab: &mut Lab, outside: &Outside, at_ms: i64) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        for group in &mut self.groups {
            let (query_ms, limit) = (at_ms - group.offset_ms, group.limit);
            for running in &mut group.rules {
                if let Err(why) = running.evaluate(lab, outside, (at_ms, query_ms), limit) {
                    errors.push(format!("    rule: {}, time: {}, err: {why}", running.rule.name, show_lapse(at_ms)));
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The alerts of a name that fire: labels and annotations.
    pub(super) fn firing(&self, name: &str) -> Vec<(Texts, Texts)> {
        let rules = self.groups.iter().flat_map(|group| &group.rules).filter(|running| running.rule.name == name);
        let alerts = rules.flat_map(|running| running.state.active());
        let fires = alerts.filter(|alert| alert.phase == Phase::Firing);
        fires.map(|alert| (alert.labels.clone(), alert.annotations.clone())).collect()
    }
}

impl Running {
    fn evaluate(&mut self, lab: &mut Lab, outside: &Outside, times: (i64, i64), limit: usize) -> Result<(), String> {
        let (at_ms, query_ms) = times;
        let rule = Arc::clone(&self.rule);
        let found = lab.vector(&rule.expr, rule.query.language(), query_ms);
        let made = match &rule.kind {
            RuleKind::Recording => recorded(&rule, found?)?,
            RuleKind::Alerting(alerting) => {
                let outcome = outcome(&rule, alerting, found, (&*lab, query_ms), outside)?;
                let own = own_labels(&rule);
                let (state, _) =
                    step(alerting, &self.state, outcome, &own, at_ms).map_err(|duplicate| duplicate.to_string())?;
                let active = state.active().count();
                if limit > 0 && active > limit {
                    self.state = RuleState::default();
                    return Err(format!("exceeded limit of {limit} with {active} alerts"));
                }
                self.state = state;
                self.state.active().flat_map(alert_series).collect()
            }
        };
        if limit > 0 && rule.alerting().is_none() && made.len() > limit {
            return Err(format!("exceeded limit of {limit} with {} series", made.len()));
        }
        let now: BTreeSet<Labels> = made.iter().map(|(labels, _)| labels.clone()).collect();
        for (labels, point) in made {
            lab.record(&labels, query_ms, &point);
        }
        for gone in self.series.difference(&now) {
            lab.record(gone, query_ms, &Point::Float(f64::from_bits(STALE_NAN_BITS)));
        }
        self.series = now;
        Ok(())
    }
}

/// The series of a recording rule.
fn recorded(rule: &Rule, found: Vec<Sample>) -> Result<Vec<(Labels, Point)>, String> {
    let mut made = BTreeMap::new();
    for sample in found {
        let mut labels = texts(&sample.labels);
        labels.insert("__name__".to_owned(), rule.name.clone());
        labels.extend(rule.labels.clone());
        labels.retain(|_, value| !value.is_empty());
        if made.insert(Labels::new(labels), sample.point).is_some() {
            return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
        }
    }
    Ok(made.into_iter().collect())
}

fn own_labels(rule: &Rule) -> Texts {
    let mut labels = rule.labels.clone();
    labels.insert("alertname".to_owned(), rule.name.clone());
    labels
}

/// What the expression came to; a failure stays one unless the rule says what it means.
fn outcome(
    rule: &Rule,
    alerting: &Alerting,
    found: Result<Vec<Sample>, String>,
    (lab, at_ms): (&Lab, i64),
    outside: &Outside,
) -> Result<Outcome, String> {
    let found = match found {
        Ok(found) => found,
        Err(why) if alerting.on_error != Verdict::Keep => return Ok(Outcome::Failed(why)),
        Err(why) => return Err(why),
    };
    if found.is_empty() && alerting.no_data != Verdict::Ok && !has_data(rule, lab, at_ms)? {
        return Ok(Outcome::NoData);
    }
    let candidate = |sample: &Sample| candidate(rule, alerting, sample, (lab, at_ms), outside);
    Ok(Outcome::Holds(found.iter().map(candidate).collect()))
}

/// Whether what the expression compares is there.
fn has_data(rule: &Rule, lab: &Lab, at_ms: i64) -> Result<bool, String> {
    let compared = match rule.query.compared() {
        Some(Query::Promql(expr)) => print(&expr),
        Some(Query::Logql(expr)) => query::logql::to_line(&query::logql::Expr::Metric(*expr)),
        _ => return Ok(false),
    };
    Ok(!lab.vector(&compared, rule.query.language(), at_ms)?.is_empty())
}

fn candidate(
    rule: &Rule,
    alerting: &Alerting,
    sample: &Sample,
    (lab, at_ms): (&Lab, i64),
    outside: &Outside,
) -> Candidate {
    let data = Data {
        labels: texts(&sample.labels),
        external_labels: outside.labels.clone(),
        external_url: outside.url.clone(),
        value: number(&sample.point),
        at_ms,
    };
    let template = format!("__alert_{}", rule.name);
    let fill = |text: &String| {
        expand(&template, text, &data, &Asking { lab, at_ms })
            .unwrap_or_else(|why| format!("<error expanding template: {why}>"))
    };
    let mut labels = data.labels.clone();
    labels.remove("__name__");
    labels.extend(rule.labels.iter().map(|(name, text)| (name.clone(), fill(text))));
    labels.insert("alertname".to_owned(), rule.name.clone());
    labels.retain(|_, value| !value.is_empty());
    let annotations = alerting.annotations.iter().map(|(name, text)| (name.clone(), fill(text))).collect();
    let value = match &sample.point {
        Point::Float(value) => Some(*value),
        Point::Histogram(_) => None,
    };
    Candidate { labels, annotations, value, series: texts(&sample.labels) }
}

/// `ALERTS` and `ALERTS_FOR_STATE` of an alert.
fn alert_series(alert: &Instance) -> [(Labels, Point); 2] {
    let named = |name: &str, state: Option<&str>| {
        let mut labels = alert.labels.clone();
        labels.insert("__name__".to_owned(), name.to_owned());
        labels.extend(state.map(|state| ("alertstate".to_owned(), state.to_owned())));
        Labels::new(labels)
    };
    let since = alert.active_since_ms.div_euclid(1_000) as f64;
    [
        (named("ALERTS", Some(alert.phase.as_str())), Point::Float(1.0)),
        (named("ALERTS_FOR_STATE", None), Point::Float(since)),
    ]
}

/// Milliseconds as Go shows a duration.
pub(super) fn show_lapse(ms: i64) -> String {
    query::logql::units::format_go_duration(ms.saturating_mul(1_000_000))
}
