//! The checks can fail: what happens without the fence, and when the ack comes before the commit.

use std::collections::BTreeSet;
use std::time::Duration;

use batch::{Priority, RunId};
use queue::{Chunks as _, Connection as _, Consumer, Delivery};
use store::Archive;
use tests::{Fleet, Process, eventually};
use tokio::time::timeout;

use crate::{SMALL, SOON, fleet, leased_to, outcome};

#[tokio::test(flavor = "multi_thread")]
async fn the_fence_refuses_a_commit_that_comes_after_another_attempts() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let _coordinator = fleet.coordinator(&[]);

    let zombie = a_zombie_commits(&fleet, run, &[]).await;

    zombie.says("superseded", SOON).await;
    outcome(&fleet, run, zombies_chunk(&fleet, run, &zombie).await, 1, "excused").await;
    fleet.finished(run).await;
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_fence_a_customer_gets_two_values_and_the_checks_see_it() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let coordinator = fleet.coordinator(&[]);

    a_zombie_commits(&fleet, run, &["--no-fence"]).await;

    // The product's own last line of defence: the run does not become visible.
    coordinator.says("it still does not go", SOON).await;
    let log = coordinator.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("it does not go until")).collect();
    assert!(matches!(told[..], [one] if one.contains("finish settled runs")), "{told:?}");
    assert!(!fleet.is_finished(run).await);
    let violations = fleet.violations(run, None).await;
    for expected in ["each once", "a chunk counts the values", "surplus"] {
        assert!(
            violations.iter().any(|violation| violation.contains(expected)),
            "{expected}: {violations:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_in_mid_chunk_leaves_a_message_for_every_chunk_that_is_not_done() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let mut worker = fleet.worker(&["--slots", "1", "--fault", "slow=50,die-begun=3"]);

    worker.ended(SOON).await;

    eventually(SOON, "every unfinished chunk has a message", async || {
        (messages(&fleet).await == unfinished(&fleet, run).await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_ack_before_the_commit_a_dying_worker_takes_its_message_with_it() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let mut worker = fleet.worker(&["--slots", "1", "--fault", "slow=50,ack-first=3"]);

    worker.ended(SOON).await;

    // What the dead worker had not acknowledged comes back; the chunk that it was at does not.
    let unfinished = unfinished(&fleet, run).await;
    let chunk = leased_to(&fleet, run, &worker).await;
    let left = eventually(SOON, "all other messages are back", async || {
        let left = messages(&fleet).await;
        (left.len() + 1 >= unfinished.len()).then_some(left)
    })
    .await;
    assert_eq!(unfinished.difference(&left).copied().collect::<Vec<i32>>(), [chunk]);
}

/// A worker is stopped in mid-chunk until its lease is over and another worker has done the chunk; then it comes
/// back and commits. It renews its lease so rarely that nobody but the fence can tell it that it is too late.
async fn a_zombie_commits(fleet: &Fleet, run: RunId, arguments: &[&str]) -> Process {
    // The run stays open for as long as somebody holds a chunk.
    let mut holder = fleet.worker(&["--slots", "1", "--fault", "hang=1", "--grace-period", "1s"]);
    leased_to(fleet, run, &holder).await;
    let sleepy = ["--slots", "1", "--lease", "10m", "--fault", "slow=2000"];
    let zombie = fleet.worker(&[&sleepy, arguments].concat());
    leased_to(fleet, run, &zombie).await;
    zombie.stop().await;
    let chunk = leased_to(fleet, run, &zombie).await;
    let expire = "update fleet.chunks set leased_until = now() where run_id = $1 and chunk_id = $2";
    fleet.sql().await.execute(expire, &[&run.0, &chunk]).await.unwrap();
    let _worker = fleet.worker(&[]);
    outcome(fleet, run, chunk, 2, "done").await;

    zombie.resume();

    // It is through with that chunk once it has begun another, or there is none left.
    let begun_another =
        "select count(*) > 1 from fleet.attempts where run_id = $1 and starts_with(worker, $2)";
    let client = fleet.sql().await;
    eventually(SOON, "the zombie has dealt with its chunk", async || {
        let row = client.query_one(begun_another, &[&run.0, &zombie.instances()]).await.unwrap();
        (row.get(0) || zombie.log().contains("superseded") || stored_twice(fleet, run, chunk).await)
            .then_some(())
    })
    .await;
    holder.terminate();
    assert!(holder.ended(SOON).await.success());
    eventually(SOON, "the other chunks are done", async || {
        let progress = fleet.store().run(run).await.ok()??.progress;
        (progress.done == progress.chunks).then_some(())
    })
    .await;
    zombie
}

/// Whether a customer of the chunk has two values.
async fn stored_twice(fleet: &Fleet, run: RunId, chunk: i32) -> bool {
    let query = format!(
        "select count(*) <> count(distinct v.customer_id)
           from fleet.values_{run} v
           join fleet.chunks c on v.customer_id between c.first_customer and c.last_customer
          where c.run_id = $1 and c.chunk_id = {chunk}"
    );
    fleet.ask(&query, run).await
}

async fn zombies_chunk(fleet: &Fleet, run: RunId, zombie: &Process) -> i32 {
    let query = format!(
        "select min(chunk_id)
           from fleet.attempts
          where run_id = $1 and starts_with(worker, '{}') and outcome <> 'done'",
        zombie.instances()
    );
    fleet.ask(&query, run).await
}

async fn unfinished(fleet: &Fleet, run: RunId) -> BTreeSet<i32> {
    let query = "select array_agg(chunk_id) from fleet.chunks where run_id = $1 and state <> 'done'";
    fleet.ask::<Vec<i32>>(query, run).await.into_iter().collect()
}

/// The chunks that there are messages for. They are given back.
async fn messages(fleet: &Fleet) -> BTreeSet<i32> {
    let queue = fleet.queue().await;
    let mut consumer = queue.consume(&Priority::ALL, 1_000).await.unwrap();
    let mut taken = Vec::new();
    while let Ok(Some(delivery)) = timeout(Duration::from_millis(500), consumer.next()).await {
        taken.push(delivery);
    }
    let chunks = taken.iter().map(|delivery| delivery.message().unwrap().chunk.chunk.0).collect();
    for delivery in taken {
        let _ = delivery.requeue().await;
    }
    consumer.stop().await;
    queue.close().await;
    chunks
}
