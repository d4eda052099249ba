//! Publishes chunks of a run, and records what was confirmed.
//!
//! The dispatcher does so once for a whole plan, the coordinator again for what was lost. Roles do not know each
//! other, and neither do the store and the queue, so what both roles do with both seams has a place of its own. It does
//! not know why a chunk is published, nor who speaks of it. There is one thing to look at: [`publish`].
//!
//! # Failure by failure
//!
//! * **The broker is away, or does not confirm a message.** The chunk is not recorded as published and stays what it
//!   was: a later pass of the coordinator publishes it. If the message did arrive, that makes a duplicate, which costs
//!   its receiver a query.
//! * **The store does not hear what was confirmed,** or whoever publishes dies before it could tell. The messages are out,
//!   and workers take them; what nobody has taken by then is published again.
//! * **A worker was faster than the record.** The chunk has moved on, and the record leaves it alone.

use batch::{AttemptId, Priority, RunId};
use queue::{Chunks, Outgoing, TraceContext};
use store::Publishing;

/// Messages for chunks of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages<'a> {
    /// The run.
    pub run: RunId,
    /// The queue that its chunks are on.
    pub priority: Priority,
    /// The chunks, each with the attempt that is known.
    pub chunks: &'a [AttemptId],
    /// The trace that they belong to, as pairs.
    pub trace: Vec<(String, String)>,
}

/// What came of publishing.
#[derive(Debug)]
#[must_use = "what was confirmed may not have been recorded"]
pub struct Published {
    /// The chunks whose messages the broker confirmed, in the order given.
    pub confirmed: Vec<AttemptId>,
    /// How many messages it did not confirm.
    pub unconfirmed: usize,
    /// Why it did not confirm the first of those.
    pub failure: Option<queue::Error>,
    /// Whether the store has recorded what was confirmed. If not, the messages are out all the same.
    pub recorded: store::Result<()>,
}

/// Publishes a message for each chunk, waits for the confirms, and records what was confirmed.
pub async fn publish<S: Publishing, Q: Chunks>(store: &S, queue: &Q, messages: Messages<'_>) -> Published {
    let Messages { run, priority, chunks, trace } = messages;
    let trace = TraceContext(trace);
    let outgoing = chunks.iter().map(|&message| Outgoing { priority, message, trace: trace.clone() });
    let results = queue.publish(outgoing.collect()).await;

    let mut confirmed = Vec::with_capacity(chunks.len());
    let mut failure = None;
    for (&chunk, result) in chunks.iter().zip(results) {
        match result {
            Ok(()) => confirmed.push(chunk),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let recorded = store.mark_published(run, &confirmed).await;
    Published { unconfirmed: chunks.len() - confirmed.len(), confirmed, failure, recorded }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use batch::{Attempt, ChunkId, ChunkRef};
    use queue::memory::{Broker, Faults, OnPublish};

    use super::*;

    #[tokio::test]
    async fn what_was_confirmed_is_recorded_and_what_was_not_is_left_as_it_was() {
        let store = Told::default();
        let queue = Broker::with_faults(RefusesTheSecond).connect();
        let chunks = [1, 2, 3].map(chunk);

        let published = publish(&store, &queue, messages(&chunks)).await;

        assert_eq!(published.confirmed, [chunk(1), chunk(3)]);
        assert_eq!(published.unconfirmed, 1);
        assert!(published.failure.is_some_and(|error| error.is_transient()));
        assert!(published.recorded.is_ok());
        assert_eq!(*store.marked.lock().unwrap(), [(RUN, vec![chunk(1), chunk(3)])]);
        assert_eq!(queue.waiting().await[Priority::High], Some(2));
    }

    /// A run of which nothing could be published is running too: somebody has begun to publish it.
    #[tokio::test]
    async fn the_store_is_told_of_nothing_as_well() {
        let store = Told::default();
        let queue = Broker::new().connect();

        let published = publish(&store, &queue, messages(&[])).await;

        assert!(published.failure.is_none() && published.recorded.is_ok());
        assert_eq!(*store.marked.lock().unwrap(), [(RUN, Vec::new())]);
    }

    #[tokio::test]
    async fn a_store_that_does_not_hear_of_it_takes_no_message_back() {
        let store = Told { is_away: true, ..Told::default() };
        let queue = Broker::new().connect();

        let published = publish(&store, &queue, messages(&[chunk(1)])).await;

        assert_eq!((&published.confirmed[..], published.unconfirmed), (&[chunk(1)][..], 0));
        assert!(published.recorded.is_err_and(|error| error.is_transient()));
        assert_eq!(queue.waiting().await[Priority::High], Some(1));
    }

    const RUN: RunId = RunId(7);

    fn chunk(number: i32) -> AttemptId {
        AttemptId { chunk: ChunkRef { run: RUN, chunk: ChunkId(number) }, attempt: Attempt(0) }
    }

    fn messages(chunks: &[AttemptId]) -> Messages<'_> {
        Messages { run: RUN, priority: Priority::High, chunks, trace: Vec::new() }
    }

    struct RefusesTheSecond;

    impl Faults for RefusesTheSecond {
        fn on_publish(&mut self, outgoing: &Outgoing) -> OnPublish {
            match outgoing.message.chunk.chunk {
                ChunkId(2) => OnPublish::Unconfirmed { is_kept: false },
                _ => OnPublish::Keep,
            }
        }
    }

    type Marked = Vec<(RunId, Vec<AttemptId>)>;

    /// A store that keeps what it is told, or is away.
    #[derive(Clone, Default)]
    struct Told {
        marked: Arc<Mutex<Marked>>,
        is_away: bool,
    }

    impl Publishing for Told {
        async fn trace_of(&self, _: RunId) -> store::Result<Vec<(String, String)>> {
            Ok(Vec::new())
        }

        async fn mark_published(&self, run: RunId, chunks: &[AttemptId]) -> store::Result<()> {
            if self.is_away {
                return Err(store::Error::Unavailable { what: "mark".into(), reason: "it is away".into() });
            }
            self.marked.lock().unwrap().push((run, chunks.to_vec()));
            Ok(())
        }
    }
}
