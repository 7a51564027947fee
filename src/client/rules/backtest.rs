//! `farol rules backtest`: when alerts would have fired on what a server has stored, how often and for how long.
//!
//! The server answers the expression as a range query; what follows from its points is worked out by the same state machine
//! that runs in the server.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::{Context, bail};
use query::promql::print::print;
use query::template::prometheus::{Data, Number, QueriedSample, Querier, expand};
use serde::Deserialize;
use storage::{Clock, SystemClock};

use super::check::read;
use crate::alert::rule::{Alerting, Language, Query, Rule, RuleGroup, Verdict, parse_file};
use crate::alert::state::{Candidate, Event, Instance, Outcome, Phase, RuleState, step};
use crate::api::params::{parse_span, parse_time};
use crate::cli::RulesBacktestArgs;
use crate::client::http::Client;

/// How often a group is evaluated that does not say, in milliseconds: Prometheus's default.
const INTERVAL_MS: i64 = 60_000;
/// Points of one query: servers refuse more than 11,000.
const POINTS_MAX: i64 = 10_000;
/// Evaluations of one rule.
const STEPS_MAX: i64 = 1_000_000;

type Texts = BTreeMap<String, String>;

/// Tries the alerts of files, and prints when each would have fired.
///
/// # Errors
/// When a file is wrong, or the server does not answer.
pub(crate) fn run(args: &RulesBacktestArgs) -> anyhow::Result<ExitCode> {
    let now = SystemClock.now_ns();
    let at = |text: &str| parse_time(text, now).map_err(anyhow::Error::msg);
    let to = args.to.as_deref().map_or(Ok(now), at).context("--to")? / 1_000_000;
    let from = match &args.from {
        Some(from) => at(from).context("--from")? / 1_000_000,
        None => to - parse_span(&args.since).map_err(anyhow::Error::msg).context("--since")? / 1_000_000,
    };
    if from >= to {
        bail!("--from must be before --to");
    }
    let mut groups = Vec::new();
    for file in &args.files {
        let text = read(file)?;
        match parse_file(&text, &file.display().to_string(), args.language.into()) {
            Ok(found) => groups.extend(found),
            Err(mistakes) => {
                eprintln!("{mistakes}");
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let client = Client::new(&args.server);
    let mut failed = false;
    println!("From {} to {}", show_time(from), show_time(to));
    for group in &groups {
        for rule in &group.rules {
            let Some(alerting) = rule.alerting() else { continue };
            note_recorded(rule, &groups);
            match Trial::new(&client, group, rule, alerting).run(from, to) {
                Ok(trial) => trial.print(to),
                Err(error) => {
                    failed = true;
                    println!("\n{} ({}): {error:#}", rule.name, group.key.name);
                }
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the same files record is only there if the server has recorded it.
fn note_recorded(rule: &Rule, groups: &[RuleGroup]) {
    let records: BTreeSet<&str> = groups
        .iter()
        .flat_map(|group| &group.rules)
        .filter(|rule| rule.alerting().is_none())
        .map(|rule| rule.name.as_str())
        .collect();
    for name in rule.query.metric_names().unwrap_or_default().into_iter().filter(|name| records.contains(name)) {
        println!("\nnote: {} reads {name}, which counts as far as the server has recorded it", rule.name);
    }
}

/// One alerting rule, tried.
struct Trial<'t> {
    client: &'t Client,
    group: &'t RuleGroup,
    rule: &'t Rule,
    alerting: &'t Alerting,
    state: RuleState,
    /// Each time that an alert fired: labels, from, until.
    firings: Vec<(Texts, i64, Option<i64>)>,
    /// How often an alert was pending and did not come to fire.
    given_up: usize,
}

impl<'t> Trial<'t> {
    fn new(client: &'t Client, group: &'t RuleGroup, rule: &'t Rule, alerting: &'t Alerting) -> Self {
        Self { client, group, rule, alerting, state: RuleState::default(), firings: Vec::new(), given_up: 0 }
    }

    fn run(mut self, from: i64, to: i64) -> anyhow::Result<Self> {
        let interval = if self.group.interval_ms > 0 { self.group.interval_ms } else { INTERVAL_MS };
        // On the server's grid.
        let first = from.div_euclid(interval) * interval + if from.rem_euclid(interval) == 0 { 0 } else { interval };
        if (to - first) / interval > STEPS_MAX {
            bail!("more than {STEPS_MAX} evaluations of {}: take a shorter time", self.rule.name);
        }
        let mut start = first;
        while start <= to {
            let end = to.min(start + (POINTS_MAX - 1) * interval);
            self.part(start, end, interval)?;
            start += POINTS_MAX * interval;
        }
        Ok(self)
    }

    /// Goes through the evaluations that one range query answers.
    fn part(&mut self, start: i64, end: i64, interval: i64) -> anyhow::Result<()> {
        let offset = self.group.query_offset_ms.unwrap_or(0);
        let language = self.rule.query.language();
        let range = (start - offset, end - offset, interval);
        let series = ask(self.client, &self.rule.expr, language, range)?;
        let known = match self.alerting.no_data {
            Verdict::Ok => None,
            _ => Some(self.times_with_data(range, &series)?),
        };
        let mut holding: BTreeMap<i64, Vec<(&Texts, f64)>> = BTreeMap::new();
        for (labels, points) in &series {
            for (time, value) in points {
                holding.entry(*time).or_default().push((labels, *value));
            }
        }
        let mut at = start;
        while at <= end {
            let time = at - offset;
            let outcome = match (holding.get(&time), &known) {
                (None, Some(known)) if !known.contains(&time) => Outcome::NoData,
                (found, _) => {
                    let found = found.map(Vec::as_slice).unwrap_or_default();
                    Outcome::Holds(found.iter().map(|(labels, value)| self.candidate(labels, *value, time)).collect())
                }
            };
            let own = Texts::from([("alertname".to_owned(), self.rule.name.clone())]);
            let (state, events) = step(self.alerting, &self.state, outcome, &own, at)?;
            self.state = state;
            events.iter().for_each(|event| self.note(event, at));
            at += interval;
        }
        Ok(())
    }

    /// When what the expression compares was there.
    fn times_with_data(
        &self,
        range: (i64, i64, i64),
        series: &[(Texts, Vec<(i64, f64)>)],
    ) -> anyhow::Result<BTreeSet<i64>> {
        let times = |series: &[(Texts, Vec<(i64, f64)>)]| {
            series.iter().flat_map(|(_, points)| points.iter().map(|(time, _)| *time)).collect()
        };
        let compared = match self.rule.query.compared() {
            Some(Query::Promql(expr)) => print(&expr),
            Some(Query::Logql(expr)) => query::logql::to_line(&query::logql::Expr::Metric(*expr)),
            _ => return Ok(times(series)),
        };
        Ok(times(&ask(self.client, &compared, self.rule.query.language(), range)?))
    }

    fn candidate(&self, series: &Texts, value: f64, at_ms: i64) -> Candidate {
        let data = Data {
            labels: series.clone(),
            external_labels: Texts::new(),
            external_url: String::new(),
            value: Number::Float(value),
            at_ms,
        };
        let mut labels = series.clone();
        labels.remove("__name__");
        for (name, text) in &self.rule.labels {
            let filled = expand(&self.rule.name, text, &data, &NoQueries);
            labels.insert(name.clone(), filled.unwrap_or_else(|why| format!("<error expanding template: {why}>")));
        }
        labels.insert("alertname".to_owned(), self.rule.name.clone());
        labels.retain(|_, value| !value.is_empty());
        Candidate { labels, value: Some(value), series: series.clone(), ..Candidate::default() }
    }

    fn note(&mut self, Event { from, instance }: &Event, at: i64) {
        let Instance { labels, phase, .. } = instance;
        match (from, phase) {
            (_, Phase::Firing) => self.firings.push((labels.clone(), at, None)),
            (Phase::Firing, Phase::Inactive) => {
                let open = self.firings.iter_mut().rev().find(|(firing, _, until)| firing == labels && until.is_none());
                open.into_iter().for_each(|(_, _, until)| *until = Some(at));
            }
            (Phase::Pending, Phase::Inactive) => self.given_up += 1,
            _ => {}
        }
    }

    fn print(&self, to: i64) {
        let lengths: Vec<i64> = self.firings.iter().map(|(_, from, until)| until.unwrap_or(to) - from).collect();
        let total: i64 = lengths.iter().sum();
        println!("\n{} ({})", self.rule.name, self.group.key.name);
        match lengths.iter().max() {
            None => println!("  would not have fired"),
            Some(longest) => println!(
                "  would have fired {}, for {} in all, {} at most",
                times(self.firings.len()),
                show_span(total),
                show_span(*longest)
            ),
        }
        if self.given_up > 0 {
            println!("  was pending {} without firing", times(self.given_up));
        }
        for (labels, from, until) in &self.firings {
            let shown: Vec<String> = labels
                .iter()
                .filter(|(name, _)| *name != "alertname")
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            let (end, note) = until.map_or((to, " (still firing)"), |until| (until, ""));
            println!(
                "  {} to {}  {}{note}  {{{}}}",
                show_time(*from),
                show_time(end),
                show_span(end - from),
                shown.join(", ")
            );
        }
    }
}

/// The time of one `query` per alert and step would be the server's; labels seldom need it.
struct NoQueries;

impl Querier for NoQueries {
    fn query(&self, _: &str) -> Result<Vec<QueriedSample>, String> {
        Err("a backtest does not answer queries of labels".to_owned())
    }
}

#[derive(Deserialize)]
struct Response {
    data: Matrix,
}

#[derive(Deserialize)]
struct Matrix {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: Texts,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// Labels, and points by milliseconds since 1970.
type Found = Vec<(Texts, Vec<(i64, f64)>)>;

/// A range query; times in milliseconds.
fn ask(
    client: &Client,
    expr: &str,
    language: Language,
    (start, end, interval): (i64, i64, i64),
) -> anyhow::Result<Found> {
    let path = match language {
        Language::Promql => "/api/v1/query_range",
        Language::Logql => "/loki/api/v1/query_range",
        Language::Sql => bail!("a rule in SQL cannot be backtested"),
    };
    let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000));
    let (start, end, interval) = (seconds(start), seconds(end), seconds(interval));
    let parameters = [("query", expr), ("start", start.as_str()), ("end", &end), ("step", &interval)];
    let (body, _) = client.get(path, &parameters)?;
    let response: Response = serde_json::from_str(&body).context("read the server's answer")?;
    let point = |(time, value): (f64, String)| {
        Ok(((time * 1e3).round() as i64, query::logql::units::parse_float(&value).map_err(anyhow::Error::msg)?))
    };
    let series = |one: Series| Ok((one.metric, one.values.into_iter().map(point).collect::<anyhow::Result<_>>()?));
    response.data.result.into_iter().map(series).collect()
}

fn times(count: usize) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn show_span(ms: i64) -> String {
    query::logql::units::format_prometheus_duration(ms.max(0).saturating_mul(1_000_000))
}

fn show_time(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}
