//! When to try again.

use std::time::{Duration, SystemTime};

use chrono::DateTime;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::scrape::client::Reply;

/// The first pause.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// However long a target wants to be left alone, it is asked again after that.
const TOLD_MAX: Duration = Duration::from_secs(3_600);

/// The pause after so many tries: twice as long each time, up to `pause_max`, and up to a quarter more, which differs between
/// messages so that they do not all come at once.
pub(crate) fn pause(tries: u32, key: &str, pause_max: Duration) -> Duration {
    let doubled = PAUSE_FIRST.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(pause_max);
    let spread = xxh3_64(format!("{key} {tries}").as_bytes()) % 1_000;
    doubled + doubled.mul_f64(spread as f64 / 4_000.0)
}

/// How long a target wants to be left alone: `Retry-After` in seconds or as a time, or what Discord and Telegram say in
/// their answer.
pub(crate) fn told(reply: &Reply, now: SystemTime) -> Option<Duration> {
    let header = reply.headers.get("retry-after").and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = header.and_then(|text| text.parse::<f64>().ok()).or_else(|| {
        let answer: Value = serde_json::from_slice(&reply.body).ok()?;
        answer["retry_after"].as_f64().or_else(|| answer["parameters"]["retry_after"].as_f64())
    });
    let until = || DateTime::parse_from_rfc2822(header?).ok().map(SystemTime::from);
    let wanted = match seconds {
        Some(seconds) if seconds.is_finite() && seconds >= 0.0 => Duration::try_from_secs_f64(seconds).ok(),
        Some(_) => None,
        None => until().map(|until| until.duration_since(now).unwrap_or_default()),
    };
    wanted.map(|wanted| wanted.min(TOLD_MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let max = Duration::from_secs(30);
        let pauses: Vec<Duration> = (1..=20).map(|tries| pause(tries, "k", max)).collect();
        assert!(pauses[0] >= PAUSE_FIRST && pauses[0] < PAUSE_FIRST * 2);
        assert!(pauses[3] >= Duration::from_secs(4) && pauses[3] <= Duration::from_secs(5));
        assert!(pauses.iter().all(|pause| *pause <= max.mul_f64(1.25)));
        assert_ne!(pause(9, "a", max), pause(9, "b", max));
    }

    #[test]
    fn targets_say_how_long() {
        let reply = |header: Option<&str>, body: &str| {
            let mut headers = axum::http::HeaderMap::new();
            headers.extend(header.map(|value| (axum::http::header::RETRY_AFTER, value.parse().unwrap())));
            Reply { status: 429, headers, body: body.to_owned().into() }
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_420);
        let seconds = |header, body| told(&reply(header, body), now).map(|told| told.as_secs());
        assert_eq!(seconds(Some("3"), ""), Some(3));
        assert_eq!(seconds(Some("Wed, 21 Oct 2015 07:28:00 GMT"), ""), Some(60));
        assert_eq!(seconds(None, r#"{"retry_after": 2.5}"#), Some(2));
        assert_eq!(seconds(None, r#"{"parameters": {"retry_after": 7}}"#), Some(7));
        assert_eq!(seconds(Some("999999"), ""), Some(3_600));
        assert_eq!(seconds(Some("-1"), "no JSON"), None);
    }
}
