//! Notifications: whom to tell of which alert, when, and how; after Alertmanager, whose configuration and API it takes.
//!
//! Flow: alerts of rules ([`Alertmanager::stage`], [`Alertmanager::accept`]) and from outside -> the groups that the
//! [`route`]s give them ([`state`]) -> when a group's time has come, who is told of what ([`group`]) -> one transaction that
//! notes it and puts messages in the queue ([`document`]) -> [`deliver`], one target not waiting for another.
//! Promise: what was accepted is told, also after a kill; a message may come twice only if it was being sent then, and has
//! the same key both times.

mod accept;
mod deliver;
mod dispatch;
mod document;
mod explain;
mod fingerprint;
mod group;
mod history;
mod inhibit;
mod interval;
mod matcher;
mod reload;
mod retry;
mod route;
mod serve;
mod silences;
mod state;
mod stats;
mod target;
mod template;

pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod message;
pub(crate) mod silence;
pub(crate) mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use regex::Regex;
use storage::{Clock, StorageError, Store, Tenant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::documents;

use config::Config;
use deliver::Lanes;
use document::{ALERT, GROUP, Held, MESSAGE, Queued, SILENCE};
use group::Group;
use silence::{Silence, SilenceText};
use state::TenantState;
use stats::NotifyStats;

pub(crate) use accept::Given;
pub(crate) use deliver::Attempt;
pub(crate) use matcher::{Labels, Matcher, all_match, parse as parse_matchers};
pub(crate) use serve::{reload, start};
pub(crate) use stats::KindStats;

/// What the server's settings say about notifications.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Alertmanager's configuration file, if there is one.
    pub(crate) config: Option<PathBuf>,
    /// Where this server is seen.
    pub(crate) external_url: String,
    /// How long a message is tried.
    pub(crate) retry_for: Duration,
    /// The longest pause between two tries.
    pub(crate) retry_pause_max: Duration,
    /// How long a target may take that says nothing else.
    pub(crate) delivery_timeout: Duration,
    /// Messages that one target takes at once.
    pub(crate) target_concurrent_max: usize,
    /// How long before its end a silence reminds, if it does not say.
    pub(crate) silence_reminder: Option<Duration>,
    /// What is blackened in lines of logs.
    pub(crate) redact: Vec<Regex>,
    /// The most lines of logs with an alert.
    pub(crate) lines_max: usize,
}

/// What is done with every try to deliver a message.
pub(crate) type Recorder = Arc<dyn Fn(&Tenant, &Attempt) + Send + Sync>;

/// Takes alerts, and tells people of them.
pub(crate) struct Alertmanager {
    settings: Settings,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
    config: RwLock<Arc<Config>>,
    state: Mutex<BTreeMap<Tenant, TenantState>>,
    /// Held from a decision to its commit: what is decided later sees it.
    committing: tokio::sync::Mutex<()>,
    wake: Notify,
    lanes: Lanes,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Figures.
    pub(crate) stats: NotifyStats,
}

impl std::fmt::Debug for Alertmanager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alertmanager").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Alertmanager {
    /// Reads the configuration, and what was known and on its way before. Nothing is sent until [`Self::start`].
    ///
    /// # Errors
    /// When the configuration has a mistake, or the catalog cannot be read.
    pub(crate) async fn open(
        settings: Settings,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        recorder: Recorder,
    ) -> anyhow::Result<Arc<Self>> {
        let config = match &settings.config {
            Some(path) => Config::load(path)?,
            None => Config::of_nobody(),
        };
        let manager = Self {
            lanes: Lanes::new(settings.target_concurrent_max),
            settings,
            store,
            clock,
            recorder,
            config: RwLock::new(Arc::new(config)),
            state: Mutex::default(),
            committing: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            stats: NotifyStats::default(),
        };
        manager.load().await?;
        Ok(Arc::new(manager))
    }

    /// Begins to tell people: of what was on its way first.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub(crate) async fn start(self: &Arc<Self>) -> anyhow::Result<()> {
        for (tenant, _, queued) in documents::load::<Queued>(&self.store, MESSAGE).await? {
            self.deliver(&tenant, queued);
        }
        self.tasks.spawn(Arc::clone(self).dispatch_until_stopped());
        self.tasks.spawn(Arc::clone(self).reload_until_stopped());
        Ok(())
    }

    /// Ends: what is being sent may end for a moment, what waits is in the catalog.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await.is_err() {
            tracing::warn!("a target did not answer before the end: its message is sent again at the next start");
        }
    }

    /// The configuration that holds now.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Now, in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ns() / 1_000_000
    }

    fn state(&self) -> MutexGuard<'_, BTreeMap<Tenant, TenantState>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self) -> Result<(), StorageError> {
        let (config, now_ms) = (self.config(), self.now_ms());
        let groups = documents::load::<Group>(&self.store, GROUP).await?;
        let silences = documents::load::<SilenceText>(&self.store, SILENCE).await?;
        let alerts = documents::load::<Held>(&self.store, ALERT).await?;
        let mut gone = Vec::new();
        {
            let mut state = self.state();
            for (tenant, id, group) in groups {
                state.entry(tenant).or_default().known_groups.insert(id, group);
            }
            for (tenant, id, text) in silences {
                match Silence::new(text) {
                    Ok(silence) => drop(state.entry(tenant).or_default().silences.insert(id, silence)),
                    Err(why) => tracing::error!("the silence {id} cannot be read and is passed over: {why}"),
                }
            }
            for (tenant, _, held) in alerts {
                let tenant = state.entry(tenant).or_default();
                // A group that was not looked at yet began when its first alert came.
                tenant.insert(held.clone(), &config, held.alert.updated_at_ms.min(now_ms));
            }
            for (tenant, state) in state.iter_mut() {
                let known = std::mem::take(&mut state.known_groups);
                gone.extend(known.values().map(|group| group.delete(tenant)));
            }
        }
        self.store.apply_documents(&gone).await
    }
}
