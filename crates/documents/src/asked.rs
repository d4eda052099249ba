//! What is asked of the fleet: requests, batches of customers, and values that were worked out for whoever asked.

use batch::{CustomerId, RequestId, RequestState};
use jiff::Timestamp;
use serde::Serialize;
use store::{ModelVersionId, RequestRecord};
use utoipa::ToSchema;

use crate::value::Numbers;
use crate::{Digits, Inputs, KnownCustomer, KnownInFull, Value, shape};

/// An urgent question, as it stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Request {
    /// Its number.
    #[schema(value_type = Digits)]
    pub request: RequestId,
    /// Where it stands.
    #[schema(value_type = shape::RequestState)]
    pub state: &'static str,
    /// How many customers it asks about.
    pub customers: u64,
    /// When it was asked, for the last time.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// When its time is over.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The moment that the customers are valued for, once somebody has begun.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub as_of: Option<Timestamp>,
    /// The model version that it is done with.
    #[schema(value_type = Option<Digits>)]
    pub model_version: Option<ModelVersionId>,
    /// Customers with a value.
    pub values: u64,
    /// Customers without one.
    pub rejections: u64,
    /// Attempts that failed or were lost.
    pub failures: u32,
    /// When it was answered or failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub settled_at: Option<Timestamp>,
}

impl Request {
    /// Writes down what the store has recorded.
    pub fn new(record: &RequestRecord) -> Self {
        Self {
            request: record.request,
            state: record.state.as_str(),
            customers: record.customers,
            asked_at: record.asked_at,
            expires_at: record.expires_at,
            as_of: record.pinned.map(|pinned| pinned.as_of),
            model_version: record.pinned.map(|pinned| pinned.model_version),
            values: record.values,
            rejections: record.rejections,
            failures: record.failures,
            settled_at: record.settled_at,
        }
    }

    /// That of one that has just been left, as it was before.
    #[must_use]
    pub fn abandoned(self) -> Self {
        Self { state: RequestState::Abandoned.as_str(), ..self }
    }
}

/// A request with its answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RequestWithAnswer {
    /// The request.
    #[serde(flatten)]
    pub request: Request,
    /// What was answered, by customer; `null` while there is no answer.
    #[schema(value_type = Option<Vec<Customer>>)]
    pub results: Option<Vec<Fresh>>,
}

/// What was worked out for a customer because somebody asked.
#[derive(Clone, Debug, Serialize)]
pub struct Fresh {
    /// What is known of him.
    #[serde(flatten)]
    pub told: Told,
    /// Whether the customer has done something since that his value does not know of; `null` where that cannot be told.
    pub stale: Option<bool>,
    /// Where the answer comes from.
    pub served: Served,
}

/// What is known of a customer, as fully as was asked for.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Told {
    /// With `view=full`.
    Full(Box<KnownInFull>),
    /// Otherwise.
    Short(KnownCustomer),
}

/// How [`Told`] and [`Fresh`] look in the document of the api. It is never built.
#[derive(Debug, Serialize, ToSchema)]
pub struct Customer {
    /// What is known of him.
    #[serde(flatten)]
    pub known: KnownCustomer,
    /// With `view=full`, all numbers of the value, if there is one.
    #[schema(value_type = Option<Numbers>)]
    pub full: Option<Value>,
    /// With `view=full`, what it was computed from.
    pub inputs: Option<Inputs>,
    /// Where it had to be fresh, whether the customer has done something since that his value does not know of.
    pub stale: Option<bool>,
    /// Where it had to be fresh, where the answer comes from.
    pub served: Option<Served>,
}

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Served {
    /// What held it.
    pub from: ServedFrom,
    /// For how long it has been held there, where that is not the truth itself.
    pub age_seconds: u64,
}

/// What held an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServedFrom {
    /// The truth.
    Store,
    /// Nothing: it was worked out.
    Computed,
}

impl Served {
    /// One that is from the truth, or new.
    pub fn now(from: ServedFrom) -> Self {
        Self { from, age_seconds: 0 }
    }
}

/// What was found out about customers, in the order in which they were asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Batch {
    /// The request that worked it out; `null` where nothing had to be.
    #[schema(value_type = Option<Digits>)]
    pub request: Option<RequestId>,
    /// How many results there are of each kind.
    pub counts: BatchCounts,
    /// One for each that was asked for.
    pub results: Vec<BatchResult>,
    /// Where they come from.
    pub served: Served,
}

impl Batch {
    /// Counts the results.
    pub fn new(request: Option<RequestId>, from: ServedFrom, results: Vec<BatchResult>) -> Self {
        let mut counts = BatchCounts::default();
        for result in &results {
            *counts.of(result.outcome) += 1;
        }
        Self { request, counts, results, served: Served::now(from) }
    }
}

/// How many results there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[expect(missing_docs, reason = "each counts the outcome of its name")]
pub struct BatchCounts {
    pub valued: u64,
    pub rejected: u64,
    pub unvalued: u64,
    pub unknown: u64,
    pub duplicate_of: u64,
}

impl BatchCounts {
    fn of(&mut self, outcome: BatchOutcome) -> &mut u64 {
        match outcome {
            BatchOutcome::Valued => &mut self.valued,
            BatchOutcome::Rejected => &mut self.rejected,
            BatchOutcome::Unvalued => &mut self.unvalued,
            BatchOutcome::Unknown => &mut self.unknown,
            BatchOutcome::DuplicateOf => &mut self.duplicate_of,
        }
    }
}

/// What was found out about one of a batch.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BatchResult {
    /// The customer's number; `null` where only a name was given that nobody has.
    #[schema(value_type = Option<Digits>)]
    pub customer: Option<CustomerId>,
    /// The name that he was asked for by, if it was one.
    pub external_id: Option<String>,
    /// What was found out.
    pub outcome: BatchOutcome,
    /// Where the same customer stands among the results, counted from 0.
    pub duplicate_of: Option<u64>,
    /// What is known of him, for who is valued or rejected.
    #[schema(value_type = Option<Customer>)]
    pub known: Option<Told>,
    /// Whether he has done something since that his value does not know of; `null` where nothing is known,
    /// or that cannot be told.
    pub stale: Option<bool>,
}

/// What was found out about one of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchOutcome {
    /// He has a value.
    Valued,
    /// He has none, for a reason.
    Rejected,
    /// He is a customer, and no run or request has said anything of him yet.
    Unvalued,
    /// There is no such customer.
    Unknown,
    /// He stands among those before.
    DuplicateOf,
}
