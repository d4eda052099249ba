//! Chunks that kill, panic, or hold customers that cannot be valued; messages that make no sense.

use std::collections::BTreeMap;

use batch::{CustomerId, Priority, RunId};
use queue::{Connection as _, DeadLetters as _};
use store::{Archive, Supervision};
use tests::{BAD_CUSTOMERS, FIRST_CUSTOMER, Fleet, PATIENCE, eventually};

use crate::{SMALL, SOON, assert_nothing_was_charged, fleet};

/// Somebody in the middle of the base, with neighbours.
const POISON: i64 = FIRST_CUSTOMER + 12_345;

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_kills_every_worker_ends_dead_and_a_redrive_gives_the_missing_values() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let _coordinator = fleet.coordinator(&["--max-failures", "4"]);
    let mut crew = fleet.crew(2, &["--slots", "2", "--fault", "poison=1012346,slow=20"]);

    fleet.finished_while(run, || crew.replace_the_dead()).await;

    assert_eq!(POISON, 1_012_346);
    assert_eq!(crew.deaths(), 4, "four failures are what a chunk has");
    let dead_chunks = fleet.store().run(run).await.unwrap().unwrap().progress.dead;
    assert_eq!(dead_chunks, 1, "its neighbours were lost with it at first, and then it worked alone");
    watch.end().await;
    let dead = fleet.store().dead_customers(run).await.unwrap();
    assert!(dead.contains(&CustomerId(POISON)) && dead.len() < 400, "{} customers", dead.len());
    fleet.assert_exact(run).await; // all others, and rejections for these
    let listed = fleet.ltv(&["dead-letters", "list", "--json"]).json();
    assert_eq!(listed["chunks"][0]["run"], run.0);
    assert_eq!(listed["chunks"][0]["reason"], "its lease expired");
    assert_eq!(listed["chunks"][0]["customers"], dead.len());

    drop(crew);
    let _healthy = fleet.worker(&[]);
    fleet.ltv(&["dead-letters", "redrive", &run.to_string()]);

    let redriven = RunId(run.0 + 1);
    fleet.finished(redriven).await;
    fleet.assert_exact_for(redriven, &dead).await;
    assert_eq!(fleet.store().visible_runs().await.unwrap().runs[..2], [redriven, run]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_mathematics_panic_fails_alone_and_can_be_redriven_while_the_run_goes_on() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    // A worker that holds one chunk for as long as it lives keeps the run open.
    let mut holder = fleet.worker(&["--slots", "1", "--fault", "hang=1", "--grace-period", "1s"]);
    crate::leased_to(&fleet, run, &holder).await;
    let _coordinator = fleet.coordinator(&["--max-failures", "2"]);
    let mut panicking = fleet.worker(&["--fault", "panic=1012346", "--max-failures", "2"]);
    let dead = eventually(PATIENCE, "all other chunks are settled", async || {
        let progress = fleet.store().run(run).await.ok()??.progress;
        (progress.done + progress.dead + 1 == progress.chunks).then_some(progress.dead)
    })
    .await;
    assert_eq!(dead, 1);
    assert!(!panicking.has_ended(), "a panic is the chunk's failure, not the worker's");
    let listed = fleet.ltv(&["dead-letters", "list", "--json"]).json();
    assert_eq!(listed["chunks"][0]["reason"], "computing panicked: customer 1012346 on purpose");
    assert!(listed["messages"].is_array() && listed["messages_error"].is_null(), "{listed}");
    listed_without_the_broker(&fleet, "on purpose");

    panicking.kill();
    let _healthy = fleet.worker(&[]);
    fleet.ltv(&["dead-letters", "redrive", &run.to_string()]);
    holder.terminate();
    assert!(holder.ended(SOON).await.success());

    fleet.finished(run).await;
    assert_nothing_was_charged(&fleet, run).await;
    let dead = "select count(*) from fleet.chunks where run_id = $1 and state = 'dead'";
    assert_eq!(fleet.ask::<i64>(dead, run).await, 0);
    watch.end().await;
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_whose_history_cannot_be_valued_is_rejected_with_the_reason_and_its_neighbours_are_valued()
{
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let _coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&[]);

    fleet.finished(run).await;

    let query = "select customer_id, reason from fleet.rejections where run_id = $1";
    let rows = fleet.sql().await.query(query, &[&run.0]).await.unwrap();
    let rejected: BTreeMap<i64, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = BTreeMap::from(BAD_CUSTOMERS.map(|(customer, reason)| (customer, reason.to_owned())));
    assert_eq!(rejected, expected);
    let values = fleet.values(run).await;
    for (customer, _) in BAD_CUSTOMERS {
        for neighbour in [customer - 1, customer + 1] {
            assert!(
                values.contains_key(&CustomerId(neighbour)) || expected.contains_key(&neighbour),
                "{neighbour}"
            );
        }
    }
    assert_eq!(fleet.attempts(run, &["done"]).await, chunks(&fleet, run).await, "nothing was tried twice");
    fleet.assert_exact(run).await;
}

/// What PostgreSQL knows of dead letters is told, and that the rest is not known.
fn listed_without_the_broker(fleet: &Fleet, reason: &str) {
    let away = ["dead-letters", "list", "--amqp-url", "amqp://127.0.0.1:1"];
    for (answer, is_json) in
        [(fleet.answer(&away), false), (fleet.answer(&[&away[..], &["--json"]].concat()), true)]
    {
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.out.contains(reason) && answer.err.contains("127.0.0.1:1"), "{answer:?}");
        if is_json {
            let listed = answer.json();
            let error = listed["messages_error"].as_str().unwrap_or_default();
            assert!(listed["messages"].is_null() && error.contains("127.0.0.1:1"), "{listed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_makes_no_sense_is_listed_with_its_reason_and_stops_nobody() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let queue = fleet.queue().await;
    queue.publish_raw(Priority::Normal, b"garbage".to_vec()).await.unwrap();
    let installation = fleet.installation().await;
    let senseless = format!(r#"{{"v":2,"installation":"{installation}","run":0,"chunk":1,"attempt":0}}"#);
    queue.publish_raw(Priority::Critical, senseless.into_bytes()).await.unwrap();
    let _coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&[]);

    fleet.finished(run).await;

    let listed = eventually(SOON, "both are listed", async || {
        let listed = fleet.ltv(&["dead-letters", "list", "--json"]).json();
        (listed["messages"].as_array().unwrap().len() == 2).then_some(listed)
    })
    .await;
    let reasons = listed["messages"].to_string();
    assert!(reasons.contains("line 1 column 1") && reasons.contains("run: 0 is out of range"), "{reasons}");
    fleet.ltv(&["dead-letters", "discard"]);
    assert_eq!(queue.dead_letters(1).await, Ok(Vec::new()));
    queue.close().await;
    fleet.assert_exact(run).await;
}

async fn chunks(fleet: &Fleet, run: RunId) -> i64 {
    fleet.ask("select count(*) from fleet.chunks where run_id = $1", run).await
}
