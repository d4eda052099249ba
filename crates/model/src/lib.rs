//! What a customer is worth.
//!
//! From the history of what somebody bought follows how often he will buy in the coming year, how much he will spend
//! each time, and what that is worth today. The models are the published ones: BG/NBD for the purchases
//! ([`BgNbd`], Fader, Hardie & Lee 2005; [`MbgNbd`], Batislam et al. 2007, where many never return) and Gamma-Gamma for the spend ([`GammaGamma`], Fader & Hardie 2013).
//!
//! Contracts are renewed or end ([`Sbg`], Fader & Hardie 2007; [`Bdw`], Fader et al. 2018, where habit counts), and
//! opportunities that come one by one are taken or not ([`BgBb`], Fader, Hardie & Shang 2010). [`baseline`] has the
//! naive values to show beside.
//!
//! **Where to start.** [`HistoryFold`] turns a customer's transactions into a [`Summary`]; [`Scorer`] turns a summary
//! into a [`PurchaseValue`], or says with a [`Rejection`] why it cannot; [`fit::parameters`] finds the [`Parameters`] from
//! many summaries. With the contracts beside the purchases it is an [`Account`], which [`Valuer`] turns into a [`Value`].
//!
//! ```
//! use model::{Currency, HistoryFold, Observation, Parameters, Scorer, Terms, BgNbd, GammaGamma};
//!
//! const DAY: i64 = 86_400_000_000;
//! let observation = Observation::new(200 * DAY, Currency::parse("USD")?);
//! let mut fold = HistoryFold::new();
//! fold.push(10 * DAY, 29_33, *b"USD");
//! fold.push(30 * DAY, 31_97, *b"USD");
//! let summary = fold.finish(&observation)?;
//!
//! let parameters = Parameters {
//!     bg_nbd: BgNbd::new(0.243, 4.414, 0.793, 2.426)?,
//!     gamma_gamma: GammaGamma::new(6.25, 3.74, 1544.0)?,
//! };
//! let value = Scorer::new(parameters, Terms::default()).value(&summary)?;
//! assert!(value.value_minor > 0 && value.p_alive < 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **What it does not know.** No clock, no database, no message, no random number, no wire format: everything here is
//! a function of its arguments, and gives the same bits on every machine (all elementary functions come from `libm`)
//! and for every number of threads. It does not know who the customer is, nor what a run or a chunk is.
//!
//! **Units.** Money is integer minor units outside the formulas. Inside, times are weeks (seven days) and the notation
//! is the papers': `x` repeat purchases, `t_x` when the last of them happened, `T` the age, both counted from the
//! first purchase. Outside the formulas they are called frequency, recency and age.

mod account;
pub mod backtest;
pub mod baseline;
mod contracts;
pub mod fit;
mod kernel;
mod models;
mod parameter;
mod purchases;
mod season;
mod spend;
mod terms;
mod undefined;
mod value;

pub use account::{
    Account, Contract, Contracts, Course, Currency, CurrencyError, HistoryFold, LONGEST_PERIOD, NextRenewal,
    Observation, Rejection, Subscribed, Subscription, SubscriptionFold, Summary,
};
pub use contracts::{
    Bdw, ChurnPosterior, ContractModel, ContractModels, PeriodRate, PlanIndex, PlanModel, RemainingRenewals,
    Sbg,
};
pub use models::{Models, Parameters};
pub use parameter::ParameterError;
pub use purchases::{
    AliveCurve, BgBb, BgNbd, ForEverCurve, Forecast, MbgNbd, ParetoNbd, PurchaseDistribution, PurchaseValue,
    Purchases, Scorer, Spread, SpreadCurve,
};
pub use season::{Clock, Outlook, PurchaseCounts, Season, SeasonError};
pub use spend::{
    GammaGamma, Level, MeanUndefined, SpendDistribution, SpendInterval, SpendMoments, SpendPosterior,
};
pub use terms::{Terms, ValueTerms};
pub use undefined::Undefined;
pub use value::{Between, Confidence, Grade, Horizons, Payback, Value, Valuer};

/// Days in a week: histories are counted in days, the models in weeks.
pub const DAYS_PER_WEEK: f64 = 7.0;

/// Weeks in a year of 365.2425 days: turns annual discount rates into weekly ones.
pub const WEEKS_PER_YEAR: f64 = 52.1775;
