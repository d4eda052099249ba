//! Somebody else's locks.

use batch::{CustomerId, RunState};
use store::Archive;
use tests::{Fleet, PATIENCE, Program};

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

    let urgent = fleet.dispatch_customers(&[CustomerId(1), CustomerId(2)], &["--priority", "critical"]).await;
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
