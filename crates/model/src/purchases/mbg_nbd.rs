//! MBG/NBD: BG/NBD in which a customer may be lost from the start.
//!
//! Batislam, Denizel & Filiztekin (2007), "Empirical validation and comparison of models for customer base analysis",
//! International Journal of Research in Marketing 24, 201-209; also Hoppe & Wagner (2007). As in
//! [`BgNbd`](crate::BgNbd) a customer who is alive buys at the rate `lambda ~ Gamma(r, alpha)` and drops out after a
//! purchase with probability `p ~ Beta(a, b)`, but here the very first purchase counts too: who never comes back may
//! be dead. Written below: `k = r + x`, `A = alpha + T`, `b' = b + x + 1`.
//!
//! Given that the customer is alive the models agree, with this `b'`. A new customer is alive with `b/(a+b)`.

use serde::{Deserialize, Serialize};

use super::coin_dropout::Customer;
use crate::parameter::ExactNumber;
use crate::{AliveCurve, ForEverCurve, ParameterError, PurchaseDistribution, SpreadCurve, Terms, Undefined};

/// The MBG/NBD model with its parameters; time in weeks.
///
/// Domain: `0 <= t_x <= T`, `t_x = 0` when `x = 0`. Everything is checked up to `x = 5000` and `T = 1250` weeks
/// against 40-digit references: relative errors below 1e-11 (`ln_p_alive` and `ln_p_dead` included).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Text", try_from = "Text")]
pub struct MbgNbd {
    r: f64,
    alpha: f64,
    a: f64,
    b: f64,
}

impl MbgNbd {
    /// Takes the parameters, each from 1e-7 to 1e7.
    pub fn new(r: f64, alpha: f64, a: f64, b: f64) -> Result<Self, ParameterError> {
        let check = |name, value| ParameterError::check(name, value, 1e-7, 1e7);
        Ok(Self { r: check("r", r)?, alpha: check("alpha", alpha)?, a: check("a", a)?, b: check("b", b)? })
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

    /// The logarithm of the likelihood of one customer (Batislam et al. 2007, in the stable form of Hardie's note 027).
    pub fn log_likelihood(&self, x: u32, t_x: f64, age: f64) -> f64 {
        self.customer(x, t_x, age).log_likelihood()
    }

    /// The probability that the customer will still buy.
    ///
    /// `1 / (1 + O)` with the odds of being dead `O = a/(b+x) (A/(alpha+t_x))^k`, for every `x`.
    pub fn p_alive(&self, x: u32, t_x: f64, age: f64) -> f64 {
        self.customer(x, t_x, age).p_alive()
    }

    /// `ln p_alive`, finite where `p_alive` underflows.
    pub fn ln_p_alive(&self, x: u32, t_x: f64, age: f64) -> f64 {
        self.customer(x, t_x, age).ln_p_alive()
    }

    /// `ln(1 - p_alive)`, finite for every `x`.
    pub fn ln_p_dead(&self, x: u32, t_x: f64, age: f64) -> f64 {
        self.customer(x, t_x, age).ln_p_dead()
    }

    /// Expected purchases in the `horizon_weeks` after `T` (CET; as FHL 2005, eq. 10, with `b' = b + x + 1`).
    ///
    /// Builds the whole [`AliveCurve`] of `x`; for many customers use [`Self::alive_curve`].
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
        ForEverCurve::of(self.customer(x, 0.0, 0.0).alive(), delta)
    }

    /// The variance of the purchases in the `horizon_weeks` after `T`. Relative error below 1e-11.
    pub fn variance(&self, x: u32, t_x: f64, age: f64, horizon_weeks: f64) -> f64 {
        self.customer(x, t_x, age).variance(horizon_weeks)
    }

    /// The probability of no purchase in the `horizon_weeks` after `T`: `1 - p_alive (1 - (A/(A+t))^k)`.
    pub fn p_zero(&self, x: u32, t_x: f64, age: f64, horizon_weeks: f64) -> f64 {
        self.customer(x, t_x, age).p_zero(horizon_weeks)
    }

    /// The distribution of the purchases in the `horizon_weeks` after `T` (as FHL 2005, eq. 8, with `b' = b + x + 1`).
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

    /// How that scatters, for every age.
    pub fn spread_curve(&self, x: u32, terms: &Terms) -> SpreadCurve {
        SpreadCurve::over(self.customer(x, 0.0, 0.0).alive(), terms.horizon_weeks())
    }

    fn curve(&self, x: u32, horizon: f64, delta: f64) -> AliveCurve {
        AliveCurve::over(self.customer(x, 0.0, 0.0).alive(), horizon, delta)
    }

    fn customer(&self, x: u32, t_x: f64, age: f64) -> Customer {
        let &Self { r, alpha, a, b } = self;
        Customer { r, alpha, a, b, x, tosses: f64::from(x) + 1.0, t_x, age }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    r: ExactNumber,
    alpha: ExactNumber,
    a: ExactNumber,
    b: ExactNumber,
}

impl From<MbgNbd> for Text {
    fn from(model: MbgNbd) -> Self {
        let MbgNbd { r, alpha, a, b } = model;
        Self { r: ExactNumber(r), alpha: ExactNumber(alpha), a: ExactNumber(a), b: ExactNumber(b) }
    }
}

impl TryFrom<Text> for MbgNbd {
    type Error = ParameterError;

    fn try_from(text: Text) -> Result<Self, ParameterError> {
        Self::new(text.r.0, text.alpha.0, text.a.0, text.b.0)
    }
}
