//! Figures of the evaluation of rules, which `/metrics` renders.

use std::sync::atomic::AtomicU64;

use crate::telemetry::Histogram;

/// A run that begins this much after its time is late, in milliseconds.
pub(crate) const LATE_MS: i64 = 5_000;

/// Figures of all rules.
#[derive(Debug, Default)]
pub(crate) struct RuleStats {
    /// Evaluations of rules.
    pub(crate) evaluations: AtomicU64,
    /// Of these, those that failed.
    pub(crate) failures: AtomicU64,
    /// Runs of groups.
    pub(crate) runs: AtomicU64,
    /// Runs that began late.
    pub(crate) late: AtomicU64,
    /// Runs that fell out because the one before took too long.
    pub(crate) missed: AtomicU64,
    /// How long after its time a run began.
    pub(crate) lag: Histogram,
    /// How long a run of a group took.
    pub(crate) run_duration: Histogram,
    /// How long an evaluation of a rule took.
    pub(crate) rule_duration: Histogram,
    /// Samples that were recorded.
    pub(crate) samples: AtomicU64,
    /// Changes of state.
    pub(crate) transitions: AtomicU64,
    /// States that could not be kept; they are worked out anew with the next run.
    pub(crate) commit_failures: AtomicU64,
    /// Rule files that were broken when they were last read.
    pub(crate) broken_files: AtomicU64,
}
