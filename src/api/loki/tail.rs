//! `tail`: new lines over a WebSocket, as they become durable.
//!
//! What was there before comes first, oldest first; then every batch once it is stored. A reader that is too slow
//! misses lines, and is told which streams' in `dropped_entries`, as Loki does.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use query::logql::{Expr, LogExpr, parse};
use query::{Answer, CancelOnDrop, Direction, LogQuery, LogStream, QueryError, Request};
use storage::{Published, Snapshot, Tenant};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::answer::write_streams;
use super::query::is_categorized;
use super::{blocking, run_on};
use crate::api::params::Params;
use crate::app::App;
use crate::error::{ApiError, Kind};
use crate::telemetry::Gauge;
use crate::tenant;

/// Longest `delay_for`, in seconds, as in Loki.
const DELAY_MAX: i64 = 5;
/// Batches that come within this time are one message: lines of many small pushes come in their order, and a reader that
/// also writes hears of a line after its push was answered.
const GATHER: Duration = Duration::from_millis(50);
/// RFC 6455: the server met a condition that keeps it from going on.
const CLOSE_INTERNAL: u16 = 1011;

/// What a tail shows.
struct Tail {
    tenant: Tenant,
    log: LogExpr,
    start: i64,
    limit: usize,
    delay: Duration,
    categorized: bool,
}

/// `/loki/api/v1/tail`.
pub(crate) async fn tail(
    State(app): State<App>,
    tenant::Of(tenant): tenant::Of,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let asked = || {
        let params = Params::of_query(query.as_deref().unwrap_or_default())?;
        let log = match parse(params.get("query")).map_err(QueryError::from)? {
            Expr::Log(log) => log,
            Expr::Metric(_) => return Err(ApiError::bad_request("only log queries can be tailed")),
        };
        let delay = params.number("delay_for", 0)?;
        if !(0..=DELAY_MAX).contains(&delay) {
            return Err(ApiError::bad_request(format!("delay_for can't be greater than {DELAY_MAX}")));
        }
        if app.stats.tails.load(std::sync::atomic::Ordering::Relaxed) >= app.config.query.tails_max as u64 {
            let max = app.config.query.tails_max;
            return Err(ApiError::new(Kind::Busy, format!("max concurrent tail requests limit exceeded ({max})")));
        }
        app.house()?;
        Ok(Tail {
            tenant,
            log,
            start: params.bounds(app.clock.now_ns())?.start,
            limit: params.limit(app.config.query.entries_max)?,
            delay: std::time::Duration::from_secs(delay.unsigned_abs()),
            categorized: is_categorized(&headers),
        })
    };
    match asked() {
        Err(error) => error.into_response(),
        Ok(tail) => upgrade.on_upgrade(move |socket| async move {
            let _open = Gauge::enter(&app.stats.tails);
            follow(&app, tail, socket).await;
        }),
    }
}

async fn follow(app: &App, tail: Tail, mut socket: WebSocket) {
    // An error of the socket means that the reader is gone.
    if let Err(error) = serve(app, &tail, &mut socket).await {
        let frame =
            CloseFrame { code: CLOSE_INTERNAL, reason: error.message.chars().take(100).collect::<String>().into() };
        let _ = socket.send(Message::Close(Some(frame))).await;
    }
}

async fn serve(app: &App, tail: &Tail, socket: &mut WebSocket) -> Result<(), ApiError> {
    let house = app.house()?;
    // In this order: what comes in between is in both, and known by its number.
    let mut live = house.store.subscribe(&tail.tenant);
    let now = app.clock.now_ns();
    let before = house.store.snapshot(&tail.tenant, Some(tail.start..i64::MAX));
    let last_sequence = before.last_sequence;
    let backlog = lines(app, tail, before, tail.start, now.saturating_add(1), tail.limit, Direction::Backward).await?;
    let mut backlog = backlog;
    for stream in &mut backlog {
        stream.entries.reverse();
    }
    if !backlog.is_empty() && send(socket, &backlog, 0, tail.categorized).await.is_err() {
        return Ok(());
    }
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
            next = next(&mut live, last_sequence) => {
                let (mut batches, mut missed, mut next) = (Vec::new(), 0, Some(next));
                let until = Instant::now() + GATHER;
                while let Some(one) = next {
                    match one {
                        Next::Batch(batch) => batches.push(batch.batch),
                        Next::Missed(count) => missed += count,
                        Next::End => return Ok(()),
                    }
                    next = timeout_at(until, self::next(&mut live, last_sequence)).await.ok();
                }
                if !tail.delay.is_zero() {
                    tokio::time::sleep(tail.delay).await;
                }
                let found = match batches.is_empty() {
                    false => {
                        let only = Snapshot::of_batches(batches);
                        lines(app, tail, only, i64::MIN, i64::MAX, usize::MAX, Direction::Forward).await?
                    }
                    true => Vec::new(),
                };
                if (!found.is_empty() || missed > 0)
                    && send(socket, &found, missed, tail.categorized).await.is_err()
                {
                    return Ok(());
                }
            }
        }
    }
}

/// What a subscription has next.
enum Next {
    Batch(Published),
    /// So many batches were missed.
    Missed(u64),
    End,
}

async fn next(live: &mut Receiver<Published>, last_sequence: u64) -> Next {
    loop {
        match live.recv().await {
            Ok(batch) if batch.sequence > last_sequence => return Next::Batch(batch),
            Ok(_) => {}
            Err(RecvError::Lagged(count)) => return Next::Missed(count),
            Err(RecvError::Closed) => return Next::End,
        }
    }
}

async fn lines(
    app: &App,
    tail: &Tail,
    snapshot: Snapshot,
    start: i64,
    end: i64,
    limit: usize,
    direction: Direction,
) -> Result<Vec<LogStream>, ApiError> {
    let log = tail.log.clone();
    let request =
        Request::Logs(LogQuery { log, time: start..end, limit, direction, interval: 0, categorize: tail.categorized });
    let budget = app.house()?.engine.budget();
    let _cancel = CancelOnDrop(Arc::clone(&budget));
    let app = Arc::clone(app);
    match blocking(move || run_on(&app, &snapshot, &request, &budget)).await?.0 {
        Answer::Streams(streams) => Ok(streams),
        Answer::Series { .. } | Answer::Scalar(_) => Ok(Vec::new()),
    }
}

async fn send(
    socket: &mut WebSocket,
    streams: &[LogStream],
    missed: u64,
    categorized: bool,
) -> Result<(), axum::Error> {
    let mut out = b"{\"streams\":".to_vec();
    write_streams(&mut out, streams, categorized);
    if missed > 0 {
        // Which lines they were is not known any more; that there were some is.
        out.extend_from_slice(b",\"dropped_entries\":[{\"labels\":{},\"timestamp\":\"0\"}]");
    }
    if categorized {
        out.extend_from_slice(b",\"encodingFlags\":[\"categorize-labels\"]");
    }
    out.push(b'}');
    let text = String::from_utf8(out).unwrap_or_default();
    socket.send(Message::Text(text.into())).await
}
