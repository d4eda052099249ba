//! Coordinators die, and there are two of them.

use batch::RunId;
use tests::{Fleet, PATIENCE, eventually};

use crate::servers::purge;
use crate::{SMALL, SOON, assert_nothing_was_charged, fleet};

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
    let old = both.iter().find(|coordinator| coordinator.name() == leader).unwrap();
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
