//! Messages that lapin cannot read, published by somebody who writes any bytes: each is malformed, and nothing else is
//! disturbed.
//!
//! [`what_rabbitmq_takes_ends_no_connection`] draws such messages for a second, or for as many seconds as the
//! environment says in `LTV_FUZZ_SECONDS`, and tells what it found (`--nocapture`).

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::queue::rabbitmq::{Names, RabbitMqConsumer};
use ::queue::{
    Acked, Chunks as _, Connection as _, Consumer as _, DeadLetters as _, Delivery as _, Message as _,
    Outgoing, RabbitMq, RabbitMqConfig, TraceContext,
};
use batch::{Attempt, AttemptId, ChunkId, ChunkRef, InstallationId, Priority, RunId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tests::poison::{fault, kinds};
use tests::raw_amqp::{RawAmqp, copy_to, headers, nested_arrays, nested_headers};
use tests::{Stack, eventually, unique};
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_malformed_and_its_neighbours_come_on_the_same_connection() {
    let world = World::new().await;
    let mut consumer = world.consume().await;
    world.publish(1).await;
    let before = next(&mut consumer).await;

    let reasons = world.poison();
    world.publish(3).await;

    for reason in &reasons {
        let delivery = next(&mut consumer).await;
        let malformed = delivery.message().unwrap_err().to_string();
        assert!(malformed.contains(reason), "{malformed:?}, not {reason:?}");
        assert_eq!(delivery.dead_letter(&malformed).await, Ok(Acked::Sent));
    }
    let after = next(&mut consumer).await;
    assert_eq!(after.message().unwrap().chunk.chunk, ChunkId(3));
    assert_eq!(after.ack().await, Acked::Sent);
    assert_eq!(before.ack().await, Acked::Sent, "its connection was never lost");
    let letters = world.queue.dead_letters(100).await.unwrap();
    assert_eq!(letters.len(), reasons.len());
    for (letter, reason) in letters.iter().zip(&reasons) {
        assert!(letter.reason.contains(reason), "{letter:?}");
        assert!(letter.origin.as_ref().unwrap().ends_with("normal"), "{letter:?}");
    }
    world.finish(consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_that_cannot_be_read_are_listed_and_can_be_thrown_away() {
    let world = World::new().await;
    let [.., exchange] = world.names.exchanges();
    let queue = world.names.queues().last().unwrap();
    let kinds = kinds(&queue);
    let mut raw = raw_client();
    for kind in &kinds {
        kind.publish(&mut raw, 1, (&exchange, ""), &sound(7)).unwrap();
    }

    let letters = eventually(PATIENCE, "all are there", async || {
        let letters = world.queue.dead_letters(100).await.unwrap();
        (letters.len() == kinds.len()).then_some(letters)
    })
    .await;

    for (letter, kind) in letters.iter().zip(&kinds) {
        assert!(letter.message.is_err() && letter.reason.contains(kind.reason), "{letter:?}");
    }
    assert_eq!(world.queue.discard_dead_letters().await, Ok(kinds.len() as u32));
    assert_eq!(world.queue.dead_letters(10).await, Ok(Vec::new()));
    let consumer = world.consume().await;
    world.finish(consumer).await;
}

/// The broker adds a header to what it delivers again, and does not ask how large a frame may be.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_the_broker_makes_larger_than_a_frame_may_be_ends_no_connection() {
    let world = World::new().await;
    let mut consumer = world.consume().await;
    let [exchange, ..] = world.names.exchanges();
    let text = tests::raw_amqp::text_entry("k", "v".repeat(131_072 - 40));
    raw_client().publish(&exchange, b"normal", &headers(&text), &sound(1)).unwrap();

    assert_eq!(next(&mut consumer).await.requeue().await, Acked::Sent);

    let again = next(&mut consumer).await;
    assert!(again.redelivered() && again.message().is_err());
    assert_eq!(again.ack().await, Acked::Sent);
    world.finish(consumer).await;
}

/// The broker refuses much of it, and ends the connection of whoever sent it; what it takes must come, each message as
/// what it is, and be of a kind that is known. (Of a content header the broker writes all but the properties anew.)
#[tokio::test(flavor = "multi_thread")]
async fn what_rabbitmq_takes_ends_no_connection() {
    let seconds = seconds();
    let seed = if seconds == 1 { 11 } else { std::process::id().into() };
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let world = World::new().await;
    let mut known: BTreeSet<String> = kinds("any").into_iter().map(|kind| kind.name).collect();
    known.insert("a body without sense".to_owned());
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let mut consumer = world.consume().await;
    world.publish(1).await;
    let before = next(&mut consumer).await;

    let (mut taken, mut refused) = (0_u64, 0_u64);
    let mut raw = raw_client();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        let mut waiting = Vec::new();
        while waiting.len() < 40 {
            let drawn = Drawn::next(&mut random, &world.names);
            if raw.publish(&drawn.exchange, &drawn.key, &drawn.properties, &drawn.body).is_ok() {
                waiting.push(drawn);
            } else {
                refused += 1;
                raw = raw_client();
            }
        }
        for drawn in waiting {
            taken += 1;
            let delivery = next(&mut consumer).await;
            let fault = drawn.fault();
            assert_eq!(delivery.message().is_err(), fault.is_some(), "seed {seed}: {fault:?} {drawn:02x?}");
            if let Some(fault) = fault {
                assert!(known.contains(&fault), "a new kind, {fault:?}, seed {seed}: {drawn:02x?}");
                *found.entry(fault).or_default() += 1;
            }
            assert_eq!(delivery.ack().await, Acked::Sent);
        }
    }

    assert_eq!(before.ack().await, Acked::Sent, "its connection was never lost");
    println!(
        "seed {seed}, {seconds} s: {} drawn, {refused} refused by RabbitMQ, {taken} taken",
        taken + refused
    );
    for (kind, count) in found {
        println!("{count:>8} {kind}");
    }
    world.finish(consumer).await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test goes on is no part of the product's configuration"
)]
fn seconds() -> u64 {
    std::env::var("LTV_FUZZ_SECONDS").map_or(1, |text| text.parse().expect("a number of seconds"))
}

/// A message as chance will have it.
#[derive(Debug)]
struct Drawn {
    exchange: String,
    key: Vec<u8>,
    properties: Vec<u8>,
    body: Vec<u8>,
}

impl Drawn {
    fn next(random: &mut ChaCha8Rng, names: &Names) -> Self {
        let [exchange, ..] = names.exchanges();
        let (exchange, key, properties) = if below(random, 12) == 0 {
            let size = below(random, 9);
            (String::new(), random.next_u64().to_be_bytes()[..size].to_vec(), copy_to(&normal(names)))
        } else {
            (exchange, b"normal".to_vec(), random_properties(random))
        };
        // Around the largest that the fleet takes, now and then.
        let body = if below(random, 40) == 0 { vec![b' '; 65_500 + below(random, 80)] } else { sound(2) };
        Self { exchange, key, properties, body }
    }

    fn fault(&self) -> Option<String> {
        if self.body.len() > 64 * 1024 {
            return Some("a large body".to_owned());
        }
        if str::from_utf8(&self.key).is_err() {
            return Some("routing-key is no text".to_owned());
        }
        let is_ours = self.body == sound(2);
        fault(&self.properties).or_else(|| (!is_ours).then(|| "a body without sense".to_owned()))
    }
}

/// Flags that are likely, and behind them texts, or headers of every kind, some of them cut or with a byte changed.
fn random_properties(random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut properties = match below(random, 8) {
        0 => nested_headers(below(random, 300)),
        1 => nested_arrays(below(random, 300)),
        2..5 => random_texts(random),
        _ => {
            let mut table = Vec::new();
            for key in 0..below(random, 4) {
                table.extend_from_slice(&[1, b'a' + key as u8]);
                value(random, &mut table, 12);
            }
            headers(&table)
        }
    };
    if below(random, 3) == 0 {
        let at = below(random, properties.len());
        properties[at] = random.next_u32() as u8;
    }
    if below(random, 20) == 0 {
        let extra = below(random, 4);
        properties.extend_from_slice(&random.next_u64().to_be_bytes()[..extra]);
    }
    properties
}

/// Some of the properties that are short texts, the first of three bytes of which one may be anything.
fn random_texts(random: &mut ChaCha8Rng) -> Vec<u8> {
    const TEXTS: [u16; 8] = [15, 14, 10, 9, 7, 5, 3, 2];
    let mut flags = 0_u16;
    for _ in 0..=below(random, 2) {
        flags |= 1 << TEXTS[below(random, TEXTS.len())];
    }
    let mut properties = flags.to_be_bytes().to_vec();
    for _ in 0..flags.count_ones() {
        properties.extend_from_slice(&[3, b'a', random.next_u32() as u8, b'b']);
    }
    properties
}

fn value(random: &mut ChaCha8Rng, into: &mut Vec<u8>, deeper: u32) {
    const KINDS: &[u8] = b"tbBsuIilfdDSATFxVFAFA";
    let kind = KINDS[below(random, KINDS.len())];
    into.push(kind);
    let size = match kind {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'd' | b'T' => 8,
        _ => {
            let mut inner = Vec::new();
            match kind {
                b'A' if deeper > 0 => value(random, &mut inner, deeper - 1),
                b'F' if deeper > 0 => {
                    inner.extend_from_slice(&[1, b'k']);
                    value(random, &mut inner, deeper - 1);
                }
                b'S' | b'x' => inner.extend_from_slice(&random.next_u32().to_be_bytes()),
                _ => {}
            }
            into.extend_from_slice(&(inner.len() as u32).to_be_bytes());
            into.extend_from_slice(&inner);
            return;
        }
    };
    into.extend_from_slice(&random.next_u64().to_be_bytes()[..size]);
}

fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    random.next_u32() as usize % bound
}

fn raw_client() -> RawAmqp {
    RawAmqp::connect(Stack::from_env().amqp_url()).unwrap()
}

fn normal(names: &Names) -> String {
    names.queues().find(|name| name.ends_with("normal")).unwrap()
}

/// A message of this chunk, as we write it.
fn sound(chunk: i32) -> Vec<u8> {
    message(chunk).encode(InstallationId::default())
}

fn message(chunk: i32) -> AttemptId {
    let chunk = ChunkRef { run: RunId(7), chunk: ChunkId(chunk) };
    AttemptId { chunk, attempt: Attempt(0) }
}

/// Queues of a test's own.
struct World {
    names: Names,
    queue: RabbitMq,
}

impl World {
    async fn new() -> Self {
        let prefix = unique("poison");
        let url = Stack::from_env().amqp_url().to_owned();
        let config = RabbitMqConfig { prefix: prefix.clone(), ..RabbitMqConfig::new(url, "test") };
        let names = Names::new(&prefix, config.installation).unwrap();
        Self { names, queue: RabbitMq::connect_now(config).await.unwrap() }
    }

    async fn consume(&self) -> RabbitMqConsumer {
        let consumer = self.queue.consume(&[Priority::Normal], 50).await.unwrap();
        eventually(PATIENCE, "it consumes", async || self.queue.ready().then_some(())).await;
        consumer
    }

    /// Publishes a sound message.
    async fn publish(&self, chunk: i32) {
        let message = message(chunk);
        let outgoing = Outgoing { priority: Priority::Normal, message, trace: TraceContext::default() };
        assert_eq!(self.queue.publish(vec![outgoing]).await, [Ok(())]);
    }

    /// Publishes one message of each kind; returns what is said of them, in their order.
    fn poison(&self) -> Vec<&'static str> {
        let [exchange, ..] = self.names.exchanges();
        let queue = normal(&self.names);
        let mut raw = raw_client();
        let mut reasons = Vec::new();
        for kind in kinds(&queue) {
            kind.publish(&mut raw, 1, (&exchange, "normal"), &sound(2)).unwrap();
            reasons.push(kind.reason);
        }
        // Each costs RabbitMQ itself a second.
        raw.publish(&exchange, b"normal", &nested_headers(15_000), &sound(2)).unwrap();
        reasons.push("too large: 90006 bytes");
        reasons
    }

    async fn finish(self, consumer: RabbitMqConsumer) {
        consumer.stop().await;
        // RabbitMQ 3.10 fails now and then to delete a queue that is there, and does the next time.
        eventually(PATIENCE, "the queues are gone", async || self.queue.delete_topology().await.ok()).await;
        self.queue.close().await;
    }
}

async fn next(consumer: &mut RabbitMqConsumer) -> <RabbitMqConsumer as ::queue::Consumer>::Delivery {
    timeout(PATIENCE, consumer.next()).await.expect("a message in time").expect("an open queue")
}
