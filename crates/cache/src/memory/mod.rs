//! The backend in memory, held to the same promises as Redis: for nights without servers.
//!
//! It has no thread, no random source and no clock. Nothing in it expires and nothing goes wrong with it; it is
//! emptied by [`Memory::empty`]. Who wants it away wraps the trait, as the simulation does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use batch::{CustomerId, Progress, RunId};
use tokio::time::Instant;

use crate::{Cache, CachedValue, Error, Valued, VisibleRuns, metrics};

/// Keeps what may be lost in memory. A clone is the same cache.
#[derive(Clone, Default)]
pub struct Memory {
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    values: BTreeMap<RunId, BTreeMap<CustomerId, CachedValue>>,
    visible: Option<VisibleRuns>,
    progress: BTreeMap<RunId, Progress>,
}

impl Memory {
    /// Makes an empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses everything.
    pub fn empty(&self) {
        *self.lock() = Held::default();
    }

    /// Answers one call of this name.
    async fn answer<T>(&self, call: &'static str, work: impl FnOnce(&mut Held) -> T) -> Result<T, Error> {
        // Nothing else here waits, and the other tasks of this thread want their turn.
        tokio::task::consume_budget().await;
        let start = Instant::now();
        let result = Ok(work(&mut self.lock()));
        metrics::call(call, &result, start.elapsed());
        result
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.answer("put_values", |held| {
            let arriving = values.iter().map(|valued| (valued.customer, valued.value));
            held.values.entry(run).or_default().extend(arriving);
        })
        .await
    }

    async fn put_visible(&self, visible: &VisibleRuns) -> Result<bool, Error> {
        self.answer("put_visible", |held| {
            let is_newer = held.visible.as_ref().is_none_or(|held| held.version < visible.version);
            if is_newer {
                held.visible = Some(visible.clone());
            }
            is_newer
        })
        .await
    }

    async fn forget_visible(&self, held: &VisibleRuns) -> Result<bool, Error> {
        self.answer("forget_visible", |kept| kept.visible.take_if(|visible| visible == held).is_some()).await
    }

    async fn visible(&self) -> Result<Option<VisibleRuns>, Error> {
        self.answer("visible", |held| held.visible.clone()).await
    }

    async fn value(&self, customer: CustomerId) -> Result<Option<(RunId, CachedValue)>, Error> {
        let found = self
            .answer("value", |held| {
                let in_run = |run: &RunId| Some((*run, *held.values.get(run)?.get(&customer)?));
                held.visible.as_ref()?.runs.iter().find_map(in_run)
            })
            .await?;
        metrics::lookup(found.is_some());
        Ok(found)
    }

    async fn put_progress(&self, run: RunId, progress: &Progress) -> Result<(), Error> {
        self.answer("put_progress", |held| {
            let known = held.progress.entry(run).or_insert(*progress);
            if !known.is_further_than(progress) {
                *known = *progress;
            }
        })
        .await
    }

    async fn progress(&self, run: RunId) -> Result<Option<Progress>, Error> {
        self.answer("progress", |held| held.progress.get(&run).copied()).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.answer("check", |_| ()).await
    }
}

#[cfg(test)]
mod tests;
