//! What goes into the store and comes out of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use batch::{
    Attempt, AttemptId, ChunkId, CustomerId, Limits, Outcome, Plan, Priority, Progress, RunId, RunState,
};
use jiff::Timestamp;
use model::{Account, ContractModels, Currency, Models, Rejection, Value, ValueTerms};
use serde::{Deserialize, Serialize};

use crate::guard::Guarded;

/// The number of a model version, issued by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelVersionId(pub i64);

impl fmt::Display for ModelVersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A term of leadership: issued by the store, never twice, always growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term(pub i64);

/// Which customers a run covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The whole base.
    All,
    /// Everybody in a segment.
    Segment(String),
    /// These, ascending, each once.
    Customers(Vec<CustomerId>),
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => write!(f, "all customers"),
            Self::Segment(segment) => write!(f, "segment {segment}"),
            Self::Customers(customers) => write!(f, "{} named customers", customers.len()),
        }
    }
}

/// A run to be recorded.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// What makes two dispatchers of one night find the same run; `None` for a run that is wanted once more.
    pub night: Option<String>,
    /// Which customers it covers.
    pub selection: Selection,
    /// The queue for its chunks.
    pub priority: Priority,
    /// The moment that it values the customers for; nothing at or after it is looked at.
    pub as_of: Timestamp,
    /// How long it may take, from now.
    pub deadline: Duration,
    /// The model version that it pins.
    pub model_version: ModelVersionId,
    /// Discount, take rate, refund rate, margin.
    pub terms: ValueTerms,
    /// Its chunks.
    pub plan: Plan,
    /// The trace that it is dispatched in, as pairs for the messages of its chunks.
    pub trace: Vec<(String, String)>,
    /// How far it may lie from the run before; none if it is to be compared with no run.
    pub limits: Option<Limits>,
}

/// A recorded run: the one that was asked for, or the one that the night had already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedRun {
    /// Its number.
    pub run: RunId,
    /// Whether this call recorded it.
    pub is_new: bool,
    /// Its chunks that have not been published, in the order in which they should be.
    pub unpublished: Vec<ChunkId>,
    /// The queue for its chunks.
    pub priority: Priority,
}

/// A run as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// Its number.
    pub run: RunId,
    /// The night it is the run of, if it is one's.
    pub night: Option<String>,
    /// Which customers it covers, in words.
    pub selection: String,
    /// Whether that is the whole base.
    pub is_whole: bool,
    /// The queue for its chunks.
    pub priority: Priority,
    /// Where it stands.
    pub state: RunState,
    /// The moment that it values the customers for.
    pub as_of: Timestamp,
    /// The model version that it pins.
    pub model_version: ModelVersionId,
    /// Discount, take rate, refund rate, margin.
    pub terms: ValueTerms,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// When it has to be finished.
    pub deadline_at: Timestamp,
    /// When its values became visible, or when it was cancelled or rejected.
    pub finished_at: Option<Timestamp>,
    /// Sums over its chunks.
    pub progress: Progress,
    /// What the guard found, and what a person said about it.
    pub guard: Guarded,
}

/// What `begin_attempt` answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Begin {
    /// Work to do.
    Assigned(Box<Assignment>),
    /// The chunk is done or dead: the message is a duplicate.
    Settled,
    /// Another attempt is at work on it.
    Leased,
    /// Its retry is not due yet; the coordinator will publish it then.
    NotDue,
    /// The run is over or held, or was never there.
    NoRun,
}

/// An attempt with all that it needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The attempt, and the fencing token.
    pub attempt: AttemptId,
    /// The planned customers, ascending.
    pub customers: Vec<CustomerId>,
    /// Its attempts before this one whose worker never came back.
    pub losses: u32,
    /// Whether the run covers the whole base, so that nobody else lives between the first and the last.
    pub is_whole: bool,
    /// The moment that the run values the customers for.
    pub as_of: Timestamp,
    /// The model version that the run pins.
    pub model_version: ModelVersionId,
    /// Discount, take rate, refund rate, margin.
    pub terms: ValueTerms,
}

/// Where an attempt stands when its worker comes back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the latest and holds its lease again.
    Held,
    /// Its values are committed.
    Committed,
    /// It was superseded, or its run is over; nothing of it may be committed.
    Superseded,
}

/// What to read for an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The planned customers, ascending.
    pub customers: &'a [CustomerId],
    /// The run that it is for, whose plan saw what has to be seen; without one, all that is there now has to be.
    pub run: Option<RunId>,
    /// Whether nobody else lives between the first and the last.
    pub is_whole: bool,
    /// Nothing at or after this moment is read.
    pub as_of: Timestamp,
    /// The currency that the model was fitted in.
    pub currency: Currency,
    /// The contract models, which name the plans.
    pub contracts: &'a ContractModels,
}

/// A customer's history, folded.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The customer.
    pub customer: CustomerId,
    /// What the models need to know, or why they cannot.
    pub account: Result<Account, Rejection>,
    /// How many transactions were read.
    pub transactions: u32,
}

/// A customer's value with the inputs that explain it.
#[derive(Clone, Debug, PartialEq)]
pub struct Valued {
    /// The customer.
    pub customer: CustomerId,
    /// The value.
    pub value: Value,
    /// What it was computed from.
    pub account: Account,
}

/// A customer that could not be valued.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rejected {
    /// The customer.
    pub customer: CustomerId,
    /// Why.
    pub reason: Rejection,
}

/// What an attempt commits. Together they are the planned customers, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultRows {
    /// The customers with a value.
    pub values: Vec<Valued>,
    /// The customers without one.
    pub rejections: Vec<Rejected>,
    /// How many transactions were read of them all.
    pub transactions: u64,
}

impl ResultRows {
    /// The sum of the values over 12 months, in minor units.
    pub fn value_minor(&self) -> i64 {
        self.values.iter().fold(0, |sum: i64, valued| sum.saturating_add(valued.value.value_minor()))
    }
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The values and the chunk's `done` are durable.
    Committed,
    /// The attempt is not the latest any more; nothing was written.
    Refused,
}

/// A run whose values have become visible.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FinishedRun {
    /// The run.
    pub run: RunId,
    /// Its final counts.
    pub progress: Progress,
    /// How long it took from the plan on.
    pub took: Duration,
}

/// The runs that readers see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisibleRuns {
    /// Grows with every run that becomes visible.
    pub version: i64,
    /// The newest first: the partial runs newer than the last whole one, then that one.
    pub runs: Vec<RunId>,
}

/// Models to be stored as a model version.
#[derive(Clone, Debug)]
pub struct NewModelVersion {
    /// The currency that spend was fitted in.
    pub currency: Currency,
    /// The models with their parameters.
    pub models: Models,
    /// What the fit says about itself.
    pub fit: serde_json::Value,
    /// What the parameters were fitted on.
    pub data_fingerprint: String,
    /// The program that fitted them.
    pub code_version: String,
}

/// An immutable set of models.
#[derive(Clone, Debug)]
pub struct ModelVersion {
    /// Its number.
    pub version: ModelVersionId,
    /// When it was stored.
    pub created_at: Timestamp,
    /// The currency that spend was fitted in.
    pub currency: Currency,
    /// The models with their parameters.
    pub models: Models,
    /// What the fit says about itself.
    pub fit: serde_json::Value,
    /// What the parameters were fitted on.
    pub data_fingerprint: String,
    /// The program that fitted them.
    pub code_version: String,
}

/// A promotion to be recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewPromotion {
    /// Who promotes or rolls back; the database's user unless given.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// One line of the history of which model version is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// The model version that came into force.
    pub version: ModelVersionId,
    /// How.
    pub kind: PromotionKind,
    /// When.
    pub promoted_at: Timestamp,
    /// Through whom.
    pub promoted_by: String,
    /// Why, if somebody said.
    pub reason: Option<String>,
}

/// How a model version came into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PromotionKind {
    /// It was chosen, by a fit or by a person.
    Promote,
    /// What was promoted after it was taken back.
    RollBack,
}

impl FromStr for PromotionKind {
    type Err = UnknownPromotionKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "promote" => Ok(Self::Promote),
            "roll_back" => Ok(Self::RollBack),
            _ => Err(UnknownPromotionKind(text.to_owned())),
        }
    }
}

/// A word that is no kind of promotion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of promotion {0:?}")]
pub struct UnknownPromotionKind(String);

/// One line of a chunk's story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The attempt's number.
    pub attempt: Attempt,
    /// Who tried.
    pub worker: String,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// Why it ended so.
    pub reason: Option<String>,
}

/// The code of the rejection that a customer of a dead chunk gets.
pub const DEAD_CHUNK: &str = "dead_chunk";
