//! Publishing, consuming what was asked for, and counting.

use std::collections::BTreeSet;
use std::time::Duration;

use batch::{Attempt, PerPriority, Priority};
use tokio::time::timeout;

use Priority::{Critical, High, Normal};

use super::{
    Subject, chunk_of, consume, next, outgoing, plan, publish, trace, until, wait_for_arrived,
    wait_for_waiting,
};
use crate::{Acked, Chunks, Connection, Delivery};

// --- publishing -----------------------------------------------------------------------------------------------

/// One result for each message, in order; what nobody takes is counted.
pub async fn what_is_published_is_confirmed_and_counted<S: Subject>(subject: &S) {
    let queue = subject.connect().await;

    let none = queue.publish(Vec::new()).await;
    let results = queue.publish(vec![outgoing(Critical, 1), outgoing(Normal, 2), outgoing(Normal, 3)]).await;

    assert_eq!(none, []);
    assert_eq!(results, [Ok(()), Ok(()), Ok(())]);
    wait_for_waiting(&queue, [1, 0, 2]).await;
    assert!(queue.ready());
}

/// A night's plan is one call.
pub async fn a_plan_of_thousands_is_confirmed_in_one_call<S: Subject>(subject: &S) {
    let queue = subject.connect().await;

    let results = queue.publish((1..=3_000).map(|chunk| outgoing(Normal, chunk)).collect()).await;

    assert_eq!(results.len(), 3_000);
    assert!(results.iter().all(Result::is_ok));
    wait_for_waiting(&queue, [0, 0, 3_000]).await;
}

/// Of what is here, not of what was published first.
pub async fn the_most_urgent_message_is_taken_first<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;

    publish(&queue, vec![outgoing(Normal, 1), outgoing(High, 2), outgoing(Critical, 3)]).await;

    wait_for_arrived::<S>(&consumer, [1, 1, 1]).await;
    for (priority, chunk) in [(Critical, 3), (High, 2), (Normal, 1)] {
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.priority(), chunk_of(&delivery)), (priority, chunk));
        assert!(!delivery.redelivered());
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    wait_for_waiting(&queue, [0, 0, 0]).await;
}

/// The largest numbers included; of the trace, the pairs that a trace consists of.
pub async fn a_message_comes_as_it_was_sent_with_its_trace_and_nothing_else<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    let mut sent = outgoing(High, i32::MAX);
    sent.message.attempt = Attempt(3);
    sent.trace = trace();
    let mut with_more = sent.clone();
    with_more.trace.0.push(("customer".into(), "5".into()));

    publish(&queue, vec![with_more]).await;

    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.message(), Ok(&sent.message));
    assert_eq!(delivery.trace(), &sent.trace);
    assert_eq!(delivery.ack().await, Acked::Sent);
}

/// Those who publish, those who consume and those who count are different processes.
pub async fn every_client_sees_the_same_queues<S: Subject>(subject: &S) {
    let (publisher, worker, watcher) =
        (subject.connect().await, subject.connect().await, subject.connect().await);

    publish(&publisher.clone(), vec![outgoing(Normal, 1)]).await;

    wait_for_waiting(&watcher, [0, 0, 1]).await;
    let mut consumer = consume(&worker, 1).await;
    assert_eq!(chunk_of(&next(&mut consumer).await), 1);
}

/// What was handed over is published.
pub async fn a_caller_who_stops_waiting_takes_nothing_back<S: Subject>(subject: &S) {
    let queue = subject.connect().await;

    let _ = timeout(Duration::ZERO, queue.publish(vec![outgoing(Normal, 1)])).await;

    wait_for_waiting(&queue, [0, 0, 1]).await;
}

// --- consuming ------------------------------------------------------------------------------------------------

/// Each of them once, however often it was named; asking for nothing gets nothing.
pub async fn a_consumer_gets_the_priorities_that_it_asked_for_and_leaves_the_others<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    publish(&queue, Priority::ALL.into_iter().flat_map(|p| plan(p, 3)).collect()).await;

    let mut urgent = queue.consume(&[High, Critical, High], 2).await.expect("an open queue");
    let idle = queue.consume(&[], 2).await.expect("an open queue");
    until("it consumes", async || queue.ready()).await;

    wait_for_arrived::<S>(&urgent, [2, 2, 0]).await;
    wait_for_waiting(&queue, [1, 1, 3]).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 6 {
        let delivery = next(&mut urgent).await;
        assert_ne!(delivery.priority(), Normal);
        seen.insert((delivery.priority(), chunk_of(&delivery)));
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    assert_eq!(S::arrived(&idle), PerPriority::default());
    wait_for_waiting(&queue, [0, 0, 3]).await;
}

/// Each priority and each consumer has its own; settling makes room for the next.
pub async fn no_more_than_the_prefetch_is_with_a_consumer_for_each_priority<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    publish(&queue, [Critical, Normal].into_iter().flat_map(|p| plan(p, 5)).collect()).await;

    let mut first = consume(&queue, 2).await;
    wait_for_arrived::<S>(&first, [2, 0, 2]).await;
    wait_for_waiting(&queue, [3, 0, 3]).await;
    let second = consume(&queue, 1).await;
    wait_for_arrived::<S>(&second, [1, 0, 1]).await;
    wait_for_waiting(&queue, [2, 0, 2]).await;

    // Taken is not settled: the place is free with the ack.
    let delivery = next(&mut first).await;
    assert_eq!(S::arrived(&first)[Critical], 1);
    assert_eq!(delivery.ack().await, Acked::Sent);
    wait_for_arrived::<S>(&first, [2, 0, 2]).await;
    wait_for_waiting(&queue, [1, 0, 2]).await;
}

/// And not everything, as it is with some brokers.
pub async fn a_prefetch_of_nothing_is_one<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    publish(&queue, plan(Normal, 3)).await;

    let consumer = consume(&queue, 0).await;

    wait_for_arrived::<S>(&consumer, [0, 0, 1]).await;
    wait_for_waiting(&queue, [0, 0, 2]).await;
}

/// As long as all goes well nothing comes twice.
pub async fn a_message_is_with_one_consumer_at_a_time<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let (mut first, mut second) = (consume(&queue, 3).await, consume(&queue, 3).await);

    publish(&queue, plan(Normal, 30)).await;

    let mut seen = BTreeSet::new();
    while seen.len() < 30 {
        let delivery = tokio::select! {
            delivery = next(&mut first) => delivery,
            delivery = next(&mut second) => delivery,
        };
        assert!(!delivery.redelivered());
        assert!(seen.insert(chunk_of(&delivery)), "{} came twice", chunk_of(&delivery));
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    wait_for_waiting(&queue, [0, 0, 0]).await;
}
