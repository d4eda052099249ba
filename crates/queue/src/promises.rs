//! The promises of the seam: what the traits promise, as tests that every backend passes.
//!
//! A backend's tests implement [`Subject`] and call [`promise_tests!`](crate::promise_tests), which makes a test
//! of every function here, so none is left out. What a promise needs that only one backend can show (a queue that
//! is deleted, a login that is refused) is tested with that backend.

use std::collections::BTreeSet;
use std::time::Duration;

use batch::{Attempt, AttemptId, ChunkId, ChunkRef, PerPriority, Priority, RunId};
use tokio::time::{Instant, sleep, timeout};

use Priority::{Critical, High, Normal};

use crate::{
    Acked, Chunks, Connection, Consumer, DELIVERY_LIMIT, DeadLetters, DeadMessage, Delivery, Error, Outgoing,
    TraceContext,
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Is a backend under test: queues of its own, empty at first, and the power over the way to them.
pub trait Subject {
    /// The backend.
    type Queue: Chunks + DeadLetters + Connection;

    /// Connects to the queues; each call is another client.
    fn connect(&self) -> impl Future<Output = Self::Queue>;

    /// Publishes any bytes.
    fn put(&self, priority: Priority, body: Vec<u8>) -> impl Future<Output = ()>;

    /// Counts what has come to a consumer and was not taken.
    fn arrived(consumer: &ConsumerOf<Self>) -> PerPriority<usize>;

    /// Cuts the connections of every consumer, and others if that is easier, once. They may connect again.
    fn cut(&self) -> impl Future<Output = ()>;

    /// Makes the broker unreachable, until [`come_back`](Self::come_back).
    fn go_away(&self) -> impl Future<Output = ()>;

    /// Lets messages through and their confirmations not, until [`come_back`](Self::come_back).
    fn lose_confirms(&self) -> impl Future<Output = ()>;

    /// Ends the trouble.
    fn come_back(&self) -> impl Future<Output = ()>;

    /// Leaves nothing behind.
    fn finish(self) -> impl Future<Output = ()>;
}

/// The consumer of a subject's backend.
pub type ConsumerOf<S> = <<S as Subject>::Queue as Chunks>::Consumer;

/// Makes a test of every function of [`promises`](crate::promises): first the attribute that each gets, then how a
/// new [`Subject`](crate::promises::Subject) is made, which may await.
///
/// ```text
/// queue::promise_tests! { tokio::test(start_paused = true), InMemory::new() }
/// ```
#[macro_export]
macro_rules! promise_tests {
    ($test:meta, $subject:expr) => {
        $crate::promise_tests! { @of $test, $subject;
            what_is_published_is_confirmed_and_counted
            a_plan_of_thousands_is_confirmed_in_one_call
            the_most_urgent_message_is_taken_first
            a_message_comes_as_it_was_sent_with_its_trace_and_nothing_else
            every_client_sees_the_same_queues
            a_caller_who_stops_waiting_takes_nothing_back
            a_consumer_gets_the_priorities_that_it_asked_for_and_leaves_the_others
            no_more_than_the_prefetch_is_with_a_consumer_for_each_priority
            a_prefetch_of_nothing_is_one
            a_message_is_with_one_consumer_at_a_time
            a_dropped_wait_loses_no_message
            what_is_requeued_comes_again_to_whoever_comes_first
            a_dropped_delivery_comes_again
            a_message_that_circles_ends_among_the_dead_letters
            a_stopped_consumer_gives_back_what_was_not_taken_and_what_was_can_be_acked
            a_dropped_consumer_gives_back_what_was_not_taken
            what_was_taken_on_a_connection_that_was_cut_is_stale_and_comes_again
            a_consumer_whose_connection_was_cut_exceeds_no_prefetch_and_loses_no_message
            garbage_is_delivered_as_malformed_and_can_be_dead_lettered
            a_dead_letter_says_where_it_came_from_and_why
            a_reason_of_any_length_is_taken
            dead_letters_are_seen_in_their_order_no_more_than_asked_for_and_stay
            discarding_dead_letters_counts_them
            what_cannot_be_dead_lettered_comes_again
            while_the_broker_is_away_every_question_is_answered_at_once
            what_was_confirmed_outlives_an_outage
            a_consumer_waits_through_an_outage
            a_consumer_can_begin_while_the_broker_is_away
            a_confirmation_that_does_not_come_is_unknown_and_publishing_again_is_right
            closing_ends_waiting_consumers_and_later_calls_fail
            closing_gives_back_what_was_not_taken_and_leaves_other_clients_alone
        }
    };
    (@of $test:meta, $subject:expr; $($name:ident)*) => {
        $(
            #[$test]
            async fn $name() {
                let subject = $subject;
                $crate::promises::$name(&subject).await;
                $crate::promises::Subject::finish(subject).await;
            }
        )*
    };
}

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

// --- dead letters ---------------------------------------------------------------------------------------------

/// Nothing that is in a queue can stop a consumer.
pub async fn garbage_is_delivered_as_malformed_and_can_be_dead_lettered<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    subject.put(Critical, b"garbage".to_vec()).await;

    let delivery = next(&mut consumer).await;
    let malformed = delivery.message().expect_err("garbage is no message").clone();
    assert_eq!(delivery.dead_letter(&malformed.to_string()).await, Ok(Acked::Sent));

    let letters = wait_for_dead_letters(&queue, 1).await;
    assert_eq!(letters[0].message, Err(malformed));
    assert!(letters[0].reason.contains("line 1 column 1"), "{}", letters[0].reason);
    wait_for_waiting(&queue, [0, 0, 0]).await;
}

/// Enough to find out what happened, and to put it back.
pub async fn a_dead_letter_says_where_it_came_from_and_why<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    let sent = Outgoing { trace: trace(), ..outgoing(High, 7) };
    publish(&queue, vec![sent.clone()]).await;

    assert_eq!(next(&mut consumer).await.dead_letter("poison").await, Ok(Acked::Sent));

    let letters = wait_for_dead_letters(&queue, 1).await;
    let DeadMessage { message, reason, origin, trace } = &letters[0];
    assert_eq!((message, reason.as_str(), trace), (&Ok(sent.message), "poison", &sent.trace));
    assert!(origin.as_ref().is_some_and(|origin| origin.ends_with("high")), "{origin:?}");
}

/// Cut between characters.
pub async fn a_reason_of_any_length_is_taken<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    publish(&queue, vec![outgoing(Normal, 1)]).await;

    let settled = next(&mut consumer).await.dead_letter(&"€".repeat(100_000)).await;

    assert_eq!(settled, Ok(Acked::Sent));
    assert_eq!(wait_for_dead_letters(&queue, 1).await[0].reason, "€".repeat(333));
}

/// Looking changes nothing.
pub async fn dead_letters_are_seen_in_their_order_no_more_than_asked_for_and_stay<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    for chunk in 1..=5 {
        publish(&queue, vec![outgoing(Normal, chunk)]).await;
        assert_eq!(next(&mut consumer).await.dead_letter("poison").await, Ok(Acked::Sent));
    }

    assert_eq!(queue.dead_letters(0).await, Ok(Vec::new()));
    // Again and again, because the second look shows whether the first one left them there.
    for _ in 0..3 {
        let letters = wait_for_dead_letters(&queue, 3).await;
        let seen = letters.iter().map(|letter| letter.message.as_ref().ok().map(|m| m.chunk.chunk.0));
        assert_eq!(seen.collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    }
}

/// Gone for good.
pub async fn discarding_dead_letters_counts_them<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    publish(&queue, plan(Normal, 3)).await;
    for _ in 0..3 {
        assert_eq!(next(&mut consumer).await.dead_letter("poison").await, Ok(Acked::Sent));
    }

    assert_eq!(queue.discard_dead_letters().await, Ok(3));

    assert_eq!(queue.discard_dead_letters().await, Ok(0));
    assert_eq!(queue.dead_letters(10).await, Ok(Vec::new()));
}

/// And is not lost between the two.
pub async fn what_cannot_be_dead_lettered_comes_again<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    publish(&queue, vec![outgoing(Normal, 1)]).await;
    let delivery = next(&mut consumer).await;
    subject.go_away().await;
    until("the loss is noticed", async || !queue.ready()).await;

    let error = delivery.dead_letter("poison").await.expect_err("nothing takes it");

    assert!(error.is_transient(), "{error}");
    subject.come_back().await;
    let again = next(&mut consumer).await;
    assert_eq!((chunk_of(&again), again.redelivered()), (1, true));
    until("it can be asked", async || queue.ready()).await;
    assert_eq!(queue.dead_letters(10).await, Ok(Vec::new()));
    assert_eq!(again.ack().await, Acked::Sent);
}

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

// --- what the tests say ---------------------------------------------------------------------------------------

fn outgoing(priority: Priority, chunk: i32) -> Outgoing {
    let chunk = ChunkRef { run: RunId(7), chunk: ChunkId(chunk) };
    let message = AttemptId { chunk, attempt: Attempt(0) };
    Outgoing { priority, message, trace: TraceContext::default() }
}

fn plan(priority: Priority, count: i32) -> Vec<Outgoing> {
    (1..=count).map(|chunk| outgoing(priority, chunk)).collect()
}

fn chunks(count: i32) -> BTreeSet<i32> {
    (1..=count).collect()
}

fn trace() -> TraceContext {
    TraceContext(vec![
        ("traceparent".into(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        ("tracestate".into(), "rojo=00f067aa0ba902b7".into()),
    ])
}

fn chunk_of(delivery: &impl Delivery<Message = AttemptId>) -> i32 {
    delivery.message().expect("a message of ours").chunk.chunk.0
}

fn count(deliveries: &[impl Delivery]) -> [usize; 3] {
    Priority::ALL.map(|priority| deliveries.iter().filter(|d| d.priority() == priority).count())
}

async fn publish(queue: &impl Chunks, messages: Vec<Outgoing>) {
    let results = queue.publish(messages).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

async fn consume<Q: Chunks>(queue: &Q, prefetch: u16) -> Q::Consumer {
    queue.consume(&Priority::ALL, prefetch).await.expect("an open queue")
}

async fn next<C: Consumer>(consumer: &mut C) -> C::Delivery {
    next_or_end(consumer).await.expect("an open queue")
}

async fn next_or_end<C: Consumer>(consumer: &mut C) -> Option<C::Delivery> {
    timeout(PATIENCE, consumer.next()).await.expect("a message in time")
}

async fn take<C: Consumer>(consumer: &mut C, count: usize) -> Vec<C::Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(next(consumer).await);
    }
    taken
}

/// Takes and acks so many messages with a consumer of its own, and says which chunks they were.
async fn take_all(queue: &impl Chunks, count: usize) -> BTreeSet<i32> {
    let mut consumer = consume(queue, 10).await;
    let mut chunks = BTreeSet::new();
    for delivery in take(&mut consumer, count).await {
        chunks.insert(chunk_of(&delivery));
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    consumer.stop().await;
    chunks
}

async fn waiting(queue: &impl Chunks) -> [Option<u64>; 3] {
    let waiting = queue.waiting().await;
    Priority::ALL.map(|priority| waiting[priority])
}

async fn wait_for_waiting(queue: &impl Chunks, expected: [u64; 3]) {
    let what = format!("{expected:?} messages wait");
    until(&what, async || waiting(queue).await == expected.map(Some)).await;
}

async fn wait_for_arrived<S: Subject>(consumer: &ConsumerOf<S>, expected: [usize; 3]) {
    let what = format!("{expected:?} messages are here");
    until(&what, async || Priority::ALL.map(|priority| S::arrived(consumer)[priority]) == expected).await;
}

/// Waits until so many can be seen, asking for no more: what somebody looked at returns a moment later.
async fn wait_for_dead_letters(queue: &impl DeadLetters, count: usize) -> Vec<DeadMessage> {
    until_some(&format!("{count} dead letters can be seen"), async || {
        queue.dead_letters(count).await.ok().filter(|letters| letters.len() == count)
    })
    .await
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    until_some(what, async || condition().await.then_some(())).await;
}

/// Asks until there is an answer, or patience ends.
async fn until_some<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
