use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;
use crate::server::{HEAD_LIMIT, MOST_HEAD_BYTES};

const HEALTH: &[u8] = b"GET /api/ltv/health HTTP/1.1\r\nhost: test\r\n\r\n";

/// An api that is served.
struct Served {
    address: std::net::SocketAddr,
    draining: CancellationToken,
    server: JoinHandle<anyhow::Result<()>>,
}

async fn served(checks: Vec<Check>) -> Served {
    let api = api(nobody(), checks);
    let draining = api.config.draining.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Served { address, draining, server: tokio::spawn(api.run(listener)) }
}

async fn connected(served: &Served) -> TcpStream {
    TcpStream::connect(served.address).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_finishes_its_head_is_cut_off() {
    let served = served(Vec::new()).await;
    let began = Instant::now();
    let mut stream = connected(&served).await;
    stream.write_all(b"GET /api/ltv/health HTTP/1.1\r\nhost: te").await.unwrap();

    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();

    assert!(began.elapsed() <= HEAD_LIMIT + Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let served = served(Vec::new()).await;
    let mut stream = connected(&served).await;
    let head = format!("GET /api/ltv/health HTTP/1.1\r\nx: {}", "x".repeat(2 * MOST_HEAD_BYTES));
    // The server may hang up while this is being written.
    let _ = stream.write_all(head.as_bytes()).await;

    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;

    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{:?}", String::from_utf8(answer));
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let served = served(Vec::new()).await;
    let mut idle = connected(&served).await;
    idle.write_all(HEALTH).await.unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();

    served.draining.cancel();
    let ended = timeout(Duration::from_millis(500), served.server).await;

    assert_eq!(&first, b"HTTP/1.1 200 OK");
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn what_is_under_way_is_answered_and_what_never_ends_is_cut_off() {
    let asked = CancellationToken::new();
    let ask = asked.clone();
    let slow = Check::required("postgres", move || {
        ask.cancel();
        // Given up after a second, which is as long as the grace period.
        std::future::pending()
    });
    let served = served(vec![slow]).await;
    let mut stream = connected(&served).await;
    stream.write_all(HEALTH).await.unwrap();
    let mut half = connected(&served).await;
    half.write_all(&HEALTH[..20]).await.unwrap();
    asked.cancelled().await;

    served.draining.cancel();
    let ended = timeout(Duration::from_secs(5), served.server).await;

    ended.expect("it waits for nobody for ever").unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err(), "the port is closed");
}
