//! Groups over time: who is told of what, and when.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use super::*;
use crate::notify::silence::tests::text as silence_text;

const CONFIG: &str = "
route: {receiver: hook, group_by: [job], group_wait: 10s, group_interval: 60s, repeat_interval: 300s,
  routes: [{matchers: [team=b], receiver: quiet}, {matchers: [team=c], mute_time_intervals: [always]}]}
receivers:
- {name: hook, webhook_configs: [{url: 'http://127.0.0.1/'}]}
- {name: quiet, webhook_configs: [{url: 'http://127.0.0.1/', send_resolved: false}]}
inhibit_rules: [{source_matchers: [severity=critical], target_matchers: [severity=warning], equal: [job]}]
time_intervals: [{name: always, time_intervals: [{}]}]
";

/// A tenant whose time can be turned; what is told is noted as `seconds: alerts`.
struct World {
    config: Config,
    state: TenantState,
    now_ms: i64,
    told: Vec<String>,
}

impl World {
    fn new() -> Self {
        let config = Config::parse(CONFIG, Path::new("c.yml")).unwrap();
        Self { config, state: TenantState::default(), now_ms: 0, told: Vec::new() }
    }

    fn alert(&mut self, labels: &str, end_s: Option<i64>) {
        let labels = labels.split(',').filter_map(|pair| pair.split_once('='));
        let alert = Alert {
            labels: labels.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            starts_at_ms: self.now_ms,
            ends_at_ms: end_s.map(|s| s * 1_000),
            updated_at_ms: self.now_ms,
            ..Alert::default()
        };
        let held = Held { alert, is_timeout: false };
        let (merged, _) = self.state.merged(&Tenant::default(), &held, self.now_ms);
        self.state.insert(merged, &self.config, self.now_ms);
    }

    /// Second by second up to a time.
    fn run_until(&mut self, second: i64) -> &mut Self {
        while self.now_ms < second * 1_000 {
            self.now_ms += 1_000;
            let round = self.state.round(&Tenant::default(), &self.config, self.now_ms, 100);
            self.state.settle(&round);
            for queued in round.queued {
                let shown = queued.alerts.iter().map(|alert| {
                    let mark = if alert.ends_at_ms.is_some() { "-" } else { "+" };
                    format!("{mark}{}", alert.labels.get("alertname").unwrap())
                });
                let shown: Vec<String> = shown.collect();
                self.told.push(format!("{}: {}", self.now_ms / 1_000, shown.join(" ")));
            }
        }
        self
    }

    #[track_caller]
    fn check(&mut self, second: i64, told: &[&str]) {
        self.run_until(second);
        assert_eq!(self.told, told);
        self.told.clear();
    }
}

#[test]
fn groups_wait_then_tell_of_changes_then_repeat() {
    let mut world = World::new();
    world.alert("alertname=A,job=x", None);
    world.run_until(5);
    world.alert("alertname=B,job=x", None);
    world.check(9, &[]);
    world.check(12, &["10: +A +B"]);
    world.alert("alertname=C,job=x", None);
    world.check(71, &["70: +A +B +C"]);
    // Told at 70: repeated after more than 300 s, when the group is looked at.
    world.check(431, &["430: +A +B +C"]);
    assert_eq!(world.state.groups.len(), 1);
}

#[test]
fn what_is_over_is_told_and_forgotten() {
    let mut world = World::new();
    world.alert("alertname=A,job=x", None);
    world.alert("alertname=B,job=x", None);
    world.check(20, &["10: +A +B"]);
    world.alert("alertname=A,job=x", Some(20));
    world.check(80, &["70: -A +B"]);
    world.alert("alertname=B,job=x", Some(80));
    world.check(140, &["130: -B"]);
    assert!(world.state.groups.is_empty() && world.state.alerts.is_empty());
    // What begins and is over before anybody was told is not told of.
    world.alert("alertname=A,job=x", Some(145));
    world.check(300, &[]);
    assert!(world.state.alerts.is_empty());
}

#[test]
fn who_wants_no_resolved_gets_none() {
    let mut world = World::new();
    world.alert("alertname=A,job=x,team=b", None);
    world.check(20, &["10: +A"]);
    world.alert("alertname=A,job=x,team=b", Some(20));
    world.check(200, &[]);
    assert!(world.state.alerts.is_empty());
}

#[test]
fn an_alert_that_has_waited_elsewhere_does_not_wait() {
    let mut world = World::new();
    world.run_until(100);
    world.alert("alertname=A,job=x", None);
    let id = *world.state.alerts.keys().next().unwrap();
    let mut late = world.state.alerts[&id].clone();
    world.state = TenantState::default();
    late.alert.starts_at_ms = 0;
    world.state.insert(late, &world.config, world.now_ms);
    world.check(101, &["101: +A"]);
}

#[test]
fn inhibition_silences_and_times_keep_back() {
    let mut world = World::new();
    world.alert("alertname=W,job=x,severity=warning", None);
    world.alert("alertname=Q,job=x,severity=critical", None);
    world.alert("alertname=M,job=y,team=c", None);
    let silence = Silence::new(silence_text(&[("alertname", "S")], 0, 100_000)).unwrap();
    world.state.silences.insert(silence.text.id.clone(), silence);
    world.alert("alertname=S,job=z", None);
    world.check(60, &["10: +Q"]);
    // The critical one is over: the warning is told of as new. The silence ends at 100.
    world.alert("alertname=Q,job=x,severity=critical", Some(60));
    world.check(131, &["70: -Q +W", "130: +S"]);
}

#[test]
fn a_restart_and_a_change_of_routes_tell_nothing_twice() {
    let mut world = World::new();
    world.alert("alertname=A,job=x", None);
    world.check(20, &["10: +A"]);
    let gone = world.state.regroup(&Tenant::default(), &world.config, world.now_ms);
    assert!(gone.is_empty());
    world.check(200, &[]);
    // As after a restart: the group as it was kept, and its alert again.
    let (groups, alerts) = (world.state.groups.clone(), world.state.alerts.clone());
    world.state = TenantState::default();
    world.state.known_groups = groups;
    for held in alerts.into_values() {
        world.state.insert(held, &world.config, world.now_ms);
    }
    world.check(300, &[]);
    world.config =
        Config::parse(&CONFIG.replace("group_by: [job]", "group_by: [alertname]"), Path::new("c.yml")).unwrap();
    assert_eq!(world.state.regroup(&Tenant::default(), &world.config, world.now_ms).len(), 1);
    world.check(311, &["301: +A"]);
}

/// Two reports of one alert, and what they say together: start and end in milliseconds.
#[test]
fn reports_are_merged() {
    let held = |start: i64, end: Option<i64>, updated: i64, is_timeout: bool| Held {
        alert: Alert { starts_at_ms: start, ends_at_ms: end, updated_at_ms: updated, ..Alert::default() },
        is_timeout,
    };
    #[track_caller]
    fn check(old: &Held, new: &Held, expected: (i64, Option<i64>)) {
        let merged = merge(old, new, 100);
        assert_eq!((merged.alert.starts_at_ms, merged.alert.ends_at_ms), expected);
    }
    // It goes on: the earliest start, the end that is expected now.
    check(&held(10, Some(200), 1, true), &held(20, Some(300), 2, true), (10, Some(300)));
    // An end that was said counts more than one that is expected.
    check(&held(10, Some(400), 1, false), &held(20, Some(300), 2, true), (10, Some(400)));
    // It is over.
    check(&held(10, Some(400), 1, true), &held(10, Some(90), 2, false), (10, Some(90)));
    // It fires again, later.
    check(&held(10, Some(50), 1, false), &held(60, None, 2, false), (60, None));
    // Of a rule: it goes on, then it is over.
    check(&held(10, None, 1, false), &held(10, None, 2, false), (10, None));
    check(&held(10, None, 1, false), &held(10, Some(90), 2, false), (10, Some(90)));
}
