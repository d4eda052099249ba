//! What may be lost: values near the reader, and the live progress of runs.
//!
//! # What is this for?
//!
//! A reader of one value should not ask Postgres, and a dashboard that is looked at every second should not
//! either. So a worker writes the values of a chunk here after it has committed them, the coordinator says which
//! runs readers may see, and how far a run is.
//!
//! # What does it not know?
//!
//! The truth. Everything in here may be gone at any moment, and nothing that decides the result of a run is read
//! from here: `None` and every [`Error`] mean "ask the store". Which run is complete, which customer is in it and
//! who may read it are the store's to say; this crate repeats what it was told.
//!
//! # Which type to look at first?
//!
//! [`Cache`], the seam. [`Redis`] is the backend that a fleet uses; Redis commands are known nowhere else. [`Memory`]
//! is one in this process; [`Nothing`] keeps nothing. What the trait promises is tested by one suite that the first two
//! pass (`promises`, behind the feature of that name).

mod error;
mod members;
pub mod memory;
pub mod metrics;
mod nothing;
mod packed;
#[cfg(any(test, feature = "promises"))]
pub mod promises;
mod redis;

use batch::{CustomerId, Progress, RunId};
use model::{Between, Grade};

pub use error::Error;
pub use memory::Memory;
pub use nothing::Nothing;
pub use redis::{Eviction, REPLACED, Redis, RedisConfig, Standing, floor, names};

/// Keeps values and progress near the reader.
///
/// Every call answers within a limit, whatever the backend does, and may be repeated without harm.
pub trait Cache: Clone + Send + Sync + 'static {
    /// Writes the values of a chunk of a run. Call it after the commit, with the values that were committed.
    ///
    /// A part of the chunk may have been written when it fails. Nobody sees the values before
    /// [`put_visible`](Self::put_visible) names the run.
    fn put_values(&self, run: RunId, values: &[Valued]) -> impl Future<Output = Result<(), Error>> + Send;

    /// Writes which customers a finished run holds values for, all of them: by this a reader tells what the run does not
    /// hold, and may pass it by, from what was lost here.
    ///
    /// Only for *partial* runs: behind the last visible run nothing is looked for. A part may have been written when it
    /// fails, or may be written later; nobody takes it for the whole.
    fn put_members(
        &self,
        run: RunId,
        customers: &[CustomerId],
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Asks whether all that [`put_members`](Self::put_members) has said of a run is here, and each value that it names, as
    /// it was written. What is not is worth writing again: until then its readers are sent to the store. What another
    /// release may have written counts as here, and what stands beside is not looked at.
    fn holds_all(&self, run: RunId) -> impl Future<Output = Result<Holds, Error>> + Send;

    /// Makes runs visible to readers, unless the same or a newer version already is; tells whether it did.
    ///
    /// Repeating the call for the newest version is cheap and is how a cache that was emptied, or away while a run was
    /// published, comes up to date again. What nobody can read is replaced.
    fn put_visible(&self, visible: &VisibleRuns) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Puts a list in the place of another, whatever their versions, if it is still that one; tells whether it did. For a
    /// list of another past: the store went back behind what it told, and its versions do not compare. As by
    /// [`put_visible`](Self::put_visible), nothing older than the new list is taken afterwards: what somebody was about
    /// to tell when it came, he tells in vain.
    fn replace_visible(
        &self,
        held: &VisibleRuns,
        with: &VisibleRuns,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Returns the runs that readers may see; `None` if nobody has said so.
    fn visible(&self) -> impl Future<Output = Result<Option<VisibleRuns>, Error>> + Send;

    /// Returns the value of a customer in the newest visible run that holds one; `None` means "ask the store".
    ///
    /// Never that of an older one, whatever was lost here or arrived late: a run is passed by only where its members are
    /// known and the customer is none of them. What was damaged is counted, and answered by `None`.
    fn value(
        &self,
        customer: CustomerId,
    ) -> impl Future<Output = Result<Option<(RunId, CachedValue)>, Error>> + Send;

    /// Writes how far a run is, unless it is known to be further ([`Progress::is_further_than`]).
    ///
    /// So a writer who was held up between looking and writing changes nothing, and the progress that a run finished
    /// with stays, whoever writes after it. What nobody can read is replaced.
    fn put_progress(&self, run: RunId, progress: &Progress)
    -> impl Future<Output = Result<(), Error>> + Send;

    /// Returns how far a run is, as far as anybody wrote; `None` means "ask the store".
    fn progress(&self, run: RunId) -> impl Future<Output = Result<Option<Progress>, Error>> + Send;

    /// Asks whether the backend answers. For a readiness probe.
    fn check(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// How much of a partial run is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// All of it.
    All,
    /// Something is missing.
    Less,
    /// In the place of something stands what nobody can read, whatever else is missing.
    Damaged,
}

/// What a reader is told of a customer's [`model::Value`] without asking the store.
///
/// The store has the rest: the other horizons, the parts, the inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CachedValue {
    /// What the customer is expected to contribute in the coming 12 months, discounted, in minor units.
    pub value_minor: i64,
    /// The same in the coming 36 months.
    pub value_36_minor: i64,
    /// What the customer has contributed so far, in minor units.
    pub historic_minor: i64,
    /// Between which amounts the contribution of the coming 12 months lies with a probability of 80 %; none where that
    /// cannot be said.
    pub between_80: Option<Between>,
    /// Expected number of purchases in the coming 12 months.
    pub expected_purchases: f64,
    /// Probability that the customer will still buy; none for one who never bought anything.
    pub p_alive: Option<f64>,
    /// How far the value rests on what is known of the customer.
    pub grade: Grade,
}

impl From<&model::Value> for CachedValue {
    fn from(value: &model::Value) -> Self {
        Self {
            value_minor: value.value_minor(),
            value_36_minor: value.future().months_36,
            historic_minor: value.historic_minor,
            between_80: value.intervals.map(|[eighty, _]| eighty),
            expected_purchases: value.expected_purchases,
            p_alive: value.p_alive,
            grade: value.confidence.grade,
        }
    }
}

/// The value of a customer, as it was committed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Valued {
    /// The customer.
    pub customer: CustomerId,
    /// What the customer is worth.
    pub value: CachedValue,
}

impl Valued {
    /// Takes of a committed value what a reader is told first.
    pub fn of(customer: CustomerId, value: &model::Value) -> Self {
        Self { customer, value: value.into() }
    }
}

/// The runs that readers may see, and since which change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisibleRuns {
    /// Grows with every change; from the store's sequence.
    pub version: i64,
    /// Newest first: the partial runs that are newer than the last run over the whole base, then that one.
    pub runs: Vec<RunId>,
}
