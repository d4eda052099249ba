//! What the broker holds of requests, and how it changes. As in `state`, nothing waits here, and every step is given the
//! moment it happens at.
//!
//! **Terms.** A request is *waiting* in the queue, *out* (sent to a server and not settled), *later* (its arrival was
//! delayed), or gone. A *tag* names one sending of it. A *way* is where replies reach a requester; it gets another with
//! each connection.
//!
//! **Failure by failure.**
//!
//! - *A connection is cut*: what a server had out waits again; who waits for a reply hears that it is lost. Both are
//!   connected again after [`RECONNECT_PAUSE`].
//! - *The broker is away*: the same, until it is back.
//! - *The queue is gone*: what it held is gone. The first request that meets this has it declared again, a second later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use batch::{InstallationId, RequestId};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::Health;
use super::super::faults::{Faults, OnDeliver, OnPublish, OnReply, OnSettle};
use super::super::state::{End, Ended, HandleId, RECONNECT_PAUSE};
use crate::waiters::Waiters;
use crate::{Acked, Error, MOST_REQUESTS, Message as _, OutgoingRequest, REQUEST_TTL, Replied, TraceContext};

/// How long it takes until a queue that was missed is there again.
const DECLARED_AFTER: Duration = Duration::from_secs(1);

/// What a step is taken in.
pub(in super::super) struct Around<'a> {
    pub(in super::super) now: Instant,
    pub(in super::super) faults: &'a mut dyn Faults,
    pub(in super::super) health: &'a Health,
    pub(in super::super) installation: InstallationId,
}

#[derive(Default)]
pub(in super::super) struct RequestQueue {
    waiting: VecDeque<Sent>,
    out: BTreeMap<Tag, Out>,
    servers: BTreeMap<ServerId, Serving>,
    requesters: BTreeMap<RequesterId, Asking>,
    /// Ordered by moment, then by when it was decided.
    later: BTreeMap<(Instant, u64), Event>,
    is_missing: bool,
    is_away: bool,
    last_served: ServerId,
    last_number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(u64);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequesterId(u64);

/// A request as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) body: Vec<u8>,
    pub(super) trace: TraceContext,
    /// Where its reply is to go.
    pub(super) way: Option<Arc<str>>,
    expires: Instant,
    /// How often it was out and came back.
    pub(super) returns: u32,
}

struct Out {
    sent: Sent,
    server: ServerId,
}

struct Serving {
    handle: HandleId,
    prefetch: usize,
    is_connected: bool,
    out: usize,
    inbox: VecDeque<Tag>,
    /// Rung when something for it has changed.
    bell: Arc<Notify>,
}

struct Asking {
    handle: HandleId,
    waiters: Waiters,
    way: Option<Arc<str>>,
}

enum Event {
    Reach(Sent),
    Arrive(Tag),
    ReconnectServer(ServerId),
    ReconnectRequester(RequesterId),
    Declare,
}

impl RequestQueue {
    /// Does what is due by now. Called before everything else.
    pub(in super::super) fn advance(&mut self, around: &mut Around<'_>) {
        while let Some(next) = self.later.first_entry().filter(|next| next.key().0 <= around.now) {
            match next.remove() {
                Event::Reach(sent) if !self.is_missing => self.waiting.push_back(sent),
                Event::Reach(_) => {}
                Event::Arrive(tag) => self.arrive(tag),
                Event::Declare => self.is_missing = false,
                Event::ReconnectServer(id) => {
                    if let Some(server) = self.servers.get_mut(&id) {
                        server.is_connected = !self.is_away;
                    }
                }
                Event::ReconnectRequester(id) => self.open_way(id),
            }
            self.send(around);
        }
        self.waiting.retain(|sent| sent.expires > around.now);
    }

    /// When the next thing is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.later.keys().next().map(|&(due, _)| due)
    }

    // --- asking -------------------------------------------------------------------------------------------

    pub(super) fn begin_asking(&mut self, handle: HandleId) -> (RequesterId, Waiters) {
        let id = RequesterId(self.number());
        let waiters = Waiters::new(lost());
        self.requesters.insert(id, Asking { handle, waiters: waiters.clone(), way: None });
        self.open_way(id);
        (id, waiters)
    }

    pub(super) fn end_asking(&mut self, id: RequesterId) {
        if let Some(requester) = self.requesters.remove(&id) {
            requester.waiters.end(closed());
        }
    }

    pub(super) fn ask(
        &mut self,
        around: &mut Around<'_>,
        outgoing: &OutgoingRequest,
        way: Arc<str>,
    ) -> Result<(), Error> {
        let what = format!("ask for {}", outgoing.request.name());
        around.health.refusal(&what).map_or(Ok(()), Err)?;
        if self.is_missing {
            if !self.later.values().any(|event| matches!(event, Event::Declare)) {
                self.schedule(around.now + DECLARED_AFTER, Event::Declare);
            }
            let reason = "its queue is not there, and is being declared again".into();
            return Err(Error::Unavailable { what, reason });
        }
        if self.waiting.len() >= MOST_REQUESTS as usize {
            return Err(Error::Full { what });
        }

        let keys = |(key, _): &&(String, String)| TraceContext::KEYS.contains(&key.as_str());
        let mut sent = Sent {
            body: outgoing.request.encode(around.installation),
            trace: TraceContext(outgoing.trace.0.iter().filter(keys).cloned().collect()),
            way: Some(way),
            expires: around.now + outgoing.left.clamp(Duration::from_millis(1), REQUEST_TTL),
            returns: 0,
        };
        let fate = around.faults.on_request(outgoing);
        let result = fate.answer(&what);
        match fate {
            OnPublish::Lose | OnPublish::Refuse(_) | OnPublish::Unconfirmed { is_kept: false } => {}
            OnPublish::Keep | OnPublish::Unconfirmed { is_kept: true } => self.waiting.push_back(sent),
            OnPublish::Duplicate => self.waiting.extend([sent.clone(), sent]),
            OnPublish::Overtake => self.waiting.push_front(sent),
            OnPublish::Delay(delay) => self.schedule(around.now + delay, Event::Reach(sent)),
            OnPublish::Garble(body) => {
                sent.body = body;
                self.waiting.push_back(sent);
            }
        }
        self.send(around);
        result
    }

    /// Puts any bytes into the queue, and asks nobody whether they may get there.
    pub(in super::super) fn put(&mut self, around: &mut Around<'_>, body: Vec<u8>) {
        let expires = around.now + REQUEST_TTL;
        self.waiting.push_back(Sent { body, trace: TraceContext::default(), way: None, expires, returns: 0 });
        self.send(around);
    }

    pub(super) fn reply(&mut self, around: &mut Around<'_>, request: RequestId, way: &str) -> Replied {
        if *around.health != Health::Up {
            return Replied::NotSent;
        }
        let of = |requester: &Asking| requester.way.as_deref() == Some(way);
        let Some((&id, requester)) = self.requesters.iter().find(|(_, requester)| of(requester)) else {
            return Replied::Left;
        };
        match around.faults.on_reply(request) {
            OnReply::Give => requester.waiters.hear(request, around.now),
            OnReply::Lose => {}
            OnReply::Double => {
                requester.waiters.hear(request, around.now);
                requester.waiters.hear(request, around.now);
            }
            OnReply::Delay(delay) => requester.waiters.hear(request, around.now + delay),
            OnReply::Unsent => return Replied::NotSent,
            OnReply::Cut => self.close_way(around.now, id),
        }
        Replied::Sent
    }

    // --- serving ------------------------------------------------------------------------------------------

    pub(super) fn serve(
        &mut self,
        around: &mut Around<'_>,
        handle: HandleId,
        prefetch: u16,
    ) -> (ServerId, Arc<Notify>) {
        let id = ServerId(self.number());
        let bell = Arc::new(Notify::new());
        let serving = Serving {
            handle,
            prefetch: prefetch.max(1).into(),
            is_connected: !self.is_away,
            out: 0,
            inbox: VecDeque::new(),
            bell: Arc::clone(&bell),
        };
        self.servers.insert(id, serving);
        self.send(around);
        (id, bell)
    }

    /// Takes a request that arrived. `Err` when the server is no more.
    pub(super) fn take(&mut self, id: ServerId) -> Result<Option<(Tag, Sent)>, Ended> {
        let server = self.servers.get_mut(&id).ok_or(Ended)?;
        Ok(server.inbox.pop_front().map(|tag| {
            let out = self.out.get(&tag).expect("what leaves `out` leaves the inbox with it");
            (tag, out.sent.clone())
        }))
    }

    /// Ends a delivery. What is stale is left alone.
    pub(super) fn settle(&mut self, around: &mut Around<'_>, tag: Tag, end: End) -> Acked {
        let Some(out) = self.out.get(&tag) else { return Acked::NotSent };
        let acked = match (around.faults.on_request_settle(&out.sent.body), end) {
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
        self.send(around);
        acked
    }

    /// Gives back what a delivery held that ended by being dropped, which nothing can go wrong with.
    pub(super) fn drop_delivery(&mut self, around: &mut Around<'_>, tag: Tag) {
        self.give_back([tag]);
        self.send(around);
    }

    /// Ends serving: what was not taken waits again, what was taken stays out.
    pub(super) fn stop(&mut self, around: &mut Around<'_>, id: ServerId) {
        let Some(server) = self.servers.remove(&id) else { return };
        server.bell.notify_one();
        let coming = self.later.values().filter_map(|event| match event {
            Event::Arrive(tag) => Some(*tag),
            _ => None,
        });
        let coming = coming.filter(|tag| self.out.get(tag).is_some_and(|out| out.server == id));
        let tags: Vec<Tag> = coming.chain(server.inbox).collect();
        self.give_back(tags);
        self.send(around);
    }

    // --- what strikes all at once -------------------------------------------------------------------------

    /// Ends all that was begun with a handle.
    pub(in super::super) fn close(&mut self, around: &mut Around<'_>, handle: HandleId) {
        let servers = self.servers.iter().filter(|(_, server)| server.handle == handle);
        for id in servers.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.stop(around, id);
        }
        let requesters = self.requesters.iter().filter(|(_, requester)| requester.handle == handle);
        for id in requesters.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_asking(id);
        }
    }

    /// Says whether everything that was begun with a handle is connected.
    pub(in super::super) fn is_connected(&self, handle: HandleId) -> bool {
        let mut servers = self.servers.values().filter(|server| server.handle == handle);
        let mut requesters = self.requesters.values().filter(|requester| requester.handle == handle);
        servers.all(|server| server.is_connected) && requesters.all(|requester| requester.way.is_some())
    }

    pub(in super::super) fn cut_all(&mut self, now: Instant) {
        let tags: Vec<Tag> = self.out.keys().copied().collect();
        self.give_back(tags);
        for id in self.servers.keys().copied().collect::<Vec<_>>() {
            self.disconnect(now, id);
        }
        for id in self.requesters.keys().copied().collect::<Vec<_>>() {
            self.close_way(now, id);
        }
    }

    pub(in super::super) fn forget(&mut self, now: Instant) {
        self.empty();
        self.cut_all(now);
    }

    /// The queue is deleted, with what is in it.
    pub(in super::super) fn lose_queue(&mut self, now: Instant) {
        self.empty();
        self.is_missing = true;
        for id in self.servers.keys().copied().collect::<Vec<_>>() {
            self.disconnect(now, id);
        }
    }

    pub(in super::super) fn set_away(&mut self, now: Instant, is_away: bool) {
        if is_away {
            self.cut_all(now);
        } else if self.is_away {
            for id in self.servers.keys().copied().collect::<Vec<_>>() {
                self.schedule(now + RECONNECT_PAUSE, Event::ReconnectServer(id));
            }
            for id in self.requesters.keys().copied().collect::<Vec<_>>() {
                self.schedule(now + RECONNECT_PAUSE, Event::ReconnectRequester(id));
            }
        }
        self.is_away = is_away;
    }

    // --- the steps ----------------------------------------------------------------------------------------

    /// Sends what waits to whoever has room.
    fn send(&mut self, around: &mut Around<'_>) {
        self.waiting.retain(|sent| sent.expires > around.now);
        while let Some(id) = self.next_server() {
            let Some(sent) = self.waiting.pop_front() else { break };
            self.last_served = id;
            self.send_to(around, id, sent);
        }
    }

    fn send_to(&mut self, around: &mut Around<'_>, id: ServerId, mut sent: Sent) {
        let mut delay = None;
        match around.faults.on_request_deliver(&sent.body) {
            OnDeliver::Give => {}
            OnDeliver::Lose => return,
            OnDeliver::Delay(by) => delay = Some(by),
            OnDeliver::Garble(body) => sent.body = body,
            OnDeliver::Cut => {
                self.bring_back(sent);
                let theirs = self.out.iter().filter(|(_, out)| out.server == id);
                let tags: Vec<Tag> = theirs.map(|(tag, _)| *tag).collect();
                self.give_back(tags);
                self.disconnect(around.now, id);
                return;
            }
        }

        let tag = Tag(self.number());
        self.out.insert(tag, Out { sent, server: id });
        self.servers.get_mut(&id).expect("it was just found").out += 1;
        match delay {
            None => self.arrive(tag),
            Some(delay) => self.schedule(around.now + delay, Event::Arrive(tag)),
        }
    }

    /// The next in turn that has room.
    fn next_server(&self) -> Option<ServerId> {
        let last = self.last_served;
        let has_room = |server: &Serving| server.is_connected && server.out < server.prefetch;
        let mut with_room = self.servers.iter().filter(|(_, server)| has_room(server)).map(|(id, _)| *id);
        let first = with_room.next()?;
        if first > last { Some(first) } else { Some(with_room.find(|id| *id > last).unwrap_or(first)) }
    }

    fn arrive(&mut self, tag: Tag) {
        // Cut, forgotten or given back while it was on its way.
        let Some(out) = self.out.get(&tag) else { return };
        let Some(server) = self.servers.get_mut(&out.server) else { return };
        server.inbox.push_back(tag);
        server.bell.notify_one();
    }

    /// Has these wait again, in the order in which they were sent.
    fn give_back(&mut self, tags: impl IntoIterator<Item = Tag>) {
        let mut tags: Vec<Tag> = tags.into_iter().collect();
        tags.sort_unstable();
        for tag in tags.into_iter().rev() {
            if let Some(out) = self.remove(tag) {
                self.bring_back(out.sent);
            }
        }
    }

    /// What circles is ended by its time.
    fn bring_back(&mut self, mut sent: Sent) {
        sent.returns += 1;
        self.waiting.push_front(sent);
    }

    /// Takes a request out of `out`, and out of its server's count and inbox.
    fn remove(&mut self, tag: Tag) -> Option<Out> {
        let out = self.out.remove(&tag)?;
        if let Some(server) = self.servers.get_mut(&out.server) {
            server.out -= 1;
            server.inbox.retain(|arrived| *arrived != tag);
        }
        Some(out)
    }

    fn empty(&mut self) {
        self.out.clear();
        self.waiting.clear();
        self.later.retain(|_, event| !matches!(event, Event::Reach(_) | Event::Arrive(_)));
    }

    fn disconnect(&mut self, now: Instant, id: ServerId) {
        let server = self.servers.get_mut(&id).expect("only a server that is there is disconnected");
        server.is_connected = false;
        server.out = 0;
        server.inbox.clear();
        self.schedule(now + RECONNECT_PAUSE, Event::ReconnectServer(id));
    }

    fn open_way(&mut self, id: RequesterId) {
        let way: Arc<str> = format!("memory.replies.{}", self.number()).into();
        let Some(requester) = self.requesters.get_mut(&id) else { return };
        if !self.is_away && requester.way.is_none() {
            requester.waiters.open(&way);
            requester.way = Some(way);
        }
    }

    fn close_way(&mut self, now: Instant, id: RequesterId) {
        let requester = self.requesters.get_mut(&id).expect("only a requester that is there loses its way");
        requester.way = None;
        requester.waiters.lose(lost());
        self.schedule(now + RECONNECT_PAUSE, Event::ReconnectRequester(id));
    }

    /// Every server hears of it, because all of them wait until the next thing is due.
    fn schedule(&mut self, due: Instant, event: Event) {
        let number = self.number();
        self.later.insert((due, number), event);
        for server in self.servers.values() {
            server.bell.notify_one();
        }
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

fn lost() -> Error {
    Error::Unavailable { what: String::new(), reason: "the connection to the broker in memory is cut".into() }
}

fn closed() -> Error {
    Error::Unavailable { what: String::new(), reason: "the queue was closed".into() }
}
