//! The cache against a real Redis: the promises of the seam, and what Redis alone can show, also while it is away,
//! hangs, is emptied or restarted.
//!
//! Every test has a prefix of its own. Those that take the server away or empty it do so alone: a lock on a file,
//! because the test runner may give each test a process. What only needs a sick connection gets one from a
//! [`Gate`] in front of the server, and disturbs nobody.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::File;
use std::time::Duration;

use ::cache::promises::{Severable, Subject, chunk, valued, visible};
use ::cache::{Cache, Error, Redis, RedisConfig, Valued, outage_tests, promise_tests};
use batch::{CustomerId, Progress, RunId};
use resilience::{BreakerConfig, State};
use tests::{Stack, unique};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

/// How long anything may take, the restart of a server included.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a loaded machine may add to a limit.
const SLACK: Duration = Duration::from_millis(500);

promise_tests! { tokio::test(flavor = "multi_thread"), OnRedis::new().await }

outage_tests! { tokio::test(flavor = "multi_thread"), OnRedis::new().await }

// --- values -----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_customers_without_neighbours_is_written_within_its_limit() {
    let server = Server::shared();
    let cache = connect(RedisConfig { bulk_limit: Duration::from_secs(10), ..config(&server) }).await;
    let sparse: Vec<Valued> = (0..5_000).map(|number| valued(number * 1_000)).collect();

    cache.put_values(RunId(1), &sparse).await.unwrap();

    cache.put_visible(&visible(1, [1])).await.unwrap();
    for Valued { customer, value } in [sparse[0], sparse[255], sparse[256], sparse[4_999]] {
        assert_eq!(cache.value(customer).await, Ok(Some((RunId(1), value))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_are_packed_tightly_and_expire_as_a_whole() {
    let server = Server::shared();
    let config = RedisConfig { time_to_live: Duration::from_mins(10), ..config(&server) };
    let bucket = |number: i64| format!("{}:values:1:{number}", config.prefix);
    let visible_key = format!("{}:visible", config.prefix);
    let progress_key = format!("{}:progress:1", config.prefix);
    let cache = connect(config.clone()).await;

    cache.put_values(RunId(1), &chunk(0..5_000)).await.unwrap();
    cache.put_visible(&visible(1, [1])).await.unwrap();
    cache.put_progress(RunId(1), &Progress::default()).await.unwrap();

    let mut raw = server.raw().await;
    assert_eq!(raw.ask(&format!("HLEN {}", bucket(0))).await, ":100");
    assert_eq!(raw.ask(&format!("HLEN {}", bucket(49))).await, ":100");
    assert_eq!(raw.ask(&format!("EXISTS {}", bucket(50))).await, ":0");
    assert_eq!(raw.ask(&format!("OBJECT ENCODING {}", bucket(17))).await, "listpack");
    let bytes = raw.number(&format!("MEMORY USAGE {}", bucket(17))).await;
    // A value has 59 bytes, its slot and the block's own bookkeeping another ten or so.
    assert!(bytes < 8_000, "{bytes} bytes for a hundred customers");
    for key in [bucket(0), bucket(49), visible_key, progress_key] {
        let seconds = raw.number(&format!("TTL {key}")).await;
        assert!((1..=600).contains(&seconds), "{key} expires in {seconds} s");
    }
}

// --- visible runs -----------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn repeating_the_newest_version_keeps_it_from_expiring() {
    let server = Server::shared();
    let config = config(&server);
    let key = format!("{}:visible", config.prefix);
    let cache = connect(config).await;
    let mut raw = server.raw().await;

    cache.put_visible(&visible(1, [1])).await.unwrap();
    assert_eq!(raw.ask(&format!("EXPIRE {key} 100")).await, ":1");
    cache.put_visible(&visible(1, [1])).await.unwrap();

    assert!(raw.number(&format!("TTL {key}")).await > 100);
}

// --- progress ---------------------------------------------------------------------------------------------------

/// The script reads the same JSON as we do.
#[tokio::test(flavor = "multi_thread")]
async fn progress_of_an_earlier_release_is_compared_and_what_is_none_is_replaced() {
    let server = Server::shared();
    let config = config(&server);
    let key = format!("{}:progress:1", config.prefix);
    let cache = connect(config).await;
    let mut raw = server.raw().await;
    let reached = |done| Progress { chunks: 200, done, ..Progress::default() };
    let held = r#"{"chunks":200,"done":20,"dead":0,"customers":0,"values":0,"rejections":0,"work":0,"work_settled":0}"#;

    raw.ask(&format!("SET {key} '{held}'")).await;
    cache.put_progress(RunId(1), &reached(19)).await.unwrap();
    assert_eq!(cache.progress(RunId(1)).await, Ok(Some(reached(20))));
    cache.put_progress(RunId(1), &reached(21)).await.unwrap();
    assert_eq!(cache.progress(RunId(1)).await, Ok(Some(reached(21))));

    for nonsense in ["gibberish", "[]", "null", "7", r#"{"chunks":200,"customers":0,"done":"many"}"#] {
        raw.ask(&format!("SET {key} '{nonsense}'")).await;
        cache.put_progress(RunId(1), &reached(1)).await.unwrap();
        assert_eq!(cache.progress(RunId(1)).await, Ok(Some(reached(1))), "{nonsense}");
    }
    assert_eq!(cache.breaker().state(), State::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_that_is_behind_does_not_keep_what_is_held_from_expiring() {
    let server = Server::shared();
    let config = config(&server);
    let key = format!("{}:progress:1", config.prefix);
    let cache = connect(config).await;
    let mut raw = server.raw().await;
    let reached = |done| Progress { chunks: 200, done, ..Progress::default() };

    cache.put_progress(RunId(1), &reached(20)).await.unwrap();
    assert_eq!(raw.ask(&format!("EXPIRE {key} 100")).await, ":1");
    cache.put_progress(RunId(1), &reached(19)).await.unwrap();
    assert!(raw.number(&format!("TTL {key}")).await <= 100);
    cache.put_progress(RunId(1), &reached(20)).await.unwrap();
    assert!(raw.number(&format!("TTL {key}")).await > 100);
}

// --- bytes of others --------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_ours_are_malformed_and_do_not_open_the_breaker() {
    let server = Server::shared();
    let config = config(&server);
    let prefix = config.prefix.clone();
    let cache = connect(config).await;
    let mut raw = server.raw().await;
    cache.put_visible(&visible(1, [1])).await.unwrap();
    raw.ask(&format!("HSET {prefix}:values:1:0 \"\\x11\" gibberish")).await;
    raw.ask(&format!("SET {prefix}:progress:1 gibberish")).await;
    raw.ask(&format!("SET {prefix}:values:1:1 \"not a hash\"")).await;

    for _ in 0..20 {
        let value = cache.value(CustomerId(17)).await.unwrap_err();
        let progress = cache.progress(RunId(1)).await.unwrap_err();

        assert!(matches!(value, Error::Malformed(_)) && !value.is_transient(), "{value}");
        assert!(matches!(progress, Error::Malformed(_)), "{progress}");
    }
    let value = cache.value(CustomerId(17)).await.unwrap_err().to_string();
    assert_eq!(value, "redis: read the value of customer 17: run 1: format version 103 instead of 2");
    let wrong_type = cache.value(CustomerId(117)).await.unwrap_err();
    assert!(matches!(wrong_type, Error::Malformed(_)), "{wrong_type}");

    raw.ask(&format!("HSET {prefix}:visible runs gibberish")).await;
    assert!(matches!(cache.visible().await, Err(Error::Malformed(_))));
    assert_eq!(cache.value(CustomerId(17)).await, Ok(None));
    assert_eq!(cache.put_visible(&visible(2, [1])).await, Ok(true), "a newer version heals it");
    assert_eq!(cache.breaker().state(), State::Closed);
}

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

// --- under the promises -----------------------------------------------------------------------------------------

/// Keys of a test's own, behind a gate.
struct OnRedis {
    server: Server,
    gate: Gate,
    config: RedisConfig,
}

impl OnRedis {
    async fn new() -> Self {
        let server = Server::shared();
        let gate = Gate::new(&server, Mode::Pass).await;
        let config = through(&gate, &server);
        Self { server, gate, config }
    }
}

impl Subject for OnRedis {
    type Cache = Redis;

    async fn connect(&self) -> Redis {
        connect(self.config.clone()).await
    }

    async fn empty(&self) {
        // What others hold stays.
        let delete =
            "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end return 1";
        let mut raw = self.server.raw().await;
        assert_eq!(raw.number(&format!("EVAL \"{delete}\" 0 {}:*", self.config.prefix)).await, 1);
    }
}

impl Severable for OnRedis {
    async fn go_away(&self) {
        self.gate.set(Mode::Cut);
    }

    async fn hang(&self) {
        self.gate.set(Mode::Hang);
    }

    async fn come_back(&self) {
        self.gate.set(Mode::Pass);
    }
}

// --- what the tests say -----------------------------------------------------------------------------------------

async fn connect(config: RedisConfig) -> Redis {
    let cache = Redis::connect(config).await.unwrap();
    until("it is connected", async || cache.check().await.is_ok()).await;
    cache
}

fn config(server: &Server) -> RedisConfig {
    RedisConfig { prefix: unique("cache"), ..RedisConfig::new(server.stack.redis_url(), "test") }
}

fn through(gate: &Gate, server: &Server) -> RedisConfig {
    let url = server.stack.redis_url().replace(&server.address(), &gate.address).into();
    RedisConfig { url, ..config(server) }
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

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    until_some(what, async || condition().await.then_some(())).await;
}

/// Asks until there is an answer, or patience ends.
async fn until_some<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The Redis of the stack, shared with other tests or alone.
struct Server {
    stack: Stack,
    _lock: File,
}

impl Server {
    fn shared() -> Self {
        Self::locked(File::lock_shared)
    }

    fn alone() -> Self {
        Self::locked(File::lock)
    }

    fn locked(lock: fn(&File) -> std::io::Result<()>) -> Self {
        let stack = Stack::from_env();
        let port = address(stack.redis_url()).replace([':', '/'], "-");
        let path = std::env::temp_dir().join(format!("ltv-tests-redis-{port}.lock"));
        let file = File::options().create(true).append(true).open(path).unwrap();
        lock(&file).unwrap();
        Self { stack, _lock: file }
    }

    /// `host:port`
    fn address(&self) -> String {
        address(self.stack.redis_url())
    }

    /// Speaks to the server as `redis-cli` would.
    async fn raw(&self) -> Raw {
        let mut raw = Raw { stream: BufStream::new(TcpStream::connect(self.address()).await.unwrap()) };
        let url = self.stack.redis_url();
        if let Some((login, _)) = url.trim_start_matches("redis://").split_once('@') {
            assert_eq!(raw.ask(&format!("AUTH {}", login.replace(':', " ").trim())).await, "+OK");
        }
        if let Some(database) =
            url.trim_start_matches("redis://").split('/').nth(1).filter(|it| !it.is_empty())
        {
            assert_eq!(raw.ask(&format!("SELECT {database}")).await, "+OK");
        }
        raw
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed with the server away must not fail the others with it.
        if std::thread::panicking() {
            self.stack.service("start", "redis");
        }
    }
}

fn address(url: impl Into<String>) -> String {
    let url = url.into();
    let place = url.trim_start_matches("redis://").split('/').next().unwrap_or_default();
    place.rsplit('@').next().unwrap_or_default().to_owned()
}

/// Sends inline commands, and reads answers of one line or one string.
struct Raw {
    stream: BufStream<TcpStream>,
}

impl Raw {
    async fn ask(&mut self, command: &str) -> String {
        self.stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        let Some(length) = line.trim_end().strip_prefix('$') else {
            return line.trim_end().to_owned();
        };
        let mut text = vec![0; length.parse::<usize>().unwrap() + 2];
        self.stream.read_exact(&mut text).await.unwrap();
        String::from_utf8(text).unwrap().trim_end().to_owned()
    }

    async fn number(&mut self, command: &str) -> i64 {
        let answer = self.ask(command).await;
        answer.strip_prefix(':').and_then(|number| number.parse().ok()).expect(&answer)
    }
}

/// Stands between a cache and the server, and spoils the connection.
struct Gate {
    address: String,
    mode: watch::Sender<Mode>,
    listener: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Connections pass.
    Pass,
    /// Connections are closed, new ones at once.
    Cut,
    /// Connections are open, but nobody reads or writes; they stay so when the mode changes to `Pass`.
    Hang,
}

impl Gate {
    async fn new(server: &Server, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (mode, modes) = watch::channel(mode);
        let target = server.address();
        let accept = async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                connections.spawn(carry(near, target.clone(), modes.clone()));
            }
        };
        Self { address, mode, listener: tokio::spawn(accept) }
    }

    fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn carry(mut near: TcpStream, target: String, mut modes: watch::Receiver<Mode>) {
    let mut far = TcpStream::connect(target).await.unwrap();
    let spoilt = async { *modes.wait_for(|mode| *mode != Mode::Pass).await.unwrap() };
    let mode = tokio::select! {
        biased;
        mode = spoilt => mode,
        _ = copy_bidirectional(&mut near, &mut far) => return,
    };
    if mode == Mode::Hang {
        let _ = modes.wait_for(|mode| *mode == Mode::Cut).await;
    }
}
