//! Workers die, hang and are asked to stop.

use std::time::Duration;

use store::Supervision;
use tests::eventually;
use tokio::time::Instant;

use crate::{SMALL, SOON, assert_nothing_was_charged, fleet, leased_to, outcome};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_every_second_all_night_costs_no_value() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&["--chunk-customers", "100"]).await;
    let watch = fleet.watch(run);
    let _coordinator = fleet.coordinator(&["--max-failures", "50"]);
    let mut crew = fleet.crew(2, &["--fault", "slow=100"]);

    let (mut kills, mut last_kill) = (0, Instant::now());
    fleet
        .finished_while(run, || {
            crew.replace_the_dead();
            if last_kill.elapsed() >= Duration::from_secs(1) {
                crew.kill(kills);
                (kills, last_kill) = (kills + 1, Instant::now());
            }
        })
        .await;

    crew.replace_the_dead();
    assert!(kills >= 5, "{kills} kills");
    assert!(fleet.attempts(run, &["lost"]).await > 0, "some of them were in mid-chunk");
    assert!(watch.end().await > 20, "progress was seen all night long");
    fleet.assert_exact(run).await;
    fleet.assert_cache_agrees(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_commit_and_ack_costs_not_even_an_attempt() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let _coordinator = fleet.coordinator(&[]);
    let mut crew = fleet.crew(2, &["--slots", "1", "--fault", "slow=20,die-cached=7"]);

    fleet.finished_while(run, || crew.replace_the_dead()).await;

    let _healthy = fleet.worker(&[]);
    assert!(crew.deaths() >= 5, "{} deaths", crew.deaths());
    let wasted =
        "select count(*) from fleet.attempts where run_id = $1 and (attempt > 1 or outcome <> 'done')";
    assert_eq!(fleet.ask::<i64>(wasted, run).await, 0, "a message that comes again finds its chunk done");
    watch.end().await;
    fleet.assert_exact(run).await;
    assert_eq!(fleet.assert_cache_agrees(run).await, fleet.values(run).await.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_commit_and_redis_costs_a_query_but_no_value() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let _coordinator = fleet.coordinator(&[]);
    let mut crew = fleet.crew(2, &["--slots", "1", "--fault", "slow=20,die-committed=7"]);

    fleet.finished_while(run, || crew.replace_the_dead()).await;

    let _healthy = fleet.worker(&[]);
    assert!(crew.deaths() >= 5, "{} deaths", crew.deaths());
    assert_nothing_was_charged(&fleet, run).await;
    watch.end().await;
    fleet.assert_exact(run).await;
    let (cached, all) = (fleet.assert_cache_agrees(run).await, fleet.values(run).await.len());
    assert!(0 < cached && cached < all, "{cached} of {all} values reached the cache");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stopped_past_its_lease_and_resumed_is_superseded_and_excused() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let _coordinator = fleet.coordinator(&[]);
    let zombie = fleet.worker(&["--slots", "1", "--fault", "slow=1000"]);
    leased_to(&fleet, run, &zombie).await;
    zombie.stop().await;
    let chunk = leased_to(&fleet, run, &zombie).await;
    let _worker = fleet.worker(&["--fault", "slow=150"]);
    outcome(&fleet, run, chunk, 1, "lost").await;
    assert!(!fleet.is_finished(run).await, "it comes back in mid-run");

    zombie.resume();

    outcome(&fleet, run, chunk, 1, "excused").await;
    fleet.finished(run).await;
    assert_nothing_was_charged(&fleet, run).await;
    watch.end().await;
    fleet.assert_exact(run).await;
    fleet.assert_cache_agrees(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stopped_in_the_middle_of_its_copy_does_not_hold_up_the_end_of_the_run() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let silent = fleet.sql().await;
    let copy = format!("begin; copy fleet.values_{run} from stdin");
    let _writer = silent.simple_query_raw(&copy).await.unwrap();
    let locked = "select count(*) from pg_locks where relation = to_regclass('fleet.values_' || $1::bigint)
                     and mode = 'RowExclusiveLock'";
    eventually(SOON, "the table is held by a COPY that says nothing", async || {
        (fleet.ask::<i64>(locked, run).await > 0).then_some(())
    })
    .await;
    let _coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&[]);

    fleet.finished(run).await;

    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_leaves_nothing_to_see_and_its_night_can_be_planned_again() {
    let fleet = fleet().await;
    let cancelled = fleet.dispatch(&SMALL).await;
    let _coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&["--fault", "slow=50"]);
    fleet.reached(cancelled, 3).await;

    fleet.ltv(&["runs", "cancel", &cancelled.to_string()]);
    let run = fleet.dispatch(&SMALL).await;
    fleet.finished(run).await;

    assert_ne!(run, cancelled);
    let table = "select count(*) from pg_class where relname = 'values_' || $1::bigint";
    assert_eq!(fleet.ask::<i64>(table, cancelled).await, 0, "what it had written is gone");
    assert!(!fleet.store().visible_runs().await.unwrap().runs.contains(&cancelled));
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_asked_to_stop_in_mid_chunk_finishes_it_and_exits_0() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let _coordinator = fleet.coordinator(&[]);
    let mut leaving = fleet.worker(&["--fault", "slow=700"]);
    let chunk = leased_to(&fleet, run, &leaving).await;

    leaving.terminate();

    let status = leaving.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{}", leaving.log());
    outcome(&fleet, run, chunk, 1, "done").await;
    let _worker = fleet.worker(&[]);
    fleet.finished(run).await;
    let more_than_once = "select count(*) from fleet.attempts where run_id = $1 and attempt > 1";
    assert_eq!(fleet.ask::<i64>(more_than_once, run).await, 0, "nothing was begun and left");
    watch.end().await;
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_finish_within_its_grace_period_gives_the_chunk_back_and_exits_0() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let mut leaving = fleet.worker(&["--slots", "1", "--fault", "hang=1", "--grace-period", "1s"]);
    let chunk = leased_to(&fleet, run, &leaving).await;

    let asked = Instant::now();
    leaving.terminate();

    let status = leaving.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{}", leaving.log());
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    outcome(&fleet, run, chunk, 1, "given_back").await;
    let _coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&[]);
    fleet.finished(run).await;
    outcome(&fleet, run, chunk, 2, "done").await;
    assert_nothing_was_charged(&fleet, run).await;
    watch.end().await;
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_changes_in_mid_run_changes_neither_the_counts_nor_a_value() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let _coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&["--fault", "slow=50"]);
    fleet.reached(run, 10).await;

    // A customer in the middle of the others, and a purchase at `as_of`, which is after what is looked at.
    let newcomer = "
        insert into source.customers values (1000000, 'newcomer', 'venue', '1998-01-01');
        insert into source.transactions values
            (90000010, 1000000, '1998-01-01', 100, 'USD'),
            (90000011, 1000001, '1998-07-01', 100, 'USD'),
            (90000012, 1020000, '1998-07-01', 100, 'USD')";
    fleet.sql().await.batch_execute(newcomer).await.unwrap();

    fleet.finished(run).await;
    let gone = "delete from source.customers where customer_id = 1000000";
    fleet.sql().await.batch_execute(gone).await.unwrap();
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dispatchers_of_one_night_find_the_same_run_planned_once() {
    let fleet = fleet().await;
    let dispatch = ["dispatch", "--all", "--as-of", tests::AS_OF, "--json", "--chunk-customers", "200"];

    let mut both = [fleet.background("dispatcher", &dispatch), fleet.background("dispatcher", &dispatch)];
    for dispatcher in &mut both {
        assert!(dispatcher.ended(SOON).await.success(), "{}", dispatcher.log());
    }

    let told = both.each_ref().map(tests::Process::json);
    assert_eq!(told[0]["run"], told[1]["run"]);
    assert_eq!(told.iter().filter(|told| told["is_new"] == true).count(), 1, "{told:?}");
    let run = batch::RunId(told[0]["run"].as_i64().unwrap());
    let runs = "select count(*) from fleet.runs where run_id >= $1";
    assert_eq!(fleet.ask::<i64>(runs, run).await, 1);
    let _coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&[]);
    fleet.finished(run).await;
    assert_eq!(fleet.dispatch(&SMALL).await, run, "the night has its run, even when that is over");
    fleet.assert_exact(run).await;
}
