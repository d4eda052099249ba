//! The promises, and what memory alone can show: faults, and that they come the same way again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use batch::{Attempt, ChunkId, ChunkRef, RunId};
use tokio::time::timeout;

use Priority::Normal;

use super::*;
use crate::promises::{ConsumerOf, Subject};

crate::promise_tests! { tokio::test(start_paused = true), InMemory::new() }

/// The broker under the promises.
struct InMemory {
    broker: Broker,
    loses_confirms: Arc<AtomicBool>,
}

struct LoseConfirms(Arc<AtomicBool>);

impl Faults for LoseConfirms {
    fn on_publish(&mut self, _: &Outgoing) -> OnPublish {
        if self.0.load(Ordering::Relaxed) {
            OnPublish::Unconfirmed { is_kept: true }
        } else {
            OnPublish::Keep
        }
    }
}

impl InMemory {
    fn new() -> Self {
        let loses_confirms = Arc::<AtomicBool>::default();
        Self { broker: Broker::with_faults(LoseConfirms(Arc::clone(&loses_confirms))), loses_confirms }
    }
}

impl Subject for InMemory {
    type Queue = Memory;

    async fn connect(&self) -> Memory {
        self.broker.connect()
    }

    async fn put(&self, priority: Priority, body: Vec<u8>) {
        self.broker.put(priority, body);
    }

    fn arrived(consumer: &ConsumerOf<Self>) -> PerPriority<usize> {
        consumer.arrived()
    }

    async fn cut(&self) {
        self.broker.cut();
    }

    async fn go_away(&self) {
        self.broker.set_health(Health::Away);
    }

    async fn lose_confirms(&self) {
        self.loses_confirms.store(true, Ordering::Relaxed);
    }

    async fn come_back(&self) {
        self.loses_confirms.store(false, Ordering::Relaxed);
        self.broker.set_health(Health::Up);
    }

    async fn finish(self) {}
}

// --- what goes wrong on request -----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_published_message_is_as_the_faults_say() {
    use OnPublish::{Delay, Duplicate, Garble, Keep, Lose, Overtake, Refuse, Unconfirmed};
    // Two messages are published; the fault concerns the second.
    let check = async |fault: OnPublish, expected: &[Option<i32>], error: Option<&str>| {
        let broker = Broker::with_faults(Script::publishing([Keep, fault.clone()]));
        let queue = broker.connect();

        let results = queue.publish(vec![outgoing(1), outgoing(2)]).await;

        let told = results[1].as_ref().err().map(ToString::to_string);
        assert_eq!((&results[0], told.as_deref()), (&Ok(()), error), "{fault:?}");
        assert_eq!(drain(&queue).await, expected, "{fault:?}");
    };
    let unroutable = Error::Unroutable { what: "whatever".into() };
    let lost = "publish chunk 2 of run 7: not confirmed, and may have been published all the same: \
                the confirmation was lost";

    check(Keep, &[Some(1), Some(2)], None).await;
    check(Lose, &[Some(1)], None).await;
    check(Duplicate, &[Some(1), Some(2), Some(2)], None).await;
    check(Overtake, &[Some(2), Some(1)], None).await;
    check(Garble(b"garbage".to_vec()), &[Some(1), None], None).await;
    check(Delay(Duration::from_mins(1)), &[Some(1), Some(2)], None).await;
    check(Unconfirmed { is_kept: true }, &[Some(1), Some(2)], Some(lost)).await;
    check(Unconfirmed { is_kept: false }, &[Some(1)], Some(lost)).await;
    check(Refuse(unroutable), &[Some(1)], Some("publish chunk 2 of run 7: no queue to route it to")).await;
}

#[tokio::test(start_paused = true)]
async fn a_delayed_message_comes_when_it_is_due_and_behind_those_of_meanwhile() {
    let minute = Duration::from_mins(1);
    let broker = Broker::with_faults(Script::publishing([OnPublish::Delay(minute)]));
    let queue = broker.connect();
    let mut consumer = queue.consume(&Priority::ALL, 5).await.unwrap();
    let start = Instant::now();
    publish(&queue, 1..=2).await;

    let first = consumer.next().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(queue.waiting().await[Normal], Some(0));
    let second = consumer.next().await;
    assert_eq!(start.elapsed().as_secs(), 60);
    assert_eq!([chunk(first), chunk(second)], [Some(2), Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_delivery_is_as_the_faults_say() {
    use OnDeliver::{Cut, Delay, Garble, Give, Lose};
    let check = async |fault: OnDeliver, expected: &[Option<i32>]| {
        let broker =
            Broker::with_faults(Script { deliver: [Give, fault.clone()].into(), ..Script::default() });
        let queue = broker.connect();
        publish(&queue, 1..=3).await;

        assert_eq!(drain(&queue).await, expected, "{fault:?}");
    };

    check(Give, &[Some(1), Some(2), Some(3)]).await;
    check(Lose, &[Some(1), Some(3)]).await;
    check(Delay(Duration::from_mins(1)), &[Some(1), Some(3), Some(2)]).await;
    check(Garble(b"garbage".to_vec()), &[Some(1), None, Some(3)]).await;
    check(Cut, &[Some(1), Some(2), Some(3)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_on_its_way_counts_against_the_prefetch_and_is_given_back_by_a_stop() {
    let slow = OnDeliver::Delay(Duration::from_mins(1));
    let broker = Broker::with_faults(Script { deliver: [slow].into(), ..Script::default() });
    let queue = broker.connect();
    publish(&queue, 1..=2).await;
    let consumer = queue.consume(&Priority::ALL, 1).await.unwrap();
    assert_eq!(queue.waiting().await[Normal], Some(1));
    assert_eq!(consumer.arrived()[Normal], 0);

    consumer.stop().await;

    assert_eq!(queue.waiting().await[Normal], Some(2));
    assert_eq!(drain(&queue).await, [Some(1), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_cuts_every_delivery_takes_time_and_hangs_nobody() {
    struct CutAlways;
    impl Faults for CutAlways {
        fn on_deliver(&mut self, _: Priority, _: &[u8]) -> OnDeliver {
            OnDeliver::Cut
        }
    }
    let broker = Broker::with_faults(CutAlways);
    let queue = broker.connect();
    let mut consumer = queue.consume(&Priority::ALL, 1).await.unwrap();
    publish(&queue, 1..=1).await;

    assert!(timeout(Duration::from_millis(900), consumer.next()).await.is_err());

    assert_eq!(queue.waiting().await[Normal], Some(1));
    assert!(!queue.ready());
}

#[tokio::test(start_paused = true)]
async fn a_lost_ack_brings_the_message_again_whatever_was_told() {
    for told in [Acked::Sent, Acked::NotSent] {
        let settle = [OnSettle::Lose(told)].into();
        let broker = Broker::with_faults(Script { settle, ..Script::default() });
        let queue = broker.connect();
        let mut consumer = queue.consume(&Priority::ALL, 1).await.unwrap();
        publish(&queue, 1..=1).await;

        assert_eq!(consumer.next().await.unwrap().ack().await, told);

        let again = consumer.next().await.unwrap();
        assert!(again.redelivered());
        assert_eq!(again.ack().await, Acked::Sent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_whose_ack_is_lost_is_put_away_twice() {
    let settle = [OnSettle::Lose(Acked::NotSent)].into();
    let broker = Broker::with_faults(Script { settle, ..Script::default() });
    let queue = broker.connect();
    let mut consumer = queue.consume(&Priority::ALL, 1).await.unwrap();
    publish(&queue, 1..=1).await;

    assert_eq!(consumer.next().await.unwrap().dead_letter("poison").await, Ok(Acked::NotSent));
    assert_eq!(consumer.next().await.unwrap().dead_letter("poison").await, Ok(Acked::Sent));

    assert_eq!(queue.discard_dead_letters().await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_refused_comes_again_after_a_pause() {
    let refused = OnPublish::Refuse(Error::Unroutable { what: "whatever".into() });
    let broker = Broker::with_faults(Script { dead_letter: [refused].into(), ..Script::default() });
    let queue = broker.connect();
    let mut consumer = queue.consume(&Priority::ALL, 1).await.unwrap();
    publish(&queue, 1..=1).await;
    let start = Instant::now();

    let error = consumer.next().await.unwrap().dead_letter("poison").await.unwrap_err();

    assert_eq!(error.to_string(), "dead-letter chunk 1 of run 7: no queue to route it to");
    assert_eq!(start.elapsed(), PAUSE);
    assert_eq!(chunk(consumer.next().await), Some(1));
    assert_eq!(queue.dead_letters(1).await, Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_forgets_has_nothing_left_and_what_was_taken_is_stale() {
    let broker = Broker::new();
    let queue = broker.connect();
    publish(&queue, 1..=4).await;
    let mut consumer = queue.consume(&Priority::ALL, 2).await.unwrap();
    assert_eq!(consumer.next().await.unwrap().dead_letter("poison").await, Ok(Acked::Sent));
    let taken = consumer.next().await.unwrap();

    broker.forget();

    assert_eq!(taken.ack().await, Acked::NotSent);
    assert_eq!(queue.waiting().await, PerPriority::from_fn(|_| Some(0)));
    assert_eq!(queue.dead_letters(10).await, Ok(Vec::new()));
    publish(&queue, 5..=5).await;
    let delivery = consumer.next().await.unwrap();
    assert!(!delivery.redelivered());
    assert_eq!(chunk(Some(delivery)), Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_blocked_broker_takes_nothing_and_gives_what_it_has() {
    let broker = Broker::new();
    let queue = broker.connect();
    let mut consumer = queue.consume(&Priority::ALL, 1).await.unwrap();
    publish(&queue, 1..=1).await;

    broker.set_health(Health::Blocked("low on disk".into()));

    let blocked = queue.publish(vec![outgoing(2)]).await.remove(0).unwrap_err();
    assert!(matches!(blocked, Error::Blocked { .. }), "{blocked}");
    assert!(!queue.ready());
    assert_eq!(chunk(consumer.next().await), Some(1));
    broker.set_health(Health::Up);
    assert!(queue.ready());
}

#[tokio::test(start_paused = true)]
async fn the_messages_of_one_priority_keep_their_order_and_consumers_take_turns() {
    let broker = Broker::new();
    let queue = broker.connect();
    let (mut first, mut second) =
        (queue.consume(&Priority::ALL, 2).await.unwrap(), queue.consume(&Priority::ALL, 2).await.unwrap());
    publish(&queue, 1..=6).await;

    let mut held = Vec::new();
    for _ in 0..2 {
        held.extend([first.next().await.unwrap(), second.next().await.unwrap()]);
    }
    let messages: Vec<AttemptId> = held.iter().map(|delivery| *delivery.message().unwrap()).collect();
    assert_eq!(messages, [1, 2, 3, 4].map(|chunk| outgoing(chunk).message));
    broker.cut();
    drop((first, second));

    assert_eq!(drain(&queue).await, (1..=6).map(Some).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn waiting_consumers_are_all_woken_for_what_is_due() {
    let minute = Duration::from_mins(1);
    let broker =
        Broker::with_faults(Script::publishing([OnPublish::Delay(minute), OnPublish::Delay(minute * 2)]));
    let queue = broker.connect();
    let (mut first, mut second) =
        (queue.consume(&Priority::ALL, 1).await.unwrap(), queue.consume(&Priority::ALL, 1).await.unwrap());
    let publish_later = async {
        tokio::time::sleep(minute).await;
        publish(&queue, 1..=2).await;
    };
    let start = Instant::now();

    // Both wait before anything is due.
    let (one, two, ()) = tokio::join!(first.next(), second.next(), publish_later);

    assert_eq!(start.elapsed().as_secs(), 180);
    let mut chunks = [chunk(one), chunk(two)];
    chunks.sort_unstable();
    assert_eq!(chunks, [Some(1), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn the_same_answers_give_the_same_night_again() {
    /// Counts, and lets something go wrong at every third, fourth and fifth question.
    #[derive(Default)]
    struct Counting(u64);
    impl Counting {
        fn is_nth(&mut self, n: u64) -> bool {
            self.0 += 1;
            self.0.is_multiple_of(n)
        }
    }
    impl Faults for Counting {
        fn on_publish(&mut self, _: &Outgoing) -> OnPublish {
            if self.is_nth(3) {
                OnPublish::Delay(Duration::from_millis(self.0))
            } else {
                OnPublish::Duplicate
            }
        }
        fn on_deliver(&mut self, _: Priority, _: &[u8]) -> OnDeliver {
            if self.is_nth(5) { OnDeliver::Cut } else { OnDeliver::Delay(Duration::from_millis(self.0 % 7)) }
        }
        fn on_settle(&mut self, _: Priority, _: &[u8]) -> OnSettle {
            if self.is_nth(4) { OnSettle::Lose(Acked::Sent) } else { OnSettle::Arrive }
        }
    }
    async fn night() -> Vec<(u128, usize, i32, bool, Acked)> {
        let broker = Broker::with_faults(Counting::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let start = Instant::now();
        let work = async |worker: usize| {
            let mut consumer = broker.connect().consume(&Priority::ALL, 2).await.unwrap();
            while let Ok(Some(delivery)) = timeout(Duration::from_mins(1), consumer.next()).await {
                let (chunk, again) = (delivery.message().unwrap().chunk.chunk.0, delivery.redelivered());
                let acked = delivery.ack().await;
                seen.lock().unwrap().push((start.elapsed().as_millis(), worker, chunk, again, acked));
            }
        };
        let queue = broker.connect();
        tokio::join!(work(1), work(2), work(3), publish(&queue, 1..=50));
        let seen = seen.lock().unwrap();
        seen.clone()
    }

    let (one, other) = (night().await, night().await);

    assert_eq!(one, other);
    let chunks: std::collections::BTreeSet<i32> = one.iter().map(|(_, _, chunk, ..)| *chunk).collect();
    assert_eq!(chunks.len(), 50);
    assert!(one.len() > 100 && one.iter().any(|(_, _, _, again, _)| *again), "{one:?}");
}

/// Answers what stands in it, in this order, and then lets everything go well.
#[derive(Default)]
struct Script {
    publish: VecDeque<OnPublish>,
    dead_letter: VecDeque<OnPublish>,
    deliver: VecDeque<OnDeliver>,
    settle: VecDeque<OnSettle>,
}

impl Script {
    fn publishing(publish: impl Into<VecDeque<OnPublish>>) -> Self {
        Self { publish: publish.into(), ..Self::default() }
    }
}

impl Faults for Script {
    fn on_publish(&mut self, _: &Outgoing) -> OnPublish {
        self.publish.pop_front().unwrap_or(OnPublish::Keep)
    }

    fn on_dead_letter(&mut self, _: &DeadMessage) -> OnPublish {
        self.dead_letter.pop_front().unwrap_or(OnPublish::Keep)
    }

    fn on_deliver(&mut self, _: Priority, _: &[u8]) -> OnDeliver {
        self.deliver.pop_front().unwrap_or(OnDeliver::Give)
    }

    fn on_settle(&mut self, _: Priority, _: &[u8]) -> OnSettle {
        self.settle.pop_front().unwrap_or(OnSettle::Arrive)
    }
}

fn outgoing(chunk: i32) -> Outgoing {
    let chunk = ChunkRef { run: RunId(7), chunk: ChunkId(chunk) };
    let message = AttemptId { chunk, attempt: Attempt(0) };
    Outgoing { priority: Normal, message, trace: TraceContext::default() }
}

async fn publish(queue: &Memory, chunks: impl Iterator<Item = i32>) {
    for result in queue.publish(chunks.map(outgoing).collect()).await {
        result.unwrap();
    }
}

fn chunk(delivery: Option<MemoryDelivery>) -> Option<i32> {
    delivery.unwrap().message().ok().map(|message| message.chunk.chunk.0)
}

/// Takes and acks what comes within five minutes: the chunks, or nothing for what is malformed.
async fn drain(queue: &Memory) -> Vec<Option<i32>> {
    let mut consumer = queue.consume(&Priority::ALL, 10).await.unwrap();
    let mut chunks = Vec::new();
    while let Ok(delivery) = timeout(Duration::from_mins(5), consumer.next()).await {
        let delivery = delivery.unwrap();
        chunks.push(delivery.message().ok().map(|message| message.chunk.chunk.0));
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    chunks
}
