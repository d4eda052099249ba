use std::time::Duration;

use batch::{CustomerId, RunId};
use jiff::Timestamp;
use model::{ContractModels, Currency};

use super::*;
use crate::promises::{Ground, Happening, accounts};
use crate::{Archive, Planning, Reading, Supervision, Values};

/// The store over the promises' base; time passes by tokio's clock, which is paused.
struct Paused(Memory);

impl Ground for Paused {
    type Store = Memory;

    fn store(&self) -> &Memory {
        &self.0
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }

    async fn set_back(&self, time: Duration) {
        self.0.set_back(time);
    }

    async fn happens(&self, Happening { customer, at, .. }: Happening) {
        self.0.happens(customer, at);
    }
}

crate::promise_tests!(tokio::test(start_paused = true), std::future::ready(Paused(memory())));

const START: Timestamp = Timestamp::UNIX_EPOCH;

fn memory() -> Memory {
    Memory::new(accounts(), START)
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_tokio_s_from_the_moment_that_the_store_was_given() {
    let store = memory();

    tokio::time::advance(Duration::from_micros(1_500)).await;

    assert_eq!(store.now().await.unwrap(), Timestamp::from_microsecond(1_500).unwrap());
}

/// What was stored is moved forward instead: to whoever reads it that is the same.
#[tokio::test(start_paused = true)]
async fn a_dead_leader_whose_lease_is_far_after_the_clock_was_set_back_is_said_to_lead_by_nobody() {
    let store = memory();
    let lease = Duration::from_secs(10);
    store.lead("one", lease).await.unwrap().unwrap();
    let living = store.leader().await.unwrap();
    let forward = Duration::from_hours(2);
    if let Some(leads) = &mut store.rows().leadership {
        (leads.expires_at, leads.renewed_at) = (leads.expires_at + forward, leads.renewed_at + forward);
    }

    let dead = (store.leader().await.unwrap(), store.staffing(RunId(1)).await.unwrap().leader);
    store.lead("another", lease).await.unwrap().unwrap();

    assert_eq!((living.as_deref(), dead), (Some("one"), (None, None)));
    assert_eq!(store.leader().await.unwrap().as_deref(), Some("another"));
}

#[tokio::test]
async fn accounts_that_were_folded_for_another_moment_are_not_handed_out() {
    let reading = Reading {
        customers: &[CustomerId(101)],
        run: None,
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
    use batch::{Attempt, AttemptId, ChunkId, ChunkRef, Plan, PlannedChunk, Priority, Verdict};
    use model::{BgNbd, GammaGamma, Models, Parameters, ValueTerms};

    use super::*;
    use crate::promises::as_of;
    use crate::{
        Archive, Attempts, Begin, CommitOutcome, ModelVersions, NewModelVersion, NewRun, Publishing,
        Rejected, ResultRows, Selection, Supervision,
    };

    const LEASE: Duration = Duration::from_secs(20);

    const ROWS: ResultRows = ResultRows { values: Vec::new(), rejections: Vec::new(), transactions: 0 };

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
            limits: None,
        };
        let run = store.create_run(&new).await.unwrap().run;
        let chunk = ChunkRef { run, chunk: ChunkId(1) };
        store.mark_published(run, &[AttemptId { chunk, attempt: Attempt(0) }]).await.unwrap();
        chunk
    }

    async fn begin(store: &Memory, chunk: ChunkRef, is_repeat: bool) -> Result<Begin> {
        store.begin_attempt(chunk, "worker", LEASE, is_repeat).await
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
