//! The way to the servers, on a stack of its own that speaks TLS alone: what is wrong with it is named, and what is
//! renewed is used.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ::cache::{Cache as _, Redis, RedisConfig};
use ::queue::{Connection as _, RabbitMq, RabbitMqConfig};
use store::Archive as _;
use store::postgres::{Postgres, PostgresConfig};
use tests::{Database, Fleet, PATIENCE, Stack, eventually, unique};

use crate::store::program;

/// A server, and how it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Postgres,
    RabbitMq,
    Redis,
}

impl Server {
    const ALL: [Self; 3] = [Self::Postgres, Self::RabbitMq, Self::Redis];

    fn url(self, stack: &Stack) -> &str {
        match self {
            Self::Postgres => stack.database_url(),
            Self::RabbitMq => stack.amqp_url(),
            Self::Redis => stack.redis_url(),
        }
    }

    /// Why it cannot be used by this URL.
    async fn refusal(self, url: &str) -> String {
        let error = match self {
            Self::Postgres => {
                let store = Postgres::new(PostgresConfig::new(url, "tests")).unwrap();
                store.check().await.unwrap_err().to_string()
            }
            Self::RabbitMq => {
                RabbitMq::connect_now(RabbitMqConfig::new(url, "tests")).await.unwrap_err().to_string()
            }
            Self::Redis => {
                let cache = Redis::connect(RedisConfig::new(url, "tests")).await.unwrap();
                // It goes on connecting; how the first try ends may not be known yet.
                eventually(PATIENCE, "why Redis cannot be used", async || {
                    let error = cache.check().await.unwrap_err().to_string();
                    let is_early = error.ends_with("not connected yet") || error.contains("circuit breaker");
                    (!is_early).then_some(error)
                })
                .await
            }
        };
        let place = url.split('?').next().unwrap();
        let place = place.split_once('@').or_else(|| place.split_once("://")).unwrap().1;
        let place = place.split(['/', '?']).next().unwrap();
        assert!(error.contains(place), "{self:?} is not named: {error}");
        error
    }

    /// It cannot be used by this URL, for a reason of this kind.
    async fn check(self, url: &str, expected: &str) {
        let error = self.refusal(url).await;
        assert!(error.contains(expected), "{self:?}: {error}");
    }
}

/// A URL with other parameters: without those that have no value.
fn with(url: &str, changes: &[(&str, Option<&str>)]) -> String {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let kept = query.split('&').filter(|one| !one.is_empty()).map(|one| one.split_once('=').unwrap());
    let kept = kept.filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let new = changes.iter().filter_map(|&(name, value)| Some((name, value?)));
    let query: Vec<String> = kept.chain(new).map(|(name, value)| format!("{name}={value}")).collect();
    format!("{place}?{}", query.join("&"))
}

/// A URL of plaintext to the same place.
fn in_the_clear(url: &str) -> String {
    let place = url.split('?').next().unwrap();
    place.replace("rediss://", "redis://").replace("amqps://", "amqp://")
}

/// What a URL says about a file.
fn file(url: &str, name: &str) -> PathBuf {
    let query = url.split_once('?').unwrap().1;
    query.split('&').find_map(|one| one.strip_prefix(&format!("{name}="))).unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_way_to_a_server_is_named_with_what_mends_it() {
    let stack = Stack::from_env();
    let secured = stack.secured();
    let _alone = secured.alone();

    for server in Server::ALL {
        let url = server.url(&secured);
        let authority = with(url, &[("sslrootcert", Some("system"))]);
        server.check(&authority, "name the authority that did, sslrootcert=FILE").await;
        let address = url.replace("localhost", "127.0.0.1");
        server.check(&address, "connect to a name that it is for").await;
        let nobody = with(url, &[("sslcert", None), ("sslkey", None)]);
        server.check(&nobody, "sslcert=FILE and sslkey=FILE").await;
        // The other way round, to the stack that speaks plaintext alone.
        let place = server.url(&stack).replace("redis://", "rediss://").replace("amqp://", "amqps://");
        let authority = file(url, "sslrootcert");
        let never = with(&place, &[("sslrootcert", Some(authority.to_str().unwrap()))]);
        server.check(&never, "say that plaintext is meant").await;
    }
    Server::Postgres.check(&in_the_clear(secured.database_url()), "sslmode=verify-full").await;
    Server::RabbitMq.check(&in_the_clear(secured.amqp_url()), "write amqps://").await;
    Server::Redis.check(&in_the_clear(secured.redis_url()), "write rediss://").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_or_is_of_an_earlier_authority_is_named_with_who_mends_it() {
    let secured = Stack::from_env().secured();
    let _alone = secured.alone();
    let earlier = std::env::temp_dir().join(unique("ca.pem"));
    fs::copy(file(secured.redis_url(), "sslrootcert"), &earlier).unwrap();

    secured.renew(0);
    for server in Server::ALL {
        server.check(server.url(&secured), "has expired: have it renewed there").await;
    }
    secured.renew(7);

    for server in Server::ALL {
        let url = with(server.url(&secured), &[("sslrootcert", earlier.to_str())]);
        server.check(&url, "nobody whom we trust signed the server's certificate").await;
    }
    fs::remove_file(&earlier).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_runs_while_certificates_are_replaced_connects_with_the_new_ones() {
    let secured = Stack::from_env().secured();
    let _alone = secured.alone();
    let store = Postgres::new(PostgresConfig::new(secured.database_url(), "tests")).unwrap();
    let queue = RabbitMq::connect(RabbitMqConfig::new(secured.amqp_url(), "tests")).await.unwrap();
    let cache = Redis::connect(RedisConfig::new(secured.redis_url(), "tests")).await.unwrap();
    store.check().await.unwrap();
    assert!(queue.ready());
    cache.check().await.unwrap();

    secured.renew(7);
    restart(&secured);

    eventually(PATIENCE, "a connection to PostgreSQL", async || store.check().await.ok()).await;
    eventually(PATIENCE, "a connection to RabbitMQ", async || queue.ready().then_some(())).await;
    eventually(PATIENCE, "a connection to Redis", async || cache.check().await.ok()).await;
    queue.close().await;
}

fn restart(stack: &Stack) {
    for service in ["postgres", "rabbitmq", "redis"] {
        stack.without("stop", service).end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_over_tls_to_all_three_is_exact_while_certificates_and_authority_are_replaced() {
    let secured = Stack::from_env().secured();
    let fleet = Fleet::on(&secured, &program()).await;
    let run = fleet.dispatch(&["--chunk-customers", "100"]).await;
    let _coordinator = fleet.coordinator(&[]);
    let _workers = [fleet.worker(&[]), fleet.worker(&[])];

    fleet.reached(run, 5).await;
    secured.renew(7);
    restart(&secured);

    fleet.finished(run).await;
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_over_tls_is_measured_against_a_floor_over_tls() {
    let secured = Stack::from_env().secured();
    let fleet = Fleet::empty_on(&secured, &program()).await;

    let answer = fleet.ltv(&["bench", "night", "--customers", "2000", "--nights", "1", "--json"]);

    let report: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(report["customers"], 2_000);
    assert!(report["efficiency"].as_f64().unwrap() > 0.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_nobody_waits_for_is_cancelled_over_tls_too() {
    let secured = Stack::from_env().secured();
    let _alone = secured.alone();
    let database = Database::create(&secured).await;
    let client = database.client().await;
    let hurried = PostgresConfig {
        call_limit: Duration::from_millis(300),
        ..PostgresConfig::new(database.url(), "hurried")
    };
    let store = Postgres::new(hurried).unwrap();
    store.check().await.unwrap();

    client.batch_execute("begin; lock table fleet.runs in access exclusive mode").await.unwrap();
    store.runs(10).await.unwrap_err();

    // Sooner than the server looks by itself whether the client is still there.
    let left = "
        select count(*) from pg_stat_activity where application_name = 'ltv hurried' and wait_event_type = 'Lock'";
    eventually(Duration::from_secs(3), "the statement is cancelled", async || {
        (client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0).then_some(())
    })
    .await;
    client.batch_execute("rollback").await.unwrap();
}

/// Gives PostgreSQL its password back, which `scripts/stack` sets at each start.
struct FirstPassword(Stack);

impl Drop for FirstPassword {
    fn drop(&mut self) {
        self.0.without("stop", "postgres").end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_replaced_in_its_file_is_the_one_of_the_next_connection() {
    let secured = Stack::from_env().secured();
    let _alone = secured.alone();
    let file = file(secured.database_url(), "password_file");
    let first = fs::read_to_string(&file).unwrap();
    let rotated = std::env::temp_dir().join(unique("password"));
    fs::write(&rotated, &first).unwrap();
    let url = with(secured.database_url(), &[("password_file", rotated.to_str())]);
    let store = Postgres::new(PostgresConfig::new(url.as_str(), "rotated")).unwrap();
    store.check().await.unwrap();
    let database = Database::create(&secured).await;
    let client = database.client().await;
    let _restored = FirstPassword(secured.clone());
    let change = async |password: &str| {
        client.batch_execute(&format!("alter role ltv password '{}'", password.trim())).await.unwrap();
        let end =
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'ltv rotated'";
        client.query(end, &[]).await.unwrap();
    };

    change("two").await;
    eventually(PATIENCE, "the password is refused", async || {
        let error = store.check().await.err()?.to_string();
        error.contains("password authentication failed").then_some(())
    })
    .await;
    fs::write(&rotated, "two\n").unwrap();
    eventually(PATIENCE, "a connection with the new password", async || store.check().await.ok()).await;

    fs::remove_file(&rotated).unwrap();
}
