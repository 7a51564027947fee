//! A target: what is found of it, the labels that rules make of that, its URL, and how its last scrape went.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHasher;
use storage::metrics::MetricKind;

use super::config::{Job, Lapse};
use super::discovery::Group;
use super::labels::LabelMap;
use super::relabel;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM: &str = "__param_";
const META: &str = "__meta_";
const NATIVE_HISTOGRAMS: &str = "__scrape_native_histograms__";
const CLASSIC_HISTOGRAMS: &str = "__always_scrape_classic_histograms__";

/// A place that is scraped.
#[derive(Debug)]
pub(crate) struct Target {
    /// All labels after the rules.
    labels: LabelMap,
    /// Those that go with its samples.
    pub(crate) public: LabelMap,
    /// Where it is asked.
    pub(crate) url: String,
    /// How often it is scraped.
    pub(crate) interval: Lapse,
    /// How long a scrape may take.
    pub(crate) timeout: Lapse,
    /// Whether native histograms are read of it.
    pub(crate) native_histograms: bool,
    /// Whether classic histograms are read also beside native ones.
    pub(crate) classic_histograms: bool,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    discovered: LabelMap,
    status: Status,
    metadata: BTreeMap<String, About>,
}

/// How the last scrape of a target went.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Status {
    /// Whether it answers.
    pub(crate) health: Health,
    /// Why it does not; empty when it does.
    pub(crate) last_error: String,
    /// When it was scraped last, in nanoseconds since 1970.
    pub(crate) last_scrape_ns: Option<i64>,
    /// How long that took.
    pub(crate) last_duration: Duration,
}

/// Whether a target answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub(crate) enum Health {
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    /// Prometheus's word for it.
    pub(crate) fn as_str(self) -> &'static str {
        ["unknown", "up", "down"][self as usize]
    }
}

/// What a target says of a metric.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// What it is.
    pub(crate) kind: MetricKind,
    /// What it means.
    pub(crate) help: String,
    /// What it is counted in.
    pub(crate) unit: String,
}

/// What becomes of something that was found.
#[derive(Debug)]
pub(crate) enum Made {
    /// A target.
    Target(Box<Target>),
    /// Nothing, because a rule drops it; these are its labels before the rules.
    Dropped(LabelMap),
}

impl Target {
    /// Makes a target of an address that was found.
    ///
    /// # Errors
    /// When it cannot be scraped with the labels that the rules leave it.
    pub(crate) fn make(job: &Job, group: &Group, address: &str) -> Result<Made, String> {
        let discovered = discovered(job, group, address);
        let mut labels = discovered.clone();
        if !relabel::apply(&job.relabel, &mut labels) {
            return Ok(Made::Dropped(discovered));
        }
        let address = labels.get(ADDRESS).to_owned();
        if address.is_empty() {
            return Err("no address".to_owned());
        }
        if address.contains('/') {
            return Err(format!("{address:?} is no host and port"));
        }
        let lapse = |name: &str, what: &str| match Lapse::parse(labels.get(name)) {
            Ok(lapse) if lapse.0.is_zero() => Err(format!("scrape {what} is 0")),
            Ok(lapse) => Ok(lapse),
            Err(why) => Err(format!("scrape {what}: {why}")),
        };
        let (interval, timeout) = (lapse(INTERVAL, "interval")?, lapse(TIMEOUT, "timeout")?);
        if timeout > interval {
            return Err(format!("scrape timeout ({timeout}) is greater than scrape interval ({interval})"));
        }
        let flag = |name: &str, default: bool| match labels.get(name) {
            "" => Ok(default),
            "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
            "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
            other => Err(format!("{name} is true or false, not {other:?}")),
        };
        let native_histograms = flag(NATIVE_HISTOGRAMS, job.histograms.native)?;
        let classic_histograms = flag(CLASSIC_HISTOGRAMS, job.histograms.always_classic)?;
        labels.retain(|name| !name.starts_with(META));
        labels.set_default("instance", address);
        Ok(Made::Target(Box::new(Self {
            url: url(job, &labels),
            public: labels.public(),
            interval,
            timeout,
            native_histograms,
            classic_histograms,
            labels,
            state: Mutex::new(State { discovered, ..State::default() }),
        })))
    }

    /// The same for the same labels and URL.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = FxHasher::default();
        self.labels.hash(&mut hasher);
        self.url.hash(&mut hasher);
        hasher.finish()
    }

    /// How the last scrape went.
    pub(crate) fn status(&self) -> Status {
        self.state().status.clone()
    }

    /// Says how a scrape went.
    pub(crate) fn report(&self, status: Status) {
        self.state().status = status;
    }

    /// Its labels before the rules.
    pub(crate) fn discovered(&self) -> LabelMap {
        self.state().discovered.clone()
    }

    /// The same target was found again, perhaps with other labels before the rules.
    pub(crate) fn found_again(&self, other: &Self) {
        let discovered = other.discovered();
        self.state().discovered = discovered;
    }

    /// Goes on from what was known of the same target before.
    pub(crate) fn take_over(&self, before: &Self) {
        let State { status, metadata, .. } = before.state().clone();
        let mut state = self.state();
        state.status = status;
        state.metadata = metadata;
    }

    /// What it says of its metrics.
    pub(crate) fn metadata(&self) -> BTreeMap<String, About> {
        self.state().metadata.clone()
    }

    /// What it says of its metrics now.
    pub(crate) fn set_metadata(&self, metadata: BTreeMap<String, About>) {
        self.state().metadata = metadata;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn discovered(job: &Job, group: &Group, address: &str) -> LabelMap {
    let mut labels = group.labels.clone();
    labels.set(ADDRESS, address);
    for (name, value) in [
        ("job", job.name.clone()),
        (INTERVAL, job.interval.to_string()),
        (TIMEOUT, job.timeout.to_string()),
        (PATH, job.metrics_path.clone()),
        (SCHEME, job.scheme.clone()),
        (NATIVE_HISTOGRAMS, job.histograms.native.to_string()),
        (CLASSIC_HISTOGRAMS, job.histograms.always_classic.to_string()),
    ] {
        labels.set_default(name, value);
    }
    for (name, values) in &job.params {
        if let Some(first) = values.first() {
            labels.set_default(&format!("{PARAM}{name}"), first.as_str());
        }
    }
    labels
}

fn url(job: &Job, labels: &LabelMap) -> String {
    let mut params = job.params.clone();
    for (name, value) in labels.iter() {
        if let Some(name) = name.strip_prefix(PARAM) {
            let values = params.entry(name.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => value.clone_into(first),
                None => values.push(value.to_owned()),
            }
        }
    }
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, values) in &params {
        for value in values {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    let path = labels.get(PATH);
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    // A question mark is a part of the path: parameters have a setting of their own.
    let path = path.replace('?', "%3F").replace('#', "%23").replace(' ', "%20");
    format!("{}://{}{slash}{path}{mark}{query}", labels.get(SCHEME), labels.get(ADDRESS))
}
