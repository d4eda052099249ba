//! What may go wrong on purpose, and who decides it.
//!
//! The broker asks at each point where a real one can fail. Whoever answers may draw from a seed, count, or look
//! at the message; the broker itself draws nothing, so the same answers give the same night again.

use std::time::Duration;

use batch::{Priority, RequestId};

use crate::{Acked, DeadMessage, Error, Outgoing, OutgoingRequest};

/// Decides what goes wrong. Left as they are, the methods let everything go well.
///
/// Asked in the order in which things happen, while the broker stands still: an answer must not call it. What
/// strikes all at once is done from outside, by [`Broker::cut`](super::Broker::cut) and its like.
pub trait Faults: Send + 'static {
    /// A message was published and would be put into its queue.
    fn on_publish(&mut self, message: &Outgoing) -> OnPublish {
        let _ = message;
        OnPublish::Keep
    }

    /// A message would be put among the dead letters.
    fn on_dead_letter(&mut self, letter: &DeadMessage) -> OnPublish {
        let _ = letter;
        OnPublish::Keep
    }

    /// The next message of this queue would be sent to a consumer.
    fn on_deliver(&mut self, priority: Priority, body: &[u8]) -> OnDeliver {
        let _ = (priority, body);
        OnDeliver::Give
    }

    /// A taken message was acked, or requeued.
    fn on_settle(&mut self, priority: Priority, body: &[u8]) -> OnSettle {
        let _ = (priority, body);
        OnSettle::Arrive
    }

    /// A request was sent and would be put into its queue.
    fn on_request(&mut self, request: &OutgoingRequest) -> OnPublish {
        let _ = request;
        OnPublish::Keep
    }

    /// The next request would be sent to who serves.
    fn on_request_deliver(&mut self, body: &[u8]) -> OnDeliver {
        let _ = body;
        OnDeliver::Give
    }

    /// A taken request was acked, or requeued.
    fn on_request_settle(&mut self, body: &[u8]) -> OnSettle {
        let _ = body;
        OnSettle::Arrive
    }

    /// A request is done, and whoever asked is there to be told.
    fn on_reply(&mut self, request: RequestId) -> OnReply {
        let _ = request;
        OnReply::Give
    }
}

/// Lets nothing go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {}

/// Says what becomes of a message that is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnPublish {
    /// It is kept and confirmed.
    Keep,
    /// It is confirmed, and gone.
    Lose,
    /// It is kept twice.
    Duplicate,
    /// It is confirmed now and reaches its queue later, behind what was published meanwhile.
    Delay(Duration),
    /// It is put before everything that waits.
    Overtake,
    /// These bytes arrive instead of it.
    Garble(Vec<u8>),
    /// The confirmation is lost: [`Error::Unconfirmed`].
    Unconfirmed {
        /// Whether the message itself arrived.
        is_kept: bool,
    },
    /// Nothing is kept, and the publisher gets this error, under the name of its own call.
    Refuse(Error),
}

impl OnPublish {
    /// What the publisher is told.
    pub(super) fn answer(&self, what: &str) -> Result<(), Error> {
        match self {
            Self::Refuse(error) => Err(error.clone().of(what)),
            Self::Unconfirmed { .. } => {
                Err(Error::Unconfirmed { what: what.into(), reason: "the confirmation was lost".into() })
            }
            Self::Keep | Self::Lose | Self::Duplicate | Self::Delay(_) | Self::Overtake | Self::Garble(_) => {
                Ok(())
            }
        }
    }
}

/// Says what becomes of a message on its way to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnDeliver {
    /// It arrives.
    Give,
    /// It is gone.
    Lose,
    /// It is on its way for so long, and counts against the prefetch meanwhile.
    Delay(Duration),
    /// These bytes arrive instead of it; if it comes again, it comes so.
    Garble(Vec<u8>),
    /// The consumer's connection is cut instead, as by [`Broker::cut`](super::Broker::cut).
    Cut,
}

/// Says what becomes of an ack or a requeue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSettle {
    /// It arrives.
    Arrive,
    /// It does not, and the message comes again. The consumer is told this.
    Lose(Acked),
}

/// Says what becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReply {
    /// It is heard.
    Give,
    /// It is gone, and whoever sent it does not know.
    Lose,
    /// It comes twice.
    Double,
    /// It is on its way for so long.
    Delay(Duration),
    /// It cannot be sent.
    Unsent,
    /// The connection of whoever asked is cut instead: he hears that it is lost.
    Cut,
}
