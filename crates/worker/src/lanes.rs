//! Lanes: slots and a connection that are kept for some priorities, so that what is urgent need not wait until what
//! is not has ended.
//!
//! Each lane consumes its priorities on a connection of its own. Lanes may share a priority: whichever has a free
//! slot takes the message. Of two lanes that could both take one, the lane that is named first goes first, and no
//! lane waits for another one's slots.
//!
//! * **A lane's connection is lost.** Its consumer waits; the other lanes go on.
//! * **The queue was closed.** No lane gets anything more, and the worker drains.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use batch::Priority;
use queue::{Chunks, Consumer};
use store::Attempts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Takes some priorities, in slots of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Those it takes, and no others.
    pub priorities: Vec<Priority>,
    /// Chunks at work at a time. Of each priority as many are with it unacknowledged.
    pub slots: u16,
}

impl Lane {
    /// Makes a lane for everything, in which only the order of taking is by priority.
    pub fn of_all_priorities(slots: u16) -> Self {
        Self { priorities: Priority::ALL.into(), slots }
    }
}

/// The lanes of a worker, open.
pub(crate) struct Lanes<C>(Vec<OpenLane<C>>);

/// A slot that is taken until this is dropped.
pub(crate) type TakenSlot = OwnedSemaphorePermit;

struct OpenLane<C> {
    consumer: C,
    slots: Arc<Semaphore>,
}

impl<C: Consumer> Lanes<C> {
    /// Begins to consume.
    pub(crate) async fn open<Q: Chunks<Consumer = C>>(
        queue: &Q,
        lanes: &[Lane],
    ) -> Result<Self, queue::Error> {
        let mut open = Vec::with_capacity(lanes.len());
        for Lane { priorities, slots } in lanes {
            let consumer = queue.consume(priorities, *slots).await?;
            open.push(OpenLane { consumer, slots: Arc::new(Semaphore::new(usize::from(*slots))) });
        }
        Ok(Self(open))
    }

    /// Takes the next message of any lane that has a free slot, once the store is well; `None` once the queue was
    /// closed.
    ///
    /// Cancel safe: dropping the future loses no delivery.
    pub(crate) async fn next<S: Attempts>(&mut self, store: &S) -> Option<(TakenSlot, C::Delivery)> {
        let mut lanes: Vec<_> = self.0.iter_mut().map(|lane| Box::pin(lane.next(store))).collect();
        poll_fn(|context| {
            let mut polled = lanes.iter_mut().map(|lane| lane.as_mut().poll(context));
            polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
        })
        .await
    }

    /// The slots of the lane that is named last, for a test that has others take them.
    pub(crate) fn slots_of_the_last(&self) -> Option<Arc<Semaphore>> {
        self.0.last().map(|lane| Arc::clone(&lane.slots))
    }

    /// Takes no more, and gives back what was not taken.
    pub(crate) async fn stop(self) {
        for lane in self.0 {
            lane.consumer.stop().await;
        }
    }
}

impl<C: Consumer> OpenLane<C> {
    async fn next<S: Attempts>(&mut self, store: &S) -> Option<(TakenSlot, C::Delivery)> {
        let free = Arc::clone(&self.slots).acquire_owned().await.expect("the slots are never closed");
        // With its breaker open the store would only make us hold what others could do.
        store.wait_until_available().await;
        self.consumer.next().await.map(|delivery| (free, delivery))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use batch::{Attempt, AttemptId, ChunkId, ChunkRef, RunId};
    use jiff::Timestamp;
    use model::{Currency, Observation};
    use queue::memory::{Broker, MemoryDelivery};
    use queue::{Delivery, Outgoing, TraceContext};
    use store::memory::{Accounts, Memory};
    use tokio::time::timeout;

    use Priority::{Critical, High, Normal};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lane_with_a_free_slot_waits_for_no_other_lane() {
        let (queue, store) = (Broker::new().connect(), store());
        let urgent = Lane { priorities: vec![Critical, High], slots: 1 };
        let night = Lane { priorities: vec![Normal], slots: 1 };
        let mut lanes = Lanes::open(&queue, &[urgent, night]).await.unwrap();
        publish(&queue, &[Normal, Normal]).await;

        let (slot, first) = lanes.next(&store).await.unwrap();
        assert_eq!(first.priority(), Normal);
        assert!(next(&mut lanes, &store).await.is_none(), "the night's only slot is taken");
        publish(&queue, &[High, Critical]).await;
        let (_urgent_slot, second) = next(&mut lanes, &store).await.expect("the urgent lane's slot is free");
        drop((slot, first));

        assert_eq!(second.priority(), Critical);
        let (_night_slot, third) = next(&mut lanes, &store).await.expect("the night's slot is free again");
        assert_eq!(third.priority(), Normal);
        assert!(next(&mut lanes, &store).await.is_none(), "high waits for the urgent lane's slot");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_queue_ends_every_lane() {
        let (queue, store) = (Broker::new().connect(), store());
        let lane = Lane { priorities: vec![Critical], slots: 1 };
        let mut lanes = Lanes::open(&queue, &[lane, Lane::of_all_priorities(2)]).await.unwrap();

        queue::Connection::close(&queue).await;

        assert!(lanes.next(&store).await.is_none());
    }

    fn store() -> Memory {
        let nobody = Accounts::new(Observation::new(0, Currency::parse("USD").unwrap()));
        Memory::new(nobody, Timestamp::UNIX_EPOCH)
    }

    async fn publish(queue: &queue::Memory, priorities: &[Priority]) {
        let outgoing = |(&priority, chunk)| {
            let chunk = ChunkRef { run: RunId(1), chunk: ChunkId(chunk) };
            let message = AttemptId { chunk, attempt: Attempt(0) };
            Outgoing { priority, message, trace: TraceContext::default() }
        };
        let results = queue.publish(priorities.iter().zip(1..).map(outgoing).collect()).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }

    /// What a lane can take now.
    async fn next<C: Consumer<Delivery = MemoryDelivery>>(
        lanes: &mut Lanes<C>,
        store: &Memory,
    ) -> Option<(TakenSlot, MemoryDelivery)> {
        timeout(Duration::from_secs(1), lanes.next(store)).await.ok().flatten()
    }
}
