//! Which coordinator leads.
//!
//! Any number of coordinators may run; one leads, under a term that the store issues and that only grows. The lease is
//! renewed beside the passes, because finishing a large run takes longer than a lease. Leadership saves work; it is not
//! what keeps a night correct.
//!
//! # Failure by failure
//!
//! * **The leader dies.** Its lease runs out and another takes a new term.
//! * **The leader is stopped, and comes back when another leads.** What it does then is guarded by its old term, or
//!   harmless: publishing twice makes a duplicate, and progress that it saw long ago is behind what the cache knows and
//!   changes nothing there. Its next renewal tells it that it leads no more.
//! * **Two lead for a moment.** Every action is guarded by the state that it expects; one of them finds nothing left to
//!   do.
//! * **The store is away.** Whoever led goes on believing so: the store's guard decides when it is back.

use store::{Supervision, Term};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::CoordinatorConfig;

/// Takes the leadership when it is free and renews it, three times in a lease, for ever.
pub(crate) async fn keep_leading<S: Supervision>(
    store: S,
    config: CoordinatorConfig,
    led: watch::Sender<Option<Term>>,
) {
    let mut renewal = interval(config.leadership_lease / 3);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        renewal.tick().await;
        let term = match store.lead(&config.name, config.leadership_lease).await {
            Ok(term) => term,
            // The store's guard decides; keep what we believe until it answers.
            Err(error) => {
                tracing::debug!(%error, "leadership not renewed");
                continue;
            }
        };
        led.send_if_modified(|before| {
            let is_changed = *before != term;
            if is_changed {
                tracing::info!(coordinator = %config.name, ?term, "leadership changed");
            }
            *before = term;
            is_changed
        });
    }
}
