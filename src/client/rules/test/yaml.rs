//! promtool's unit-test file as it stands, and what Farol adds: lines beside series, LogQL beside PromQL.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

use crate::scrape::Lapse;

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileYaml {
    pub(super) rule_files: Vec<String>,
    pub(super) evaluation_interval: Option<Lapse>,
    pub(super) group_eval_order: Vec<String>,
    pub(super) tests: Vec<TestYaml>,
    pub(super) fuzzy_compare: bool,
}

/// Input, and what is expected of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TestYaml {
    pub(super) name: String,
    pub(super) interval: Option<Lapse>,
    pub(super) input_series: Vec<SeriesYaml>,
    /// Farol's: lines.
    pub(super) input_streams: Vec<StreamYaml>,
    pub(super) alert_rule_test: Vec<AlertTestYaml>,
    pub(super) promql_expr_test: Vec<ExprTestYaml>,
    /// Farol's: LogQL over the lines.
    pub(super) logql_expr_test: Vec<ExprTestYaml>,
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) external_url: String,
    #[serde(deserialize_with = "start")]
    pub(super) start_timestamp: i64,
}

/// A series in the notation of PromQL's test scripts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesYaml {
    pub(super) series: String,
    pub(super) values: String,
}

/// Lines of one stream, one an interval from the start on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamYaml {
    /// `{app="x"}`.
    pub(super) stream: String,
    pub(super) lines: Vec<LineYaml>,
}

/// One line, or what stands for several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum LineYaml {
    /// The next line; an empty one leaves its interval out.
    Text(String),
    /// The same line in each of `repeat` intervals, or at a time.
    Full(FullLineYaml),
}

/// A line with more to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FullLineYaml {
    pub(super) line: String,
    /// How often, one an interval.
    #[serde(default = "once")]
    pub(super) repeat: u32,
    /// When, after the start; the lines that follow count on from there.
    #[serde(default)]
    pub(super) at: Option<Lapse>,
    /// Structured metadata.
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

fn once() -> u32 {
    1
}

/// Which alerts of a rule fire at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertTestYaml {
    pub(super) eval_time: Lapse,
    #[serde(default)]
    pub(super) alertname: String,
    #[serde(default)]
    pub(super) exp_alerts: Option<Vec<AlertYaml>>,
}

/// One of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AlertYaml {
    pub(super) exp_labels: Option<BTreeMap<String, String>>,
    pub(super) exp_annotations: Option<BTreeMap<String, String>>,
}

/// What an expression gives at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExprTestYaml {
    pub(super) expr: String,
    pub(super) eval_time: Lapse,
    #[serde(default)]
    pub(super) exp_samples: Option<Vec<SampleYaml>>,
}

/// One sample.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SampleYaml {
    pub(super) labels: String,
    #[serde(deserialize_with = "number")]
    pub(super) value: f64,
    pub(super) histogram: String,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let plain = text.trim_start_matches(['+', '-', '.']).to_ascii_lowercase();
    match plain.as_str() {
        "inf" if text.starts_with('-') => Ok(f64::NEG_INFINITY),
        "inf" => Ok(f64::INFINITY),
        "nan" => Ok(f64::NAN),
        _ => text.replace('_', "").parse().map_err(|_| de::Error::custom(format!("{text:?} is no number"))),
    }
}

/// A time in RFC 3339, or seconds since 1970: milliseconds since 1970.
fn start<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok((seconds * 1e3) as i64);
    }
    chrono::DateTime::parse_from_rfc3339(&text)
        .map(|time| time.timestamp_millis())
        .map_err(|_| de::Error::custom(format!("{text:?} is no time: write it as 2026-01-01T00:00:00Z, or in seconds")))
}
