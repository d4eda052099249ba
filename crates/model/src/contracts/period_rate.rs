//! At which rate renewals lose their value from one period to the next.

use crate::ParameterError;

/// A discount rate per contract period, net of the growth of the price: a renewal one period later counts
/// `1 / (1 + d)` of one now.
///
/// Negative where the price grows faster than money is discounted; sums over a horizon then still exist, sums for ever
/// may not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeriodRate {
    d: f64,
}

impl PeriodRate {
    /// Nothing is discounted.
    pub const ZERO: Self = Self { d: 0.0 };

    /// Takes the rate `d` per period, from 0 to a million (0.01 is 1 %).
    pub fn new(d: f64) -> Result<Self, ParameterError> {
        Ok(Self { d: ParameterError::check("d", d, 0.0, 1e6)? })
    }

    /// The rate per period that comes to the effective annual rate `d_a` (0 to 10) when a period is `period_years`
    /// long (1/1000 to 100): `(1 + d_a)^period_years - 1`.
    pub fn of_annual(d_a: f64, period_years: f64) -> Result<Self, ParameterError> {
        let d_a = ParameterError::check("annual_discount_rate", d_a, 0.0, 10.0)?;
        let period_years = ParameterError::check("period_years", period_years, 1e-3, 100.0)?;
        // Ten periods of a century at 1000 % are discounted no more than a million times each.
        Ok(Self { d: f64::min(libm::expm1(period_years * libm::log1p(d_a)), 1e6) })
    }

    /// The same rate when the price grows by `g` per period (upgrades less downgrades, from -0.99 to 10):
    /// `1 / (1 + d)` becomes `(1 + g) / (1 + d)`.
    pub fn with_growth(self, g: f64) -> Result<Self, ParameterError> {
        let g = ParameterError::check("growth", g, -0.99, 10.0)?;
        Ok(Self { d: (self.d - g) / (1.0 + g) })
    }

    /// The rate `d` per period, net of growth.
    pub fn d(self) -> f64 {
        self.d
    }

    /// What a renewal one period later counts, `1 / (1 + d)`.
    pub fn ratio(self) -> f64 {
        1.0 / (1.0 + self.d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_months_discount_as_one_year() {
        let month = PeriodRate::of_annual(0.15, 1.0 / 12.0).unwrap();

        assert!((libm::pow(month.ratio(), 12.0) * 1.15 - 1.0).abs() < 1e-14);
        assert!((PeriodRate::of_annual(0.15, 1.0).unwrap().d() - 0.15).abs() < 1e-16);
    }

    #[test]
    fn growth_works_against_the_discount() {
        let rate = PeriodRate::new(0.1).unwrap();

        assert!((rate.with_growth(0.05).unwrap().ratio() - 1.05 / 1.1).abs() < 1e-15);
        assert_eq!(rate.with_growth(0.1).unwrap(), PeriodRate::ZERO);
        assert!(rate.with_growth(0.2).unwrap().d() < 0.0);
        assert!(rate.with_growth(-1.0).is_err() && PeriodRate::new(f64::NAN).is_err());
    }
}
