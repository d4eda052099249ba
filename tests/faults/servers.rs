//! RabbitMQ, Postgres and Redis go away, come back, and forget.

use std::time::Duration;

use batch::{Priority, RunId};
use queue::{Chunks as _, Connection as _, Consumer, Delivery};
use tests::{Crew, Fleet};
use tokio::time::{sleep, timeout};

use crate::{SMALL, assert_nothing_was_charged, fleet};

/// Longer than the leases of these nights.
const LONGER_THAN_A_LEASE: Duration = Duration::from_millis(2_500);

#[tokio::test(flavor = "multi_thread")]
async fn purging_the_queues_in_mid_run_loses_nothing() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let (_coordinator, _crew) = at_work(&fleet, run).await;

    let purged = purge(&fleet).await;

    assert!(purged >= 20, "{purged} messages");
    fleet.finished(run).await;
    watch.end().await;
    assert_nothing_was_charged(&fleet, run).await;
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_queue_in_mid_run_loses_nothing() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let (_coordinator, _crew) = at_work(&fleet, run).await;

    let queue = fleet.queue().await;
    queue.delete_queue(Priority::Normal).await.unwrap();
    queue.close().await;

    fleet.finished(run).await;
    watch.end().await;
    assert_nothing_was_charged(&fleet, run).await;
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarting_the_broker_in_mid_run_loses_nothing() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let (_coordinator, _crew) = at_work(&fleet, run).await;

    fleet.stack().without("stop", "rabbitmq").end();

    fleet.finished(run).await;
    watch.end().await;
    assert_nothing_was_charged(&fleet, run).await;
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_for_longer_than_a_lease_costs_no_attempt() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let (_coordinator, _crew) = at_work(&fleet, run).await;

    let outage = fleet.stack().without("stop", "rabbitmq");
    sleep(LONGER_THAN_A_LEASE).await;
    outage.end();

    fleet.finished(run).await;
    watch.end().await;
    assert_nothing_was_charged(&fleet, run).await;
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_forgets_its_queues_costs_neither_a_value_nor_an_attempt() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let (_coordinator, _crew) = at_work(&fleet, run).await;

    fleet.stack().without("kill", "rabbitmq").end();

    fleet.finished(run).await;
    watch.end().await;
    assert_nothing_was_charged(&fleet, run).await;
    // RabbitMQ 3.10 writes down which quorum queues it has every few minutes only. One that is younger when the
    // broker is killed comes back empty, and one that nobody consumes comes back without a leader and never answers
    // again; hence no look at the dead letters here.
    assert_eq!(fleet.violations(run, None).await, [""; 0]);
    fleet.cache_sees_what_the_store_says().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flushing_redis_in_mid_run_costs_no_value() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let (_coordinator, _crew) = at_work(&fleet, run).await;

    fleet.stack().flush_redis();

    fleet.finished(run).await;
    watch.end().await;
    fleet.assert_exact(run).await;
    let (cached, all) = (fleet.assert_cache_agrees(run).await, fleet.values(run).await.len());
    assert!(0 < cached && cached < all, "{cached} of {all} values are in the cache");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_down_all_night_the_night_goes_on() {
    let fleet = fleet().await;
    let outage = fleet.stack().without("stop", "redis");
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let _coordinator = fleet.coordinator(&[]);
    let _crew = fleet.crew(2, &[]);

    fleet.finished(run).await;

    assert_nothing_was_charged(&fleet, run).await;
    outage.end();
    watch.end().await;
    // Among other things: that the cache is told about the run as soon as it is back.
    fleet.assert_exact(run).await;
    assert_eq!(fleet.assert_cache_agrees(run).await, 0, "what was not written is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn restarting_postgres_in_mid_run_costs_no_attempt() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let (_coordinator, _crew) = at_work(&fleet, run).await;

    fleet.stack().without("stop", "postgres").end();

    fleet.finished(run).await;
    watch.end().await;
    fleet.assert_exact(run).await;
    assert_nothing_was_charged(&fleet, run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_killed_and_away_for_longer_than_a_lease_costs_no_attempt() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let (_coordinator, _crew) = at_work(&fleet, run).await;

    let outage = fleet.stack().without("kill", "postgres");
    sleep(LONGER_THAN_A_LEASE).await;
    outage.end();

    fleet.finished(run).await;
    watch.end().await;
    fleet.assert_exact(run).await;
    assert_nothing_was_charged(&fleet, run).await;
}

/// A coordinator and two workers in the middle of a run, with seconds to go.
async fn at_work(fleet: &Fleet, run: RunId) -> (tests::Process, Crew<'_>) {
    let coordinator = fleet.coordinator(&[]);
    let crew = fleet.crew(2, &["--fault", "slow=100"]);
    fleet.reached(run, 10).await;
    (coordinator, crew)
}

/// Takes every waiting message away, as a purge does; returns how many those were.
pub(crate) async fn purge(fleet: &Fleet) -> usize {
    let queue = fleet.queue().await;
    let mut consumer = queue.consume(&Priority::ALL, 1_000).await.unwrap();
    let mut purged = 0;
    while let Ok(Some(delivery)) = timeout(Duration::from_millis(500), consumer.next()).await {
        let _ = delivery.ack().await;
        purged += 1;
    }
    consumer.stop().await;
    queue.close().await;
    purged
}
