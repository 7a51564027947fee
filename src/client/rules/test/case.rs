//! One test: rules evaluated step by step from the start to the last time that is asked about, and compared on the way.

use std::collections::BTreeMap;

use query::number::format_float_general;
use query::promql::eval::{Point, Sample};
use query::promql::histogram::test_expression;
use query::promql::testing::{parse_histogram, parse_metric};
use storage::Labels;

use super::lab::Lab;
use super::rules::{Outside, Rules, show_lapse};
use super::yaml::{AlertTestYaml, ExprTestYaml, FileYaml, SampleYaml, TestYaml};
use crate::alert::rule::{Language, RuleGroup};
use crate::scrape::Lapse;

const EVALUATION_INTERVAL_MS: i64 = 60_000;

type Texts = BTreeMap<String, String>;

/// Runs a test; what went otherwise than expected.
pub(super) fn run(test: &TestYaml, file: &FileYaml, groups: &[RuleGroup]) -> Vec<String> {
    let step_ms = positive(file.evaluation_interval).unwrap_or(EVALUATION_INTERVAL_MS);
    let interval_ms = positive(test.interval).unwrap_or(step_ms);
    if let Some(nameless) = test.alert_rule_test.iter().find(|alert| alert.alertname.is_empty()) {
        let place = if test.name.is_empty() { String::new() } else { format!(" (in TestGroup {})", test.name) };
        return vec![format!(
            "an item under alert_rule_test misses required attribute alertname at eval_time {}{place}",
            nameless.eval_time
        )];
    }
    let mut lab = match Lab::load(test, interval_ms, step_ms) {
        Ok(lab) => lab,
        Err(why) => return vec![why],
    };
    let mut errors = match evaluate(test, groups, &mut lab, step_ms) {
        Ok(errors) => errors,
        Err(errors) => return errors,
    };
    for (language, tests) in [(Language::Promql, &test.promql_expr_test), (Language::Logql, &test.logql_expr_test)] {
        for expected in tests {
            errors.extend(check_expr(expected, &lab, (language, test.start_timestamp), file.fuzzy_compare).err());
        }
    }
    errors
}

/// Evaluates the rules up to the last time that is asked about; what fires otherwise than expected.
///
/// # Errors
/// What failed, at the first time that something does.
fn evaluate(test: &TestYaml, groups: &[RuleGroup], lab: &mut Lab, step_ms: i64) -> Result<Vec<String>, Vec<String>> {
    let alerts = test.alert_rule_test.iter().map(|alert| alert.eval_time);
    let exprs = test.promql_expr_test.iter().chain(&test.logql_expr_test).map(|expr| expr.eval_time);
    let last = alerts.chain(exprs).map(milliseconds).max().unwrap_or(0);
    let outside = Outside { labels: test.external_labels.clone(), url: test.external_url.clone() };
    let mut rules = Rules::new(groups);
    let mut errors = Vec::new();
    let mut since_ms = 0;
    while since_ms <= last {
        let at_ms = test.start_timestamp.saturating_add(since_ms);
        lab.now_ms = at_ms;
        rules.evaluate(lab, &outside, at_ms)?;
        let due = |alert: &&AlertTestYaml| (since_ms..since_ms + step_ms).contains(&milliseconds(alert.eval_time));
        for alert in test.alert_rule_test.iter().filter(due) {
            errors.extend(check_alert(alert, &rules, &test.name).err());
        }
        since_ms += step_ms;
    }
    Ok(errors)
}

fn positive(lapse: Option<Lapse>) -> Option<i64> {
    lapse.map(milliseconds).filter(|ms| *ms > 0)
}

fn milliseconds(lapse: Lapse) -> i64 {
    // So far below the largest that a step can be added to it.
    i64::try_from(lapse.0.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

fn check_alert(expected: &AlertTestYaml, rules: &Rules, test: &str) -> Result<(), String> {
    let mut got = rules.firing(&expected.alertname);
    let mut wanted: Vec<(Texts, Texts)> = Vec::new();
    for alert in expected.exp_alerts.iter().flatten() {
        let mut labels = alert.exp_labels.clone().unwrap_or_default();
        labels.insert("alertname".to_owned(), expected.alertname.clone());
        labels.retain(|_, value| !value.is_empty());
        let mut annotations = alert.exp_annotations.clone().unwrap_or_default();
        annotations.retain(|_, value| !value.is_empty());
        wanted.push((labels, annotations));
    }
    got.iter_mut().for_each(|(_, annotations)| annotations.retain(|_, value| !value.is_empty()));
    got.sort();
    wanted.sort();
    if got == wanted {
        return Ok(());
    }
    let name = if test.is_empty() { String::new() } else { format!("    name: {test},\n") };
    Err(format!(
        "{name}    alertname: {}, time: {}, \n        exp:{}, \n        got:{}",
        expected.alertname,
        expected.eval_time,
        show_alerts(&wanted),
        show_alerts(&got)
    ))
}

fn show_alerts(alerts: &[(Texts, Texts)]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let one = |(at, (labels, annotations)): (usize, &(Texts, Texts))| {
        format!(
            "\n            {at}:\n              Labels:{}\n              Annotations:{}",
            show_texts(labels),
            show_texts(annotations)
        )
    };
    format!("[{}\n            ]", alerts.iter().enumerate().map(one).collect::<Vec<_>>().join(","))
}

fn show_texts(texts: &Texts) -> String {
    let pairs: Vec<String> = texts.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A sample in the form in which it is compared; of a histogram its notation.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    labels: Labels,
    value: f64,
    histogram: String,
}

impl Shown {
    fn of(sample: &Sample) -> Self {
        let labels = sample.labels.as_ref().clone();
        match &sample.point {
            Point::Float(value) => Self { labels, value: *value, histogram: String::new() },
            Point::Histogram(histogram) => Self { labels, value: 0.0, histogram: test_expression(histogram) },
        }
    }

    fn expected(sample: &SampleYaml) -> Result<Self, String> {
        let labels = match sample.labels.trim() {
            "" | "{}" => Labels::default(),
            text => parse_metric(text).map_err(|why| format!("labels {text:?}: {why}"))?,
        };
        let histogram = match sample.histogram.as_str() {
            "" => String::new(),
            text => test_expression(&parse_histogram(text)?),
        };
        let value = if histogram.is_empty() { sample.value } else { 0.0 };
        Ok(Self { labels, value, histogram })
    }

    fn equals(&self, other: &Self, fuzzy: bool) -> bool {
        let (a, b) = (self.value, other.value);
        let near = fuzzy && (a.next_down() == b || a.next_up() == b);
        self.labels == other.labels && self.histogram == other.histogram && (a == b || near)
    }

    fn text(&self) -> String {
        let labels = self.labels.iter().filter(|(name, _)| *name != "__name__");
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
        let name = self.labels.get("__name__").unwrap_or_default();
        let value = if self.histogram.is_empty() { format_float_general(self.value) } else { self.histogram.clone() };
        format!("{name}{{{}}} {value}", labels.join(", "))
    }
}

fn check_expr(
    expected: &ExprTestYaml,
    lab: &Lab,
    (language, start_ms): (Language, i64),
    fuzzy: bool,
) -> Result<(), String> {
    let since_ms = milliseconds(expected.eval_time);
    let place = format!("    expr: {:?}, time: {},", expected.expr, show_lapse(since_ms));
    let failed = |why: String| format!("{place} err: {why}");
    let found = lab.vector(&expected.expr, language, start_ms.saturating_add(since_ms)).map_err(failed)?;
    let mut got: Vec<Shown> = found.iter().map(Shown::of).collect();
    let samples = expected.exp_samples.iter().flatten();
    let mut wanted = samples.map(Shown::expected).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    got.sort_by(|a, b| a.labels.cmp(&b.labels));
    wanted.sort_by(|a, b| a.labels.cmp(&b.labels));
    if got.len() == wanted.len() && got.iter().zip(&wanted).all(|(got, wanted)| got.equals(wanted, fuzzy)) {
        return Ok(());
    }
    let show = |samples: &[Shown]| match samples {
        [] => "nil".to_owned(),
        samples => samples.iter().map(Shown::text).collect::<Vec<_>>().join(", "),
    };
    Err(format!("{place}\n        exp: {}\n        got: {}", show(&wanted), show(&got)))
}
