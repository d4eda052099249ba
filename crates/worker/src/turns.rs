//! Places that are taken in turn: whoever waits for one gets it when it is his turn, by [`batch::TurnPolicy`].
//!
//! * **Whoever waits is dropped.** He is passed over; a place that was on its way to him goes to the next.
//! * **Whoever has a place is dropped, or panics.** The place goes to the next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use batch::Turn;
use tokio::sync::oneshot;
use tokio::time::Instant;
use valuation::Urgency;

/// A number of places, and who waits for one. A clone is the same places.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Shared>);

/// A place that is taken until this is dropped.
pub(crate) struct Place(Arc<Shared>);

struct Shared {
    epoch: Instant,
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// In the order of their turns; of two at once whoever began to wait first.
    waiting: BTreeMap<(Turn, u64), oneshot::Sender<Place>>,
    last_number: u64,
}

impl Turns {
    pub(crate) fn new(places: usize) -> Self {
        let state = State { free: places, waiting: BTreeMap::new(), last_number: 0 };
        Self(Arc::new(Shared { epoch: Instant::now(), state: Mutex::new(state) }))
    }

    /// Takes a place when it is its turn.
    pub(crate) async fn take(&self, urgency: &Urgency) -> Place {
        let turn = urgency.turn(self.0.epoch);
        let given = {
            let mut state = self.0.lock();
            if state.free > 0 {
                // Nobody waits while a place is free.
                state.free -= 1;
                return Place(Arc::clone(&self.0));
            }
            let (give, given) = oneshot::channel();
            state.last_number += 1;
            let number = state.last_number;
            state.waiting.insert((turn, number), give);
            given
        };
        given.await.expect("whoever waits is dropped only once he was given a place")
    }
}

impl Shared {
    /// Gives a place that came free to whoever's turn it is.
    fn pass_on(self: &Arc<Self>) {
        let next = {
            let mut state = self.lock();
            let next = state.waiting.pop_first();
            if next.is_none() {
                state.free += 1;
            }
            next
        };
        if let Some((_, give)) = next {
            // Who does not wait any more drops it, which gives it to the next. Not under the lock, which that takes.
            drop(give.send(Place(Arc::clone(self))));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use batch::Priority;
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_place_goes_to_whoever_has_had_less_and_then_to_whoever_came_first() {
        let turns = Turns::new(1);
        let large = Urgency { valued: 500, ..Urgency::now(Priority::Critical) };
        tokio::time::advance(Duration::from_millis(100)).await;
        let small = Urgency::now(Priority::Critical);
        let taken = turns.take(&large).await;

        let mut rest = Box::pin(turns.take(&large));
        let mut first = Box::pin(turns.take(&small));
        let mut second = Box::pin(turns.take(&small));
        for waits in [&mut rest, &mut first, &mut second] {
            assert!(waits.now_or_never().is_none());
        }
        drop(taken);

        assert!(rest.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first.await);
        drop(second.await);
        drop(rest.await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_no_more_keeps_no_place() {
        let turns = Turns::new(1);
        let urgency = Urgency::now(Priority::Critical);
        let taken = turns.take(&urgency).await;
        let mut first = Box::pin(turns.take(&urgency));
        let mut second = Box::pin(turns.take(&urgency));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());

        // Given to the first, who goes without looking.
        drop(taken);
        drop(first);

        assert!(second.now_or_never().is_some());
    }
}
