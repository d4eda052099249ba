//! Finds the parameters under which the observed customers are most likely.
//!
//! Maximum likelihood on the logarithms of the parameters, with analytic gradients. Equal customers are counted, not
//! repeated; everything that depends on `x` alone is computed once for each `x`. Sums are taken over blocks of fixed
//! size and then in pairs, so that a fit gives the same bits for every number of threads.

mod bdw;
mod bg_bb;
mod bg_nbd;
mod contract_models;
mod contract_row;
mod gamma_gamma;
pub mod guard;
mod optimum;
mod pareto_nbd;
mod sbg;
mod segments;
mod sum;

pub use bdw::{bdw, bdw_from};
pub use bg_bb::{OpportunityRow, bg_bb, bg_bb_from};
pub use bg_nbd::{PurchaseRow, bg_nbd, bg_nbd_from, mbg_nbd, mbg_nbd_from};
pub use contract_models::{
    ConstantChurn, ContractDiagnostics, ContractFit, LEAST_RATIO_FOR_BDW, PlanDiagnostics, PlanRows,
    contract_models,
};
pub use contract_row::ContractRow;
pub use gamma_gamma::{SpendRow, Winsorised, gamma_gamma, gamma_gamma_from, winsorised};
pub use pareto_nbd::{pareto_nbd, pareto_nbd_from};
pub use sbg::{sbg, sbg_from};
pub use segments::{
    FEWEST_BUYERS_OF_A_SEGMENT, FEWEST_OF_A_SEGMENT, SegmentFit, SegmentFits, Shrunk, ShrunkFit,
    bg_nbd_by_segment, by_segment, gamma_gamma_by_segment, mbg_nbd_by_segment,
};

pub use crate::contracts::Tenure;

use optimum::Optimum;

use crate::{BgNbd, GammaGamma, ParameterError, Parameters, Season, Summary};

/// Customers below this number say nothing about four parameters.
pub const FEWEST_CUSTOMERS: u64 = 20;

/// A fitted model, and how far the fit can be trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit<M> {
    /// The model at its most likely parameters.
    pub model: M,
    /// The logarithm of the likelihood of all customers.
    pub log_likelihood: f64,
    /// The largest derivative of the log-likelihood per customer by the logarithm of a parameter.
    pub gradient_norm: f64,
    /// Standard errors of the parameters in the order of the model's constructor, from the observed information.
    pub standard_errors: Vec<f64>,
    /// Customers behind the fit.
    pub customers: u64,
    /// Whether `gradient_norm` is below 1e-9. A fit above that but below 1e-6 is good to about five digits and is
    /// returned; above, there is an error instead.
    pub converged: bool,
    /// How often the log-likelihood of all customers was evaluated. A search on many customers begins with a draft of a
    /// few thousand, whose evaluations cost a fraction and are not counted.
    pub evaluations: u32,
}

/// Both fits, and whether the spend model's assumption holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostics {
    /// The purchase model, fitted on all customers.
    pub bg_nbd: Fit<BgNbd>,
    /// The spend model, fitted on those who bought again and spent something.
    pub gamma_gamma: Fit<GammaGamma>,
    /// The correlation of frequency and mean spend among the latter. Gamma-Gamma assumes none; above about 0.3 the
    /// mean spends are in doubt.
    pub spend_correlation: f64,
}

/// Why no parameters were found.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// Too little to learn from.
    #[error("fit {model}: {found} customers are too few, at least {needed} are needed")]
    TooFewCustomers {
        /// The model.
        model: &'static str,
        /// Customers given.
        found: u64,
        /// Customers needed.
        needed: u64,
    },
    /// Nobody came back, so nothing is known about rates and dropout.
    #[error("fit the purchases: no customer made a repeat purchase")]
    NoRepeatPurchases,
    /// No contract ended, so nothing is known about churn.
    #[error("fit {model}: no customer churned")]
    NobodyChurned {
        /// The model.
        model: &'static str,
    },
    /// A row contradicts itself.
    #[error("fit {model}: row {row} is not a possible customer")]
    ImpossibleRow {
        /// The model.
        model: &'static str,
        /// The row, counted from 0.
        row: usize,
    },
    /// The likelihood has no maximum in reach: mostly too little data, or data the model does not describe.
    #[error(
        "fit {model}: did not converge: gradient {gradient_norm:.1e} per customer after {evaluations} evaluations, \
         at {parameters:?}; there may be too few customers, or the data may not follow the model"
    )]
    DidNotConverge {
        /// The model.
        model: &'static str,
        /// Largest derivative per customer at the best point.
        gradient_norm: f64,
        /// Evaluations of the log-likelihood.
        evaluations: u32,
        /// The best point.
        parameters: Vec<f64>,
    },
    /// The likelihood has a maximum that is hardly one: parameters a long way from it are as likely.
    #[error(
        "fit {model}: the data do not say what its parameters are: the logarithm of {at:.3e} has a standard error \
         of {standard_error:.0}; there may be too few customers, or too short a time to look back on"
    )]
    NotIdentified {
        /// The model.
        model: &'static str,
        /// A parameter that is not known, where the search ended.
        at: f64,
        /// The standard error of its logarithm.
        standard_error: f64,
        /// The point where the search ended.
        parameters: Vec<f64>,
    },
    /// The most likely tail of spends is so heavy that a new customer's mean spend is infinite.
    #[error("fit gamma_gamma: q = {q:.3} must exceed 1 for a finite mean spend; cut off extreme amounts")]
    SpendHasNoMean {
        /// The most likely `q`.
        q: f64,
    },
    /// The maximum lies outside the parameters' domain.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}

/// Fits BG/NBD on all customers, and Gamma-Gamma on those with `frequency > 0` and spend above 0.
pub fn parameters(
    summaries: impl IntoIterator<Item = Summary>,
) -> Result<(Parameters, Diagnostics), FitError> {
    parameters_in_season(summaries, &Season::none(), 0, None)
}

/// The same with BG/NBD in operational weeks of the season, for summaries that all end with `last_day`; both searches
/// begin at `start` if there is one: last night's parameters, say.
///
/// A start shortens the way and can change the last bits of where it ends.
pub fn parameters_in_season(
    summaries: impl IntoIterator<Item = Summary>,
    season: &Season,
    last_day: i64,
    start: Option<&Parameters>,
) -> Result<(Parameters, Diagnostics), FitError> {
    let (purchases, spends) = rows_in_season(summaries, season, last_day);
    let (bg_nbd, gamma_gamma) = match start {
        Some(start) => {
            (bg_nbd_from(&purchases, &start.bg_nbd)?, gamma_gamma_from(&spends, &start.gamma_gamma)?)
        }
        None => (bg_nbd(&purchases)?, gamma_gamma(&spends)?),
    };
    let parameters = Parameters { bg_nbd: bg_nbd.model, gamma_gamma: gamma_gamma.model };
    Ok((parameters, Diagnostics { bg_nbd, gamma_gamma, spend_correlation: spend_correlation(&spends) }))
}

/// Counts equal customers, for each model by what it looks at.
///
/// Customers with a single purchase differ by nothing but their age in days, and most customers are of that kind.
pub fn rows(summaries: impl IntoIterator<Item = Summary>) -> (Vec<PurchaseRow>, Vec<SpendRow>) {
    rows_in_season(summaries, &Season::none(), 0)
}

/// The same with the times in operational weeks of the season, for summaries that all end with `last_day`.
pub fn rows_in_season(
    summaries: impl IntoIterator<Item = Summary>,
    season: &Season,
    last_day: i64,
) -> (Vec<PurchaseRow>, Vec<SpendRow>) {
    let mut summaries: Vec<Summary> = summaries.into_iter().collect();

    summaries.sort_unstable_by_key(|s| (s.frequency, s.recency_days, s.age_days));
    let same = |a: &Summary, b: &Summary| {
        (a.frequency, a.recency_days, a.age_days) == (b.frequency, b.recency_days, b.age_days)
    };
    let purchase_row = |group: &[Summary]| {
        let (t_x, age) = season.times(&group[0], last_day);
        PurchaseRow { x: group[0].frequency, t_x, age, customers: group.len() as u64 }
    };
    let purchases = summaries.chunk_by(same).map(purchase_row).collect();

    summaries.retain(|s| s.frequency > 0 && s.repeat_spend_minor > 0);
    summaries.sort_unstable_by_key(|s| (s.frequency, s.repeat_spend_minor));
    let same =
        |a: &Summary, b: &Summary| (a.frequency, a.repeat_spend_minor) == (b.frequency, b.repeat_spend_minor);
    let spend_row = |group: &[Summary]| SpendRow {
        x: group[0].frequency,
        zbar: group[0].mean_spend_minor(),
        customers: group.len() as u64,
    };
    let spends = summaries.chunk_by(same).map(spend_row).collect();
    (purchases, spends)
}

/// Pearson's correlation of frequency and mean spend; 0 where either does not vary.
fn spend_correlation(rows: &[SpendRow]) -> f64 {
    let mean = |f: &dyn Fn(&SpendRow) -> f64| {
        let (sum, customers) = rows.iter().fold((0.0, 0.0), |(sum, customers), row| {
            (sum + row.customers as f64 * f(row), customers + row.customers as f64)
        });
        sum / customers
    };
    let x = mean(&|row| f64::from(row.x));
    let z = mean(&|row| row.zbar);
    let covariance = mean(&|row| (f64::from(row.x) - x) * (row.zbar - z));
    let x_variance = mean(&|row| (f64::from(row.x) - x) * (f64::from(row.x) - x));
    let z_variance = mean(&|row| (row.zbar - z) * (row.zbar - z));
    let scale = libm::sqrt(x_variance * z_variance);
    if scale > 0.0 { covariance / scale } else { 0.0 }
}

/// The standard error of a logarithm from which on a parameter is not known at all: it may as well be twenty thousand
/// times larger.
const LARGEST_LN_ERROR: f64 = 10.0;

/// A parameter beyond this that is not known has run away: the model is its own limit, say one in which all customers are
/// alike, and how far away that is makes no difference.
const RUN_AWAY: f64 = 1e4;

/// Whether the data say of each parameter where it is.
fn is_identified<M>(fit: &Fit<M>, parameters: &[f64]) -> bool {
    fit.standard_errors.iter().zip(parameters).all(|(error, parameter)| error / parameter <= LARGEST_LN_ERROR)
}

/// Turns the optimum over the logarithms of the parameters into a fit, or says why it is none.
fn conclude<M, const N: usize>(
    model: &'static str,
    customers: u64,
    optimum: &Optimum<N>,
    build: impl FnOnce([f64; N]) -> Result<M, ParameterError>,
) -> Result<Fit<M>, FitError> {
    let parameters = optimum.at.map(libm::exp);
    let did_not_converge = || FitError::DidNotConverge {
        model,
        gradient_norm: optimum.gradient_norm,
        evaluations: optimum.evaluations,
        parameters: parameters.to_vec(),
    };
    let good_enough = optimum.gradient_norm < 1e-6;
    let variances = optimum.variances.filter(|_| good_enough).ok_or_else(did_not_converge)?;
    // The optimum is of the mean log-likelihood per customer.
    let ln_errors = variances.map(|variance| libm::sqrt(variance / customers as f64));
    let is_unknown = |(at, ln_error): &(f64, f64)| *ln_error > LARGEST_LN_ERROR && *at < RUN_AWAY;
    if let Some((at, standard_error)) = parameters.into_iter().zip(ln_errors).find(is_unknown) {
        let parameters = parameters.to_vec();
        return Err(FitError::NotIdentified { model, at, standard_error, parameters });
    }
    // d parameter = parameter d ln(parameter).
    let standard_error = |i: usize| parameters[i] * ln_errors[i];
    Ok(Fit {
        model: build(parameters)?,
        log_likelihood: optimum.value * customers as f64,
        gradient_norm: optimum.gradient_norm,
        standard_errors: (0..N).map(standard_error).collect(),
        customers,
        converged: optimum.gradient_norm < optimum::CLEARLY_THE_TOP,
        evaluations: optimum.evaluations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(frequency: u32, recency_days: u32) -> Summary {
        let repeat_spend_minor = i64::from(frequency) * 1000;
        Summary { frequency, recency_days, age_days: 300, repeat_spend_minor }
    }

    fn message(summaries: impl IntoIterator<Item = Summary>) -> String {
        parameters(summaries).unwrap_err().to_string()
    }

    #[test]
    fn too_few_customers_are_counted_in_the_error() {
        let error = message(vec![summary(2, 100); 19]);

        assert_eq!(error, "fit bg_nbd: 19 customers are too few, at least 20 are needed");
        assert!(message([]).contains("0 customers are too few"));
    }

    #[test]
    fn customers_who_never_came_back_teach_nothing() {
        assert_eq!(message(vec![summary(0, 0); 50]), "fit the purchases: no customer made a repeat purchase");
    }

    #[test]
    fn customers_who_are_all_the_same_have_no_most_likely_model() {
        let error = message(vec![summary(5, 290); 50]);

        assert!(error.starts_with("fit bg_nbd: did not converge"), "{error}");
    }

    #[test]
    fn an_impossible_row_is_named() {
        let possible = PurchaseRow { x: 1, t_x: 3.0, age: 9.0, customers: 50 };

        for impossible in [
            PurchaseRow { t_x: 10.0, ..possible },
            PurchaseRow { x: 0, ..possible },
            PurchaseRow { age: f64::NAN, ..possible },
        ] {
            let error = bg_nbd(&[possible, impossible]).unwrap_err();
            assert_eq!(error, FitError::ImpossibleRow { model: "bg_nbd", row: 1 });
        }
    }

    #[test]
    fn spends_with_too_heavy_a_tail_are_refused() {
        // One purchase each, log-logistic with exponent 0.7: P(spend > z) falls like z^-0.7.
        let spend = |share: f64| 100.0 * libm::pow(share / (1.0 - share), 1.0 / 0.7);
        let row = |i: u32| SpendRow { x: 1, zbar: spend((f64::from(i) + 0.5) / 200.0), customers: 1 };
        let rows: Vec<SpendRow> = (0..200).map(row).collect();

        let error = gamma_gamma(&rows).unwrap_err();

        assert!(matches!(error, FitError::SpendHasNoMean { .. }), "{error}");
    }
}
