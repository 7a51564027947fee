//! From what an expression gives to conditions that hold: the labels of the alert, and what is told about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use query::Budget;
use query::promql::eval::Point;
use query::template::prometheus::{self, Data, Number, QueriedSample, Querier};

use super::evaluate::{Reader, Sample};
use super::rule::{Language, Query, Rule};
use super::state::{Candidate, Labels};

const NAME: &str = "__name__";
const ALERT_NAME: &str = "alertname";

/// When and where a rule is evaluated.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// As of when its expression is evaluated, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// Where this server is seen.
    pub(crate) external_url: Arc<str>,
    /// Labels that tell this server apart.
    pub(crate) external_labels: Arc<BTreeMap<String, String>>,
}

/// The labels of an alert about the rule itself.
pub(crate) fn own_labels(rule: &Rule) -> Labels {
    let mut labels: Labels = rule.labels.clone();
    // There is no sample to fill them with.
    labels.retain(|_, value| !value.is_empty() && !value.contains("{{"));
    labels.insert(ALERT_NAME.to_owned(), rule.name.clone());
    labels
}

/// The conditions of an alerting rule that hold. Templates are filled on a thread that may block, because they may ask.
///
/// # Errors
/// When the server stops.
pub(crate) async fn candidates(
    reader: &Reader,
    rule: &Arc<Rule>,
    samples: Vec<Sample>,
    place: &Place,
) -> Result<Vec<Candidate>, String> {
    let annotations = rule.alerting().map(|alerting| &alerting.annotations);
    let mut texts = rule.labels.values().chain(annotations.into_iter().flat_map(BTreeMap::values));
    let has_templates = texts.any(|text| text.contains("{{"));
    if samples.is_empty() || !has_templates {
        return Ok(samples.into_iter().map(|sample| candidate(rule, &sample, |_, text| text.to_owned())).collect());
    }
    let (reader, rule, place, budget) = (reader.clone(), Arc::clone(rule), place.clone(), reader.budget()?);
    let fill = move || {
        let asking = Asking { reader: &reader, at_ms: place.at_ms, budget: &budget };
        samples.into_iter().map(|sample| filled(&rule, &sample, &place, &asking)).collect()
    };
    tokio::task::spawn_blocking(fill).await.map_err(|_| "the evaluation ended early".to_owned())
}

fn filled(rule: &Rule, sample: &Sample, place: &Place, asking: &Asking<'_>) -> Candidate {
    let data = Data {
        labels: sample.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        external_labels: place.external_labels.as_ref().clone(),
        external_url: place.external_url.to_string(),
        value: number(&sample.point),
        at_ms: place.at_ms,
    };
    candidate(rule, sample, |name, text| {
        let name = format!("__alert_{}", if name.is_empty() { &rule.name } else { name });
        prometheus::expand(&name, text, &data, asking).unwrap_or_else(|error| {
            tracing::warn!(rule = rule.name, "a template cannot be filled: {error}");
            format!("<error expanding template: {error}>")
        })
    })
}

/// `fill` is given the name of the rule (empty) and a text.
fn candidate(rule: &Rule, sample: &Sample, fill: impl Fn(&str, &str) -> String) -> Candidate {
    let pairs = sample.labels.iter().filter(|(name, _)| *name != NAME);
    let series: Labels = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut labels = series.clone();
    labels.extend(rule.labels.iter().map(|(name, text)| (name.clone(), fill("", text))));
    labels.insert(ALERT_NAME.to_owned(), rule.name.clone());
    labels.retain(|_, value| !value.is_empty());
    let annotations = rule.alerting().map(|alerting| &alerting.annotations);
    let annotations = annotations.into_iter().flatten().map(|(name, text)| (name.clone(), fill("", text))).collect();
    Candidate { labels, annotations, value: Some(sample.value()), series }
}

fn number(point: &Point) -> Number {
    match point {
        Point::Float(value) => Number::Float(*value),
        Point::Histogram(histogram) => Number::Histogram(query::promql::histogram::to_text(histogram)),
    }
}

/// Answers the queries of templates, in PromQL.
struct Asking<'a> {
    reader: &'a Reader,
    at_ms: i64,
    budget: &'a Arc<Budget>,
}

impl Querier for Asking<'_> {
    fn query(&self, expr: &str) -> Result<Vec<QueriedSample>, String> {
        let query = Query::parse(expr, Language::Promql)?;
        let samples = self.reader.samples_blocking(&query, expr, self.at_ms, self.budget)?;
        let one = |sample: Sample| QueriedSample {
            labels: sample.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            value: number(&sample.point),
        };
        Ok(samples.into_iter().map(one).collect())
    }
}
