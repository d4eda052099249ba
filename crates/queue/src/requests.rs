//! Urgent questions: from whoever asks to whoever answers, and back the word that one is done.
//!
//! **Terms.** A *request* is a row of the store's; its message carries its number and nothing else. Whoever works it
//! commits its answer there, and then sends a *reply*: "done", with the number. The *requester* is the end of a process
//! that asks; its *way back* is where replies reach it. A *waiter* is one who waits for one reply ([`Waiting`]).
//!
//! **The answer is in the store.** A reply only spares its reader the asking. So requests and replies are not written
//! to disk, neither is ever repeated here, and whoever hears nothing looks: at the latest when his time is up.
//!
//! **Failure by failure.**
//!
//! - *More requests wait than may* ([`MOST_REQUESTS`]): [`Error::Full`]. The broker sheds; nobody queues behind it.
//! - *A request is not taken in time*: it vanishes from the queue, whose limit is [`REQUEST_TTL`] for all, and is no dead
//!   letter. The store knows until when it may be begun, so one that was taken a moment too late is refused there.
//! - *No queue takes it*: [`Error::Unavailable`]; the queue is declared again.
//! - *Nobody knows whether it was taken* (no confirmation): [`Error::Unconfirmed`]. It may be worked all the same.
//! - *It is lost, or its reply is*: the waiter hears nothing within his limit ([`Heard::Silent`]).
//! - *The way back is lost*: every waiter hears so at once ([`Heard::Lost`]). A new way has a new name, so a reply to the
//!   old one reaches nobody. Until there is one, asking is [`Error::Unavailable`].
//! - *A reply comes late or twice*: nobody waits any more, or he has heard it already. It is counted.
//! - *Whoever asked has left*: the one who answers learns it ([`Replied::Left`]). The answer is committed all the same.
//! - *A request comes twice* (its taker was cut off): the store finds it settled, or at work.
//! - *A waiter is dropped*: nobody is told. The request is worked; the store is where it can be abandoned.

use std::time::Duration;

use batch::RequestId;

use crate::{Consumer, Delivery, Error, TraceContext, Waiting};

/// How long a request waits for somebody to take it, at the most.
pub const REQUEST_TTL: Duration = Duration::from_secs(30);

/// How many requests may wait for somebody to take them.
pub const MOST_REQUESTS: u32 = 2_000;

/// Carries requests from those who ask to those who answer, and their replies back.
pub trait Requests: Clone + Send + Sync + 'static {
    /// What [`requester`](Self::requester) begins.
    type Requester: Requester;
    /// What [`serve`](Self::serve) begins.
    type Server: Consumer<Delivery: Asked>;

    /// Begins to listen for replies, on a connection of its own, and returns when the first attempt has ended, well or
    /// not: while the broker is away the requester waits for it.
    ///
    /// Listening ends with the last clone of the requester.
    fn requester(&self) -> impl Future<Output = Result<Self::Requester, Error>> + Send;

    /// Begins to take requests, on a connection of its own. `prefetch` is how many may be with this consumer and not yet
    /// settled, those that were not yet taken included. 0 is taken as 1.
    ///
    /// Succeeds while the broker is away, too: the consumer waits for it.
    fn serve(&self, prefetch: u16) -> impl Future<Output = Result<Self::Server, Error>> + Send;
}

/// Asks, and hears that it is done. A clone is another handle to the same way back.
pub trait Requester: Clone + Send + Sync + 'static {
    /// Sends a request. What is returned waits for its reply.
    ///
    /// One may be asked again, and several may wait for one request: each hears of it.
    /// [`Error::Unconfirmed`] is unknown, not failed: the request may be worked all the same. Dropping the future does
    /// not take back what was sent.
    fn ask(&self, request: OutgoingRequest) -> impl Future<Output = Result<Waiting, Error>> + Send;

    /// Says whether replies can reach it now.
    fn is_listening(&self) -> bool;

    /// Counts who waits.
    fn waiting(&self) -> usize;
}

/// Is a request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingRequest {
    /// Which one.
    pub request: RequestId,
    /// How long it is worth being taken; at most [`REQUEST_TTL`], which is also what bounds a longer one.
    pub left: Duration,
    /// Which trace.
    pub trace: TraceContext,
}

/// Is a request that is here: a delivery whose sender can be told that it is done. Its priority is critical.
pub trait Asked: Delivery<Message = RequestId> {
    /// Tells whoever asked, as well as it can and within a time limit. After the commit; the ack follows.
    fn reply(&self) -> impl Future<Output = Replied> + Send;
}

/// What is known of a reply. None of it needs an action: the answer is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replied {
    /// It is on its way.
    Sent,
    /// Whoever asked is not there any more, or listens elsewhere by now.
    Left,
    /// It could not be sent, or nobody knows.
    NotSent,
}

/// What a waiter hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The request is settled: the store says how.
    Done,
    /// No reply can come any more. The store knows; asking again is right.
    Lost,
    /// Nothing, within the limit. A reply may still come.
    Silent,
}
