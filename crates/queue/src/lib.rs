//! Carries messages: three priorities, and a place for what cannot be done.
//!
//! # What is this for?
//!
//! The dispatcher and the coordinator [`publish`](Queue::publish) chunks, workers [`consume`](Queue::consume)
//! them, the most urgent first. A message carries identity, never data: which chunk of which run, how many
//! attempts the sender knew of, and the trace it belongs to. Postgres is the truth, so a message may arrive
//! twice, late, or never: what was lost is published again, and what comes twice finds its chunk settled.
//!
//! # What does it not know?
//!
//! What a chunk holds, whether it is done, how many attempts it had, OpenTelemetry (a trace context is plain
//! pairs here), and when to retry. AMQP is known in [`rabbitmq`] alone; nothing in the traits speaks of it.
//!
//! # Which type to look at first?
//!
//! [`Queue`], then [`Consumer`] and [`Delivery`]. There are two backends: [`RabbitMq`], and [`Memory`], a broker in
//! one process with faults on request. What the traits promise is tested by one suite that both pass (`promises`,
//! behind the feature of that name); what is not tested there is not promised, above all no order among the
//! messages of one priority.
//!
//! # What a message looks like
//!
//! `{"v":1,"run":7,"chunk":118,"attempt":0}`. Another version, another field or anything else is [`Malformed`].

mod error;
pub mod memory;
mod message;
pub mod metrics;
#[cfg(any(test, feature = "promises"))]
pub mod promises;
pub mod rabbitmq;

use std::fmt;

use batch::{AttemptId, PerPriority, Priority};

pub use error::Error;
pub use memory::Memory;
pub use message::Malformed;
pub use rabbitmq::{RabbitMq, RabbitMqConfig};

/// How often a message may come back before it is put among the dead letters: a backstop against one that circles
/// for ever. The store counts attempts, and decides long before.
pub const DELIVERY_LIMIT: u32 = 1_000;

/// Carries messages from those who plan to those who work. A clone is another handle to the same connection.
pub trait Queue: Clone + Send + Sync + 'static {
    /// What [`consume`](Self::consume) begins.
    type Consumer: Consumer;

    /// Publishes all of them, and waits until each is confirmed. What is confirmed outlives an outage.
    ///
    /// One result for each message, in the order given. A confirmation is waited for within a time limit.
    /// [`Error::Unconfirmed`] is unknown, not failed: publishing again is right, and the duplicate is harmless.
    /// While the broker is away the answer is [`Error::Unavailable`], at once. Dropping the future does not take
    /// back what was sent.
    fn publish(&self, messages: Vec<Outgoing>) -> impl Future<Output = Vec<Result<(), Error>>> + Send;

    /// Begins to consume the three priorities, each with its own `prefetch`: how many messages may be with this
    /// consumer and not yet settled, those that were not yet taken included. 0 is taken as 1.
    ///
    /// Succeeds while the broker is away, too: the consumer waits for it.
    fn consume(&self, prefetch: u16) -> impl Future<Output = Result<Self::Consumer, Error>> + Send;

    /// Counts the messages that are with no consumer. `None` where the broker did not say: a sick broker is not
    /// an empty queue.
    fn waiting(&self) -> impl Future<Output = PerPriority<Option<u64>>> + Send;

    /// Looks at up to `limit` dead letters, the oldest first, and leaves them where they are.
    ///
    /// While one caller looks, another may see the rest only.
    fn dead_letters(&self, limit: usize) -> impl Future<Output = Result<Vec<DeadMessage>, Error>> + Send;

    /// Throws the dead letters away; returns how many there were.
    fn discard_dead_letters(&self) -> impl Future<Output = Result<u32, Error>> + Send;

    /// Says whether publishing is possible and everything that should be consumed is being consumed.
    fn ready(&self) -> bool;

    /// Confirms what is under way, and hangs up. Afterwards every call is [`Error::Unavailable`], also those of the
    /// clones. Consumers end as by [`Consumer::stop`], a moment later.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Gives the messages of all three priorities, the most urgent first.
pub trait Consumer: Send + 'static {
    /// What it gives.
    type Delivery: Delivery;

    /// Takes the most urgent message that is here; waits for one, through every outage. `None` once the queue
    /// was closed.
    ///
    /// Cancel safe: dropping the future loses no delivery.
    fn next(&mut self) -> impl Future<Output = Option<Self::Delivery>> + Send;

    /// Takes no more, and gives back what had come and was not taken. A consumer that is dropped does the same in
    /// the background.
    ///
    /// What was taken can still be settled; it keeps its connection until then.
    fn stop(self) -> impl Future<Output = ()> + Send;
}

/// Is a message that is here and has to be settled: by [`ack`](Self::ack), [`requeue`](Self::requeue) or
/// [`dead_letter`](Self::dead_letter). One that is dropped instead is requeued.
///
/// When its connection is lost it is stale: it comes again, whatever is done with it here.
pub trait Delivery: Send + 'static {
    /// The message, or what is wrong with it.
    fn message(&self) -> Result<AttemptId, &Malformed>;

    /// The priority of the queue it came from.
    fn priority(&self) -> Priority;

    /// Says whether it had been given to somebody before.
    fn redelivered(&self) -> bool;

    /// The trace it belongs to.
    fn trace(&self) -> &TraceContext;

    /// Reports that it is done with, after the commit.
    fn ack(self) -> impl Future<Output = Acked> + Send;

    /// Gives it back at once, to whoever comes first.
    fn requeue(self) -> impl Future<Output = Acked> + Send;

    /// Puts it among the dead letters with the reason, of which the first thousand bytes are kept, and acks it once
    /// that is confirmed.
    ///
    /// If it cannot be put there, it is requeued after a short pause, and the error says why. If the ack is lost,
    /// it comes again, and may be put there twice.
    fn dead_letter(self, reason: &str) -> impl Future<Output = Result<Acked, Error>> + Send;
}

/// Says whether the end of a delivery was sent to the broker.
///
/// `NotSent` is harmless, because a settled chunk is found settled when it comes again: log it and go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an ack that was not sent means that the message comes again"]
pub enum Acked {
    /// It was written to the connection it came from. Whether it arrived is not known.
    Sent,
    /// The connection it came from is gone; the message will be, or was already, delivered again.
    NotSent,
}

/// Is a message to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Which queue.
    pub priority: Priority,
    /// Which chunk, and the attempt at it that the sender knew of. That is a hint for logs alone: attempts are counted
    /// in the store.
    pub message: AttemptId,
    /// Which trace.
    pub trace: TraceContext,
}

/// Carries a W3C trace context as the pairs it is written in. Pairs with other keys are not carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext(pub Vec<(String, String)>);

impl TraceContext {
    /// The keys of a trace context.
    pub const KEYS: [&str; 2] = ["traceparent", "tracestate"];

    /// Finds a value by its key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Is a message among the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadMessage {
    /// The message, or what is wrong with it.
    pub message: Result<AttemptId, Malformed>,
    /// Why it is here: what [`Delivery::dead_letter`] was told, or the broker's own word.
    pub reason: String,
    /// The queue it came from, where that is known; its name ends with the priority's.
    pub origin: Option<String>,
    /// The trace it belongs to.
    pub trace: TraceContext,
}

impl fmt::Display for DeadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Ok(message) => write!(f, "{}", message.chunk)?,
            Err(malformed) => write!(f, "{malformed}")?,
        }
        write!(f, ": {}", self.reason)
    }
}

/// The part of a reason that is kept, cut at the end of a character.
fn shortened(reason: &str) -> &str {
    const LONGEST: usize = 1_000;
    &reason[..reason.floor_char_boundary(LONGEST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "€".repeat(1_000);

        assert_eq!(shortened(&reason).len(), 999);
        assert_eq!(shortened("poison"), "poison");
    }
}
