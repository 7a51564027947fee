//! All jobs: started, changed while they run, and seen by the API.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHasher;
use storage::Clock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::ScrapeConfig;
use super::labels::LabelMap;
use super::pool::{self, PoolHandle, Seen, Shared};
use super::rounds::{Means, Sink};
use super::target::About;

/// Scrapes the targets of all jobs.
pub(crate) struct ScrapeManager {
    shared: Shared,
    /// Where this server answers, for URLs that are shown.
    own: Own,
    state: Mutex<State>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

struct State {
    config: Arc<ScrapeConfig>,
    pools: Vec<PoolHandle>,
}

/// Where a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    /// Its name, as others know it.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
}

/// The targets of one job.
#[derive(Debug)]
pub(crate) struct PoolTargets {
    /// The job's name.
    pub(crate) pool: String,
    /// Its targets.
    pub(crate) seen: Seen,
}

impl ScrapeManager {
    /// Starts to scrape. Batches go to `sink`, one a scrape; everything ends with `shutdown`. `own` is where this server
    /// answers over HTTP.
    pub(crate) fn start(
        config: ScrapeConfig,
        own: SocketAddr,
        sink: Sink,
        clock: Arc<dyn Clock>,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = if host.trim().is_empty() { "localhost" } else { host.trim() }.to_owned();
        let mut hasher = FxHasher::default();
        hasher.write(host.as_bytes());
        let means = Means { sink, clock, seed: hasher.finish() };
        let shared = Shared { means, departed: Arc::default(), tasks: TaskTracker::new(), shutdown };
        let pools = config.jobs.iter().map(|job| pool::start(Arc::clone(job), &shared, Vec::new())).collect();
        Arc::new(Self {
            shared,
            own: Own { host, port: own.port() },
            state: Mutex::new(State { config: Arc::new(config), pools }),
            reloading: tokio::sync::Mutex::new(()),
        })
    }

    /// Takes other settings. Jobs that stay the same go on undisturbed; targets that stay the same keep what is known of
    /// them.
    pub(crate) async fn reload(self: &Arc<Self>, config: ScrapeConfig) {
        let manager = Arc::clone(self);
        // On a task of its own: whoever asked for it may go away, and half a reload would lose targets.
        let reloaded = self.shared.tasks.spawn(async move { manager.reload_now(config).await });
        if reloaded.await.is_err() {
            tracing::error!("the reload of what is scraped ended in a panic");
        }
    }

    async fn reload_now(&self, config: ScrapeConfig) {
        let _one = self.reloading.lock().await;
        if self.shared.shutdown.is_cancelled() {
            return;
        }
        let old = std::mem::take(&mut self.state().pools);
        let is_same = |pool: &PoolHandle| config.jobs.iter().any(|job| job.is_same(&pool.job));
        let (mut kept, changed): (Vec<_>, Vec<_>) = old.into_iter().partition(is_same);
        let mut before = BTreeMap::new();
        for pool in changed {
            before.insert(pool.job.name.clone(), pool.view.get().active);
            pool.stop().await;
        }
        let mut pools = Vec::with_capacity(config.jobs.len());
        for job in &config.jobs {
            pools.push(match kept.iter().position(|pool| pool.job.name == job.name) {
                Some(at) => kept.swap_remove(at),
                None => {
                    let before = before.remove(&job.name).unwrap_or_default();
                    pool::start(Arc::clone(job), &self.shared, before)
                }
            });
        }
        *self.state() = State { config: Arc::new(config), pools };
    }

    /// Waits, after the shutdown, until the last batch is handed over.
    pub(crate) async fn ended(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// The targets of all jobs, by the jobs' names.
    pub(crate) fn targets(&self) -> Vec<PoolTargets> {
        let state = self.state();
        let mut all: Vec<PoolTargets> =
            state.pools.iter().map(|pool| PoolTargets { pool: pool.job.name.clone(), seen: pool.view.get() }).collect();
        all.sort_by(|a, b| a.pool.cmp(&b.pool));
        all
    }

    /// The names of all jobs, sorted.
    pub(crate) fn scrape_pools(&self) -> Vec<String> {
        let mut names: Vec<String> = self.state().pools.iter().map(|pool| pool.job.name.clone()).collect();
        names.sort();
        names
    }

    /// What those targets say of their metrics whose labels are wanted.
    pub(crate) fn target_metadata(
        &self,
        is_wanted: impl Fn(&LabelMap) -> bool,
    ) -> Vec<(LabelMap, BTreeMap<String, About>)> {
        let targets = self.targets().into_iter().flat_map(|pool| pool.seen.active);
        targets.filter(|t| is_wanted(&t.public)).map(|t| (t.public.clone(), t.metadata())).collect()
    }

    /// Labels that tell this server apart, for alerts and for federation.
    pub(crate) fn external_labels(&self) -> LabelMap {
        self.state().config.external_labels.clone()
    }

    /// The settings as YAML; every secret is hidden.
    pub(crate) fn config_yaml(&self) -> String {
        let config = Arc::clone(&self.state().config);
        config.to_yaml()
    }

    /// Where this server answers.
    pub(crate) fn own(&self) -> &Own {
        &self.own
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ScrapeManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScrapeManager").field("pools", &self.scrape_pools()).finish_non_exhaustive()
    }
}
