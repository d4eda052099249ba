//! Somebody else's locks.

use std::time::Duration;

use batch::{CustomerId, RunId, RunState};
use store::Archive;
use store::postgres::{Postgres, PostgresConfig};
use tests::{Database, FIRST_CUSTOMER, Fleet, PATIENCE, Program, Stack, eventually};

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"))
}

/// What a coordinator says of a run that it cannot finish yet.
const HELD: &str = "a settled run is finished when its table is free";

/// A backup holds every table that it will come to from its start to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_table_is_read_keeps_no_other_waiting_and_is_finished_when_it_is_free() {
    let fleet = Fleet::new(&program()).await;
    let run = fleet.dispatch(&["--chunk-customers", "1000"]).await;
    let backup = fleet.sql().await;
    let begin = format!(
        "set application_name = 'pg_dump'; begin; lock table fleet.values_{run} in access share mode"
    );
    backup.batch_execute(&begin).await.expect("nobody else locks it");
    let coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&[]);
    coordinator.says(HELD, PATIENCE).await;

    let urgent = fleet
        .dispatch_customers(
            &[CustomerId(FIRST_CUSTOMER), CustomerId(FIRST_CUSTOMER + 1)],
            &["--priority", "critical"],
        )
        .await;
    fleet.finished(urgent).await;
    let cancelled = fleet.answer(&["runs", "cancel", &run.to_string()]);
    let meanwhile = fleet.store().run(run).await.unwrap().unwrap().state;
    backup.batch_execute("commit").await.expect("it was not ended");
    fleet.finished(run).await;

    assert_eq!((cancelled.code, meanwhile), (Some(1), RunState::Running), "{}", cancelled.err);
    assert!(cancelled.err.contains("pg_dump"), "{}", cancelled.err);
    let log = coordinator.log();
    let of_the_backup = |line: &&str| line.contains(HELD) && line.contains("pg_dump");
    assert_eq!(log.lines().filter(of_the_backup).count(), 1, "once, and not with each try: {log}");
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_table_is_read_is_cancelled_when_it_is_free() {
    let fleet = Fleet::new(&program()).await;
    let run = fleet.dispatch(&["--chunk-customers", "1000"]).await;
    let backup = fleet.sql().await;
    let begin = format!("begin; lock table fleet.values_{run} in access share mode");
    backup.batch_execute(&begin).await.expect("nobody else locks it");

    let error = fleet.store().cancel_run(run).await.expect_err("it is read");
    backup.batch_execute("commit").await.expect("it was not ended");
    let is_cancelled = fleet.store().cancel_run(run).await.expect("it is free");

    let store::Error::Blocked { by, .. } = &error else { panic!("{error:?}") };
    assert!(by.len() == 1 && by[0].pid > 0, "{by:?}");
    assert!(error.is_transient() && is_cancelled);
}

/// A run's end is one transaction: to give it up leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_asked_to_stop_waits_for_no_run_that_cannot_be_finished() {
    // As long as the end of a run may take once it is asked, and time for a busy machine.
    const SOON: Duration = Duration::from_secs(40);
    let fleet = Fleet::new(&program()).await;
    let run = fleet.dispatch(&["--chunk-customers", "1000"]).await;
    let (reader, owner) = (fleet.sql().await, fleet.sql().await);
    let read = format!("begin; lock table fleet.values_{run} in access share mode");
    reader.batch_execute(&read).await.expect("nobody else locks it");
    let _worker = fleet.worker(&[]);
    let mut first = fleet.coordinator(&[]);
    first.says(HELD, PATIENCE).await;

    first.terminate();
    let kept_out = first.ended(SOON).await;
    reader.batch_execute("commit").await.expect("it was not ended");
    // No limit on locks ends this one.
    let endless = "
        create function fleet.endless() returns trigger language plpgsql
            as $$ begin perform pg_sleep(3600); return new; end $$;
        create trigger endless before update of state on fleet.runs
           for each row when (new.state = 'finished') execute function fleet.endless()";
    owner.batch_execute(endless).await.expect("the owner may");
    let mut second = fleet.coordinator(&[]);
    let asleep = async |expected: i64| {
        let asleep = "
            select count(*) from pg_stat_activity
             where datname = current_database() and wait_event = 'PgSleep'";
        (owner.query_one(asleep, &[]).await.ok()?.get::<_, i64>(0) == expected).then_some(())
    };
    eventually(PATIENCE, "the run's end is under way", async || asleep(1).await).await;
    second.terminate();
    let kept_waiting = second.ended(SOON).await;
    eventually(PATIENCE, "the server does nothing for it", async || asleep(0).await).await;
    owner.batch_execute("drop trigger endless on fleet.runs").await.expect("nobody holds it");
    let _third = fleet.coordinator(&[]);
    fleet.finished(run).await;

    assert_eq!((kept_out.code(), kept_waiting.code()), (Some(0), Some(0)), "{}", second.log());
    assert!(second.log().contains("a run's end is given up"), "{}", second.log());
    fleet.assert_exact(run).await;
}

/// With one more for each call they would fill the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ends_at_its_limit_leaves_no_statement_behind() {
    let database = Database::create(&Stack::from_env()).await;
    let (holder, client) = (database.client().await, database.client().await);
    let hold = "begin; lock table fleet.chunks in access exclusive mode";
    holder.batch_execute(hold).await.expect("nobody else locks it");
    let hurried = PostgresConfig {
        call_limit: Duration::from_millis(200),
        ..PostgresConfig::new(database.url(), "hurried")
    };
    let store = Postgres::new(hurried).expect("it is a good configuration");

    for _ in 0..4 {
        let error = store.redrive(RunId(1)).await.expect_err("the table is locked");
        assert!(error.is_transient(), "{error}");
    }

    let left = "
        select count(*)
          from pg_stat_activity
         where datname = current_database() and application_name = 'ltv hurried'";
    eventually(PATIENCE, "no statement is left", async || {
        let left: i64 = client.query_one(left, &[]).await.ok()?.get(0);
        (left == 0).then_some(())
    })
    .await;
    holder.batch_execute("commit").await.expect("it still holds the lock");
}
