//! The queue against a real RabbitMQ, also while it is restarted.
//!
//! Every test has queues of its own. Those that take the broker away do so alone: a lock on a file, because the
//! test runner may give each test a process.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;

use ::queue::{
    Acked, Consumer, Delivery, Error, Outgoing, Queue, RabbitMq, RabbitMqConfig, TraceContext,
    rabbitmq::RabbitMqConsumer,
};
use batch::{Attempt, ChunkId, ChunkMessage, ChunkRef, PerPriority, Priority, RunId};
use tests::{Stack, unique};
use tokio::time::{Instant, timeout};

use Priority::{Critical, High, Normal};

/// How long anything may take, the restart of a broker included.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_confirmed_and_comes_the_most_urgent_first() {
    let _broker = Broker::shared();
    let queue = connect().await;
    let mut consumer = queue.consume(1).await.unwrap();

    let results = queue.publish(vec![outgoing(Normal, 1), outgoing(High, 2), outgoing(Critical, 3)]).await;

    assert_eq!(results, [Ok(()), Ok(()), Ok(())]);
    until("all three are here", async || Priority::ALL.iter().all(|&p| consumer.arrived()[p] == 1)).await;
    for (priority, chunk) in [(Critical, 3), (High, 2), (Normal, 1)] {
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.priority(), chunk_of(&delivery)), (priority, chunk));
        assert!(!delivery.redelivered());
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    finish(queue, Some(consumer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_as_it_was_sent_with_its_trace() {
    let _broker = Broker::shared();
    let queue = connect().await;
    let mut sent = outgoing(High, i32::MAX);
    sent.message.attempt_hint = Attempt(3);
    sent.trace = TraceContext(vec![
        ("traceparent".into(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        ("tracestate".into(), "rojo=00f067aa0ba902b7".into()),
    ]);

    assert_eq!(queue.publish(vec![sent.clone()]).await, [Ok(())]);

    let mut consumer = queue.consume(1).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.message(), Ok(sent.message));
    assert_eq!(delivery.trace(), &sent.trace);
    assert_eq!(delivery.ack().await, Acked::Sent);
    finish(queue, Some(consumer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_thousands_is_confirmed_in_one_call() {
    let _broker = Broker::shared();
    let queue = connect().await;

    let results = queue.publish((1..=3_000).map(|chunk| outgoing(Normal, chunk)).collect()).await;

    assert_eq!(results.len(), 3_000);
    assert!(results.iter().all(Result::is_ok));
    wait_for_waiting(&queue, [0, 0, 3_000]).await;
    finish(queue, NOBODY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_queue_takes_is_an_error_and_only_that_one() {
    let _broker = Broker::shared();
    let queue = connect().await;
    queue.delete_queue(High).await.unwrap();

    // Mixed, so that returns and confirmations cross each other.
    let priorities: Vec<Priority> = (0..200).map(|i| if i % 2 == 0 { High } else { Normal }).collect();
    let plan = priorities.iter().zip(1..).map(|(&priority, chunk)| outgoing(priority, chunk)).collect();
    let results = queue.publish(plan).await;

    assert_eq!(results[0], Err(Error::Unroutable { what: "publish chunk 1 of run 7".into() }));
    assert!(results[0].as_ref().unwrap_err().is_transient());
    let mut routed_high = 0;
    for (priority, result) in priorities.iter().zip(&results) {
        match (priority, result) {
            // Meanwhile the queue is declared again, so the later ones may get there.
            (High, Ok(())) => routed_high += 1,
            (High, Err(Error::Unroutable { .. })) | (Normal, Ok(())) => {}
            other => panic!("{other:?}"),
        }
    }
    wait_for_waiting(&queue, [0, routed_high, 100]).await;

    until("the queue is there again", async || queue.publish(vec![outgoing(High, 1)]).await[0].is_ok()).await;
    finish(queue, NOBODY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_goes_to_the_dead_letters_with_its_reason_and_stays_there_when_looked_at() {
    let _broker = Broker::shared();
    let queue = connect().await;
    let mut consumer = queue.consume(1).await.unwrap();
    queue.publish_raw(Critical, b"garbage".to_vec()).await.unwrap();

    let delivery = next(&mut consumer).await;
    let reason = delivery.message().unwrap_err().to_string();
    assert_eq!(delivery.dead_letter(&reason).await, Ok(Acked::Sent));

    // Looked at twice, because the second look shows whether the first one left it there.
    let first = queue.dead_letters(10).await.unwrap();
    let second = until_some("the dead letter is there again", async || {
        queue.dead_letters(10).await.ok().filter(|letters| !letters.is_empty())
    })
    .await;
    assert_eq!(first, second);
    let [letter] = &first[..] else { panic!("{first:?}") };
    assert!(letter.reason.contains("line 1 column 1"), "{}", letter.reason);
    assert!(letter.origin.as_ref().unwrap().ends_with(".critical"));
    assert!(letter.message.is_err());
    wait_for_waiting(&queue, [0, 0, 0]).await;
    finish(queue, Some(consumer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_seen_in_their_order_and_no_more_than_asked_for() {
    let _broker = Broker::shared();
    let queue = connect().await;
    let mut consumer = queue.consume(1).await.unwrap();
    queue.publish((1..=5).map(|chunk| outgoing(Normal, chunk)).collect()).await;
    for _ in 0..5 {
        assert_eq!(next(&mut consumer).await.dead_letter("poison").await, Ok(Acked::Sent));
    }

    for _ in 0..3 {
        let seen = until_some("three dead letters can be seen", async || {
            queue.dead_letters(3).await.ok().filter(|letters| letters.len() == 3)
        })
        .await;

        let chunks: Vec<i32> =
            seen.iter().map(|letter| letter.message.as_ref().unwrap().chunk.chunk.0).collect();
        assert_eq!(chunks, [1, 2, 3]);
    }
    finish(queue, Some(consumer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_wait_loses_no_message_and_a_dropped_delivery_comes_again() {
    let _broker = Broker::shared();
    let queue = connect().await;
    let mut consumer = queue.consume(1).await.unwrap();
    assert!(timeout(Duration::ZERO, consumer.next()).await.is_err());
    queue.publish(vec![outgoing(Normal, 1)]).await;

    let mut waits = 0;
    let delivery = loop {
        waits += 1;
        if let Ok(delivery) = timeout(Duration::from_millis(1), consumer.next()).await {
            break delivery.unwrap();
        }
        assert!(waits < 60_000, "nothing came");
    };
    assert_eq!(chunk_of(&delivery), 1);
    drop(delivery);

    let again = next(&mut consumer).await;
    assert!(again.redelivered());
    assert_eq!(again.ack().await, Acked::Sent);
    finish(queue, Some(consumer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_requeued_comes_again() {
    let _broker = Broker::shared();
    let queue = connect().await;
    let mut consumer = queue.consume(1).await.unwrap();
    queue.publish(vec![outgoing(Normal, 1)]).await;

    assert_eq!(next(&mut consumer).await.requeue().await, Acked::Sent);

    let again = next(&mut consumer).await;
    assert!(again.redelivered());
    assert_eq!(again.ack().await, Acked::Sent);
    finish(queue, Some(consumer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_gives_back_what_was_not_taken_and_what_was_taken_can_still_be_acked() {
    let _broker = Broker::shared();
    let queue = connect().await;
    queue.publish((1..=5).map(|chunk| outgoing(Normal, chunk)).collect()).await;
    let mut consumer = queue.consume(5).await.unwrap();
    until("all five are here", async || consumer.arrived()[Normal] == 5).await;
    let taken = next(&mut consumer).await;

    consumer.stop().await;

    wait_for_waiting(&queue, [0, 0, 4]).await;
    assert_eq!(chunk_of(&taken), 1);
    assert_eq!(taken.ack().await, Acked::Sent);
    let mut consumer = queue.consume(5).await.unwrap();
    let rest = take_chunks(&mut consumer, 4).await;
    assert_eq!(rest, BTreeSet::from([2, 3, 4, 5]));
    finish(queue, Some(consumer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_deleted_under_its_consumer_is_restored_and_consumed_again() {
    let _broker = Broker::shared();
    let queue = connect().await;
    let mut consumer = queue.consume(1).await.unwrap();
    until("it consumes", async || queue.ready()).await;

    queue.delete_queue(Normal).await.unwrap();

    until("a message gets there", async || queue.publish(vec![outgoing(Normal, 1)]).await[0].is_ok()).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.ack().await, Acked::Sent);
    until("it is ready again", async || queue.ready()).await;
    finish(queue, Some(consumer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_replaced_behind_its_consumers_back_is_consumed_again() {
    let _broker = Broker::shared();
    let config = config(Stack::from_env().amqp_url(), &unique("queue"));
    let queue = RabbitMq::connect_now(config.clone()).await.unwrap();
    let mut consumer = queue.consume(1).await.unwrap();
    until("it consumes", async || queue.ready()).await;

    queue.delete_queue(Normal).await.unwrap();
    // Connecting declares the queue at once, which RabbitMQ 3.10 does not tell its consumers.
    let other = RabbitMq::connect_now(config).await.unwrap();

    until("a message gets there", async || other.publish(vec![outgoing(Normal, 1)]).await[0].is_ok()).await;
    assert_eq!(next(&mut consumer).await.ack().await, Acked::Sent);
    other.close().await;
    finish(queue, Some(consumer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_a_waiting_consumer_and_later_calls_fail() {
    let _broker = Broker::shared();
    let config = config(Stack::from_env().amqp_url(), &unique("queue"));
    let queue = RabbitMq::connect_now(config.clone()).await.unwrap();
    let mut consumer = queue.consume(1).await.unwrap();
    let waiting = tokio::spawn(async move { consumer.next().await.is_none() });

    timeout(PATIENCE, queue.close()).await.unwrap();

    assert!(timeout(PATIENCE, waiting).await.unwrap().unwrap());
    assert!(matches!(queue.publish(vec![outgoing(Normal, 1)]).await[0], Err(Error::Unavailable { .. })));
    assert!(!queue.ready());
    finish(RabbitMq::connect_now(config).await.unwrap(), NOBODY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_for_good_and_not_shown() {
    let _broker = Broker::shared();
    let stack = Stack::from_env();
    let url: &str = stack.amqp_url();
    let place = url.rsplit_once('@').map_or_else(|| url.trim_start_matches("amqp://"), |(_, place)| place);
    let url = format!("amqp://guest:wrong-secret@{place}");

    let error = RabbitMq::connect_now(config(&url, &unique("queue"))).await.unwrap_err();

    assert!(!error.is_transient(), "{error}");
    assert!(error.to_string().contains("guest:***@"), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrong-secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_broker_exceeds_no_prefetch_and_loses_no_message() {
    let broker = Broker::alone();
    let queue = connect().await;
    let plan = [Critical, Normal].map(|p| (1..=20).map(move |chunk| outgoing(p, chunk)));
    let results = queue.publish(plan.into_iter().flatten().collect()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let mut consumer = queue.consume(2).await.unwrap();
    let stale = take(&mut consumer, 4).await;
    wait_for_waiting(&queue, [18, 0, 18]).await;

    broker.restart();

    // Again exactly two of each are out, now on the new connection; without its prefetch it would be all.
    let held = take(&mut consumer, 4).await;
    assert_eq!(count(&held), [2, 0, 2]);
    wait_for_waiting(&queue, [18, 0, 18]).await;
    assert!(held.iter().all(Delivery::redelivered));
    for delivery in stale {
        assert_eq!(delivery.ack().await, Acked::NotSent);
    }
    let mut seen = BTreeSet::new();
    for delivery in held {
        seen.insert((delivery.priority(), chunk_of(&delivery)));
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    while seen.len() < 40 {
        let delivery = next(&mut consumer).await;
        let arrived = consumer.arrived();
        assert!(arrived[Critical] <= 2 && arrived[Normal] <= 2, "{arrived:?}");
        seen.insert((delivery.priority(), chunk_of(&delivery)));
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    wait_for_waiting(&queue, [0, 0, 0]).await;
    finish(queue, Some(consumer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_fails_at_once_while_the_broker_is_away_and_works_again_after() {
    let broker = Broker::alone();
    let queue = connect().await;
    assert_eq!(queue.publish(vec![outgoing(Normal, 1)]).await, [Ok(())]);

    broker.kill();

    until("the loss is noticed", async || !queue.ready()).await;
    for _ in 0..30 {
        let start = Instant::now();
        let results = queue.publish((1..=100).map(|chunk| outgoing(Normal, chunk)).collect()).await;
        assert_eq!(results.len(), 100);
        for result in results {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }) && error.is_transient(), "{error}");
        }
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
    assert_eq!(queue.breaker().state(), resilience::State::Open);
    assert_eq!(queue.waiting().await, PerPriority::from_fn(|_| None));
    assert!(queue.dead_letters(1).await.unwrap_err().is_transient());

    broker.start();

    until("publishing works again", async || queue.publish(vec![outgoing(High, 2)]).await[0].is_ok()).await;
    // What was confirmed before the kill is still there.
    wait_for_waiting(&queue, [0, 1, 1]).await;
    finish(queue, NOBODY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_starts_before_its_broker_waits_for_it() {
    let broker = Broker::alone();
    let prefix = unique("queue");
    let config = config(Stack::from_env().amqp_url(), &prefix);
    broker.stop();

    let now = RabbitMq::connect_now(config.clone()).await.unwrap_err();
    let queue = RabbitMq::connect(config).await.unwrap();
    let mut consumer = queue.consume(1).await.unwrap();
    assert!(!queue.ready());
    broker.start();

    assert!(now.to_string().contains("not reachable: connection refused"), "{now}");
    until("a message can be published", async || queue.publish(vec![outgoing(Normal, 1)]).await[0].is_ok())
        .await;
    assert_eq!(next(&mut consumer).await.ack().await, Acked::Sent);
    until("it is ready", async || queue.ready()).await;
    finish(queue, Some(consumer)).await;
}

// --- the broker -----------------------------------------------------------------------------------------------

/// The right to use the broker, together with others or alone.
struct Broker {
    stack: Stack,
    _lock: File,
}

impl Broker {
    fn shared() -> Self {
        Self::locked(File::lock_shared)
    }

    fn alone() -> Self {
        Self::locked(File::lock)
    }

    fn locked(lock: fn(&File) -> std::io::Result<()>) -> Self {
        let stack = Stack::from_env();
        let port = stack.amqp_url().rsplit(':').next().unwrap_or_default().replace('/', "-");
        let path = std::env::temp_dir().join(format!("ltv-tests-rabbitmq-{port}.lock"));
        let file = File::options().create(true).append(true).open(path).unwrap();
        lock(&file).unwrap();
        Self { stack, _lock: file }
    }

    fn stop(&self) {
        self.stack.service("stop", "rabbitmq");
    }

    fn kill(&self) {
        self.stack.service("kill", "rabbitmq");
    }

    fn start(&self) {
        self.stack.service("start", "rabbitmq");
    }

    fn restart(&self) {
        self.stop();
        self.start();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A test that failed with the broker away must not fail the others with it.
        if std::thread::panicking() {
            self.start();
        }
    }
}

// --- what the tests say -----------------------------------------------------------------------------------------

async fn connect() -> RabbitMq {
    RabbitMq::connect_now(config(Stack::from_env().amqp_url(), &unique("queue"))).await.unwrap()
}

fn config(url: &str, prefix: &str) -> RabbitMqConfig {
    RabbitMqConfig { prefix: prefix.to_owned(), ..RabbitMqConfig::new(url, "test") }
}

fn outgoing(priority: Priority, chunk: i32) -> Outgoing {
    let chunk = ChunkRef { run: RunId(7), chunk: ChunkId(chunk) };
    let message = ChunkMessage { chunk, attempt_hint: Attempt(0) };
    Outgoing { priority, message, trace: TraceContext::default() }
}

fn chunk_of(delivery: &impl Delivery) -> i32 {
    delivery.message().unwrap().chunk.chunk.0
}

async fn next<C: Consumer>(consumer: &mut C) -> C::Delivery {
    timeout(PATIENCE, consumer.next()).await.expect("a message in time").expect("an open queue")
}

async fn take<C: Consumer>(consumer: &mut C, count: usize) -> Vec<C::Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(next(consumer).await);
    }
    taken
}

async fn take_chunks<C: Consumer>(consumer: &mut C, count: usize) -> BTreeSet<i32> {
    let mut chunks = BTreeSet::new();
    for delivery in take(consumer, count).await {
        chunks.insert(chunk_of(&delivery));
        assert_eq!(delivery.ack().await, Acked::Sent);
    }
    chunks
}

fn count(deliveries: &[impl Delivery]) -> [usize; 3] {
    Priority::ALL.map(|priority| deliveries.iter().filter(|d| d.priority() == priority).count())
}

async fn wait_for_waiting(queue: &RabbitMq, [critical, high, normal]: [u64; 3]) {
    let what = format!("{critical} critical, {high} high, {normal} normal wait");
    until(&what, async || {
        let waiting = queue.waiting().await;
        [waiting[Critical], waiting[High], waiting[Normal]] == [Some(critical), Some(high), Some(normal)]
    })
    .await;
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
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const NOBODY: Option<RabbitMqConsumer> = None;

/// Stops, and leaves nothing behind in the broker.
async fn finish(queue: RabbitMq, consumer: Option<impl Consumer>) {
    if let Some(consumer) = consumer {
        consumer.stop().await;
    }
    // A broker that has just come back may take longer over it than one call lasts.
    until("the queues are deleted", async || queue.delete_topology().await.is_ok()).await;
    queue.close().await;
}
