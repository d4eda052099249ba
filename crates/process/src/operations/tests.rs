use std::future::{pending, ready};
use std::net::SocketAddr;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::server::{HEAD_LIMIT, MAX_HEAD_BYTES};
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
    let state = HttpState { alive, checks, draining: draining.clone(), metrics: recorder.handle().into() };
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
    let served = served(vec![Check::required("postgres", pending), Check::optional("redis", pending)]).await;
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
