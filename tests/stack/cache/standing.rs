//! What a role is told of the server that it caches in.

use cache::{Cache as _, Eviction, RedisConfig, Standing};
use tests::{Fleet, PATIENCE, Program, unique};

use super::server::Server;
use super::{config, connect};

/// A user of the stack's Redis who may do everything but this.
async fn without(server: &Server, rights: &str) -> RedisConfig {
    let user = unique("without");
    let mut raw = server.raw().await;
    assert_eq!(raw.ask(&format!("ACL SETUSER {user} on >secret ~* &* +@all {rights}")).await, "+OK");
    RedisConfig { url: format!("redis://{user}:secret@{}", server.address()).into(), ..config(server) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_allows_everything_and_keeps_everything_is_not_remarked_upon() {
    let server = Server::shared();

    let standing = connect(config(&server)).await.look().await;

    assert_eq!(standing, Standing::default());
    assert_eq!(standing.remarks(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_run_scripts_is_told_so_by_name_when_a_role_starts() {
    let server = Server::shared();
    let restricted = without(&server, "-@scripting").await;

    let cache = connect(restricted.clone()).await;
    let standing = cache.look().await;

    assert!(matches!(&standing.refused[..], [("EVAL", reason)] if reason.contains("NOPERM")), "{standing:?}");
    assert_eq!(cache.check().await, Ok(()), "looking opens no breaker");
    drop((cache, server));
    // It has the servers for itself.
    let program = Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"));
    let fleet = Fleet::new(&program).await;
    let worker = fleet.worker(&["--redis-url", restricted.url.expose()]);
    worker.says("redis refuses what the cache needs: EVAL (NOPERM", PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_that_is_refused_is_named() {
    let server = Server::shared();
    let check = async |rights: &str, expected: &[&str]| {
        let standing = connect(without(&server, rights).await).await.look().await;
        let named: Vec<&str> = standing.refused.iter().map(|(command, _)| *command).collect();
        assert_eq!(named, expected, "{rights}: {standing:?}");
    };

    check("-hset -del", &["HSET", "DEL"]).await;
    check("-get -expire -hmget -hget -set", &["EXPIRE", "HGET", "HMGET", "SET", "GET"]).await;
    check("-hlen -hdel", &[]).await;
    // A script may do what its user may.
    check("-type", &["TYPE", "EVAL"]).await;
    check("resetkeys ~another:*", &["HSET", "EXPIRE", "HGET", "HMGET", "DEL", "SET", "GET", "TYPE", "EVAL"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_evicts_says_by_which_policy_or_that_it_does_not_tell() {
    let server = Server::alone();
    let mut raw = server.raw().await;
    let by = async |rights: &str| connect(without(&server, rights).await).await.look().await.eviction;
    assert_eq!(raw.ask("CONFIG SET maxmemory-policy allkeys-lru").await, "+OK");

    let told = [by("").await, by("-info").await, by("-config").await, by("-info -config").await];

    assert_eq!(raw.ask("CONFIG SET maxmemory-policy noeviction").await, "+OK");
    let [everything, config_alone, info_alone, nothing] = told;
    for told in [everything, config_alone, info_alone] {
        assert_eq!(told, Eviction::By("allkeys-lru".into()));
    }
    assert!(matches!(&nothing, Eviction::Unknown(reason) if reason.contains("NOPERM")), "{nothing:?}");
    assert_eq!(by("-config").await, Eviction::Never);
}
