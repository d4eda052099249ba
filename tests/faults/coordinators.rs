//! Coordinators die, and there are two of them.

use std::net::TcpListener;

use batch::RunId;
use tests::{Fleet, PATIENCE, eventually};

use crate::servers::purge;
use crate::{SMALL, SOON, assert_nothing_was_charged, fleet, leased_to};

#[tokio::test(flavor = "multi_thread")]
async fn when_the_coordinator_is_killed_the_next_one_goes_on() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let mut first = fleet.coordinator(&[]);
    let _crew = fleet.crew(2, &["--fault", "slow=100"]);
    fleet.reached(run, 10).await;

    first.kill();
    // Without a coordinator this night would never end.
    assert!(purge(&fleet).await >= 20);
    let _second = fleet.coordinator(&[]);

    fleet.finished(run).await;
    watch.end().await;
    assert_nothing_was_charged(&fleet, run).await;
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_coordinators_one_leads_and_one_that_was_stopped_does_no_harm_when_it_comes_back() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let both = [fleet.coordinator(&[]), fleet.coordinator(&[])];
    let _crew = fleet.crew(2, &["--fault", "slow=60"]);
    let (leader, term) = leadership(&fleet, run, 0).await;
    let old = both.iter().find(|coordinator| leader.starts_with(&coordinator.instances())).unwrap();
    fleet.reached(run, 10).await;

    old.stop().await;

    let (new, _) = leadership(&fleet, run, term).await;
    assert_ne!(new, leader);
    fleet.finished(run).await;
    let another = fleet.dispatch(&["--again", "--chunk-customers", "200"]).await;
    fleet.reached(another, 10).await;
    old.resume();
    old.says("\"term\":\"None\"", SOON).await;
    fleet.finished(another).await;
    watch.end().await;
    for run in [run, another] {
        assert_nothing_was_charged(&fleet, run).await;
        fleet.assert_exact(run).await;
    }
}

/// It could publish nothing; the one that waits can.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_reaches_no_broker_gives_way_to_one_that_does() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    assert!(purge(&fleet).await >= 20);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cut_off = fleet.coordinator(&["--amqp-url", &format!("amqp://{nobody}")]);
    cut_off.says("leadership changed", SOON).await;
    let well = fleet.coordinator(&[]);
    well.says("waits for the lease of the one that leads", SOON).await;
    let _crew = fleet.crew(2, &[]);

    fleet.finished(run).await;

    let waits = well.log().lines().filter(|line| line.contains("waits for the lease")).count();
    assert!(waits == 1 && well.log().contains(&cut_off.instances()), "{}", well.log());
    assert!(cut_off.log().contains("gives way"), "{}", cut_off.log());
    assert_nothing_was_charged(&fleet, run).await;
    fleet.assert_exact(run).await;
}

/// The stored moments are moved forward instead: to whoever reads them that is the same.
#[tokio::test(flavor = "multi_thread")]
async fn after_postgres_clock_was_set_back_the_next_coordinator_goes_on() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let mut first = fleet.coordinator(&[]);
    let mut worker = fleet.worker(&["--fault", "slow=100"]);
    fleet.reached(run, 10).await;
    let chunk = leased_to(&fleet, run, &worker).await;
    first.kill();
    worker.kill();
    let forward = "
        update fleet.leadership
           set expires_at = expires_at + interval '2 hours', renewed_at = renewed_at + interval '2 hours';
        update fleet.runs set planned_at = planned_at + interval '2 hours';
        update fleet.chunks
           set leased_at = leased_at + interval '2 hours',
               leased_until = leased_until + interval '2 hours',
               published_at = published_at + interval '2 hours',
               retry_at = retry_at + interval '2 hours';";
    fleet.sql().await.batch_execute(forward).await.unwrap();

    let second = fleet.coordinator(&[]);
    let _crew = fleet.crew(2, &[]);

    fleet.finished(run).await;
    assert!(second.log().contains("shortened a lease"), "of chunk {chunk}");
    fleet.assert_exact(run).await;
}

/// Who leads under a term later than this one.
async fn leadership(fleet: &Fleet, run: RunId, after: i64) -> (String, i64) {
    let query = "select leader, term from fleet.leadership where term > $1 and expires_at > now()";
    let client = fleet.sql().await;
    eventually(PATIENCE, &format!("somebody leads run {run} after term {after}"), async || {
        let row = client.query_opt(query, &[&after]).await.unwrap()?;
        Some((row.get(0), row.get(1)))
    })
    .await
}
