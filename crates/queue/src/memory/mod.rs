//! The backend in memory: a whole broker in one process, held to the same promises as RabbitMQ.
//!
//! For nights without servers, and for nights in which everything goes wrong on purpose. It has no thread, no
//! task, no random source and no clock but tokio's: on a current-thread runtime with paused time, the same calls
//! and the same faults give the same night again.
//!
//! | file | what it tells |
//! |---|---|
//! | `state` | what the broker holds, and how it changes |
//! | `reading` | whose messages they are |
//! | `faults` | what may go wrong on purpose |
//!
//! [`Broker`] is the server, which outlives its clients; each role connects to it and gets a [`Memory`] of its
//! own. Messages are kept as the bytes that RabbitMQ would carry, so that garbage can be among them.
//!
//! Beyond the promises it delivers the messages of one priority in the order in which they were published, what
//! was given back before the others, to the consumers in turn.

mod faults;
mod reading;
mod state;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{AttemptId, InstallationId, PerPriority, Priority};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use faults::{Faults, NoFaults, OnDeliver, OnPublish, OnSettle};

use self::state::{ConsumerId, End, HandleId, State, Tag, queue_name};
use crate::dead_letters::shortened;
use crate::metrics::{self, Target};
use crate::{
    Acked, Chunks, Connection, Consumer, DeadLetters, DeadMessage, Delivery, Error, Malformed, Message,
    Outgoing, TraceContext,
};

/// How long a dead letter that could not be put away is held before it goes round again.
const PAUSE: Duration = Duration::from_secs(1);

/// Is a broker in memory. A clone is the same broker.
#[derive(Clone)]
pub struct Broker {
    state: Arc<Mutex<State>>,
}

/// Says how a [`Broker`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Up,
    /// It delivers, and takes no messages, for this reason.
    Blocked(String),
    /// It cannot be reached. What it holds is still there when it comes back.
    Away,
}

impl Health {
    fn refusal(&self, call: &str) -> Option<Error> {
        let what = call.to_owned();
        match self {
            Self::Up => None,
            Self::Blocked(reason) => Some(Error::Blocked { what, reason: reason.clone() }),
            Self::Away => Some(Error::Unavailable { what, reason: "the broker in memory is away".into() }),
        }
    }
}

impl Broker {
    /// Makes an empty broker with which nothing goes wrong.
    pub fn new() -> Self {
        Self::with_faults(NoFaults)
    }

    /// Makes an empty broker that asks what goes wrong.
    pub fn with_faults(faults: impl Faults) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(Box::new(faults)))) }
    }

    /// Belongs to this installation: whoever connects sends its messages, and is given no others.
    #[must_use]
    pub fn of(self, installation: InstallationId) -> Self {
        self.lock().reading.installation = installation;
        self
    }

    /// Believes that every message is its own, whoever sent it: to show what the check is for.
    #[must_use]
    pub fn believing_anybody(self) -> Self {
        self.lock().reading.believes_anybody = true;
        self
    }

    /// Connects. Closing the handle ends what was begun with it and its clones, and nothing else.
    pub fn connect(&self) -> Memory {
        let handle = self.now(|state, _| state.new_handle());
        Memory { broker: self.clone(), handle, is_closed: Arc::default() }
    }

    /// Puts any bytes into a queue, faults or not: for tests that need garbage.
    pub fn put(&self, priority: Priority, body: Vec<u8>) {
        self.now(|state, now| state.put(now, priority, body));
    }

    /// Cuts every consumer's connection. What is not settled comes again, and consumers are back after 100 ms.
    pub fn cut(&self) {
        self.now(State::cut_all);
    }

    /// Forgets every message and dead letter, as when all queues are deleted. What was taken is stale.
    pub fn forget(&self) {
        self.now(State::forget);
    }

    /// Falls ill, or recovers. [`Health::Away`] cuts the consumers as well.
    pub fn set_health(&self, health: Health) {
        self.now(|state, now| state.set_health(now, health));
    }

    /// Does one thing at this moment, after everything that was due before.
    fn now<T>(&self, work: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.lock();
        let now = Instant::now();
        state.advance(now);
        work(&mut state, now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Broker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

/// Is the queues in memory, as one client sees them. A clone is another handle to the same connection.
#[derive(Clone, Debug)]
pub struct Memory {
    broker: Broker,
    handle: HandleId,
    is_closed: Arc<AtomicBool>,
}

impl Memory {
    fn refusal(&self, call: &str) -> Option<Error> {
        self.is_closed
            .load(Ordering::Relaxed)
            .then(|| Error::Unavailable { what: call.to_owned(), reason: "the queue was closed".into() })
    }

    /// Why nothing can be asked of the broker now, if so.
    fn outage(&self, call: &str) -> Option<Error> {
        let away =
            |state: &State| (state.health == Health::Away).then(|| state.health.refusal(call)).flatten();
        self.refusal(call).or_else(|| self.broker.now(|state, _| away(state)))
    }
}

impl Chunks for Memory {
    type Consumer = MemoryConsumer;

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        // Nothing else here waits, and the other tasks of this thread want their turn.
        tokio::task::consume_budget().await;
        let publish = |outgoing: Outgoing| {
            let result = match self.refusal(&format!("publish {}", outgoing.message.chunk)) {
                Some(error) => Err(error),
                None => self.broker.now(|state, now| state.publish(now, &outgoing)),
            };
            metrics::published(Target::Queue(outgoing.priority), &result);
            result
        };
        messages.into_iter().map(publish).collect()
    }

    async fn consume(&self, priorities: &[Priority], prefetch: u16) -> Result<MemoryConsumer, Error> {
        if let Some(error) = self.refusal("consume") {
            return Err(error);
        }
        let (id, bell) = self.broker.now(|state, now| state.consume(now, self.handle, priorities, prefetch));
        Ok(MemoryConsumer { queue: self.clone(), id, bell })
    }

    async fn waiting(&self) -> PerPriority<Option<u64>> {
        if self.outage("count messages").is_some() {
            return PerPriority::default();
        }
        let waiting = self.broker.now(|state, _| state.waiting());
        PerPriority::from_fn(|priority| Some(waiting[priority]))
    }
}

impl DeadLetters for Memory {
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadMessage>, Error> {
        match self.outage("look at the dead letters") {
            Some(error) => Err(error),
            None => Ok(self.broker.now(|state, _| state.dead_letters(limit))),
        }
    }

    async fn discard_dead_letters(&self) -> Result<u32, Error> {
        match self.outage("discard the dead letters") {
            Some(error) => Err(error),
            None => Ok(self.broker.now(|state, _| state.discard_dead_letters()) as u32),
        }
    }
}

impl Connection for Memory {
    fn trouble(&self) -> Option<String> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Some("closed".to_owned());
        }
        self.broker.now(|state, _| match state.health {
            Health::Up if state.is_consuming(self.handle) => None,
            Health::Up => Some("not consuming yet".to_owned()),
            _ => Some("not connected".to_owned()),
        })
    }

    async fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.broker.now(|state, now| state.close(now, self.handle));
    }
}

/// Consumes chunks from memory.
#[derive(Debug)]
pub struct MemoryConsumer {
    queue: Memory,
    id: ConsumerId,
    bell: Arc<Notify>,
}

impl MemoryConsumer {
    /// Counts what has come and was not taken: for tests.
    #[doc(hidden)]
    pub fn arrived(&self) -> PerPriority<usize> {
        self.queue.broker.now(|state, _| state.arrived(self.id))
    }
}

impl Consumer for MemoryConsumer {
    type Delivery = MemoryDelivery;

    async fn next(&mut self) -> Option<MemoryDelivery> {
        tokio::task::consume_budget().await;
        loop {
            let (taken, due) = self.queue.broker.now(|state, _| (state.take(self.id), state.next_due()));
            // Nothing is awaited between taking it and returning it.
            if let Some((tag, priority, message)) = taken.ok()? {
                metrics::delivered(priority);
                return Some(MemoryDelivery {
                    queue: self.queue.clone(),
                    message: self.queue.broker.lock().reading.read(&message.body),
                    priority,
                    is_redelivered: message.returns > 0,
                    trace: message.trace,
                    tag: Some(tag),
                });
            }
            tokio::select! {
                biased;
                () = self.bell.notified() => {}
                () = at(due) => {}
            }
        }
    }

    async fn stop(self) {
        // What is dropped here stops.
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.queue.broker.now(|state, now| state.stop(now, self.id));
    }
}

/// Is a message from memory that has to be settled.
#[derive(Debug)]
pub struct MemoryDelivery {
    queue: Memory,
    message: Result<AttemptId, Malformed>,
    priority: Priority,
    is_redelivered: bool,
    trace: TraceContext,
    /// Taken when it is settled.
    tag: Option<Tag>,
}

impl MemoryDelivery {
    fn settle(&mut self, end: End) -> Acked {
        let Some(tag) = self.tag.take() else { return Acked::NotSent };
        let acked = self.queue.broker.now(|state, now| state.settle(now, tag, end));
        let name = match end {
            End::Ack => "ack",
            End::Requeue => "requeue",
            End::DeadLetter => "dead_letter",
        };
        metrics::settled(name, acked == Acked::Sent);
        acked
    }
}

impl Delivery for MemoryDelivery {
    type Message = AttemptId;

    fn message(&self) -> Result<&AttemptId, &Malformed> {
        self.message.as_ref()
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn redelivered(&self) -> bool {
        self.is_redelivered
    }

    fn trace(&self) -> &TraceContext {
        &self.trace
    }

    async fn ack(mut self) -> Acked {
        self.settle(End::Ack)
    }

    async fn requeue(mut self) -> Acked {
        self.settle(End::Requeue)
    }

    async fn dead_letter(mut self, reason: &str) -> Result<Acked, Error> {
        let origin = queue_name(self.priority);
        let what = match &self.message {
            Ok(message) => format!("dead-letter {}", message.name()),
            Err(_) => format!("dead-letter a malformed message of {origin}"),
        };
        let letter = DeadMessage {
            message: self.message.clone(),
            reason: shortened(reason).to_owned(),
            origin: Some(origin),
            trace: self.trace.clone(),
        };

        let result = match self.queue.refusal(&what) {
            Some(error) => Err(error),
            None => self.queue.broker.now(|state, _| state.dead_letter(&what, letter)),
        };
        metrics::published(Target::DeadLetter, &result);
        match result {
            Ok(()) => Ok(self.settle(End::DeadLetter)),
            Err(error) => {
                tokio::time::sleep(PAUSE).await;
                let _ = self.settle(End::Requeue);
                Err(error)
            }
        }
    }
}

impl Drop for MemoryDelivery {
    fn drop(&mut self) {
        if let Some(tag) = self.tag.take() {
            self.queue.broker.now(|state, now| state.drop_delivery(now, tag));
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
