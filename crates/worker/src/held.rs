//! The attempts that this worker holds, and the heartbeat that keeps their leases.
//!
//! * **The store is away.** Leases are not renewed and may run out; the attempts go on, and ask where they stand
//!   when the store is back.
//! * **An attempt was superseded.** The renewal does not answer for it: it is told to stop, since the fence
//!   would refuse its commit anyway.
//! * **The same chunk comes twice at once.** The second message finds it held from before its begin on: the store
//!   would take a second begin by the same worker for a repeat whose first answer was lost.

use std::collections::{BTreeMap, btree_map};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{Attempt, AttemptId, ChunkRef};
use resilience::Trouble;
use store::Attempts;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::patience::kind_of;

/// A chunk that is held.
struct Entry {
    /// The attempt, once it is begun.
    attempt: Option<Attempt>,
    /// A chunk that is done has no lease either: while it commits, that says nothing.
    is_committing: bool,
    superseded: CancellationToken,
}

/// In an order of their own, so that a simulated night can be repeated.
type Chunks = BTreeMap<ChunkRef, Entry>;

/// The chunks being worked on.
#[derive(Clone, Default)]
pub(crate) struct Held(Arc<Mutex<Chunks>>);

/// A chunk that is held until this is dropped.
pub(crate) struct Holding {
    held: Held,
    chunk: ChunkRef,
    /// Resolves when the attempt has been superseded.
    pub(crate) superseded: CancellationToken,
}

impl Held {
    /// Holds a chunk, unless it is held here already.
    pub(crate) fn hold(&self, chunk: ChunkRef) -> Option<Holding> {
        match self.lock().entry(chunk) {
            btree_map::Entry::Occupied(_) => None,
            btree_map::Entry::Vacant(free) => {
                let superseded = CancellationToken::new();
                let entry = Entry { attempt: None, is_committing: false, superseded: superseded.clone() };
                free.insert(entry);
                Some(Holding { held: self.clone(), chunk, superseded })
            }
        }
    }

    /// Renews the leases, four times in a lease, for ever.
    pub(crate) fn keep_alive<S: Attempts>(
        &self,
        store: S,
        lease: Duration,
        trouble: Trouble,
    ) -> impl Future<Output = ()> + Send + use<S> {
        let held = self.clone();
        async move {
            let mut beat = interval(lease / 4);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                beat.tick().await;
                held.renew(&store, lease, &trouble).await;
            }
        }
    }

    async fn renew<S: Attempts>(&self, store: &S, lease: Duration, trouble: &Trouble) {
        let before: Vec<AttemptId> = self
            .lock()
            .iter()
            .filter_map(|(&chunk, entry)| Some(AttemptId { chunk, attempt: entry.attempt? }))
            .collect();
        if before.is_empty() {
            return;
        }
        match store.renew_leases(&before, lease).await {
            Ok(after) => {
                trouble.over();
                self.stop_all(before.into_iter().filter(|attempt| !after.contains(attempt)));
            }
            Err(error) => trouble.met(&error, kind_of(&error)),
        }
    }

    fn stop_all(&self, superseded: impl Iterator<Item = AttemptId>) {
        let chunks = self.lock();
        for attempt in superseded {
            if let Some(entry) = chunks.get(&attempt.chunk)
                && entry.attempt == Some(attempt.attempt)
                && !entry.is_committing
            {
                entry.superseded.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Chunks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holding {
    /// Keeps the lease of an attempt that has begun.
    pub(crate) fn begun(&self, attempt: Attempt) {
        if let Some(entry) = self.held.lock().get_mut(&self.chunk) {
            entry.attempt = Some(attempt);
        }
    }

    /// Says that from now on the fence decides, not the lease.
    pub(crate) fn committing(&self) {
        if let Some(entry) = self.held.lock().get_mut(&self.chunk) {
            entry.is_committing = true;
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.held.lock().remove(&self.chunk);
    }
}
