//! The rows that histories are read from, which somebody may empty in mid-night.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use batch::{CustomerId, Limits, RunId, RunState};
use model::Rejection;
use store::memory::Memory;
use store::{Archive, History, RunRecord};

use super::rule::Rule;
use super::world::World;

const THERE: &str = "the store itself is never away";

/// The source. A clone is another handle to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    reads: Arc<AtomicU64>,
    /// After so many reads nobody has ever bought anything.
    emptied_after: Option<u64>,
}

impl Source {
    pub(super) fn new(emptied_after: Option<u64>) -> Self {
        Self { reads: Arc::default(), emptied_after }
    }

    /// What a read finds, given what was there when the night began.
    pub(super) fn read(&self, mut histories: Vec<History>) -> Vec<History> {
        let read = self.reads.fetch_add(1, Ordering::Relaxed);
        if self.emptied_after.is_some_and(|last| read >= last) {
            for history in &mut histories {
                (history.account, history.transactions) = (Err(Rejection::NoPurchase), 0);
            }
        }
        histories
    }
}

/// How far a simulated night may lie from the one before: by the rejections alone, whatever the other sums are.
pub(super) fn limits() -> Limits {
    let share = |share: f64| share.try_into().expect("the constants are shares");
    Limits { rejected_rise: share(0.2), change: share(1.0), floor: 3 }
}

/// Whether each run that was ordered with limits is shown, or held, as these say: worked out here from the customers'
/// outcomes, and not asked of whom is checked.
pub(super) async fn guard_is_kept(world: &World, store: &Memory, before: RunId, runs: &[RunRecord]) {
    for run in runs.iter().filter(|run| run.is_whole && run.run != before) {
        let is_held = run.guard.held.is_some();
        if !is_held && run.state != RunState::Finished {
            continue;
        }
        // The values of one that was rejected are gone, its rejections are not.
        if is_beyond(&rejected(store, run.run).await, &rejected(store, before).await, run) != is_held {
            let what = format_args!("run {} is {} beside run {before}: {:?}", run.run, run.state, run.guard);
            world.violation(Rule::Guard, what);
        }
    }
}

fn is_beyond(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>, run: &RunRecord) -> bool {
    // One in five, and more than three: the base is the same in both nights.
    let is_too_many = |now: u64, before: u64| {
        let more = now.saturating_sub(before);
        more > 3 && 5 * more > run.progress.customers
    };
    let usual = |reason| before.get(reason).copied().unwrap_or(0);
    now.iter().any(|(reason, &count)| is_too_many(count, usual(reason)))
        || is_too_many(now.values().sum(), before.values().sum())
}

/// The customers whom a run rejects, by reason; those of dead chunks too, before it is finished and after.
async fn rejected(store: &Memory, run: RunId) -> BTreeMap<String, u64> {
    let dead: BTreeSet<CustomerId> = store.dead_customers(run).await.expect(THERE).into_iter().collect();
    let mut reasons = BTreeMap::from([("dead_chunk".to_owned(), dead.len() as u64)]);
    for (customer, reason) in store.rejected(run).await.expect(THERE) {
        if !dead.contains(&customer) {
            *reasons.entry(reason.to_owned()).or_default() += 1;
        }
    }
    reasons
}
