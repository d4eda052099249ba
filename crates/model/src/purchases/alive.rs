//! What a customer who is alive will still buy, where every customer is computed by himself.
//!
//! Given alive, `lambda ~ Gamma(k, A)` and `p ~ Beta(a, b')` are independent (the module of
//! [`AliveCurve`](crate::AliveCurve) has the notation). Given `p`, with `y = t/A` and `s = p y`, everything has a closed
//! form; what remains is an expectation over `p`:
//!
//! ```text
//! DERT = E_p[ (k/p) e^w E_{k+1}(w) ],    w = delta A / p
//! mean = E_p[ M(p) ],                    M(p) = (1 - (1+s)^-k) / p
//! var  = E_p[ v(p) ] + Var_p[ M(p) ],    v(p) = (N1 + p N2) / p^2
//!        N1 = 1 - (1+s)^-2k - 2k s (1+s)^-(k+1)
//!        N2 = 2k s (1+s)^-(k+1) - (1 - (1+s)^-k)
//! ```
//!
//! `v` is the variance given `p`: of the purchases, `min(N, G)` with `N` negative binomial and `G` geometric. It comes
//! from the second factorial moment `2 (1-p)/p^2 E[1 - e^-q (1+q)]`, `q = p lambda t`; put together before the numbers
//! are, all its terms are positive, and a variance far below the squared mean keeps its digits.

use crate::Undefined;
use crate::kernel::beta_expectation::BetaExpectation;
use crate::kernel::exponential_integral::scaled_exponential_integral;

/// The posterior of a customer who is alive: `lambda ~ Gamma(k, rate)`, `p ~ Beta(a, b)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alive {
    pub(crate) k: f64,
    /// `A = alpha + T`, in weeks.
    pub(crate) rate: f64,
    pub(crate) a: f64,
    pub(crate) b: f64,
}

/// Mean and variance of the purchases over a horizon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

/// Below this rate per week a discount counts as none: it would bite after 1e90 years.
const SLOWEST_DISCOUNT: f64 = 1e-92;

impl Alive {
    /// The discounted purchases for ever.
    pub(crate) fn discounted_for_ever(&self, delta: f64) -> Result<f64, Undefined> {
        let &Self { k, rate, a, b } = self;
        if delta < SLOWEST_DISCOUNT {
            // E[1/p].
            return if a > 1.0 { Ok(1.0 + b / (a - 1.0)) } else { Err(Undefined::InfiniteSum) };
        }
        let decay = delta * rate;
        let knee = decay / (k + 1.0);
        let flat = 1e-17 / (1.0 / knee + k + 1.0 + a + b);
        let expectation = BetaExpectation::sized(a, b, flat, |p| 1.0 / f64::max(p, knee));
        Ok(expectation.of(|p| {
            if p == 0.0 { k / decay } else { k / p * scaled_exponential_integral(k + 1.0, decay / p) }
        }))
    }

    /// Mean and variance of the purchases in the next `horizon` weeks.
    pub(crate) fn moments(&self, horizon: f64) -> Moments {
        let y = horizon / self.rate;
        self.moments_at(y, &self.expectation(y))
    }

    /// The probability of no purchase in the next `horizon` weeks.
    pub(crate) fn p_zero(&self, horizon: f64) -> f64 {
        libm::exp(-self.k * libm::log1p(horizon / self.rate))
    }

    /// The nodes in `p` for the moments at all `y` up to `longest`.
    pub(crate) fn expectation(&self, longest: f64) -> BetaExpectation {
        let &Self { k, a, b, .. } = self;
        // Where p is close to 1, the variance is about 1 - p, and only the density limits how small that is.
        let flat = 1e-17 * f64::min(1.0, b) / ((k + 1.0) * (1.0 + longest) + a + b);
        let knee = 1.0 / ((k + 1.0) * longest);
        let size = |p: f64| 1.0 / f64::max(p, knee);
        BetaExpectation::sized(a, b, flat, |p| size(p) * size(p))
    }

    pub(crate) fn moments_at(&self, y: f64, expectation: &BetaExpectation) -> Moments {
        let given = expectation.sampled(|p, complement| given_dropout(self.k, y, p, complement));
        let mean = given.iter().map(|(weight, given)| weight * given.mean).sum();
        // Around the mean instead of E[M^2] - mean^2, which cancels.
        let square = |given: &Moments| (given.mean - mean) * (given.mean - mean);
        let variance = given.iter().map(|(weight, given)| weight * (given.variance + square(given))).sum();
        Moments { mean, variance }
    }
}

/// Mean `M(p)` and variance `v(p)` of the purchases of a customer whose dropout probability is known.
fn given_dropout(k: f64, y: f64, p: f64, complement: f64) -> Moments {
    let s = p * y;
    if s < 1e-18 / (k + 1.0) {
        return Moments { mean: k * y, variance: k * y * (1.0 + y) };
    }
    let ln_growth = libm::log1p(s);
    let z = k * ln_growth;
    let bought = -libm::expm1(-z);
    let lasting = 1.0 - bought;
    let share = s / (1.0 + s);
    let n2 = 2.0 * k * share * lasting - bought;
    let numerator = if p > 0.5 {
        // N1 + N2 = (1+s)^-k (1 - (1+s)^-k), without the 1 that cancels beside it.
        lasting * bought - complement * n2
    } else {
        n1(k, z, ln_growth, s, share, lasting) + p * n2
    };
    Moments { mean: bought / p, variance: numerator / p / p }
}

/// `1 - e^-2z - 2k s/(1+s) e^-z` with `z = k ln(1+s)`: for small `z`, `2 e^-z` times the two positive parts of
/// `sinh z - k s/(1+s) = (sinh z - z) + k (ln(1+s) - s/(1+s))`.
fn n1(k: f64, z: f64, ln_growth: f64, s: f64, share: f64, lasting: f64) -> f64 {
    if z > 1.0 {
        return (1.0 - lasting * lasting) - 2.0 * k * share * lasting;
    }
    let logarithm = if s < 0.1 { share * share * rest_of_logarithm(share) } else { ln_growth - share };
    2.0 * lasting * (sinh_minus(z) + k * logarithm)
}

/// `sinh z - z` for `0 <= z <= 1`.
fn sinh_minus(z: f64) -> f64 {
    let w = z * z;
    let series = (1..=7).rev().fold(1.0, |sum, n| {
        let n = f64::from(2 * n + 2);
        1.0 + sum * w / (n * (n + 1.0))
    });
    z * w / 6.0 * series
}

/// `(-ln(1-w) - w) / w^2 = 1/2 + w/3 + w^2/4 + ...` for `0 <= w < 0.1`.
fn rest_of_logarithm(w: f64) -> f64 {
    (2..=18).rev().fold(0.0, |sum, n| sum * w + 1.0 / f64::from(n))
}
