//! Accepts connections and speaks HTTP/1.1 (keep-alive, upgrades) and HTTP/2 without TLS on them, whichever the
//! client begins with. At most `connections_max` are open at once: more wait in the kernel's queue.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::app::App;
use crate::telemetry::Gauge;

/// A client that has not sent the headers of a request in this time is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Read buffer of an HTTP/1 connection: a usual batch fits in it, so that its body comes as few pieces.
const BUFFER_BYTES: usize = 512 << 10;
/// Bytes of a request body that an HTTP/2 client may send ahead, for a stream and for the connection.
const WINDOW_BYTES: u32 = 4 << 20;

/// Accepts until `stop`, then waits for the running requests to end.
pub(crate) async fn accept(listener: TcpListener, router: Router, app: App, stop: CancellationToken) {
    let builder = Arc::new(builder());
    let places = Arc::new(Semaphore::new(app.config.connections_max));
    let running = GracefulShutdown::new();
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stop.cancelled() => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    wait_after(&error).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let connection = prepare(&builder, stream, router.clone());
        let connection = running.watch(connection.into_owned());
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let (_place, _open) = (place, Gauge::enter(&app.stats.connections));
            // A connection that breaks is the client's affair; its requests have their own errors.
            if let Err(error) = connection.await {
                tracing::debug!("connection ended: {error}");
            }
        });
    }
    drop(listener);
    running.shutdown().await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .keep_alive_interval(Duration::from_secs(60));
    builder
}

fn prepare(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    router: Router,
) -> hyper_util::server::conn::auto::UpgradeableConnection<
    '_,
    TokioIo<TcpStream>,
    impl hyper::service::Service<
        Request<Incoming>,
        Response = axum::response::Response,
        Error = std::convert::Infallible,
        Future: Send,
    > + use<>,
    TokioExecutor,
> {
    // Small answers must not wait for more to send.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| router.clone().call(request.map(Body::new)));
    builder.serve_connection_with_upgrades(TokioIo::new(stream), service)
}

/// Out of file descriptors or memory: wait a moment instead of spinning. Other errors are one client's.
async fn wait_after(error: &io::Error) {
    let of_one_client = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    if !of_one_client {
        tracing::warn!("accept a connection: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
