//! Histories from a streaming replica, which is behind, in conflict with its recovery, or away; and from another database.

use std::time::Duration;

use batch::{CustomerId, RunId};
use model::{ContractModels, Currency};
use store::postgres::{Postgres, PostgresConfig, SourceStanding};
use store::{Archive, Planning, Reading, Selection, Values};
use tests::{Database, Fleet, PATIENCE, Process, Replica, Stack, eventually};
use tokio_postgres::Client;

use crate::store::program;

/// What no attempt of these nights may end as.
const CHARGES: [&str; 3] = ["failed", "lost", "excused"];

async fn does(client: &Client, statement: &str) {
    client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
}

async fn end(mut process: Process) {
    process.terminate();
    assert!(process.ended(Duration::from_secs(20)).await.success(), "{}", process.log());
}

/// Lets a replica receive and not replay.
async fn pause(admin: &Client) {
    does(admin, "select pg_wal_replay_pause()").await;
    eventually(PATIENCE, "the replica has paused", async || {
        let row = admin.query_one("select pg_get_wal_replay_pause_state() = 'paused'", &[]).await.ok()?;
        row.get::<_, bool>(0).then_some(())
    })
    .await;
}

/// Every chunk was done by its first attempt.
async fn assert_nothing_is_charged(fleet: &Fleet, run: RunId) {
    let record = fleet.store().run(run).await.expect("the store answers");
    let chunks = record.expect("the run is there").progress.chunks;
    assert_eq!(fleet.attempts(run, &CHARGES).await, 0);
    assert_eq!(fleet.attempts(run, &["done"]).await, chunks as i64);
}

/// The replica holds histories that were mended before the night was ordered, and has not replayed that.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_behind_is_waited_for_and_told_and_the_night_from_it_is_exact() {
    let fleet = Fleet::new(&program()).await;
    let primary = fleet.sql().await;
    does(
        &primary,
        "create schema aside;
         create table aside.transactions as select * from source.transactions where customer_id % 3 = 0;
         delete from source.transactions where customer_id % 3 = 0",
    )
    .await;
    let replica = Replica::of(fleet.stack()).await;
    let source = replica.url(fleet.database_url());
    let admin = replica.admin().await;
    pause(&admin).await;
    does(
        &primary,
        "insert into source.transactions select * from aside.transactions; drop schema aside cascade",
    )
    .await;

    let _coordinator = fleet.coordinator(&[]);
    let mut refused = fleet
        .background("dispatch", &["dispatch", "--all", "--as-of", "1998-06-30", "--source-url", &source]);
    let run = fleet.dispatch(&["--chunk-customers", "1000"]).await;
    let worker = fleet.worker(&["--source-url", &source]);
    worker.says("work on an attempt", PATIENCE).await;
    let waiting = fleet.store().run(run).await.unwrap().unwrap().progress;
    let code = refused.ended(PATIENCE).await.code();
    does(&admin, "select pg_wal_replay_resume()").await;
    fleet.finished(run).await;

    assert_eq!(waiting.done, 0);
    let log = worker.log();
    assert!(log.contains("it lags behind: it has replayed the fleet's WAL up to"), "{log}");
    assert!(!log.contains("circuit breaker open"), "a replica that lags behind is well: {log}");
    assert_eq!(code, Some(1), "{}", refused.log());
    assert!(refused.log().contains("it lags behind"), "{}", refused.log());
    end(worker).await;
    assert_nothing_is_charged(&fleet, run).await;
    fleet.assert_exact(run).await;
}

/// The read of a chunk waits at a gate while rows that it may look at are vacuumed on the primary.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_the_replicas_recovery_cancels_is_done_again_and_charges_nobody() {
    let fleet = Fleet::new(&program()).await;
    let primary = fleet.sql().await;
    does(
        &primary,
        "create schema shop;
         alter table source.transactions set schema shop;
         create function shop.gate() returns bigint language plpgsql as $$
         begin
             perform pg_advisory_lock_shared(77);
             perform pg_advisory_unlock_shared(77);
             return 0;
         end $$;
         create view source.transactions as
         select transaction_id, customer_id, occurred_at, currency,
                amount_minor + case when customer_id = 1000001 then shop.gate() else 0 end as amount_minor
           from shop.transactions;
         create table shop.dust as select 1 as grain",
    )
    .await;
    let replica = Replica::of(fleet.stack()).await;
    let source = replica.url(fleet.database_url());
    let keeper = replica.client(fleet.database_url()).await;
    does(&keeper, "select pg_advisory_lock(77)").await;

    let _coordinator = fleet.coordinator(&[]);
    let run = fleet.dispatch(&["--chunk-customers", "1000", "--source-url", &source]).await;
    let worker = fleet.worker(&["--slots", "1", "--source-url", &source]);
    eventually(PATIENCE, "recovery cancels a read", async || {
        does(&primary, "update shop.dust set grain = grain + 1").await;
        does(&primary, "vacuum shop.dust").await;
        worker.log().contains("the source's recovery cancelled a read").then_some(())
    })
    .await;
    does(&keeper, "select pg_advisory_unlock(77)").await;
    fleet.finished(run).await;

    end(worker).await;
    assert_nothing_is_charged(&fleet, run).await;
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_crashes_opens_a_breaker_of_its_own_and_the_night_goes_on_with_another() {
    let fleet = Fleet::new(&program()).await;
    let mut lost = Replica::of(fleet.stack()).await;
    let source = lost.url(fleet.database_url());
    let _coordinator = fleet.coordinator(&[]);
    let run = fleet.dispatch(&["--chunk-customers", "500", "--source-url", &source]).await;
    let worker = fleet.worker(&["--slots", "1", "--source-url", &source]);
    // Few: a breaker opens when half of the calls fail, and the pauses between those grow.
    fleet.reached(run, 2).await;

    lost.crash();
    eventually(PATIENCE, "the source's breaker opens", async || {
        let log = worker.log();
        log.lines().any(|line| line.contains("circuit breaker open") && line.contains("source")).then_some(())
    })
    .await;
    let another = Replica::of(fleet.stack()).await;
    let _relief = fleet.worker(&["--source-url", &another.url(fleet.database_url())]);
    // It holds a chunk that it cannot read, and gives it back.
    end(worker).await;
    fleet.finished(run).await;

    assert_eq!(fleet.attempts(run, &CHARGES).await, 0);
    fleet.assert_exact(run).await;
    let shown = fleet.ltv(&["runs", "show", &run.to_string(), "--json"]).json();
    let elsewhere = another.url(fleet.database_url());
    let joined = fleet.ltv(&["runs", "show", &run.to_string(), "--json", "--source-url", &elsewhere]).json();
    assert_eq!(shown, joined, "what is joined by us is what the server joins");
}

/// Nothing of the customers is in the fleet's database.
#[tokio::test(flavor = "multi_thread")]
async fn another_database_gives_the_histories_of_a_night() {
    let fleet = Fleet::new(&program()).await;
    let shop = fleet.another_base(&program()).await;

    let _coordinator = fleet.coordinator(&["--source-url", shop.url()]);
    let primary = fleet.sql().await;
    does(&primary, "alter schema source rename to away").await;
    let run = fleet.dispatch(&["--chunk-customers", "1000", "--source-url", shop.url()]).await;
    let worker = fleet.worker(&["--source-url", shop.url()]);
    fleet.finished(run).await;
    does(&primary, "alter schema away rename to source").await;
    let counted =
        "select source_at_plan is not null and source_at_end is not null from fleet.runs where run_id = $1";
    let is_counted: bool = fleet.ask(counted, run).await;

    end(worker).await;
    assert!(is_counted, "the rows that the guard looks at are those of the shop");
    assert_nothing_is_charged(&fleet, run).await;
    fleet.assert_exact(run).await;
}

/// Its WAL is not the fleet's, so clocks are compared; and its primary is at rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_another_cluster_is_told_by_what_was_committed_there() {
    let stack = Stack::from_env();
    let database = Database::create(&stack).await;
    let primary = Replica::of_nothing(&stack).await;
    let shop = Postgres::new(PostgresConfig::new(primary.admin_url(), "shop")).expect("it is a good URL");
    shop.migrate().await.expect("an empty database can be migrated");
    let owner = primary.admin().await;
    let customer = |number: i64| {
        format!("insert into source.customers values ({number}, '{number}', 'venue', '2026-01-01')")
    };
    does(&owner, &customer(1)).await;
    let replica = Replica::of_another(&primary).await;
    let store = database.store().with_source(replica.admin_url().into()).expect("it is a good URL");
    let now = store.now().await.expect("the fleet's database answers");
    let all = async || store.selected(&Selection::All, now).await.map_err(|error| error.to_string());

    let at_rest = all().await;
    let admin = replica.admin().await;
    pause(&admin).await;
    does(&owner, &customer(2)).await;
    let paused = store.look_at_source().await.expect("both answer");
    does(&admin, "select pg_wal_replay_resume()").await;
    let resumed = all().await;

    assert_eq!(at_rest, Ok(vec![CustomerId(1)]));
    let Some(SourceStanding::Behind(told)) = paused else { panic!("{paused:?}") };
    assert!(told.contains("what was committed until"), "{told}");
    assert_eq!(resumed, Ok(vec![CustomerId(1), CustomerId(2)]));
}

/// Its history is not the fleet's from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_promoted_is_not_read() {
    let stack = Stack::from_env();
    let database = Database::create(&stack).await;
    let replica = Replica::of(&stack).await;
    let store = database.store().with_source(replica.url(database.url()).into()).expect("it is a good URL");
    let look = async || store.look_at_source().await.ok().flatten();
    eventually(PATIENCE, "the replica lacks nothing", async || {
        matches!(look().await?, SourceStanding::Complete(_)).then_some(())
    })
    .await;

    does(&replica.admin().await, "select pg_promote()").await;

    // It says so before it writes on its new timeline.
    eventually(PATIENCE, "its new timeline shows", async || match look().await? {
        SourceStanding::Behind(told) if told.contains("since it was promoted") => Some(()),
        SourceStanding::Behind(told) => {
            assert!(told.contains("no replica of the fleet's database any more"), "{told}");
            None
        }
        SourceStanding::Complete(why) => panic!("{why}"),
    })
    .await;
}

/// A standby of the fleet's server takes over, and the replica that is read follows it: to another timeline.
#[tokio::test(flavor = "multi_thread")]
async fn after_the_fleets_database_failed_over_a_run_is_read_from_the_replica_that_follows() {
    let stack = Stack::from_env();
    let mut primary = Replica::of_nothing(&stack).await;
    let replica = Replica::of_another(&primary).await;
    let store = Postgres::new(PostgresConfig::new(primary.admin_url(), "fleet")).expect("it is a good URL");
    store.migrate().await.expect("an empty database can be migrated");
    let customer = "insert into source.customers values (1, '1', 'venue', '2026-01-01')";
    does(&primary.admin().await, customer).await;
    let store = store.with_source(replica.admin_url().into()).expect("it is a good URL");
    let reading = Reading {
        customers: &[CustomerId(1)],
        run: Some(RunId(1)),
        is_whole: true,
        as_of: "2026-11-01T00:00:00Z".parse().expect("it is a moment"),
        currency: Currency::parse("USD").expect("it is a currency"),
        contracts: &ContractModels::default(),
    };
    let read = async || store.read_histories(&reading).await.map(|read| read.len());

    eventually(PATIENCE, "the run is read", async || read().await.ok()).await;
    primary.fail_over().await;
    eventually(PATIENCE, "the replica follows another timeline", async || {
        let follows = "select exists (select from pg_stat_wal_receiver where received_tli > 1)";
        replica.admin().await.query_one(follows, &[]).await.ok()?.get::<_, bool>(0).then_some(())
    })
    .await;

    eventually(PATIENCE, "the run is read again", async || read().await.ok()).await;
}

/// It says that it is the fleet's cluster, on the fleet's timeline, and nothing comes to it any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_started_from_a_snapshot_of_the_fleets_disk_is_not_read() {
    let stack = Stack::from_env();
    let database = Database::create(&stack).await;
    let copy = Replica::of_disk(&stack).await;
    let store = database.store().with_source(copy.url(database.url()).into()).expect("it is a good URL");

    let behind = store.look_at_source().await.expect("both answer");
    // What it writes itself takes it beyond where the fleet is.
    let busy = "create table dust as select generate_series(1, 200000) as grain";
    does(&copy.admin().await, busy).await;
    let beyond = store.look_at_source().await.expect("both answer");

    for standing in [behind, beyond] {
        let Some(SourceStanding::Behind(told)) = &standing else { panic!("{standing:?}") };
        assert!(told.contains("copy of its disk"), "{told}");
    }
}

/// And nobody has to wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn another_database_of_the_fleets_own_server_is_complete() {
    let stack = Stack::from_env();
    let (database, shop) = (Database::create(&stack).await, Database::create(&stack).await);
    let store = database.store().with_source(shop.url().into()).expect("it is a good URL");

    let standing = store.look_at_source().await.expect("both answer");

    assert_eq!(standing, Some(SourceStanding::Complete("it is the fleet's own server")));
}
