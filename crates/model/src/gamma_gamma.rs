//! Gamma-Gamma: how much a customer spends each time.
//!
//! Fader & Hardie (2013), "The Gamma-Gamma model of monetary value", note 025. A customer's spend on a purchase is
//! `Gamma(p, nu)`, and over the customers `nu ~ Gamma(q, v)`. Observed is the mean spend `zbar` of `x` purchases.

use serde::{Deserialize, Serialize};

use crate::ParameterError;
use crate::kernel::gamma::ln_beta;
use crate::parameters::ExactNumber;

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

/// The mean spend of such a customer is infinite under these parameters: `p x + q <= 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mean spend is infinite: p x + q must exceed 1")]
pub struct MeanUndefined;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    p: ExactNumber,
    q: ExactNumber,
    v: ExactNumber,
}

impl From<GammaGamma> for Text {
    fn from(model: GammaGamma) -> Self {
        Self { p: ExactNumber(model.p), q: ExactNumber(model.q), v: ExactNumber(model.v) }
    }
}

impl TryFrom<Text> for GammaGamma {
    type Error = ParameterError;

    fn try_from(text: Text) -> Result<Self, ParameterError> {
        Self::new(text.p.0, text.q.0, text.v.0)
    }
}
