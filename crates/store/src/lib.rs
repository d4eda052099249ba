//! The truth: runs, chunks, attempts, histories and values, requests and answers.
//!
//! A seam. Each role knows the traits that it needs: [`Planning`], [`Publishing`], [`Attempts`], [`Values`],
//! [`Supervision`], [`Figuring`], [`Requests`]; whoever stands between the store and people knows [`Archive`],
//! [`Summaries`] and [`ModelVersions`], [`Keys`] where they may ask again, and [`Exports`] where they want all of a run.
//! [`postgres::Postgres`] is the backend that lasts; [`memory::Memory`] needs no server, and simulations and a night in
//! one process run on it. `promises` holds what both promise. Whatever the broker or the cache lose, what is here
//! decides.
//!
//! It does not know in which order the roles do things, nor what a customer is worth: it folds the rows of a
//! customer's history with [`model::HistoryFold`] and [`model::SubscriptionFold`] as they stream past and hands on
//! accounts.

mod archive;
mod blocker;
mod encoding;
mod error;
mod exports;
mod figures;
mod guard;
mod keys;
mod metrics;
mod movement;
#[cfg(any(test, feature = "promises"))]
pub mod promises;
mod record;
mod request;
mod tenures;

pub mod memory;
pub mod postgres;

use std::future::Future;
use std::time::Duration;

use batch::{
    AttemptId, ChunkRef, CustomerId, Evidence, OpenRuns, Presence, RetryPolicy, RunId, Verdict, WorkSample,
};
use jiff::Timestamp;

pub use archive::{DeadChunk, Explained, Named, Rank, RunSummary, SegmentValue, Staffing, TopCustomer};
pub use blocker::Blocker;
pub use error::Error;
pub use exports::{COLUMNS as EXPORTED_COLUMNS, Export, Exports};
pub use figures::{
    ComputedFigures, FRESH_FOR, Figure, Figured, FiguredRun, Figures, FiguresStanding, Figuring,
    MOST_SEGMENTS, PastFigures, Percentiles, PinnedSegments, RunFigures, Summaries,
};
pub use guard::{Decision, DecisionKind, Guarded, Hold, NewDecision, UnknownDecision};
pub use keys::{Claim, Claimed, Effect, KEPT, KeyedCall, Keys};
pub use metrics::describe as describe_metrics;
pub use model::ValueTerms;
pub use movement::{
    Both, Comparison, ComparisonStanding, Comparisons, GoOn, Held, Moves, Past, Piece, RunMovements,
    SegmentMovements, SegmentWorth, Span,
};
pub use record::{
    Assignment, AttemptRecord, Begin, CommitOutcome, CreatedRun, DEAD_CHUNK, FinishedRun, History,
    ModelVersion, ModelVersionId, NewModelVersion, NewPromotion, NewRun, Promotion, PromotionKind, Reading,
    Rejected, ResultRows, RunRecord, Selection, Standing, Term, Valued, VisibleRuns,
};
pub use request::{
    Absorbed, Answer, Asked, Known, NewRequest, Origin, Pinned, RequestAssignment, RequestBegin,
    RequestClaim, RequestRecord, Requests,
};
pub use tenures::{PlanTenures, TenureCounts};

/// The result of a call to the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The plan of a run. The dispatcher's side.
pub trait Planning: Clone + Send + Sync + 'static {
    /// The store's clock: the only wall clock there is.
    fn now(&self) -> impl Future<Output = Result<Timestamp>> + Send;

    /// The customers of a selection who were there at `as_of`, ascending.
    fn selected(
        &self,
        selection: &Selection,
        as_of: Timestamp,
    ) -> impl Future<Output = Result<Vec<CustomerId>>> + Send;

    /// A random sample of the transactions, to estimate each customer range's work.
    fn work_sample(&self) -> impl Future<Output = Result<WorkSample>> + Send;

    /// The model version for a run to pin: the named one if it exists; without a name the promoted one, or the
    /// latest where none was ever promoted.
    fn model_version_to_pin(
        &self,
        named: Option<ModelVersionId>,
    ) -> impl Future<Output = Result<Option<ModelVersionId>>> + Send;

    /// The run of a night that is not cancelled, if there is one, with what is left to publish of it.
    fn run_of_night(&self, night: &str) -> impl Future<Output = Result<Option<CreatedRun>>> + Send;

    /// Records a run with all its chunks in one transaction. If the night has a run already, that one is found
    /// and nothing is recorded.
    fn create_run(&self, new: &NewRun) -> impl Future<Output = Result<CreatedRun>> + Send;
}

/// What goes with a run's messages, and what is recorded of them. The side of whoever publishes: the dispatcher, and
/// the coordinator where it has to be done again.
pub trait Publishing: Clone + Send + Sync + 'static {
    /// The trace that a run was dispatched in, as pairs for the messages of its chunks.
    fn trace_of(&self, run: RunId) -> impl Future<Output = Result<Vec<(String, String)>>> + Send;

    /// Records that the broker confirmed messages for these chunks of a run, each with the attempt that the sender
    /// knew of. Chunks that have moved on are left alone, so that a repeat, or a worker that was faster, does no harm;
    /// so are chunks of other runs. A planned run is running from then on.
    fn mark_published(&self, run: RunId, chunks: &[AttemptId]) -> impl Future<Output = Result<()>> + Send;
}

/// Attempts at chunks. The worker's side.
pub trait Attempts: Clone + Send + Sync + 'static {
    /// Begins an attempt: counts it, before any work, and leases the chunk; or says why there is nothing to do.
    ///
    /// `is_repeat` says that this process asked before and got no answer. If that begin did happen, the chunk is
    /// leased to the asking worker itself: it begins anew, and the attempt that nobody heard of costs nothing. Nor does
    /// it if it was taken for lost meanwhile, whether or not there is anything left to begin: its worker did come back.
    fn begin_attempt(
        &self,
        chunk: ChunkRef,
        worker: &str,
        lease: Duration,
        is_repeat: bool,
    ) -> impl Future<Output = Result<Begin>> + Send;

    /// Renews leases; returns the attempts that still hold theirs. The others were superseded.
    fn renew_leases(
        &self,
        held: &[AttemptId],
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<AttemptId>>> + Send;

    /// Asks where an attempt stands after the store was away, and renews its lease if it is still the latest.
    /// An attempt that was taken for lost is excused: its worker did come back.
    fn resume_attempt(
        &self,
        attempt: AttemptId,
        lease: Duration,
    ) -> impl Future<Output = Result<Standing>> + Send;

    /// Records that an attempt failed through the chunk's own fault, and decides what follows; `None` if the
    /// attempt was not the latest any more.
    fn fail_attempt(
        &self,
        attempt: AttemptId,
        reason: &str,
        policy: &RetryPolicy,
    ) -> impl Future<Output = Result<Option<Verdict>>> + Send;

    /// Gives a chunk back unfinished because its worker is draining. It costs the chunk nothing.
    fn give_back(&self, attempt: AttemptId) -> impl Future<Output = Result<()>> + Send;

    /// Waits until the store is believed to be well: at once, unless its breaker is open.
    fn wait_until_available(&self) -> impl Future<Output = ()> + Send;
}

/// Histories in, values out. The worker's side, and where the bytes are.
pub trait Values: Clone + Send + Sync + 'static {
    /// Reads the histories of a chunk's customers, their subscriptions and what it cost to win them, each folded
    /// into an account or a rejection. Every planned customer is answered, in the order of the plan, and nobody
    /// else.
    fn read_histories(&self, reading: &Reading<'_>) -> impl Future<Output = Result<Vec<History>>> + Send;

    /// Commits an attempt: its values, its rejections and the chunk's `done` in one transaction, or nothing at
    /// all if the attempt is no longer the latest.
    fn commit_attempt(
        &self,
        attempt: AttemptId,
        rows: &ResultRows,
    ) -> impl Future<Output = Result<CommitOutcome>> + Send;

    /// A model version, parameters and all.
    fn model_version(
        &self,
        version: ModelVersionId,
    ) -> impl Future<Output = Result<Option<ModelVersion>>> + Send;
}

/// What a pass looks at, and what it does. The coordinator's side.
pub trait Supervision: Clone + Send + Sync + 'static {
    /// Takes or renews the leadership of the coordinators; `None` while somebody else leads. A lease that ends more than
    /// [`batch::MEANWHILE`] later than this one would was given before the clock was set back, and is not believed.
    fn lead(&self, leader: &str, lease: Duration) -> impl Future<Output = Result<Option<Term>>> + Send;

    /// Who leads.
    fn leader(&self) -> impl Future<Output = Result<Option<String>>> + Send;

    /// Gives the leadership up, so that the next coordinator need not wait for its end.
    fn abdicate(&self, leader: &str, term: Term) -> impl Future<Output = Result<()>> + Send;

    /// The store's part of a snapshot.
    fn snapshot(&self) -> impl Future<Output = Result<OpenRuns>> + Send;

    /// Who worked on these runs, each from its first begin to the last thing that it said itself.
    fn presences(&self, runs: &[RunId]) -> impl Future<Output = Result<Vec<Presence>>> + Send;

    /// Lets a lease that was given before the clock was set back end as long after now as it was given for; false if it
    /// was given since. `lease` is the coordinator's own, for one of which it is not recorded when it was given
    /// ([`batch::ChunkSnapshot::lease_from_before`]).
    fn shorten_lease(
        &self,
        term: Term,
        attempt: AttemptId,
        lease: Duration,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Takes a chunk from an attempt whose lease has expired; false if there was nothing to take.
    fn rescue(
        &self,
        term: Term,
        attempt: AttemptId,
        verdict: Verdict,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// What a settled run is judged by before it is shown; `None` where there is nothing to judge: it is compared with no
    /// run, a person has released it, or it is not open. Counts the source's rows, once, on record.
    fn evidence(&self, run: RunId) -> impl Future<Output = Result<Option<Evidence>>> + Send;

    /// Has a settled run wait for a person; false if it is not open any more, or a dead letter was put back.
    fn hold_run(&self, term: Term, run: RunId, hold: &Hold) -> impl Future<Output = Result<bool>> + Send;

    /// Checks the counts of a settled run and makes its values visible, all at once; `None` if another
    /// coordinator has done it. Whoever reads the run's table meanwhile is not waited for
    /// ([`Error::Blocked`]).
    fn finish_run(&self, term: Term, run: RunId) -> impl Future<Output = Result<Option<FinishedRun>>> + Send;

    /// A page of a finished run's values, by customer, after one; empty at the end.
    fn values_after(
        &self,
        run: RunId,
        after: Option<CustomerId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Valued>>> + Send;

    /// The runs that readers see, the newest first.
    fn visible_runs(&self) -> impl Future<Output = Result<VisibleRuns>> + Send;
}

/// Runs as people ask about them, and what they decide about one. The side of the commands and of whatever else
/// answers people.
pub trait Archive: Clone + Send + Sync + 'static {
    /// A run as it is recorded.
    fn run(&self, run: RunId) -> impl Future<Output = Result<Option<RunRecord>>> + Send;

    /// The latest runs, the newest first.
    fn runs(&self, limit: u32) -> impl Future<Output = Result<Vec<RunRecord>>> + Send;

    /// The latest runs before one, the newest first.
    fn runs_before(&self, before: RunId, limit: u32) -> impl Future<Output = Result<Vec<RunRecord>>> + Send;

    /// Who is at work on a run.
    fn staffing(&self, run: RunId) -> impl Future<Output = Result<Staffing>> + Send;

    /// A finished run in figures: value by segment, the `top` most valuable customers, rejections by reason. Customers
    /// are in the segments that they were in when it became visible, where that is on record, and else in today's.
    fn summary(&self, run: RunId, top: u32) -> impl Future<Output = Result<RunSummary>> + Send;

    /// The most valuable customers of a finished run, after one. A run of a release that knew less of them has none.
    fn ranked(
        &self,
        run: RunId,
        after: Option<Rank>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Valued>>> + Send;

    /// How the business knows customers, by their number; those who are not there are left out.
    fn names(&self, customers: &[CustomerId]) -> impl Future<Output = Result<Vec<Named>>> + Send;

    /// What a finished run holds about a customer.
    fn explain(&self, run: RunId, customer: CustomerId) -> impl Future<Output = Result<Explained>> + Send;

    /// The customer whom the business knows by this name.
    fn customer_named(&self, external_id: &str) -> impl Future<Output = Result<Option<CustomerId>>> + Send;

    /// The customers whom the business knows by these names, each with his name; a name that nobody has is left out.
    fn customers_named(
        &self,
        external_ids: &[String],
    ) -> impl Future<Output = Result<Vec<(String, CustomerId)>>> + Send;

    /// Which of these customers there are, ascending.
    fn customers_there(
        &self,
        customers: &[CustomerId],
    ) -> impl Future<Output = Result<Vec<CustomerId>>> + Send;

    /// The story of a run's attempts that did not simply succeed at once: every attempt of each chunk that
    /// needed more than one or is dead, in order.
    fn troubled_attempts(
        &self,
        run: RunId,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(AttemptId, AttemptRecord)>>> + Send;

    /// The dead chunks of the latest runs, with the reason of their last failure.
    fn dead_chunks(&self, limit: u32) -> impl Future<Output = Result<Vec<DeadChunk>>> + Send;

    /// The planned customers of a run's dead chunks, ascending.
    fn dead_customers(&self, run: RunId) -> impl Future<Output = Result<Vec<CustomerId>>> + Send;

    /// Puts the dead chunks of a run that is going on, or held, back to work, with their failures forgiven. Returns how
    /// many; the coordinator publishes them. A run that was held, or released, is judged anew when they are settled.
    fn redrive(&self, run: RunId) -> impl Future<Output = Result<u64>> + Send;

    /// Records what a person says about a run that is held. One that is released is finished by the next pass; the values
    /// of one that is rejected never become visible, and its night may be planned again. False if it is not held.
    /// Whoever reads its table is not waited for ([`Error::Blocked`]).
    fn decide(&self, run: RunId, new: &NewDecision) -> impl Future<Output = Result<bool>> + Send;

    /// Stops a run: its values never become visible, and its night may be planned again. False if it was over or held.
    /// Whoever reads its table is not waited for ([`Error::Blocked`]).
    fn cancel_run(&self, run: RunId) -> impl Future<Output = Result<bool>> + Send;
}

/// Model versions, which one is in force, and which runs pinned them. The side of the fit, and of people.
pub trait ModelVersions: Clone + Send + Sync + 'static {
    /// Stores models as a new model version, and promotes it if that is wanted: both, or neither.
    fn save_model_version(
        &self,
        new: &NewModelVersion,
        promotion: Option<&NewPromotion>,
    ) -> impl Future<Output = Result<ModelVersionId>> + Send;

    /// The model versions, the newest first.
    fn model_versions(&self, limit: u32) -> impl Future<Output = Result<Vec<ModelVersion>>> + Send;

    /// Makes a model version the one that runs pin; `None` if it is already.
    fn promote(
        &self,
        version: ModelVersionId,
        new: &NewPromotion,
    ) -> impl Future<Output = Result<Option<Promotion>>> + Send;

    /// Makes the model version that was promoted before the one in force the one that runs pin; `None` if there
    /// is none.
    fn roll_back(&self, new: &NewPromotion) -> impl Future<Output = Result<Option<Promotion>>> + Send;

    /// How a model version came into force each time, the latest first.
    fn promotions_of(
        &self,
        version: ModelVersionId,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Promotion>>> + Send;

    /// The latest runs that pinned a model version, the newest first, and how many there are in all.
    fn runs_pinning(
        &self,
        version: ModelVersionId,
        limit: u32,
    ) -> impl Future<Output = Result<(Vec<RunRecord>, u64)>> + Send;
}
