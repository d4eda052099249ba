//! The special functions and sums that the models are made of, each with its domain and error bound.

pub(crate) mod beta_expectation;
pub(crate) mod chebyshev;
pub(crate) mod decay;
pub(crate) mod exponential_integral;
pub(crate) mod gamma;
pub(crate) mod gauss_legendre;
pub(crate) mod negative_binomial;
pub(crate) mod negative_binomial_mixture;
