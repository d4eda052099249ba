//! What BG/NBD and MBG/NBD share, which is all but one toss of a coin.
//!
//! While alive, a customer buys at the rate `lambda`; now and then he tosses a coin and drops out with probability `p`.
//! Over the customers, `lambda ~ Gamma(r, alpha)` and `p ~ Beta(a, b)`. Observed are `x` repeat purchases, the last at
//! `t_x`, in the age `T`. The models differ in when he begins to toss ([`Tosses`]): of a customer who is alive `n` tosses
//! went well. Written below: `k = r + x`, `A = alpha + T`, `b' = b + n`.
//!
//! Given that the customer is alive, `lambda ~ Gamma(k, A)` and `p ~ Beta(a, b')` are independent, and `t_x` no longer
//! matters: [`AliveCurve`] goes on from there.

mod customer;

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::alive::Alive;
use crate::parameter::exact_parameters;
use crate::{
    AliveCurve, ForEverCurve, OperationalHorizon, ParameterError, PurchaseDistribution, SpreadCurve, Terms,
    Undefined,
};

use customer::Customer;

/// When a customer tosses the coin that may end his purchases: all that tells BG/NBD and MBG/NBD apart.
pub trait Tosses: Copy + fmt::Debug + PartialEq + 'static {
    /// The name of the model in which he does so.
    const MODEL: &'static str;

    /// How many of his tosses went well (`n`) if he is alive after `x` repeat purchases.
    fn survived(x: f64) -> f64;
}

/// A model of customers who toss a coin, with its parameters: [`BgNbd`](crate::BgNbd) or [`MbgNbd`](crate::MbgNbd); time
/// in weeks.
///
/// Domain: `0 <= t_x <= T`, `t_x = 0` when `x = 0`. Everything is checked up to `x = 5000` and `T = 1250` weeks
/// against 40-digit references: relative errors below 1e-11 (`ln_p_alive` and `ln_p_dead` included).
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "Text", try_from = "Text", bound = "T: Tosses")]
pub struct CoinDropout<T> {
    r: f64,
    alpha: f64,
    a: f64,
    b: f64,
    tosses: PhantomData<T>,
}

impl<T: Tosses> CoinDropout<T> {
    /// Takes the parameters, each from 1e-7 to 1e7.
    pub fn new(r: f64, alpha: f64, a: f64, b: f64) -> Result<Self, ParameterError> {
        let check = |name, value| ParameterError::check(name, value, 1e-7, 1e7);
        Ok(Self {
            r: check("r", r)?,
            alpha: check("alpha", alpha)?,
            a: check("a", a)?,
            b: check("b", b)?,
            tosses: PhantomData,
        })
    }

    /// Shape of the purchase rates over the customers.
    pub fn r(&self) -> f64 {
        self.r
    }

    /// Scale of the purchase rates, in weeks: the mean rate is `r / alpha`.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// First shape of the dropout probabilities, whose mean is `a / (a + b)`.
    pub fn a(&self) -> f64 {
        self.a
    }

    /// Second shape of the dropout probabilities.
    pub fn b(&self) -> f64 {
        self.b
    }

    /// The logarithm of the likelihood of one customer (FHL 2005, eq. 6; Batislam et al. 2007; in the stable form of
    /// Hardie's note 027).
    pub fn log_likelihood(&self, x: u32, t_x: f64, age: f64) -> f64 {
        self.customer(x, t_x, age).log_likelihood()
    }

    /// The probability that the customer will still buy.
    ///
    /// `1 / (1 + O)` with the odds of being dead `O = a/(b+n-1) (A/(alpha+t_x))^k`; 1 for `n = 0`: who has not tossed the
    /// coin yet cannot have dropped out.
    pub fn p_alive(&self, x: u32, t_x: f64, age: f64) -> f64 {
        self.customer(x, t_x, age).p_alive()
    }

    /// `ln p_alive`, finite where `p_alive` underflows.
    pub fn ln_p_alive(&self, x: u32, t_x: f64, age: f64) -> f64 {
        self.customer(x, t_x, age).ln_p_alive()
    }

    /// `ln(1 - p_alive)`; minus infinity for `n = 0`.
    pub fn ln_p_dead(&self, x: u32, t_x: f64, age: f64) -> f64 {
        self.customer(x, t_x, age).ln_p_dead()
    }

    /// Expected purchases in the `horizon_weeks` after `T` (CET; FHL 2005, eq. 10, with this `b'`).
    ///
    /// Builds the whole [`AliveCurve`] of `x`; for many customers use [`alive_curve`](Self::alive_curve), or a
    /// [`Scorer`](crate::Scorer).
    pub fn expected_purchases(&self, x: u32, t_x: f64, age: f64, horizon_weeks: f64) -> f64 {
        let alive = self.curve(x, horizon_weeks, 0.0).purchases(age);
        self.p_alive(x, t_x, age) * alive.expected
    }

    /// Expected purchases in the `horizon_weeks` after `T`, each discounted to `T` at the continuous rate `delta` per
    /// week (DET).
    pub fn discounted_purchases(&self, x: u32, t_x: f64, age: f64, horizon_weeks: f64, delta: f64) -> f64 {
        let alive = self.curve(x, horizon_weeks, delta).purchases(age);
        self.p_alive(x, t_x, age) * alive.discounted
    }

    /// All purchases after `T`, each discounted to `T` at the continuous rate `delta` per week (DERT):
    /// `p_alive E_p[(k/p) e^w E_(k+1)(w)]`, `w = delta A/p`.
    ///
    /// Without a discount (`delta` below 1e-92) this is `p_alive E[1/p]`, which is infinite for `a <= 1`. Relative error
    /// below 1e-11.
    pub fn discounted_purchases_for_ever(
        &self,
        x: u32,
        t_x: f64,
        age: f64,
        delta: f64,
    ) -> Result<f64, Undefined> {
        let customer = self.customer(x, t_x, age);
        Ok(customer.p_alive() * customer.alive().discounted_for_ever(delta)?)
    }

    /// What a customer with `x` repeat purchases will ever buy if he is alive, for every age.
    pub fn for_ever_curve(&self, x: u32, delta: f64) -> ForEverCurve {
        ForEverCurve::of(self.youngest(x), delta)
    }

    /// The variance of the purchases in the `horizon_weeks` after `T`. Relative error below 1e-11.
    pub fn variance(&self, x: u32, t_x: f64, age: f64, horizon_weeks: f64) -> f64 {
        self.customer(x, t_x, age).variance(horizon_weeks)
    }

    /// The probability of no purchase in the `horizon_weeks` after `T`: `1 - p_alive (1 - (A/(A+t))^k)`.
    pub fn p_zero(&self, x: u32, t_x: f64, age: f64, horizon_weeks: f64) -> f64 {
        self.customer(x, t_x, age).p_zero(horizon_weeks)
    }

    /// The distribution of the purchases in the `horizon_weeks` after `T` (for a new customer of BG/NBD FHL
    /// 2005, eq. 8).
    pub fn purchase_distribution(
        &self,
        x: u32,
        t_x: f64,
        age: f64,
        horizon_weeks: f64,
    ) -> PurchaseDistribution {
        let customer = self.customer(x, t_x, age);
        PurchaseDistribution::of_alive(
            &customer.alive(),
            horizon_weeks,
            customer.p_alive(),
            customer.p_dead(),
        )
    }

    /// What a customer with `x` repeat purchases will still buy if he is alive, for every age.
    pub fn alive_curve(&self, x: u32, terms: &Terms) -> AliveCurve {
        self.curve(x, terms.horizon_weeks(), terms.delta())
    }

    /// The same over the operational time that lies ahead in a season.
    pub fn seasonal_curve(&self, x: u32, horizon: &OperationalHorizon) -> AliveCurve {
        self.curve(x, horizon.operational_weeks(), horizon.delta())
    }

    /// How [`seasonal_curve`](Self::seasonal_curve)'s purchases scatter, for every age.
    pub fn seasonal_spread_curve(&self, x: u32, horizon: &OperationalHorizon) -> SpreadCurve {
        SpreadCurve::over(self.youngest(x), horizon.operational_weeks())
    }

    /// How [`alive_curve`](Self::alive_curve)'s purchases scatter, for every age.
    pub fn spread_curve(&self, x: u32, terms: &Terms) -> SpreadCurve {
        SpreadCurve::over(self.youngest(x), terms.horizon_weeks())
    }

    fn curve(&self, x: u32, horizon: f64, delta: f64) -> AliveCurve {
        AliveCurve::over(self.youngest(x), horizon, delta)
    }

    /// A customer with `x` repeat purchases who is alive, at the age 0.
    pub(crate) fn youngest(&self, x: u32) -> Alive {
        self.customer(x, 0.0, 0.0).alive()
    }

    fn customer(&self, x: u32, t_x: f64, age: f64) -> Customer {
        let &Self { r, alpha, a, b, .. } = self;
        Customer { r, alpha, a, b, x, tosses: T::survived(f64::from(x)), t_x, age }
    }
}

impl<T: Tosses> fmt::Debug for CoinDropout<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { r, alpha, a, b, .. } = self;
        f.debug_struct(T::MODEL).field("r", &r).field("alpha", &alpha).field("a", &a).field("b", &b).finish()
    }
}

exact_parameters!(CoinDropout<T> where T: Tosses { r, alpha, a, b });
