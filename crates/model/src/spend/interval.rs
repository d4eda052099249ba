//! Between which amounts a customer's spend will lie.
//!
//! **What an interval holds.** An interval of level 0.9 is to hold the spend of nine customers of ten. With equal tails
//! it reaches from the 5 % to the 95 % quantile. But most customers may well buy nothing: where `P(V = 0)` exceeds the
//! 5 %, the lower end is 0, nothing is left out below it, and with the 95 % quantile above, the interval would hold
//! 95 % while it says 90. There the interval is `[0, quantile(0.9)]`, which holds what it says; and where `P(V = 0)`
//! exceeds the 90 % themselves it is `[0, 0]` and holds more, which nothing narrower can help. So the coverage of the
//! intervals over many customers is their level, not a mixture of it and of half the way to one.
//!
//! Calibration is measured with the probability integral transform `F(V)`, spread evenly over the jump at 0. A
//! central interval of that transform holds part of the zeros, which an interval of amounts cannot; the two agree
//! where the distribution has no jump.

use crate::ParameterError;
use crate::kernel::normal_quantile::quick_normal_quantile;

/// A probability to reach, between 0 and 1 and neither of them.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Level(f64);

impl Level {
    /// Eight of ten.
    pub const EIGHTY: Self = Self(0.8);

    /// Nine of ten.
    pub const NINETY: Self = Self(0.9);

    /// Takes a probability from 1e-12 to 1 - 1e-12.
    pub fn new(level: f64) -> Result<Self, ParameterError> {
        ParameterError::check("level", level, 1e-12, 1.0 - 1e-12).map(Self)
    }

    /// The probability.
    pub fn get(self) -> f64 {
        self.0
    }

    /// What is left to 1.
    pub fn complement(self) -> f64 {
        1.0 - self.0
    }
}

/// Mean and variance of a total spend, in money and money squared; both exist and are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpendMoments {
    mean: f64,
    variance: f64,
}

impl SpendMoments {
    pub(crate) fn new(mean: f64, variance: f64) -> Self {
        Self { mean, variance }
    }

    /// The mean `E[V]`.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The variance `E[V^2] - E[V]^2`.
    pub fn variance(&self) -> f64 {
        self.variance
    }
}

/// Two amounts between which the spend lies with a given probability, ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpendInterval {
    /// The smaller amount.
    pub lower: f64,
    /// The larger amount.
    pub upper: f64,
}

impl SpendInterval {
    /// The intervals of a spend of which only `P(V = 0)` and two moments are known, one for each level.
    ///
    /// A positive spend is taken to be lognormal with the moments that are left to it. On 113 customers the 95 %
    /// quantile was off by 2.4 % in the median and by 5.1 % in the ninth decile; exact ones come from
    /// [`SpendDistribution`](crate::SpendDistribution), and exist where the moments do not. Two levels take 40 to 90
    /// nanoseconds, and no memory.
    pub fn from_moments<const N: usize>(
        p_zero: f64,
        moments: &SpendMoments,
        levels: [Level; N],
    ) -> [Self; N] {
        let positive = 1.0 - p_zero;
        let mean = moments.mean / positive;
        if !(positive > 0.0 && mean > 0.0) {
            return [Self { lower: 0.0, upper: 0.0 }; N];
        }
        // The variance of the positive spends, in units of their squared mean.
        let relative = moments.variance / moments.mean / moments.mean * positive - p_zero;
        let ln_variance = libm::log1p(f64::max(relative, 0.0));
        let deviation = libm::sqrt(ln_variance);
        let median = mean * libm::exp(-0.5 * ln_variance);
        let per_positive = 1.0 / positive;
        levels.map(|level| {
            Self::of(level, p_zero, |level| {
                let z = quick_normal_quantile((level - p_zero) * per_positive);
                f64::min(median * libm::exp(deviation * z), f64::MAX)
            })
        })
    }

    /// The interval of a level, from the quantiles above `p_zero`.
    #[inline]
    pub(crate) fn of(level: Level, p_zero: f64, quantile: impl Fn(f64) -> f64) -> Self {
        let Level(level) = level;
        let tail = 0.5 * (1.0 - level);
        if p_zero < tail {
            Self { lower: quantile(tail), upper: quantile(1.0 - tail) }
        } else if p_zero < level {
            Self { lower: 0.0, upper: quantile(level) }
        } else {
            Self { lower: 0.0, upper: 0.0 }
        }
    }

    /// Whether the interval holds the amount.
    pub fn holds(&self, amount: f64) -> bool {
        (self.lower..=self.upper).contains(&amount)
    }
}
