//! What every role does around its work: a name, an operations port, an orderly end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use cache::{Cache, Redis};
use queue::{Connection as _, RabbitMq, redacted};
use store::postgres::Postgres;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{CacheArgs, DatabaseArgs};
use crate::http::{self, Alive, Check, HttpState};
use crate::telemetry::Metrics;

/// How long a main loop may stand still before its process should be restarted.
const STANDSTILL: Duration = Duration::from_mins(1);

/// The process's name: as given, or made of host and process. The random part keeps a restarted container,
/// which has the same host name and process id again, from being taken for the one before.
pub(crate) fn instance(given: Option<&str>) -> String {
    given.map_or_else(
        || {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let host = host.trim();
            let host = if host.is_empty() { "localhost" } else { host };
            format!("{host}-{}-{:06x}", std::process::id(), rand::random::<u32>() & 0xFF_FFFF)
        },
        str::to_owned,
    )
}

/// What a role cannot do its work without, and Redis, which it can.
pub(crate) fn checks(store: &Postgres, queue: &RabbitMq, cache: &Redis) -> Vec<Check> {
    let (store, queue, cache) = (store.clone(), queue.clone(), cache.clone());
    vec![
        Check::required("postgres", move || {
            let store = store.clone();
            async move { store.check().await.map_err(|error| error.to_string()) }
        }),
        Check::required("rabbitmq", move || {
            let is_ready = queue.ready();
            async move { is_ready.then_some(()).ok_or_else(|| "not connected".to_owned()) }
        }),
        Check::optional("redis", move || {
            let cache = cache.clone();
            async move { cache.check().await.map_err(|error| error.to_string()) }
        }),
    ]
}

/// Looks at the servers once. One that is away is waited for, and said to be away; a schema that is not the one
/// this program was made for is an error.
pub(crate) async fn look_around(
    (store, database): (&Postgres, &DatabaseArgs),
    (cache, redis): (&Redis, &CacheArgs),
) -> anyhow::Result<()> {
    match store.check_schema().await {
        Ok(()) => {}
        Err(error) if error.is_transient() => tracing::warn!(
            url = %database.database_url,
            %error,
            "waiting for PostgreSQL: start it (`scripts/stack up`), or set LTV_DATABASE_URL"
        ),
        Err(error) => return Err(error.into()),
    }
    if let Err(error) = cache.check().await {
        tracing::warn!(
            url = redacted(&redis.redis_url),
            %error,
            "the night goes on without Redis: start it (`scripts/stack up`), or set LTV_REDIS_URL"
        );
    }
    Ok(())
}

/// A role's surroundings.
pub(crate) struct Surroundings {
    /// Resolves when the process was asked to stop.
    pub(crate) stop: CancellationToken,
    /// Watches the main loop.
    pub(crate) alive: Alive,
    ended: CancellationToken,
    server: tokio::task::JoinHandle<anyhow::Result<()>>,
}

/// Serves the operations port and listens for signals.
pub(crate) async fn surround(
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
    let server = tokio::spawn(http::serve(listener, state, ended.clone().cancelled_owned()));
    Ok(Surroundings { stop, alive, ended, server })
}

impl Surroundings {
    /// Ends the operations port, after the role has drained.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.ended.cancel();
        self.server.await?
    }
}

/// Asks the process to stop at the first signal and ends it at the second.
pub(crate) fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        stop.cancel();
        tracing::info!("asked to stop");
        next().await;
        tracing::warn!("asked to stop again: not draining");
        std::process::exit(1);
    });
    Ok(())
}
