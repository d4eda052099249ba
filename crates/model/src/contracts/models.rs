//! The contract models of a model version: one for each plan that has enough of a history, one for all others.

use std::collections::BTreeMap;

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

impl From<Sbg> for ContractModel {
    fn from(model: Sbg) -> Self {
        Self::Sbg(model)
    }
}

impl From<Bdw> for ContractModel {
    fn from(model: Bdw) -> Self {
        Self::Bdw(model)
    }
}

impl ContractModel {
    /// The probability of at least `n` further renewals of a customer who made `renewals_made`.
    pub fn remaining_survival(&self, renewals_made: u32, n: u32) -> f64 {
        match self {
            Self::Sbg(sbg) => sbg.remaining_survival(renewals_made, n),
            Self::Bdw(bdw) => bdw.remaining_survival(renewals_made, n),
        }
    }

    /// The logarithm of the probability to be a customer still after `n` renewals.
    pub fn ln_survival(&self, n: u32) -> f64 {
        match self {
            Self::Sbg(sbg) => sbg.ln_survival(n),
            Self::Bdw(bdw) => bdw.ln_survival(n),
        }
    }

    /// The probability to churn at the `n`-th renewal of those who came to it; 0 for `n = 0`.
    pub fn churn(&self, n: u32) -> f64 {
        match self {
            Self::Sbg(sbg) => sbg.churn(n),
            Self::Bdw(bdw) => bdw.churn(n),
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
    /// What is known of the renewals of all plans with the same period, for those without a model of their own, by the
    /// months from one payment to the next.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others_by_period: BTreeMap<u16, ContractModel>,
    /// What is known of all renewals together, whatever the plan and its period, for periods that are not there; none
    /// if there were no contracts.
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

    /// The model at a place, for a contract with this period; none if it is not there, or nothing is known of other
    /// plans.
    #[inline]
    pub fn get(&self, index: PlanIndex, period_months: u16) -> Option<&ContractModel> {
        match self.plans.get(usize::from(index.0)) {
            Some(plan) => Some(&plan.model),
            None if index == PlanIndex::OTHER => {
                self.others_by_period.get(&period_months).or(self.others.as_ref())
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BgNbd, GammaGamma, Models, Parameters};

    fn model(alpha: f64) -> ContractModel {
        ContractModel::Sbg(Sbg::new(alpha, 1.0).unwrap())
    }

    fn models() -> ContractModels {
        let basic = PlanModel { plan: "basic".into(), period_months: 1, model: model(2.0) };
        ContractModels {
            plans: vec![basic],
            others_by_period: BTreeMap::from([(12, model(3.0))]),
            others: Some(model(4.0)),
        }
    }

    #[test]
    fn a_plan_without_a_model_of_its_own_has_that_of_its_period_or_else_that_of_all() {
        let models = models();
        let found = |plan, period| *models.get(models.find(plan, period), period).unwrap();

        assert_eq!(found("basic", 1), model(2.0));
        assert_eq!(found("basic", 12), model(3.0));
        assert_eq!(found("gold", 12), model(3.0));
        assert_eq!(found("gold", 1), model(4.0));
        assert_eq!(models.get(PlanIndex(1), 1), None);
    }

    #[test]
    fn models_by_period_survive_json_and_versions_without_them_are_understood() {
        let purchases = Parameters {
            bg_nbd: BgNbd::new(0.243, 4.414, 0.793, 2.426).unwrap(),
            gamma_gamma: GammaGamma::new(6.25, 3.74, 1544.0).unwrap(),
        };
        let all = Models { contracts: models(), ..purchases.into() };

        let json = serde_json::to_value(&all).unwrap();

        assert_eq!(serde_json::from_value::<Models>(json.clone()).unwrap(), all);
        assert_eq!(serde_json::from_str::<Models>(&json.to_string()).unwrap(), all);
        let old: ContractModels = serde_json::from_str(r#"{"plans": [], "others": null}"#).unwrap();
        assert_eq!(old, ContractModels::default());
        let text = serde_json::to_string(&old).unwrap();
        assert_eq!(text, r#"{"plans":[],"others":null}"#);
    }
}
