//! Gamma-Gamma: how much a customer spends each time.
//!
//! Fader & Hardie (2013), "The Gamma-Gamma model of monetary value", note 025. A customer's spend on a purchase is
//! `Gamma(p, nu)`, and over the customers `nu ~ Gamma(q, v)`. Observed is the mean spend `zbar` of `x` purchases. They
//! leave of the customer's own `nu` a `Gamma(p x + q, v + x zbar)`, and his mean spend is `M = p / nu`.

use serde::{Deserialize, Serialize};

use crate::kernel::gamma::ln_beta;
use crate::kernel::incomplete_gamma::inverse_incomplete_gamma;
use crate::parameter::exact_parameters;
use crate::{Level, ParameterError, SpendMoments, Undefined};

/// The Gamma-Gamma model with its parameters; `v` and all money in the unit it was fitted on (minor units).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Text", try_from = "Text")]
pub struct GammaGamma {
    p: f64,
    q: f64,
    v: f64,
}

impl GammaGamma {
    /// Takes the parameters, each from 1e-9 to 1e15.
    ///
    /// A customer without repeat purchases has a mean spend only if `q > 1`; see [`mean_spend`](Self::mean_spend).
    pub fn new(p: f64, q: f64, v: f64) -> Result<Self, ParameterError> {
        let check = |name, value| ParameterError::check(name, value, 1e-9, 1e15);
        Ok(Self { p: check("p", p)?, q: check("q", q)?, v: check("v", v)? })
    }

    /// Shape of a customer's spends.
    pub fn p(&self) -> f64 {
        self.p
    }

    /// Shape of the scales over the customers: the smaller, the heavier the tail of mean spends.
    pub fn q(&self) -> f64 {
        self.q
    }

    /// Scale of the scales over the customers, in units of money.
    pub fn v(&self) -> f64 {
        self.v
    }

    /// The expected mean spend `p (v + x zbar) / (p x + q - 1)` of a customer (note 025, eq. 5).
    ///
    /// A weighted mean of his own and the customers'. It exists for `p x + q > 1`; below, the posterior's tail is so
    /// heavy that the mean is infinite (other programs then return a negative number). Exact to rounding.
    pub fn mean_spend(&self, x: u32, zbar: f64) -> Result<f64, MeanUndefined> {
        self.mean_of_total(x, f64::from(x) * zbar)
    }

    /// [`mean_spend`](Self::mean_spend) from the total spend `x zbar`.
    pub(crate) fn mean_of_total(&self, x: u32, total: f64) -> Result<f64, MeanUndefined> {
        let weight = self.p * f64::from(x) + (self.q - 1.0);
        if weight > 0.0 { Ok(self.p * (self.v + total) / weight) } else { Err(MeanUndefined) }
    }

    /// The variance of the mean spend, `(p (v + x zbar))^2 / ((p x + q - 1)^2 (p x + q - 2))`; see
    /// [`SpendPosterior::variance`].
    pub fn variance(&self, x: u32, zbar: f64) -> Result<f64, Undefined> {
        self.posterior(x, zbar).variance()
    }

    /// The amount that the mean spend does not exceed with the probability `level`; see [`SpendPosterior::quantile`].
    pub fn quantile(&self, x: u32, zbar: f64, level: Level) -> f64 {
        self.posterior(x, zbar).quantile(level)
    }

    /// What is known of a customer's mean spend after `x` repeat purchases of `zbar >= 0` on average; whatever `zbar`
    /// is for `x = 0`.
    pub fn posterior(&self, x: u32, zbar: f64) -> SpendPosterior {
        self.posterior_of_total(x, if x == 0 { 0.0 } else { f64::from(x) * zbar })
    }

    /// [`posterior`](Self::posterior) from the total spend `x zbar`, without the rounding of a division by `x`.
    pub fn posterior_of_total(&self, x: u32, total: f64) -> SpendPosterior {
        SpendPosterior { p: self.p, own_shape: self.p * f64::from(x), q: self.q, scale: self.v + total }
    }

    /// The logarithm of the density of `zbar > 0` given `x` (note 025, eq. 1a); 0 for `x = 0`.
    pub fn log_likelihood(&self, x: u32, zbar: f64) -> f64 {
        if x == 0 {
            return 0.0;
        }
        let x = f64::from(x);
        let (shape, total) = (self.p * x, x * zbar);
        // ln of total^shape v^q / (v + total)^(shape + q), as two shares so that nothing large cancels.
        let shares = -shape * libm::log1p(self.v / total) - self.q * libm::log1p(total / self.v);
        shares - ln_beta(shape, self.q) - libm::log(zbar)
    }
}

/// What is known of one customer's mean spend `M = p / nu`: `nu ~ Gamma(p x + q, v + x zbar)` (note 025, section 3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpendPosterior {
    p: f64,
    /// `p x`.
    own_shape: f64,
    q: f64,
    scale: f64,
}

impl SpendPosterior {
    /// Shape of the customer's own `nu`: `p x + q`.
    pub fn shape(&self) -> f64 {
        self.own_shape + self.q
    }

    /// Scale of the customer's own `nu`, in money: `v + x zbar`.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Shape of each of the customer's spends: `p`.
    pub fn p(&self) -> f64 {
        self.p
    }

    /// `E[M] = p (v + x zbar) / (p x + q - 1)`, undefined for `p x + q <= 1`. Exact to rounding.
    pub fn mean(&self) -> Result<f64, Undefined> {
        let excess = self.shape_over(1.0);
        if excess > 0.0 {
            Ok(within_range(self.p / excess * self.scale))
        } else {
            Err(Undefined::InfiniteMean)
        }
    }

    /// `Var[M] = E[M]^2 / (p x + q - 2)`, undefined for `p x + q <= 2`. Exact to rounding.
    pub fn variance(&self) -> Result<f64, Undefined> {
        let mean = self.mean()?;
        let excess = self.shape_over(2.0);
        if excess > 0.0 { Ok(within_range(mean / excess * mean)) } else { Err(Undefined::InfiniteVariance) }
    }

    /// The amount that `M` does not exceed with the probability `level`; exists whatever the moments do.
    ///
    /// Relative error about 1e-12 for `p x + q` from 1e-3 to 1e6. Never below 1e-307 nor above 1e307 in units of
    /// `p (v + x zbar)`.
    pub fn quantile(&self, level: Level) -> f64 {
        // M is large where nu is small.
        within_range(
            self.p * self.scale / inverse_incomplete_gamma(self.shape(), level.complement(), level.get()),
        )
    }

    /// The moments of the total spend `V` of a number of purchases with the given mean and variance.
    ///
    /// With `c = v + x zbar` and `s = p x + q`, since `V` of `Y` purchases is `Gamma(p Y, nu)`:
    ///
    /// ```text
    /// E V   = p E[Y] c / (s-1)
    /// Var V = c^2 / ((s-1)(s-2)) (p E[Y] + p^2 (Var Y + E[Y]^2 / (s-1)))
    /// ```
    ///
    /// Undefined for `s <= 2`, whose second moment is infinite. Exact to rounding: nothing is subtracted.
    pub fn total_spend(
        &self,
        mean_purchases: f64,
        purchase_variance: f64,
    ) -> Result<SpendMoments, Undefined> {
        let mean = self.mean()? * mean_purchases;
        let over_one = self.shape_over(1.0);
        let over_two = self.shape_over(2.0);
        if over_two <= 0.0 {
            return Err(Undefined::InfiniteVariance);
        }
        let spread = purchase_variance + mean_purchases / over_one * mean_purchases;
        let scale = self.p * self.scale;
        let variance = scale / over_one * (scale / over_two) * (mean_purchases / self.p + spread);
        Ok(SpendMoments::new(within_range(mean), within_range(variance)))
    }

    /// `p x + q - less`, keeping the digits of `q` beside 1 and 2.
    fn shape_over(&self, less: f64) -> f64 {
        self.own_shape + (self.q - less)
    }
}

/// Amounts beyond all numbers become the largest.
fn within_range(amount: f64) -> f64 {
    amount.min(f64::MAX)
}

/// The mean spend of such a customer is infinite under these parameters: `p x + q <= 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mean spend is infinite: p x + q must exceed 1")]
pub struct MeanUndefined;

exact_parameters!(GammaGamma { p, q, v });
