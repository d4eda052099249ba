//! What keeps a role from its work is told once, and readiness is the truth.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use tests::{Fleet, PATIENCE, Process, Program, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy::Proxy;

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_over_a_read_only_database_is_not_ready_and_says_why_once() {
    let fleet = fleet().await;
    read_only(&fleet, "on").await;

    let coordinator = fleet.coordinator(&[]);
    let (name, body) = not_ready(&coordinator).await;
    let again = eventually(PATIENCE, "it has tried it more than once", async || {
        let tries = warnings(&coordinator, "DEBUG", "it still does not go");
        (tries.len() > 2).then_some(warnings(&coordinator, "WARN", "it does not go"))
    })
    .await;
    read_only(&fleet, "off").await;
    cut_connections(&fleet).await;
    ready(&coordinator).await;

    assert!(name == "postgres" || name == "leadership", "{body}");
    assert!(body.contains("read-only"), "{body}");
    // Whoever works out what moved is tried beside the leader, and says it for himself.
    let of_the_leader: Vec<_> = again.iter().filter(|line| line.contains("renew the leadership")).collect();
    assert!(matches!(&of_the_leader[..], [one] if one.contains("read-only")), "{again:?}");
    let goes_again = warnings(&coordinator, "INFO", "it goes again");
    let of_the_leader = goes_again.iter().filter(|line| line.contains("renew the leadership"));
    assert_eq!(of_the_leader.count(), 1, "{}", coordinator.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_from_postgres_at_begin_says_so_at_once_and_is_not_ready() {
    let fleet = fleet().await;
    let (_, server) = fleet.database_url().rsplit_once('@').unwrap();
    let (server, database) = server.split_once('/').unwrap();
    let proxy = Proxy::start(server).await;
    let url = format!("postgresql://postgres@{}/{database}", proxy.address());
    let worker = fleet.worker(&["--database-url", &url]);
    worker.says("taking work", PATIENCE).await;
    ready(&worker).await;

    proxy.refuse();
    let run = fleet.dispatch(&[]).await;
    worker.says("begin an attempt", PATIENCE).await;
    let (_, body) = not_ready(&worker).await;
    proxy.pass();
    let _coordinator = fleet.coordinator(&[]);
    fleet.finished(run).await;
    ready(&worker).await;

    assert!(body.contains("begin an attempt: "), "{body}");
    let warned = warnings(&worker, "WARN", "it does not go");
    assert!(matches!(&warned[..], [one] if one.contains("begin")), "{warned:?}");
    fleet.assert_exact(run).await;
}

/// A breaker that opens says what the calls before it met.
#[tokio::test(flavor = "multi_thread")]
async fn the_line_of_a_breaker_that_opens_says_what_the_calls_met() {
    let fleet = fleet().await;
    read_only(&fleet, "on").await;

    let coordinator = fleet.coordinator(&["--leadership-lease", "1s"]);
    coordinator.says("circuit breaker open", PATIENCE).await;

    let opened = warnings(&coordinator, "WARN", "circuit breaker open");
    assert!(opened[0].contains("read-only transaction"), "{opened:?}");
}

async fn fleet() -> Fleet {
    Fleet::new(&Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"))).await
}

/// Lets the database refuse to be changed to whoever connects from now on.
async fn read_only(fleet: &Fleet, value: &str) {
    let (_, database) = fleet.database_url().rsplit_once('/').unwrap();
    let client = fleet.sql().await;
    client.batch_execute("set default_transaction_read_only = off").await.unwrap();
    let alter = format!("alter database {database} set default_transaction_read_only = {value}");
    client.batch_execute(&alter).await.unwrap();
}

async fn cut_connections(fleet: &Fleet) {
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()";
    fleet.sql().await.batch_execute(cut).await.unwrap();
}

/// Waits until a role says that it is not ready; the dependency that it names first, and all it says.
pub(crate) async fn not_ready(role: &Process) -> (String, String) {
    let body = eventually(PATIENCE, "it is not ready", async || match readyz(role).await? {
        (503, body) => Some(body),
        _ => None,
    })
    .await;
    let said: Value = serde_json::from_str(&body).unwrap();
    let dependencies = said["dependencies"].as_array().unwrap();
    let failed = dependencies.iter().find(|one| one["state"] == "failed" && one["required"] == true).unwrap();
    (failed["name"].as_str().unwrap().to_owned(), body)
}

pub(crate) async fn ready(role: &Process) {
    eventually(PATIENCE, "it is ready", async || (readyz(role).await?.0 == 200).then_some(())).await;
}

/// The status and the body of `/readyz`, once the port is open.
async fn readyz(role: &Process) -> Option<(u16, String)> {
    let log = role.log();
    let line = log.lines().find(|line| line.contains("serving /healthz"))?;
    let address = serde_json::from_str::<Value>(line).unwrap()["address"].as_str()?.to_owned();
    let mut stream = TcpStream::connect(&address).await.ok()?;
    let ask = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The lines of a level with a message that begins so.
fn warnings(role: &Process, level: &str, message: &str) -> Vec<String> {
    let log = role.log();
    let lines = log.lines().filter(|line| {
        line.contains(&format!("\"level\":\"{level}\"")) && line.contains(&format!("\"message\":\"{message}"))
    });
    lines.map(str::to_owned).collect()
}
