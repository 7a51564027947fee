//! The life of the server: bind, open the store, serve; on SIGTERM or SIGINT stop in reverse order.
//!
//! It binds first and opens the store after, so that `/ready` can say why it is not ready while the journal is
//! replayed. Stopping: accept nothing new, finish running requests, flush, exit 0. A second signal ends it at once,
//! which loses nothing: what was acknowledged is in the journal.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use ingest::admit::Admission;
use query::Engine;
use query::cache::AnswerCache;
use rustix::process::{Resource, getrlimit, setrlimit};
use storage::{RealDisk, Store, SystemClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{App, AppState, House, Places};
use crate::cli::ServeArgs;
use crate::config::{self, Address, Config};
use crate::{alert, listen, notify, router, scraping, telemetry};

/// How long a query may wait for its turn.
const QUERY_WAIT_MAX: Duration = Duration::from_secs(10);

/// `farol serve`: configuration -> [`run`] -> exit code.
///
/// # Errors
/// When the configuration has mistakes, an address is taken, or the data folder cannot be opened.
pub(crate) fn main(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let machine_bytes = config::memory_total_bytes();
    let loaded = config::load(args.config.as_deref(), std::env::vars(), &args.settings(), machine_bytes)?;
    telemetry::init(&loaded.config.log);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("farol")
        .build()
        .context("start the async runtime")?
        .block_on(run(loaded.config, machine_bytes))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(config: Config, machine_bytes: u64) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let app: App = Arc::new(AppState::new(config, machine_bytes, Arc::new(SystemClock)));
    let stop = CancellationToken::new();
    let (mut doors, http) = open_doors(&app, &stop).await?;

    tokio::select! {
        opened = open_house(&app) => app.open(opened?),
        () = signals.stop() => return Ok(()),
    }
    app.notifies(notify::start(&app, http).await?);
    app.scrapes(scraping::start(&app, http, stop.clone())?);
    warm_up(&app).await;
    app.watches(alert::start(&app, http, stop.clone()).await?);
    tracing::info!(%http, data = %app.config.data.display(), "ready");

    while let Wanted::Reload = signals.next().await {
        // What is wrong is in the log.
        let _ = reload(&app).await;
    }
    tracing::info!("stopping: finishing requests, then flushing");
    app.stopping();
    stop.cancel();
    tokio::select! {
        () = close(&app, &mut doors) => {}
        () = signals.stop() => tracing::warn!("stopped at once; the journal has what was not flushed"),
    }
    Ok(())
}

/// Reads the files that settings name again: on SIGHUP and `POST /-/reload`.
///
/// # Errors
/// What is wrong; then all goes on as before.
pub(crate) async fn reload(app: &App) -> Result<(), String> {
    let reloaded = scraping::reload(app).await.and(notify::reload(app).await).and(alert::reload(app).await);
    app.stats.reloaded(reloaded.is_ok(), app.clock.now_ns());
    match &reloaded {
        Ok(()) => tracing::info!("settings were read again"),
        Err(why) => tracing::error!("settings could not be read again, the old ones stay: {why}"),
    }
    reloaded
}

async fn open_house(app: &App) -> anyhow::Result<House> {
    raise_file_limit();
    let config = &app.config;
    let store = Store::open(config.store(&app.memory), Arc::new(RealDisk), Arc::clone(&app.clock)).await?;
    Ok(House {
        store,
        engine: Engine::new(config.query_limits(&app.memory))?,
        answers: AnswerCache::new(app.memory.cache_bytes / 2),
        admission: Admission::new((app.memory.ingest_bytes / 4).max(2 * config.ingest.body_size_max.0)),
        queries: Places::new(config.query.concurrent_max, QUERY_WAIT_MAX),
    })
}

/// Whoever asks first should not wait for the code of queries to come from the disk.
async fn warm_up(app: &App) {
    let app = Arc::clone(app);
    let warm_up = move || app.house().map(|house| house.engine.warm_up());
    // A query that fails will say so itself.
    let _ = tokio::task::spawn_blocking(warm_up).await;
}

/// Every segment holds two files open, so that queries go on while compaction replaces it.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// Binds every address and starts accepting. Gives the address of the HTTP API too.
async fn open_doors(app: &App, stop: &CancellationToken) -> anyhow::Result<(JoinSet<()>, Address)> {
    let config = &app.config;
    let mut doors = JoinSet::new();
    let mut open = async |what: &str, address: Address, router: Router| -> anyhow::Result<Address> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address} ({what})"))?;
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!(%address, "listening: {what}");
        doors.spawn(listen::http::accept(listener, router, Arc::clone(app), stop.clone()));
        Ok(address)
    };
    let http = open("HTTP", config.http, router::http(app)).await?;
    if let Some(address) = config.otlp_http.set() {
        open("OTLP/HTTP", address, router::otlp_http(app)).await?;
    }
    if let Some(address) = config.otlp_grpc.set() {
        open("OTLP/gRPC", address, router::otlp_grpc(app)).await?;
    }
    Ok((doors, http))
}

/// Waits for running requests and scrapes, as long as the settings allow, then closes the store.
async fn close(app: &App, doors: &mut JoinSet<()>) {
    let finished = async {
        if let Ok(scrape) = app.scrape() {
            scrape.ended().await;
        }
        if let Ok(ruler) = app.ruler() {
            ruler.ended().await;
        }
        while doors.join_next().await.is_some() {}
    };
    if tokio::time::timeout(app.config.stop_timeout.0, finished).await.is_err() {
        tracing::warn!("some requests did not end within {}: they are cut off", app.config.stop_timeout);
    }
    if let Ok(notifier) = app.notifier() {
        notifier.close().await;
    }
    let Ok(house) = app.house() else { return };
    if let Err(error) = house.store.close().await {
        tracing::error!("the last flush failed, the next start goes on from the journal: {error}");
    }
}

/// What a signal asks for.
enum Wanted {
    Stop,
    Reload,
}

/// SIGTERM and SIGINT stop the server, SIGHUP lets it read its files again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hang_up: listen(SignalKind::hangup())? })
    }

    async fn next(&mut self) -> Wanted {
        tokio::select! {
            _ = self.terminate.recv() => Wanted::Stop,
            _ = self.interrupt.recv() => Wanted::Stop,
            _ = self.hang_up.recv() => Wanted::Reload,
        }
    }

    async fn stop(&mut self) {
        while let Wanted::Reload = self.next().await {}
    }
}
