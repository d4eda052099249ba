//! The contract models of a model version, chosen plan by plan.
//!
//! sBG is BdW at `c = 1`, so twice the difference of their log-likelihoods is about chi-square with one degree of
//! freedom where sBG holds (Wilks 1938). A plan gets BdW where that rejects sBG at 1 %: with hundreds of thousands of
//! contracts any third parameter finds something, with hundreds it has to show that it is needed.
//!
//! Contracts that differ less than by chance have no most likely sBG: `alpha` and `beta` run away together, and the
//! likelihood rises to that of the geometric distribution, which is then what BdW has to beat. Where such a climb ends
//! on ground that is flat enough, the model is that geometric distribution in all but name, and is taken.

use std::collections::BTreeMap;

use super::{ContractRow, FEWEST_OF_A_SEGMENT, Fit, FitError, Tenure, bdw, sbg};
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

/// The fits of both models, and the one chosen; at least one of them is there.
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
}

/// Fits a model to each plan that has at least [`FEWEST_OF_A_SEGMENT`] contracts and churn, and one to all contracts
/// pooled for the plans that have none of their own.
///
/// Never fails: without anything to learn from there are no models. Rows of the same plan and period are taken
/// together, and neither their order nor that of the plans matters.
pub fn contract_models(plans: &[PlanRows<'_>]) -> (ContractModels, ContractDiagnostics) {
    let mut by_plan: BTreeMap<(&str, u16), Vec<ContractRow>> = BTreeMap::new();
    for PlanRows { plan, period_months, rows } in plans {
        by_plan.entry((*plan, *period_months)).or_default().extend_from_slice(rows);
    }
    let pooled: Vec<ContractRow> = by_plan.values().flatten().copied().collect();

    let diagnosed = |((plan, period_months), rows): ((&str, u16), Vec<ContractRow>)| PlanDiagnostics {
        plan: plan.to_owned(),
        period_months,
        contracts: contracts(&rows),
        fit: of_its_own(&rows),
    };
    let diagnostics =
        ContractDiagnostics { plans: by_plan.into_iter().map(diagnosed).collect(), others: chosen(&pooled) };
    (diagnostics.models(), diagnostics)
}

impl ContractDiagnostics {
    fn models(&self) -> ContractModels {
        let own = |plan: &PlanDiagnostics| {
            let fit = plan.fit.as_ref().ok()?;
            Some(PlanModel { plan: plan.plan.clone(), period_months: plan.period_months, model: fit.model })
        };
        ContractModels {
            plans: self.plans.iter().filter_map(own).collect(),
            others: self.others.as_ref().ok().map(|fit| fit.model),
        }
    }
}

fn of_its_own(rows: &[ContractRow]) -> Result<ContractFit, FitError> {
    let found = contracts(rows);
    if found < FEWEST_OF_A_SEGMENT {
        return Err(FitError::TooFewCustomers { model: "sbg", found, needed: FEWEST_OF_A_SEGMENT });
    }
    chosen(rows)
}

fn chosen(rows: &[ContractRow]) -> Result<ContractFit, FitError> {
    let (sbg, bdw) = (sbg(rows), bdw(rows));
    let likelihood_ratio = bdw.as_ref().ok().map(|bdw| {
        let limit = geometric_log_likelihood(rows);
        let without_time = sbg.as_ref().map_or(limit, |sbg| limit.max(sbg.log_likelihood));
        2.0 * (bdw.log_likelihood - without_time)
    });
    let model = match (&sbg, &bdw) {
        (_, Ok(bdw)) if likelihood_ratio > Some(LEAST_RATIO_FOR_BDW) => ContractModel::Bdw(bdw.model),
        (Ok(sbg), _) => ContractModel::Sbg(sbg.model),
        (Err(error), _) => return Err(error.clone()),
    };
    Ok(ContractFit { model, sbg, bdw, likelihood_ratio })
}

/// The log-likelihood when every renewal is refused with the same probability, at the most likely one.
fn geometric_log_likelihood(rows: &[ContractRow]) -> f64 {
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
    let each = |number: f64| if number > 0.0 { number * libm::log(number / (made + refused)) } else { 0.0 };
    each(made) + each(refused)
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
        let why = |plan: usize| diagnostics.plans[plan].fit.as_ref().unwrap_err().to_string();
        assert_eq!(why(1), "fit sbg: 299 customers are too few, at least 300 are needed");
        assert_eq!(why(2), "fit sbg: no customer churned");
        let pooled: Vec<_> = [large, small, loyal.to_vec()].concat();
        assert_eq!(models.others, chosen(&pooled).ok().map(|fit| fit.model));
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
