//! Which database is this: installations that share a broker and a Redis, and databases that go back to a backup.

use batch::RunId;
use cache::{Cache, VisibleRuns};
use queue::{Connection as _, DeadLetters as _};
use store::postgres::Postgres;
use tests::{Database, Fleet, PATIENCE, Program, Stack, eventually};

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"))
}

/// Staging beside production: the same prefixes, run for run and chunk for chunk the same numbers.
#[tokio::test(flavor = "multi_thread")]
async fn two_installations_share_broker_and_redis_and_neither_meets_the_other() {
    let production = Fleet::new(&program()).await;
    let staging = Fleet::beside(&production).await;
    assert_ne!(production.installation().await, staging.installation().await);
    let _others = [staging.coordinator(&[]), staging.worker(&[]), staging.worker(&[])];
    let _ours = [production.coordinator(&[]), production.worker(&[])];

    let nights = [production.dispatch(&[]).await, staging.dispatch(&[]).await];
    production.finished(nights[0]).await;
    staging.finished(nights[1]).await;

    production.assert_exact(nights[0]).await;
    staging.assert_exact(nights[1]).await;
    for (fleet, run) in [(&production, nights[0]), (&staging, nights[1])] {
        is_named(fleet, run).await;
        assert_eq!(fleet.attempts(run, &["failed", "lost", "excused"]).await, 0);
        assert_eq!(fleet.queue().await.dead_letters(9).await, Ok(Vec::new()));
    }
}

/// The cache knows the runs of the days that are lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_back_has_the_cache_name_its_own_runs_and_says_so() {
    let fleet = Fleet::new(&program()).await;
    let _worker = fleet.worker(&[]);
    let lost = VisibleRuns { version: 500, runs: [5, 4].map(RunId).to_vec() };
    fleet.cache().await.put_visible(&lost).await.unwrap();
    let coordinator = fleet.coordinator(&[]);

    coordinator.says("the cache named runs of another past", PATIENCE).await;
    let run = fleet.dispatch(&[]).await;
    fleet.finished(run).await;

    is_named(&fleet, run).await;
}

/// A dump, a template, an upgrade: what was copied keeps its identity, and the copy gets one.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_database_has_an_identity_of_its_own_and_keeps_it() {
    let original = Database::create(&Stack::from_env()).await;
    let before = original.store().installation().await.unwrap();
    let copy = original.copied().await;
    let stores: Vec<_> = (0..8).map(|_| copy.store()).collect();

    let asked = stores.iter().map(Postgres::installation);
    let answers = futures_util::future::try_join_all(asked).await.unwrap();

    assert!(answers.iter().all(|now| *now == answers[0] && *now != before), "{before}: {answers:?}");
    assert_eq!(original.store().installation().await.unwrap(), before);
    let history = copy.store().installations().await.unwrap();
    assert_eq!(history.iter().map(|was| was.id).collect::<Vec<_>>(), [answers[0], before]);
    assert!(history[0].reason.starts_with("this database was copied or restored"), "{history:?}");
}

/// The history of identities is only ever added to.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_never_changed_or_lost() {
    let database = Database::create(&Stack::from_env()).await;
    let client = database.client().await;

    for statement in ["update fleet.installations set reason = ''", "delete from fleet.installations"] {
        let error = client.batch_execute(statement).await.expect_err(statement);

        let reason = error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
        assert!(reason.contains("immutable"), "{statement}: {reason}");
    }
}

/// Roles end with a word, and nothing that was under way before is read again.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_installation_ends_its_roles_and_reads_nothing_of_before() {
    let fleet = Fleet::new(&program()).await;
    let before = fleet.installation().await;
    let run = fleet.dispatch(&[]).await;
    let mut roles = [fleet.coordinator(&["--publish-grace", "1h"]), fleet.worker(&["--fault", "hang=1"])];
    fleet.cache().await.put_visible(&VisibleRuns { version: 1, runs: vec![run] }).await.unwrap();
    let old = (fleet.queue().await, fleet.cache().await);

    let renewed = fleet.ltv(&["installation", "renew", "--reason", "restored", "--by", "ada"]);

    for role in &mut roles {
        role.says("the installation was renewed", PATIENCE).await;
        assert_eq!(role.ended(PATIENCE).await.code(), Some(1), "{}", role.log());
    }
    let now = fleet.installation().await;
    assert!(
        now != before && renewed.out.contains(&now.to_string()) && renewed.out.contains(&before.to_string())
    );
    let shown = fleet.ltv(&["installation", "show", "--json"]).json();
    assert_eq!(shown["now"]["reason"], "restored");
    assert_eq!(shown["former"][0]["installation"], before.to_string());
    assert_eq!(fleet.cache().await.visible().await, Ok(None));
    let _roles = [fleet.coordinator(&[]), fleet.worker(&[])];
    fleet.finished(run).await;
    fleet.assert_exact(run).await;
    is_named(&fleet, run).await;
    old.0.close().await;
    assert_eq!(old.1.visible().await.map(|told| told.map(|told| told.version)), Ok(Some(1)));
}

/// A worker lists it, says whose it is, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_another_installation_is_listed_and_its_chunk_is_left_alone() {
    let fleet = Fleet::new(&program()).await;
    let queue = fleet.queue().await;
    let body = br#"{"v":2,"installation":"0000000000000abc","run":1,"chunk":1,"attempt":0}"#.to_vec();
    queue.publish_raw(batch::Priority::Normal, body).await.unwrap();
    let worker = fleet.worker(&[]);

    worker.says("a message of another installation", PATIENCE).await;

    let letters = eventually(PATIENCE, "a dead letter", async || {
        queue.dead_letters(9).await.ok().filter(|letters| !letters.is_empty())
    })
    .await;
    assert!(letters[0].reason.contains("installation 0000000000000abc sent it"), "{letters:?}");
    let listed = fleet.ltv(&["dead-letters", "list"]);
    assert!(listed.out.contains("0000000000000abc"), "{}", listed.out);
    queue.close().await;
}

/// An operator makes the queues beforehand, by the names that he was told.
#[tokio::test(flavor = "multi_thread")]
async fn the_names_that_are_shown_are_those_of_the_queues() {
    let fleet = Fleet::new(&program()).await;
    let queue = fleet.queue().await;
    let shown = fleet.ltv(&["installation", "show", "--json"]).json();

    let installation = fleet.installation().await;
    let names: Vec<&str> =
        shown["queues"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();

    assert_eq!(names.len(), 5);
    assert!(names.iter().all(|name| name.contains(&format!(".{installation}."))), "{names:?}");
    queue.close().await;
}

/// The cache names the run as the newest.
async fn is_named(fleet: &Fleet, run: RunId) {
    let cache = fleet.cache().await;
    eventually(PATIENCE, &format!("the cache names run {run}"), async || {
        let told = cache.visible().await.ok()??;
        (told.runs.first() == Some(&run)).then_some(())
    })
    .await;
}
