//! What a customer is worth, and why.

use batch::{CustomerId, RunId};
use jiff::Timestamp;
use model::{Account, Between, Confidence, Horizons, Models, Payback, PlanIndex, ValueTerms};
use serde::Serialize;
use store::{RunRecord, Valued};
use utoipa::ToSchema;

use crate::{Digits, ModelVersion, shape};

/// A value with all its numbers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Value {
    /// What is expected over 12 months, discounted: the value.
    pub value_minor: i64,
    /// What the customer contributed so far.
    pub historic_minor: i64,
    /// What is expected from purchases and contracts together.
    #[schema(value_type = shape::Horizons)]
    pub future_minor: Horizons,
    /// What of it comes from purchases.
    #[schema(value_type = shape::Horizons)]
    pub purchases_minor: Horizons,
    /// And what from contracts.
    #[schema(value_type = shape::Horizons)]
    pub contracts_minor: Horizons,
    /// Purchases in the coming 12 months.
    pub expected_purchases: f64,
    /// The probability that he will still buy.
    pub p_alive: Option<f64>,
    /// Between which amounts the coming 12 months will lie with a probability of 80 %.
    #[schema(value_type = Option<shape::Between>)]
    pub interval_80: Option<Between>,
    /// The same with 90 %.
    #[schema(value_type = Option<shape::Between>)]
    pub interval_90: Option<Between>,
    /// How far the value rests on what is known of himself.
    #[schema(value_type = shape::Confidence)]
    pub confidence: Confidence,
    /// When what it cost to win him comes back.
    #[schema(value_type = Option<shape::Payback>)]
    pub payback: Option<Payback>,
    /// What is expected of him in 36 months for each unit that he cost.
    pub ltv_to_cac: Option<f64>,
}

/// The same by another name: utoipa takes whatever is called `Value` for any JSON.
pub(crate) type Numbers = Value;

impl Value {
    /// Writes a value down.
    pub fn new(value: &model::Value, account: &Account) -> Self {
        // Taken apart, so that a new field cannot be forgotten here.
        let &model::Value {
            historic_minor,
            purchases,
            contracts,
            expected_purchases,
            p_alive,
            intervals,
            confidence,
            payback,
        } = value;
        Self {
            value_minor: value.value_minor(),
            historic_minor,
            future_minor: value.future(),
            purchases_minor: purchases,
            contracts_minor: contracts,
            expected_purchases,
            p_alive,
            interval_80: intervals.map(|[eighty, _]| eighty),
            interval_90: intervals.map(|[_, ninety]| ninety),
            confidence,
            payback,
            ltv_to_cac: value.ltv_to_cac(account),
        }
    }
}

/// A value, where it stands, what it was computed from, and whether computing it again gives the same.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// The run that it stands in.
    #[schema(value_type = Digits)]
    pub run: RunId,
    /// The moment that it is for.
    #[schema(value_type = String, format = DateTime)]
    pub as_of: Timestamp,
    /// Whose it is.
    #[schema(value_type = Digits)]
    pub customer: CustomerId,
    /// The currency of all money in it.
    pub currency: String,
    /// The value.
    #[serde(flatten)]
    #[schema(value_type = Numbers)]
    pub value: Value,
    /// What it was computed from.
    pub inputs: Inputs,
    /// Discount, take rate, refund rate, margin.
    #[schema(value_type = shape::Terms)]
    pub terms: ValueTerms,
    /// The model version that it was computed with.
    pub model: ModelVersion,
    /// Whether it was computed again with the same bits.
    pub recomputed_to_the_same_bits: bool,
}

impl Explanation {
    /// Explains a customer's value in a run.
    pub fn new(run: &RunRecord, model: &store::ModelVersion, valued: &Valued, is_same: bool) -> Self {
        Self {
            run: run.run,
            as_of: run.as_of,
            customer: valued.customer,
            currency: model.currency.to_string(),
            value: Value::new(&valued.value, &valued.account),
            inputs: Inputs::new(&valued.account, &model.models),
            terms: run.terms,
            model: model.into(),
            recomputed_to_the_same_bits: is_same,
        }
    }
}

/// What a value was computed from; those of the purchases are null for one who never bought anything.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Inputs {
    /// Repeat purchases.
    pub frequency: Option<u32>,
    /// Days from the first purchase to the last.
    pub recency_days: Option<u32>,
    /// Days from the first purchase to the last observed day.
    pub age_days: Option<u32>,
    /// Net spend on the repeat purchases.
    pub repeat_spend_minor: Option<i64>,
    /// Net spend on all purchases.
    pub spend_minor: i64,
    /// All payments for subscriptions.
    pub paid_minor: i64,
    /// The contracts that go on.
    pub contracts: Vec<Contract>,
    /// What it cost to win the customer, where that is known.
    pub acquisition_cost_minor: Option<i64>,
}

impl Inputs {
    /// Writes an account down, with the names that the models have for the plans.
    pub fn new(account: &Account, models: &Models) -> Self {
        let purchases = account.purchases;
        Self {
            frequency: purchases.map(|summary| summary.frequency),
            recency_days: purchases.map(|summary| summary.recency_days),
            age_days: purchases.map(|summary| summary.age_days),
            repeat_spend_minor: purchases.map(|summary| summary.repeat_spend_minor),
            spend_minor: account.spend_minor,
            paid_minor: account.paid_minor,
            contracts: account.contracts.iter().map(|contract| Contract::new(contract, models)).collect(),
            acquisition_cost_minor: account.acquisition_cost_minor,
        }
    }
}

/// A contract that goes on, with its plan's name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Contract {
    /// The plan.
    pub plan: String,
    /// Months from one payment to the next.
    pub period_months: u16,
    /// The amount of one payment.
    pub price_minor: i64,
    /// Renewals so far.
    pub renewals: u32,
    /// Days to the next one.
    pub days_to_renewal: u32,
}

impl Contract {
    /// Writes a contract down, with the name that the models have for its plan.
    pub fn new(contract: &model::Contract, models: &Models) -> Self {
        let &model::Contract { price_minor, renewals, days_to_renewal, period_months, plan } = contract;
        let plan = plan_name(models, plan).to_owned();
        Self { plan, period_months, price_minor, renewals, days_to_renewal }
    }
}

/// Names a plan.
pub fn plan_name(models: &Models, plan: PlanIndex) -> &str {
    models.contracts.plans.get(usize::from(plan.0)).map_or("another plan", |plan| &plan.plan)
}
