//! Waiting for a store that does not answer, with growing pauses, until the grace period is over.
//!
//! * **The store is away** (an error that may pass): what was asked is asked again, however long that takes.
//! * **A relation or a right is missing** ([`store::Error::Broken`]): nobody's work is to blame, and somebody will mend
//!   it. The same.
//! * **Anything else** is an answer: asking again would bring the same.
//! * **The grace period is over**: nobody waits any more.

use resilience::Delays;
use resilience::trouble::{Kind, Party};
use store::Attempts;
use tokio_util::sync::CancellationToken;

/// Waits for the store, each time longer.
pub(crate) struct Patience<'a, S> {
    store: &'a S,
    /// Resolves when the grace period is over.
    gave_up: &'a CancellationToken,
    way: &'a Party,
    delays: Delays,
}

impl<'a, S: Attempts> Patience<'a, S> {
    /// Begins with the shortest pause.
    pub(crate) fn new(store: &'a S, gave_up: &'a CancellationToken, way: &'a Party, delays: Delays) -> Self {
        Self { store, gave_up, way, delays }
    }

    /// Asks until there is an answer, or an error that waiting does not mend; what it waits for is told once. `None` if
    /// the grace period was over first.
    pub(crate) async fn ask<T, Call: Future<Output = store::Result<T>>>(
        &mut self,
        mut call: impl FnMut() -> Call,
    ) -> Option<store::Result<T>> {
        loop {
            match call().await {
                Err(error) if is_worth_waiting_for(&error) => {
                    self.met(&error);
                    self.wait().await?;
                }
                answer => {
                    self.way.over();
                    return Some(answer);
                }
            }
        }
    }

    /// Tells what is waited for.
    pub(crate) fn met(&self, error: &store::Error) {
        self.way.met(error, kind_of(error));
    }

    /// Waits until another call to the store makes sense; `None` if the grace period was over first.
    pub(crate) async fn wait(&mut self) -> Option<()> {
        let better = async {
            self.delays.pause().await;
            self.store.wait_until_available().await;
        };
        tokio::select! {
            biased;
            () = self.gave_up.cancelled() => None,
            () = better => Some(()),
        }
    }
}

/// Says whether the store may answer otherwise later: it is away, or refuses everybody.
pub(crate) fn is_worth_waiting_for(error: &store::Error) -> bool {
    match error {
        store::Error::Unavailable { .. } | store::Error::Blocked { .. } | store::Error::Broken { .. } => true,
        // A worker has no claims: they are for calls that people make.
        store::Error::Superseded { .. } | store::Error::Invalid { .. } => false,
    }
}

/// Whether what is in the way of a call passes by itself.
pub(crate) fn kind_of(error: &store::Error) -> Kind {
    if error.is_transient() { Kind::Passing } else { Kind::Lasting }
}
