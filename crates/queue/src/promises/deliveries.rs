//! What comes to a consumer: taken once, settled or given back, and stale when its connection is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use batch::Priority;
use tokio::time::timeout;

use Priority::{Critical, High, Normal};

use super::{
    Subject, chunk_of, chunks, consume, count, next, outgoing, plan, publish, take, take_all, until_some,
    wait_for_arrived, wait_for_dead_letters, wait_for_waiting,
};
use crate::{Acked, Consumer, DELIVERY_LIMIT, Delivery};

// --- taken and settled -----------------------------------------------------------------------------------------

/// `next` is cancel safe, however often it is dropped.
pub async fn a_dropped_wait_loses_no_message<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    assert!(timeout(Duration::ZERO, consumer.next()).await.is_err());

    publish(&queue, vec![outgoing(Normal, 1)]).await;

    let delivery = until_some("a message in spite of dropped waits", async || {
        timeout(Duration::from_millis(1), consumer.next()).await.ok()
    })
    .await;
    let delivery = delivery.expect("the queue is open");
    assert_eq!((chunk_of(&delivery), delivery.redelivered()), (1, false));
    assert_eq!(delivery.ack().await, Acked::Sent);
}

/// Marked as given to somebody before.
pub async fn what_is_requeued_comes_again_to_whoever_comes_first<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut first = consume(&queue, 1).await;
    publish(&queue, vec![outgoing(Normal, 1)]).await;

    let delivery = next(&mut first).await;
    first.stop().await;
    let mut second = consume(&queue, 1).await;
    assert_eq!(delivery.requeue().await, Acked::Sent);

    let again = next(&mut second).await;
    assert_eq!((chunk_of(&again), again.redelivered()), (1, true));
    assert_eq!(again.requeue().await, Acked::Sent);
    let again = next(&mut second).await;
    assert!(again.redelivered());
    assert_eq!(again.ack().await, Acked::Sent);
    wait_for_waiting(&queue, [0, 0, 0]).await;
}

/// A panic, or a task that was cancelled.
pub async fn a_dropped_delivery_comes_again<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    publish(&queue, vec![outgoing(Normal, 1)]).await;

    drop(next(&mut consumer).await);

    let again = next(&mut consumer).await;
    assert_eq!((chunk_of(&again), again.redelivered()), (1, true));
    assert_eq!(again.ack().await, Acked::Sent);
}

/// The backstop against a message that nobody can end.
pub async fn a_message_that_circles_ends_among_the_dead_letters<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    publish(&queue, vec![outgoing(High, 1)]).await;

    for _ in 0..=DELIVERY_LIMIT {
        assert_eq!(next(&mut consumer).await.requeue().await, Acked::Sent);
    }

    let letters = wait_for_dead_letters(&queue, 1).await;
    assert_eq!(letters[0].message, Ok(outgoing(High, 1).message));
    assert_eq!(letters[0].reason, "delivery_limit");
    assert!(letters[0].origin.as_ref().is_some_and(|origin| origin.ends_with("high")), "{letters:?}");
    wait_for_waiting(&queue, [0, 0, 0]).await;
}

/// `stop` gives the rest to others at once.
pub async fn a_stopped_consumer_gives_back_what_was_not_taken_and_what_was_can_be_acked<S: Subject>(
    subject: &S,
) {
    let queue = subject.connect().await;
    publish(&queue, plan(Normal, 5)).await;
    let mut consumer = consume(&queue, 5).await;
    wait_for_arrived::<S>(&consumer, [0, 0, 5]).await;
    let taken = next(&mut consumer).await;
    let chunk = chunk_of(&taken);

    consumer.stop().await;

    wait_for_waiting(&queue, [0, 0, 4]).await;
    assert_eq!(taken.ack().await, Acked::Sent);
    let mut rest = chunks(5);
    rest.remove(&chunk);
    assert_eq!(take_all(&queue, 4).await, rest);
    wait_for_waiting(&queue, [0, 0, 0]).await;
}

/// The same without `stop`.
pub async fn a_dropped_consumer_gives_back_what_was_not_taken<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    publish(&queue, plan(Normal, 3)).await;
    let consumer = consume(&queue, 3).await;
    wait_for_arrived::<S>(&consumer, [0, 0, 3]).await;

    drop(consumer);

    wait_for_waiting(&queue, [0, 0, 3]).await;
    assert_eq!(take_all(&queue, 3).await, chunks(3));
}

// --- connections that are lost --------------------------------------------------------------------------------

/// Stale, however it is settled; nothing that is done to it touches its successor.
pub async fn what_was_taken_on_a_connection_that_was_cut_is_stale_and_comes_again<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    publish(&queue, plan(Normal, 3)).await;
    let mut consumer = consume(&queue, 3).await;
    let stale = take(&mut consumer, 3).await;

    subject.cut().await;

    let again = take(&mut consumer, 3).await;
    assert!(again.iter().all(Delivery::redelivered));
    for (delivery, number) in stale.into_iter().zip(0..) {
        match number {
            0 => assert_eq!(delivery.ack().await, Acked::NotSent),
            1 => assert_eq!(delivery.requeue().await, Acked::NotSent),
            _ => drop(delivery),
        }
    }
    let mut seen = BTreeSet::new();
    for delivery in again {
        seen.insert(chunk_of(&delivery));
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    assert_eq!(seen, chunks(3));
    wait_for_waiting(&queue, [0, 0, 0]).await;
}

/// Also over and over.
pub async fn a_consumer_whose_connection_was_cut_exceeds_no_prefetch_and_loses_no_message<S: Subject>(
    subject: &S,
) {
    let queue = subject.connect().await;
    publish(&queue, [Critical, Normal].into_iter().flat_map(|p| plan(p, 10)).collect()).await;
    let mut consumer = consume(&queue, 2).await;
    let mut held = take(&mut consumer, 4).await;

    for _ in 0..3 {
        subject.cut().await;

        // Again exactly two of each are out, on the new connection; without its prefetch it would be all.
        let stale = std::mem::replace(&mut held, take(&mut consumer, 4).await);
        assert_eq!(count(&held), [2, 0, 2]);
        wait_for_waiting(&queue, [8, 0, 8]).await;
        assert!(held.iter().all(Delivery::redelivered));
        for delivery in stale {
            assert_eq!(delivery.ack().await, Acked::NotSent);
        }
    }

    let mut seen = BTreeSet::new();
    for delivery in held {
        seen.insert((delivery.priority(), chunk_of(&delivery)));
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    while seen.len() < 20 {
        let delivery = next(&mut consumer).await;
        let here = S::arrived(&consumer);
        assert!(here[Critical] <= 2 && here[Normal] <= 2, "{here:?}");
        seen.insert((delivery.priority(), chunk_of(&delivery)));
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    wait_for_waiting(&queue, [0, 0, 0]).await;
}
