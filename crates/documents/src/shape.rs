//! How parts of the documents look that are made by crates which know no OpenAPI. They are never built.
#![expect(missing_docs, reason = "each says what the type of the same name says")]

use utoipa::ToSchema;

/// Expected contributions, summed up over the coming months and discounted, in minor units.
#[derive(ToSchema)]
pub struct Horizons {
    pub months_12: i64,
    pub months_24: i64,
    pub months_36: i64,
    /// `null` where the sum has no end, is beyond 2^53 minor units, or is not known.
    pub for_ever: Option<i64>,
}

/// Two amounts in minor units, ends included.
#[derive(ToSchema)]
pub struct Between {
    pub lower_minor: i64,
    pub upper_minor: i64,
}

/// How far a value rests on what is known of the customer himself, and not of all.
#[derive(ToSchema)]
pub struct Confidence {
    #[schema(inline)]
    pub grade: Grade,
    /// His own share in what is believed of his purchase rate.
    pub own_rate: f64,
    /// His own share in what is believed of his spend.
    pub own_spend: f64,
    /// The width of the 80 % interval in units of what is expected.
    pub relative_width: Option<f64>,
}

/// From `A`, the surest, to `D`, and `PriorOnly` where nothing is known but what is known of all customers.
#[derive(ToSchema)]
pub enum Grade {
    A,
    B,
    C,
    D,
    PriorOnly,
}

/// When the cost of acquisition comes back.
#[derive(ToSchema)]
pub struct Payback {
    /// 0 if it has already, `null` if not within 36 months.
    pub months: Option<u8>,
    /// The probability that it does within 12 months.
    pub probability: f64,
}

/// Discount, take rate, refund rate and margin, as decimal numbers.
#[derive(ToSchema)]
pub struct Terms {
    pub annual_discount_rate: String,
    pub contract_margin: String,
    pub refund_rate: String,
    pub take_rate: String,
}

/// Where a request stands: `waiting` or `leased` while it is open, and how it ended afterwards.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum RequestState {
    Waiting,
    Leased,
    Answered,
    Failed,
    Expired,
    Abandoned,
}

/// How urgent a run is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Priority {
    Critical,
    High,
    Normal,
}

/// Where a run stands.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum RunState {
    Planned,
    Running,
    Held,
    Finished,
    Cancelled,
    Rejected,
}

/// Whether a run that is held is to be shown.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum DecisionKind {
    Release,
    Reject,
}

/// How a model version came into force.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum PromotionKind {
    Promote,
    RollBack,
}

/// How many rows a relation of the source holds.
#[derive(ToSchema)]
pub struct RowCount {
    pub rows: u64,
    /// Whether they were counted; else the server's planner has estimated them.
    pub is_exact: bool,
}

/// How many rows the source holds.
#[derive(ToSchema)]
pub struct SourceCounts {
    pub customers: RowCount,
    pub transactions: RowCount,
    pub subscriptions: Option<RowCount>,
}

/// Why a segment's value is another one than in the run before.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Cause {
    /// Customers who were not in the run before.
    Entered,
    /// Customers who are not in the run any more.
    Left,
    /// Customers who had a value, and are rejected.
    Rejected,
    /// Customers who were rejected, and have a value.
    Recovered,
    /// Customers who came from another segment, with the value that they had.
    MovedIn,
    /// Customers who went to another segment, with the value that they had.
    MovedOut,
    /// Other models, or other terms.
    Model,
    /// Rows from before the older run that were added, changed or deleted since it read them.
    Corrected,
    /// Time went by.
    Time,
    /// What happened between the two moments.
    Events,
}
