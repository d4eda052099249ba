//! What moved since the run before, and why.

use batch::{Cause, RunId};
use jiff::Timestamp;
use serde::Serialize;
use store::{Both, ComparisonStanding, RunMovements, SegmentMovements, SegmentWorth};
use utoipa::ToSchema;

use crate::{Digits, shape};

/// What moved between a run and the run before it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Movements {
    /// The run.
    #[schema(value_type = Digits)]
    pub run: RunId,
    /// The run before, as soon as it is known which that is.
    #[schema(value_type = Option<Digits>)]
    pub run_before: Option<RunId>,
    /// Whether it is known what moved.
    pub state: MovementsState,
    /// Why it never will be.
    pub reason: Option<String>,
    /// Since when it is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub complete_since: Option<Timestamp>,
    /// Customers that are compared, while it is due.
    pub compared: Option<u64>,
    /// What the money is in.
    pub currency: String,
    /// Of all customers; none until it is known.
    pub all: Option<Moved>,
    /// By segment, in the order of their names.
    pub segments: Vec<MovedSegment>,
}

/// Whether it is known what moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MovementsState {
    /// Not yet.
    Due,
    /// It is.
    Complete,
    /// It never will be.
    Never,
}

/// What moved in a segment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MovedSegment {
    /// Its name; none for those who were in no segment.
    pub segment: Option<String>,
    /// What moved.
    #[serde(flatten)]
    pub moved: Moved,
}

/// What some customers came to in both runs, and what made the difference.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Moved {
    /// Those with a value in the run before.
    pub customers_before: u64,
    /// Those with a value in the run.
    pub customers: u64,
    /// The sum of their values in the run before.
    pub value_before_minor: i64,
    /// The sum of their values in the run.
    pub value_minor: i64,
    /// The difference of the two, which is the sum of the causes.
    pub difference_minor: i64,
    /// What made it, in the order of the steps. Between segments all customers together move nothing.
    pub causes: Vec<MovedBy>,
}

/// What a cause moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MovedBy {
    /// The cause.
    #[schema(value_type = shape::Cause)]
    pub cause: Cause,
    /// How many customers.
    pub customers: u64,
    /// By how much, together.
    pub value_minor: i64,
}

impl From<&RunMovements> for Movements {
    fn from(of: &RunMovements) -> Self {
        let (state, reason, complete_since, compared) = match &of.standing {
            ComparisonStanding::Due { customers } => (MovementsState::Due, None, None, Some(*customers)),
            ComparisonStanding::Never(reason) => (MovementsState::Never, Some(reason.clone()), None, None),
            ComparisonStanding::Complete(since) => (MovementsState::Complete, None, Some(*since), None),
        };
        Self {
            run: of.run,
            run_before: of.before,
            state,
            reason,
            complete_since,
            compared,
            currency: of.currency.to_string(),
            all: (state == MovementsState::Complete).then(|| Moved::of_all(&of.segments)),
            segments: of.segments.iter().map(MovedSegment::from).collect(),
        }
    }
}

impl From<&SegmentMovements> for MovedSegment {
    fn from(of: &SegmentMovements) -> Self {
        let moved = Moved::new(of.worth, of.causes.iter().copied());
        Self { segment: of.segment.clone(), moved }
    }
}

impl Moved {
    fn new(worth: Both<SegmentWorth>, causes: impl Iterator<Item = (Cause, u64, i64)>) -> Self {
        let Both { before, now } = worth;
        let moved_by = |(cause, customers, value_minor)| MovedBy { cause, customers, value_minor };
        Self {
            customers_before: before.customers,
            customers: now.customers,
            value_before_minor: before.value_minor,
            value_minor: now.value_minor,
            difference_minor: now.value_minor - before.value_minor,
            causes: causes.map(moved_by).collect(),
        }
    }

    fn of_all(segments: &[SegmentMovements]) -> Self {
        let sum = |of: fn(&SegmentMovements) -> SegmentWorth| {
            segments.iter().map(of).fold(SegmentWorth::default(), |sum, worth| SegmentWorth {
                customers: sum.customers + worth.customers,
                value_minor: sum.value_minor + worth.value_minor,
            })
        };
        let worth =
            Both { before: sum(|segment| segment.worth.before), now: sum(|segment| segment.worth.now) };
        let causes = Cause::ALL.into_iter().filter_map(|cause| {
            let parts = segments.iter().flat_map(|segment| &segment.causes);
            let parts = parts.filter(|(of, ..)| *of == cause);
            let (customers, value_minor) =
                parts.fold((0, 0), |(customers, sum), part| (customers + part.1, sum + part.2));
            (customers > 0).then_some((cause, customers, value_minor))
        });
        Self::new(worth, causes)
    }
}
