//! States of alerts: one by one, and as properties against a model that remembers nothing.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000;

fn candidate(name: &str, value: f64) -> Candidate {
    let labels = Labels::from([("alertname".to_owned(), name.to_owned())]);
    Candidate { labels, value: Some(value), ..Candidate::default() }
}

fn own() -> Labels {
    Labels::from([("alertname".to_owned(), "own".to_owned())])
}

fn rule(for_minutes: i64, keep_minutes: i64) -> Alerting {
    let (for_ms, keep_firing_for_ms) = (for_minutes * MINUTE, keep_minutes * MINUTE);
    Alerting { for_ms, keep_firing_for_ms, on_error: Verdict::Keep, ..Alerting::default() }
}

/// Evaluates once a minute, and shows the phases after each evaluation, each alert as a letter of its name and phase.
#[track_caller]
fn check(rule: &Alerting, outcomes: &[Outcome], expected: &[&str]) {
    let mut state = RuleState::default();
    let mut shown = Vec::new();
    for (minute, outcome) in outcomes.iter().enumerate() {
        state = step(rule, &state, outcome.clone(), &own(), minute as i64 * MINUTE).unwrap().0;
        let one = |i: &Instance| {
            let reason = i.labels.get(REASON).map_or("", String::as_str);
            format!("{}{reason}:{}", i.labels["alertname"], i.phase.as_str().chars().next().unwrap())
        };
        shown.push(state.instances.iter().map(one).collect::<Vec<_>>().join(" "));
    }
    assert_eq!(shown, expected);
}

fn holds(names: &str) -> Outcome {
    Outcome::Holds(names.split_whitespace().map(|name| candidate(name, 1.0)).collect())
}

#[test]
fn alerts_wait_fire_and_resolve() {
    let on = || holds("a");
    check(&rule(2, 0), &[on(), on(), on(), holds(""), on()], &["a:p", "a:p", "a:f", "a:i", "a:p"]);
    check(&rule(0, 0), &[on(), holds(""), holds("b")], &["a:f", "a:i", "a:i b:f"]);
    check(&rule(2, 0), &[on(), holds(""), on(), on(), on()], &["a:p", "", "a:p", "a:p", "a:f"]);
}

#[test]
fn firing_alerts_are_kept() {
    let outcomes = [holds("a"), holds(""), holds("a"), holds(""), holds(""), holds("")];
    check(&rule(0, 2), &outcomes, &["a:f", "a:f", "a:f", "a:f", "a:f", "a:i"]);
}

#[test]
fn resolved_alerts_are_forgotten_after_a_while() {
    let mut outcomes = vec![holds("a")];
    outcomes.resize(18, holds(""));
    let mut expected = vec!["a:f"];
    expected.resize(17, "a:i");
    expected.push("");
    check(&rule(0, 0), &outcomes, &expected);
}

#[test]
fn verdicts_on_no_data_and_errors() {
    let failed = || Outcome::Failed("why".to_owned());
    let with = |no_data, on_error| Alerting { no_data, on_error, ..rule(1, 0) };
    let outcomes = [holds("a"), holds("a"), Outcome::NoData, Outcome::NoData, failed(), failed(), holds("a")];
    let keep = ["a:p", "a:f", "a:f", "a:f", "a:f", "a:f", "a:f"];
    check(&with(Verdict::Keep, Verdict::Keep), &outcomes, &keep);
    let ok = ["a:p", "a:f", "a:i", "a:i", "a:i", "a:i", "a:p"];
    check(&with(Verdict::Ok, Verdict::Ok), &outcomes, &ok);
    let alert = [
        "a:p",
        "a:f",
        "a:i ownno_data:p",
        "a:i ownno_data:f",
        "a:i ownerror:p ownno_data:i",
        "a:i ownerror:f ownno_data:i",
        "a:p ownerror:i ownno_data:i",
    ];
    check(&with(Verdict::Alert, Verdict::Alert), &outcomes, &alert);
    let error_keeps_others = ["a:p", "a:f", "a:f ownerror:p"];
    check(&with(Verdict::Ok, Verdict::Alert), &[holds("a"), holds("a"), failed()], &error_keeps_others);
}

#[test]
fn the_same_labels_twice_are_an_error() {
    let twice = Outcome::Holds(vec![candidate("a", 1.0), candidate("a", 2.0)]);
    assert_eq!(step(&rule(0, 0), &RuleState::default(), twice, &own(), 0), Err(DuplicateLabels));
}

#[test]
fn states_come_back_from_their_text() {
    let mut instance =
        Instance { value: Some(f64::NEG_INFINITY), lines: vec![(7, "x".to_owned())], ..Instance::default() };
    instance.labels.insert("a".to_owned(), "b".to_owned());
    let state = RuleState { instances: vec![instance, Instance::default()] };
    let text = serde_json::to_vec(&state).unwrap();
    assert_eq!(serde_json::from_slice::<RuleState>(&text).unwrap(), state);
}

/// What was observed at one evaluation of a rule with one possible alert.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Holds,
    Not,
    Failed,
}

/// The phase after the last of the evaluations, told from the whole of them, without a state: errors count as if there
/// had been no evaluation.
fn model(rule: &Alerting, seen: &[(i64, Seen)]) -> Phase {
    let known: Vec<(i64, bool)> =
        seen.iter().filter(|(_, s)| *s != Seen::Failed).map(|(at, s)| (*at, *s == Seen::Holds)).collect();
    // An alert lasts from the evaluation where its condition first holds to the first one where it is over.
    let mut at = 0;
    let mut last = Phase::Inactive;
    while let Some(start) = (at..known.len()).find(|&i| known[i].1) {
        let broken = (start..known.len()).find(|&i| !known[i].1).unwrap_or(known.len());
        let fired = (start..broken).find(|&i| known[i].0 - known[start].0 >= rule.for_ms);
        let Some(fired) = fired else {
            last = if broken == known.len() { Phase::Pending } else { Phase::Inactive };
            at = broken;
            continue;
        };
        let is_over = |i: &usize| {
            let quiet_since = (fired..=*i).rev().take_while(|&j| !known[j].1).last();
            quiet_since.is_some_and(|since| known[*i].0 - known[since].0 >= rule.keep_firing_for_ms)
        };
        match (fired..known.len()).find(is_over) {
            Some(over) => (at, last) = (over, Phase::Inactive),
            None => return Phase::Firing,
        }
    }
    last
}

proptest! {
    /// Whatever is observed when, with restarts in between, the alert is what the model says; and its changes, one after
    /// the other, lead there.
    #[test]
    fn behaves_as_the_model(
        for_minutes in 0..6_i64,
        keep_minutes in 0..6_i64,
        observations in prop::collection::vec((1..4_i64, 0..10_u8, any::<bool>()), 1..60),
    ) {
        let rule = rule(for_minutes, keep_minutes);
        let (mut state, mut seen, mut at, mut told) = (RuleState::default(), Vec::new(), 0, Phase::Inactive);
        for (minutes, what, restart) in observations {
            at += minutes * MINUTE;
            let (what, outcome) = match what {
                0..=5 => (Seen::Holds, holds("a")),
                6..=8 => (Seen::Not, holds("")),
                _ => (Seen::Failed, Outcome::Failed(String::new())),
            };
            seen.push((at, what));
            if restart {
                state = serde_json::from_slice(&serde_json::to_vec(&state).unwrap()).unwrap();
            }
            let (after, events) = step(&rule, &state, outcome, &own(), at).unwrap();
            for event in &events {
                prop_assert_eq!(event.from, told);
                prop_assert_ne!(event.from, event.instance.phase);
                told = event.instance.phase;
            }
            state = after;
            prop_assert_eq!(state.phase(), model(&rule, &seen), "{:?}", seen);
            prop_assert_eq!(told, state.phase());
        }
    }

    /// Alerts do not meddle with each other: together they are what each is alone.
    #[test]
    fn alerts_are_independent(observations in prop::collection::vec(0..8_u8, 1..40)) {
        let rule = rule(2, 3);
        let (mut all, mut alone) = (RuleState::default(), [RuleState::default(), RuleState::default(), RuleState::default()]);
        for (minute, bits) in observations.iter().enumerate() {
            let at = minute as i64 * MINUTE;
            let of = |bit: usize| (bits >> bit & 1 == 1).then(|| candidate(["a", "b", "c"][bit], 1.0));
            all = step(&rule, &all, Outcome::Holds((0..3).filter_map(of).collect()), &own(), at).unwrap().0;
            for (bit, state) in alone.iter_mut().enumerate() {
                *state = step(&rule, state, Outcome::Holds(of(bit).into_iter().collect()), &own(), at).unwrap().0;
            }
            let together: Vec<Instance> = alone.iter().flat_map(|state| state.instances.clone()).collect();
            prop_assert_eq!(&all.instances, &together);
        }
    }
}
