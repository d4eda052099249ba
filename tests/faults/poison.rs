//! Messages that lapin cannot read, in every queue of a night.

use std::collections::BTreeMap;

use batch::Priority;
use futures_util::future::try_join_all;
use queue::{Chunks as _, Connection as _, DeadLetters as _};
use tests::poison::kinds;
use tests::raw_amqp::RawAmqp;
use tests::{Fleet, PATIENCE, Process, eventually};
use tokio::task::spawn_blocking;

use crate::{SMALL, assert_nothing_was_charged, fleet};

/// How many there are of each kind in each queue.
const EACH: u64 = 100;
/// A body that would make sense, if its message did: it is about nothing of this run.
const BODY: &[u8] = b"{}";

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_messages_of_every_kind_in_every_queue_cost_a_night_no_value_no_worker_and_no_connection() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&SMALL).await;
    let watch = fleet.watch(run);
    let _coordinator = fleet.coordinator(&[]);
    let mut workers = [(); 2].map(|()| fleet.worker(&["--fault", "slow=1000"]));
    fleet.reached(run, 5).await;
    let connected = workers.each_ref().map(connections);

    let sent = poison(&fleet).await;
    assert!(!fleet.is_finished(run).await, "they came in mid-run");
    fleet.finished(run).await;

    let queue = fleet.queue().await;
    eventually(PATIENCE, "no message waits", async || {
        let waiting = queue.waiting().await;
        Priority::ALL.iter().all(|&priority| waiting[priority] == Some(0)).then_some(())
    })
    .await;
    let mut listed = BTreeMap::new();
    for letter in queue.dead_letters(1_000_000).await.unwrap() {
        assert!(letter.message.is_err(), "{letter:?}");
        *listed.entry((letter.origin, letter.reason)).or_default() += 1;
    }
    for ((origin, reason), count) in sent {
        let found: u64 = listed
            .iter()
            .filter(|((from, why), _)| *from == origin && why.contains(reason))
            .map(|(_, n)| n)
            .sum();
        assert_eq!(found, count, "{origin:?}: {reason}; {listed:?}");
    }
    for (worker, connected) in workers.iter_mut().zip(connected) {
        assert!(!worker.has_ended(), "{} died", worker.name());
        assert_eq!(connections(worker), connected, "{} lost a connection", worker.name());
    }
    watch.end().await;
    assert_nothing_was_charged(&fleet, run).await;
    fleet.ltv(&["dead-letters", "discard"]);
    queue.close().await;
    fleet.assert_exact(run).await;
}

/// Publishes them, into all queues at once; says how many of a reason have to be listed for each queue they came from. What
/// others put among the dead letters came from nowhere.
async fn poison(fleet: &Fleet) -> BTreeMap<(Option<String>, &'static str), u64> {
    let names = fleet.names().await;
    let [chunks, .., dead_letter] = names.exchanges();
    let ways = Priority::ALL.map(|priority| (chunks.clone(), priority.as_str())).into_iter();
    let ways = ways.chain([(dead_letter.clone(), "")]);
    // Of requests nobody here takes any.
    let queues = names.queues().filter(|queue| !queue.ends_with(".requests"));
    let publishing = queues.zip(ways).map(|(queue, (exchange, key))| {
        let url = fleet.stack().amqp_url().to_owned();
        let origin = (exchange == chunks).then(|| queue.clone());
        spawn_blocking(move || (origin, publish(&url, &queue, &exchange, key)))
    });
    let mut sent = BTreeMap::new();
    for (origin, reasons) in try_join_all(publishing).await.unwrap() {
        for reason in reasons {
            *sent.entry((origin.clone(), reason)).or_default() += EACH;
        }
    }
    sent
}

/// Publishes every kind into a queue; returns what is to be said of each.
fn publish(url: &str, queue: &str, exchange: &str, key: &str) -> Vec<&'static str> {
    let mut raw = RawAmqp::connect(url).unwrap();
    let mut reasons = Vec::new();
    for kind in kinds(queue) {
        kind.publish(&mut raw, EACH, (exchange, key), BODY).unwrap();
        reasons.push(kind.reason);
    }
    reasons
}

fn connections(worker: &Process) -> usize {
    worker.log().matches("connected to RabbitMQ for consuming").count()
}
