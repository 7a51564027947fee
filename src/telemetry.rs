//! What the server says about itself: log lines by `tracing`, as text or JSON, and figures of its HTTP side, which
//! `/metrics` renders. A request leaves a span and, at debug level, one line: never its payload.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use query::QueryStats;
use tracing::Instrument;
use tracing_subscriber::EnvFilter;

use crate::api::push::Door;
use crate::app::App;
use crate::config::{LogConfig, LogFormat};

/// Starts writing log lines to standard error. Later calls change nothing.
pub(crate) fn init(config: &LogConfig) {
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that a subscriber is there already, which only happens in tests.
    let _ = match config.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

/// Upper bounds of the duration histogram's buckets, in microseconds.
pub(crate) const BUCKETS_US: [u64; 12] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000, 60_000_000];

/// A histogram of durations: how many were at most as long as each bound, their sum and number.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len()],
    sum_us: AtomicU64,
    count: AtomicU64,
}

impl Histogram {
    /// Adds one.
    pub(crate) fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS_US.iter().position(|&bound| us <= bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// (bound in seconds, how many were at most as long), ascending; then the sum in seconds, and the number.
    pub(crate) fn read(&self) -> (Vec<(f64, u64)>, f64, u64) {
        let mut below = 0;
        let cumulative = BUCKETS_US.iter().zip(&self.buckets).map(|(bound, bucket)| {
            below += bucket.load(Ordering::Relaxed);
            (*bound as f64 / 1e6, below)
        });
        let cumulative = cumulative.collect();
        (cumulative, self.sum_us.load(Ordering::Relaxed) as f64 / 1e6, self.count.load(Ordering::Relaxed))
    }
}

/// Figures of one route.
#[derive(Debug, Default)]
pub(crate) struct RouteStats {
    /// Requests by status.
    pub(crate) by_status: BTreeMap<u16, u64>,
    /// How long they took.
    pub(crate) durations: Histogram,
}

/// Figures of the HTTP side.
#[derive(Debug, Default)]
pub(crate) struct ServerStats {
    /// By route pattern, of which there are as many as lines in the router.
    pub(crate) routes: Mutex<BTreeMap<Box<str>, RouteStats>>,
    /// Records refused, by door and reason.
    pub(crate) refused: Mutex<BTreeMap<(Door, String), u64>>,
    /// Records taken, by door.
    pub(crate) accepted: Mutex<BTreeMap<Door, Accepted>>,
    /// Queries.
    pub(crate) queries: QueryFigures,
    /// Requests running now.
    pub(crate) running: AtomicU64,
    /// Connections open now.
    pub(crate) connections: AtomicU64,
    /// Tails open now.
    pub(crate) tails: AtomicU64,
    /// Settings were read again, and that failed.
    pub(crate) reload_failed: AtomicBool,
    /// When settings were last read, in seconds since 1970; 0 until they were read again.
    pub(crate) reloaded_s: AtomicU64,
}

/// Figures of all queries.
#[derive(Debug, Default)]
pub(crate) struct QueryFigures {
    /// How long they took.
    pub(crate) durations: Histogram,
    /// Queries that failed.
    pub(crate) failed: AtomicU64,
    /// Segments and memtables that overlapped the time range.
    pub(crate) parts: AtomicU64,
    /// Of these, ruled out without reading a row.
    pub(crate) parts_pruned: AtomicU64,
    /// Rows in the others that indexes left.
    pub(crate) rows_considered: AtomicU64,
    /// Rows that were read.
    pub(crate) rows_read: AtomicU64,
    /// Bytes of text that were read.
    pub(crate) bytes_read: AtomicU64,
}

/// What came through one door.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Accepted {
    /// Records stored.
    pub(crate) records: u64,
    /// Bytes of bodies as sent.
    pub(crate) bytes_sent: u64,
    /// Bytes of bodies after decompression.
    pub(crate) bytes: u64,
    /// Requests whose idempotency key had been seen.
    pub(crate) duplicates: u64,
}

impl ServerStats {
    /// Counts records that were refused.
    pub(crate) fn refuse(&self, door: Door, reason: &str, records: u64) {
        if let Ok(mut refused) = self.refused.lock() {
            *refused.entry((door, reason.to_owned())).or_default() += records;
        }
    }

    /// Counts what was taken.
    pub(crate) fn accept(&self, door: Door, what: Accepted) {
        if let Ok(mut accepted) = self.accepted.lock() {
            let sum = accepted.entry(door).or_default();
            sum.records += what.records;
            sum.bytes_sent += what.bytes_sent;
            sum.bytes += what.bytes;
            sum.duplicates += what.duplicates;
        }
    }

    /// Counts a query.
    pub(crate) fn queried<T, E>(&self, outcome: &Result<(T, QueryStats), E>) {
        let figures = &self.queries;
        let Ok((_, stats)) = outcome else {
            figures.failed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        figures.durations.observe(Duration::from_nanos(stats.nanos));
        for (figure, value) in [
            (&figures.parts, stats.parts),
            (&figures.parts_pruned, stats.parts_pruned),
            (&figures.rows_considered, stats.rows_considered),
            (&figures.rows_read, stats.rows_read),
            (&figures.bytes_read, stats.bytes_read),
        ] {
            figure.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// Notes that settings were read again.
    pub(crate) fn reloaded(&self, well: bool, now_ns: i64) {
        self.reload_failed.store(!well, Ordering::Relaxed);
        if well {
            self.reloaded_s.store(now_ns.unsigned_abs() / 1_000_000_000, Ordering::Relaxed);
        }
    }

    fn finish(&self, route: &str, status: u16, took: Duration) {
        let Ok(mut routes) = self.routes.lock() else { return };
        if !routes.contains_key(route) {
            routes.insert(route.into(), RouteStats::default());
        }
        if let Some(stats) = routes.get_mut(route) {
            *stats.by_status.entry(status).or_default() += 1;
            stats.durations.observe(took);
        }
    }
}

/// Counts while it lives.
#[derive(Debug)]
pub(crate) struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    /// One more.
    pub(crate) fn enter(gauge: &'a AtomicU64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Around every request: a span, its figures, and a line at debug level.
pub(crate) async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let _running = Gauge::enter(&app.stats.running);
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or("unknown", MatchedPath::as_str);
    let span = tracing::debug_span!("request", method = %request.method(), route);
    let response = next.run(request).instrument(span.clone()).await;
    let took = start.elapsed();
    app.stats.finish(route, response.status().as_u16(), took);
    tracing::debug!(parent: &span, status = response.status().as_u16(), us = took.as_micros() as u64, "answered");
    response
}

/// For the commands that are not the server: warnings for people, on standard error.
pub(crate) fn init_client() {
    let lines = tracing_subscriber::fmt().with_env_filter(EnvFilter::new("warn")).with_writer(std::io::stderr);
    // An error means that a subscriber is there already, which only happens in tests.
    let _ = lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).without_time().try_init();
}
