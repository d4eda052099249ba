//! The contract models of a model version, chosen plan by plan.
//!
//! sBG is BdW at `c = 1`, so twice the difference of their log-likelihoods is about chi-square with one degree of
//! freedom where sBG holds (Wilks 1938). A plan gets BdW where that rejects sBG at 1 %: with hundreds of thousands of
//! contracts any third parameter finds something, with hundreds it has to show that it is needed.
//!
//! Contracts that differ less than by chance, or of which one renewal was seen, have no most likely sBG: `alpha` and
//! `beta` run away together, or may be anything. The likelihood rises to that of the geometric distribution, a churn that
//! is the same for all and always, which is then what BdW has to beat. Where neither beats it, it is taken: as an sBG
//! whose `alpha + beta` is so large that the churn probabilities hardly differ.
//!
//! A plan without a model of its own has that of all plans with its period, and where little is known of those, that of
//! all plans. There is one as soon as there are contracts, if need be with half a churn and half a renewal added to what
//! was seen (Jeffreys' prior).

use std::collections::BTreeMap;

use super::{
    ContractRow, FEWEST_CUSTOMERS, FEWEST_OF_A_SEGMENT, Fit, FitError, Tenure, bdw, is_identified, sbg,
};
use crate::{Bdw, ContractModel, ContractModels, PlanModel, Sbg};

/// The likelihood ratio from which on BdW takes the place of sBG: the 99th percentile of chi-square with one degree of
/// freedom.
pub const LEAST_RATIO_FOR_BDW: f64 = 6.635;

/// What is known of the contracts of a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanRows<'a> {
    /// The plan's name.
    pub plan: &'a str,
    /// Months from one payment to the next.
    pub period_months: u16,
    /// How far its contracts came, in periods.
    pub rows: &'a [ContractRow],
}

/// How the contract models came about.
#[derive(Clone, Debug, PartialEq)]
pub struct ContractDiagnostics {
    /// Each plan, by its name and then its period.
    pub plans: Vec<PlanDiagnostics>,
    /// All contracts with the same period pooled, by the months from one payment to the next, or why they are left to
    /// the fit of all contracts.
    pub others_by_period: BTreeMap<u16, Result<ContractFit, FitError>>,
    /// All contracts pooled, or why nothing is known of them.
    pub others: Result<ContractFit, FitError>,
}

/// How a plan came by its model.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanDiagnostics {
    /// The plan's name.
    pub plan: String,
    /// Months from one payment to the next.
    pub period_months: u16,
    /// Its contracts.
    pub contracts: u64,
    /// Its fit, or why it is left to that of all contracts.
    pub fit: Result<ContractFit, FitError>,
}

/// The fits of both models, and the one chosen; without a constant churn at least one of them is there.
#[derive(Clone, Debug, PartialEq)]
pub struct ContractFit {
    /// The model that the contracts are valued with.
    pub model: ContractModel,
    /// Churn that differs between customers.
    pub sbg: Result<Fit<Sbg>, FitError>,
    /// Churn that changes with time too.
    pub bdw: Result<Fit<Bdw>, FitError>,
    /// Twice what BdW's log-likelihood is above that of sBG, or of its geometric limit where that is higher; none
    /// without BdW.
    pub likelihood_ratio: Option<f64>,
    /// Why the model is the geometric limit of sBG, where it is.
    pub constant_churn: Option<ConstantChurn>,
}

/// Why the same churn is taken for all customers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstantChurn {
    /// Different churn explains the contracts no better than the same for all.
    #[error("constant churn: heterogeneity cannot be told yet")]
    HeterogeneityUntold,
    /// There are contracts and no churn.
    #[error("constant churn: nobody has churned yet, half a churn was added")]
    NobodyChurned,
    /// Too few contracts for two parameters.
    #[error("constant churn: too few contracts for more, half a churn and half a renewal were added")]
    TooFewContracts,
    /// Different churn explains them better, but has no most likely parameters.
    #[error("constant churn: the contracts differ, but in no way that has most likely parameters")]
    NoMostLikelyHeterogeneity,
}

/// Fits a model to each plan that has at least [`FEWEST_OF_A_SEGMENT`] contracts and churn; for the plans that have none
/// of their own, one to all contracts of each period of which at least [`FEWEST_CUSTOMERS`] came to a renewal, and one to
/// all contracts pooled.
///
/// Never fails: without contracts there are no models. Rows of the same plan and period are taken together, and neither
/// their order nor that of the plans matters.
pub fn contract_models(plans: &[PlanRows<'_>]) -> (ContractModels, ContractDiagnostics) {
    let mut by_plan: BTreeMap<(&str, u16), Vec<ContractRow>> = BTreeMap::new();
    let mut by_period: BTreeMap<u16, Vec<ContractRow>> = BTreeMap::new();
    for PlanRows { plan, period_months, rows } in plans {
        by_plan.entry((*plan, *period_months)).or_default().extend_from_slice(rows);
        by_period.entry(*period_months).or_default().extend_from_slice(rows);
    }
    let pooled: Vec<ContractRow> = by_period.values().flatten().copied().collect();

    let diagnosed = |((plan, period_months), rows): ((&str, u16), Vec<ContractRow>)| PlanDiagnostics {
        plan: plan.to_owned(),
        period_months,
        contracts: contracts(&rows),
        fit: of_its_own(&rows),
    };
    let diagnostics = ContractDiagnostics {
        plans: by_plan.into_iter().map(diagnosed).collect(),
        others_by_period: by_period.into_iter().map(|(period, rows)| (period, of_a_period(&rows))).collect(),
        others: of_others(&pooled),
    };
    (diagnostics.models(), diagnostics)
}

impl ContractDiagnostics {
    fn models(&self) -> ContractModels {
        let own = |plan: &PlanDiagnostics| {
            let fit = plan.fit.as_ref().ok()?;
            Some(PlanModel { plan: plan.plan.clone(), period_months: plan.period_months, model: fit.model })
        };
        let of_period = |(&period, fit): (&u16, &Result<ContractFit, FitError>)| {
            fit.as_ref().ok().map(|fit| (period, fit.model))
        };
        ContractModels {
            plans: self.plans.iter().filter_map(own).collect(),
            others_by_period: self.others_by_period.iter().filter_map(of_period).collect(),
            others: self.others.as_ref().ok().map(|fit| fit.model),
        }
    }
}

fn of_its_own(rows: &[ContractRow]) -> Result<ContractFit, FitError> {
    let found = contracts(rows);
    if found < FEWEST_OF_A_SEGMENT {
        return Err(FitError::TooFewCustomers { model: "sbg", found, needed: FEWEST_OF_A_SEGMENT });
    }
    let fit = fitted(rows)?;
    match (fit.constant_churn, &fit.sbg) {
        (None | Some(ConstantChurn::HeterogeneityUntold), _) | (_, Ok(_)) => Ok(fit),
        (Some(_), Err(error)) => Err(error.clone()),
    }
}

fn of_a_period(rows: &[ContractRow]) -> Result<ContractFit, FitError> {
    let found = rows.iter().filter(|row| row.came_to_a_renewal()).map(|row| row.customers).sum();
    if found < FEWEST_CUSTOMERS {
        return Err(FitError::TooFewCustomers { model: "sbg", found, needed: FEWEST_CUSTOMERS });
    }
    fitted(rows)
}

fn of_others(rows: &[ContractRow]) -> Result<ContractFit, FitError> {
    if contracts(rows) == 0 {
        return Err(FitError::TooFewCustomers { model: "sbg", found: 0, needed: 1 });
    }
    fitted(rows)
}

/// The model of at least one contract.
fn fitted(rows: &[ContractRow]) -> Result<ContractFit, FitError> {
    let (sbg, bdw) = (sbg(rows), bdw(rows));
    let renewals = Renewals::of(rows);
    let likelihood_ratio = bdw.as_ref().ok().map(|bdw| {
        let limit = renewals.log_likelihood();
        let without_time = sbg.as_ref().map_or(limit, |sbg| limit.max(sbg.log_likelihood));
        2.0 * (bdw.log_likelihood - without_time)
    });
    let (model, constant_churn) = match (&sbg, &bdw) {
        (_, Ok(bdw)) if likelihood_ratio > Some(LEAST_RATIO_FOR_BDW) => (ContractModel::Bdw(bdw.model), None),
        (Ok(sbg), _) if is_identified(sbg, &[sbg.model.alpha(), sbg.model.beta()]) => {
            (ContractModel::Sbg(sbg.model), None)
        }
        (Ok(_), _) => (ContractModel::Sbg(renewals.geometric()), Some(ConstantChurn::HeterogeneityUntold)),
        (Err(error), _) => {
            let reason = why_constant(rows, &renewals, error)?;
            (ContractModel::Sbg(renewals.geometric()), Some(reason))
        }
    };
    Ok(ContractFit { model, sbg, bdw, likelihood_ratio, constant_churn })
}

/// Why contracts that have no sBG are taken to have a constant churn.
fn why_constant(
    rows: &[ContractRow],
    renewals: &Renewals,
    error: &FitError,
) -> Result<ConstantChurn, FitError> {
    match error {
        FitError::ImpossibleRow { .. } => Err(error.clone()),
        FitError::TooFewCustomers { .. } if renewals.refused > 0.0 => Ok(ConstantChurn::TooFewContracts),
        FitError::TooFewCustomers { .. } | FitError::NobodyChurned { .. } => Ok(ConstantChurn::NobodyChurned),
        FitError::NotIdentified { parameters, .. } | FitError::DidNotConverge { parameters, .. } => {
            let reached = log_likelihood_at(rows, parameters);
            let is_no_better = 2.0 * (reached - renewals.log_likelihood()) <= LEAST_RATIO_FOR_BDW;
            // What is not a number is not better either.
            if is_no_better || reached.is_nan() {
                Ok(ConstantChurn::HeterogeneityUntold)
            } else {
                Ok(ConstantChurn::NoMostLikelyHeterogeneity)
            }
        }
        // The search ran out of the domain, where both parameters are large.
        _ => Ok(ConstantChurn::HeterogeneityUntold),
    }
}

/// The log-likelihood of the contracts under an sBG; not a number outside its domain.
fn log_likelihood_at(rows: &[ContractRow], parameters: &[f64]) -> f64 {
    let &[alpha, beta] = parameters else { return f64::NAN };
    let Ok(model) = Sbg::new(alpha, beta) else { return f64::NAN };
    rows.iter().map(|row| row.customers as f64 * row.ln_probability(&ContractModel::Sbg(model))).sum()
}

/// What is known of a churn that is the same for all: how often a renewal was made, and how often refused.
struct Renewals {
    made: f64,
    refused: f64,
}

/// `alpha + beta` of an sBG that is a geometric distribution in all but name: the largest in its domain.
const HARDLY_DIFFERENT: f64 = 1e7;

impl Renewals {
    fn of(rows: &[ContractRow]) -> Self {
        let (mut made, mut refused) = (0.0, 0.0);
        for ContractRow { tenure, customers } in rows {
            let customers = *customers as f64;
            match *tenure {
                Tenure::ChurnedAt(n) => {
                    made += customers * f64::from(n.saturating_sub(1));
                    refused += customers;
                }
                Tenure::ActiveAfter(n) => made += customers * f64::from(n),
            }
        }
        Self { made, refused }
    }

    /// The log-likelihood when every renewal is refused with the same probability, at the most likely one.
    fn log_likelihood(&self) -> f64 {
        let all = self.made + self.refused;
        let each = |number: f64| if number > 0.0 { number * libm::log(number / all) } else { 0.0 };
        each(self.made) + each(self.refused)
    }

    /// The geometric distribution at the observed rate; where that would be of no churn, of nothing else, or of a
    /// handful of renewals, with half of one and half of the other added.
    fn geometric(&self) -> Sbg {
        let all = self.made + self.refused;
        let is_enough = all >= FEWEST_CUSTOMERS as f64 && self.made > 0.0 && self.refused > 0.0;
        let churn = if is_enough { self.refused / all } else { (self.refused + 0.5) / (all + 1.0) };
        Sbg::new(HARDLY_DIFFERENT * churn, HARDLY_DIFFERENT * (1.0 - churn))
            .expect("a churn of at least half in all renewals and at most all but half, times ten million")
    }
}

fn contracts(rows: &[ContractRow]) -> u64 {
    rows.iter().map(|row| row.customers).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is expected of a cohort of `size` after each of ten renewals.
    fn cohort(size: u64, survival: impl Fn(u32) -> f64) -> Vec<ContractRow> {
        let left = |n| (size as f64 * survival(n)).round() as u64;
        ContractRow::of_survivors(&(0..=10).map(left).collect::<Vec<_>>())
    }

    fn heterogeneous(size: u64) -> Vec<ContractRow> {
        let model = Sbg::new(0.7, 2.1).unwrap();
        cohort(size, |n| model.survival(n))
    }

    fn habitual(size: u64) -> Vec<ContractRow> {
        let model = Bdw::new(0.7, 2.1, 1.6).unwrap();
        cohort(size, |n| model.survival(n))
    }

    fn rows<'a>(plan: &'a str, period_months: u16, rows: &'a [ContractRow]) -> PlanRows<'a> {
        PlanRows { plan, period_months, rows }
    }

    #[test]
    fn a_plan_gets_the_model_that_made_its_contracts() {
        let (basic, premium) = (heterogeneous(20_000), habitual(20_000));

        let (models, diagnostics) =
            contract_models(&[rows("premium", 1, &premium), rows("basic", 1, &basic)]);

        let [ref first, ref second] = models.plans[..] else { panic!("{models:?}") };
        assert_eq!((first.plan.as_str(), second.plan.as_str()), ("basic", "premium"));
        assert!(
            matches!(first.model, ContractModel::Sbg(fit) if (fit.alpha() / 0.7 - 1.0).abs() < 0.02),
            "{first:?}"
        );
        assert!(
            matches!(second.model, ContractModel::Bdw(fit) if (fit.c() / 1.6 - 1.0).abs() < 0.02),
            "{second:?}"
        );
        let ratio = |plan: usize| {
            let fit = diagnostics.plans[plan].fit.as_ref().unwrap();
            let by_hand =
                2.0 * (fit.bdw.as_ref().unwrap().log_likelihood - fit.sbg.as_ref().unwrap().log_likelihood);
            assert_eq!(fit.likelihood_ratio, Some(by_hand));
            by_hand
        };
        assert!(ratio(0) < 1.0 && ratio(1) > 100.0, "{} {}", ratio(0), ratio(1));
        assert!(models.others.is_some());
    }

    #[test]
    fn the_same_plan_by_the_month_and_by_the_year_is_two() {
        let (monthly, yearly) = (heterogeneous(5000), habitual(5000));

        let (models, _) = contract_models(&[rows("basic", 12, &yearly), rows("basic", 1, &monthly)]);

        let periods: Vec<u16> = models.plans.iter().map(|plan| plan.period_months).collect();
        assert_eq!(periods, [1, 12]);
    }

    #[test]
    fn a_plan_that_is_too_small_or_lost_nobody_is_left_to_all_others() {
        let (large, small) = (heterogeneous(1000), heterogeneous(299));
        let loyal = [ContractRow { tenure: Tenure::ActiveAfter(5), customers: 1000 }];

        let (models, diagnostics) =
            contract_models(&[rows("a", 1, &large), rows("b", 1, &small), rows("c", 1, &loyal)]);

        assert_eq!(models.plans.len(), 1);
        let reason = |plan: usize| diagnostics.plans[plan].fit.as_ref().unwrap_err().to_string();
        assert_eq!(reason(1), "fit sbg: 299 customers are too few, at least 300 are needed");
        assert_eq!(reason(2), "fit sbg: no customer churned");
        let pooled: Vec<_> = [large, small, loyal.to_vec()].concat();
        assert_eq!(models.others, fitted(&pooled).ok().map(|fit| fit.model));
    }

    fn constant(model: Option<ContractModel>) -> f64 {
        let Some(ContractModel::Sbg(model)) = model else { panic!("{model:?}") };
        assert!((model.retention(200) - model.retention(1)).abs() < 1e-4, "{model:?}");
        1.0 - model.retention(1)
    }

    #[test]
    fn one_renewal_behind_a_cohort_tells_a_constant_churn() {
        for (survivors, churn) in [([1000, 700], 0.3), ([1000, 600], 0.4), ([5000, 4987], 0.0026)] {
            let cohort = ContractRow::of_survivors(&survivors);

            let (models, diagnostics) = contract_models(&[rows("new", 1, &cohort)]);

            let fit = diagnostics.plans[0].fit.as_ref().unwrap();
            assert_eq!(fit.constant_churn, Some(ConstantChurn::HeterogeneityUntold), "{fit:?}");
            assert!((constant(Some(models.plans[0].model)) - churn).abs() < 1e-9);
            assert_eq!(models.others, Some(models.plans[0].model));
            let rate = crate::PeriodRate::new(0.01).unwrap();
            let lifetime = models.plans[0].model.residual_lifetime(3, rate).unwrap();
            let geometric = (1.0 - churn) * 1.01 / (0.01 + churn);
            assert!((lifetime / geometric - 1.0).abs() < 1e-4, "{lifetime} is not {geometric}");
        }
    }

    #[test]
    fn while_there_are_contracts_something_is_known_of_others() {
        let check = |rows: &[ContractRow], churn: f64, reason| {
            let (models, diagnostics) = contract_models(&[PlanRows { plan: "a", period_months: 1, rows }]);

            assert_eq!(diagnostics.others.unwrap().constant_churn, Some(reason));
            assert!((constant(models.others) / churn - 1.0).abs() < 1e-9, "{models:?}");
        };
        let active = |n, customers| ContractRow { tenure: Tenure::ActiveAfter(n), customers };
        let churned = |n, customers| ContractRow { tenure: Tenure::ChurnedAt(n), customers };

        check(&[active(5, 1000)], 0.5 / 5001.0, ConstantChurn::NobodyChurned);
        check(&[active(0, 1000)], 0.5, ConstantChurn::NobodyChurned);
        check(&[active(2, 3)], 0.5 / 7.0, ConstantChurn::NobodyChurned);
        check(&[active(1, 3), churned(2, 1)], 1.5 / 6.0, ConstantChurn::TooFewContracts);
        check(&[churned(1, 400)], 400.5 / 401.0, ConstantChurn::HeterogeneityUntold);
    }

    #[test]
    fn others_who_either_leave_at_once_or_never_have_a_constant_churn_that_says_so() {
        let cohort = ContractRow::of_survivors(&[1000, 700, 700, 700, 700]);

        let (models, diagnostics) = contract_models(&[rows("a", 1, &cohort)]);

        assert!(diagnostics.plans[0].fit.is_err(), "{diagnostics:?}");
        let reason = diagnostics.others.unwrap().constant_churn;
        assert_eq!(reason, Some(ConstantChurn::NoMostLikelyHeterogeneity));
        assert!((constant(models.others) - 300.0 / 3100.0).abs() < 1e-9);
    }

    #[test]
    fn others_are_pooled_by_their_period_where_enough_came_to_a_renewal() {
        let (monthly, yearly) = (heterogeneous(299), ContractRow::of_survivors(&[200, 190]));
        let new = [ContractRow { tenure: Tenure::ActiveAfter(0), customers: 200 }];

        let (models, diagnostics) =
            contract_models(&[rows("a", 1, &monthly), rows("b", 12, &yearly), rows("c", 24, &new)]);

        assert_eq!(models.plans, []);
        assert_eq!(models.others_by_period.keys().copied().collect::<Vec<_>>(), [1, 12]);
        assert!((constant(models.others_by_period.get(&12).copied()) - 0.05).abs() < 1e-9);
        assert!(models.others_by_period[&1] != models.others.unwrap());
        let reason = diagnostics.others_by_period[&24].as_ref().unwrap_err().to_string();
        assert_eq!(reason, "fit sbg: 0 customers are too few, at least 20 are needed");
    }

    #[test]
    fn without_contracts_there_are_no_models() {
        let (models, diagnostics) = contract_models(&[]);

        assert_eq!(models, ContractModels::default());
        assert!(diagnostics.others.unwrap_err().to_string().contains("0 customers are too few"));
    }

    #[test]
    fn contracts_that_wear_out_alike_get_the_model_that_can_say_so() {
        // A discrete Weibull without any difference between customers: sBG runs away to the geometric.
        let worn = cohort(20_000, |n| libm::pow(0.97, libm::pow(f64::from(n), 1.8)));

        let (models, diagnostics) = contract_models(&[rows("worn", 1, &worn)]);

        let fit = diagnostics.plans[0].fit.as_ref().unwrap();
        assert!(fit.likelihood_ratio > Some(100.0), "{fit:?}");
        assert!(
            matches!(models.plans[0].model, ContractModel::Bdw(model) if (model.c() / 1.8 - 1.0).abs() < 0.02),
            "{models:?}"
        );
    }

    #[test]
    fn neither_the_order_of_plans_nor_that_of_rows_changes_a_bit() {
        let (basic, premium) = (heterogeneous(3000), habitual(3000));
        let (front, back) = basic.split_at(4);

        let one = contract_models(&[rows("basic", 1, &basic), rows("premium", 1, &premium)]);
        let other =
            contract_models(&[rows("basic", 1, back), rows("premium", 1, &premium), rows("basic", 1, front)]);

        assert_eq!(one, other);
    }
}
