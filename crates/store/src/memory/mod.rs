//! The store in memory: a night with nothing installed, and nights under a clock that can be stopped.
//!
//! It holds what the fleet records (runs, chunks, attempts, values, rejections, requests, answers, model versions,
//! leadership) as the rows that PostgreSQL would hold. Which transition is allowed, and what it makes of a row, it asks
//! [`ChunkSnapshot::after`](batch::ChunkSnapshot::after), [`RunState::after`](batch::RunState::after) and
//! [`RequestSnapshot::after`](batch::RequestSnapshot::after). The customers and what is known of them come from a
//! [`Base`]. Nothing lasts longer than the last handle.
//!
//! **One lock.** Every call takes effect in one piece under it, so that each is a transaction, and a dropped one has
//! either taken effect or not. Nothing is awaited while it is held.
//!
//! **No chance.** No thread, no random number, and no clock but tokio's, added to the moment that the store was
//! given: under a paused clock the same calls give the same answers.
//!
//! **No failure.** It is always there and answers at once. Who wants it away, late or unheard wraps the traits, as the
//! simulation does.

mod archive;
mod attempts;
mod base;
mod exports;
mod figuring;
mod guard;
mod keys;
mod models;
mod movements;
mod mutations;
mod packed;
mod planning;
mod publishing;
mod requests;
mod rows;
mod supervision;
mod values;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use batch::CustomerId;
use jiff::Timestamp;
use tokio::task::consume_budget;
use tokio::time::Instant;

use crate::keys::Claim;
use crate::{Error, Result};

pub use base::{Accounts, BadCustomer, Base, Customer};
#[cfg(feature = "faults")]
pub use mutations::Mutation;

use rows::Rows;

/// The store in memory. A clone is another handle to the same rows.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
    /// The claim that what is done through this handle is done under.
    claim: Option<Arc<Claim>>,
}

struct Shared {
    base: Box<dyn Base>,
    /// What the store's clock showed when it was made, and when that was.
    start: (Timestamp, Instant),
    /// How far it was set back since, in microseconds.
    back_us: AtomicU64,
    rows: Mutex<Rows>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    /// Makes a store over a customer base. Its clock shows `start` now, and goes on as tokio's does.
    pub fn new(base: impl Base, start: Timestamp) -> Self {
        let rows = Mutex::new(Rows::default());
        let (base, start, back_us) = (Box::new(base), (start, Instant::now()), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { base, start, back_us, rows }), claim: None }
    }

    /// Sets the store's clock back, as somebody may that of a server.
    pub fn set_back(&self, time: Duration) {
        self.shared.back_us.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// Tells that a customer has bought, or began a subscription, or ended one, at a moment: what is known of him for an
    /// earlier one is stale from then on. His account stays what the base says.
    pub fn happens(&self, customer: CustomerId, at: Timestamp) {
        self.rows().happened.insert((customer, at));
    }

    /// The customers.
    pub fn base(&self) -> &dyn Base {
        &*self.shared.base
    }

    /// What the store's clock shows.
    pub fn clock(&self) -> Timestamp {
        let (start, began) = self.shared.start;
        let elapsed = Duration::from_micros(began.elapsed().as_micros() as u64);
        let back = Duration::from_micros(self.shared.back_us.load(Ordering::Relaxed));
        later(start, elapsed).checked_sub(back).unwrap_or(Timestamp::MIN)
    }

    /// Does one call: all of its effect at once.
    async fn call<T>(&self, work: impl FnOnce(&mut Rows, Timestamp) -> Result<T>) -> Result<T> {
        // A task that only ever calls this store must let others run too.
        consume_budget().await;
        work(&mut self.rows(), self.clock())
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.shared.rows.lock().expect("nobody panics while the rows are locked")
    }
}

/// A moment, so much later; the end of time where there is none.
fn later(moment: Timestamp, duration: Duration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

fn invalid(what: &str, reason: impl fmt::Display) -> Error {
    Error::Invalid { what: what.into(), reason: reason.to_string() }
}
