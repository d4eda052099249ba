//! The cache against a real Redis: the promises of the seam, and what Redis alone can show, also while it is away,
//! hangs, is emptied or restarted.
//!
//! Every test has a prefix of its own. Those that take the server away or empty it do so alone: a lock on a file,
//! because the test runner may give each test a process. What only needs a sick connection gets one from a
//! [`Gate`] in front of the server, and disturbs nobody.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod gate;
mod outages;
mod server;
mod standing;

use std::time::Duration;

use ::cache::memory::Key;
use ::cache::promises::{Severable, Subject, chunk, valued, visible};
use ::cache::{Cache, Error, Holds, Redis, RedisConfig, Valued, outage_tests, promise_tests};
use batch::{CustomerId, Progress, RunId};
use resilience::State;
use tests::unique;
use tokio::time::Instant;

use self::gate::{Gate, Mode};
use self::server::Server;

/// How long anything may take, the restart of a server included.
const PATIENCE: Duration = Duration::from_secs(90);

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
    let bucket = |number: i64| format!("{}:values:1:{number}", config.names());
    let visible_key = format!("{}:visible", config.names());
    let progress_key = format!("{}:progress:1", config.names());
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
    // A value has 63 bytes, its slot and the block's own bookkeeping another five or so.
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
    let key = format!("{}:visible", config.names());
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
    let key = format!("{}:progress:1", config.names());
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
    let key = format!("{}:progress:1", config.names());
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
async fn values_that_are_not_ours_or_not_in_their_place_are_answered_by_none_and_open_no_breaker() {
    let server = Server::shared();
    let config = config(&server);
    let prefix = config.names();
    let cache = connect(config).await;
    let mut raw = server.raw().await;
    let read = async |customer| cache.value(CustomerId(customer)).await;
    cache.put_values(RunId(1), &chunk(0..200)).await.unwrap();
    cache.put_values(RunId(2), &chunk(0..1)).await.unwrap();
    cache.put_members(RunId(2), &[CustomerId(0)]).await.unwrap();
    cache.put_visible(&visible(1, [2, 1])).await.unwrap();
    let members: Vec<CustomerId> = (0..200).map(CustomerId).collect();
    cache.put_members(RunId(1), &members).await.unwrap();
    assert_eq!(read(18).await, Ok(Some((RunId(1), valued(18).value))));
    assert_eq!(cache.holds_all(RunId(1)).await, Ok(Holds::All));

    raw.ask(&format!("HSET {prefix}:values:1:0 \"\\x11\" gibberish")).await;
    let swap = "redis.call('HSET', KEYS[1], ARGV[1], redis.call('HGET', KEYS[1], ARGV[2])) return 1";
    raw.ask(&format!("EVAL \"{swap}\" 1 {prefix}:values:1:0 \"\\x12\" \"\\x13\"")).await;
    assert_eq!(cache.holds_all(RunId(1)).await, Ok(Holds::Damaged), "before anybody has read it");
    for customer in [17, 18] {
        assert_eq!(read(customer).await, Ok(None), "{customer}");
    }
    cache.put_values(RunId(1), &chunk(0..200)).await.unwrap();
    for release in ["\\x02 an earlier", "\\x04 a later"] {
        raw.ask(&format!("HSET {prefix}:values:1:0 \"\\x11\" \"{release} release's\"")).await;
        assert_eq!(read(17).await, Ok(None), "{release}");
        assert_eq!(cache.holds_all(RunId(1)).await, Ok(Holds::All), "{release}: it is theirs to judge");
    }
    raw.ask(&format!("HDEL {prefix}:values:1:0 \"\\x12\"")).await;
    raw.ask(&format!("HSET {prefix}:values:1:0 foreign gibberish")).await;
    assert_eq!(cache.holds_all(RunId(1)).await, Ok(Holds::Less), "what is foreign hides no loss");
    raw.ask(&format!("DEL {prefix}:values:1:1")).await;
    raw.ask(&format!("SET {prefix}:values:1:1 \"not a hash\"")).await;
    assert_eq!(cache.holds_all(RunId(1)).await, Ok(Holds::Damaged));
    for customer in [17, 18, 117] {
        for _ in 0..20 {
            assert_eq!(read(customer).await, Ok(None), "{customer}");
        }
    }
    assert_eq!(read(20).await, Ok(Some((RunId(1), valued(20).value))));

    raw.ask(&format!("HSET {prefix}:members:2 0 gibberish")).await;
    assert_eq!(read(20).await, Ok(None), "whose page is not as it was written");
    assert_eq!(cache.holds_all(RunId(2)).await, Ok(Holds::Damaged));
    raw.ask(&format!("SET {prefix}:members:2 gibberish")).await;
    assert_eq!(read(20).await, Ok(None), "whose directory is of another type");
    assert_eq!(cache.holds_all(RunId(2)).await, Ok(Holds::Damaged));

    raw.ask(&format!("DEL {prefix}:members:2")).await;
    cache.put_members(RunId(2), &[CustomerId(0)]).await.unwrap();
    raw.ask(&format!("HSET {prefix}:members:2 foreign gibberish")).await;
    assert_eq!(read(20).await, Ok(Some((RunId(1), valued(20).value))), "beside what is there");
    raw.ask(&format!("HDEL {prefix}:members:2 0")).await;
    assert_eq!(read(20).await, Ok(None), "what is foreign does not make up for a page that is lost");
    assert_eq!(cache.holds_all(RunId(2)).await, Ok(Holds::Less));

    cache.put_members(RunId(2), &[CustomerId(0)]).await.unwrap();
    cache.put_values(RunId(1), &chunk(0..200)).await.unwrap();
    for customer in [17, 18, 20, 117] {
        assert_eq!(read(customer).await, Ok(Some((RunId(1), valued(customer).value))), "written again");
    }
    assert_eq!(cache.breaker().state(), State::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_place_of_the_visible_runs_or_of_progress_is_replaced() {
    let server = Server::shared();
    let config = config(&server);
    let prefix = config.names();
    let cache = connect(config).await;
    let mut raw = server.raw().await;
    cache.put_values(RunId(1), &[valued(17)]).await.unwrap();

    for garbage in [
        format!("SET {prefix}:visible gibberish"),
        format!("HSET {prefix}:visible runs gibberish"),
        format!("HSET {prefix}:visible version 9000000000000"),
        format!("HSET {prefix}:visible runs \"\""),
        format!("HDEL {prefix}:visible sum"),
    ] {
        cache.put_visible(&visible(1, [1])).await.unwrap();
        raw.ask(&garbage).await;
        assert!(matches!(cache.visible().await, Err(Error::Malformed(_))), "{garbage}");
        assert_eq!(cache.value(CustomerId(17)).await, Ok(None), "{garbage}");

        assert_eq!(cache.put_visible(&visible(1, [1])).await, Ok(true), "{garbage}");
        assert_eq!(cache.value(CustomerId(17)).await, Ok(Some((RunId(1), valued(17).value))), "{garbage}");
        assert_eq!(cache.put_visible(&visible(1, [1])).await, Ok(false), "{garbage}");
    }

    for garbage in ["SET {} gibberish", "HSET {} gibberish 1"] {
        raw.ask(&format!("DEL {prefix}:progress:1")).await;
        raw.ask(&garbage.replace("{}", &format!("{prefix}:progress:1"))).await;
        let error = cache.progress(RunId(1)).await.unwrap_err();
        assert!(matches!(error, Error::Malformed(_)) && !error.is_transient(), "{error}");
        cache.put_progress(RunId(1), &Progress::default()).await.unwrap();
        assert_eq!(cache.progress(RunId(1)).await, Ok(Some(Progress::default())));
    }
    assert_eq!(cache.breaker().state(), State::Closed);
}

/// More pages than one command or one request takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_directory_is_written_and_looked_through() {
    let server = Server::shared();
    let config = RedisConfig { bulk_limit: Duration::from_secs(10), ..config(&server) };
    let prefix = config.names();
    let cache = connect(config).await;
    let mut raw = server.raw().await;
    let sparse: Vec<Valued> = (0..25_000).map(|number| valued(number * 100)).collect();
    let members: Vec<CustomerId> = sparse.iter().map(|valued| valued.customer).collect();

    cache.put_values(RunId(2), &sparse).await.unwrap();
    cache.put_members(RunId(2), &members).await.unwrap();
    cache.put_values(RunId(1), &chunk(0..2)).await.unwrap();
    cache.put_visible(&visible(1, [2, 1])).await.unwrap();

    assert_eq!(cache.holds_all(RunId(2)).await, Ok(Holds::All));
    assert_eq!(cache.value(CustomerId(0)).await, Ok(Some((RunId(2), valued(0).value))));
    assert_eq!(cache.value(CustomerId(1)).await, Ok(Some((RunId(1), valued(1).value))));
    raw.ask(&format!("DEL {prefix}:values:2:24999")).await;
    assert_eq!(cache.holds_all(RunId(2)).await, Ok(Holds::Less));
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
        assert_eq!(raw.number(&format!("EVAL \"{delete}\" 0 {}:*", self.config.names())).await, 1);
    }

    async fn lose(&self, key: Key) {
        let name = match key {
            Key::Values(run, customer) => format!("values:{run}:{}", customer.0.div_euclid(100)),
            Key::Members(run) => format!("members:{run}"),
            Key::Visible => "visible".into(),
            Key::Progress(run) => format!("progress:{run}"),
        };
        self.server.raw().await.ask(&format!("DEL {}:{name}", self.config.names())).await;
    }

    async fn damage(&self, run: RunId, customer: CustomerId) {
        let (bucket, slot) = (customer.0.div_euclid(100), customer.0.rem_euclid(100));
        let key = format!("{}:values:{run}:{bucket}", self.config.names());
        assert_eq!(
            self.server.raw().await.ask(&format!("HSET {key} \"\\x{slot:02x}\" gibberish")).await,
            ":0"
        );
    }

    async fn put_late(&self, run: RunId, customers: &[CustomerId], from: usize) {
        // The pages of a whole writing, and how many they are, moved to what is there but for the first few. What is there
        // is kept.
        let mut raw = self.server.raw().await;
        let scratch = RedisConfig { prefix: unique("late"), ..self.config.clone() };
        let late = connect(scratch.clone()).await;
        late.put_members(run, customers).await.unwrap();
        let take = "local all = redis.call('HGETALL', KEYS[1]) redis.call('DEL', KEYS[1]) \
                    if ARGV[1] == '0' then redis.call('DEL', KEYS[2]) end \
                    for at = 1 + 2 * math.max(0, ARGV[1] - 1), #all, 2 do redis.call('HSET', KEYS[2], all[at], all[at + 1]) end \
                    return 1";
        let keys = format!("{}:members:{run} {}:members:{run}", scratch.names(), self.config.names());
        assert_eq!(raw.number(&format!("EVAL \"{take}\" 2 {keys} {from}")).await, 1);
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
