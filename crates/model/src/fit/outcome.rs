//! What a search comes to: a fit, or why there is none.

use super::optimum::{self, Optimum};
use crate::ParameterError;

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

/// The standard error of a logarithm from which on a parameter is not known at all: it may as well be twenty thousand
/// times larger.
const LARGEST_LN_ERROR: f64 = 10.0;

/// A parameter beyond this that is not known has run away: the model is its own limit, say one in which all customers are
/// alike, and how far away that is makes no difference.
const RUN_AWAY: f64 = 1e4;

/// Whether the data say of each parameter where it is.
pub(super) fn is_identified<M>(fit: &Fit<M>, parameters: &[f64]) -> bool {
    fit.standard_errors.iter().zip(parameters).all(|(error, parameter)| error / parameter <= LARGEST_LN_ERROR)
}

/// Turns the optimum over the logarithms of the parameters into a fit, or says why it is none.
pub(super) fn conclude<M, const N: usize>(
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
