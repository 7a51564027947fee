//! A rule while it is watched, and the group it is in: what is known of them besides what they say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use storage::Tenant;
use tokio_util::sync::CancellationToken;

use super::series::Written;
use crate::alert::rule::{Rule, RuleGroup};
use crate::alert::state::{Labels, RuleState};

/// Who put a group there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// It is in a file.
    File,
    /// It came over HTTP.
    Api,
}

/// A group that is evaluated.
#[derive(Debug)]
pub(crate) struct Running {
    /// Whose it is.
    pub(crate) tenant: Tenant,
    /// Who put it there.
    pub(crate) origin: Origin,
    /// What it says.
    pub(crate) group: Arc<RuleGroup>,
    /// How often it is evaluated, in milliseconds.
    pub(crate) interval_ms: i64,
    /// As of how long before its time, in milliseconds.
    pub(crate) query_offset_ms: i64,
    /// Its rules, in order.
    pub(crate) rules: Vec<Arc<Watched>>,
    /// Ends it.
    pub(super) stop: CancellationToken,
    /// Held while it is evaluated.
    pub(super) busy: tokio::sync::Mutex<()>,
    last: Mutex<LastRun>,
}

/// The last run of a group.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LastRun {
    /// When it began, in nanoseconds since 1970; 0 before the first.
    pub(crate) began_ns: i64,
    /// How long it took.
    pub(crate) took: Duration,
}

/// How a rule's last evaluation went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// There was none.
    #[default]
    Unknown,
    /// Well.
    Ok,
    /// It failed.
    Err,
}

impl Health {
    /// Prometheus's word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Err => "err",
        }
    }
}

/// A rule that is evaluated.
#[derive(Debug)]
pub(crate) struct Watched {
    /// What it says.
    pub(crate) rule: Arc<Rule>,
    status: Mutex<Status>,
}

/// What is known of a rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// Its alerts.
    pub(crate) state: RuleState,
    /// How the last evaluation went.
    pub(crate) health: Health,
    /// Why it failed; empty when it did not.
    pub(crate) last_error: String,
    /// When it was evaluated last, in nanoseconds since 1970.
    pub(crate) last_evaluation_ns: i64,
    /// How long that took.
    pub(crate) took: Duration,
    /// The series that it wrote.
    pub(super) written: Written,
    /// When the notifier was told last, by the alert's labels, in milliseconds since 1970.
    pub(super) told_ms: HashMap<Labels, i64>,
}

impl Watched {
    pub(super) fn new(rule: Arc<Rule>, status: Status) -> Arc<Self> {
        Arc::new(Self { rule, status: Mutex::new(status) })
    }

    /// What is known of it.
    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    pub(super) fn new(
        (tenant, origin): (Tenant, Origin),
        group: Arc<RuleGroup>,
        (interval_ms, query_offset_ms): (i64, i64),
        rules: Vec<Arc<Watched>>,
        stop: CancellationToken,
    ) -> Self {
        let (busy, last) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { tenant, origin, group, interval_ms, query_offset_ms, rules, stop, busy, last }
    }

    /// Its last run.
    pub(crate) fn last_run(&self) -> LastRun {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_last_run(&self, run: LastRun) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = run;
    }
}
