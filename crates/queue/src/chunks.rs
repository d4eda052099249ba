//! The night's work: chunks, in three priorities.

use batch::{AttemptId, PerPriority, Priority};

use crate::{Consumer, Delivery, Error, TraceContext};

/// Carries chunks from those who plan to those who work. A clone is another handle to the same connection.
pub trait Chunks: Clone + Send + Sync + 'static {
    /// What [`consume`](Self::consume) begins.
    type Consumer: Consumer<Delivery: Delivery<Message = AttemptId>>;

    /// Publishes all of them, and waits until each is confirmed. What is confirmed outlives an outage.
    ///
    /// One result for each message, in the order given. A confirmation is waited for within a time limit.
    /// [`Error::Unconfirmed`] is unknown, not failed: publishing again is right, and the duplicate is harmless.
    /// While the broker is away the answer is [`Error::Unavailable`], at once. Dropping the future does not take
    /// back what was sent.
    fn publish(&self, messages: Vec<Outgoing>) -> impl Future<Output = Vec<Result<(), Error>>> + Send;

    /// Begins to consume these priorities and no others, on a connection of its own. Each has its own `prefetch`:
    /// how many messages may be with this consumer and not yet settled, those that were not yet taken included.
    /// 0 is taken as 1.
    ///
    /// Succeeds while the broker is away, too: the consumer waits for it.
    fn consume(
        &self,
        priorities: &[Priority],
        prefetch: u16,
    ) -> impl Future<Output = Result<Self::Consumer, Error>> + Send;

    /// Counts the messages that are with no consumer. `None` where the broker did not say: a sick broker is not
    /// an empty queue.
    fn waiting(&self) -> impl Future<Output = PerPriority<Option<u64>>> + Send;
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
