//! The promises of the seam: what the traits promise, as tests that every backend passes.
//!
//! A backend's tests implement [`Subject`] and call [`promise_tests!`](crate::promise_tests), which makes a test
//! of every function here, so none is left out. There is a file for each trait. What a promise needs that only one
//! backend can show (a queue that is deleted, a login that is refused) is tested with that backend.

mod chunks;
mod connection;
mod dead_letters;
mod deliveries;
mod requests;

use std::collections::BTreeSet;
use std::time::Duration;

use batch::{Attempt, AttemptId, ChunkId, ChunkRef, PerPriority, Priority, RunId};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Acked, Chunks, Connection, Consumer, DeadLetters, DeadMessage, Delivery, Outgoing, Requests, TraceContext,
};

pub use chunks::*;
pub use connection::*;
pub use dead_letters::*;
pub use deliveries::*;
pub use requests::*;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Is a backend under test: queues of its own, empty at first, and the power over the way to them.
pub trait Subject {
    /// The backend.
    type Queue: Chunks + DeadLetters + Connection + Requests;

    /// Connects to the queues; each call is another client.
    fn connect(&self) -> impl Future<Output = Self::Queue>;

    /// Publishes any bytes.
    fn put(&self, priority: Priority, body: Vec<u8>) -> impl Future<Output = ()>;

    /// Publishes any bytes to the queue of requests.
    fn put_request(&self, body: Vec<u8>) -> impl Future<Output = ()>;

    /// Deletes the queue of requests.
    fn lose_requests(&self) -> impl Future<Output = ()>;

    /// Counts what has come to a consumer and was not taken.
    fn arrived(consumer: &ConsumerOf<Self>) -> PerPriority<usize>;

    /// Cuts the connections of every consumer and requester, and others if that is easier, once. They may connect again.
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
            a_message_of_another_installation_is_taken_for_none_of_ours
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
            a_request_is_taken_and_its_reply_is_heard
            a_request_comes_as_it_was_sent_with_its_trace_and_nothing_else
            a_reply_reaches_the_process_that_asked_and_no_other
            all_who_wait_for_one_request_hear_of_it
            answering_twice_is_harmless
            whoever_answers_learns_that_who_asked_has_left
            a_request_that_nobody_took_in_time_is_gone
            a_full_queue_sheds_and_takes_again_once_there_is_room
            a_queue_of_requests_that_is_missing_is_told_and_declared_again
            a_request_that_is_not_confirmed_is_unknown_and_asking_again_is_right
            a_server_holds_no_more_requests_than_its_prefetch
            a_request_that_was_given_back_comes_again
            garbage_among_the_requests_is_malformed_and_can_be_dead_lettered
            who_waits_hears_at_once_that_the_connection_was_cut
            asking_and_serving_outlive_an_outage
            asking_and_serving_can_begin_while_the_broker_is_away
            ten_thousand_requests_leave_nobody_behind
            closing_ends_asking_and_serving
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
