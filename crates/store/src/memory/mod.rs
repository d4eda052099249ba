//! The store in memory: a night with nothing installed, and nights under a clock that can be stopped.
//!
//! It holds what the fleet records (runs, chunks, attempts, values, rejections, model versions, leadership) as the
//! rows that PostgreSQL would hold, and moves them on under the same guards. The customers and what is known of them
//! come from a [`Base`]. Nothing lasts longer than the last handle.
//!
//! **One lock.** Every call takes effect in one piece under it, so that each is a transaction, and a dropped one has
//! either taken effect or not. Nothing is awaited while it is held.
//!
//! **No chance.** No thread, no random number, and no clock but tokio's, added to the moment that the store was
//! given: under a paused clock the same calls give the same answers.
//!
//! # Failure by failure
//!
//! None of its own. A [`Hook`] makes them: a call that never arrives, one whose answer is lost, one that is late, a
//! store that will not do it; and [`Memory::restart`] is what a server's restart looks like to those who ask.

mod archive;
mod attempts;
mod base;
mod hook;
mod models;
mod mutations;
mod packed;
mod planning;
mod rows;
mod supervision;
mod values;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::{Error, Result};

pub use base::{Accounts, BadCustomer, Base, Customer};
pub use hook::{Call, Ending, Fate, Hook};
#[cfg(feature = "faults")]
pub use mutations::Mutation;

use rows::Rows;

/// The store in memory. A clone is another handle to the same rows.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
    caller: Arc<str>,
}

struct Shared {
    base: Box<dyn Base>,
    hook: Option<Box<dyn Hook>>,
    /// What the store's clock showed when it was made, and when that was.
    start: (Timestamp, Instant),
    rows: Mutex<Rows>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl Memory {
    /// Makes a store over a customer base. Its clock shows `start` now, and goes on as tokio's does.
    pub fn new(base: impl Base, start: Timestamp) -> Self {
        let shared = Shared {
            base: Box::new(base),
            hook: None,
            start: (start, Instant::now()),
            rows: Mutex::new(Rows::new(start)),
        };
        Self { shared: Arc::new(shared), caller: "".into() }
    }

    /// The same store, with a hook that decides what becomes of each call.
    ///
    /// # Panics
    ///
    /// Where there are other handles to the store already: they would not know of it.
    #[must_use]
    pub fn with_hook(mut self, hook: impl Hook) -> Self {
        let shared = Arc::get_mut(&mut self.shared).expect("a store gets its hook before it is shared");
        shared.hook = Some(Box::new(hook));
        self
    }

    /// Another handle to the store, whose calls the hook sees under this name.
    #[must_use]
    pub fn as_caller(&self, caller: &str) -> Self {
        Self { shared: self.shared.clone(), caller: caller.into() }
    }

    /// The customers.
    pub fn base(&self) -> &dyn Base {
        &*self.shared.base
    }

    /// What the store's clock shows.
    pub fn clock(&self) -> Timestamp {
        let (start, began) = self.shared.start;
        let elapsed = Duration::from_micros(began.elapsed().as_micros() as u64);
        later(start, elapsed)
    }

    /// Does what the restart of a server does for those who ask: nothing is lost, and nobody could renew a lease
    /// before now.
    pub fn restart(&self) {
        let now = self.clock();
        self.rows().well_since = now;
    }

    /// Does one call: the hook first, then all of its effect at once, then the answer.
    async fn call<T>(&self, call: Call, work: impl FnOnce(&mut Rows, Timestamp) -> Result<T>) -> Result<T> {
        let answer = self.arrive(call).await?;
        let result = {
            let mut rows = self.rows();
            work(&mut rows, self.clock())
        };
        answer.arrive(result).await
    }

    /// Waits until a call has arrived, if it does.
    async fn arrive(&self, call: Call) -> Result<Answer> {
        // A task that only ever calls this store must let others run too.
        tokio::task::consume_budget().await;
        let Some(hook) = &self.shared.hook else {
            return Ok(Answer { call, lost: false, after: Duration::ZERO });
        };
        let Fate { before, ending, after } = hook.fate(call, &self.caller);
        pause(before).await;
        let what = || call.as_str().to_owned();
        match ending {
            Ending::Answered => Ok(Answer { call, lost: false, after }),
            Ending::Unheard => Ok(Answer { call, lost: true, after }),
            Ending::Lost => {
                Err(Error::Unavailable { what: what(), why: "the store cannot be reached".into() })
            }
            Ending::Broken => Err(Error::Broken { what: what(), why: "the store will not do it".into() }),
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.shared.rows.lock().expect("nobody panics while the rows are locked")
    }
}

/// The way back of a call.
struct Answer {
    call: Call,
    lost: bool,
    after: Duration,
}

impl Answer {
    async fn arrive<T>(self, result: Result<T>) -> Result<T> {
        pause(self.after).await;
        if self.lost {
            let what = self.call.as_str().to_owned();
            return Err(Error::Unavailable { what, why: "the answer was lost".into() });
        }
        result
    }
}

async fn pause(duration: Duration) {
    if !duration.is_zero() {
        sleep(duration).await;
    }
}

/// A moment, so much later; the end of time where there is none.
fn later(moment: Timestamp, duration: Duration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

fn invalid(call: Call, why: impl fmt::Display) -> Error {
    Error::Invalid { what: call.as_str().into(), why: why.to_string() }
}
