//! A service level objective as one short rule, which becomes the multi-window, multi-burn-rate rules of Google's SRE
//! workbook (chapter 5).
//!
//! With an objective of 99.9 % the error budget is 0.1 %. A *burn rate* of 1 uses it up in exactly the window of the
//! objective. An alert fires when the budget burns too fast both over a long window (it matters) and over a short one (it
//! still goes on):
//!
//! | used up of the budget | within | and still over | burn rate with 30 days | severity |
//! | --- | --- | --- | --- | --- |
//! | 2 % | 1h | 5m | 14.4 | page |
//! | 5 % | 6h | 30m | 6 | page |
//! | 10 % | 1d | 2h | 3 | ticket |
//! | 10 % | 3d | 6h | 1 | ticket |
//!
//! In PromQL the ratio of each window is recorded and the alerts read what was recorded; in LogQL, whose rules cannot read
//! metrics, the alerts hold the whole query.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};

use super::Language;
use super::yaml::RuleYaml;
use crate::scrape::Lapse;

/// In a query, the window's place.
const WINDOW: &str = "$window";
const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];
/// Part of the budget, long window, its seconds, short window, severity.
const ALERTS: [(f64, &str, f64, &str, &str); 4] = [
    (0.02, "1h", 3_600.0, "5m", "page"),
    (0.05, "6h", 21_600.0, "30m", "page"),
    (0.10, "1d", 86_400.0, "2h", "ticket"),
    (0.10, "3d", 259_200.0, "6h", "ticket"),
];

/// The short form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SloYaml {
    /// The label `slo` of all that comes of it.
    pub(crate) name: String,
    /// In per cent: 99.9.
    pub(crate) objective: f64,
    /// Over which time the objective is to be kept.
    #[serde(default = "default_window")]
    pub(crate) window: Lapse,
    /// What went well, as a rate over `$window`.
    #[serde(default)]
    pub(crate) good: Option<Spanned<String>>,
    /// What went wrong, as a rate over `$window`; in place of `good`.
    #[serde(default)]
    pub(crate) errors: Option<Spanned<String>>,
    /// Everything, as a rate over `$window`.
    pub(crate) total: Spanned<String>,
    /// The name of the alerts.
    #[serde(default = "default_alert")]
    pub(crate) alert: String,
}

fn default_window() -> Lapse {
    Lapse::seconds(30 * 86_400)
}

fn default_alert() -> String {
    "ErrorBudgetBurn".to_owned()
}

/// The rules that a short form stands for.
///
/// # Errors
/// What does not fit together in it.
pub(super) fn expand(rule: &RuleYaml, slo: &SloYaml, language: Language) -> Result<Vec<RuleYaml>, String> {
    check(rule, slo, language)?;
    let budget = round(1.0 - slo.objective / 100.0);
    let mut labels = rule.labels.clone().unwrap_or_default();
    labels.insert("slo".to_owned(), slo.name.clone());
    let mut rules: Vec<RuleYaml> = WINDOWS
        .iter()
        .map(|window| recording(&format!("slo:errors:ratio_rate{window}"), &ratio(slo, window), &labels))
        .collect();
    if language == Language::Promql {
        let selector = selector(&labels);
        let of = |name: &str| format!("{name}{selector}");
        let window = slo.window.to_string();
        let whole = format!("slo:errors:ratio_rate{window}");
        if !WINDOWS.contains(&window.as_str()) {
            rules.push(recording(
                &whole,
                &format!("avg_over_time({}[{window}])", of("slo:errors:ratio_rate5m")),
                &labels,
            ));
        }
        rules.push(recording("slo:objective:ratio", &format!("vector({})", round(slo.objective / 100.0)), &labels));
        rules.push(recording("slo:burn_rate:ratio", &format!("{} / {budget}", of("slo:errors:ratio_rate5m")), &labels));
        rules.push(recording("slo:budget_remaining:ratio", &format!("1 - {} / {budget}", of(&whole)), &labels));
    }
    for (part, long, seconds, short, severity) in ALERTS {
        let rate = round(part * slo.window.0.as_secs_f64() / seconds);
        let limit = round(rate * budget);
        let errors = |window: &str| match language {
            Language::Promql => format!("slo:errors:ratio_rate{window}{}", selector(&labels)),
            _ => format!("({})", ratio(slo, window)),
        };
        rules.push(RuleYaml {
            alert: Some(slo.alert.clone()),
            expr: Some(plain(format!("{} > {limit} and {} > {limit}", errors(long), errors(short)))),
            labels: Some(alert_labels(&labels, severity, long, short)),
            annotations: Some(annotations(rule, slo, rate, long)),
            ..RuleYaml::default()
        });
    }
    Ok(rules)
}

fn check(rule: &RuleYaml, slo: &SloYaml, language: Language) -> Result<(), String> {
    if slo.name.is_empty() {
        return Err("slo: name must be set".to_owned());
    }
    if !(slo.objective > 0.0 && slo.objective < 100.0) {
        return Err(format!("slo: objective is {}; it is a percentage between 0 and 100, such as 99.9", slo.objective));
    }
    if slo.window.0.as_secs() < 3 * 86_400 {
        return Err(format!("slo: window is {}; the longest alert looks at 3d, so take at least that", slo.window));
    }
    if language == Language::Sql {
        return Err("slo: there is none in SQL; use promql or logql".to_owned());
    }
    if slo.good.is_some() == slo.errors.is_some() {
        return Err("slo: exactly one of good and errors must be set".to_owned());
    }
    let queries = [("good", &slo.good), ("errors", &slo.errors)];
    let queries = queries.into_iter().filter_map(|(field, query)| Some((field, query.as_ref()?)));
    for (field, query) in queries.chain([("total", &slo.total)]) {
        if !query.value.contains(WINDOW) {
            return Err(format!(
                "slo: {field} must have {WINDOW} where the window goes, as in rate(requests[{WINDOW}])"
            ));
        }
    }
    let others = [
        ("record", rule.record.is_some()),
        ("alert", rule.alert.is_some()),
        ("expr", rule.expr.is_some()),
        ("silent_source", rule.silent_source.is_some()),
        ("for", rule.hold.is_some()),
        ("keep_firing_for", rule.keep_firing_for.is_some()),
        ("no_data", rule.no_data.is_some()),
        ("on_error", rule.on_error.is_some()),
        ("lines", rule.lines.is_some()),
    ];
    match others.into_iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(format!("invalid field '{field}' beside slo")),
        None => Ok(()),
    }
}

/// The ratio of errors over a window.
fn ratio(slo: &SloYaml, window: &str) -> String {
    let at = |query: &Spanned<String>| query.value.trim().replace(WINDOW, window);
    let total = at(&slo.total);
    match (&slo.errors, &slo.good) {
        (Some(errors), _) => format!("({}) / ({total})", at(errors)),
        (None, Some(good)) => format!("1 - (({}) / ({total}))", at(good)),
        (None, None) => String::new(),
    }
}

fn recording(name: &str, expr: &str, labels: &BTreeMap<String, String>) -> RuleYaml {
    RuleYaml {
        record: Some(name.to_owned()),
        expr: Some(plain(expr.to_owned())),
        labels: Some(labels.clone()),
        ..RuleYaml::default()
    }
}

fn selector(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(","))
}

fn alert_labels(
    labels: &BTreeMap<String, String>,
    severity: &str,
    long: &str,
    short: &str,
) -> BTreeMap<String, String> {
    let mut all = labels.clone();
    let severity = all.get("severity").cloned().unwrap_or_else(|| severity.to_owned());
    let own = [("severity", severity), ("long_window", long.to_owned()), ("short_window", short.to_owned())];
    all.extend(own.map(|(name, value)| (name.to_owned(), value)));
    all
}

fn annotations(rule: &RuleYaml, slo: &SloYaml, rate: f64, long: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        (
            "summary".to_owned(),
            format!("{} burns its error budget at more than {rate} times the allowed rate", slo.name),
        ),
        (
            "description".to_owned(),
            format!(
                "{{{{ $value | humanizePercentage }}}} of {} failed over the last {long}; the objective is {} % over {}.",
                slo.name, slo.objective, slo.window
            ),
        ),
    ]);
    all.extend(rule.annotations.clone().unwrap_or_default());
    all
}

/// Text of ours, which has no place in a file.
pub(super) fn plain<T>(value: T) -> Spanned<T> {
    Spanned::new(value, Location::UNKNOWN, Location::UNKNOWN)
}

/// Without the dust of binary fractions.
fn round(value: f64) -> f64 {
    (value * 1e12).round() / 1e12
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use crate::alert::rule::{Language, Query, parse_file};

    const SLO: &str = r#"
groups:
- name: checkout
  rules:
  - slo:
      name: checkout
      objective: 99.9
      good: sum(rate(requests_total{code!~"5.."}[$window]))
      total: sum(rate(requests_total[$window]))
    labels: {team: web}
    annotations: {runbook_url: https://example.com/slo}
"#;

    #[test]
    fn the_workbooks_rules_come_of_it() {
        let groups = parse_file(SLO, "a.yml", Language::Promql).unwrap();
        let rules = &groups[0].rules;
        let recorded: Vec<&str> =
            rules.iter().filter(|rule| rule.alerting().is_none()).map(|rule| rule.name.as_str()).collect();
        assert_eq!(
            recorded,
            [
                "slo:errors:ratio_rate5m",
                "slo:errors:ratio_rate30m",
                "slo:errors:ratio_rate1h",
                "slo:errors:ratio_rate2h",
                "slo:errors:ratio_rate6h",
                "slo:errors:ratio_rate1d",
                "slo:errors:ratio_rate3d",
                "slo:errors:ratio_rate30d",
                "slo:objective:ratio",
                "slo:burn_rate:ratio",
                "slo:budget_remaining:ratio",
            ]
        );
        assert_eq!(
            rules[1].expr,
            "1 - ((sum(rate(requests_total{code!~\"5..\"}[30m]))) / (sum(rate(requests_total[30m]))))"
        );
        let alerts: Vec<_> = rules.iter().filter(|rule| rule.alerting().is_some()).collect();
        let thresholds: Vec<&str> = alerts.iter().map(|rule| rule.expr.rsplit(" > ").next().unwrap()).collect();
        assert_eq!(thresholds, ["0.0144", "0.006", "0.003", "0.001"]);
        let severities: Vec<&str> = alerts.iter().map(|rule| rule.labels["severity"].as_str()).collect();
        assert_eq!(severities, ["page", "page", "ticket", "ticket"]);
        assert_eq!(
            alerts[0].expr,
            "slo:errors:ratio_rate1h{slo=\"checkout\",team=\"web\"} > 0.0144 and \
             slo:errors:ratio_rate5m{slo=\"checkout\",team=\"web\"} > 0.0144"
        );
        let annotations = &alerts[0].alerting().unwrap().annotations;
        assert_eq!(annotations["runbook_url"], "https://example.com/slo");
        assert!(annotations["summary"].contains("14.4 times"), "{annotations:?}");
        let mut ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), rules.len());
    }

    #[test]
    fn other_windows_scale_the_burn_rate_and_logs_hold_the_query() {
        let week = SLO.replace("objective: 99.9", "objective: 99\n      window: 7d");
        let groups = parse_file(&week, "a.yml", Language::Promql).unwrap();
        let alert = groups[0].rules.iter().find(|rule| rule.alerting().is_some()).unwrap();
        assert!(alert.expr.ends_with(" > 0.0336"), "{}", alert.expr);
        let logs = r#"
groups:
- name: logs
  language: logql
  rules:
  - slo: {name: api, objective: 99, errors: 'sum(rate({app="api"} |= "error" [$window]))', total: 'sum(rate({app="api"}[$window]))'}
"#;
        let groups = parse_file(logs, "a.yml", Language::Promql).unwrap();
        let alert = groups[0].rules.iter().find(|rule| rule.alerting().is_some()).unwrap();
        assert!(matches!(alert.query, Query::Logql(_)));
        assert!(alert.expr.contains("[1h]") && alert.expr.contains("[5m]"), "{}", alert.expr);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_line() {
        for (from, to, why) in [
            ("objective: 99.9", "objective: 100", "a percentage between 0 and 100"),
            ("name: checkout\n      objective", "name: ''\n      objective", "name must be set"),
            ("[$window]))\n      total", "[5m]))\n      total", "good must have $window"),
            ("good:", "wrong:", "wrong"),
            ("labels: {team: web}", "expr: up", "invalid field 'expr' beside slo"),
            ("objective: 99.9", "objective: 99.9\n      window: 1d", "at least that"),
            ("objective: 99.9", "objective: 99.9\n      errors: x[$window]", "exactly one of good and errors"),
        ] {
            let text = SLO.replace(from, to);
            assert_ne!(text, SLO, "{from}");
            let mistakes = parse_file(&text, "a.yml", Language::Promql).unwrap_err();
            let shown = mistakes.0[0].to_string();
            assert!(shown.starts_with("a.yml:") && shown.contains(why), "{shown}");
        }
    }
}
