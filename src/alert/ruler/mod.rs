//! All groups of rules: started, changed while they run, and seen by the API.
//!
//! Flow: groups of files ([`folder`]) and from HTTP ([`stored`]) -> a task a group ([`schedule`]) -> a run ([`pass`]) -> samples
//! to the store, states and alerts to the catalog in one transaction ([`commit`]), then to the notifier and the history.
//! Promise: a state that was told is kept, and is the same after a kill; a rule that goes away resolves what it fires.

mod change;
mod commit;
pub(crate) mod document;
mod folder;
mod lanes;
mod link;
mod pass;
pub(crate) mod records;
mod restore;
mod schedule;
mod series;
mod stored;
mod watched;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use storage::Tenant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::rule::{GroupKey, Language};
use super::stats;
use super::stats::RuleStats;
use crate::app::App;
use crate::notify::Alertmanager;

use commit::Committer;
use document::StateDocument;
use folder::Files;
use lanes::Lanes;
pub(crate) use watched::{Origin, Running, Watched};

/// What the server's settings say about rules.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Folders of rule files, each with the language of groups that do not say theirs.
    pub(crate) folders: Vec<(PathBuf, Language)>,
    /// Whose the rules of files are.
    pub(crate) tenant: Tenant,
    /// How often a group is evaluated that does not say so itself, in milliseconds.
    pub(crate) interval_ms: i64,
    /// As of how long before, in milliseconds.
    pub(crate) query_offset_ms: i64,
    /// How long one evaluation may take.
    pub(crate) timeout: Duration,
    /// Rules that are evaluated at once.
    pub(crate) concurrent_max: usize,
    /// Where this server is seen.
    pub(crate) external_url: Arc<str>,
    /// How often the notifier is told of what goes on firing, in milliseconds.
    pub(crate) resend_ms: i64,
}

/// Evaluates rules.
pub(crate) struct Ruler {
    app: App,
    pub(crate) settings: Settings,
    lanes: Lanes,
    committer: Committer,
    groups: RwLock<BTreeMap<Place, Arc<Running>>>,
    /// One change of groups at a time.
    changing: tokio::sync::Mutex<()>,
    /// States from before the start whose rules are not there (yet).
    restored: Mutex<HashMap<(Tenant, String), StateDocument>>,
    files: tokio::sync::Mutex<Files>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Figures.
    pub(crate) stats: RuleStats,
}

/// Where a group is.
type Place = (Tenant, Origin, GroupKey);

impl std::fmt::Debug for Ruler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ruler").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Ruler {
    /// Takes up the states of before, reads all rules, and begins to evaluate them. It ends with `stop`.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub(crate) async fn start(app: &App, settings: Settings, stop: CancellationToken) -> anyhow::Result<Arc<Self>> {
        let house = app.house().map_err(|error| anyhow::anyhow!(error.message))?;
        let ruler = Arc::new(Self {
            app: Arc::clone(app),
            lanes: Lanes::new(settings.concurrent_max),
            settings,
            committer: Committer::start(Arc::clone(&house.store)),
            groups: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            restored: Mutex::default(),
            files: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            stop,
            stats: RuleStats::default(),
        });
        ruler.restore().await?;
        ruler.load_stored().await?;
        let all_read = ruler.read_folders(true).await;
        if all_read {
            ruler.forget_unclaimed().await;
        }
        ruler.tasks.spawn(Arc::clone(&ruler).watch_folders());
        Ok(ruler)
    }

    /// Waits, after the stop, until no rule is being evaluated.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The groups of a tenant, by namespace and name.
    pub(crate) fn groups(&self, tenant: &Tenant) -> Vec<Arc<Running>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<Arc<Running>> = groups.values().filter(|group| group.tenant == *tenant).cloned().collect();
        found.sort_by(|a, b| a.group.key.cmp(&b.group.key));
        found
    }

    /// A rule, by its id, and the group it is in.
    pub(crate) fn rule(&self, tenant: &Tenant, id: &str) -> Option<(Arc<Running>, Arc<Watched>)> {
        self.groups(tenant).into_iter().find_map(|group| {
            let rule = group.rules.iter().find(|watched| watched.rule.id == id).cloned();
            rule.map(|rule| (group, rule))
        })
    }

    /// How many groups and rules there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        (groups.len(), groups.values().map(|group| group.rules.len()).sum())
    }

    /// How many alerts are pending and firing.
    pub(crate) fn alert_counts(&self) -> (usize, usize) {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let (mut pending, mut firing) = (0, 0);
        for watched in groups.values().flat_map(|group| &group.rules) {
            for instance in watched.status().state.active() {
                match instance.phase {
                    super::state::Phase::Pending => pending += 1,
                    _ => firing += 1,
                }
            }
        }
        (pending, firing)
    }

    /// Labels that tell this server apart, from the settings of scraping.
    pub(crate) fn external_labels(&self) -> Arc<BTreeMap<String, String>> {
        let labels = self.app.scrape().map(|scrape| scrape.external_labels()).unwrap_or_default();
        Arc::new(labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Who is told of alerts.
    pub(crate) fn notifier(&self) -> Option<&Arc<Alertmanager>> {
        self.app.notifier().ok()
    }

    fn restored(&self) -> MutexGuard<'_, HashMap<(Tenant, String), StateDocument>> {
        self.restored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first time of a group that is later than this, in milliseconds since 1970.
pub(crate) fn next_time(running: &Running, after_ms: i64) -> i64 {
    let offset = schedule::offset_ms(&running.tenant, &running.group.key, running.interval_ms);
    schedule::next_ms(after_ms, running.interval_ms, offset)
}
