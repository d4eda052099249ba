//! What a process answers on its operations port: is it alive, is it ready, how is it doing.
//!
//! | path | question | answer |
//! |---|---|---|
//! | `/healthz` | should it be restarted? | 200, or 503 when its main loop stands still |
//! | `/readyz` | should it get work? | 200, or 503 while it drains or a required dependency fails |
//! | `/metrics` | how is it doing? | Prometheus's text format |
//!
//! **Failure by failure.**
//!
//! - *The main loop hangs*: [`Alive`] has not been ticked within its limit, and `/healthz` says so. It asks no
//!   dependency: a restart does not heal a sick database.
//! - *A dependency hangs*: its check is given up after one second; the others ran meanwhile.
//! - *Redis is away*: reported, but it is optional, so the process stays ready (what the cache holds may be lost).
//! - *The process drains*: not ready from the first moment, alive to the last: how long draining may take is the
//!   grace period's matter, and nobody ticks any more.
//! - *A client is slow or silent*: reading a request's head, and the connection as a whole, have limits, and the
//!   number of connections is bounded.
//! - *Shutdown with connections open*: idle ones close at once, the others after [`DRAIN_LIMIT`].

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::{BoxFuture, join_all};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::telemetry::Metrics;

/// How long a dependency may take to answer its check.
pub const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// How long an answer that is under way may take once the server stops.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// How long a client may take over a request's head, or stay silent between two requests. Longer than the usual
/// interval between two scrapes, which then share a connection.
const HEAD_LIMIT: Duration = Duration::from_secs(20);

/// How long a connection lives at most.
const CONNECTION_LIMIT: Duration = Duration::from_mins(2);

/// How many connections there are at most. Probes and scrapes need three.
const MAX_CONNECTIONS: usize = 64;

/// The size of a request's head at most.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How long to wait when a connection could not be accepted, as when file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What the answers are made of.
#[derive(Clone)]
pub struct HttpState {
    /// The watchdog of the main loop.
    pub alive: Alive,
    /// The dependencies.
    pub checks: Vec<Check>,
    /// Cancelled when the process begins to drain: the token that also stops the role.
    pub draining: CancellationToken,
    /// What a scrape reads.
    pub metrics: Metrics,
}

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

/// The routes alone, for a role that has a server of its own.
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(state))
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

async fn healthz(State(state): State<Arc<HttpState>>) -> Response {
    match state.alive.check() {
        Ok(()) => "ok\n".into_response(),
        Err(_) if state.draining.is_cancelled() => "ok: draining\n".into_response(),
        Err(stalled) => (StatusCode::SERVICE_UNAVAILABLE, format!("{stalled}\n")).into_response(),
    }
}

async fn readyz(State(state): State<Arc<HttpState>>) -> Response {
    let dependencies = join_all(state.checks.iter().map(Check::run)).await;
    let readiness = Readiness::new(state.draining.is_cancelled(), dependencies);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&readiness).expect("names and texts are always JSON");
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

async fn metrics(State(state): State<Arc<HttpState>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render()).into_response()
}

/// A watchdog: the main loop ticks it, `/healthz` asks it. Clones share it.
#[derive(Clone, Debug)]
pub struct Alive(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    what: &'static str,
    limit: Duration,
    started: Instant,
    /// When the last tick was, since `started`.
    ticked_ms: AtomicU64,
}

impl Alive {
    /// Creates a watchdog that lets `what` stand still for `limit`. Creation is the first tick.
    pub fn new(what: &'static str, limit: Duration) -> Self {
        Self(Arc::new(Watched { what, limit, started: Instant::now(), ticked_ms: AtomicU64::new(0) }))
    }

    /// Notes that the loop made progress.
    pub fn tick(&self) {
        let now_ms = self.0.started.elapsed().as_millis() as u64;
        self.0.ticked_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// Returns the tick as a function, for a role that does not know this type.
    pub fn ticker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let alive = self.clone();
        Arc::new(move || alive.tick())
    }

    /// Tells whether the loop made progress within the limit.
    pub fn check(&self) -> Result<(), Stalled> {
        let ticked = Duration::from_millis(self.0.ticked_ms.load(Ordering::Relaxed));
        let still = self.0.started.elapsed().saturating_sub(ticked);
        if still <= self.0.limit {
            return Ok(());
        }
        Err(Stalled { what: self.0.what, still, limit: self.0.limit })
    }
}

/// Reports that a loop stood still for longer than its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalled {
    what: &'static str,
    still: Duration,
    limit: Duration,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, still, limit } = self;
        write!(f, "{what}: no progress for {} s, the limit is {} s", still.as_secs(), limit.as_secs())
    }
}

impl std::error::Error for Stalled {}

/// Asks a dependency whether it works. The error says why not.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A dependency, and how to ask it.
#[derive(Clone)]
pub struct Check {
    /// The dependency, as `postgres`.
    pub name: &'static str,
    /// Whether the process is not ready without it.
    pub required: bool,
    /// Asks it. Dropped after [`CHECK_LIMIT`].
    pub probe: Probe,
}

impl Check {
    /// Checks what the process cannot work without.
    pub fn required<F>(name: &'static str, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, required: true, probe: Arc::new(move || Box::pin(probe())) }
    }

    /// Checks what the process works without, if worse.
    pub fn optional<F>(name: &'static str, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { required: false, ..Self::required(name, probe) }
    }

    async fn run(&self) -> Dependency {
        let state = match timeout(CHECK_LIMIT, (self.probe)()).await {
            Ok(Ok(())) => DependencyState::Ok,
            Ok(Err(reason)) => DependencyState::Failed { reason },
            Err(_) => {
                DependencyState::Failed { reason: format!("no answer within {} s", CHECK_LIMIT.as_secs()) }
            }
        };
        Dependency { name: self.name, required: self.required, state }
    }
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    draining: bool,
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct Dependency {
    name: &'static str,
    required: bool,
    #[serde(flatten)]
    state: DependencyState,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum DependencyState {
    Ok,
    Failed { reason: String },
}

impl Readiness {
    fn new(draining: bool, dependencies: Vec<Dependency>) -> Self {
        let blocks = |dependency: &Dependency| {
            dependency.required && matches!(dependency.state, DependencyState::Failed { .. })
        };
        Self { ready: !draining && !dependencies.iter().any(blocks), draining, dependencies }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::net::SocketAddr;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;

    const READYZ: &str = "/readyz";

    /// A served state, and what ends it.
    struct Served {
        address: SocketAddr,
        draining: CancellationToken,
        shutdown: CancellationToken,
        server: JoinHandle<anyhow::Result<()>>,
    }

    async fn served(checks: Vec<Check>) -> Served {
        served_with(checks, Alive::new("worker", Duration::from_mins(1))).await
    }

    async fn served_with(checks: Vec<Check>, alive: Alive) -> Served {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::counter!("ltv_attempts_total").increment(3));
        let draining = CancellationToken::new();
        let state =
            HttpState { alive, checks, draining: draining.clone(), metrics: recorder.handle().into() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, state, shutdown.clone().cancelled_owned()));
        Served { address, draining, shutdown, server }
    }

    impl Served {
        async fn get(&self, path: &str) -> (u16, String) {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            (status, body.to_owned())
        }
    }

    fn works(name: &'static str) -> Check {
        Check::required(name, || ready(Ok(())))
    }

    fn fails(reason: &'static str) -> impl Fn() -> std::future::Ready<Result<(), String>> {
        move || ready(Err(reason.to_owned()))
    }

    #[tokio::test]
    async fn a_process_whose_dependencies_work_is_ready() {
        let served = served(vec![works("postgres"), works("rabbitmq")]).await;

        let answer = served.get(READYZ).await;

        let body = r#"{"ready":true,"draining":false,"dependencies":[{"name":"postgres","required":true,"state":"ok"},{"name":"rabbitmq","required":true,"state":"ok"}]}"#;
        assert_eq!(answer, (200, body.to_owned()));
    }

    #[tokio::test]
    async fn a_failing_required_dependency_makes_it_unready_and_is_named() {
        let served = served(vec![works("rabbitmq"), Check::required("postgres", fails("refused"))]).await;

        let (status, body) = served.get(READYZ).await;

        assert_eq!(status, 503);
        assert!(
            body.contains(r#"{"name":"postgres","required":true,"state":"failed","reason":"refused"}"#),
            "{body}"
        );
    }

    #[tokio::test]
    async fn a_failing_optional_dependency_is_reported_and_no_more() {
        let served = served(vec![works("postgres"), Check::optional("redis", fails("refused"))]).await;

        let (status, body) = served.get(READYZ).await;

        assert_eq!(status, 200);
        assert!(
            body.contains(r#"{"name":"redis","required":false,"state":"failed","reason":"refused"}"#),
            "{body}"
        );
    }

    #[tokio::test]
    async fn dependencies_that_hang_are_given_up_together_after_a_second() {
        let served =
            served(vec![Check::required("postgres", pending), Check::optional("redis", pending)]).await;
        let start = Instant::now();

        let (status, body) = served.get(READYZ).await;

        assert_eq!(status, 503);
        assert_eq!(body.matches("no answer within 1 s").count(), 2, "{body}");
        assert!(start.elapsed() < CHECK_LIMIT * 2, "the checks must run concurrently");
    }

    #[tokio::test]
    async fn a_draining_process_is_alive_but_not_ready() {
        let served = served(vec![works("postgres")]).await;

        served.draining.cancel();

        let (status, body) = served.get(READYZ).await;
        assert_eq!(status, 503);
        assert!(body.starts_with(r#"{"ready":false,"draining":true"#), "{body}");
        assert_eq!(served.get("/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn a_stalled_loop_is_unhealthy_and_told_why_until_it_ticks_or_drains() {
        let alive = Alive::new("worker", Duration::ZERO);
        let served = served_with(Vec::new(), alive.clone()).await;
        // A clock with milliseconds has to move by one before zero is exceeded.
        while alive.check().is_ok() {
            tokio::task::yield_now().await;
        }

        let stalled = served.get("/healthz").await;
        served.draining.cancel();
        let draining = served.get("/healthz").await;

        assert_eq!(stalled.0, 503);
        assert!(stalled.1.starts_with("worker: no progress for "), "{}", stalled.1);
        assert_eq!(draining, (200, "ok: draining\n".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_barks_after_its_limit_and_a_tick_calms_it() {
        let alive = Alive::new("coordinator", Duration::from_secs(30));
        let tick = alive.ticker();

        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(alive.check(), Ok(()));

        tokio::time::advance(Duration::from_secs(1)).await;
        let stalled = alive.check().unwrap_err();
        assert_eq!(stalled.to_string(), "coordinator: no progress for 31 s, the limit is 30 s");

        tick();
        assert_eq!(alive.check(), Ok(()));
    }

    #[tokio::test]
    async fn a_scrape_reads_the_metrics() {
        let served = served(Vec::new()).await;

        let (status, body) = served.get("/metrics").await;

        assert_eq!(status, 200);
        assert!(body.contains("ltv_attempts_total 3\n"), "{body}");
        assert!(body.contains("process_resident_memory_bytes "), "{body}");
    }

    #[tokio::test]
    async fn an_unknown_path_is_not_found() {
        let served = served(Vec::new()).await;

        assert_eq!(served.get("/").await.0, 404);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_finishes_its_request_is_cut_off() {
        let served = served(Vec::new()).await;
        let start = Instant::now();
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: te").await.unwrap();

        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();

        assert!(start.elapsed() <= HEAD_LIMIT + Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let served = served(Vec::new()).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = format!("GET /healthz HTTP/1.1\r\nx: {}", "x".repeat(2 * MAX_HEAD_BYTES));
        // The server may hang up while this is being written.
        let _ = stream.write_all(head.as_bytes()).await;

        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;

        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{:?}", String::from_utf8(answer));
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_up_shutdown() {
        let served = served(Vec::new()).await;
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        let mut first = [0; 15];
        idle.read_exact(&mut first).await.unwrap();

        served.shutdown.cancel();
        let ended = timeout(DRAIN_LIMIT / 2, served.server).await;

        assert_eq!(&first, b"HTTP/1.1 200 OK");
        ended.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_answer_under_way_is_still_given_at_shutdown() {
        let asked = CancellationToken::new();
        let ask = asked.clone();
        let hangs = Check::required("postgres", move || {
            ask.cancel();
            pending()
        });
        let served = served(vec![hangs]).await;
        let asking = async {
            asked.cancelled().await;
            served.shutdown.cancel();
        };

        let ((status, _), ()) = tokio::join!(served.get(READYZ), asking);

        assert_eq!(status, 503);
        assert!(TcpStream::connect(served.address).await.is_err(), "the port must be closed");
        served.server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_hold_up_shutdown() {
        let served = served(Vec::new()).await;
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\nGET /heal").await.unwrap();
        let mut first = [0; 15];
        stream.read_exact(&mut first).await.unwrap();
        served.shutdown.cancel();
        let ended = timeout(DRAIN_LIMIT * 2, served.server).await;

        ended.expect("the server must not wait for the client").unwrap().unwrap();
    }
}
