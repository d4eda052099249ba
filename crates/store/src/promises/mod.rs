//! What every backend of the store promises, as a suite that each of them passes.
//!
//! What is not tested here is not promised. A test is a function over a [`Ground`]: a fresh store over the customers
//! of [`base`], and a way to let time pass. [`promise_tests!`](crate::promise_tests) makes a test of each.

mod archive;
mod attempts;
mod planning;
mod publishing;
mod supervision;
mod values;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use batch::{
    Attempt, AttemptId, ChunkId, ChunkRef, CustomerId, Outcome, Plan, PlannedChunk, Priority, RetryPolicy,
    RunId,
};
use jiff::Timestamp;
use model::{
    Account, Between, BgNbd, Confidence, ContractModels, Currency, GammaGamma, Grade, HistoryFold, Horizons,
    Models, Observation, Parameters, Rejection, Subscribed, Subscription, SubscriptionFold, Value,
    ValueTerms,
};

use crate::memory::{Accounts, Customer};
use crate::{
    Assignment, AttemptRecord, Attempts, Begin, CommitOutcome, DeadChunk, Error, Explained, ModelVersionId,
    NewModelVersion, NewPromotion, NewRun, Planning, Promotion, Publishing, Rejected, Result, ResultRows,
    RunRecord, RunSummary, Selection, Supervision, Term, Valued, Values,
};

pub use archive::*;
pub use attempts::*;
pub use planning::*;
pub use publishing::*;
pub use supervision::*;
pub use values::*;

/// A backend on trial.
pub trait Ground {
    /// The backend.
    type Store: Planning + Publishing + Attempts + Values + Supervision + Asked;

    /// The store: fresh, over the customers of [`base`].
    fn store(&self) -> &Self::Store;

    /// Lets time pass, for leases, retries and leaderships: by a clock, or by moving what is stored back.
    fn pass(&self, time: Duration) -> impl Future<Output = ()>;
}

/// What only people ask of a store.
#[expect(missing_docs, reason = "each is the backends' own method of its name")]
#[expect(async_fn_in_trait, reason = "a suite runs on one thread")]
pub trait Asked {
    async fn save_model_version(
        &self,
        new: &NewModelVersion,
        promotion: Option<&NewPromotion>,
    ) -> Result<ModelVersionId>;
    async fn promote(&self, version: ModelVersionId, new: &NewPromotion) -> Result<Option<Promotion>>;
    async fn roll_back(&self, new: &NewPromotion) -> Result<Option<Promotion>>;
    async fn promotions_of(&self, version: ModelVersionId, limit: u32) -> Result<Vec<Promotion>>;
    async fn run(&self, run: RunId) -> Result<Option<RunRecord>>;
    async fn runs(&self, limit: u32) -> Result<Vec<RunRecord>>;
    async fn summary(&self, run: RunId, top: u32) -> Result<RunSummary>;
    async fn explain(&self, run: RunId, customer: CustomerId) -> Result<Explained>;
    async fn customer_named(&self, external_id: &str) -> Result<Option<CustomerId>>;
    async fn troubled_attempts(&self, run: RunId, limit: u32) -> Result<Vec<(AttemptId, AttemptRecord)>>;
    async fn cancel_run(&self, run: RunId) -> Result<bool>;
    async fn dead_chunks(&self, limit: u32) -> Result<Vec<DeadChunk>>;
    async fn dead_customers(&self, run: RunId) -> Result<Vec<CustomerId>>;
    async fn redrive(&self, run: RunId) -> Result<u64>;
}

macro_rules! asked {
    ($store:ty: $(async fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $answer:ty;)*) => {
        impl Asked for $store {
            // The backend's own method of the name is meant, which comes before the trait's.
            $(async fn $name(&self $(, $argument: $type)*) -> $answer {
                <$store>::$name(self $(, $argument)*).await
            })*
        }
    };
    ($($store:ty),*) => {
        $(asked! { $store:
            async fn save_model_version(
                &self, new: &NewModelVersion, promotion: Option<&NewPromotion>
            ) -> Result<ModelVersionId>;
            async fn promote(&self, version: ModelVersionId, new: &NewPromotion) -> Result<Option<Promotion>>;
            async fn roll_back(&self, new: &NewPromotion) -> Result<Option<Promotion>>;
            async fn promotions_of(&self, version: ModelVersionId, limit: u32) -> Result<Vec<Promotion>>;
            async fn run(&self, run: RunId) -> Result<Option<RunRecord>>;
            async fn runs(&self, limit: u32) -> Result<Vec<RunRecord>>;
            async fn summary(&self, run: RunId, top: u32) -> Result<RunSummary>;
            async fn explain(&self, run: RunId, customer: CustomerId) -> Result<Explained>;
            async fn customer_named(&self, external_id: &str) -> Result<Option<CustomerId>>;
            async fn troubled_attempts(
                &self, run: RunId, limit: u32
            ) -> Result<Vec<(AttemptId, AttemptRecord)>>;
            async fn cancel_run(&self, run: RunId) -> Result<bool>;
            async fn dead_chunks(&self, limit: u32) -> Result<Vec<DeadChunk>>;
            async fn dead_customers(&self, run: RunId) -> Result<Vec<CustomerId>>;
            async fn redrive(&self, run: RunId) -> Result<u64>;
        })*
    };
}

asked!(crate::memory::Memory, crate::postgres::Postgres);

/// Makes a test of each function of the suite: with this attribute, over the [`Ground`] that the future gives.
#[macro_export]
macro_rules! promise_tests {
    ($test:meta, $fresh:expr) => {
        $crate::promise_tests! { @each $test, $fresh,
            a_selection_is_whoever_was_there_in_ascending_order
            a_night_is_planned_once
            what_was_confirmed_is_published_and_what_has_moved_on_is_left_alone
            a_run_keeps_its_trace
            a_run_pins_what_is_named_else_what_is_promoted_else_the_latest
            each_roll_back_goes_further_back
            a_run_over_a_model_version_that_is_not_there_is_refused
            a_begin_counts_the_attempt_and_tells_all_that_it_needs
            what_is_leased_settled_not_due_or_of_no_run_is_not_begun
            a_repeated_begin_excuses_the_one_that_nobody_heard_of
            a_repeated_begin_excuses_its_workers_loss_where_nothing_is_begun
            a_repeated_begin_takes_nothing_from_another_worker
            only_the_latest_attempt_of_an_open_run_renews_its_lease
            an_attempt_that_comes_back_is_told_where_it_stands_and_its_loss_is_excused
            a_chunk_is_tried_again_later_until_its_failures_are_used_up
            an_attempt_that_was_superseded_cannot_fail
            giving_back_costs_nothing
            every_planned_customer_is_answered_in_order_and_nobody_else
            a_late_commit_is_refused_and_leaves_nothing_behind
            a_commit_that_is_not_whole_is_refused_and_leaves_nothing_behind
            what_was_committed_is_read_back_to_the_bit
            a_model_version_is_read_back_as_it_was_stored
            terms_grow_and_one_leads
            a_rescue_needs_the_term_an_expired_lease_and_the_latest_attempt
            a_snapshot_shows_open_runs_by_sums_and_their_open_chunks
            a_settled_run_is_finished_once_by_who_leads
            a_settled_run_that_makes_no_sense_is_not_finished
            values_become_visible_all_at_once
            customers_of_dead_chunks_become_rejections
            readers_see_the_last_whole_run_and_the_partial_ones_after_it
            a_cancelled_run_is_over_and_its_night_is_free
            a_redrive_forgives_and_puts_back_to_work
            a_run_is_summed_up_and_each_customer_explained
            the_story_tells_of_chunks_that_did_not_go_through_at_once
        }
    };
    (@each $test:meta, $fresh:expr, $($name:ident)*) => {
        $(
            #[$test]
            async fn $name() {
                let ground = $fresh.await;

                $crate::promises::$name(&ground).await;
            }
        )*
    };
}

/// A customer of the suite's base.
#[derive(Clone, Debug)]
pub struct BaseCustomer {
    /// The number.
    pub id: CustomerId,
    /// What the business calls him.
    pub external_id: String,
    /// The segment.
    pub segment: &'static str,
    /// Since when he is there.
    pub acquired_at: Timestamp,
    /// When, how much in minor units, in which currency; in the order of time.
    pub transactions: Vec<(Timestamp, i64, &'static str)>,
    /// Since when, and for how much in minor units of USD, he is subscribed to a plan by the month.
    pub subscription: Option<(Timestamp, i64)>,
    /// What it cost to win him, in minor units of USD.
    pub acquisition_cost_minor: Option<i64>,
}

/// The moment of the suite's runs, in seconds since 1970-01-01 UTC.
const AS_OF: i64 = 1_700_000_000;

const DAY: i64 = 86_400;

const LEASE: Duration = Duration::from_secs(20);

/// The first customers of the three chunks and their last; he who came later is in none.
const CHUNKS: [[i64; 2]; 3] = [[101, 104], [105, 108], [109, 111]];

/// The moment of the suite's runs.
pub fn as_of() -> Timestamp {
    at(AS_OF)
}

/// What the accounts of the suite's base are folded for.
pub fn observation() -> Observation {
    Observation::new(as_of().as_microsecond(), currency())
}

/// The suite's base for a backend in memory.
pub fn accounts() -> Accounts {
    let mut accounts = Accounts::new(observation());
    for known in base() {
        let customer = Customer {
            id: known.id,
            external_id: &known.external_id,
            segment: known.segment,
            acquired_at: known.acquired_at,
        };
        accounts.push(customer, &known.account()).expect("the base is in order");
    }
    accounts.shrink_to_fit();
    accounts
}

/// The customers of the suite: eleven, and one who comes after [`as_of`].
pub fn base() -> Vec<BaseCustomer> {
    let customer = |id: i64| {
        let bought =
            |purchase: i64| (at(AS_OF - DAY * 10 * (id - 96 - purchase)), 100 * id + purchase, "USD");
        let mut transactions: Vec<_> = (0..=id % 4).map(bought).collect();
        match id {
            // Not before the moment, so not seen.
            102 => transactions.push((as_of(), 9_999, "USD")),
            103 => transactions.clear(),
            104 => transactions[0].2 = "EUR",
            105 => transactions.insert(0, (at(AS_OF - 500 * DAY), -100, "USD")),
            _ => {}
        }
        BaseCustomer {
            id: CustomerId(id),
            external_id: format!("c-{id}"),
            segment: if id < 109 { "venues" } else { "florists" },
            acquired_at: at(if id == 112 { AS_OF + 1 } else { AS_OF - 900 * DAY }),
            transactions,
            subscription: (id == 106).then(|| (at(AS_OF - 100 * DAY), 900)),
            acquisition_cost_minor: (id == 106).then_some(12_345),
        }
    };
    (101..=112).map(customer).collect()
}

impl BaseCustomer {
    /// What is known of him at [`as_of`].
    pub fn account(&self) -> Result<Account, Rejection> {
        let mut fold = HistoryFold::new();
        for (occurred_at, amount_minor, currency) in &self.transactions {
            if *occurred_at < as_of() {
                let currency = currency.as_bytes().try_into().expect("a currency has three letters");
                fold.push(occurred_at.as_microsecond(), *amount_minor, currency);
            }
        }
        let (purchases, spend_minor) = fold.finish_with_spend(&observation())?;
        let mut subscriptions = SubscriptionFold::new();
        if let Some((started_at, price_minor)) = self.subscription {
            let line = Subscription {
                plan: "pro",
                period_months: 1,
                started_at_us: started_at.as_microsecond(),
                ended_at_us: None,
                price_minor,
                currency: *currency().as_bytes(),
            };
            subscriptions.push(&line, no_contracts(), &observation());
        }
        let Subscribed { paid_minor, contracts } = subscriptions.finish()?;
        let acquisition_cost_minor = self.acquisition_cost_minor;
        Ok(Account { purchases: Some(purchases), spend_minor, paid_minor, contracts, acquisition_cost_minor })
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("the suite's moments are believable")
}

fn currency() -> Currency {
    Currency::parse("USD").expect("USD is a currency")
}

fn no_contracts() -> &'static ContractModels {
    static NONE: ContractModels =
        ContractModels { plans: Vec::new(), others_by_period: BTreeMap::new(), others: None };
    &NONE
}

fn terms() -> ValueTerms {
    ValueTerms::new(0.1, 0.25, 0.0, 1.0).expect("all are shares")
}

fn models() -> NewModelVersion {
    let purchases = Parameters {
        bg_nbd: BgNbd::new(0.25, 4.5, 0.8, 2.5).expect("all are positive"),
        gamma_gamma: GammaGamma::new(6.25, 3.75, 1_500.0).expect("all are positive"),
    };
    NewModelVersion {
        currency: currency(),
        models: Models::from(purchases),
        fit: serde_json::json!({ "by": "hand" }),
        data_fingerprint: "the fingerprint of 12 customers".into(),
        code_version: "the contract".into(),
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy { max_failures: 2, ..RetryPolicy::default() }
}

/// What a call answers; the suite has no use for a store that does not.
#[track_caller]
fn ok<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("the store answers: {error}"))
}

/// What a call that must fail says.
#[track_caller]
fn refusal<T>(result: Result<T>) -> Error {
    let error = result.err().expect("the store refuses");
    assert!(!error.is_transient(), "{error}");
    error
}

fn customers(ends: [i64; 2]) -> Vec<CustomerId> {
    (ends[0]..=ends[1]).map(CustomerId).collect()
}

/// A run over some of the chunks, or all of them, as it is to be recorded.
fn run_over(night: Option<&str>, chunks: &[[i64; 2]], model_version: ModelVersionId) -> NewRun {
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
    }
}

/// A run with nothing published.
async fn planned<G: Ground>(ground: &G) -> RunId {
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
async fn begun<G: Ground>(ground: &G, chunk: ChunkRef, worker: &str) -> Assignment {
    match ok(ground.store().begin_attempt(chunk, worker, LEASE, false).await) {
        Begin::Assigned(assignment) => *assignment,
        other => panic!("{chunk} is there to be begun, and not {other:?}"),
    }
}

/// What an attempt at these customers commits: a value or a rejection for each.
fn results(customers: &[CustomerId]) -> ResultRows {
    let known = base();
    let mut rows = ResultRows::default();
    for &customer in customers {
        let known = known.iter().find(|known| known.id == customer).expect("he is in the base");
        match known.account() {
            Ok(account) => rows.values.push(Valued { customer, value: value(customer), account }),
            Err(reason) => rows.rejections.push(Rejected { customer, reason }),
        }
    }
    rows
}

/// A value that no model has thought of, with something in every place.
fn value(customer: CustomerId) -> Value {
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
async fn leading<G: Ground>(ground: &G) -> Term {
    ok(ground.store().lead("coordinator", Duration::from_hours(1)).await).expect("nobody else leads")
}

/// Chunk, attempt and outcome of the attempts that did not simply succeed at once.
async fn story<G: Ground>(ground: &G, run: RunId) -> Vec<(i32, i32, Option<Outcome>)> {
    let attempts = ok(ground.store().troubled_attempts(run, 100).await);
    let told = attempts.into_iter().map(|(id, record)| {
        assert_eq!(id.attempt, record.attempt);
        (id.chunk.chunk.0, id.attempt.0, record.outcome)
    });
    told.collect()
}
