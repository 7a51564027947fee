//! Settings of notifications.

use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{FilePath, OrOff, Span};
use crate::notify;

/// Who is told of alerts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AlertsConfig {
    /// Alertmanager's configuration file.
    pub(crate) config: OrOff<FilePath>,
    /// A notification is tried for so long, then given up.
    pub(crate) retry_for: Span,
    /// The longest pause between two tries.
    pub(crate) retry_pause_max: Span,
    /// How long a target may take to answer.
    pub(crate) delivery_timeout: Span,
    /// Notifications that one target takes at once.
    pub(crate) target_concurrent_max: usize,
    /// How long before its end a silence that still hides something reminds.
    pub(crate) silence_reminder: OrOff<Span>,
    /// The most lines of logs in a notification about one alert.
    pub(crate) lines_max: usize,
    /// A file of regular expressions, one a line: what they match in lines of logs is blackened.
    pub(crate) redact: OrOff<FilePath>,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            config: OrOff::Off,
            retry_for: Span(Duration::from_secs(12 * 3_600)),
            retry_pause_max: Span(Duration::from_secs(30)),
            delivery_timeout: Span(Duration::from_secs(30)),
            target_concurrent_max: 4,
            silence_reminder: OrOff::Set(Span(Duration::from_secs(900))),
            lines_max: 10,
            redact: OrOff::Off,
        }
    }
}

impl AlertsConfig {
    /// For the notifier. Reads the file of what is blackened.
    ///
    /// # Errors
    /// When that cannot be read, or a line of it is no regular expression.
    pub(crate) fn settings(&self, external_url: String) -> Result<notify::Settings, String> {
        let path = |path: &OrOff<FilePath>| match path {
            OrOff::Set(path) => Some(path.as_path().to_owned()),
            OrOff::Off => None,
        };
        let mut redact = Vec::new();
        if let Some(file) = path(&self.redact) {
            let within = |why: String| format!("alerts.redact: {}: {why}", file.display());
            let text = std::fs::read_to_string(&file).map_err(|error| within(error.to_string()))?;
            for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let bad = |_| within(format!("line {}: this is no regular expression", at + 1));
                redact.push(Regex::new(line).map_err(bad)?);
            }
        }
        Ok(notify::Settings {
            config: path(&self.config),
            external_url,
            retry_for: self.retry_for.0,
            retry_pause_max: self.retry_pause_max.0,
            delivery_timeout: self.delivery_timeout.0,
            target_concurrent_max: self.target_concurrent_max.max(1),
            silence_reminder: self.silence_reminder.set().map(|span| span.0),
            redact,
            lines_max: self.lines_max,
        })
    }

    /// What is wrong, files included.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let OrOff::Set(path) = &self.config
            && let Err(error) = notify::config::Config::load(path.as_path())
        {
            mistakes.push(format!("alerts.config: {error}"));
        }
        mistakes.extend(self.settings(String::new()).err());
        for (name, span) in [("delivery_timeout", self.delivery_timeout), ("retry_pause_max", self.retry_pause_max)] {
            if span.0.is_zero() {
                mistakes.push(format!("alerts.{name}: must be longer than 0"));
            }
        }
        if self.target_concurrent_max == 0 {
            mistakes.push("alerts.target_concurrent_max: must be at least 1".to_owned());
        }
        mistakes
    }
}
