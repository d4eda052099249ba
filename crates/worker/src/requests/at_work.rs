//! The requests that this worker has in hand, and the heartbeat that keeps their leases.
//!
//! * **The store is away.** Leases are not renewed and may run out; the attempts go on, and ask where they stand when the
//!   store is back.
//! * **An attempt was superseded.** The renewal says so, and it is told to stop; not while it commits, since then the
//!   fence decides.
//! * **The same request comes twice at once.** The second message finds it held from before its begin on: the store would
//!   take a second begin by the same worker for a repeat whose first answer was lost.

use std::collections::{BTreeMap, btree_map};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{RequestAttempt, RequestId};
use resilience::Trouble;
use store::{Requests, Standing};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::patience::kind_of;

/// A request that is in hand.
#[derive(Default)]
struct Entry {
    /// The attempt, while there is one.
    attempt: Option<RequestAttempt>,
    is_committing: bool,
    /// Resolves when the attempt has been superseded.
    superseded: CancellationToken,
    /// Resolves when the request is out of hand.
    ended: CancellationToken,
}

/// In an order of their own, so that a simulated night can be repeated.
type InHand = BTreeMap<RequestId, Entry>;

/// The requests in hand.
#[derive(Clone, Default)]
pub(crate) struct AtWork(Arc<Mutex<InHand>>);

/// A request that is in hand until this is dropped.
pub(crate) struct Holding {
    at_work: AtWork,
    request: RequestId,
}

impl AtWork {
    /// Takes a request in hand, unless it is already; then what resolves when it is not any more.
    pub(super) fn hold(&self, request: RequestId) -> Result<Holding, CancellationToken> {
        match self.lock().entry(request) {
            btree_map::Entry::Occupied(held) => Err(held.get().ended.clone()),
            btree_map::Entry::Vacant(free) => {
                free.insert(Entry::default());
                Ok(Holding { at_work: self.clone(), request })
            }
        }
    }

    /// Renews the leases, four times in a lease, for ever.
    pub(super) fn keep_alive<S: Requests>(
        &self,
        store: S,
        worker: String,
        lease: Duration,
    ) -> impl Future<Output = ()> + Send + use<S> {
        let at_work = self.clone();
        let trouble = Trouble::new("renew the leases of requests");
        async move {
            let mut beat = interval(lease / 4);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                beat.tick().await;
                at_work.renew(&store, &worker, lease, &trouble).await;
            }
        }
    }

    async fn renew<S: Requests>(&self, store: &S, worker: &str, lease: Duration, trouble: &Trouble) {
        let held: Vec<RequestAttempt> = self.lock().values().filter_map(|entry| entry.attempt).collect();
        if held.is_empty() {
            return;
        }
        match store.renew_requests(worker, &held, lease).await {
            Ok(standings) => {
                trouble.over();
                let stand = held.iter().zip(standings);
                self.stop_all(
                    stand.filter(|(_, standing)| *standing == Standing::Superseded).map(|(held, _)| held),
                );
            }
            Err(error) => trouble.met(&error, kind_of(&error)),
        }
    }

    fn stop_all<'a>(&self, superseded: impl Iterator<Item = &'a RequestAttempt>) {
        let in_hand = self.lock();
        for attempt in superseded {
            if let Some(entry) = in_hand.get(&attempt.request)
                && entry.attempt == Some(*attempt)
                && !entry.is_committing
            {
                entry.superseded.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, InHand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holding {
    /// Keeps the lease of an attempt that has begun. What it returns resolves when the attempt has been superseded.
    pub(super) fn begun(&self, attempt: RequestAttempt) -> CancellationToken {
        let superseded = CancellationToken::new();
        self.change(|entry| {
            entry.attempt = Some(attempt);
            entry.is_committing = false;
            entry.superseded = superseded.clone();
        });
        superseded
    }

    /// Says that from now on the fence decides, not the lease.
    pub(super) fn committing(&self) {
        self.change(|entry| entry.is_committing = true);
    }

    /// Says that the attempt is over.
    pub(super) fn rests(&self) {
        self.change(|entry| entry.attempt = None);
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.at_work.lock().get_mut(&self.request) {
            change(entry);
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let held = self.at_work.lock().remove(&self.request);
        if let Some(entry) = held {
            entry.ended.cancel();
        }
    }
}
