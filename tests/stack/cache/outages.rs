//! What Redis alone can show while it is away, hangs, is emptied or restarted.

use std::time::Duration;

use ::cache::promises::{chunk, valued, visible};
use ::cache::{Cache, Error, Redis, RedisConfig};
use batch::{CustomerId, Progress, RunId};
use resilience::{BreakerConfig, State};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::gate::{Gate, Mode};
use super::server::Server;
use super::{config, connect, through, until, until_some};

/// What a loaded machine may add to a limit.
const SLACK: Duration = Duration::from_millis(500);

// --- a sick connection ------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_redis_and_serves_as_soon_as_there_is_one() {
    let server = Server::shared();
    let gate = Gate::new(&server, Mode::Cut).await;

    let cache = Redis::connect(through(&gate, &server)).await.unwrap();
    let error = cache.check().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)) && error.is_transient(), "{error}");

    gate.set(Mode::Pass);
    until("it serves", async || cache.check().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_down_every_call_answers_within_its_limit_and_the_breaker_opens() {
    let server = Server::shared();
    let gate = Gate::new(&server, Mode::Pass).await;
    let cache = connect(through(&gate, &server)).await;
    cache.put_visible(&visible(1, [1])).await.unwrap();

    gate.set(Mode::Cut);
    until("it is noticed", async || cache.check().await.is_err()).await;
    every_call_fails_within_its_limit(&cache).await;

    assert_eq!(cache.breaker().state(), State::Open);
    let error = cache.check().await.unwrap_err().to_string();
    assert!(error.starts_with("redis for test: circuit breaker open"), "{error}");

    gate.set(Mode::Pass);
    until("it serves again", async || cache.visible().await == Ok(Some(visible(1, [1])))).await;
    until("the breaker closes", async || {
        cache.check().await.is_ok() && cache.breaker().state() == State::Closed
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_hanging_every_call_answers_within_its_limit_and_the_breaker_opens() {
    let server = Server::shared();
    let gate = Gate::new(&server, Mode::Pass).await;
    let cache = connect(through(&gate, &server)).await;
    cache.put_visible(&visible(1, [1])).await.unwrap();

    gate.set(Mode::Hang);
    let error = cache.check().await.unwrap_err();
    assert!(matches!(error, Error::TimedOut(_)) && error.is_transient(), "{error}");
    assert_eq!(error.to_string(), "redis: ping: no answer within 250 ms");
    every_call_fails_within_its_limit(&cache).await;
    assert_eq!(cache.breaker().state(), State::Open);

    // The connections that hang stay so; only a new one can help.
    gate.set(Mode::Pass);
    until("it serves again", async || cache.visible().await == Ok(Some(visible(1, [1])))).await;
}

/// fred's only task waits in a write then, and sees nothing of the answers that are missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_stuck_in_a_write_is_replaced() {
    let server = Server::shared();
    let gate = Gate::new(&server, Mode::Pass).await;
    let never_opens = BreakerConfig { minimum_calls: u32::MAX, ..BreakerConfig::default() };
    let config = RedisConfig { breaker: never_opens, ..through(&gate, &server) };
    let cache = connect(config).await;

    gate.set(Mode::Hang);
    let mut writers = JoinSet::new();
    for _ in 0..40 {
        // A megabyte each: together more than the sockets between here and there take.
        let cache = cache.clone();
        writers.spawn(async move { cache.put_values(RunId(1), &chunk(0..50_000)).await });
    }
    while let Some(result) = writers.join_next().await {
        result.unwrap().unwrap_err();
    }

    gate.set(Mode::Pass);
    until("it serves again", async || cache.check().await.is_ok()).await;
}

// --- a server that is taken away --------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_it_works_again_unaided() {
    let server = Server::alone();
    let cache = connect(config(&server)).await;
    cache.put_values(RunId(1), &chunk(0..5_000)).await.unwrap();
    cache.put_visible(&visible(1, [1])).await.unwrap();

    for take_away in ["kill", "stop"] {
        server.stack.service(take_away, "redis");
        every_call_fails_within_its_limit(&cache).await;
        server.stack.service("start", "redis");
        until("it serves again", async || cache.check().await.is_ok()).await;

        // What it held may be gone; asking for it is no error, and writing it again works.
        until("the breaker closes", async || {
            cache.value(CustomerId(17)).await.is_ok() && cache.breaker().state() == State::Closed
        })
        .await;
        cache.put_values(RunId(1), &chunk(0..5_000)).await.unwrap();
        cache.put_visible(&visible(1, [1])).await.unwrap();
        assert_eq!(cache.value(CustomerId(17)).await, Ok(Some((RunId(1), valued(17).value))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_server_gives_none_and_no_error() {
    let server = Server::alone();
    let cache = connect(config(&server)).await;
    cache.put_values(RunId(1), &chunk(0..100)).await.unwrap();
    cache.put_visible(&visible(7, [1])).await.unwrap();
    cache.put_progress(RunId(1), &Progress::default()).await.unwrap();

    assert_eq!(server.raw().await.ask("FLUSHALL").await, "+OK");

    assert_eq!(cache.visible().await, Ok(None));
    assert_eq!(cache.value(CustomerId(17)).await, Ok(None));
    assert_eq!(cache.progress(RunId(1)).await, Ok(None));
    assert_eq!(cache.put_visible(&visible(7, [1])).await, Ok(true), "the same version is news again");
    assert_eq!(cache.value(CustomerId(17)).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_password_is_named_but_never_shown() {
    let server = Server::shared();
    let url = format!("redis://nobody:sesame@{}", server.address()).into();
    let cache = Redis::connect(RedisConfig { url, ..config(&server) }).await.unwrap();

    until_some("the reason is known", async || {
        let error = cache.check().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("sesame"), "{error}");
        error.to_string().contains("WRONGPASS").then_some(())
    })
    .await;

    assert!(!format!("{cache:?}").contains("sesame"));
}

async fn every_call_fails_within_its_limit(cache: &Redis) {
    let call = Duration::from_millis(250) + SLACK;
    let chunk_limit = Duration::from_secs(1) + SLACK;
    let progress = Progress::default();
    for _ in 0..2 {
        timeout(chunk_limit, cache.put_values(RunId(1), &chunk(0..5_000))).await.unwrap().unwrap_err();
        timeout(call, cache.put_visible(&visible(1, [1]))).await.unwrap().unwrap_err();
        timeout(call, cache.visible()).await.unwrap().unwrap_err();
        timeout(call, cache.value(CustomerId(17))).await.unwrap().unwrap_err();
        timeout(call, cache.put_progress(RunId(1), &progress)).await.unwrap().unwrap_err();
        timeout(call, cache.progress(RunId(1))).await.unwrap().unwrap_err();
        timeout(call, cache.check()).await.unwrap().unwrap_err();
    }
}
