//! `scrape_configs` in Prometheus's own YAML: text -> [`yaml`] -> checked [`Job`]s.
//!
//! A field that is not known is an error, and so is a way of discovery that is not there: what is not understood would
//! otherwise not be watched, and nobody would know. Errors name the file, the line and the field, and show no value of
//! one that may be secret.

mod http;
mod job;
mod text;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::labels::{LabelMap, is_label_name};

pub(crate) use http::{Authorization, HttpSettings, Source, TlsSettings};
pub(crate) use job::{FileDiscovery, HttpDiscovery, Job, Protocol};
pub(crate) use text::{Lapse, Secret};
pub(crate) use yaml::{
    AuthorizationYaml, BasicAuthYaml, GroupYaml, HeaderYaml, HttpClientYaml, RuleYaml, TlsYaml, with_http_client,
};
use yaml::{FileYaml, GlobalYaml, JobYaml};

/// What is wrong with the settings of scraping, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ScrapeConfigError(pub(crate) String);

/// What is scraped, checked.
#[derive(Debug, Clone)]
pub(crate) struct ScrapeConfig {
    /// The jobs, in order.
    pub(crate) jobs: Vec<Arc<Job>>,
    /// Labels that tell this server apart; samples are kept without them.
    pub(crate) external_labels: LabelMap,
    yaml: FileYaml,
}

impl ScrapeConfig {
    /// Reads a file, and those that it names in `scrape_config_files`.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub(crate) fn load(path: &Path) -> Result<Self, ScrapeConfigError> {
        let text = read(path)?;
        Self::parse(&text, path)
    }

    /// What the server scrapes when it is told nothing: itself.
    pub(crate) fn of_itself(own: SocketAddr) -> Self {
        let mut ip = own.ip();
        if ip.is_unspecified() {
            ip = if ip.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        }
        let target = SocketAddr::new(ip, own.port()).to_string();
        let group = GroupYaml { targets: Some(vec![target]), labels: None };
        let mut yaml = JobYaml { job_name: Some("farol".to_owned()), ..JobYaml::default() };
        yaml.scrape_interval = Some(Lapse::seconds(15));
        yaml.static_configs = Some(vec![Some(group)]);
        let file = FileYaml { scrape_configs: Some(vec![Some(yaml)]), ..FileYaml::default() };
        Self::check(file, Path::new("default")).unwrap_or_else(|_| Self::nothing())
    }

    /// Without a job.
    pub(crate) fn nothing() -> Self {
        Self { jobs: Vec::new(), external_labels: LabelMap::default(), yaml: FileYaml::default() }
    }

    /// Reads the text of a file. Relative paths in it begin at the folder of `path`.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ScrapeConfigError> {
        Self::check(from_yaml(text, path)?, path)
    }

    fn check(mut yaml: FileYaml, path: &Path) -> Result<Self, ScrapeConfigError> {
        let within = |why: String| ScrapeConfigError(format!("{}: {why}", path.display()));
        let mut global = yaml.global.clone().unwrap_or_default();
        check_global(&mut global).map_err(within)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut found: Vec<(PathBuf, Vec<Option<JobYaml>>)> =
            vec![(path.to_owned(), yaml.scrape_configs.take().unwrap_or_default())];
        for pattern in yaml.scrape_config_files.iter().flatten() {
            for file in glob(&folder.join(pattern)).map_err(within)? {
                let inner: FileYaml = from_yaml(&read(&file)?, &file)?;
                if inner.global.is_some() || inner.scrape_config_files.is_some() {
                    let message = format!("{}: only scrape_configs may stand here", file.display());
                    return Err(ScrapeConfigError(message));
                }
                found.push((file, inner.scrape_configs.unwrap_or_default()));
            }
        }
        let (mut jobs, mut names) = (Vec::new(), BTreeSet::new());
        for (file, several) in found {
            let within = |why: String| ScrapeConfigError(format!("{}: {why}", file.display()));
            for (i, job) in several.into_iter().enumerate() {
                let job = job.ok_or_else(|| within(format!("scrape_configs[{i}] is empty")))?;
                let name = job.job_name.clone().unwrap_or_default();
                let place = if name.is_empty() { format!("scrape_configs[{i}]") } else { format!("job {name:?}") };
                let folder = file.parent().unwrap_or(Path::new(""));
                let job = Job::new(job, &global, folder).map_err(|why| within(format!("{place}: {why}")))?;
                if !names.insert(name) {
                    return Err(within(format!("{place} is there twice")));
                }
                jobs.push(Arc::new(job));
            }
        }
        let external_labels = global.external_labels.iter().flatten().collect();
        yaml.global = Some(global);
        Ok(Self { jobs, external_labels, yaml })
    }

    /// The settings as YAML, with all defaults; every secret is hidden.
    pub(crate) fn to_yaml(&self) -> String {
        let jobs = self.jobs.iter().map(|job| Some(job.yaml.clone())).collect();
        let whole = FileYaml { scrape_configs: Some(jobs), scrape_config_files: None, ..self.yaml.clone() };
        serde_saphyr::to_string(&whole).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

fn check_global(global: &mut GlobalYaml) -> Result<(), String> {
    let interval = *global.scrape_interval.get_or_insert(Lapse::seconds(60));
    if global.scrape_timeout.is_some_and(|timeout| timeout > interval) {
        return Err("global: scrape_timeout is greater than scrape_interval".to_owned());
    }
    global.scrape_timeout.get_or_insert(Lapse::seconds(10).min(interval));
    if let Some(protocols) = &global.scrape_protocols {
        Protocol::list(protocols).map_err(|why| format!("global: {why}"))?;
    }
    let is_legacy = job::is_legacy(global.metric_name_validation_scheme.as_deref())?;
    for (name, value) in global.external_labels.iter_mut().flatten() {
        if !is_label_name(name, is_legacy) {
            return Err(format!("global: {name:?} in external_labels is no label name"));
        }
        *value = expand_environment(value);
    }
    Ok(())
}

/// `$NAME` and `${NAME}` from the environment, `$$` for `$`: in external labels alone, as in Prometheus.
fn expand_environment(value: &str) -> String {
    let mut expanded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, after) = if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            ("", after)
        } else if let Some((name, after)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            (name, after)
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            after.split_at(end)
        };
        if !name.is_empty() {
            expanded.push_str(&std::env::var(name).unwrap_or_default());
        }
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

fn read(path: &Path) -> Result<String, ScrapeConfigError> {
    std::fs::read_to_string(path).map_err(|error| ScrapeConfigError(format!("read {}: {error}", path.display())))
}

/// The files that a pattern stands for, sorted.
pub(crate) fn glob(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let text = pattern.to_str().ok_or_else(|| format!("{} is not UTF-8", pattern.display()))?;
    let found = glob::glob(text).map_err(|error| format!("{text:?} is no pattern of paths: {error}"))?;
    Ok(found.filter_map(Result::ok).collect())
}

/// Reads YAML. The message has the place, and no line of the text: it could hold a secret.
pub(crate) fn from_yaml<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ScrapeConfigError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let location = error.location();
        let message = error.without_snippet().to_string();
        let message = match location {
            Some(at) => {
                let place = format!(" at line {}, column {}", at.line(), at.column());
                format!("{}:{}:{}: {}", path.display(), at.line(), at.column(), explain(message.replace(&place, "")))
            }
            None => format!("{}: {}", path.display(), explain(message)),
        };
        ScrapeConfigError(message)
    })
}

/// Fields of Prometheus's file that are about something else, or about what is not there.
const ELSEWHERE: [&str; 9] =
    ["alerting", "rule_files", "remote_write", "remote_read", "storage", "tracing", "otlp", "runtime", "labels"];
const ABSENT: [&str; 10] = [
    "oauth2",
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
    "query_log_file",
    "scrape_failure_log_file",
    "native_histogram_bucket_limit",
    "native_histogram_min_bucket_factor",
    "sigv4",
];

/// Says of an unknown field what can be said; a list of all that are known would hide it.
fn explain(message: String) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else { return message };
    let field = rest.split('`').next().unwrap_or_default();
    if field.ends_with("_sd_configs") {
        return format!(
            "{field}: this way of discovery is not available; static_configs, file_sd_configs and http_sd_configs are"
        );
    }
    if ABSENT.contains(&field) {
        return format!("{field}: Prometheus has this setting, Farol does not");
    }
    if ELSEWHERE.contains(&field) {
        return format!("{field}: only global, scrape_configs and scrape_config_files may stand in this file");
    }
    format!("unknown field {field:?}")
}

/// Labels that are given in a file.
pub(crate) fn labels_of(given: &BTreeMap<String, String>) -> LabelMap {
    given.iter().collect()
}

#[cfg(test)]
mod tests;
