//! One of `scrape_configs`, checked, with what it takes over from `global`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ingest::exposition::{Format, HistogramForms};

use super::http::HttpSettings;
use super::text::Lapse;
use super::yaml::{GlobalYaml, JobYaml};
use crate::scrape::discovery::Group;
use crate::scrape::relabel::Rule;

/// A job: targets that are scraped in the same way.
#[derive(Debug)]
pub(crate) struct Job {
    /// The settings with all defaults; two jobs are the same when these are.
    pub(super) yaml: JobYaml,
    /// Where relative paths begin.
    folder: PathBuf,
    /// Its name, which is the label `job` of its targets.
    pub(crate) name: String,
    /// How often its targets are scraped.
    pub(crate) interval: Lapse,
    /// How long a scrape may take.
    pub(crate) timeout: Lapse,
    /// What targets are asked to speak, best first.
    pub(crate) protocols: Vec<Protocol>,
    /// What a target speaks that does not say.
    pub(crate) fallback: Option<Protocol>,
    /// How names are to be written that are not of letters, digits and `_`.
    pub(crate) escaping: String,
    /// Names are letters, digits and `_` alone.
    pub(crate) is_legacy: bool,
    /// What is read of histograms.
    pub(crate) histograms: HistogramForms,
    /// Whether the limits of a scrape are reported with it.
    pub(crate) extra_metrics: bool,
    /// Where a target is asked.
    pub(crate) metrics_path: String,
    /// `http` or `https`.
    pub(crate) scheme: String,
    /// Parameters of the URL.
    pub(crate) params: BTreeMap<String, Vec<String>>,
    /// Labels that a target gives win over its own.
    pub(crate) honor_labels: bool,
    /// Times that a target gives are kept.
    pub(crate) honor_timestamps: bool,
    /// Series with times of their own are marked when they end.
    pub(crate) track_timestamps_staleness: bool,
    /// Targets may pack their answers.
    pub(crate) enable_compression: bool,
    /// Limits; 0 is none.
    pub(crate) limits: JobLimits,
    /// How the targets are asked.
    pub(crate) http: HttpSettings,
    /// Rules for targets.
    pub(crate) relabel: Vec<Rule>,
    /// Rules for series.
    pub(crate) metric_relabel: Vec<Rule>,
    /// Targets that are given.
    pub(crate) static_groups: Vec<Group>,
    /// Targets in files.
    pub(crate) file_discovery: Vec<FileDiscovery>,
    /// Targets from URLs.
    pub(crate) http_discovery: Vec<HttpDiscovery>,
}

/// Limits of a job; 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Prometheus's")]
pub(crate) struct JobLimits {
    pub(crate) body_size: u64,
    pub(crate) samples: u64,
    pub(crate) targets: u64,
    pub(crate) labels: u64,
    pub(crate) label_name_length: u64,
    pub(crate) label_value_length: u64,
    pub(crate) dropped_targets: u64,
}

/// Targets in files.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FileDiscovery {
    /// Patterns of paths.
    pub(crate) files: Vec<PathBuf>,
    /// They are read again after so long, also when they look unchanged.
    pub(crate) refresh_interval: Duration,
}

/// Targets from a URL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HttpDiscovery {
    /// The URL.
    pub(crate) url: String,
    /// How often it is asked.
    pub(crate) refresh_interval: Duration,
    /// How it is asked.
    pub(crate) http: HttpSettings,
}

/// How a target may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Protobuf.
    Proto,
    /// OpenMetrics 1.0.0.
    OpenMetrics1,
    /// OpenMetrics 0.0.1.
    OpenMetrics0,
    /// Text 1.0.0.
    Text1,
    /// Text 0.0.4.
    Text0,
}

impl Protocol {
    const ALL: [(&'static str, Protocol); 5] = [
        ("PrometheusProto", Protocol::Proto),
        ("OpenMetricsText1.0.0", Protocol::OpenMetrics1),
        ("OpenMetricsText0.0.1", Protocol::OpenMetrics0),
        ("PrometheusText1.0.0", Protocol::Text1),
        ("PrometheusText0.0.4", Protocol::Text0),
    ];

    fn parse(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(|(name, _)| name).join(", ");
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, protocol)| protocol).ok_or_else(|| format!("unknown protocol {text:?}; there are {}", names()))
    }

    /// A list without one that comes twice.
    pub(super) fn list(texts: &[String]) -> Result<Vec<Self>, String> {
        let mut list = Vec::with_capacity(texts.len());
        for text in texts {
            let protocol = Self::parse(text).map_err(|why| format!("scrape_protocols: {why}"))?;
            if list.contains(&protocol) {
                return Err(format!("scrape_protocols: {text} is there twice"));
            }
            list.push(protocol);
        }
        if list.is_empty() { Err("scrape_protocols is empty".to_owned()) } else { Ok(list) }
    }

    /// Its media type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Proto => "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            Self::OpenMetrics1 => "application/openmetrics-text;version=1.0.0",
            Self::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
            Self::Text1 => "text/plain;version=1.0.0",
            Self::Text0 => "text/plain;version=0.0.4",
        }
    }

    /// How its bodies are written.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Proto => Format::Protobuf,
            Self::OpenMetrics1 | Self::OpenMetrics0 => Format::OpenMetrics,
            Self::Text1 | Self::Text0 => Format::Text,
        }
    }
}

impl Job {
    /// Checks a job. Relative paths begin at `folder`.
    pub(super) fn new(mut yaml: JobYaml, global: &GlobalYaml, folder: &Path) -> Result<Self, String> {
        let name = yaml.job_name.clone().filter(|name| !name.is_empty()).ok_or("job_name is empty")?;
        take_over(&mut yaml, global);
        let interval = yaml.scrape_interval.filter(|lapse| !lapse.0.is_zero());
        let interval = interval.or(global.scrape_interval).unwrap_or_default();
        let most = global.scrape_timeout.unwrap_or_default().min(interval);
        let timeout = yaml.scrape_timeout.filter(|lapse| !lapse.0.is_zero()).unwrap_or(most);
        (yaml.scrape_interval, yaml.scrape_timeout) = (Some(interval), Some(timeout));
        if interval.0.is_zero() {
            return Err("scrape_interval is 0".to_owned());
        }
        if timeout > interval {
            return Err(format!("scrape_timeout ({timeout}) is greater than scrape_interval ({interval})"));
        }
        if yaml.convert_classic_histograms_to_nhcb == Some(true) {
            return Err("convert_classic_histograms_to_nhcb: Prometheus has this setting, Farol does not".to_owned());
        }
        let native = yaml.scrape_native_histograms.unwrap_or(false);
        let protocols = match &yaml.scrape_protocols {
            Some(given) => Protocol::list(given)?,
            None => Protocol::ALL.into_iter().map(|(_, p)| p).filter(|p| native || *p != Protocol::Proto).collect(),
        };
        let fallback = yaml.fallback_scrape_protocol.as_deref().filter(|text| !text.is_empty());
        let fallback = fallback.map(Protocol::parse).transpose();
        let fallback = fallback.map_err(|why| format!("fallback_scrape_protocol: {why}"))?;
        let is_legacy = is_legacy(yaml.metric_name_validation_scheme.as_deref())?;
        let escaping = yaml.metric_name_escaping_scheme.clone().filter(|scheme| !scheme.is_empty());
        let escaping = escaping.unwrap_or_else(|| if is_legacy { "underscores" } else { "allow-utf-8" }.to_owned());
        if !["allow-utf-8", "underscores", "dots", "values"].contains(&escaping.as_str()) {
            return Err(format!(
                "metric_name_escaping_scheme is allow-utf-8, underscores, dots or values, not {escaping:?}"
            ));
        }
        let relabel = rules("relabel_configs", yaml.relabel_configs.as_deref(), is_legacy)?;
        let metric_relabel = rules("metric_relabel_configs", yaml.metric_relabel_configs.as_deref(), is_legacy)?;
        let static_groups = static_groups(&yaml, !relabel.is_empty())?;
        let scheme = yaml.scheme.get_or_insert_with(|| "http".to_owned()).clone();
        let metrics_path = yaml.metrics_path.get_or_insert_with(|| "/metrics".to_owned()).clone();
        Ok(Self {
            folder: folder.to_owned(),
            interval,
            timeout,
            protocols,
            fallback,
            escaping,
            is_legacy,
            histograms: HistogramForms {
                native,
                always_classic: yaml.always_scrape_classic_histograms.unwrap_or(false),
            },
            extra_metrics: yaml.extra_scrape_metrics.unwrap_or(false),
            metrics_path,
            scheme,
            params: yaml.params.clone().unwrap_or_default(),
            honor_labels: yaml.honor_labels.unwrap_or(false),
            honor_timestamps: yaml.honor_timestamps.unwrap_or(true),
            track_timestamps_staleness: yaml.track_timestamps_staleness.unwrap_or(false),
            enable_compression: yaml.enable_compression.unwrap_or(true),
            limits: limits(&yaml),
            http: HttpSettings::new(&yaml.http_client(), folder)?,
            relabel,
            metric_relabel,
            static_groups,
            file_discovery: file_discovery(&yaml, folder)?,
            http_discovery: http_discovery(&yaml, folder)?,
            name,
            yaml,
        })
    }

    /// Whether two jobs are the same in everything.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.yaml == other.yaml && self.folder == other.folder
    }

    /// What a target is told that it may answer with.
    pub(crate) fn accept(&self) -> String {
        let mut weight = 6;
        let mut accept = String::new();
        for protocol in &self.protocols {
            accept.push_str(protocol.media_type());
            if matches!(protocol, Protocol::Text1 | Protocol::OpenMetrics1) {
                accept.push_str(&format!(";escaping={}", self.escaping));
            }
            accept.push_str(&format!(";q=0.{weight},"));
            weight -= 1;
        }
        accept + &format!("*/*;q=0.{weight}")
    }
}

fn take_over(yaml: &mut JobYaml, global: &GlobalYaml) {
    fn fill<T: Clone>(own: &mut Option<T>, global: Option<&T>) {
        if own.is_none() {
            *own = global.cloned();
        }
    }
    fn fill_limit(own: &mut Option<u64>, global: Option<u64>) {
        *own = own.filter(|&limit| limit != 0).or(global);
    }
    fill(&mut yaml.scrape_protocols, global.scrape_protocols.as_ref());
    fill(&mut yaml.scrape_native_histograms, global.scrape_native_histograms.as_ref());
    fill(&mut yaml.always_scrape_classic_histograms, global.always_scrape_classic_histograms.as_ref());
    fill(&mut yaml.convert_classic_histograms_to_nhcb, global.convert_classic_histograms_to_nhcb.as_ref());
    fill(&mut yaml.extra_scrape_metrics, global.extra_scrape_metrics.as_ref());
    if yaml.metric_name_validation_scheme.is_none() {
        fill(&mut yaml.metric_name_escaping_scheme, global.metric_name_escaping_scheme.as_ref());
    }
    fill(&mut yaml.metric_name_validation_scheme, global.metric_name_validation_scheme.as_ref());
    yaml.body_size_limit = yaml.body_size_limit.filter(|limit| limit.0 != 0).or(global.body_size_limit);
    fill_limit(&mut yaml.sample_limit, global.sample_limit);
    fill_limit(&mut yaml.target_limit, global.target_limit);
    fill_limit(&mut yaml.label_limit, global.label_limit);
    fill_limit(&mut yaml.label_name_length_limit, global.label_name_length_limit);
    fill_limit(&mut yaml.label_value_length_limit, global.label_value_length_limit);
    fill_limit(&mut yaml.keep_dropped_targets, global.keep_dropped_targets);
}

fn limits(yaml: &JobYaml) -> JobLimits {
    JobLimits {
        body_size: yaml.body_size_limit.unwrap_or_default().0,
        samples: yaml.sample_limit.unwrap_or(0),
        targets: yaml.target_limit.unwrap_or(0),
        labels: yaml.label_limit.unwrap_or(0),
        label_name_length: yaml.label_name_length_limit.unwrap_or(0),
        label_value_length: yaml.label_value_length_limit.unwrap_or(0),
        dropped_targets: yaml.keep_dropped_targets.unwrap_or(0),
    }
}

/// Whether names are letters, digits and `_` alone.
pub(super) fn is_legacy(scheme: Option<&str>) -> Result<bool, String> {
    match scheme {
        None | Some("" | "utf8") => Ok(false),
        Some("legacy") => Ok(true),
        Some(other) => Err(format!("metric_name_validation_scheme is utf8 or legacy, not {other:?}")),
    }
}

fn rules(field: &str, yaml: Option<&[Option<super::RuleYaml>]>, is_legacy: bool) -> Result<Vec<Rule>, String> {
    let rule = |(i, rule): (usize, &Option<super::RuleYaml>)| {
        let rule = rule.as_ref().ok_or_else(|| format!("{field}[{i}] is empty"))?;
        Rule::new(rule, is_legacy).map_err(|why| format!("{field}[{i}]: {why}"))
    };
    yaml.unwrap_or_default().iter().enumerate().map(rule).collect()
}

fn static_groups(yaml: &JobYaml, is_relabelled: bool) -> Result<Vec<Group>, String> {
    let mut groups = Vec::new();
    for (i, group) in yaml.static_configs.iter().flatten().enumerate() {
        let group = group.as_ref().ok_or_else(|| format!("static_configs[{i}] is empty"))?;
        let group = Group::new(group, &i.to_string());
        // With rules an address may be anything until they have run.
        if !is_relabelled && let Some(bad) = group.targets.iter().find(|target| target.contains('/')) {
            return Err(format!("static_configs[{i}]: {bad:?} is no host and port"));
        }
        groups.push(group);
    }
    Ok(groups)
}

fn file_discovery(yaml: &JobYaml, folder: &Path) -> Result<Vec<FileDiscovery>, String> {
    let mut all = Vec::new();
    for (i, given) in yaml.file_sd_configs.iter().flatten().enumerate() {
        let files = given.files.as_deref().unwrap_or_default();
        if files.is_empty() {
            return Err(format!("file_sd_configs[{i}]: files is empty"));
        }
        for file in files {
            let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
            let in_folder = file.rsplit_once('/').is_some_and(|(folder, _)| folder.contains('*'));
            if !["json", "yml", "yaml", "JSON", "YML", "YAML"].contains(&extension) || in_folder {
                return Err(format!(
                    "file_sd_configs[{i}]: {file:?} must end in .json, .yml or .yaml and may have * in its last part"
                ));
            }
        }
        all.push(FileDiscovery {
            files: files.iter().map(|file| folder.join(file)).collect(),
            refresh_interval: given.refresh_interval.map_or(Duration::from_secs(300), |lapse| lapse.0),
        });
    }
    Ok(all)
}

fn http_discovery(yaml: &JobYaml, folder: &Path) -> Result<Vec<HttpDiscovery>, String> {
    let mut all = Vec::new();
    for (i, given) in yaml.http_sd_configs.iter().flatten().enumerate() {
        let within = |why: &str| format!("http_sd_configs[{i}]: {why}");
        let url = given.url.clone().filter(|url| !url.is_empty()).ok_or_else(|| within("url is missing"))?;
        let parsed = url::Url::parse(&url).map_err(|error| within(&format!("url: {error}")))?;
        if !["http", "https"].contains(&parsed.scheme()) {
            return Err(within("the scheme of url must be http or https"));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            // It would show in the label __meta_url.
            return Err(within("url names a user: put it into basic_auth"));
        }
        all.push(HttpDiscovery {
            url,
            refresh_interval: given
                .refresh_interval
                .map(|lapse| lapse.0)
                .filter(|lapse| !lapse.is_zero())
                .unwrap_or(Duration::from_secs(60)),
            http: HttpSettings::new(&given.http_client(), folder).map_err(|why| within(&why))?,
        });
    }
    Ok(all)
}
