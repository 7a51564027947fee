//! What time it is. It arrives by argument, so that a test can set it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Debug + Send + Sync {
    /// Nanoseconds since 1970, UTC.
    fn now_ns(&self) -> i64;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    fn now_ns(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
        }
    }
}

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct SettableClock(AtomicI64);

impl SettableClock {
    /// A clock that shows `now_ns`.
    pub fn new(now_ns: i64) -> Self {
        Self(AtomicI64::new(now_ns))
    }

    /// Shows `now_ns` from here on.
    pub fn set(&self, now_ns: i64) {
        self.0.store(now_ns, Ordering::SeqCst);
    }

    /// Moves on by `ns`, or back when it is negative.
    pub fn advance(&self, ns: i64) {
        self.0.fetch_add(ns, Ordering::SeqCst);
    }
}

impl Clock for SettableClock {
    fn now_ns(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settable_clock_shows_what_it_was_set_to() {
        let clock = SettableClock::new(5);
        clock.advance(-7);
        assert_eq!(clock.now_ns(), -2);
        clock.set(9);
        assert_eq!(clock.now_ns(), 9);
    }

    #[test]
    fn the_system_clock_is_past_2020() {
        assert!(SystemClock.now_ns() > 1_577_836_800_000_000_000);
    }
}
