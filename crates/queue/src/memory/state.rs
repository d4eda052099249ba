//! What the broker holds, and how it changes. Nothing here waits; every step is given the moment it happens at.
//!
//! **Terms.** A message is *waiting* in its queue, *out* (sent to a consumer and not settled), *later* (its arrival
//! was delayed), or gone. A *tag* names one sending of one message and is never used again, so a tag that is not
//! out any more is stale, whatever became of its message. An *inbox* holds the tags that arrived and were not
//! taken.
//!
//! **Sending** ([`State::send`]) follows every change: while a message waits and a connected consumer has room for
//! its priority, it is sent, to the consumers in turn.
//!
//! **Failure by failure.**
//!
//! - *A consumer's connection is cut*: all that it has out waits again, in the old order and before what is
//!   waiting. It is connected again after [`RECONNECT_PAUSE`]; a fault that cuts it each time thus takes time and
//!   cannot hang the broker.
//! - *The broker is away*: all connections are cut and stay so until it is back. What it held is still there.
//! - *The broker forgets*: nothing waits, is out or later, and what was taken is stale.
//! - *A message circles*: given back more than [`DELIVERY_LIMIT`] times, it goes to the dead letters.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use batch::{PerPriority, Priority};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Health;
use super::faults::{Faults, OnDeliver, OnPublish, OnSettle};
use super::reading::Reading;
use super::requests::RequestQueue;
use crate::arrivals::Arrivals;
use crate::{Acked, DELIVERY_LIMIT, DeadMessage, Error, Message as _, Outgoing, TraceContext};

/// How long a consumer whose connection was cut stays away.
pub(super) const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct State {
    pub(super) health: Health,
    pub(super) reading: Reading,
    pub(super) faults: Box<dyn Faults>,
    pub(super) requests: RequestQueue,
    queues: PerPriority<VecDeque<Message>>,
    dead_letters: VecDeque<DeadMessage>,
    out: BTreeMap<Tag, Out>,
    consumers: BTreeMap<ConsumerId, Consuming>,
    /// Ordered by moment, then by when it was decided.
    later: BTreeMap<(Instant, u64), Event>,
    /// Who was sent a message last.
    last_served: PerPriority<ConsumerId>,
    last_number: u64,
}

/// Names one sending of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(u64);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConsumerId(u64);

/// Names a handle and its clones, which are closed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HandleId(u64);

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) body: Vec<u8>,
    pub(super) trace: TraceContext,
    /// How often it was out and came back.
    pub(super) returns: u32,
}

struct Out {
    message: Message,
    priority: Priority,
    consumer: ConsumerId,
}

struct Consuming {
    handle: HandleId,
    /// Those it consumes.
    priorities: PerPriority<bool>,
    prefetch: usize,
    is_connected: bool,
    out: PerPriority<usize>,
    inbox: Arrivals<Tag>,
    /// Rung when something for it has changed.
    bell: Arc<Notify>,
}

enum Event {
    Reach(Priority, Message),
    Arrive(Tag),
    Reconnect(ConsumerId),
}

/// How a delivery ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Ack,
    Requeue,
    DeadLetter,
}

impl End {
    /// The word for it in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Requeue => "requeue",
            Self::DeadLetter => "dead_letter",
        }
    }
}

impl State {
    pub(super) fn new(faults: Box<dyn Faults>) -> Self {
        Self {
            health: Health::Up,
            reading: Reading::default(),
            faults,
            requests: RequestQueue::default(),
            queues: PerPriority::default(),
            dead_letters: VecDeque::new(),
            out: BTreeMap::new(),
            consumers: BTreeMap::new(),
            later: BTreeMap::new(),
            last_served: PerPriority::default(),
            last_number: 0,
        }
    }

    pub(super) fn new_handle(&mut self) -> HandleId {
        HandleId(self.number())
    }

    /// Does what is due by now. Called before everything else.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(next) = self.later.first_entry().filter(|next| next.key().0 <= now) {
            match next.remove() {
                Event::Reach(priority, message) => self.queues[priority].push_back(message),
                Event::Arrive(tag) => self.arrive(now, tag),
                Event::Reconnect(id) => {
                    if let Some(consumer) = self.consumers.get_mut(&id) {
                        consumer.is_connected = self.health != Health::Away;
                    }
                }
            }
            self.send(now);
        }
    }

    /// When the next thing is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.later.keys().next().map(|&(due, _)| due)
    }

    // --- publishing ---------------------------------------------------------------------------------------

    pub(super) fn publish(&mut self, now: Instant, outgoing: &Outgoing) -> Result<(), Error> {
        let what = format!("publish {}", outgoing.message.chunk);
        self.accepts(&what)?;
        let keys = |(key, _): &&(String, String)| TraceContext::KEYS.contains(&key.as_str());
        let mut message = Message {
            body: outgoing.message.encode(self.reading.installation),
            trace: TraceContext(outgoing.trace.0.iter().filter(keys).cloned().collect()),
            returns: 0,
        };

        let fate = self.faults.on_publish(outgoing);
        let priority = outgoing.priority;
        let result = fate.answer(&what);
        match fate {
            OnPublish::Lose | OnPublish::Refuse(_) | OnPublish::Unconfirmed { is_kept: false } => {}
            OnPublish::Keep | OnPublish::Unconfirmed { is_kept: true } => {
                self.queues[priority].push_back(message);
            }
            OnPublish::Duplicate => self.queues[priority].extend([message.clone(), message]),
            OnPublish::Overtake => self.queues[priority].push_front(message),
            OnPublish::Delay(delay) => self.schedule(now + delay, Event::Reach(priority, message)),
            OnPublish::Garble(body) => {
                message.body = body;
                self.queues[priority].push_back(message);
            }
        }
        self.send(now);
        result
    }

    /// Puts any bytes into a queue, and asks nobody whether they may get there.
    pub(super) fn put(&mut self, now: Instant, priority: Priority, body: Vec<u8>) {
        self.queues[priority].push_back(Message { body, trace: TraceContext::default(), returns: 0 });
        self.send(now);
    }

    /// A dead letter has no delay: nobody waits for its arrival.
    pub(super) fn dead_letter(&mut self, what: &str, mut letter: DeadMessage) -> Result<(), Error> {
        self.accepts(what)?;
        let fate = self.faults.on_dead_letter(&letter);
        let result = fate.answer(what);
        match fate {
            OnPublish::Lose | OnPublish::Refuse(_) | OnPublish::Unconfirmed { is_kept: false } => {}
            OnPublish::Keep | OnPublish::Delay(_) | OnPublish::Unconfirmed { is_kept: true } => {
                self.dead_letters.push_back(letter);
            }
            OnPublish::Duplicate => self.dead_letters.extend([letter.clone(), letter]),
            OnPublish::Overtake => self.dead_letters.push_front(letter),
            OnPublish::Garble(body) => {
                letter.message = self.reading.read(&body);
                self.dead_letters.push_back(letter);
            }
        }
        result
    }

    fn accepts(&self, call: &str) -> Result<(), Error> {
        self.health.refusal(call).map_or(Ok(()), Err)
    }

    // --- consuming ----------------------------------------------------------------------------------------

    pub(super) fn consume(
        &mut self,
        now: Instant,
        handle: HandleId,
        priorities: &[Priority],
        prefetch: u16,
    ) -> (ConsumerId, Arc<Notify>) {
        let id = ConsumerId(self.number());
        let bell = Arc::new(Notify::new());
        let consumer = Consuming {
            handle,
            priorities: PerPriority::from_fn(|priority| priorities.contains(&priority)),
            prefetch: prefetch.max(1).into(),
            is_connected: self.health != Health::Away,
            out: PerPriority::default(),
            inbox: Arrivals::new(now),
            bell: Arc::clone(&bell),
        };
        self.consumers.insert(id, consumer);
        self.send(now);
        (id, bell)
    }

    /// Takes the message that arrived and whose turn it is. `Err` when the consumer is no more.
    pub(super) fn take(&mut self, id: ConsumerId) -> Result<Option<(Tag, Priority, Message)>, Ended> {
        let consumer = self.consumers.get_mut(&id).ok_or(Ended)?;
        Ok(consumer.inbox.take().map(|tag| {
            let out = self.out.get(&tag).expect("what leaves `out` leaves the inbox with it");
            (tag, out.priority, out.message.clone())
        }))
    }

    pub(super) fn arrived(&self, id: ConsumerId) -> PerPriority<usize> {
        let consumer = self.consumers.get(&id);
        PerPriority::from_fn(|priority| consumer.map_or(0, |consumer| consumer.inbox.count(priority)))
    }

    /// Ends a delivery. What is stale is left alone.
    pub(super) fn settle(&mut self, now: Instant, tag: Tag, end: End) -> Acked {
        let Some(out) = self.out.get(&tag) else { return Acked::NotSent };
        let fate = self.faults.on_settle(out.priority, &out.message.body);
        let acked = match (fate, end) {
            (OnSettle::Arrive, End::Ack | End::DeadLetter) => {
                self.remove(tag);
                Acked::Sent
            }
            (OnSettle::Arrive, End::Requeue) => {
                self.give_back([tag]);
                Acked::Sent
            }
            (OnSettle::Lose(told), _) => {
                self.give_back([tag]);
                told
            }
        };
        self.send(now);
        acked
    }

    /// Gives back what a delivery held that ended by being dropped, which nothing can go wrong with.
    pub(super) fn drop_delivery(&mut self, now: Instant, tag: Tag) {
        self.give_back([tag]);
        self.send(now);
    }

    /// Ends consuming: what was not taken waits again, what was taken stays out.
    pub(super) fn stop(&mut self, now: Instant, id: ConsumerId) {
        let Some(consumer) = self.consumers.remove(&id) else { return };
        consumer.bell.notify_one();
        // With what is still on its way to it, so that every tag that is out and nobody's is a taken one.
        let coming = self.later.values().filter_map(|event| match event {
            Event::Arrive(tag) => Some(*tag),
            _ => None,
        });
        let coming = coming.filter(|tag| self.out.get(tag).is_some_and(|out| out.consumer == id));
        let mut tags: Vec<Tag> = coming.collect();
        tags.extend(consumer.inbox.iter());
        self.give_back(tags);
        self.send(now);
    }

    /// Ends all consuming by a handle.
    pub(super) fn close(&mut self, now: Instant, handle: HandleId) {
        for id in self.consumers_of(handle).map(|(id, _)| *id).collect::<Vec<_>>() {
            self.stop(now, id);
        }
    }

    pub(super) fn is_consuming(&self, handle: HandleId) -> bool {
        self.consumers_of(handle).all(|(_, consumer)| consumer.is_connected)
    }

    fn consumers_of(&self, handle: HandleId) -> impl Iterator<Item = (&ConsumerId, &Consuming)> {
        self.consumers.iter().filter(move |(_, consumer)| consumer.handle == handle)
    }

    // --- looking ------------------------------------------------------------------------------------------

    pub(super) fn waiting(&self) -> PerPriority<u64> {
        PerPriority::from_fn(|priority| self.queues[priority].len() as u64)
    }

    pub(super) fn dead_letters(&self, limit: usize) -> Vec<DeadMessage> {
        self.dead_letters.iter().take(limit).cloned().collect()
    }

    pub(super) fn discard_dead_letters(&mut self) -> usize {
        std::mem::take(&mut self.dead_letters).len()
    }

    // --- what strikes all at once -------------------------------------------------------------------------

    pub(super) fn cut_all(&mut self, now: Instant) {
        // What was taken from a consumer that stopped is on its connection as well.
        let tags: Vec<Tag> = self.out.keys().copied().collect();
        self.give_back(tags);
        for id in self.consumers.keys().copied().collect::<Vec<_>>() {
            self.disconnect(now, id);
        }
    }

    pub(super) fn forget(&mut self, now: Instant) {
        self.out.clear();
        self.later.retain(|_, event| matches!(event, Event::Reconnect(_)));
        self.queues = PerPriority::default();
        self.dead_letters.clear();
        for id in self.consumers.keys().copied().collect::<Vec<_>>() {
            self.disconnect(now, id);
        }
    }

    pub(super) fn set_health(&mut self, now: Instant, health: Health) {
        if health == Health::Away {
            self.cut_all(now);
        } else if self.health == Health::Away {
            let ids: Vec<ConsumerId> = self.consumers.keys().copied().collect();
            for id in ids {
                self.schedule(now + RECONNECT_PAUSE, Event::Reconnect(id));
            }
        }
        self.health = health;
    }

    // --- the steps ----------------------------------------------------------------------------------------

    /// Sends what waits to whoever has room.
    fn send(&mut self, now: Instant) {
        for priority in Priority::ALL {
            while let Some(id) = self.next_consumer(priority) {
                let Some(message) = self.queues[priority].pop_front() else { break };
                self.last_served[priority] = id;
                self.send_to(now, id, priority, message);
            }
        }
    }

    fn send_to(&mut self, now: Instant, id: ConsumerId, priority: Priority, mut message: Message) {
        let mut delay = None;
        match self.faults.on_deliver(priority, &message.body) {
            OnDeliver::Give => {}
            OnDeliver::Lose => return,
            OnDeliver::Delay(by) => delay = Some(by),
            OnDeliver::Garble(body) => message.body = body,
            OnDeliver::Cut => {
                self.bring_back(priority, message);
                let theirs = self.out.iter().filter(|(_, out)| out.consumer == id);
                let tags: Vec<Tag> = theirs.map(|(tag, _)| *tag).collect();
                self.give_back(tags);
                self.disconnect(now, id);
                return;
            }
        }

        let tag = Tag(self.number());
        self.out.insert(tag, Out { message, priority, consumer: id });
        let consumer = self.consumers.get_mut(&id).expect("it was just found");
        consumer.out[priority] += 1;
        match delay {
            None => self.arrive(now, tag),
            Some(delay) => self.schedule(now + delay, Event::Arrive(tag)),
        }
    }

    /// The next in turn that has room.
    fn next_consumer(&self, priority: Priority) -> Option<ConsumerId> {
        if self.queues[priority].is_empty() {
            return None;
        }
        let last = self.last_served[priority];
        let has_room = |consumer: &Consuming| {
            consumer.priorities[priority]
                && consumer.is_connected
                && consumer.out[priority] < consumer.prefetch
        };
        let mut with_room =
            self.consumers.iter().filter(|(_, consumer)| has_room(consumer)).map(|(id, _)| *id);
        let first = with_room.next()?;
        if first > last { Some(first) } else { Some(with_room.find(|id| *id > last).unwrap_or(first)) }
    }

    fn arrive(&mut self, now: Instant, tag: Tag) {
        // Cut, forgotten or given back while it was on its way.
        let Some(out) = self.out.get(&tag) else { return };
        let Some(consumer) = self.consumers.get_mut(&out.consumer) else { return };
        consumer.inbox.put(now, out.priority, tag);
        consumer.bell.notify_one();
    }

    /// Has these wait again, in the order in which they were sent.
    fn give_back(&mut self, tags: impl IntoIterator<Item = Tag>) {
        let mut tags: Vec<Tag> = tags.into_iter().collect();
        tags.sort_unstable();
        for tag in tags.into_iter().rev() {
            if let Some(out) = self.remove(tag) {
                self.bring_back(out.priority, out.message);
            }
        }
    }

    fn bring_back(&mut self, priority: Priority, mut message: Message) {
        message.returns += 1;
        if message.returns <= DELIVERY_LIMIT {
            self.queues[priority].push_front(message);
        } else {
            self.dead_letters.push_back(DeadMessage {
                message: self.reading.read(&message.body),
                reason: "delivery_limit".into(),
                origin: Some(queue_name(priority)),
                trace: message.trace,
            });
        }
    }

    /// Takes a message out of `out`, and out of its consumer's count and inbox.
    fn remove(&mut self, tag: Tag) -> Option<Out> {
        let out = self.out.remove(&tag)?;
        if let Some(consumer) = self.consumers.get_mut(&out.consumer) {
            consumer.out[out.priority] -= 1;
            consumer.inbox.remove(out.priority, tag);
        }
        Some(out)
    }

    fn disconnect(&mut self, now: Instant, id: ConsumerId) {
        let consumer = self.consumers.get_mut(&id).expect("only a consumer that is there is disconnected");
        consumer.is_connected = false;
        consumer.out = PerPriority::default();
        consumer.inbox = Arrivals::new(now);
        self.schedule(now + RECONNECT_PAUSE, Event::Reconnect(id));
    }

    /// Every consumer hears of it, because all of them wait until the next thing is due.
    fn schedule(&mut self, due: Instant, event: Event) {
        let number = self.number();
        self.later.insert((due, number), event);
        for consumer in self.consumers.values() {
            consumer.bell.notify_one();
        }
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// Says that a consumer was stopped, or its handle closed.
#[derive(Debug)]
pub(super) struct Ended;

/// The name of a queue, as the dead letters show it.
pub(super) fn queue_name(priority: Priority) -> String {
    format!("memory.{priority}")
}
