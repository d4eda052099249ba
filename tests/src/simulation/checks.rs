//! What must hold: meanwhile, and at the end of every night.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use batch::{ChunkRef, ChunkState, CustomerId, Outcome, Priority, Progress, RetryPolicy, RunId, RunState};
use queue::{Chunks as _, DeadLetters as _, Memory as Queues};
use store::memory::Memory;
use store::{Archive, Supervision};
use tokio::time::sleep;

use super::base::Ordered;
use super::process::Process;
use super::readers::{Readers, is_behind};
use super::rule::Rule;
use super::source;
use super::world::World;

/// A run, and what it was ordered for.
pub(super) struct Expected {
    pub(super) run: RunId,
    pub(super) ordered: Arc<Ordered>,
    /// A customer whose chunk can never be done.
    pub(super) poison: Option<CustomerId>,
    /// Whether somebody may empty the source meanwhile.
    pub(super) may_be_emptied: bool,
}

/// Whether a message may be acknowledged: not while it is the only one that its process holds for a chunk that this
/// very process is at work on. If the process died then, nothing on the queue would tell of the chunk.
pub(super) async fn ack(store: &Memory, process: &Process, chunk: ChunkRef) -> Option<String> {
    let attempts = store.attempts(chunk.run).await.expect("the store itself is never away");
    let last = attempts.iter().rfind(|(attempt, _)| attempt.chunk == chunk);
    let is_at_work = last.is_some_and(|(_, last)| last.outcome.is_none() && last.worker == process.name());
    (is_at_work && !process.holds(chunk))
        .then(|| format!("{} acknowledged {chunk} while it was at work on it", process.name()))
}

/// How many attempts at these runs have no outcome.
pub(super) async fn open_attempts(store: &Memory, runs: impl Iterator<Item = RunId>) -> usize {
    let mut open = 0;
    for run in runs {
        let attempts = store.attempts(run).await.expect("the store itself is never away");
        open += attempts.iter().filter(|(_, attempt)| attempt.outcome.is_none()).count();
    }
    open
}

/// Watches the night: what is shown of its progress is what is committed, and never goes back; and what readers see.
pub(super) async fn watch(world: World, store: Memory, mut readers: Readers, before: RunId) {
    let mut shown: BTreeMap<RunId, Progress> = BTreeMap::new();
    let mut ticks = 0_u64;
    loop {
        sleep(Duration::from_millis(250)).await;
        world.hear_panics();
        let snapshot = store.snapshot().await.expect("the store itself is never away");
        for run in &snapshot.runs {
            let before = shown.insert(run.run, run.progress).unwrap_or_default();
            progress_is_exact(&world, &store, run.run, &run.progress).await;
            if is_behind(&run.progress, &before) {
                world.violation(
                    Rule::Progress,
                    format_args!("run {}: progress went from {before:?} to {:?}", run.run, run.progress),
                );
            }
        }
        ticks += 1;
        // What is visible changes less often.
        if ticks.is_multiple_of(2) {
            readers.look().await;
            let runs = store.runs(u32::MAX).await.expect("the store itself is never away");
            source::guard_is_kept(&world, &store, before, &runs).await;
        }
    }
}

/// Whether what is shown of a run is the sum of what is committed.
async fn progress_is_exact(world: &World, store: &Memory, run: RunId, shown: &Progress) {
    let (valued, rejected) = store.settled_customers(run).await.expect("the store itself is never away");
    let chunks = store.chunks(run).await.expect("the store itself is never away");
    let in_state = |state| chunks.iter().filter(|(_, found, _)| *found == state).count() as u64;
    let committed =
        (in_state(ChunkState::Done), in_state(ChunkState::Dead), valued.len() as u64, rejected.len() as u64);
    let told = (shown.done, shown.dead, shown.values, shown.rejections);
    if committed != told {
        world.violation(
            Rule::Progress,
            format_args!("run {run}: {committed:?} is committed, {told:?} is shown"),
        );
    }
}

/// Checks everything that must hold when a night is over.
pub(super) async fn at_the_end(world: &World, store: &Memory, queues: &Queues, expected: &[Expected]) {
    for expected in expected {
        values_are_exact(world, store, expected).await;
        chunks_are_settled(world, store, expected).await;
    }
    nothing_waits(world, queues).await;
}

/// Each customer has exactly one value, to the bit, or one rejection; only those of dead chunks have another one than
/// an undisturbed valuation gives.
pub(super) async fn values_are_exact(world: &World, store: &Memory, expected: &Expected) {
    let run = expected.run;
    let record = store.run(run).await.expect("the store itself is never away").expect("the run is there");
    if !record.state.is_over() || record.state == RunState::Rejected {
        return; // It was said already that the night is not over; of one that was rejected the values are gone.
    }
    progress_is_exact(world, store, run, &record.progress).await;
    let dead: BTreeSet<CustomerId> =
        store.dead_customers(run).await.expect("the store itself is never away").into_iter().collect();
    let values = store.values_after(run, None, u32::MAX).await.expect("the store itself is never away");
    let (_, rejections) = store.settled_customers(run).await.expect("the store itself is never away");

    let mut found: BTreeMap<CustomerId, Vec<String>> = BTreeMap::new();
    for valued in &values {
        found.entry(valued.customer).or_default().push(format!("{:?}", valued.value));
    }
    for (customer, _, reason) in &rejections {
        found.entry(*customer).or_default().push((*reason).into());
    }
    for (customer, outcome) in &expected.ordered.customers {
        let told = match outcome {
            _ if dead.contains(customer) => "dead_chunk".to_owned(),
            Ok(value) => format!("{value:?}"),
            Err(rejection) => rejection.code().to_owned(),
        };
        let found = found.remove(customer).unwrap_or_default();
        let is_emptied = expected.may_be_emptied && found == ["no_purchase"];
        if found != [told.clone()] && !is_emptied {
            world.violation(
                Rule::OneOutcome,
                format_args!("run {run}: customer {customer} has not exactly {told}"),
            );
        }
    }
    if let Some((customer, outcomes)) = found.first_key_value() {
        world.violation(
            Rule::OneOutcome,
            format_args!("run {run}: customer {customer} was not planned and has {outcomes:?}"),
        );
    }
}

/// Every chunk is done, or dead with a reason that the night has given it.
async fn chunks_are_settled(world: &World, store: &Memory, expected: &Expected) {
    let run = expected.run;
    for (chunk, state, customers) in store.chunks(run).await.expect("the store itself is never away") {
        if !state.is_settled() {
            world.violation(Rule::End, format_args!("run {run}: chunk {chunk} is {state}"));
        }
        let is_poisoned = expected.poison.is_some_and(|poison| customers.contains(&poison));
        if state == ChunkState::Done && is_poisoned && expected.is_valued_poison() {
            world.violation(Rule::OneOutcome, format_args!("run {run}: chunk {chunk} cannot be done"));
        }
    }
    for dead in store.dead_chunks(u32::MAX).await.expect("the store itself is never away") {
        if dead.reason.is_none() {
            world.violation(Rule::Charge, format_args!("{} is dead without a reason", dead.chunk));
        }
    }
    attempts_are_told(world, store, expected).await;
}

/// The store tells of each attempt what the ledger does; and a chunk is charged only for what is its own fault or that of
/// a worker that never came back, and as often as the policy says before it is dead.
async fn attempts_are_told(world: &World, store: &Memory, expected: &Expected) {
    let run = expected.run;
    let attempts = store.attempts(run).await.expect("the store itself is never away");
    for (chunk, state, customers) in store.chunks(run).await.expect("the store itself is never away") {
        let chunk = ChunkRef { run, chunk };
        let told = attempts.iter().filter(|(attempt, _)| attempt.chunk == chunk);
        let told: Vec<_> = told.map(|(id, record)| (id.attempt, &record.worker, record.outcome)).collect();
        let story = world.ledger(|ledger| ledger.story(chunk));
        let seen: Vec<_> =
            story.iter().map(|entry| (entry.attempt, &entry.worker, entry.outcome())).collect();
        if told != seen {
            let what = format_args!("{chunk}: its attempts went as {seen:?} and are told as {told:?}");
            world.violation(Rule::Charge, what);
        }
        if seen.iter().any(|(.., outcome)| outcome.is_none()) {
            world.violation(Rule::End, format_args!("{chunk}: an attempt has no outcome: {seen:?}"));
        }
        let is_poisoned = expected.poison.is_some_and(|poison| customers.contains(&poison));
        for entry in &story {
            let is_charged_wrongly = match entry.outcome() {
                Some(Outcome::Lost) => !world.may_stay_lost(entry),
                Some(Outcome::Failed) => !is_poisoned,
                _ => false,
            };
            if is_charged_wrongly {
                world.violation(Rule::Charge, format_args!("{chunk} is charged for {entry:?}"));
            }
        }
        // When it died: a worker may come back later.
        let charges = story.last().map_or(0, |last| last.charges);
        if (state == ChunkState::Dead) != (charges == RetryPolicy::default().max_failures) {
            world.violation(
                Rule::Charge,
                format_args!("{chunk} is {state} after {charges} charges: {seen:?}"),
            );
        }
    }
}

impl Expected {
    /// Whether the poisoned customer gets as far as the mathematics: everybody does, rejected histories too.
    fn is_valued_poison(&self) -> bool {
        self.poison.is_some_and(|poison| self.ordered.customers.contains_key(&poison))
    }
}

async fn nothing_waits(world: &World, queues: &Queues) {
    let waiting = queues.waiting().await;
    for priority in Priority::ALL {
        if waiting[priority] != Some(0) {
            world.violation(Rule::End, format_args!("{:?} messages wait on {priority}", waiting[priority]));
        }
    }
    let dead = queues.dead_letters(usize::MAX).await.unwrap_or_default();
    // The broker puts a message there that came back too often, whoever was to blame.
    if let Some(letter) =
        dead.iter().find(|letter| letter.message.is_ok() && letter.reason != "delivery_limit")
    {
        world.violation(
            Rule::End,
            format_args!("a message that makes sense is among the dead letters: {letter}"),
        );
    }
}
