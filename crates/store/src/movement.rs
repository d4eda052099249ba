//! Movements: what moved between a finished run and the run before it, and how that is worked out.
//!
//! The run before is the latest finished one of the same selection whose moment comes before; a run over named customers
//! has none. To work out what moved is a **comparison**: a row for each run, which whoever works on it holds by a lease.
//! It goes over the customers of both runs in **pieces**, none of them larger than a chunk. What a piece comes to is added
//! in one transaction with how far the comparison has come, so nothing is counted twice whoever dies in between; at the
//! end the sums of the pieces become one, and are held against the sums of the segments ([`crate::Figures`]).
//!
//! Only PostgreSQL keeps movements.

use std::future::Future;
use std::time::Duration;

use batch::{Attempt, Cause, CustomerId, Movements, RunId};
use jiff::Timestamp;
use model::{ContractModels, Currency};

use crate::Result;
use crate::record::{History, Valued};

/// Comparisons of runs. The side of whoever works them out.
pub trait Comparisons: Clone + Send + Sync + 'static {
    /// Takes the newest run that is to be compared with the run before and that nobody is at work on; none while a run is
    /// open, or if there is none.
    fn take_comparison(
        &self,
        by: &str,
        lease: Duration,
    ) -> impl Future<Output = Result<Option<Comparison>>> + Send;

    /// The customers of both runs behind one, up to the end of a chunk of either; none at the end.
    fn next_piece(
        &self,
        comparison: &Comparison,
        after: Option<CustomerId>,
    ) -> impl Future<Output = Result<Option<Piece>>> + Send;

    /// Reads histories as they were at a moment, as far as the source still tells.
    fn read_past(&self, past: &Past<'_>) -> impl Future<Output = Result<Vec<History>>> + Send;

    /// Adds what a piece came to, renews the lease, and says how to go on. A piece that was added before, or by somebody
    /// who has lost the comparison, is not added.
    fn add_piece(
        &self,
        comparison: &Comparison,
        span: Span,
        moved: &Movements,
        lease: Duration,
    ) -> impl Future<Output = Result<GoOn>> + Send;

    /// Ends a comparison that came to its end, if the causes of each segment add up to the difference of its sums; false
    /// if somebody else has it.
    fn complete_comparison(
        &self,
        comparison: &Comparison,
        after: Option<CustomerId>,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Ends a comparison that can never be made, and says why.
    fn give_up_comparison(
        &self,
        comparison: &Comparison,
        reason: &str,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Leaves the comparisons of somebody where they are, so that anybody may go on with them at once.
    fn put_comparisons_back(&self, by: &str) -> impl Future<Output = Result<()>> + Send;
}

/// What moved, as people ask about it.
pub trait Moves: Clone + Send + Sync + 'static {
    /// What moved between a finished run and the run before it, or why that is not known; none if the run is not
    /// finished, or is compared with none because it is over named customers.
    fn movements(&self, run: RunId) -> impl Future<Output = Result<Option<RunMovements>>> + Send;
}

/// A comparison to work on.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The run.
    pub run: RunId,
    /// The run before it, if there is one.
    pub before: Option<RunId>,
    /// Why the run before says too little, if that is so.
    pub obstacle: Option<String>,
    /// Which try it is, and the fencing token.
    pub attempt: Attempt,
    /// The last customer who is counted already.
    pub after: Option<CustomerId>,
    /// The segments of both runs, by their number in it.
    pub segments: Both<Vec<Option<String>>>,
}

/// The same of the run before, and of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Both<T> {
    /// Of the run before.
    pub before: T,
    /// Of the run.
    pub now: T,
}

/// Some customers of both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The last customer who may be among them.
    pub up_to: CustomerId,
    /// Those who are in one of the runs at least, ascending.
    pub customers: Vec<Both<Option<Held>>>,
}

/// What a run holds of a customer.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The customer.
    pub customer: CustomerId,
    /// The number of his segment.
    pub segment: u32,
    /// His value with what it was computed from; none if he was rejected.
    pub valued: Option<Valued>,
}

/// Which customers a piece is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Those behind this one.
    pub after: Option<CustomerId>,
    /// Up to this one.
    pub up_to: CustomerId,
    /// How many there are.
    pub customers: u64,
}

/// Whose histories to read, and as of when.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// The customers, ascending.
    pub customers: &'a [CustomerId],
    /// Nothing at or after this moment is looked at: not even the end of a subscription.
    pub until: Timestamp,
    /// Up to when they are observed, as if nothing had happened since.
    pub observed_until: Timestamp,
    /// The currency of the model.
    pub currency: Currency,
    /// The contract models, which name the plans.
    pub contracts: &'a ContractModels,
}

/// What to do after a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoOn {
    /// Take the next one.
    Next,
    /// Let it be: a run is open, which comes first.
    Later,
    /// Let it be: somebody else has the comparison.
    Lost,
}

/// What moved between a run and the run before it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunMovements {
    /// The run.
    pub run: RunId,
    /// The run before.
    pub before: Option<RunId>,
    /// What its money is in.
    pub currency: Currency,
    /// Whether it is known.
    pub standing: ComparisonStanding,
    /// By segment, in the order of their names.
    pub segments: Vec<SegmentMovements>,
}

/// How a comparison stands.
#[derive(Clone, Debug, PartialEq)]
pub enum ComparisonStanding {
    /// It is yet to be made. So many customers are counted by now.
    Due {
        /// How many.
        customers: u64,
    },
    /// It will never be made, for this reason.
    Never(String),
    /// It is complete, since then.
    Complete(Timestamp),
}

/// What moved in a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentMovements {
    /// Its name; none for those who were in no segment.
    pub segment: Option<String>,
    /// What it came to in the run before and in the run, where somebody was in it.
    pub worth: Both<SegmentWorth>,
    /// What moved it: the cause, how many customers, by how many minor units.
    pub causes: Vec<(Cause, u64, i64)>,
}

/// What a segment came to in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentWorth {
    /// Its customers with a value.
    pub customers: u64,
    /// The sum of their values over 12 months, in minor units.
    pub value_minor: i64,
}
