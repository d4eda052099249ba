//! Accepts connections, each within its limits, and lets go of them in order.

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
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::metrics;
use crate::patience::Patient;

/// How many connections there are at most; the next wait until one of them ends.
pub const MOST_CONNECTIONS: usize = 1_024;

/// How long a client may take over a request's head, or stay silent between two requests.
pub(crate) const HEAD_LIMIT: Duration = Duration::from_secs(20);

/// The size of a request's head at most.
pub(crate) const MOST_HEAD_BYTES: usize = 16 * 1024;

/// How long to wait when a connection could not be accepted, as when file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// How often the watchdog hears that connections are taken.
const TICK: Duration = Duration::from_secs(5);

/// What the loop is told.
pub(crate) struct Server {
    pub(crate) draining: CancellationToken,
    pub(crate) grace_period: Duration,
    pub(crate) alive: Arc<dyn Fn() + Send + Sync>,
}

impl Server {
    /// Answers until it drains; then what is under way has the grace period.
    pub(crate) async fn run(self, listener: TcpListener, router: Router) -> anyhow::Result<()> {
        let address = listener.local_addr().context("read the api's own address")?;
        info!(%address, "the api is open");
        let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let connections = TaskTracker::new();
        let cut_off = CancellationToken::new();
        let _cut_off_at_the_end = cut_off.clone().drop_guard();

        let mut tick = interval(TICK);
        loop {
            let accepted = async {
                let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
                (slot, accept(&listener).await)
            };
            let (slot, stream) = tokio::select! {
                biased;
                () = self.draining.cancelled() => break,
                _ = tick.tick() => {
                    (self.alive)();
                    metrics::connections(connections.len());
                    continue;
                }
                accepted = accepted => accepted,
            };
            let connection = answer(stream, router.clone(), self.draining.clone(), cut_off.clone());
            connections.spawn(async move {
                connection.await;
                drop(slot);
            });
        }
        drop(listener);
        connections.close();
        if timeout(self.grace_period, connections.wait()).await.is_err() {
            warn!(open = connections.len(), "cut off what was not answered within the grace period");
            cut_off.cancel();
            connections.wait().await;
        }
        Ok(())
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                warn!(%error, "accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router, draining: CancellationToken, cut_off: CancellationToken) {
    // Answers are small, and whoever asked waits for them.
    let _ = stream.set_nodelay(true);
    // axum's own server sets no timer, and without one a silent client is waited for without limit.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(Patient::new(stream)), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        () = draining.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        ended = connection => note(ended),
        () = cut_off.cancelled() => {}
    }
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}
