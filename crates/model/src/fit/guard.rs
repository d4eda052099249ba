//! Whether fitted models may take the place of those in force.
//!
//! A fit that converged can still be wrong for the business: a broken feed, a campaign counted twice, a currency mixed
//! up all have a most likely model. Nothing here fits or stores: [`judge`] compares two fits and says what moved too
//! far, and by how much; whoever asked keeps the models in force then.

use std::borrow::Cow;
use std::collections::BTreeSet;

use rayon::prelude::*;

use super::PlanRows;
use crate::{ContractModel, ContractModels, Parameters, PlanIndex, Scorer, Summary};

/// What a fit came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The parameters of both purchase models.
    pub parameters: Parameters,
    /// Whether the purchases were fitted in the time of a season. Two fits of which only one was have parameters in
    /// different clocks, which cannot be held against each other; their likelihoods and forecasts still are.
    pub is_seasonal: bool,
    /// The log-likelihood of the purchases under the fit, per customer.
    pub purchase_log_likelihood: f64,
    /// The log-likelihood of the mean spends under the fit, per customer who bought again.
    pub spend_log_likelihood: f64,
    /// How long subscribers keep renewing.
    pub contracts: ContractModels,
    /// The log-likelihood of the contracts under the fit, per contract that came to a renewal
    /// ([`contract_log_likelihood`]); none without such.
    pub contract_log_likelihood: Option<f64>,
    /// The forecast spend of today's customers over the horizon, in minor units ([`forecast`]). Forecasts of the same
    /// customers, each fit's by its own parameters, differ by what the parameters say and by nothing else: a base that
    /// grew moves none of them.
    pub forecast: f64,
    /// The forecast spend per customer of those that the fit was made of. There a feed that broke shows, even where the
    /// parameters hardly moved.
    pub forecast_per_customer: f64,
}

/// The values of all customers together, in minor units; who cannot be valued adds nothing.
pub fn forecast(scorer: &Scorer, customers: &[Summary]) -> f64 {
    // Whole numbers, so that the order of adding cannot be seen.
    let value = |customer| scorer.value(customer).map_or(0, |value| i128::from(value.value_minor));
    customers.par_iter().map(value).sum::<i128>() as f64
}

/// The mean log-likelihood of the contracts that came to a renewal, each under the model that it is valued with; none
/// without such. Those that did not say nothing, so that new contracts move nothing.
pub fn contract_log_likelihood(models: &ContractModels, plans: &[PlanRows<'_>]) -> Option<f64> {
    let (mut sum, mut contracts) = (0.0, 0.0);
    for plan in plans {
        let Some(model) = valued_with(models, plan.plan, plan.period_months) else { continue };
        for row in plan.rows.iter().filter(|row| row.came_to_a_renewal()) {
            sum += row.customers as f64 * row.ln_probability(model);
            contracts += row.customers as f64;
        }
    }
    (contracts > 0.0).then(|| sum / contracts)
}

fn valued_with<'a>(models: &'a ContractModels, plan: &str, period_months: u16) -> Option<&'a ContractModel> {
    models.get(models.find(plan, period_months), period_months)
}

/// How far a fit may be from the one in force; each at least 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The log-likelihood per customer, either way, in nats.
    pub log_likelihood: f64,
    /// The logarithm of each parameter, either way: 0.7 is twice or half.
    pub ln_parameter: f64,
    /// The logarithm of a plan's churn at the first renewal, either way.
    pub ln_churn: f64,
    /// The log-likelihood per contract, either way, in nats.
    pub contract_log_likelihood: f64,
    /// The logarithm of the forecast of the same customers, either way.
    pub ln_forecast: f64,
    /// The logarithm of the forecast per customer, either way; the customers change, so this is wider.
    pub ln_forecast_per_customer: f64,
}

impl Default for Limits {
    /// A tenth of a nat per customer, parameters within twice and half, churn and the forecast per customer within half as
    /// much again, the forecast of the same customers within a fifth. A contract's log-likelihood grows with the renewals
    /// it has behind it, so half a nat is left to it.
    fn default() -> Self {
        Self {
            log_likelihood: 0.1,
            ln_parameter: std::f64::consts::LN_2,
            ln_churn: 0.4,
            contract_log_likelihood: 0.5,
            ln_forecast: 0.2,
            ln_forecast_per_customer: 0.4,
        }
    }
}

/// What is to be done with the fitted models.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// They take the place of those in force; somebody should look at the flags.
    Accept(Vec<Flag>),
    /// Those in force are kept, for these reasons; there is at least one.
    Keep(Vec<Breach>),
}

/// What moved too far.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Breach {
    /// A quantity is further from that in force than its limit, or not a number.
    #[error("{quantity} moved by {by:+.3} (at most {limit} either way)")]
    Moved {
        /// Which one.
        quantity: Cow<'static, str>,
        /// The fitted less the one in force: of the log-likelihood per customer, else of the logarithm.
        by: f64,
        /// How far it may move.
        limit: f64,
    },
    /// Contracts that were valued have no model any more.
    #[error("{quantity} is not known any more")]
    Lost {
        /// What was known.
        quantity: String,
    },
    /// The logarithm of a parameter is outside its bounds.
    #[error("ln {parameter} = {ln:.3} is not from -15 to 15")]
    OutOfBounds {
        /// Which one.
        parameter: &'static str,
        /// Its logarithm.
        ln: f64,
    },
}

/// What is possible and strange.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Flag {
    /// Nearly all customers would never leave: sums without an end are then decided by the tail.
    #[error("a = {a} is below 0.05: hardly any customer ever leaves")]
    DropoutHardlyEver {
        /// The first shape of the dropout.
        a: f64,
    },
    /// A new customer's mean spend hardly exists.
    #[error("q = {q} is at most 1.05: the mean spend is decided by the largest amounts")]
    SpendHardlyHasMean {
        /// The shape of the spends' tail.
        q: f64,
    },
}

/// The bounds of the logarithms of all parameters, either way; money in minor units.
pub const LARGEST_LN_PARAMETER: f64 = 15.0;

const LEAST_A: f64 = 0.05;
const LEAST_Q: f64 = 1.05;

/// Judges a fit by the one in force; the first of all by its bounds alone.
pub fn judge(in_force: Option<&Fitted>, fitted: &Fitted, limits: &Limits) -> Verdict {
    let mut breaches = out_of_bounds(&fitted.parameters);
    if let Some(in_force) = in_force {
        breaches.extend(moved(in_force, fitted, limits));
    }
    if breaches.is_empty() { Verdict::Accept(flags(&fitted.parameters)) } else { Verdict::Keep(breaches) }
}

/// What is strange about parameters.
pub fn flags(parameters: &Parameters) -> Vec<Flag> {
    let (a, q) = (parameters.bg_nbd.a(), parameters.gamma_gamma.q());
    let dropout = (a < LEAST_A).then_some(Flag::DropoutHardlyEver { a });
    let spend = (q <= LEAST_Q).then_some(Flag::SpendHardlyHasMean { q });
    dropout.into_iter().chain(spend).collect()
}

fn out_of_bounds(parameters: &Parameters) -> Vec<Breach> {
    logarithms(parameters)
        .into_iter()
        .filter(|(_, ln)| ln.abs() > LARGEST_LN_PARAMETER)
        .map(|(parameter, ln)| Breach::OutOfBounds { parameter, ln })
        .collect()
}

fn moved(in_force: &Fitted, fitted: &Fitted, limits: &Limits) -> Vec<Breach> {
    let purchases = fitted.purchase_log_likelihood - in_force.purchase_log_likelihood;
    let spends = fitted.spend_log_likelihood - in_force.spend_log_likelihood;
    let forecast = ln_ratio(fitted.forecast, in_force.forecast);
    let per_customer = ln_ratio(fitted.forecast_per_customer, in_force.forecast_per_customer);
    let contracts = fitted.contract_log_likelihood.zip(in_force.contract_log_likelihood);
    let contracts = contracts.map(|(now, before)| now - before);
    let have_one_clock = fitted.is_seasonal == in_force.is_seasonal;
    let parameters = logarithms(&fitted.parameters)
        .into_iter()
        .zip(logarithms(&in_force.parameters))
        .filter(|_| have_one_clock)
        .map(|((name, now), (_, before))| (name, now - before, limits.ln_parameter));
    let quantities = [
        ("the log-likelihood of the purchases", purchases, limits.log_likelihood),
        ("the log-likelihood of the spends", spends, limits.log_likelihood),
        ("the forecast of today's customers", forecast, limits.ln_forecast),
        ("the forecast per customer", per_customer, limits.ln_forecast_per_customer),
    ];
    let contracts =
        contracts.map(|by| ("the log-likelihood of the contracts", by, limits.contract_log_likelihood));
    let breach = |(quantity, by, limit): (&'static str, f64, f64)| is_too_far(quantity.into(), by, limit);
    quantities
        .into_iter()
        .chain(contracts)
        .chain(parameters)
        .filter_map(breach)
        .chain(moved_contracts(&in_force.contracts, &fitted.contracts, limits.ln_churn))
        .collect()
}

/// The churn of every plan that either fit knows, and of the others, by the models that they are valued with.
fn moved_contracts(in_force: &ContractModels, fitted: &ContractModels, limit: f64) -> Vec<Breach> {
    let both = [in_force, fitted];
    let plans: BTreeSet<(&str, u16)> = both
        .iter()
        .flat_map(|models| &models.plans)
        .map(|plan| (plan.plan.as_str(), plan.period_months))
        .collect();
    let periods: BTreeSet<u16> =
        both.iter().flat_map(|models| models.others_by_period.keys().copied()).collect();
    let of_plan = |(plan, period): (&str, u16)| {
        let name = format!("the churn of {plan}, every {}", months(period));
        (name, both.map(|models| valued_with(models, plan, period)))
    };
    let of_period = |period: u16| {
        let name = format!("the churn of other plans, every {}", months(period));
        (name, both.map(|models| models.get(PlanIndex::OTHER, period)))
    };
    let of_others = ("the churn of other plans".to_owned(), both.map(|models| models.others.as_ref()));
    plans
        .into_iter()
        .map(of_plan)
        .chain(periods.into_iter().map(of_period))
        .chain([of_others])
        .filter_map(|(quantity, models)| match models {
            [Some(before), Some(now)] => {
                is_too_far(quantity.into(), ln_ratio(now.churn(1), before.churn(1)), limit)
            }
            [Some(_), None] => Some(Breach::Lost { quantity }),
            // What was not valued before cannot have moved.
            [None, _] => None,
        })
        .collect()
}

fn months(period: u16) -> String {
    if period == 1 { "month".into() } else { format!("{period} months") }
}

/// The logarithm of how many times as much it is; 0 of 0 has not moved.
#[expect(clippy::float_cmp, reason = "what is the same to the bit has not moved")]
fn ln_ratio(now: f64, before: f64) -> f64 {
    if now == before { 0.0 } else { libm::log(now / before) }
}

fn is_too_far(quantity: Cow<'static, str>, by: f64, limit: f64) -> Option<Breach> {
    // What is not a number has moved too far, too.
    (!(-limit..=limit).contains(&by)).then_some(Breach::Moved { quantity, by, limit })
}

fn logarithms(parameters: &Parameters) -> [(&'static str, f64); 7] {
    let Parameters { bg_nbd, gamma_gamma } = parameters;
    [
        ("r", bg_nbd.r()),
        ("alpha", bg_nbd.alpha()),
        ("a", bg_nbd.a()),
        ("b", bg_nbd.b()),
        ("p", gamma_gamma.p()),
        ("q", gamma_gamma.q()),
        ("v", gamma_gamma.v()),
    ]
    .map(|(name, value)| (name, libm::log(value)))
}

#[cfg(test)]
mod tests {
    use super::super::{ContractRow, Tenure};
    use super::*;
    use std::collections::BTreeMap;

    use crate::{BgNbd, GammaGamma, PlanModel, Sbg};

    fn fitted() -> Fitted {
        Fitted {
            parameters: with(0.793, 3.74),
            is_seasonal: false,
            purchase_log_likelihood: -4.1,
            spend_log_likelihood: -4.3,
            contracts: contracts(0.02),
            contract_log_likelihood: Some(-1.2),
            forecast: 1e9,
            forecast_per_customer: 1e4,
        }
    }

    /// Contracts with this churn at the first renewal.
    fn contracts(churn: f64) -> ContractModels {
        let model = |churn: f64| ContractModel::Sbg(Sbg::new(10.0 * churn, 10.0 * (1.0 - churn)).unwrap());
        ContractModels {
            plans: vec![PlanModel { plan: "basic".into(), period_months: 1, model: model(churn) }],
            others_by_period: BTreeMap::from([(12, model(0.1))]),
            others: Some(model(0.05)),
        }
    }

    fn with(a: f64, q: f64) -> Parameters {
        Parameters {
            bg_nbd: BgNbd::new(0.243, 4.414, a, 2.426).unwrap(),
            gamma_gamma: GammaGamma::new(6.25, q, 1544.0).unwrap(),
        }
    }

    fn breaches(now: &Fitted) -> Vec<String> {
        match judge(Some(&fitted()), now, &Limits::default()) {
            Verdict::Accept(_) => Vec::new(),
            Verdict::Keep(breaches) => breaches.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_fit_like_the_last_is_accepted() {
        let now = Fitted { parameters: with(0.9, 3.5), forecast: 1.1e9, ..fitted() };

        assert_eq!(judge(Some(&fitted()), &now, &Limits::default()), Verdict::Accept(Vec::new()));
    }

    #[test]
    fn what_moved_too_far_is_named_with_its_distance() {
        let now = Fitted {
            parameters: with(0.3, 3.74),
            purchase_log_likelihood: -4.3,
            forecast: 0.5e9,
            ..fitted()
        };

        assert_eq!(
            breaches(&now),
            [
                "the log-likelihood of the purchases moved by -0.200 (at most 0.1 either way)",
                "the forecast of today's customers moved by -0.693 (at most 0.2 either way)",
                "a moved by -0.972 (at most 0.6931471805599453 either way)",
            ]
        );
    }

    #[test]
    fn fits_in_different_clocks_are_judged_without_their_parameters() {
        let now = Fitted { parameters: with(0.3, 3.74), is_seasonal: true, ..fitted() };

        assert_eq!(breaches(&now), [""; 0]);
        assert_eq!(breaches(&Fitted { is_seasonal: false, ..now.clone() }).len(), 1);
        assert_eq!(breaches(&Fitted { forecast: 1.3e9, ..now }).len(), 1);
    }

    #[test]
    fn the_forecast_is_the_sum_of_the_values() {
        let customer = |frequency: u32| Summary {
            frequency,
            recency_days: 7 * frequency,
            age_days: 300,
            repeat_spend_minor: 900 * i64::from(frequency),
        };
        let impossible = Summary { recency_days: 301, ..customer(3) };
        let scorer = Scorer::new(with(0.793, 3.74), crate::Terms::default());
        let value = |frequency| scorer.value(&customer(frequency)).unwrap().value_minor;

        let sum = forecast(&scorer, &[customer(2), impossible, customer(5)]);

        assert_eq!(sum.to_bits(), ((value(2) + value(5)) as f64).to_bits());
    }

    #[test]
    fn what_is_not_a_number_is_never_accepted() {
        for now in [
            Fitted { forecast: f64::NAN, ..fitted() },
            Fitted { forecast: 0.0, ..fitted() },
            Fitted { forecast: -1.0, ..fitted() },
            Fitted { spend_log_likelihood: f64::NEG_INFINITY, ..fitted() },
        ] {
            assert_eq!(breaches(&now).len(), 1, "{now:?}");
        }
    }

    #[test]
    fn a_parameter_out_of_bounds_is_refused_in_the_first_fit_too() {
        let now = Fitted { parameters: with(1e-7, 3.74), ..fitted() };

        let verdict = judge(None, &now, &Limits::default());

        assert!(matches!(verdict, Verdict::Keep(breaches) if
            matches!(breaches[..], [Breach::OutOfBounds { parameter: "a", .. }])));
    }

    #[test]
    fn a_plan_whose_churn_doubled_is_named() {
        let now = Fitted { contracts: contracts(0.04), ..fitted() };

        assert_eq!(
            breaches(&now),
            ["the churn of basic, every month moved by +0.693 (at most 0.4 either way)"]
        );
    }

    #[test]
    fn a_plan_that_has_lost_its_model_is_judged_by_what_it_is_valued_with_now() {
        let without = |others_by_period, others| {
            let contracts = ContractModels { plans: Vec::new(), others_by_period, others };
            breaches(&Fitted { contracts, ..fitted() })
        };
        let before = contracts(0.02);

        let as_others = without(before.others_by_period.clone(), before.others);
        let gone = without(BTreeMap::new(), None);

        assert_eq!(as_others, ["the churn of basic, every month moved by +0.916 (at most 0.4 either way)"]);
        assert_eq!(
            gone,
            [
                "the churn of basic, every month is not known any more",
                "the churn of other plans, every 12 months is not known any more",
                "the churn of other plans is not known any more",
            ]
        );
    }

    #[test]
    fn contracts_that_are_new_or_fitted_worse_are_told_apart() {
        let new = Fitted { contracts: ContractModels::default(), contract_log_likelihood: None, ..fitted() };
        let worse = Fitted { contract_log_likelihood: Some(-1.8), ..fitted() };

        assert_eq!(judge(Some(&new), &fitted(), &Limits::default()), Verdict::Accept(Vec::new()));
        assert_eq!(
            breaches(&worse),
            ["the log-likelihood of the contracts moved by -0.600 (at most 0.5 either way)"]
        );
    }

    #[test]
    fn contracts_that_came_to_no_renewal_do_not_move_the_log_likelihood() {
        let models = contracts(0.25);
        let of = |tenure, customers| ContractRow { tenure, customers };
        let rows = [of(Tenure::ChurnedAt(1), 25), of(Tenure::ActiveAfter(1), 75)];
        let more = [rows[0], rows[1], of(Tenure::ActiveAfter(0), 1000)];
        let told =
            |rows| contract_log_likelihood(&models, &[PlanRows { plan: "basic", period_months: 1, rows }]);

        let by_hand = 0.25 * libm::log(0.25) + 0.75 * libm::log(0.75);
        assert!((told(&rows).unwrap() - by_hand).abs() < 1e-12);
        assert_eq!(told(&more), told(&rows));
        assert_eq!(told(&more[2..]), None);
    }

    #[test]
    fn a_broken_feed_shows_in_the_forecast_per_customer() {
        let now = Fitted { forecast_per_customer: 1e5, ..fitted() };

        assert_eq!(breaches(&now), ["the forecast per customer moved by +2.303 (at most 0.4 either way)"]);
    }

    #[test]
    fn nothing_against_nothing_has_not_moved() {
        let nothing = Fitted { forecast: 0.0, forecast_per_customer: 0.0, ..fitted() };

        assert_eq!(judge(Some(&nothing), &nothing, &Limits::default()), Verdict::Accept(Vec::new()));
        assert_eq!(breaches(&nothing).len(), 2);
    }

    #[test]
    fn strange_parameters_are_accepted_with_a_flag() {
        let now = Fitted { parameters: with(0.04, 1.05), ..fitted() };

        let verdict = judge(None, &now, &Limits::default());

        let flags = vec![Flag::DropoutHardlyEver { a: 0.04 }, Flag::SpendHardlyHasMean { q: 1.05 }];
        assert_eq!(verdict, Verdict::Accept(flags));
    }
}
