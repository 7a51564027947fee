//! A message about a group of alerts, on its way to be worded for a target.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::data::Data;
use super::template::Templates;

/// A message.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// What is told.
    pub(crate) data: Data,
    /// How things are worded.
    pub(crate) templates: &'a Templates,
    /// Which group, in Alertmanager's words.
    pub(crate) group_key: String,
    /// Stands for this message alone: a second try has the same.
    pub(crate) key: String,
    /// When it was put in the queue, in milliseconds since 1970.
    pub(crate) created_ms: i64,
}

impl Message<'_> {
    /// Whether an alert fires.
    pub(crate) fn is_firing(&self) -> bool {
        self.data.status() == "firing"
    }

    /// Stands for the group, for services that want a short name.
    pub(crate) fn group_id(&self) -> String {
        format!("{:032x}", xxh3_128(self.group_key.as_bytes()))
    }

    /// When it was put in the queue.
    pub(crate) fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(u64::try_from(self.created_ms).unwrap_or_default())
    }

    /// A template, filled.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub(crate) fn text(&self, template: &str) -> Result<String, String> {
        // Most settings are no template at all.
        if !template.contains("{{") {
            return Ok(template.to_owned());
        }
        self.templates.text(template, &self.data, self.created_ms)
    }

    /// A template, filled, with what is not HTML escaped.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub(crate) fn html(&self, template: &str) -> Result<String, String> {
        if !template.contains("{{") {
            return Ok(template.to_owned());
        }
        self.templates.html(template, &self.data, self.created_ms)
    }

    /// A JSON value in which every text is a template, filled.
    ///
    /// # Errors
    /// What is wrong with a template.
    pub(crate) fn fill(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => self.text(text)?.into(),
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect::<Result<Vec<_>, _>>()?.into(),
            Value::Object(members) => {
                let filled = members.iter().map(|(name, value)| Ok((self.text(name)?, self.fill(value)?)));
                Value::Object(filled.collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }

    /// Alertmanager's message of version 4, with at most so many alerts.
    pub(crate) fn version_4(&self, alerts_max: Option<usize>) -> Value {
        self.data.version_4(&self.group_key, alerts_max)
    }
}
