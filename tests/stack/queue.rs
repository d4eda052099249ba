//! The queue against a real RabbitMQ: the promises of the seam, and what RabbitMQ alone can do to it.
//!
//! Every test has queues of its own. Those that take the broker away do so alone: a lock on a file, because the
//! test runner may give each test a process.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;

use ::queue::promises::{ConsumerOf, Subject};
use ::queue::rabbitmq::RabbitMqConsumer;
use ::queue::{
    Acked, Chunks as _, Connection as _, Consumer, DeadLetters as _, Delivery, Error, Outgoing, RabbitMq,
    RabbitMqConfig, TraceContext, promise_tests,
};
use batch::{Attempt, AttemptId, ChunkId, ChunkRef, PerPriority, Priority, RunId};
use tests::{Stack, unique};
use tokio::time::{Instant, timeout};

use Priority::{Critical, High, Normal};

use crate::proxy::Proxy;

/// How long anything may take, the restart of a broker included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

promise_tests! { tokio::test(flavor = "multi_thread"), OnRabbitMq::new().await }

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
async fn a_queue_that_is_deleted_under_its_consumer_is_restored_and_consumed_again() {
    let _broker = Broker::shared();
    let queue = connect().await;
    let mut consumer = queue.consume(&Priority::ALL, 1).await.unwrap();
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
    let mut consumer = queue.consume(&Priority::ALL, 1).await.unwrap();
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
async fn a_wrong_password_is_refused_for_good_and_not_shown() {
    let _broker = Broker::shared();
    let stack = Stack::from_env();
    let url = format!("amqp://guest:wrong-secret@{}", place(stack.amqp_url()));

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
    let mut consumer = queue.consume(&Priority::ALL, 2).await.unwrap();
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
    let mut consumer = queue.consume(&Priority::ALL, 1).await.unwrap();
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
pub(crate) struct Broker {
    stack: Stack,
    _lock: File,
}

impl Broker {
    pub(crate) fn shared() -> Self {
        Self::locked(File::lock_shared)
    }

    pub(crate) fn alone() -> Self {
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

    pub(crate) fn stop(&self) {
        self.stack.service("stop", "rabbitmq");
    }

    fn kill(&self) {
        self.stack.service("kill", "rabbitmq");
    }

    pub(crate) fn start(&self) {
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

// --- under the promises -------------------------------------------------------------------------------------------

/// Queues of a test's own, behind a proxy.
struct OnRabbitMq {
    _broker: Broker,
    proxy: Proxy,
    prefix: String,
}

impl OnRabbitMq {
    async fn new() -> Self {
        let broker = Broker::shared();
        let proxy = Proxy::start(place(broker.stack.amqp_url())).await;
        Self { _broker: broker, proxy, prefix: unique("promises") }
    }

    /// Past the proxy.
    async fn directly(&self) -> RabbitMq {
        RabbitMq::connect_now(config(Stack::from_env().amqp_url(), &self.prefix)).await.unwrap()
    }
}

impl Subject for OnRabbitMq {
    type Queue = RabbitMq;

    async fn connect(&self) -> RabbitMq {
        let stack = Stack::from_env();
        let url = stack.amqp_url().replace(place(stack.amqp_url()), self.proxy.address());
        let mut config = config(&url, &self.prefix);
        config.confirm_limit = Duration::from_secs(1);
        RabbitMq::connect_now(config).await.unwrap()
    }

    async fn put(&self, priority: Priority, body: Vec<u8>) {
        let queue = self.directly().await;
        queue.publish_raw(priority, body).await.unwrap();
        queue.close().await;
    }

    async fn put_request(&self, body: Vec<u8>) {
        let queue = self.directly().await;
        queue.publish_raw_request(body).await.unwrap();
        queue.close().await;
    }

    async fn lose_requests(&self) {
        let queue = self.directly().await;
        queue.delete_requests().await.unwrap();
        queue.close().await;
    }

    fn arrived(consumer: &ConsumerOf<Self>) -> PerPriority<usize> {
        consumer.arrived()
    }

    async fn cut(&self) {
        self.proxy.cut();
    }

    async fn go_away(&self) {
        self.proxy.refuse();
    }

    async fn lose_confirms(&self) {
        self.proxy.mute_the_server();
    }

    async fn come_back(&self) {
        self.proxy.pass();
    }

    async fn finish(self) {
        let queue = self.directly().await;
        queue.delete_topology().await.unwrap();
        queue.close().await;
    }
}

/// The host and port in a URL.
pub(crate) fn place(url: &str) -> &str {
    let place = url.rsplit_once('@').map_or_else(|| url.trim_start_matches("amqp://"), |(_, place)| place);
    place.split('/').next().unwrap_or_default()
}

// --- what the tests say -----------------------------------------------------------------------------------------

pub(crate) async fn connect() -> RabbitMq {
    RabbitMq::connect_now(config(Stack::from_env().amqp_url(), &unique("queue"))).await.unwrap()
}

pub(crate) fn config(url: &str, prefix: &str) -> RabbitMqConfig {
    RabbitMqConfig { prefix: prefix.to_owned(), ..RabbitMqConfig::new(url, "test") }
}

fn outgoing(priority: Priority, chunk: i32) -> Outgoing {
    let chunk = ChunkRef { run: RunId(7), chunk: ChunkId(chunk) };
    let message = AttemptId { chunk, attempt: Attempt(0) };
    Outgoing { priority, message, trace: TraceContext::default() }
}

fn chunk_of(delivery: &impl Delivery<Message = AttemptId>) -> i32 {
    delivery.message().unwrap().chunk.chunk.0
}

pub(crate) async fn next<C: Consumer>(consumer: &mut C) -> C::Delivery {
    timeout(PATIENCE, consumer.next()).await.expect("a message in time").expect("an open queue")
}

async fn take<C: Consumer>(consumer: &mut C, count: usize) -> Vec<C::Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(next(consumer).await);
    }
    taken
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

pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    until_some(what, async || condition().await.then_some(())).await;
}

/// Asks until there is an answer, or patience ends.
pub(crate) async fn until_some<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) const NOBODY: Option<RabbitMqConsumer> = None;

/// Stops, and leaves nothing behind in the broker.
pub(crate) async fn finish(queue: RabbitMq, consumer: Option<impl Consumer>) {
    if let Some(consumer) = consumer {
        consumer.stop().await;
    }
    // A broker that has just come back may take longer over it than one call lasts.
    until("the queues are deleted", async || queue.delete_topology().await.is_ok()).await;
    queue.close().await;
}
