//! The special functions and sums that the models are made of, each with its domain and error bound.

pub(crate) mod beta_expectation;
pub(crate) mod beta_ratio;
pub(crate) mod chebyshev;
pub(crate) mod decay;
mod deviance;
pub(crate) mod exponential_integral;
pub(crate) mod gamma;
pub(crate) mod gauss_legendre;
pub(crate) mod incomplete_beta;
pub(crate) mod incomplete_gamma;
pub(crate) mod ln_1p_exp;
pub(crate) mod negative_binomial;
pub(crate) mod negative_binomial_mixture;
pub(crate) mod normal_quantile;
pub(crate) mod quick;
pub(crate) mod tail_root;
