//! Outages, and the end of a connection.

use std::time::Duration;

use batch::Priority;
use tokio::time::{Instant, timeout};

use Priority::Normal;

use super::{
    PATIENCE, Subject, chunk_of, chunks, consume, next, next_or_end, outgoing, plan, publish, take_all,
    until, wait_for_arrived, wait_for_waiting, waiting,
};
use crate::{Acked, Chunks, Connection, Consumer, DeadLetters, Delivery, Error};

// --- outages --------------------------------------------------------------------------------------------------

/// With an error that may pass, and never with a lie.
pub async fn while_the_broker_is_away_every_question_is_answered_at_once<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    subject.go_away().await;
    until("the loss is noticed", async || !queue.ready()).await;

    let start = Instant::now();
    let results = queue.publish(plan(Normal, 100)).await;
    let letters = queue.dead_letters(1).await;
    let discarded = queue.discard_dead_letters().await;
    let counts = waiting(&queue).await;

    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(results.len(), 100);
    for (result, chunk) in results.into_iter().zip(1..) {
        let error = result.expect_err("nothing can be published");
        assert!(matches!(error, Error::Unavailable { .. }) && error.is_transient(), "{error}");
        assert!(error.to_string().starts_with(&format!("publish chunk {chunk} of run 7: ")), "{error}");
    }
    assert!(letters.is_err_and(|error| error.is_transient()));
    assert!(discarded.is_err_and(|error| error.is_transient()));
    assert_eq!(counts, [None; 3]);
    subject.come_back().await;
}

/// Nothing of it, and nothing beyond it.
pub async fn what_was_confirmed_outlives_an_outage<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    publish(&queue, plan(Normal, 3)).await;

    subject.go_away().await;
    until("the loss is noticed", async || !queue.ready()).await;
    assert!(queue.publish(vec![outgoing(Normal, 4)]).await[0].is_err());
    subject.come_back().await;

    until("it can be counted", async || queue.ready()).await;
    wait_for_waiting(&queue, [0, 0, 3]).await;
    assert_eq!(take_all(&queue, 3).await, chunks(3));
}

/// `next` does not end with its connection.
pub async fn a_consumer_waits_through_an_outage<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    until("it consumes", async || queue.ready()).await;

    subject.go_away().await;
    until("the loss is noticed", async || !queue.ready()).await;
    assert!(timeout(Duration::from_millis(1), consumer.next()).await.is_err());
    subject.come_back().await;

    until("it is published", async || queue.publish(vec![outgoing(Normal, 1)]).await[0].is_ok()).await;
    assert_eq!(next(&mut consumer).await.ack().await, Acked::Sent);
    until("it is ready again", async || queue.ready()).await;
}

/// A role may start before its broker.
pub async fn a_consumer_can_begin_while_the_broker_is_away<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    subject.go_away().await;
    until("the loss is noticed", async || !queue.ready()).await;

    let mut consumer = consume(&queue, 1).await;

    subject.come_back().await;
    until("it is published", async || queue.publish(vec![outgoing(Normal, 1)]).await[0].is_ok()).await;
    assert_eq!(next(&mut consumer).await.ack().await, Acked::Sent);
}

/// The duplicate is harmless; the loss would not be.
pub async fn a_confirmation_that_does_not_come_is_unknown_and_publishing_again_is_right<S: Subject>(
    subject: &S,
) {
    let queue = subject.connect().await;
    subject.lose_confirms().await;

    let result = timeout(PATIENCE, queue.publish(vec![outgoing(Normal, 1)])).await;

    let error = result.expect("a time limit").remove(0).expect_err("no confirmation came");
    assert!(matches!(error, Error::Unconfirmed { .. }) && error.is_transient(), "{error}");
    subject.come_back().await;
    until("it is confirmed", async || queue.publish(vec![outgoing(Normal, 1)]).await[0].is_ok()).await;
    let mut consumer = consume(&queue, 1).await;
    assert_eq!(chunk_of(&next(&mut consumer).await), 1);
}

// --- the end --------------------------------------------------------------------------------------------------

/// The clones are closed with it.
pub async fn closing_ends_waiting_consumers_and_later_calls_fail<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let clone = queue.clone();
    let mut consumer = consume(&queue, 1).await;
    until("it consumes", async || queue.ready()).await;

    let (end, ()) = tokio::join!(timeout(PATIENCE, consumer.next()), queue.close());

    assert!(end.expect("in time").is_none());
    assert!(consumer.next().await.is_none());
    for queue in [queue, clone] {
        let result = queue.publish(vec![outgoing(Normal, 1)]).await.remove(0);
        assert!(matches!(result, Err(Error::Unavailable { .. })), "{result:?}");
        assert!(matches!(queue.consume(&Priority::ALL, 1).await, Err(Error::Unavailable { .. })));
        assert!(matches!(queue.dead_letters(1).await, Err(Error::Unavailable { .. })));
        assert!(matches!(queue.discard_dead_letters().await, Err(Error::Unavailable { .. })));
        assert_eq!(waiting(&queue).await, [None; 3]);
        assert!(!queue.ready());
    }
}

/// A process that ends in good order costs no message.
pub async fn closing_gives_back_what_was_not_taken_and_leaves_other_clients_alone<S: Subject>(subject: &S) {
    let (ending, other) = (subject.connect().await, subject.connect().await);
    publish(&other, plan(Normal, 4)).await;
    let mut consumer = consume(&ending, 3).await;
    wait_for_arrived::<S>(&consumer, [0, 0, 3]).await;
    let taken = next(&mut consumer).await;
    let chunk = chunk_of(&taken);

    ending.close().await;

    // Only then, because a consumer that was closed ends a moment later.
    wait_for_waiting(&other, [0, 0, 3]).await;
    assert!(next_or_end(&mut consumer).await.is_none());
    assert_eq!(taken.ack().await, Acked::Sent);
    let mut rest = chunks(4);
    rest.remove(&chunk);
    assert_eq!(take_all(&other, 3).await, rest);
}
