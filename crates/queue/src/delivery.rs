//! Messages that come, whatever they carry, and the three ways to be done with one.

use batch::Priority;

use crate::wire::Message;
use crate::{Error, Malformed, TraceContext};

/// Gives the messages that were asked for, each when it is its turn ([`batch::TurnPolicy`]): the most urgent first, and what
/// has waited for long before what is more urgent and came later.
pub trait Consumer: Send + 'static {
    /// What it gives.
    type Delivery: Delivery;

    /// Takes the message that is here and whose turn it is; waits for one, through every outage. `None` once the queue
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
    /// What it carries.
    type Message: Message;

    /// The message, or what is wrong with it.
    fn message(&self) -> Result<&Self::Message, &Malformed>;

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
