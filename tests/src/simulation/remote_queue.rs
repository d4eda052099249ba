//! The broker as a process reaches it: over a network, and as the world allows.
//!
//! What happens to messages within the broker is drawn by [`Weather`], whom the broker asks.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use batch::{Attempt, AttemptId, InstallationId, PerPriority, Priority, RequestId};
use queue::memory::{
    Broker, Faults, Health, MemoryConsumer, MemoryDelivery, OnDeliver, OnPublish, OnReply, OnSettle,
};
use queue::{
    Acked, Chunks, Consumer, DeadMessage, Delivery, Error, Malformed, Memory, Message, Outgoing,
    OutgoingRequest, TraceContext,
};

use super::call::{Call, Server};
use super::checks;
use super::fault::Fault;
use super::process::Process;
use super::rule::Rule;
use super::world::{Fate, World};

/// Draws what becomes of messages.
pub(super) struct Weather(pub(super) World);

impl Faults for Weather {
    fn on_publish(&mut self, message: &Outgoing) -> OnPublish {
        let (world, chunk) = (&self.0, message.message.chunk);
        let unconfirmed = |is_kept| OnPublish::Unconfirmed { is_kept };
        if let Some(refused) = self.refusal(&chunk) {
            return refused;
        }
        // Asked in this order, so that the draws of a seed do not depend on each other.
        [
            (Fault::LostMessage, OnPublish::Lose),
            (Fault::DuplicatedMessage, OnPublish::Duplicate),
            (Fault::DelayedMessage, OnPublish::Delay(world.draw(|chance| chance.millis(1..30_000)))),
            (Fault::OvertakingMessage, OnPublish::Overtake),
            (Fault::Garbage, OnPublish::Garble(world.draw(garbage))),
            (Fault::ForeignMessage, OnPublish::Garble(foreign(message.message))),
            (Fault::LostConfirm, unconfirmed(world.draw(|chance| chance.happens(0.5)))),
        ]
        .into_iter()
        .find(|(fault, _)| world.strikes(*fault, chunk))
        .map_or(OnPublish::Keep, |(_, fate)| fate)
    }

    fn on_dead_letter(&mut self, letter: &DeadMessage) -> OnPublish {
        self.refusal(letter).unwrap_or(OnPublish::Keep)
    }

    fn on_deliver(&mut self, priority: Priority, _: &[u8]) -> OnDeliver {
        let world = &self.0;
        [
            (Fault::LostDelivery, OnDeliver::Lose),
            (Fault::DelayedDelivery, OnDeliver::Delay(world.draw(|chance| chance.millis(1..30_000)))),
            (Fault::CutConnection, OnDeliver::Cut),
        ]
        .into_iter()
        .find(|(fault, _)| world.strikes(*fault, priority))
        .map_or(OnDeliver::Give, |(_, fate)| fate)
    }

    fn on_settle(&mut self, priority: Priority, _: &[u8]) -> OnSettle {
        let told = self.0.draw(|chance| if chance.happens(0.5) { Acked::Sent } else { Acked::NotSent });
        if self.0.strikes(Fault::LostAck, priority) { OnSettle::Lose(told) } else { OnSettle::Arrive }
    }

    fn on_request(&mut self, request: &OutgoingRequest) -> OnPublish {
        let (world, name) = (&self.0, format!("request {}", request.request));
        if let Some(refused) = self.refusal(&name) {
            return refused;
        }
        [
            (Fault::LostMessage, OnPublish::Lose),
            (Fault::DuplicatedMessage, OnPublish::Duplicate),
            (Fault::DelayedMessage, OnPublish::Delay(world.draw(|chance| chance.millis(1..30_000)))),
            (Fault::OvertakingMessage, OnPublish::Overtake),
            (Fault::Garbage, OnPublish::Garble(world.draw(garbage))),
            (Fault::ForeignMessage, OnPublish::Garble(request.request.encode(InstallationId(2)))),
            (
                Fault::LostConfirm,
                OnPublish::Unconfirmed { is_kept: world.draw(|chance| chance.happens(0.5)) },
            ),
        ]
        .into_iter()
        .find(|(fault, _)| world.strikes(*fault, &name))
        .map_or(OnPublish::Keep, |(_, fate)| fate)
    }

    fn on_request_deliver(&mut self, body: &[u8]) -> OnDeliver {
        self.on_deliver(Priority::Critical, body)
    }

    fn on_request_settle(&mut self, body: &[u8]) -> OnSettle {
        self.on_settle(Priority::Critical, body)
    }

    fn on_reply(&mut self, request: RequestId) -> OnReply {
        let (world, name) = (&self.0, format!("the reply to request {request}"));
        [
            (Fault::LostReply, OnReply::Lose),
            (Fault::DoubledReply, OnReply::Double),
            (Fault::LateReply, OnReply::Delay(world.draw(|chance| chance.millis(1..30_000)))),
            (Fault::CutConnection, OnReply::Cut),
        ]
        .into_iter()
        .find(|(fault, _)| world.strikes(*fault, &name))
        .map_or(OnReply::Give, |(_, fate)| fate)
    }
}

impl Weather {
    /// Why the broker does not take a message now, if so. The broker puts the name of the call into it.
    fn refusal(&self, message: &impl Display) -> Option<OnPublish> {
        let world = &self.0;
        if world.strikes(Fault::Blocked, message) {
            world.block();
        }
        let what = String::new();
        if world.is_blocked() {
            let reason = "its disk is full".into();
            return Some(OnPublish::Refuse(Error::Blocked { what, reason }));
        }
        let has_no_queue = world.strikes(Fault::Unroutable, message) || world.has_no_queues();
        has_no_queue.then_some(OnPublish::Refuse(Error::Unroutable { what }))
    }
}

/// Whose messages the night's broker carries.
pub(super) const OURS: InstallationId = InstallationId(1);

/// A number that no attempt of the night has: it shows that a message came from elsewhere.
const THEIRS: Attempt = Attempt(i32::MAX);

/// What another installation would have sent about a chunk of the same number.
fn foreign(message: AttemptId) -> Vec<u8> {
    AttemptId { attempt: THEIRS, ..message }.encode(InstallationId(2))
}

fn garbage(chance: &mut super::chance::Chance) -> Vec<u8> {
    let length = chance.among(0..60);
    (0..length).map(|_| chance.among(0..256) as u8).collect()
}

/// A process's handle to the broker.
#[derive(Clone)]
pub(super) struct RemoteQueue {
    pub(super) inner: Memory,
    pub(super) broker: Broker,
    pub(super) world: World,
    pub(super) process: Process,
    /// The truth, to hold acks against.
    pub(super) store: store::memory::Memory,
}

impl RemoteQueue {
    pub(super) async fn before(&self, call: Call) -> Result<Fate, Error> {
        let was_away = self.world.is_away(Server::Broker);
        let fate = self.world.before(&self.process, call).await;
        if self.world.is_away(Server::Broker) && !was_away {
            self.broker.set_health(Health::Away);
            let (broker, world) = (self.broker.clone(), self.world.clone());
            tokio::spawn(async move {
                world.wait_for(Server::Broker).await;
                broker.set_health(Health::Up);
            });
        }
        if self.world.strikes(Fault::Amnesia, "the broker") {
            self.broker.forget();
            self.world.lose_queues();
        }
        fate.map_err(|obstacle| Error::Unavailable { what: call.as_str().into(), reason: obstacle.reason() })
    }
}

impl Chunks for RemoteQueue {
    type Consumer = RemoteConsumer;

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        let count = messages.len();
        let all = |error: Error| vec![Err(error); count];
        let fate = match self.before(Call::Publish).await {
            Ok(fate) => fate,
            Err(error) => return all(error),
        };
        let results = self.inner.publish(messages).await;
        match self.world.after(&self.process, fate).await {
            Ok(()) => results,
            Err(reason) => all(Error::Unconfirmed { what: "publish".into(), reason }),
        }
    }

    async fn consume(&self, priorities: &[Priority], prefetch: u16) -> Result<RemoteConsumer, Error> {
        let inner = self.inner.consume(priorities, prefetch).await?;
        Ok(RemoteConsumer { inner, queue: self.clone() })
    }

    async fn waiting(&self) -> PerPriority<Option<u64>> {
        let Ok(fate) = self.before(Call::CountWaiting).await else { return PerPriority::default() };
        let waiting = self.inner.waiting().await;
        if self.world.after(&self.process, fate).await.is_ok() { waiting } else { PerPriority::default() }
    }
}

/// A process's consumer.
pub(super) struct RemoteConsumer {
    inner: MemoryConsumer,
    queue: RemoteQueue,
}

impl Consumer for RemoteConsumer {
    type Delivery = RemoteDelivery;

    async fn next(&mut self) -> Option<RemoteDelivery> {
        let inner = self.inner.next().await?;
        let message = inner.message().copied().map_err(Clone::clone);
        if let Ok(message) = &message {
            self.queue.process.takes(message.chunk);
            if message.attempt == THEIRS {
                let what = format!("{} takes another installation's {}", self.queue.process, message.chunk);
                self.queue.world.violation(Rule::Identity, what);
            }
        }
        let (priority, redelivered, trace) = (inner.priority(), inner.redelivered(), inner.trace().clone());
        let held = Arc::new(Mutex::new(Some(inner)));
        // With its process dies its connection, and the broker takes back what had not been settled.
        self.queue.process.at_death({
            let held = Arc::clone(&held);
            move || drop(held.lock().unwrap_or_else(PoisonError::into_inner).take())
        });
        Some(RemoteDelivery { held, message, priority, redelivered, trace, queue: self.queue.clone() })
    }

    async fn stop(self) {
        self.inner.stop().await;
    }
}

/// A message that a process holds.
pub(super) struct RemoteDelivery {
    held: Arc<Mutex<Option<MemoryDelivery>>>,
    message: Result<AttemptId, Malformed>,
    priority: Priority,
    redelivered: bool,
    trace: TraceContext,
    queue: RemoteQueue,
}

impl RemoteDelivery {
    /// Takes it for settling; none if the broker cannot be reached, which gives it to somebody else then.
    async fn take(&self, call: Call) -> Option<(MemoryDelivery, Fate)> {
        let fate = self.queue.before(call).await;
        let inner = self.held.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if let Ok(message) = &self.message {
            self.queue.process.lets_go(message.chunk);
        }
        Some((inner, fate.ok()?))
    }
}

impl Delivery for RemoteDelivery {
    type Message = AttemptId;

    fn message(&self) -> Result<&AttemptId, &Malformed> {
        self.message.as_ref()
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn redelivered(&self) -> bool {
        self.redelivered
    }

    fn trace(&self) -> &TraceContext {
        &self.trace
    }

    async fn ack(self) -> Acked {
        let Some((inner, fate)) = self.take(Call::Ack).await else { return Acked::NotSent };
        if let Ok(message) = &self.message {
            let wrong = checks::ack(&self.queue.store, &self.queue.process, message.chunk).await;
            if let Some(wrong) = wrong {
                self.queue.world.violation(Rule::Ack, wrong);
            }
        }
        let acked = inner.ack().await;
        let _ = self.queue.world.after(&self.queue.process, fate).await;
        acked
    }

    async fn requeue(self) -> Acked {
        let Some((inner, fate)) = self.take(Call::Requeue).await else { return Acked::NotSent };
        let acked = inner.requeue().await;
        let _ = self.queue.world.after(&self.queue.process, fate).await;
        acked
    }

    async fn dead_letter(self, reason: &str) -> Result<Acked, Error> {
        let Some((inner, fate)) = self.take(Call::DeadLetter).await else { return Ok(Acked::NotSent) };
        let acked = inner.dead_letter(reason).await;
        let _ = self.queue.world.after(&self.queue.process, fate).await;
        acked
    }
}
