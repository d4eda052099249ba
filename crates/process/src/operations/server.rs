//! The server of the operations port: few connections, each within its limits.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::routes::{HttpState, router};

/// How long an answer that is under way may take once the server stops.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// How long a client may take over a request's head, or stay silent between two requests. Longer than the usual
/// interval between two scrapes, which then share a connection.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(20);

/// How long a connection lives at most.
const CONNECTION_LIMIT: Duration = Duration::from_mins(2);

/// How many connections there are at most. Probes and scrapes need three.
const MAX_CONNECTIONS: usize = 64;

/// The size of a request's head at most.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How long to wait when a connection could not be accepted, as when file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Answers on `listener` until `shutdown`, then closes what is open within [`DRAIN_LIMIT`].
///
/// Let `shutdown` resolve after the role has drained, not when it begins to: until then `/readyz` should say so.
pub async fn serve(
    listener: TcpListener,
    state: HttpState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let address = listener.local_addr().context("read the operations port's own address")?;
    info!(%address, "operations port is open");
    let router = router(state);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let stop = CancellationToken::new();
    // If this future is dropped, its connections end too.
    let _stop_at_the_end = stop.clone().drop_guard();

    let mut shutdown = pin!(shutdown);
    loop {
        let slot = slots.clone().acquire_owned();
        let accepted =
            async { (slot.await.expect("the semaphore is never closed"), accept(&listener).await) };
        let (slot, stream) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        let connection = answer(stream, router.clone(), stop.clone());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    stop.cancel();
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                warn!(%error, "accept a connection on the operations port");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router, stop: CancellationToken) {
    // axum's own server sets no timer, and without one a silent client is waited for without limit.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                debug!(%error, "connection on the operations port ended early");
            }
            return;
        }
        () = stop.cancelled() => {}
        () = sleep(CONNECTION_LIMIT) => {}
    }
    connection.as_mut().graceful_shutdown();
    if timeout(DRAIN_LIMIT, connection).await.is_err() {
        debug!("connection on the operations port was cut off");
    }
}
