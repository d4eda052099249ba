//! How many more renewals a contract will see within a horizon.

use crate::PeriodRate;

/// The number `N` of further renewals of an active customer within `k` periods, as a distribution.
///
/// He stands just before his next renewal, which is number 1 of those counted and happens now: with a discount the
/// first counts in full. If it is still `u` periods away, multiply discounted sums by `ratio^u`.
#[derive(Clone, Debug, PartialEq)]
pub struct RemainingRenewals {
    /// `P(N >= j)` for `j = 0..=k`.
    survival: Vec<f64>,
    /// `P(N = j)` for `j = 0..=k`; the last is `P(N >= k)`, what the horizon cuts off.
    pmf: Vec<f64>,
}

impl RemainingRenewals {
    /// Takes the probabilities to churn at the first, second, ... of the renewals, each given the renewals before.
    ///
    /// Kept as `(churn, retention)`, so that neither is the rounded rest of the other.
    pub(crate) fn from_hazards(hazards: impl Iterator<Item = (f64, f64)>) -> Self {
        let (mut survival, mut pmf) = (vec![1.0], Vec::new());
        let mut alive = 1.0;
        for (churn, retention) in hazards {
            pmf.push(alive * churn);
            alive *= retention;
            survival.push(alive);
        }
        pmf.push(alive);
        Self { survival, pmf }
    }

    /// The horizon `k` in periods.
    pub fn horizon(&self) -> u32 {
        self.pmf.len() as u32 - 1
    }

    /// The survival vector: at place `j`, the probability of at least `j` further renewals, for `j` from 0 to the
    /// horizon.
    pub fn survival(&self) -> &[f64] {
        &self.survival
    }

    /// The probability of exactly `n` renewals within the horizon; at the horizon, of all of them.
    pub fn pmf(&self, n: u32) -> f64 {
        self.pmf.get(n as usize).copied().unwrap_or(0.0)
    }

    /// The probability of at most `n` renewals within the horizon.
    pub fn cdf(&self, n: u32) -> f64 {
        if n >= self.horizon() {
            return 1.0;
        }
        let n = n as usize;
        // The smaller of the two tails, so that either keeps its digits.
        if self.survival[n + 1] > 0.5 { self.pmf[..=n].iter().sum() } else { 1.0 - self.survival[n + 1] }
    }

    /// The smallest number of renewals that is not exceeded with the probability `level`, to rounding (1e-14); never
    /// above the horizon.
    pub fn quantile(&self, level: f64) -> u32 {
        let enough = level * (1.0 - 1e-14);
        let reached = |churned: &mut f64, probability: &f64| {
            *churned += probability;
            Some(*churned)
        };
        let below = self.pmf.iter().scan(0.0, reached).take_while(|&cdf| cdf < enough).count();
        u32::min(below as u32, self.horizon())
    }

    /// The expected number of renewals within the horizon.
    pub fn expected(&self) -> f64 {
        self.discounted(PeriodRate::ZERO)
    }

    /// The expected number of renewals within the horizon, each discounted to the next one: the lifetime DERL of Fader
    /// & Hardie (2010, eq. 6), truncated.
    ///
    /// `sum over j = 1..=k of P(N >= j) / (1 + d)^(j-1)`. Relative error below 1e-12; where growth carries it beyond
    /// the range of numbers, the largest number.
    pub fn discounted(&self, rate: PeriodRate) -> f64 {
        let ratio = rate.ratio();
        let (mut sum, mut discount) = (0.0, 1.0);
        for survival in self.survival.iter().skip(1).filter(|&&survival| survival > 0.0) {
            sum += survival * discount;
            discount *= ratio;
        }
        f64::min(sum, f64::MAX)
    }

    /// The variance of the number of renewals within the horizon.
    pub fn variance(&self) -> f64 {
        self.variance_discounted(PeriodRate::ZERO)
    }

    /// The variance of the discounted number of renewals within the horizon.
    ///
    /// `N` renewals count `A_N = 1 + v + ... + v^(N-1)`. The sum of `P(N = j) (A_j - E)^2` has positive terms only;
    /// the mean of the square less the square of the mean would cancel where churn is rare.
    pub fn variance_discounted(&self, rate: PeriodRate) -> f64 {
        let ratio = rate.ratio();
        let expected = self.discounted(rate);
        let (mut sum, mut count, mut discount) = (0.0, 0.0, 1.0);
        for &probability in &self.pmf {
            if probability > 0.0 {
                let off: f64 = count - expected;
                sum += probability * off * off;
            }
            count += discount;
            discount *= ratio;
        }
        f64::min(sum, f64::MAX)
    }

    /// After how many renewals the expected discounted margins have paid back `cost`, for a margin of `margin` at each
    /// renewal; none if not within the horizon.
    ///
    /// The smallest `n` with `margin (S_1 + S_2 v + ... + S_n v^(n-1)) >= cost`.
    pub fn payback(&self, cost: f64, margin: f64, rate: PeriodRate) -> Option<u32> {
        let ratio = rate.ratio();
        let (mut earned, mut discount) = (0.0, 1.0);
        if cost <= 0.0 {
            return Some(0);
        }
        for (n, survival) in self.survival.iter().enumerate().skip(1) {
            earned += margin * survival * discount;
            discount *= ratio;
            if earned >= cost {
                return Some(n as u32);
            }
        }
        None
    }
}

/// The smallest number whose cumulated probability reaches `level` to rounding (1e-14); none above four billion.
pub(super) fn smallest_reaching(level: f64, cdf: impl Fn(u32) -> f64) -> Option<u32> {
    let reached = |n: u32| cdf(n) >= level * (1.0 - 1e-14);
    if !(level < 1.0 && reached(u32::MAX)) {
        return None;
    }
    let (mut least, mut most) = (0, u32::MAX);
    while least < most {
        let middle = least + (most - least) / 2;
        if reached(middle) { most = middle } else { least = middle + 1 }
    }
    Some(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half leave at each renewal; at most three renewals are looked at.
    fn coin() -> RemainingRenewals {
        RemainingRenewals::from_hazards((0..3).map(|_| (0.5, 0.5)))
    }

    #[test]
    fn a_coin_tossed_three_times_has_its_known_moments() {
        let coin = coin();

        assert_eq!(coin.survival(), &[1.0, 0.5, 0.25, 0.125][..]);
        for (n, probability) in [(0, 0.5), (1, 0.25), (2, 0.125), (3, 0.125), (4, 0.0)] {
            assert!((coin.pmf(n) - probability).abs() < 1e-16);
        }
        assert!((coin.expected() - 0.875).abs() < 1e-15);
        // E[N^2] = 0.25 + 4/8 + 9/8.
        assert!((coin.variance() - (1.875 - 0.875 * 0.875)).abs() < 1e-15);
    }

    #[test]
    fn quantiles_are_the_smallest_numbers_that_reach_the_level() {
        let coin = coin();

        assert_eq!([0.0, 0.5, 0.501, 0.75, 0.876, 1.0].map(|level| coin.quantile(level)), [0, 0, 1, 1, 3, 3]);
    }

    #[test]
    fn money_is_back_when_the_discounted_margins_reach_it() {
        let paid = |cost| coin().payback(cost, 8.0, PeriodRate::ZERO);

        assert_eq!([0.0, 4.0, 4.1, 7.0, 7.1].map(paid), [Some(0), Some(1), Some(2), Some(3), None]);
    }

    #[test]
    fn growth_without_bound_stays_a_number() {
        let boom = PeriodRate::new(0.0).unwrap().with_growth(10.0).unwrap();
        let certain = RemainingRenewals::from_hazards((0..2000).map(|_| (1e-3, 1.0 - 1e-3)));

        assert!(certain.discounted(boom).is_finite() && certain.variance_discounted(boom).is_finite());
    }
}
