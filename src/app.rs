//! What every handler can reach, by argument. The store comes in when the journal is replayed; until then, and once
//! the server stops, [`AppState::house`] says why not.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ingest::admit::Admission;
use ingest::delta::DeltaAccumulator;
use query::Engine;
use query::cache::AnswerCache;
use storage::{Clock, Store};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::alert::ruler::Ruler;
use crate::config::{Config, MemoryShares};
use crate::error::{ApiError, Kind};
use crate::notify::Alertmanager;
use crate::scrape::ScrapeManager;
use crate::telemetry::ServerStats;

/// Handle to the state of the server.
pub(crate) type App = Arc<AppState>;

/// The state of the server.
#[derive(Debug)]
pub(crate) struct AppState {
    /// The settings.
    pub(crate) config: Config,
    /// What the settings mean in bytes on this machine.
    pub(crate) memory: MemoryShares,
    /// What time it is.
    pub(crate) clock: Arc<dyn Clock>,
    /// Figures of the HTTP side.
    pub(crate) stats: ServerStats,
    /// When the server started, in nanoseconds since 1970.
    pub(crate) started_ns: i64,
    /// The totals of delta streams.
    pub(crate) deltas: DeltaAccumulator,
    house: OnceLock<House>,
    scrape: OnceLock<Arc<ScrapeManager>>,
    ruler: OnceLock<Arc<Ruler>>,
    notifier: OnceLock<Arc<Alertmanager>>,
    /// Why the server is not ready; empty when it is.
    not_ready: Mutex<String>,
}

/// What is there once the data folder is open.
#[derive(Debug)]
pub(crate) struct House {
    /// Everything on disk.
    pub(crate) store: Arc<Store>,
    /// Everything that is asked.
    pub(crate) engine: Engine,
    /// What was answered before.
    pub(crate) answers: AnswerCache,
    /// Room for requests that are being taken in.
    pub(crate) admission: Arc<Admission>,
    /// Places for queries.
    pub(crate) queries: Places,
}

/// Places for queries: so many run at once, some more wait for a while.
#[derive(Debug)]
pub(crate) struct Places {
    places: Arc<Semaphore>,
    wait_max: Duration,
}

impl Places {
    /// `count` places; whoever waits longer than `wait_max` for one is told to come back.
    pub(crate) fn new(count: usize, wait_max: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(count)), wait_max }
    }

    /// Takes a place, to be held while the query runs.
    ///
    /// # Errors
    /// `Busy` when none becomes free in time.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        match tokio::time::timeout(self.wait_max, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(ApiError::new(
                Kind::Busy,
                "too many queries are running: try again in a second, or raise query.concurrent_max",
            )),
        }
    }
}

impl AppState {
    /// A server that is not ready yet.
    pub(crate) fn new(config: Config, machine_bytes: u64, clock: Arc<dyn Clock>) -> Self {
        Self {
            memory: config.memory.shares(machine_bytes),
            deltas: DeltaAccumulator::new(config.otlp_metrics.deltas()),
            config,
            started_ns: clock.now_ns(),
            clock,
            stats: ServerStats::default(),
            house: OnceLock::new(),
            scrape: OnceLock::new(),
            ruler: OnceLock::new(),
            notifier: OnceLock::new(),
            not_ready: Mutex::new("starting: opening the data folder and replaying the journal".to_owned()),
        }
    }

    /// From here on requests are answered. It is ready with [`Self::watches`].
    pub(crate) fn open(&self, house: House) {
        if self.house.set(house).is_ok() {
            self.set_not_ready("starting: reading rules");
        }
    }

    /// From here on scraping can be asked about.
    pub(crate) fn scrapes(&self, manager: Arc<ScrapeManager>) {
        // It is started once.
        let _ = self.scrape.set(manager);
    }

    /// What is scraped.
    ///
    /// # Errors
    /// `Unavailable` until the data folder is open.
    pub(crate) fn scrape(&self) -> Result<&Arc<ScrapeManager>, ApiError> {
        self.scrape.get().ok_or_else(|| ApiError::new(Kind::Unavailable, self.not_ready().unwrap_or_default()))
    }

    /// From here on rules can be asked about: all is ready.
    pub(crate) fn watches(&self, ruler: Arc<Ruler>) {
        if self.ruler.set(ruler).is_ok() {
            self.set_not_ready("");
        }
    }

    /// What is watched.
    ///
    /// # Errors
    /// `Unavailable` until the rules are read.
    pub(crate) fn ruler(&self) -> Result<&Arc<Ruler>, ApiError> {
        self.ruler.get().ok_or_else(|| ApiError::new(Kind::Unavailable, self.not_ready().unwrap_or_default()))
    }

    /// From here on people are told of alerts.
    pub(crate) fn notifies(&self, notifier: Arc<Alertmanager>) {
        // It is started once.
        let _ = self.notifier.set(notifier);
    }

    /// Who tells people of alerts.
    ///
    /// # Errors
    /// `Unavailable` until the data folder is open.
    pub(crate) fn notifier(&self) -> Result<&Arc<Alertmanager>, ApiError> {
        self.notifier.get().ok_or_else(|| {
            let why = self.not_ready().unwrap_or_else(|| "starting: reading alerts".to_owned());
            ApiError::new(Kind::Unavailable, why)
        })
    }

    /// From here on `/ready` says 503. Requests that are still coming in on open connections are answered.
    pub(crate) fn stopping(&self) {
        self.set_not_ready("stopping");
    }

    /// Why the server is not ready, if it is not.
    pub(crate) fn not_ready(&self) -> Option<String> {
        let reason = self.not_ready.lock().unwrap_or_else(PoisonError::into_inner);
        (!reason.is_empty()).then(|| reason.clone())
    }

    /// What is there once the data folder is open.
    ///
    /// # Errors
    /// `Unavailable` until then.
    pub(crate) fn house(&self) -> Result<&House, ApiError> {
        self.house.get().ok_or_else(|| ApiError::new(Kind::Unavailable, self.not_ready().unwrap_or_default()))
    }

    fn set_not_ready(&self, reason: &str) {
        reason.clone_into(&mut self.not_ready.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
