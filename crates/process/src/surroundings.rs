//! What a role has around its work: an operations port, a watchdog, an orderly end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::operations::{self, Alive, Check, HttpState};
use crate::signals::stop_on_signal;
use crate::telemetry::Metrics;

/// How long a main loop may stand still before its process should be restarted.
const STANDSTILL: Duration = Duration::from_mins(1);

/// A role's surroundings.
pub struct Surroundings {
    /// Resolves when the process was asked to stop.
    pub stop: CancellationToken,
    /// Watches the main loop.
    pub alive: Alive,
    ended: CancellationToken,
    server: tokio::task::JoinHandle<anyhow::Result<()>>,
}

/// Serves the operations port and listens for signals.
pub async fn surround(
    role: &'static str,
    listen: SocketAddr,
    checks: Vec<Check>,
    metrics: Metrics,
) -> anyhow::Result<Surroundings> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}: give a free address with --listen"))?;
    tracing::info!(address = %listener.local_addr()?, "serving /healthz, /readyz and /metrics");
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let alive = Alive::new(role, STANDSTILL);
    let ended = CancellationToken::new();
    let state = HttpState { alive: alive.clone(), checks, draining: stop.clone(), metrics };
    let server = tokio::spawn(operations::serve(listener, state, ended.clone().cancelled_owned()));
    Ok(Surroundings { stop, alive, ended, server })
}

impl Surroundings {
    /// Ends the operations port, after the role has drained.
    pub async fn end(self) -> anyhow::Result<()> {
        self.ended.cancel();
        self.server.await?
    }
}
