//! How often a customer still buys: the published models, a file each, what the living do for all of them, and the
//! [`Scorer`], which values purchases by themselves.

pub(crate) mod ahead;
mod alive;
mod alive_curve;
mod bg_bb;
mod bg_nbd;
mod coin_dropout;
mod distribution;
mod for_ever_curve;
mod mbg_nbd;
mod pareto_nbd;
mod scorer;

pub use alive_curve::{AliveCurve, Purchases, Spread, SpreadCurve};
pub use bg_bb::BgBb;
pub use bg_nbd::{AfterRepeats, BgNbd};
pub use coin_dropout::{CoinDropout, Tosses};
pub use distribution::PurchaseDistribution;
pub use for_ever_curve::ForEverCurve;
pub use mbg_nbd::{AfterEach, MbgNbd};
pub use pareto_nbd::ParetoNbd;
pub use scorer::{Prospect, PurchaseValue, Scorer};
