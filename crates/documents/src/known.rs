//! What is known of a customer, from a run or from a request.

use batch::{CustomerId, RequestId, RunId};
use jiff::Timestamp;
use model::{Between, Grade};
use serde::Serialize;
use store::{Known, ModelVersionId, Origin};
use utoipa::ToSchema;

use crate::value::Numbers;
use crate::{Digits, Inputs, Value, shape};

/// What is known of a customer, in the fields that every level holds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KnownCustomer {
    /// His number.
    #[schema(value_type = Digits)]
    pub customer: CustomerId,
    /// Whether he has a value.
    pub outcome: Outcome,
    /// The currency of all money in it.
    #[schema(example = "EUR")]
    pub currency: String,
    /// His value, if he has one.
    pub value: Option<ShortValue>,
    /// The code of the reason why he has none.
    #[schema(example = "before_first_purchase")]
    pub reason: Option<String>,
    /// The run that said so, if it was one.
    #[schema(value_type = Option<Digits>)]
    pub run: Option<RunId>,
    /// The request that said so, if it was one.
    #[schema(value_type = Option<Digits>)]
    pub request: Option<RequestId>,
    /// The moment that he was valued for.
    #[schema(value_type = String, format = DateTime)]
    pub as_of: Timestamp,
    /// The model version that it was done with.
    #[schema(value_type = Digits)]
    pub model_version: ModelVersionId,
}

/// Whether a customer has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// He has one.
    Valued,
    /// He has none, for a reason.
    Rejected,
}

/// A value in the numbers that are asked for most.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ShortValue {
    /// What is expected over 12 months, discounted: the value.
    pub value_minor: i64,
    /// What is expected over 36 months.
    pub value_36_minor: i64,
    /// What the customer contributed so far.
    pub historic_minor: i64,
    /// Between which amounts the coming 12 months will lie with a probability of 80 %.
    #[schema(value_type = Option<shape::Between>)]
    pub interval_80: Option<Between>,
    /// Purchases in the coming 12 months.
    pub expected_purchases: f64,
    /// The probability that he will still buy.
    pub p_alive: Option<f64>,
    /// How far the value rests on what is known of himself.
    #[schema(value_type = shape::Grade)]
    pub grade: Grade,
}

impl From<&model::Value> for ShortValue {
    fn from(value: &model::Value) -> Self {
        Self {
            value_minor: value.value_minor(),
            value_36_minor: value.future().months_36,
            historic_minor: value.historic_minor,
            interval_80: value.intervals.map(|[eighty, _]| eighty),
            expected_purchases: value.expected_purchases,
            p_alive: value.p_alive,
            grade: value.confidence.grade,
        }
    }
}

impl KnownCustomer {
    /// Writes down what the store knows, with the model version that it was valued with.
    pub fn new(known: &Known, model: &store::ModelVersion) -> Self {
        let (run, request) = match known.origin {
            Origin::Run(run) => (Some(run), None),
            Origin::Request(request) => (None, Some(request)),
        };
        let valued = known.outcome.as_ref();
        Self {
            customer: known.customer,
            outcome: if valued.is_ok() { Outcome::Valued } else { Outcome::Rejected },
            currency: model.currency.to_string(),
            value: valued.ok().map(|valued| (&valued.value).into()),
            reason: known.outcome.as_ref().err().cloned(),
            run,
            request,
            as_of: known.as_of,
            model_version: known.model_version,
        }
    }
}

/// The same with all that the store holds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KnownInFull {
    /// What every level holds.
    #[serde(flatten)]
    pub known: KnownCustomer,
    /// All numbers of the value, if there is one.
    #[schema(value_type = Option<Numbers>)]
    pub full: Option<Value>,
    /// What it was computed from.
    pub inputs: Option<Inputs>,
}

impl KnownInFull {
    /// Writes down what the store knows, with the model version that it was valued with.
    pub fn new(known: &Known, model: &store::ModelVersion) -> Self {
        let valued = known.outcome.as_ref().ok();
        Self {
            known: KnownCustomer::new(known, model),
            full: valued.map(|valued| Value::new(&valued.value, &valued.account)),
            inputs: valued.map(|valued| Inputs::new(&valued.account, &model.models)),
        }
    }
}
