use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Waker};
use std::time::Duration;

use batch::{Attempt, ChunkId, ChunkRef, CustomerId, PerPriority, Plan, PlannedChunk, Priority, RunId};
use jiff::Timestamp;
use model::{BgNbd, ContractModels, Currency, GammaGamma, Models, Parameters, ValueTerms};

use super::*;
use crate::contract::{Ground, as_of, base, observation};
use crate::{
    Attempts, Begin, NewModelVersion, NewRun, Planning, Reading, Selection, Standing, Supervision, Values,
};

/// The store over the contract's base; time passes by tokio's clock, which is paused.
struct Paused(Memory);

impl Ground for Paused {
    type Store = Memory;

    fn store(&self) -> &Memory {
        &self.0
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

crate::contract_tests!(tokio::test(start_paused = true), std::future::ready(Paused(memory())));

const START: Timestamp = Timestamp::UNIX_EPOCH;

const LEASE: Duration = Duration::from_secs(20);

fn memory() -> Memory {
    let mut accounts = Accounts::new(observation());
    for known in base() {
        let customer = Customer {
            id: known.id,
            external_id: &known.external_id,
            segment: known.segment,
            acquired_at: known.acquired_at,
        };
        accounts.push(customer, &known.account()).unwrap();
    }
    accounts.shrink_to_fit();
    Memory::new(accounts, START)
}

/// What becomes of the calls, one after the other, and then of all others.
struct Script {
    fates: Mutex<Vec<Fate>>,
    then: Fate,
}

impl Hook for Script {
    fn fate(&self, call: Call, caller: &str) -> Fate {
        assert!(matches!(call, Call::BeginAttempt | Call::WaitUntilAvailable), "{call:?} of {caller}");
        self.fates.lock().unwrap().pop().unwrap_or(self.then)
    }
}

/// A run of one chunk, published, and the same store under a hook that gives the first call this fate.
async fn hooked(first: Fate) -> (Memory, ChunkRef) {
    let store = memory();
    let chunk = published(&store).await;
    // The hook comes late, so that it need not know how a run is made.
    (store.with_hook(Script { fates: Mutex::new(vec![first]), then: Fate::default() }), chunk)
}

async fn published(store: &Memory) -> ChunkRef {
    let new = NewModelVersion {
        currency: Currency::parse("USD").unwrap(),
        models: Models::from(Parameters {
            bg_nbd: BgNbd::new(0.25, 4.5, 0.8, 2.5).unwrap(),
            gamma_gamma: GammaGamma::new(6.25, 3.75, 1_500.0).unwrap(),
        }),
        fit: serde_json::Value::Null,
        data_fingerprint: String::new(),
        code_version: String::new(),
    };
    let model_version = store.save_model_version(&new, None).await.unwrap();
    let new = NewRun {
        night: None,
        selection: Selection::All,
        priority: Priority::Normal,
        as_of: as_of(),
        deadline: Duration::from_mins(30),
        model_version,
        terms: ValueTerms::default(),
        plan: Plan { chunks: vec![PlannedChunk { customers: vec![CustomerId(101)], work: 1.0 }] },
        trace: Vec::new(),
    };
    let run = store.create_run(&new).await.unwrap().run;
    store.mark_published(run, &[(ChunkId(1), Attempt(0))]).await.unwrap();
    ChunkRef { run, chunk: ChunkId(1) }
}

async fn begin(store: &Memory, chunk: ChunkRef, is_repeat: bool) -> Result<Begin> {
    store.begin_attempt(chunk, "worker", LEASE, is_repeat).await
}

/// The number of attempts that the store has counted.
fn counted(store: &Memory, run: RunId) -> usize {
    store.rows().run(run).unwrap().chunks[0].attempts.len()
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_tokio_s_from_the_moment_that_the_store_was_given() {
    let store = memory();

    tokio::time::advance(Duration::from_micros(1_500)).await;

    assert_eq!(store.now().await.unwrap(), Timestamp::from_microsecond(1_500).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_has_not_happened_and_an_unheard_one_has() {
    for (ending, expected) in [(Ending::Lost, 0), (Ending::Broken, 0), (Ending::Unheard, 1)] {
        let (store, chunk) = hooked(Fate { ending, ..Fate::default() }).await;

        let error = begin(&store, chunk, false).await.unwrap_err();

        assert_eq!(error.is_transient(), ending != Ending::Broken, "{error}");
        assert_eq!(counted(&store, chunk.run), expected, "{ending:?}");
        assert!(matches!(begin(&store, chunk, true).await, Ok(Begin::Assigned(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_call_takes_effect_when_it_arrives_and_its_answer_comes_later() {
    let (before, after) = (Duration::from_secs(2), Duration::from_secs(3));
    let (store, chunk) = hooked(Fate { before, after, ..Fate::default() }).await;

    let begun = begin(&store, chunk, false).await.unwrap();

    let Begin::Assigned(assignment) = begun else { panic!("{begun:?}") };
    assert_eq!(store.clock(), Timestamp::from_second(5).unwrap());
    let row = &store.rows().run(chunk.run).unwrap().chunks[0].attempts[0].clone();
    assert_eq!((row.attempt, row.began_at), (assignment.attempt.attempt, Timestamp::from_second(2).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_has_taken_effect_or_not() {
    for (before, after, expected) in [(LEASE, Duration::ZERO, 0), (Duration::ZERO, LEASE, 1)] {
        let (store, chunk) = hooked(Fate { before, after, ..Fate::default() }).await;

        {
            let mut begin = pin!(begin(&store, chunk, false));
            assert!(begin.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }

        assert_eq!(counted(&store, chunk.run), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_is_away_for_as_long_as_the_hook_says_so() {
    let (store, _) = hooked(Fate { ending: Ending::Lost, ..Fate::default() }).await;

    store.wait_until_available().await;

    assert_eq!(store.clock(), Timestamp::from_second(1).unwrap());
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_store_has_been_well_since_then_and_has_lost_nothing() {
    let store = memory();
    let chunk = published(&store).await;
    let Begin::Assigned(assignment) = begin(&store, chunk, false).await.unwrap() else {
        panic!("it is free")
    };
    tokio::time::advance(LEASE).await;

    store.restart();

    let snapshot = store.snapshot(PerPriority::default()).await.unwrap();
    assert_eq!((snapshot.store_well_since, snapshot.taken_at), (store.clock(), store.clock()));
    assert_eq!(store.resume_attempt(assignment.attempt, LEASE).await.unwrap(), Standing::Held);
}

#[tokio::test]
async fn accounts_that_were_folded_for_another_moment_are_not_handed_out() {
    let reading = Reading {
        customers: &[CustomerId(101)],
        is_whole: true,
        as_of: START,
        currency: Currency::parse("USD").unwrap(),
        contracts: &ContractModels::default(),
    };

    let error = memory().read_histories(&reading).await.unwrap_err();

    assert!(!error.is_transient(), "{error}");
}

/// What becomes of two attempts at one chunk of which the first is late, under a broken rule.
#[cfg(feature = "faults")]
mod broken {
    use batch::{AttemptId, Verdict};

    use super::*;
    use crate::{CommitOutcome, Rejected, ResultRows};

    const ROWS: ResultRows = ResultRows { values: Vec::new(), rejections: Vec::new() };

    /// The late attempt and the latest.
    async fn late(mutation: Option<Mutation>) -> (Memory, AttemptId, AttemptId) {
        let store = memory();
        let store = match mutation {
            Some(mutation) => store.with_mutation(mutation),
            None => store,
        };
        let chunk = published(&store).await;
        let late = attempt(begin(&store, chunk, false).await);
        let latest = attempt(begin(&store, chunk, true).await);
        (store, late, latest)
    }

    fn attempt(begin: Result<Begin>) -> AttemptId {
        let Ok(Begin::Assigned(assignment)) = begin else { panic!("the chunk is free: {begin:?}") };
        assignment.attempt
    }

    fn rejected(customer: i64) -> ResultRows {
        let reason = model::Rejection::NoPurchase;
        ResultRows { rejections: vec![Rejected { customer: CustomerId(customer), reason }], ..ROWS }
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_fence_a_late_attempt_commits() {
        let (right, late_there, _) = late(None).await;
        let (wrong, late_here, _) = late(Some(Mutation::WithoutFence)).await;

        let there = right.commit_attempt(late_there, &rejected(101)).await.unwrap();
        let here = wrong.commit_attempt(late_here, &rejected(101)).await.unwrap();

        assert_eq!((there, here), (CommitOutcome::Refused, CommitOutcome::Committed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_counter_counts_a_commit_that_was_refused() {
        let (store, late, latest) = late(Some(Mutation::CountedProgress)).await;

        store.commit_attempt(late, &rejected(101)).await.unwrap();
        store.commit_attempt(latest, &rejected(101)).await.unwrap();

        let progress = store.run(latest.chunk.run).await.unwrap().unwrap().progress;
        assert_eq!((progress.done, progress.rejections), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn by_its_worker_s_clock_a_lease_is_over_while_it_is_held() {
        let behind = Mutation::WorkersClocks(Box::new(|_| -30_000_000));
        let (store, _, latest) = late(Some(behind)).await;
        let term = store.lead("coordinator", LEASE).await.unwrap().unwrap();

        let rescued = store.rescue(term, latest, Verdict::RetryAt(START)).await.unwrap();

        assert!(rescued);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_nobody_counts_share_a_number() {
        let (_, late, latest) = late(Some(Mutation::ClaimedAttempts)).await;

        assert_eq!(late, latest);
    }
}
