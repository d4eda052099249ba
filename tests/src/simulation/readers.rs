//! What readers may see, and what they must see when all is calm again.
//!
//! **The rule**, worked out here from the runs' moments and states and not asked of whom is checked: a finished run is
//! visible unless a finished run over everybody comes after it, by its moment `as_of`, then by its number; the newest
//! stands first. A reader of the cache sees the value of the newest visible run that holds one for his customer, or is
//! sent to the store. He never sees another one, however much the cache has lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use batch::{CustomerId, Outcome as Ending, Progress, RunId, RunState};
use cache::{Cache, CachedValue};
use jiff::Timestamp;
use store::memory::Memory;
use store::{Archive, RunRecord, Supervision, VisibleRuns};

use super::base::Ordered;
use super::remote_cache::FOREIGN_RUN;
use super::rule::Rule;
use super::world::World;

const THERE: &str = "the store itself is never away";

/// Looks at what readers see, again and again.
pub(super) struct Readers {
    world: World,
    store: Memory,
    cache: cache::Memory,
    orders: Vec<Arc<Ordered>>,
    /// Whose values are looked at in mid-night.
    customers: Vec<CustomerId>,
    /// The customers for whom each finished run holds a value: nothing about that changes any more.
    held: BTreeMap<RunId, BTreeSet<CustomerId>>,
    /// What the store showed in each version that was seen.
    shown: BTreeMap<i64, Vec<RunId>>,
    /// The version that the cache named last, and the run whose value each customer's reader saw last; like all that
    /// follows since it was last emptied.
    told: i64,
    seen: BTreeMap<CustomerId, (Timestamp, RunId)>,
    /// How far each run was as the cache told last.
    progress: BTreeMap<RunId, Progress>,
    flushes: u64,
}

impl Readers {
    pub(super) fn new(
        world: World,
        store: Memory,
        cache: cache::Memory,
        orders: Vec<Arc<Ordered>>,
        customers: Vec<CustomerId>,
    ) -> Self {
        let (held, shown, seen) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let progress = BTreeMap::new();
        Self { world, store, cache, orders, customers, held, shown, told: 0, seen, progress, flushes: 0 }
    }

    /// Looks once, in mid-night.
    pub(super) async fn look(&mut self) {
        let (runs, visible) = self.visible().await;
        if self.flushes != self.world.flushes() {
            self.flushes = self.world.flushes();
            (self.told, self.seen, self.progress) = (0, BTreeMap::new(), BTreeMap::new());
        }
        let told = self.cache.visible().await.expect("the cache itself is never away");
        // One of another past is cleared at the coordinator's next look; until then its readers are sent to the store, and
        // afterwards, while nothing is named.
        let names_ours =
            |told: &cache::VisibleRuns| !told.runs.is_empty() && !told.runs.contains(&FOREIGN_RUN);
        if let Some(told) = told.filter(names_ours) {
            let is_as_shown = self.shown.get(&told.version).is_none_or(|shown| *shown == told.runs);
            if told.version > visible.version || told.version < self.told || !is_as_shown {
                let what = format_args!(
                    "readers know {told:?} after version {}, and visible are {visible:?}",
                    self.told
                );
                self.world.violation(Rule::Readers, what);
            }
            self.told = told.version;
        }
        for &run in runs.keys() {
            self.read_progress(run).await;
        }
        for customer in self.customers.clone() {
            self.read(customer, &runs).await;
        }
    }

    /// The runs, and those that are visible, which must be the right ones.
    async fn visible(&mut self) -> (BTreeMap<RunId, RunRecord>, VisibleRuns) {
        let (runs, visible) = loop {
            let before = self.store.runs(u32::MAX).await.expect(THERE);
            let visible = self.store.visible_runs().await.expect(THERE);
            // Nothing may have been finished between the two.
            if before == self.store.runs(u32::MAX).await.expect(THERE) {
                break (before, visible);
            }
        };
        let right = right(&runs);
        let last = self.shown.last_key_value();
        // Each run that is finished makes a version of its own, and nothing else does.
        let is_right_version = match last {
            Some((version, shown)) if *shown == right => visible.version >= *version,
            Some((version, _)) => visible.version > *version,
            None => true,
        };
        if visible.runs != right || !is_right_version {
            let what = format_args!("{right:?} should be visible after {last:?}, and {visible:?} are");
            self.world.violation(Rule::Readers, what);
        }
        self.shown.insert(visible.version, right);
        (runs.into_iter().map(|run| (run.run, run)).collect(), visible)
    }

    /// Reads how far a run is: no further than it is, and no less far than it was told before.
    async fn read_progress(&mut self, run: RunId) {
        let told = self.cache.progress(run).await.expect("the cache itself is never away");
        let Some(told) = told else { return };
        let before = self.progress.insert(run, told).unwrap_or_default();
        let true_one = self.store.run(run).await.expect(THERE).expect("a run does not go away").progress;
        if is_behind(&told, &before) || is_behind(&true_one, &told) {
            let what =
                format_args!("run {run}: readers are told {told:?} after {before:?}, and it is {true_one:?}");
            self.world.violation(Rule::Progress, what);
        }
    }

    /// Reads a customer's value: one of a finished run, as it was ordered, and not older than the one seen before.
    async fn read(&mut self, customer: CustomerId, runs: &BTreeMap<RunId, RunRecord>) {
        let read = self.cache.value(customer).await.expect("the cache itself is never away");
        let Some((run, value)) = read else { return };
        let record = &runs[&run];
        let rank = (record.as_of, run);
        let is_back = self.seen.insert(customer, rank).is_some_and(|seen| seen > rank);
        if is_back || record.state != RunState::Finished || self.ordered(record, customer) != Some(value) {
            let what =
                format_args!("a reader of customer {customer} sees run {run}, {}: {value:?}", record.state);
            self.world.violation(Rule::Readers, what);
        }
        // Behind a run that the cache names, an older one must not show through.
        let named = self.cache.visible().await.expect("the cache itself is never away");
        for newer in named.into_iter().flat_map(|named| named.runs).take_while(|named| *named != run) {
            if self.holds(newer, customer).await {
                let what = format_args!("a reader of customer {customer} sees run {run} behind run {newer}");
                self.world.violation(Rule::Readers, what);
            }
        }
    }

    /// Looks when all has been calm for long: the cache names what the store shows, and holds it.
    pub(super) async fn look_at_the_end(&mut self) {
        self.look().await;
        let (runs, visible) = self.visible().await;
        let told = self.cache.visible().await.expect("the cache itself is never away");
        let right = cache::VisibleRuns { version: visible.version, runs: visible.runs.clone() };
        if told.as_ref() != Some(&right) {
            self.world
                .violation(Rule::Readers, format_args!("readers know {told:?}, and visible are {visible:?}"));
        }
        let everybody: BTreeSet<CustomerId> =
            self.orders.iter().flat_map(|ordered| ordered.customers.keys().copied()).collect();
        for customer in everybody {
            let mut newest = None;
            for run in visible.runs.iter().map(|run| &runs[run]) {
                if newest.is_none() && self.holds(run.run, customer).await {
                    newest = Some(run);
                }
            }
            let right = newest.and_then(|run| Some((run.run, self.ordered(run, customer)?)));
            let read = self.cache.value(customer).await.expect("the cache itself is never away");
            // A partial run's values are written again until they are there; a whole one's once, as well as it goes.
            let may_lack = newest.is_none_or(|run| run.is_whole);
            if read != right && !(read.is_none() && may_lack && self.is_excused(newest, customer).await) {
                let what = format_args!("a reader of customer {customer} sees {read:?} and not {right:?}");
                self.world.violation(Rule::Readers, what);
            }
        }
    }

    /// Whether a run that is finished holds a value for a customer.
    async fn holds(&mut self, run: RunId, customer: CustomerId) -> bool {
        if !self.held.contains_key(&run) {
            let values = self.store.values_after(run, None, u32::MAX).await.expect(THERE);
            self.held.insert(run, values.into_iter().map(|valued| valued.customer).collect());
        }
        self.held[&run].contains(&customer)
    }

    /// Whether a whole run's value may be missing in the cache: it was emptied since the commit, or whoever committed it
    /// died, drained, or was not answered by the cache.
    async fn is_excused(&self, run: Option<&RunRecord>, customer: CustomerId) -> bool {
        let Some(run) = run else { return true };
        let chunks = self.store.chunks(run.run).await.expect(THERE);
        let chunk = chunks.iter().find(|(.., customers)| customers.contains(&customer));
        let chunk = chunk.map(|(chunk, ..)| batch::ChunkRef { run: run.run, chunk: *chunk });
        let story = chunk.map(|chunk| self.world.ledger(|ledger| ledger.story(chunk))).unwrap_or_default();
        let done = story.iter().find(|entry| entry.end == Some(Ending::Done));
        done.is_none_or(|done| self.world.may_not_be_cached(done, run.run))
    }

    /// What an undisturbed valuation says about a customer of a run.
    fn ordered(&self, run: &RunRecord, customer: CustomerId) -> Option<CachedValue> {
        let is_it = |ordered: &&Arc<Ordered>| ordered.as_of == run.as_of && ordered.is_whole == run.is_whole;
        let outcome = self.orders.iter().find(is_it)?.customers.get(&customer)?;
        outcome.as_ref().ok().map(CachedValue::from)
    }
}

/// The runs that should be visible.
fn right(runs: &[RunRecord]) -> Vec<RunId> {
    let finished = || runs.iter().filter(|run| run.state == RunState::Finished);
    let rank = |run: &RunRecord| (run.as_of, run.run);
    let last_whole = finished().filter(|run| run.is_whole).map(rank).max();
    let mut visible: Vec<_> = finished().map(rank).filter(|&rank| Some(rank) >= last_whole).collect();
    visible.sort_unstable();
    visible.into_iter().rev().map(|(_, run)| run).collect()
}

/// Whether one is less far than the other was.
pub(super) fn is_behind(now: &Progress, before: &Progress) -> bool {
    now.done < before.done || now.values < before.values || now.rejections < before.rejections
}
