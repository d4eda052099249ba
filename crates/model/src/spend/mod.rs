//! How much a customer spends: on a purchase ([`GammaGamma`]), and over all the purchases to come ([`SpendDistribution`]
//! exactly, [`SpendInterval`] from two moments).

mod distribution;
mod gamma_gamma;
mod interval;

pub use distribution::SpendDistribution;
pub use gamma_gamma::{GammaGamma, MeanUndefined, SpendPosterior};
pub use interval::{Level, SpendInterval, SpendMoments};
