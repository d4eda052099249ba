//! What a person asks about: what a run came to, what it holds about a customer, what is dead in it.

use batch::{ChunkRef, CustomerId};
use jiff::Timestamp;

use crate::record::Valued;

/// The value of a segment in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentValue {
    /// The segment.
    pub segment: String,
    /// Its customers with a value.
    pub customers: u64,
    /// The sum of their values over 12 months, in minor units.
    pub value_minor: i64,
    /// Of that what is expected from contracts.
    pub contract_minor: i64,
    /// What they have contributed so far, in minor units; none in a run of a release that did not know it.
    pub historic_minor: Option<i64>,
}

/// One of a run's most valuable customers.
#[derive(Clone, Debug, PartialEq)]
pub struct TopCustomer {
    /// The customer, as the business knows it.
    pub external_id: String,
    /// Its segment.
    pub segment: String,
    /// Its value and what it was computed from.
    pub valued: Valued,
}

/// A place among a run's customers in the order of their values, the most valuable first; of equal ones the smaller number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// The value, in minor units.
    pub value_minor: i64,
    /// Whose it is.
    pub customer: CustomerId,
}

/// How the business knows a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// His number.
    pub customer: CustomerId,
    /// His name in its own books.
    pub external_id: String,
    /// His segment.
    pub segment: String,
}

/// A run in figures.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// Value by segment, the most valuable first.
    pub segments: Vec<SegmentValue>,
    /// The most valuable customers; none in a run of a release that knew less of them.
    pub top: Vec<TopCustomer>,
    /// Rejections by reason, the most frequent first.
    pub rejections: Vec<(String, u64)>,
}

/// Who is at work on a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Staffing {
    /// The coordinator that leads, if one does.
    pub leader: Option<String>,
    /// Chunks that workers hold.
    pub held: u64,
}

/// What a run holds about one customer.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one is asked for at a time, and most are values")]
pub enum Explained {
    /// A value, with the inputs that it was computed from.
    Valued(Valued),
    /// A rejection: the reason's code.
    Rejected(String),
    /// Nothing: the customer is not in the run, or its chunk is not done.
    Absent,
}

/// A chunk that used up its attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadChunk {
    /// The chunk.
    pub chunk: ChunkRef,
    /// How many customers it holds.
    pub customers: u64,
    /// When it died.
    pub died_at: Option<Timestamp>,
    /// Why its last attempt failed.
    pub reason: Option<String>,
    /// Whether its run is still going on, so that it can be put back to work.
    pub is_open: bool,
}
