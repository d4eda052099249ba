//! The contract models of a model version: one for each plan that has enough of a history, one for all others.

use serde::{Deserialize, Serialize};

use crate::{Bdw, PeriodRate, Sbg, Undefined};

/// How long customers of a plan keep renewing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContractModel {
    /// Churn that differs between customers.
    Sbg(Sbg),
    /// Churn that changes with time too.
    Bdw(Bdw),
}

impl ContractModel {
    /// The probability of at least `n` further renewals of a customer who made `renewals_made`.
    pub fn remaining_survival(&self, renewals_made: u32, n: u32) -> f64 {
        match self {
            Self::Sbg(sbg) => sbg.remaining_survival(renewals_made, n),
            Self::Bdw(bdw) => bdw.remaining_survival(renewals_made, n),
        }
    }

    /// The expected number of further renewals of a customer just before the next, each discounted to that one, for ever.
    pub fn residual_lifetime(&self, renewals_made: u32, rate: PeriodRate) -> Result<f64, Undefined> {
        match self {
            Self::Sbg(sbg) => sbg.residual_lifetime(renewals_made, rate),
            Self::Bdw(bdw) => bdw.residual_lifetime(renewals_made, rate),
        }
    }
}

/// A plan with its model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanModel {
    /// The plan's name.
    pub plan: String,
    /// Months from one payment to the next: a plan that is sold by the month and by the year is two here.
    pub period_months: u16,
    /// How long its customers keep renewing; time in periods.
    pub model: ContractModel,
}

/// The contract models of a model version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContractModels {
    /// The plans that have a model of their own.
    pub plans: Vec<PlanModel>,
    /// What is known of all renewals together, whatever the plan and its period; none if there was nothing to learn
    /// from.
    pub others: Option<ContractModel>,
}

/// The place of a plan's model in [`ContractModels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct PlanIndex(pub u16);

impl PlanIndex {
    /// A plan without a model of its own.
    pub const OTHER: Self = Self(u16::MAX);
}

impl ContractModels {
    /// Finds a plan's model.
    #[inline]
    pub fn find(&self, plan: &str, period_months: u16) -> PlanIndex {
        // There are a handful of them.
        let is_meant = |model: &PlanModel| model.period_months == period_months && model.plan == plan;
        let place = self.plans.iter().take(usize::from(u16::MAX)).position(is_meant);
        place.map_or(PlanIndex::OTHER, |place| PlanIndex(place as u16))
    }

    /// The model at a place; none if it is not there, or nothing is known of other plans.
    pub fn get(&self, index: PlanIndex) -> Option<&ContractModel> {
        match self.plans.get(usize::from(index.0)) {
            Some(plan) => Some(&plan.model),
            None if index == PlanIndex::OTHER => self.others.as_ref(),
            None => None,
        }
    }
}
