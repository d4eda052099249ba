//! What a customer is worth.
//!
//! A night uses one thing of it, the [`Valuer`]: made of the [`Models`] of a model version, the [`ValueTerms`] and the
//! last observed day, it turns an [`Account`], which is what is known of a customer, into a [`Value`], or says with a
//! [`Rejection`] why it cannot.
//!
//! ```
//! use model::{Account, BgNbd, Currency, GammaGamma, HistoryFold, Observation, Parameters, ValueTerms, Valuer};
//!
//! const DAY: i64 = 86_400_000_000;
//! let observation = Observation::new(200 * DAY, Currency::parse("USD")?);
//! let mut history = HistoryFold::new();
//! history.push(10 * DAY, 29_33, *b"USD");
//! history.push(30 * DAY, 31_97, *b"USD");
//! let account = Account::of_purchases(history.finish_with_spend(&observation))?;
//!
//! let parameters = Parameters {
//!     bg_nbd: BgNbd::new(0.243, 4.414, 0.793, 2.426)?,
//!     gamma_gamma: GammaGamma::new(6.25, 3.74, 1544.0)?,
//! };
//! let valuer = Valuer::new(parameters.into(), ValueTerms::default(), observation.last_day());
//! let value = valuer.value(&account)?;
//! assert!(value.historic_minor == 61_30 && value.value_minor() > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Where to look.** What is asked stands in the folder of that name:
//!
//! * `account/`: what is known. [`HistoryFold`] turns a customer's transactions into a [`Summary`], [`SubscriptionFold`]
//!   his subscriptions into [`Contract`]s; both are his [`Account`].
//! * `purchases/`: how often he still buys. BG/NBD ([`BgNbd`], Fader, Hardie & Lee 2005); [`MbgNbd`] (Batislam et al.
//!   2007), where many never return; [`ParetoNbd`] (Schmittlein, Morrison & Colombo 1987), where customers leave at any
//!   time; [`BgBb`] (Fader, Hardie & Shang 2010), where opportunities come one by one and are taken or not. [`Scorer`]
//!   values purchases by themselves.
//! * `spend/`: how much he spends. [`GammaGamma`] (Fader & Hardie 2013).
//! * `contracts/`: how long he renews. [`Sbg`] (Fader & Hardie 2007); [`Bdw`] (Fader et al. 2018), where habit counts.
//! * `season/`: the clock that runs faster in the months in which customers buy ([`Season`]).
//! * `value/`: what all that is worth ([`Value`], [`Valuer`]).
//! * [`fit`]: finds the parameters from many summaries and contracts. [`backtest`]: how good that would have been.
//! * `kernel/`: the special functions, each with its domain and error bound.
//!
//! Beside the folders stand what a model version holds (`models.rs`), the terms of a valuation (`terms.rs`), how a
//! parameter is checked and written (`parameter.rs`), and the naive values to show beside a model's ([`baseline`]).
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
    AfterEach, AfterRepeats, AliveCurve, BgBb, BgNbd, CoinDropout, ForEverCurve, MbgNbd, ParetoNbd, Prospect,
    PurchaseDistribution, PurchaseValue, Purchases, Scorer, Spread, SpreadCurve, Tosses,
};
pub use season::{Clock, OperationalHorizon, PurchaseCounts, Season, SeasonError};
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
