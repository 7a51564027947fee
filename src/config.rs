//! The configuration: one struct tree with defaults, read from a TOML file, then `FAROL_*` environment variables,
//! then flags. [`load`] lists every mistake at once. Nothing here is global: the tree is handed to who needs it.
//!
//! `docs/configuration.md` describes every key; a test holds it against the tree, so that neither can go without
//! the other.

mod alerts;
mod kept;
mod load;
mod machine;
mod otlp_metrics;
mod text;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use storage::Tenant;

use crate::scrape::{ScrapeConfig, ScrapeConfigError};

pub(crate) use alerts::AlertsConfig;
pub(crate) use kept::{Downsample, TenantKept};
pub(crate) use load::load;
pub(crate) use machine::memory_total_bytes;
pub(crate) use otlp_metrics::{DeltaMode, OtlpMetricsConfig};
pub(crate) use text::{Address, FilePath, OrAuto, OrOff, Size, Span};

/// Every setting. The field names are the keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The folder that holds all data.
    pub(crate) data: PathBuf,
    /// Where the HTTP API listens.
    pub(crate) http: Address,
    /// Where people see this server, for links; `auto` is the address of the HTTP API.
    pub(crate) external_url: OrAuto<String>,
    /// Where OTLP/HTTP listens, besides the HTTP API.
    pub(crate) otlp_http: OrOff<Address>,
    /// Where OTLP/gRPC listens.
    pub(crate) otlp_grpc: OrOff<Address>,
    /// Listen off loopback although nobody has to log in.
    pub(crate) allow_unauthenticated: bool,
    /// Open connections over which no more are accepted, for each address.
    pub(crate) connections_max: usize,
    /// How long running requests may take to end when the server stops.
    pub(crate) stop_timeout: Span,
    /// What the server says about itself.
    pub(crate) log: LogConfig,
    /// How much memory may be used, and for what.
    pub(crate) memory: MemoryConfig,
    /// What is taken in.
    pub(crate) ingest: IngestConfig,
    /// What is fetched.
    pub(crate) scrape: ScrapeSettings,
    /// How OTLP metrics become Prometheus's.
    pub(crate) otlp_metrics: OtlpMetricsConfig,
    /// Who is told of alerts.
    pub(crate) alerts: AlertsConfig,
    /// What is kept.
    pub(crate) storage: StorageConfig,
    /// What is asked.
    pub(crate) query: QueryConfig,
    /// What is watched.
    pub(crate) rules: RulesConfig,
}

/// What the server says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// For people or for machines.
    pub(crate) format: LogFormat,
    /// A level, or directives as `info,storage=debug`.
    pub(crate) level: String,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much memory may be used, and for what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MemoryConfig {
    /// Everything together; `auto` is half of what the machine or the container has.
    pub(crate) total: OrAuto<Size>,
    /// Share for requests that are being taken in and records not yet in segments.
    pub(crate) ingest_percent: u8,
    /// Share for running queries.
    pub(crate) query_percent: u8,
    /// Share for caches.
    pub(crate) cache_percent: u8,
}

/// What is taken in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IngestConfig {
    /// Largest body of a request, as sent and after decompression.
    pub(crate) body_size_max: Size,
    /// How long a sender may take to send a body.
    pub(crate) body_timeout: Span,
    /// Largest record: text and attributes together.
    pub(crate) record_size_max: Size,
    /// Most attributes of a record.
    pub(crate) attributes_max: usize,
    /// Most labels of a stream.
    pub(crate) labels_max: usize,
    /// Longest name of a label.
    pub(crate) label_name_size_max: Size,
    /// Longest value of a label.
    pub(crate) label_value_size_max: Size,
}

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ScrapeSettings {
    /// A file of Prometheus's `scrape_configs`; `auto` is this server alone.
    pub(crate) config: OrOff<OrAuto<FilePath>>,
    /// The tenant that gets what is scraped.
    pub(crate) tenant: String,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StorageConfig {
    /// Records older than this are deleted.
    pub(crate) retention: OrOff<Span>,
    /// All segments together; the oldest are deleted first.
    pub(crate) size_max: OrOff<Size>,
    /// Tenants of which something else is kept.
    pub(crate) tenants: Vec<TenantKept>,
    /// Old days of metrics that keep fewer samples.
    pub(crate) downsample: Vec<Downsample>,
    /// Records in memory before they are written to segments.
    pub(crate) memtable_size: Size,
    /// Longest time that a record waits in memory before it is written to a segment.
    pub(crate) memtable_age: Span,
    /// One file of the journal.
    pub(crate) journal_file_size: Size,
    /// How long an idempotency key is remembered.
    pub(crate) idempotency_window: Span,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct QueryConfig {
    /// A query that takes longer is ended.
    pub(crate) timeout: Span,
    /// Queries that run at once; more wait, then get 429.
    pub(crate) concurrent_max: usize,
    /// Largest `limit` of a query for lines.
    pub(crate) entries_max: usize,
    /// Most points of a series in one answer.
    pub(crate) points_max: usize,
    /// Most series in one answer.
    pub(crate) series_max: usize,
    /// Tails open at once.
    pub(crate) tails_max: usize,
}

/// What is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RulesConfig {
    /// A folder of Prometheus's rule files.
    pub(crate) folder: OrOff<FilePath>,
    /// A folder of Loki's rule files.
    pub(crate) logql_folder: OrOff<FilePath>,
    /// The tenant whose data the rules of files are about.
    pub(crate) tenant: String,
    /// How often a group is evaluated that does not say so.
    pub(crate) interval: Span,
    /// As of how long before its time a group is evaluated that does not say so.
    pub(crate) query_offset: Span,
    /// An evaluation that takes longer is ended.
    pub(crate) timeout: Span,
    /// Rules that are evaluated at once.
    pub(crate) concurrent_max: usize,
    /// How often the notifier is told of what goes on firing.
    pub(crate) resend: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("farol-data"),
            http: Address::from(([127, 0, 0, 1], 7600)),
            external_url: OrAuto::Auto,
            otlp_http: OrOff::Set(Address::from(([127, 0, 0, 1], 4318))),
            otlp_grpc: OrOff::Set(Address::from(([127, 0, 0, 1], 4317))),
            allow_unauthenticated: false,
            connections_max: 4096,
            stop_timeout: Span(Duration::from_secs(30)),
            log: LogConfig::default(),
            memory: MemoryConfig::default(),
            ingest: IngestConfig::default(),
            scrape: ScrapeSettings::default(),
            otlp_metrics: OtlpMetricsConfig::default(),
            alerts: AlertsConfig::default(),
            storage: StorageConfig::default(),
            query: QueryConfig::default(),
            rules: RulesConfig::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { total: OrAuto::Auto, ingest_percent: 30, query_percent: 50, cache_percent: 20 }
    }
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            body_size_max: Size(64 << 20),
            body_timeout: Span(Duration::from_secs(60)),
            record_size_max: Size(2 << 20),
            attributes_max: 2000,
            labels_max: 32,
            label_name_size_max: Size(1024),
            label_value_size_max: Size(2048),
        }
    }
}

impl Default for ScrapeSettings {
    fn default() -> Self {
        Self { config: OrOff::Set(OrAuto::Auto), tenant: Tenant::default().as_str().to_owned() }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            retention: OrOff::Off,
            size_max: OrOff::Off,
            tenants: Vec::new(),
            downsample: Vec::new(),
            memtable_size: Size(88 << 20),
            memtable_age: Span(Duration::from_secs(300)),
            journal_file_size: Size(32 << 20),
            idempotency_window: Span(Duration::from_secs(86_400)),
        }
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            timeout: Span(Duration::from_secs(60)),
            concurrent_max: 16,
            entries_max: 1_000_000,
            points_max: 11_000,
            series_max: 10_000,
            tails_max: 100,
        }
    }
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self {
            folder: OrOff::Off,
            logql_folder: OrOff::Off,
            tenant: Tenant::default().as_str().to_owned(),
            interval: Span(Duration::from_secs(60)),
            query_offset: Span(Duration::ZERO),
            timeout: Span(Duration::from_secs(30)),
            concurrent_max: 8,
            resend: Span(Duration::from_secs(60)),
        }
    }
}

/// The total of memory, split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryShares {
    /// For requests that are being taken in and records not yet in segments.
    pub(crate) ingest_bytes: u64,
    /// For running queries.
    pub(crate) query_bytes: u64,
    /// For caches.
    pub(crate) cache_bytes: u64,
}

impl MemoryConfig {
    /// Splits the total; `machine_bytes` is what the machine has.
    pub(crate) fn shares(&self, machine_bytes: u64) -> MemoryShares {
        let total = match self.total {
            OrAuto::Auto => machine_bytes / 2,
            OrAuto::Set(Size(bytes)) => bytes,
        };
        let share = |percent: u8| total / 100 * u64::from(percent);
        MemoryShares {
            ingest_bytes: share(self.ingest_percent),
            query_bytes: share(self.query_percent),
            cache_bytes: share(self.cache_percent),
        }
    }
}

impl ScrapeSettings {
    /// What is to be scraped, read anew. `own` is where this server answers over HTTP.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn load(&self, own: Address) -> Result<ScrapeConfig, ScrapeConfigError> {
        match &self.config {
            OrOff::Off => Ok(ScrapeConfig::nothing()),
            OrOff::Set(OrAuto::Auto) => Ok(ScrapeConfig::of_itself(own)),
            OrOff::Set(OrAuto::Set(file)) => ScrapeConfig::load(file.as_path()),
        }
    }
}

impl IngestConfig {
    /// For the decoders.
    pub(crate) fn limits(&self) -> ingest::Limits {
        ingest::Limits {
            body_bytes_max: self.body_size_max.0 as usize,
            record_bytes_max: self.record_size_max.0 as usize,
            attributes_max: self.attributes_max,
            labels_max: self.labels_max,
            label_name_bytes_max: self.label_name_size_max.0 as usize,
            label_value_bytes_max: self.label_value_size_max.0 as usize,
            ..ingest::Limits::default()
        }
    }
}

impl Config {
    /// For the store.
    pub(crate) fn store(&self, memory: &MemoryShares) -> storage::StoreConfig {
        let storage = &self.storage;
        storage::StoreConfig {
            memtable_bytes: storage.memtable_size.0 as usize,
            memtable_age: storage.memtable_age.0,
            journal_file_bytes: storage.journal_file_size.0,
            retention: storage.retention.set().map(|span| span.0),
            size_bytes_max: storage.size_max.set().map(|size| size.0),
            tenants: storage
                .tenants
                .iter()
                .filter_map(|own| Some((storage::Tenant::new(&own.tenant).ok()?, own.kept(storage.retention))))
                .collect(),
            downsampling: storage.downsample.iter().map(Downsample::rule).collect(),
            idempotency_window: storage.idempotency_window.0,
            // The other half is for answers.
            cache_bytes: memory.cache_bytes / 2,
            ..storage::StoreConfig::new(&self.data)
        }
    }

    /// For the engine. One query may take half of what all may.
    pub(crate) fn query_limits(&self, memory: &MemoryShares) -> query::QueryLimits {
        query::QueryLimits {
            timeout: self.query.timeout.0,
            memory_bytes: memory.query_bytes,
            query_memory_bytes: memory.query_bytes / 2,
            series_max: self.query.series_max,
            entries_max: self.query.entries_max,
            ..query::QueryLimits::default()
        }
    }

    /// Where people see this server; `own` is where it answers over HTTP.
    pub(crate) fn external_url(&self, own: Address) -> String {
        match &self.external_url {
            OrAuto::Auto => format!("http://{own}"),
            OrAuto::Set(url) => url.trim_end_matches('/').to_owned(),
        }
    }

    /// What is wrong between values that are well-formed each; empty when nothing is.
    pub(crate) fn validate(&self, machine_bytes: u64) -> Vec<String> {
        let mut mistakes = self.address_mistakes();
        let mut wrong = |is_wrong: bool, what: String| {
            if is_wrong {
                mistakes.push(what);
            }
        };
        let (memory, ingest, storage, query) = (&self.memory, &self.ingest, &self.storage, &self.query);
        let filter = tracing_subscriber::EnvFilter::try_new(&self.log.level);
        wrong(filter.is_err(), format!("log.level: {:?} is no level or list of directives", self.log.level));
        let sum = u32::from(memory.ingest_percent) + u32::from(memory.query_percent) + u32::from(memory.cache_percent);
        wrong(sum > 100, format!("memory: the shares for ingest, query and cache add up to {sum} %, over 100 %"));
        let ingest_bytes = memory.shares(machine_bytes).ingest_bytes;
        let needed = storage.memtable_size.0.saturating_add(ingest.body_size_max.0);
        wrong(
            ingest_bytes < needed,
            format!(
                "memory: the share for ingest is {}, less than storage.memtable_size and one ingest.body_size_max ({})",
                Size(ingest_bytes),
                Size(needed)
            ),
        );
        for (name, value) in [
            ("connections_max", self.connections_max),
            ("ingest.attributes_max", ingest.attributes_max),
            ("ingest.labels_max", ingest.labels_max),
            ("query.concurrent_max", query.concurrent_max),
            ("query.entries_max", query.entries_max),
            ("query.points_max", query.points_max),
            ("query.series_max", query.series_max),
        ] {
            wrong(value == 0, format!("{name}: must be at least 1"));
        }
        for (name, value, least) in [
            ("ingest.record_size_max", ingest.record_size_max, Size(1024)),
            ("ingest.body_size_max", ingest.body_size_max, ingest.record_size_max),
            ("ingest.label_name_size_max", ingest.label_name_size_max, Size(16)),
            ("ingest.label_value_size_max", ingest.label_value_size_max, Size(16)),
            ("storage.memtable_size", storage.memtable_size, Size(1 << 20)),
            ("storage.journal_file_size", storage.journal_file_size, Size(1 << 20)),
        ] {
            wrong(value < least, format!("{name}: {value} is too small: at least {least}"));
        }
        wrong(
            ingest.body_size_max > Size(1 << 30),
            format!("ingest.body_size_max: {} is too large: at most 1GiB", ingest.body_size_max),
        );
        for (name, value) in [
            ("storage.memtable_age", storage.memtable_age),
            ("query.timeout", query.timeout),
            ("ingest.body_timeout", ingest.body_timeout),
            ("rules.timeout", self.rules.timeout),
            ("rules.resend", self.rules.resend),
        ] {
            wrong(value.0.is_zero(), format!("{name}: must be longer than 0"));
        }
        wrong(
            self.otlp_metrics.delta_streams_max == 0,
            "otlp_metrics.delta_streams_max: must be at least 1".to_owned(),
        );
        self.otlp_metrics.mistakes().into_iter().for_each(|what| wrong(true, what));
        if let Err(why) = Tenant::new(&self.scrape.tenant) {
            wrong(true, format!("scrape.tenant: {why}"));
        }
        if let Err(why) = Tenant::new(&self.rules.tenant) {
            wrong(true, format!("rules.tenant: {why}"));
        }
        wrong(self.rules.interval.0 < Duration::from_secs(1), "rules.interval: must be at least 1s".to_owned());
        if let Err(why) = self.scrape.load(self.http) {
            wrong(true, format!("scrape.config: {why}"));
        }
        let of_rules = storage.tenants.iter().flat_map(TenantKept::mistakes);
        of_rules.chain(storage.downsample.iter().filter_map(Downsample::mistake)).for_each(|what| wrong(true, what));
        self.alerts.mistakes().into_iter().for_each(|mistake| wrong(true, mistake));
        if let OrAuto::Set(url) = &self.external_url {
            let is_url = url.starts_with("http://") || url.starts_with("https://");
            wrong(!is_url, format!("external_url: {url} is no URL of HTTP"));
        }
        if let OrOff::Set(span) = storage.retention {
            wrong(span.0 < Duration::from_secs(3600), format!("storage.retention: {span} is too short: at least 1h"));
        }
        mistakes
    }

    fn address_mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let addresses: Vec<(&str, Address)> =
            [("http", OrOff::Set(self.http)), ("otlp_http", self.otlp_http), ("otlp_grpc", self.otlp_grpc)]
                .into_iter()
                .filter_map(|(name, address)| Some((name, address.set()?)))
                .collect();
        for (at, (name, address)) in addresses.iter().enumerate() {
            if !address.ip().is_loopback() && !self.allow_unauthenticated {
                mistakes.push(format!(
                    "{name}: {address} can be reached from other machines, and nobody has to log in: listen on \
                     127.0.0.1, or say that you mean it with --allow-unauthenticated"
                ));
            }
            let twin = addresses.iter().take(at).find(|(_, other)| other == address && address.port() != 0);
            if let Some((other, _)) = twin {
                mistakes.push(format!("{name}: {address} is the address of {other} too"));
            }
        }
        mistakes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const MACHINE: u64 = 8 << 30;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Config), expected: &[&str]) {
        let mut config = Config::default();
        change(&mut config);
        let mistakes = config.validate(MACHINE);
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
        for (mistake, part) in mistakes.iter().zip(expected) {
            assert!(mistake.contains(part), "{mistake}");
        }
    }

    #[test]
    fn the_defaults_are_right() {
        check(|_| {}, &[]);
    }

    #[test]
    fn off_loopback_needs_consent() {
        check(|c| c.http = "0.0.0.0:7600".parse().unwrap(), &["http: 0.0.0.0:7600 can be reached"]);
        check(
            |c| {
                c.http = "0.0.0.0:7600".parse().unwrap();
                c.allow_unauthenticated = true;
            },
            &[],
        );
        check(|c| c.http = "[::1]:7600".parse().unwrap(), &[]);
    }

    #[test]
    fn all_mistakes_are_listed() {
        check(
            |c| {
                c.otlp_grpc = c.otlp_http;
                c.memory.query_percent = 90;
                c.query.entries_max = 0;
                c.ingest.body_size_max = Size(100);
                c.storage.retention = OrOff::Set(Span(Duration::from_secs(1)));
            },
            &["address of otlp_http", "140 %", "query.entries_max", "ingest.body_size_max", "storage.retention"],
        );
    }

    #[test]
    fn memory_is_split() {
        let shares = MemoryConfig::default().shares(1000);
        assert_eq!((shares.ingest_bytes, shares.query_bytes, shares.cache_bytes), (150, 250, 100));
        let shares = MemoryConfig { total: OrAuto::Set(Size(200)), ..Default::default() }.shares(1000);
        assert_eq!(shares.query_bytes, 100);
    }

    /// The page names every key with its default and its environment variable, and no other.
    #[test]
    fn the_page_describes_every_key() {
        let page = include_str!("../docs/configuration.md");
        let documented: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let keys = load::keys();
        for (key, default) in &keys {
            let row = format!("| `{key}` | `{}` | `{}` |", load::as_text(default), load::environment_name(key));
            assert!(documented.iter().any(|line| line.starts_with(&row)), "docs/configuration.md lacks: {row}");
        }
        assert_eq!(documented.len(), keys.len(), "docs/configuration.md describes keys that are not there");
    }
}
