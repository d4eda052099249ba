//! The guard before a night is shown: a source that was emptied while the run went on.

use batch::{Measure, RunId, RunState};
use cache::Cache;
use store::{Archive, DecisionKind, Supervision};
use tests::{AS_OF, Fleet, PATIENCE, Program, eventually};

/// What a load does to the histories in mid-night, and never comes to the end of.
const EMPTY: &str = "truncate source.transactions, source.subscriptions";

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"))
}

/// Dispatches a night and empties its source in the middle of it; the run comes to a halt, or is shown.
async fn emptied_in_mid_run(fleet: &Fleet) -> RunId {
    let run = fleet.dispatch(&["--chunk-customers", "200"]).await;
    let worker = fleet.worker(&["--fault", "slow=20"]);
    fleet.reached(run, 30).await;
    fleet.sql().await.batch_execute(EMPTY).await.expect("the database answers");
    eventually(PATIENCE, &format!("run {run} is settled"), async || {
        (!fleet.store().run(run).await.ok()??.state.is_open()).then_some(())
    })
    .await;
    drop(worker);
    run
}

async fn visible(fleet: &Fleet) -> Vec<RunId> {
    fleet.store().visible_runs().await.expect("the database answers").runs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_whose_source_is_emptied_in_mid_run_is_held_and_shown_once_it_is_released() {
    let fleet = Fleet::new(&program()).await;
    let before = visible(&fleet).await;
    let coordinator = fleet.coordinator(&[]);
    let cache = fleet.cache().await;
    eventually(PATIENCE, "the cache knows the run before", async || cache.visible().await.ok()?).await;

    let run = emptied_in_mid_run(&fleet).await;

    let record = fleet.store().run(run).await.expect("the database answers").expect("it was dispatched");
    assert_eq!(record.state, RunState::Held);
    let (_, hold) = record.guard.held.expect("it says why");
    let found = |what| hold.deviations.iter().find(|deviation| deviation.what == what);
    let no_purchase = found(Measure::RejectedAs("no_purchase".into())).expect("most have no history left");
    assert!(no_purchase.before == 1 && no_purchase.now > 400, "{hold}");
    let emptied = found(Measure::SourceTransactions).expect("the source was emptied");
    assert!(emptied.before > 60_000 && emptied.now == 0, "{hold}");
    let no_contract = found(Measure::SourceSubscriptions).expect("that too");
    assert!(no_contract.before > 1_000 && no_contract.now == 0, "{hold}");
    assert_eq!(hold.compared_with, Some(RunId(1)));
    assert_eq!(visible(&fleet).await, before);
    assert!(cache.visible().await.expect("Redis answers").is_some_and(|told| told.runs == before));
    let no_value = "select count(*) from fleet.values where run_id = $1";
    assert_eq!(fleet.ask::<i64>(no_value, run).await, 0);
    let warned = coordinator.log();
    assert!(warned.contains("a run is held") && warned.contains("no_purchase"), "{warned}");

    let name = run.to_string();
    let watched = fleet.answer(&["runs", "watch", &name]);
    assert_eq!(watched.code, Some(1));
    assert!(watched.err.contains("is held") && watched.err.contains("no_purchase"), "{}", watched.err);
    let ordered = ["dispatch", "--all", "--as-of", AS_OF];
    assert!(fleet.ltv(&ordered).err.contains("is held"), "the night has a run");
    assert_eq!(fleet.answer(&[&ordered[..], &["--wait"]].concat()).code, Some(1));
    let shown = fleet.ltv(&["runs", "show", &name]);
    assert!(shown.out.contains("Held since") && shown.out.contains("at the plan"), "{}", shown.out);
    assert!(fleet.ltv(&["runs", "list"]).out.contains("held"));
    assert_eq!(fleet.answer(&["runs", "cancel", &name]).code, Some(1));
    let none = fleet.answer(&["segments", "list", "--run", &name]);
    assert!(none.code == Some(1) && none.err.contains("is held: figures are of runs"), "{}", none.err);

    let why = ["--by", "ada", "--reason", "the shop is closed"];
    fleet.ltv(&[&["runs", "release", &name][..], &why].concat());
    fleet.ltv(&[&["runs", "release", &name][..], &why].concat());
    fleet.finished(run).await;

    assert_eq!(visible(&fleet).await, [run]);
    eventually(PATIENCE, "the cache knows, too", async || {
        (cache.visible().await.ok()??.runs == [run]).then_some(())
    })
    .await;
    let refused = fleet.answer(&[&["runs", "reject", &name][..], &why].concat());
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("released, by ada: the shop is closed"), "{}", refused.err);
    let record = fleet.ltv(&["runs", "show", &name, "--json"]).json();
    assert_eq!(record["hold"]["decision"]["by"], "ada");
    assert_eq!(record["source"]["at_end"]["transactions"]["rows"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_that_is_rejected_leaves_nothing_to_see_and_can_be_dispatched_again() {
    let fleet = Fleet::new(&program()).await;
    let _coordinator = fleet.coordinator(&[]);
    let kept = "
        create table kept_transactions as table source.transactions;
        create table kept_subscriptions as table source.subscriptions";
    fleet.sql().await.batch_execute(kept).await.expect("the database answers");
    let run = emptied_in_mid_run(&fleet).await;
    let name = run.to_string();

    fleet.ltv(&["runs", "reject", &name, "--reason", "the load broke off"]);

    let record = fleet.store().run(run).await.expect("the database answers").expect("it was dispatched");
    assert_eq!(record.state, RunState::Rejected);
    let decision = record.guard.decision.expect("a person decided");
    assert!(decision.kind == DecisionKind::Reject && !decision.by.is_empty(), "{decision:?}");
    let is_there: bool =
        fleet.ask("select to_regclass('fleet.values_' || $1::bigint) is not null", run).await;
    assert!(!is_there, "its values are dropped");
    assert_eq!(fleet.answer(&["runs", "watch", &name]).code, Some(1));

    let mended = "
        insert into source.transactions table kept_transactions;
        insert into source.subscriptions table kept_subscriptions";
    fleet.sql().await.batch_execute(mended).await.expect("the database answers");
    let again = fleet.dispatch(&[]).await;
    let _worker = fleet.worker(&[]);
    fleet.finished(again).await;

    assert_ne!(again, run);
    assert_eq!(visible(&fleet).await, [again]);
    fleet.assert_exact(again).await;
}

/// The run was settled by then, and what is loaded later is not in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_while_the_end_of_a_clean_run_is_tried_again_does_not_have_it_held() {
    let fleet = Fleet::new(&program()).await;
    let run = fleet.dispatch(&[]).await;
    let reader = fleet.sql().await;
    let read = format!("begin; lock table fleet.values_{run} in access share mode");
    reader.batch_execute(&read).await.expect("the database answers");
    let coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&[]);
    coordinator.says("finished when its table is free", PATIENCE).await;

    fleet.sql().await.batch_execute(EMPTY).await.expect("the database answers");
    reader.batch_execute("rollback").await.expect("the database answers");
    fleet.finished(run).await;

    let guard = fleet.store().run(run).await.expect("the database answers").expect("it is there").guard;
    assert!(guard.held.is_none() && guard.source_at_end == guard.source_at_plan, "{guard:?}");
}

/// A run is judged by the rest when the source's rows cannot be counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_holds_a_table_of_the_source_keeps_no_run_waiting() {
    let fleet = Fleet::new(&program()).await;
    let run = fleet.dispatch(&[]).await;
    let _worker = fleet.worker(&[]);
    eventually(PATIENCE, &format!("run {run} is settled"), async || {
        fleet.store().run(run).await.ok()??.progress.is_settled().then_some(())
    })
    .await;
    let load = fleet.sql().await;
    let lock = "begin; lock table source.transactions in access exclusive mode";
    load.batch_execute(lock).await.expect("the database answers");

    let coordinator = fleet.coordinator(&[]);
    fleet.finished(run).await;

    load.batch_execute("rollback").await.expect("the database answers");
    let guard = fleet.store().run(run).await.expect("the database answers").expect("it is there").guard;
    assert!(guard.source_at_plan.is_some() && guard.source_at_end.is_none(), "{guard:?}");
    assert!(coordinator.log().contains("the source's rows are not counted"), "{}", coordinator.log());
    fleet.assert_exact(run).await;
}

/// Its customers and its transactions are counted all the same.
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_cannot_be_counted_take_no_other_count_with_them() {
    let fleet = Fleet::new(&program()).await;
    let load = fleet.sql().await;
    let lock = "begin; lock table source.subscriptions in access exclusive mode";
    load.batch_execute(lock).await.expect("the database answers");

    let run = fleet.dispatch(&[]).await;

    load.batch_execute("rollback").await.expect("the database answers");
    let guard = fleet.store().run(run).await.expect("the database answers").expect("it is there").guard;
    let counted = guard.source_at_plan.expect("the others are counted");
    assert!(counted.customers.rows > 0 && counted.transactions.rows > 0, "{counted:?}");
    assert_eq!(counted.subscriptions, None);
}
