//! Alertmanager's configuration, its own YAML: text -> [`yaml`] -> a checked [`Config`].
//!
//! A field that is not known is an error, and so is a kind of receiver that is not there: nobody would be told, and nobody
//! would know. Errors name the file, the line and the field, and show no value of one that may be secret.

pub(crate) mod secret;
pub(crate) mod yaml;

mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::inhibit::InhibitRule;
use super::interval::Interval;
use super::route::Route;
use super::target::Target;
use super::template::Templates;
use yaml::FileYaml;

/// Who is told when the configuration names nobody.
pub(crate) const NOBODY: &str = "farol-default";

/// What is wrong with the configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotifyConfigError(pub(crate) String);

/// Whom to tell of what, when.
#[derive(Debug)]
pub(crate) struct Config {
    /// Which alert goes where.
    pub(crate) route: Route,
    /// By name.
    pub(crate) receivers: BTreeMap<String, Receiver>,
    /// Which alert keeps which back.
    pub(crate) inhibit_rules: Vec<InhibitRule>,
    /// Times that routes name.
    pub(crate) intervals: BTreeMap<String, Vec<Interval>>,
    /// How messages are worded.
    pub(crate) templates: Templates,
    /// How long an alert from outside lasts that nobody speaks of.
    pub(crate) resolve_timeout_ms: i64,
    /// The file and those that it names, and what was read of them.
    pub(crate) files: Vec<(PathBuf, String)>,
    yaml: FileYaml,
}

/// Whom to tell, in as many ways as there are integrations.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Where it stands in the file, counted from 0.
    pub(crate) place: usize,
    /// In the order in which Alertmanager asks them.
    pub(crate) integrations: Vec<Arc<Integration>>,
}

/// One way to tell a receiver.
#[derive(Debug)]
pub(crate) struct Integration {
    /// What it is, and its place among those of its kind: `slack/0`.
    pub(crate) name: String,
    /// Whether it is told that alerts are over.
    pub(crate) send_resolved: bool,
    /// How it is told.
    pub(crate) target: Target,
}

impl Integration {
    /// What it is, such as `slack`.
    pub(crate) fn kind(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

impl Config {
    /// Reads a file, and the templates that it names.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub(crate) fn load(path: &Path) -> Result<Self, NotifyConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| NotifyConfigError(format!("read {}: {error}", path.display())))?;
        Self::parse(&text, path)
    }

    /// Reads the text of a file. Relative paths in it begin at the folder of `path`.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, NotifyConfigError> {
        check::check(text, path)
    }

    /// What holds without a file: alerts are listed, nobody is told.
    pub(crate) fn of_nobody() -> Self {
        let route = Route {
            key: "{}".to_owned(),
            id: "{}".to_owned(),
            receiver: NOBODY.to_owned(),
            matchers: Vec::new(),
            group_by: super::route::GroupBy::Names(Vec::new()),
            group_wait_ms: check::GROUP_WAIT_MS,
            group_interval_ms: check::GROUP_INTERVAL_MS,
            repeat_interval_ms: check::REPEAT_INTERVAL_MS,
            mute_times: Vec::new(),
            active_times: Vec::new(),
            goes_on: false,
            routes: Vec::new(),
        };
        Self {
            route,
            receivers: [(NOBODY.to_owned(), Receiver { place: 0, integrations: Vec::new() })].into(),
            inhibit_rules: Vec::new(),
            intervals: BTreeMap::new(),
            templates: Templates::built_in(),
            resolve_timeout_ms: check::RESOLVE_TIMEOUT_MS,
            files: Vec::new(),
            yaml: check::nobody_yaml(),
        }
    }

    /// The configuration as YAML; every secret is hidden.
    pub(crate) fn to_yaml(&self) -> String {
        serde_saphyr::to_string(&self.yaml).unwrap_or_else(|error| format!("# {error}\n"))
    }

    /// Whether what was read is still what the files hold.
    pub(crate) fn is_current(&self, path: &Path) -> bool {
        let same = |(file, text): &(PathBuf, String)| std::fs::read_to_string(file).is_ok_and(|now| now == *text);
        self.files.first().is_some_and(|(file, _)| file == path) && self.files.iter().all(same)
    }

    /// Which of some times is now; `None` if none is.
    pub(crate) fn time_of(&self, names: &[String], now_ms: i64) -> Option<String> {
        let holds = |name: &&String| {
            self.intervals.get(*name).is_some_and(|all| all.iter().any(|interval| interval.contains(now_ms)))
        };
        names.iter().find(holds).cloned()
    }
}
