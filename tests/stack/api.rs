//! `ltv api` as a process over real servers.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::Value;
use tests::{Fleet, PATIENCE, Process, Program, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread")]
async fn an_api_answers_and_drains() {
    let fleet = fleet().await;
    let (_worker, _coordinator) = (fleet.worker(&[]), fleet.coordinator(&[]));
    let mut api = Served::start(&fleet, &[]).await;
    let run = fleet.dispatch(&[]).await;
    fleet.finished(run).await;
    let customer: i64 = fleet.ask("select min(customer_id) from fleet.values where run_id = $1", run).await;
    let (customer, path) = (customer.to_string(), format!("/customers/{customer}?view=full"));

    let one = api.get(&path).await;
    let explained = fleet.ltv(&["runs", "show", &run.to_string(), "--customer", &customer, "--json"]).json();
    let unknown = api.get("/customers/99999999").await;
    let held = api.ask("GET", &path, &format!("if-none-match: {}\r\n", one.header("etag")), "").await;
    api.process.terminate();
    let ended = api.process.ended(PATIENCE).await;

    assert_eq!(one.status, 200, "{}", one.body);
    let value = one.json();
    assert_eq!((&value["customer"], &value["run"]), (&customer.into(), &run.to_string().into()));
    for field in ["value_minor", "future_minor", "interval_80", "confidence", "historic_minor"] {
        assert_eq!(value["full"][field], explained[field], "{field}");
    }
    assert_eq!(value["inputs"], explained["inputs"]);
    assert_eq!((unknown.status, unknown.json()["code"].as_str()), (404, Some("not-found")));
    assert_eq!((held.status, held.body.len()), (304, 0));
    assert!(ended.success(), "{ended}");
    assert!(!api.process.log().contains("NO AUTHENTICATION"), "{}", api.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_others_can_reach_says_loudly_that_it_asks_nobody_who_he_is() {
    let fleet = fleet().await;

    let api = Served::start(&fleet, &["--api-listen", "0.0.0.0:0"]).await;

    eventually(PATIENCE, "it has its servers", async || {
        (api.get("/health").await.status == 200).then_some(())
    })
    .await;
    let log = api.process.log();
    let warned = log.lines().find(|line| line.contains("THE API HAS NO AUTHENTICATION YET"));
    assert!(warned.is_some_and(|line| line.contains("\"level\":\"WARN\"")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_without_postgres_says_so_in_problems_and_recovers() {
    let fleet = fleet().await;
    let (_, server) = fleet.database_url().rsplit_once('@').unwrap();
    let (server, database) = server.split_once('/').unwrap();
    let proxy = Proxy::start(server).await;
    let url = format!("postgresql://postgres@{}/{database}", proxy.address());
    let api = Served::start(&fleet, &["--database-url", &url]).await;
    assert_eq!(api.get("/customers/17").await.status, 404);

    proxy.refuse();
    let away = api.get("/customers/17").await;
    let health = eventually(PATIENCE, "it is not ready", async || {
        let health = api.get("/health").await;
        (health.status == 503).then_some(health)
    })
    .await;
    proxy.pass();

    assert_eq!(
        (away.status, away.json()["code"].as_str()),
        (503, Some("store-unavailable")),
        "{}",
        away.body
    );
    assert!(away.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds <= 3));
    assert_eq!(health.json()["code"], "not-ready");
    assert!(!away.body.contains(&proxy.address().to_string()), "no server is named: {}", away.body);
    eventually(PATIENCE, "it recovers without a hand", async || {
        (api.get("/customers/17").await.status == 404).then_some(())
    })
    .await;
}

pub(crate) async fn fleet() -> Fleet {
    Fleet::new(&Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"))).await
}

/// An api that is served.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) address: String,
}

impl Served {
    /// Starts an api on a port that is free, and waits until it answers.
    pub(crate) async fn start(fleet: &Fleet, arguments: &[&str]) -> Self {
        let listen =
            if arguments.contains(&"--api-listen") { &[][..] } else { &["--api-listen", "127.0.0.1:0"] };
        let process = fleet.background("api", &[&["api"], listen, arguments].concat());
        let address = eventually(PATIENCE, "the api is open", async || {
            let log = process.log();
            let line = log.lines().find(|line| line.contains("the api is open"))?;
            Some(serde_json::from_str::<Value>(line).ok()?["address"].as_str()?.to_owned())
        })
        .await;
        Self { process, address: address.replace("0.0.0.0", "127.0.0.1") }
    }

    /// Asks for what is below `/api/ltv`.
    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.ask("GET", path, "", "").await
    }

    /// Asks for what is below `/api/ltv`, with more lines in the head, each ended, and a body.
    pub(crate) async fn ask(&self, method: &str, path: &str, head: &str, body: &str) -> Answered {
        let answer = exchange(&self.address, method, path, head, body).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answered { status, head: head.to_owned(), body: body.to_owned() }
    }
}

/// Asks an address, and returns what came until the connection was closed.
pub(crate) async fn exchange(address: &str, method: &str, path: &str, head: &str, body: &str) -> String {
    let length = body.len();
    let asked = format!(
        "{method} /api/ltv{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n{body}"
    );
    let answered = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Whoever is killed closes nothing in order.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    tokio::time::timeout(Duration::from_mins(1), answered).await.unwrap()
}

/// What an api answered.
pub(crate) struct Answered {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// A line of the head, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(named, _)| named.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .next()
            .unwrap_or_default()
    }
}
