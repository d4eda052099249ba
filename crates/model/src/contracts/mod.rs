//! How long a contract is renewed: the models of renewals ([`Sbg`], and [`Bdw`] where habit counts), those of a model
//! version by plan ([`ContractModels`]), and what they learn from ([`Tenure`]).

mod bdw;
mod models;
mod period_rate;
mod remaining_renewals;
mod sbg;
mod tenure;

pub use bdw::Bdw;
pub use models::{ContractModel, ContractModels, PlanIndex, PlanModel};
pub use period_rate::PeriodRate;
pub use remaining_renewals::RemainingRenewals;
pub use sbg::{ChurnPosterior, Sbg};
pub use tenure::Tenure;
