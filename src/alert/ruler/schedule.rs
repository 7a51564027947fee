//! When a group runs: at multiples of its interval, moved by a part of it that its name decides, so that not all groups
//! run at once and each always at the same times. A run that takes longer than the interval makes those that it covers
//! fall out; two runs of a group never overlap.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use storage::Tenant;
use xxhash_rust::xxh3::xxh3_64;

use super::Ruler;
use super::pass::Pass;
use super::stats::LATE_MS;
use super::watched::{LastRun, Running};
use crate::alert::rule::GroupKey;

/// How far a group's times are from the multiples of its interval.
pub(super) fn offset_ms(tenant: &Tenant, key: &GroupKey, interval_ms: i64) -> i64 {
    let hash = xxh3_64(format!("{tenant}\0{}\0{}", key.namespace, key.name).as_bytes());
    (hash % interval_ms.unsigned_abs().max(1)) as i64
}

/// The first time of a group that is later.
pub(super) fn next_ms(after_ms: i64, interval_ms: i64, offset_ms: i64) -> i64 {
    after_ms - (after_ms - offset_ms).rem_euclid(interval_ms) + interval_ms
}

/// Of the times up to now the last one, and how many before it fell out, when `due_ms` is due.
fn latest(due_ms: i64, now_ms: i64, interval_ms: i64) -> (i64, u64) {
    let missed = (now_ms - due_ms).max(0) / interval_ms;
    (due_ms + missed * interval_ms, missed as u64)
}

/// Runs a group until it is stopped.
pub(super) async fn run(ruler: Arc<Ruler>, running: Arc<Running>) {
    let interval = running.interval_ms;
    let offset = offset_ms(&running.tenant, &running.group.key, interval);
    let now_ms = || ruler.app.clock.now_ns() / 1_000_000;
    let mut due = next_ms(now_ms(), interval, offset);
    loop {
        let wait = Duration::from_millis((due - now_ms()).max(0).unsigned_abs());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = running.stop.cancelled() => return,
        }
        let now = now_ms();
        if now < due {
            continue;
        }
        let (at, missed) = latest(due, now, interval);
        ruler.stats.missed.fetch_add(missed, Ordering::Relaxed);
        run_once(&ruler, &running, at).await;
        due = at + interval;
    }
}

/// One run, for a time.
pub(super) async fn run_once(ruler: &Ruler, running: &Running, at_ms: i64) {
    let _busy = running.busy.lock().await;
    if running.stop.is_cancelled() {
        return;
    }
    let began_ns = ruler.app.clock.now_ns();
    let began = Instant::now();
    let lag_ms = (began_ns / 1_000_000 - at_ms).max(0);
    ruler.stats.lag.observe(Duration::from_millis(lag_ms.unsigned_abs()));
    ruler.stats.runs.fetch_add(1, Ordering::Relaxed);
    if lag_ms > LATE_MS {
        ruler.stats.late.fetch_add(1, Ordering::Relaxed);
    }
    match Pass::new(ruler, running, at_ms) {
        Ok(pass) => pass.run().await,
        Err(error) => tracing::warn!(group = running.group.key.name, "rules are not evaluated: {error}"),
    }
    let took = began.elapsed();
    ruler.stats.run_duration.observe(took);
    running.set_last_run(LastRun { began_ns, took });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_aligned_and_stay() {
        for now in [0, 1, 59_999, 60_000, 1_700_000_012_345] {
            let next = next_ms(now, 60_000, 7_000);
            assert!(next > now && next - now <= 60_000, "{now} {next}");
            assert_eq!(next.rem_euclid(60_000), 7_000);
        }
        assert_eq!(next_ms(7_000, 60_000, 7_000), 67_000);
    }

    #[test]
    fn groups_are_spread() {
        let key = |name: &str| GroupKey { namespace: "a.yml".to_owned(), name: name.to_owned() };
        let offsets: Vec<i64> = (0..100).map(|i| offset_ms(&Tenant::default(), &key(&i.to_string()), 60_000)).collect();
        assert!(offsets.iter().all(|offset| (0..60_000).contains(offset)));
        let in_first_half = offsets.iter().filter(|&&offset| offset < 30_000).count();
        assert!((30..70).contains(&in_first_half), "{in_first_half}");
    }

    #[test]
    fn what_falls_out_is_counted() {
        assert_eq!(latest(1_000, 1_000, 1_000), (1_000, 0));
        assert_eq!(latest(1_000, 1_999, 1_000), (1_000, 0));
        assert_eq!(latest(1_000, 4_500, 1_000), (4_000, 3));
    }
}
