//! What the tests of the suite have in common: the steps of a night, and what is put in and expected.

use std::time::Duration;

use batch::{
    Attempt, AttemptId, ChunkId, ChunkRef, CustomerId, Outcome, Plan, PlannedChunk, Priority, RetryPolicy,
    RunId,
};
use model::{Between, BgNbd, Confidence, GammaGamma, Grade, Horizons, Models, Parameters, Value, ValueTerms};

use super::Ground;
use super::base::{as_of, base, currency};
use crate::{
    Archive, Assignment, Attempts, Begin, CommitOutcome, Error, ModelVersionId, ModelVersions,
    NewModelVersion, NewRun, Planning, Publishing, Rejected, Result, ResultRows, Selection, Supervision,
    Term, Valued, Values,
};

pub(super) const LEASE: Duration = Duration::from_secs(20);

/// The first customers of the three chunks and their last; he who came later is in none.
pub(super) const CHUNKS: [[i64; 2]; 3] = [[101, 104], [105, 108], [109, 111]];

pub(super) fn terms() -> ValueTerms {
    ValueTerms::new(0.1, 0.25, 0.0, 1.0).expect("all are shares")
}

/// Models that nobody has fitted.
pub fn models() -> NewModelVersion {
    let purchases = Parameters {
        bg_nbd: BgNbd::new(0.25, 4.5, 0.8, 2.5).expect("all are positive"),
        gamma_gamma: GammaGamma::new(6.25, 3.75, 1_500.0).expect("all are positive"),
    };
    NewModelVersion {
        currency: currency(),
        models: Models::from(purchases),
        fit: serde_json::json!({ "by": "hand" }),
        data_fingerprint: "the fingerprint of 12 customers".into(),
        code_version: "the promises".into(),
    }
}

pub(super) fn policy() -> RetryPolicy {
    RetryPolicy { max_failures: 2, ..RetryPolicy::default() }
}

/// What a call answers; the suite has no use for a store that does not.
#[track_caller]
pub(super) fn ok<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("the store answers: {error}"))
}

/// What a call that must fail says.
#[track_caller]
pub(super) fn refusal<T>(result: Result<T>) -> Error {
    let error = result.err().expect("the store refuses");
    assert!(!error.is_transient(), "{error}");
    error
}

pub(super) fn customers(ends: [i64; 2]) -> Vec<CustomerId> {
    (ends[0]..=ends[1]).map(CustomerId).collect()
}

/// A run over some of the chunks, or all of them, as it is to be recorded.
pub(super) fn run_over(night: Option<&str>, chunks: &[[i64; 2]], model_version: ModelVersionId) -> NewRun {
    let plan = chunks
        .iter()
        .map(|&ends| PlannedChunk { customers: customers(ends), work: (ends[1] - ends[0] + 1) as f64 });
    let selection = if chunks == CHUNKS {
        Selection::All
    } else {
        Selection::Customers(chunks.iter().flat_map(|&ends| customers(ends)).collect())
    };
    NewRun {
        night: night.map(str::to_owned),
        selection,
        priority: Priority::High,
        as_of: as_of(),
        deadline: Duration::from_mins(30),
        model_version,
        terms: terms(),
        plan: Plan { chunks: plan.collect() },
        trace: vec![("traceparent".into(), "00-1-2-01".into())],
        limits: None,
    }
}

/// A run with nothing published.
pub(super) async fn planned<G: Ground>(ground: &G) -> RunId {
    let version = ok(ground.store().save_model_version(&models(), None).await);
    ok(ground.store().create_run(&run_over(Some("tonight"), &CHUNKS, version)).await).run
}

/// A settled run that can never be finished: two of its chunks hold the same customer, who has two values.
pub async fn with_a_customer_twice<G: Ground>(ground: &G) -> RunId {
    let version = ok(ground.store().save_model_version(&models(), None).await);
    let new = run_over(None, &[[101, 102], [102, 102]], version);
    let run = ok(ground.store().create_run(&new).await).run;
    done(ground, chunk(run, 1)).await;
    done(ground, chunk(run, 2)).await;
    run
}

/// A run over a part of the customers, in one chunk.
pub async fn part<G: Ground>(ground: &G) -> RunId {
    let version = ok(ground.store().save_model_version(&models(), None).await);
    ok(ground.store().create_run(&run_over(None, &CHUNKS[..1], version)).await).run
}

/// A run with everything published.
pub async fn published<G: Ground>(ground: &G) -> RunId {
    let run = planned(ground).await;
    let chunks = [1, 2, 3].map(|number| AttemptId { chunk: chunk(run, number), attempt: Attempt(0) });
    ok(ground.store().mark_published(run, &chunks).await);
    run
}

/// A chunk of a run.
pub fn chunk(run: RunId, chunk: i32) -> ChunkRef {
    ChunkRef { run, chunk: ChunkId(chunk) }
}

/// Begins an attempt that there is to begin.
pub(super) async fn begun<G: Ground>(ground: &G, chunk: ChunkRef, worker: &str) -> Assignment {
    match ok(ground.store().begin_attempt(chunk, worker, LEASE, false).await) {
        Begin::Assigned(assignment) => *assignment,
        other => panic!("{chunk} is there to be begun, and not {other:?}"),
    }
}

/// What an attempt at these customers commits: a value or a rejection for each.
pub fn results(customers: &[CustomerId]) -> ResultRows {
    let known = base();
    let mut rows = ResultRows::default();
    for &customer in customers {
        let known = known.iter().find(|known| known.id == customer).expect("he is in the base");
        match known.account() {
            Ok(account) => rows.values.push(Valued { customer, value: value(customer), account }),
            Err(reason) => rows.rejections.push(Rejected { customer, reason }),
        }
        rows.transactions += 2;
    }
    rows
}

/// A value that no model has thought of, with something in every place.
pub(super) fn value(customer: CustomerId) -> Value {
    let id = customer.0;
    let is_even = id % 2 == 0;
    Value {
        historic_minor: 25 * id,
        purchases: Horizons {
            months_12: id,
            months_24: 2 * id,
            months_36: 3 * id,
            for_ever: is_even.then_some(4 * id),
        },
        contracts: Horizons { months_12: 7, months_24: 8, months_36: 9, for_ever: Some(10) },
        expected_purchases: id as f64 / 7.0,
        p_alive: Some(1.0 / id as f64),
        intervals: is_even.then_some([
            Between { lower_minor: id - 1, upper_minor: id + 1 },
            Between { lower_minor: id - 2, upper_minor: id + 2 },
        ]),
        confidence: Confidence {
            grade: if is_even { Grade::B } else { Grade::D },
            own_rate: id as f32 / 113.0,
            own_spend: 0.0,
            relative_width: is_even.then_some(0.7),
        },
        payback: None,
    }
}

/// Does a chunk from begin to commit.
pub async fn done<G: Ground>(ground: &G, chunk: ChunkRef) -> Assignment {
    let assignment = begun(ground, chunk, "worker").await;
    let rows = results(&assignment.customers);
    let outcome = ok(ground.store().commit_attempt(assignment.attempt, &rows).await);
    assert_eq!(outcome, CommitOutcome::Committed, "{chunk}");
    assignment
}

/// Fails a chunk until it is dead.
pub async fn dead<G: Ground>(ground: &G, chunk: ChunkRef) {
    for _ in 0..policy().max_failures {
        let assignment = begun(ground, chunk, "worker").await;
        ok(ground.store().fail_attempt(assignment.attempt, "it is bad", &policy()).await);
        ground.pass(policy().max_delay).await;
    }
}

/// Takes the leadership.
pub(super) async fn leading<G: Ground>(ground: &G) -> Term {
    ok(ground.store().lead("coordinator", Duration::from_hours(1)).await).expect("nobody else leads")
}

/// Chunk, attempt and outcome of the attempts that did not simply succeed at once.
pub(super) async fn story<G: Ground>(ground: &G, run: RunId) -> Vec<(i32, i32, Option<Outcome>)> {
    let attempts = ok(ground.store().troubled_attempts(run, 100).await);
    let told = attempts.into_iter().map(|(id, record)| {
        assert_eq!(id.attempt, record.attempt);
        (id.chunk.chunk.0, id.attempt.0, record.outcome)
    });
    told.collect()
}
