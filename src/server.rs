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
use crate::{listen, router, telemetry};

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
    let mut doors = open_doors(&app, &stop).await?;

    tokio::select! {
        opened = open_house(&app) => app.open(opened?),
        () = signals.next() => return Ok(()),
    }
    tracing::info!(http = %app.config.http, data = %app.config.data.display(), "ready");

    signals.next().await;
    tracing::info!("stopping: finishing requests, then flushing");
    app.stopping();
    stop.cancel();
    tokio::select! {
        () = close(&app, &mut doors) => {}
        () = signals.next() => tracing::warn!("stopped at once; the journal has what was not flushed"),
    }
    Ok(())
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

/// Every segment holds two files open, so that queries go on while compaction replaces it.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// Binds every address and starts accepting.
async fn open_doors(app: &App, stop: &CancellationToken) -> anyhow::Result<JoinSet<()>> {
    let config = &app.config;
    let mut doors = JoinSet::new();
    let mut open = async |what: &str, address: Option<Address>, router: Router| -> anyhow::Result<()> {
        let Some(address) = address else { return Ok(()) };
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address} ({what})"))?;
        tracing::info!(address = %listener.local_addr().unwrap_or(address), "listening: {what}");
        doors.spawn(listen::http::accept(listener, router, Arc::clone(app), stop.clone()));
        Ok(())
    };
    open("HTTP", Some(config.http), router::http(app)).await?;
    open("OTLP/HTTP", config.otlp_http.set(), router::otlp_http(app)).await?;
    open("OTLP/gRPC", config.otlp_grpc.set(), router::otlp_grpc(app)).await?;
    Ok(doors)
}

/// Waits for running requests, as long as the settings allow, then closes the store.
async fn close(app: &App, doors: &mut JoinSet<()>) {
    let finished = async { while doors.join_next().await.is_some() {} };
    if tokio::time::timeout(app.config.stop_timeout.0, finished).await.is_err() {
        tracing::warn!("some requests did not end within {}: they are cut off", app.config.stop_timeout);
    }
    let Ok(house) = app.house() else { return };
    if let Err(error) = house.store.close().await {
        tracing::error!("the last flush failed, the next start goes on from the journal: {error}");
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
