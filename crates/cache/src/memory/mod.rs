//! The backend in memory, held to the same promises as Redis: for nights without servers.
//!
//! It has no thread, no random source and no clock. Nothing in it expires and nothing goes wrong with it; it is
//! emptied by [`Memory::empty`], and loses single keys by [`Memory::lose`]. Who wants it away wraps the trait, as the simulation does.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use batch::{CustomerId, Progress, RunId};
use tokio::time::Instant;

use crate::members::{self, Held, Page, Pages};
use crate::packed::Bucket;
use crate::{Cache, CachedValue, Error, Holds, Valued, VisibleRuns, metrics};

/// Keeps what may be lost in memory. A clone is the same cache.
#[derive(Clone, Default)]
pub struct Memory {
    kept: Arc<Mutex<Kept>>,
    mutation: Option<Mutation>,
}

/// A promise of the cache, broken on purpose: for those who look whether it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// What is missing under a run is looked for under the next older one, whoever its members are.
    AbsentMeansOlder,
    /// A page that is missing is taken for one that names nobody where it is known how many there are, whatever was lost
    /// before that arrived.
    LateWriteCompletes,
}

/// The name of something that is lost as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The values that a run holds for this customer and his neighbours.
    Values(RunId, CustomerId),
    /// Whose values a run holds.
    Members(RunId),
    /// The visible runs.
    Visible,
    /// How far a run is.
    Progress(RunId),
}

#[derive(Default)]
struct Kept {
    /// Values; none where one was damaged.
    values: BTreeMap<(RunId, Bucket), BTreeMap<CustomerId, Option<CachedValue>>>,
    members: BTreeMap<RunId, Directory>,
    visible: Option<VisibleRuns>,
    progress: BTreeMap<RunId, Progress>,
}

/// Whose values a run holds, as far as it is known.
#[derive(Default)]
struct Directory {
    count: Option<Pages>,
    pages: BTreeMap<u32, Page>,
}

impl Directory {
    fn says(&self, customer: CustomerId, mutation: Option<Mutation>) -> Held {
        let Some(count) = self.count else { return Held::Unknown };
        match self.pages.get(&count.of(Bucket::of(customer).0)) {
            None if mutation == Some(Mutation::LateWriteCompletes) => Held::NoMember,
            None => Held::Unknown,
            Some(page) if page.names(customer) => Held::Unknown,
            Some(_) => Held::NoMember,
        }
    }

    fn is_whole(&self, mutation: Option<Mutation>) -> bool {
        let believes = mutation == Some(Mutation::LateWriteCompletes);
        self.count.is_some_and(|count| believes || self.pages.len() == count.count() as usize)
    }
}

impl Kept {
    /// What is known of a customer under one run.
    fn of(&self, run: RunId, customer: CustomerId, mutation: Option<Mutation>) -> Held {
        let (bucket, _) = Bucket::of(customer);
        let value = self.values.get(&(run, bucket)).and_then(|values| values.get(&customer));
        if let Some(value) = value {
            return value.map_or_else(|| Held::Damaged("it was damaged".into()), Held::Value);
        }
        if mutation == Some(Mutation::AbsentMeansOlder) {
            return Held::NoMember;
        }
        self.members.get(&run).map_or(Held::Unknown, |directory| directory.says(customer, mutation))
    }

    fn holds_all(&self, run: RunId, mutation: Option<Mutation>) -> Holds {
        let directory = self.members.get(&run).filter(|directory| directory.is_whole(mutation));
        let Some(directory) = directory else { return Holds::Less };
        let named = directory.pages.values().flat_map(Page::buckets);
        let held = named.flat_map(|(bucket, slots)| {
            let values = self.values.get(&(run, bucket));
            slots.each().map(move |slot| match values.and_then(|values| values.get(&bucket.customer(slot))) {
                None => Holds::Less,
                Some(None) => Holds::Damaged,
                Some(Some(_)) => Holds::All,
            })
        });
        held.max().unwrap_or(Holds::All)
    }
}

impl Memory {
    /// Makes an empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses everything.
    pub fn empty(&self) {
        *self.lock() = Kept::default();
    }

    /// Breaks a promise from now on.
    #[must_use]
    pub fn with_mutation(self, mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), ..self }
    }

    /// The names of all that it keeps.
    pub fn keys(&self) -> Vec<Key> {
        let kept = self.lock();
        let values = kept.values.iter().filter_map(|((run, _), values)| {
            let (customer, _) = values.first_key_value()?;
            Some(Key::Values(*run, *customer))
        });
        let rest = kept.members.keys().copied().map(Key::Members);
        let rest = rest.chain(kept.progress.keys().copied().map(Key::Progress));
        values.chain(rest).chain(kept.visible.as_ref().map(|_| Key::Visible)).collect()
    }

    /// Loses what stands under one name.
    pub fn lose(&self, key: Key) {
        let mut kept = self.lock();
        match key {
            Key::Values(run, customer) => drop(kept.values.remove(&(run, Bucket::of(customer).0))),
            Key::Members(run) => drop(kept.members.remove(&run)),
            Key::Visible => kept.visible = None,
            Key::Progress(run) => drop(kept.progress.remove(&run)),
        }
    }

    /// Damages a value, so that nobody can read it.
    pub fn damage(&self, run: RunId, customer: CustomerId) {
        self.lock().values.entry((run, Bucket::of(customer).0)).or_default().insert(customer, None);
    }

    /// How many parts [`put_members`](Cache::put_members) has: it forgets what was there, then writes page by page, then how
    /// many there are.
    pub fn parts_of_members(customers: &[CustomerId]) -> usize {
        members::pages(customers).1.len() + 2
    }

    /// Takes a part of what [`put_members`](Cache::put_members) writes, as when the connection is lost under it or what
    /// was sent arrives late.
    pub fn put_a_part_of_members(
        &self,
        run: RunId,
        customers: &[CustomerId],
        parts: impl RangeBounds<usize>,
    ) {
        let (count, pages) = members::pages(customers);
        let (forgetting, counting) = (0, pages.len() + 1);
        let mut kept = self.lock();
        if parts.contains(&forgetting) {
            kept.members.remove(&run);
        }
        for (number, page) in (0..).zip(pages) {
            if parts.contains(&(number as usize + 1)) {
                kept.members.entry(run).or_default().pages.insert(number, page);
            }
        }
        if parts.contains(&counting) {
            kept.members.entry(run).or_default().count = Some(count);
        }
    }

    /// Answers one call of this name.
    async fn answer<T>(&self, call: &'static str, work: impl FnOnce(&mut Kept) -> T) -> Result<T, Error> {
        // Nothing else here waits, and the other tasks of this thread want their turn.
        tokio::task::consume_budget().await;
        let start = Instant::now();
        let result = Ok(work(&mut self.lock()));
        metrics::call(call, &result, start.elapsed());
        result
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.answer("put_values", |kept| {
            for Valued { customer, value } in values {
                let bucket = kept.values.entry((run, Bucket::of(*customer).0)).or_default();
                bucket.insert(*customer, Some(*value));
            }
        })
        .await
    }

    async fn put_members(&self, run: RunId, customers: &[CustomerId]) -> Result<(), Error> {
        self.answer("put_members", |_| ()).await?;
        self.put_a_part_of_members(run, customers, ..);
        Ok(())
    }

    async fn holds_all(&self, run: RunId) -> Result<Holds, Error> {
        self.answer("holds_all", |kept| kept.holds_all(run, self.mutation)).await
    }

    async fn put_visible(&self, visible: &VisibleRuns) -> Result<bool, Error> {
        self.answer("put_visible", |kept| {
            let is_newer = kept.visible.as_ref().is_none_or(|held| held.version < visible.version);
            if is_newer {
                kept.visible = Some(visible.clone());
            }
            is_newer
        })
        .await
    }

    async fn replace_visible(&self, held: &VisibleRuns, with: &VisibleRuns) -> Result<bool, Error> {
        self.answer("replace_visible", |kept| {
            let replaced = kept.visible.as_mut().filter(|visible| *visible == held);
            replaced.map(|visible| visible.clone_from(with)).is_some()
        })
        .await
    }

    async fn visible(&self) -> Result<Option<VisibleRuns>, Error> {
        self.answer("visible", |kept| kept.visible.clone()).await
    }

    async fn value(&self, customer: CustomerId) -> Result<Option<(RunId, CachedValue)>, Error> {
        let (run, held) = self
            .answer("value", |kept| {
                let runs = kept.visible.iter().flat_map(|visible| &visible.runs);
                members::newest(runs.map(|&run| (run, kept.of(run, customer, self.mutation))))
            })
            .await?;
        metrics::lookup(&held);
        let Held::Value(value) = held else { return Ok(None) };
        Ok(run.map(|run| (run, value)))
    }

    async fn put_progress(&self, run: RunId, progress: &Progress) -> Result<(), Error> {
        self.answer("put_progress", |kept| {
            let known = kept.progress.entry(run).or_insert(*progress);
            if !known.is_further_than(progress) {
                *known = *progress;
            }
        })
        .await
    }

    async fn progress(&self, run: RunId) -> Result<Option<Progress>, Error> {
        self.answer("progress", |kept| kept.progress.get(&run).copied()).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.answer("check", |_| ()).await
    }
}

#[cfg(test)]
mod tests;
