//! The attempts that this worker holds, and the heartbeat that keeps their leases.
//!
//! * **The store is away.** Leases are not renewed and may run out; the attempts go on, and ask where they stand
//!   when the store is back.
//! * **An attempt was superseded.** The renewal does not answer for it: it is told to stop, since the fence
//!   would refuse its commit anyway.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{Attempt, AttemptId, ChunkRef};
use store::Attempts;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

type Chunks = HashMap<ChunkRef, (Attempt, CancellationToken)>;

/// The chunks being worked on, each with its attempt and a way to stop it.
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
    /// Whether an attempt at the chunk is at work here.
    pub(crate) fn contains(&self, chunk: ChunkRef) -> bool {
        self.lock().contains_key(&chunk)
    }

    /// Holds an attempt's lease from now on.
    pub(crate) fn hold(&self, attempt: AttemptId) -> Holding {
        let superseded = CancellationToken::new();
        self.lock().insert(attempt.chunk, (attempt.attempt, superseded.clone()));
        Holding { held: self.clone(), chunk: attempt.chunk, superseded }
    }

    /// Renews the leases, four times in a lease, for ever.
    pub(crate) fn keep_alive<S: Attempts>(
        &self,
        store: S,
        lease: Duration,
    ) -> impl Future<Output = ()> + Send + use<S> {
        let held = self.clone();
        async move {
            let mut beat = interval(lease / 4);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                beat.tick().await;
                held.renew(&store, lease).await;
            }
        }
    }

    async fn renew<S: Attempts>(&self, store: &S, lease: Duration) {
        let before: Vec<AttemptId> = self
            .lock()
            .iter()
            .map(|(&chunk, &(attempt, _))| AttemptId { chunk, attempt })
            .collect();
        if before.is_empty() {
            return;
        }
        match store.renew_leases(&before, lease).await {
            Ok(after) => self.stop_all(before.into_iter().filter(|attempt| !after.contains(attempt))),
            Err(error) => tracing::debug!(%error, leases = before.len(), "leases not renewed"),
        }
    }

    fn stop_all(&self, superseded: impl Iterator<Item = AttemptId>) {
        let chunks = self.lock();
        for attempt in superseded {
            if let Some((latest, stop)) = chunks.get(&attempt.chunk)
                && *latest == attempt.attempt
            {
                stop.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Chunks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.held.lock().remove(&self.chunk);
    }
}
