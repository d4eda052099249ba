//! The backend in memory, held to the same contract as Redis: for nights without servers, and for nights in which
//! everything goes wrong on purpose.
//!
//! It has no thread, no random source and no clock but tokio's. Nothing in it expires; it is emptied by
//! [`Memory::empty`], or by a fault.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{CustomerId, Progress, RunId};
use resilience::Elapsed;
use tokio::time::Instant;

use crate::{Cache, CachedValue, Error, Valued, VisibleRuns, metrics};

/// How long a call takes that is not answered, as with Redis.
const LIMIT: Duration = Duration::from_millis(250);

/// Decides what goes wrong. Left as it is, the method lets everything go well.
///
/// Asked in the order of the calls, while the cache stands still: an answer must not call it.
pub trait Faults: Send + 'static {
    /// Somebody calls.
    fn on_call(&mut self, call: Call) -> OnCall {
        let _ = call;
        OnCall::Serve
    }
}

/// Lets nothing go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {}

/// Names a call of [`Cache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum Call {
    PutValues,
    PutVisible,
    Visible,
    Value,
    PutProgress,
    Progress,
    Check,
}

impl Call {
    fn as_str(self) -> &'static str {
        match self {
            Self::PutValues => "put_values",
            Self::PutVisible => "put_visible",
            Self::Visible => "visible",
            Self::Value => "value",
            Self::PutProgress => "put_progress",
            Self::Progress => "progress",
            Self::Check => "check",
        }
    }
}

/// Says what becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCall {
    /// It is answered.
    Serve,
    /// It does nothing: [`Error::Unavailable`].
    Refuse,
    /// It is not answered, but after its limit by [`Error::TimedOut`]. So many of the things that it was to write
    /// were written, the first ones: the values of a chunk; of any other call there is one.
    TimeOut {
        /// How many.
        written: usize,
    },
    /// What stands there is not ours: [`Error::Malformed`].
    Garble,
    /// Everything is gone, and the call is answered after that.
    Empty,
}

/// Keeps what may be lost in memory. A clone is the same cache.
#[derive(Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

struct State {
    faults: Box<dyn Faults>,
    held: Held,
}

#[derive(Default)]
struct Held {
    values: BTreeMap<RunId, BTreeMap<CustomerId, CachedValue>>,
    visible: Option<VisibleRuns>,
    progress: BTreeMap<RunId, Progress>,
}

impl Memory {
    /// Makes an empty cache with which nothing goes wrong.
    pub fn new() -> Self {
        Self::with_faults(NoFaults)
    }

    /// Makes an empty cache that asks what goes wrong.
    pub fn with_faults(faults: impl Faults) -> Self {
        Self { state: Arc::new(Mutex::new(State { faults: Box::new(faults), held: Held::default() })) }
    }

    /// Loses everything.
    pub fn empty(&self) {
        self.lock().held = Held::default();
    }

    /// Answers one call, as the faults say. `work` is told how many things it may write.
    async fn answer<T>(&self, call: Call, work: impl FnOnce(&mut Held, usize) -> T) -> Result<T, Error> {
        // Nothing else here waits, and the other tasks of this thread want their turn.
        tokio::task::consume_budget().await;
        let start = Instant::now();
        let result = self.serve(call, work);
        if let Err(Error::TimedOut(_)) = result {
            tokio::time::sleep(LIMIT).await;
        }
        metrics::call(call.as_str(), &result, start.elapsed());
        result
    }

    fn serve<T>(&self, call: Call, work: impl FnOnce(&mut Held, usize) -> T) -> Result<T, Error> {
        let what = || format!("cache in memory: {}", call.as_str());
        let mut state = self.lock();
        let State { faults, held } = &mut *state;
        match faults.on_call(call) {
            OnCall::Serve => Ok(work(held, usize::MAX)),
            OnCall::Refuse => Err(Error::Unavailable(format!("{}: refused", what()))),
            OnCall::TimeOut { written } => {
                work(held, written);
                Err(Error::TimedOut(Elapsed { what: what(), limit: LIMIT }))
            }
            OnCall::Garble => Err(Error::Malformed(format!("{}: not ours", what()))),
            OnCall::Empty => {
                *held = Held::default();
                Ok(work(held, usize::MAX))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Cache for Memory {
    async fn put_values(&self, run: RunId, values: &[Valued]) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        self.answer(Call::PutValues, |held, limit| {
            let arriving = values.iter().take(limit).map(|valued| (valued.customer, valued.value));
            held.values.entry(run).or_default().extend(arriving);
        })
        .await
    }

    async fn put_visible(&self, visible: &VisibleRuns) -> Result<bool, Error> {
        self.answer(Call::PutVisible, |held, limit| {
            let is_newer = held.visible.as_ref().is_none_or(|held| held.version < visible.version);
            if is_newer && limit > 0 {
                held.visible = Some(visible.clone());
            }
            is_newer
        })
        .await
    }

    async fn visible(&self) -> Result<Option<VisibleRuns>, Error> {
        self.answer(Call::Visible, |held, _| held.visible.clone()).await
    }

    async fn value(&self, customer: CustomerId) -> Result<Option<(RunId, CachedValue)>, Error> {
        let found = self
            .answer(Call::Value, |held, _| {
                let in_run = |run: &RunId| Some((*run, *held.values.get(run)?.get(&customer)?));
                held.visible.as_ref()?.runs.iter().find_map(in_run)
            })
            .await?;
        metrics::lookup(found.is_some());
        Ok(found)
    }

    async fn put_progress(&self, run: RunId, progress: &Progress) -> Result<(), Error> {
        self.answer(Call::PutProgress, |held, limit| {
            if limit > 0 {
                held.progress.insert(run, *progress);
            }
        })
        .await
    }

    async fn progress(&self, run: RunId) -> Result<Option<Progress>, Error> {
        self.answer(Call::Progress, |held, _| held.progress.get(&run).copied()).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.answer(Call::Check, |_, _| ()).await
    }
}

#[cfg(test)]
mod tests;
