//! How many purchases there will be, with the probability of each number.

use super::alive::Alive;
use crate::kernel::negative_binomial;

/// Numbers above this are not told apart: sixteen million purchases of one customer in one horizon.
const LARGEST_COUNT: usize = 1 << 24;

/// Numbers are listed until the probability of a larger one, for a customer who is alive, is below this part of the
/// probability of any.
const NEGLIGIBLE: f64 = 1e-16;

/// The distribution of a customer's purchases over a horizon.
///
/// Lists the probabilities of `0..=n` purchases, where more than `n` have a probability below 1e-15; from 16.7 million
/// on all larger numbers count as that one. Relative error of each probability below 1e-11, in lists of millions 1e-9.
#[derive(Clone, Debug, PartialEq)]
pub struct PurchaseDistribution {
    /// Never empty.
    probabilities: Vec<f64>,
}

impl PurchaseDistribution {
    /// Takes the probabilities of 0, 1, 2, ... purchases; without any, there are certainly none.
    pub(crate) fn from_probabilities(mut probabilities: Vec<f64>) -> Self {
        if probabilities.is_empty() {
            probabilities.push(1.0);
        }
        Self { probabilities }
    }

    /// How many purchases there will be in the next `horizon` weeks, when the customer is alive with `p_alive` and
    /// buys nothing otherwise.
    pub(crate) fn of_alive(alive: &Alive, horizon: f64, p_alive: f64, p_dead: f64) -> Self {
        Self::of_truncated_negative_binomial(alive, horizon / alive.rate, p_alive, p_dead)
    }

    /// Takes `min(N, G)` purchases with `p_alive`, else none: `N` negative binomial and `G` Beta-geometric, the
    /// purchase after which the customer leaves. With `y = t/A`:
    ///
    /// ```text
    /// P(Y = n) = p_alive { E[(1-p)^n] P(N = n) + E[p (1-p)^(n-1)] P(N >= n) },    P(Y > n) = p_alive E[(1-p)^n] P(N > n)
    /// ```
    fn of_truncated_negative_binomial(alive: &Alive, y: f64, p_alive: f64, p_dead: f64) -> Self {
        let &Alive { k, a, b, .. } = alive;
        let (exactly, beyond) = negative_binomial::probabilities(k, y, LARGEST_COUNT);
        let at_least = sums_from_the_end(&exactly, beyond);

        let mut probabilities = vec![p_dead + p_alive * exactly[0]];
        // E[(1-p)^n].
        let mut survival = 1.0;
        for n in 1..exactly.len() {
            if survival * at_least[n] < NEGLIGIBLE * at_least[1] {
                break;
            }
            let tosses = b + (n - 1) as f64;
            let lost = survival * (a / (a + tosses));
            survival *= tosses / (a + tosses);
            probabilities.push(p_alive * (survival * exactly[n] + lost * at_least[n]));
        }
        if probabilities.len() > LARGEST_COUNT {
            probabilities[LARGEST_COUNT] += p_alive * survival * beyond;
        }
        Self::from_probabilities(probabilities)
    }

    /// The probability of `n` purchases.
    pub fn pmf(&self, n: u32) -> f64 {
        self.probabilities.get(n as usize).copied().unwrap_or(0.0)
    }

    /// The probability of at most `n` purchases.
    pub fn cdf(&self, n: u32) -> f64 {
        let listed = self.probabilities.len();
        if n as usize >= listed - 1 {
            return 1.0;
        }
        f64::min(1.0, self.probabilities[..=n as usize].iter().sum())
    }

    /// The smallest number that is not exceeded with a probability of at least `level`.
    pub fn quantile(&self, level: f64) -> u32 {
        let last = self.probabilities.len() - 1;
        let mut sum = 0.0;
        let reaches = |probability: &f64| {
            sum += probability;
            sum >= level
        };
        self.probabilities[..last].iter().position(reaches).unwrap_or(last) as u32
    }

    /// The mean number.
    pub fn mean(&self) -> f64 {
        self.probabilities.iter().enumerate().map(|(n, probability)| n as f64 * probability).sum()
    }

    /// The largest number that is listed.
    pub fn largest(&self) -> u32 {
        (self.probabilities.len() - 1) as u32
    }
}

/// `sum[n] = terms[n] + terms[n+1] + ... + beyond`, smallest first.
fn sums_from_the_end(terms: &[f64], beyond: f64) -> Vec<f64> {
    let mut sums = terms.to_vec();
    let mut sum = beyond;
    for term in sums.iter_mut().rev() {
        sum += *term;
        *term = sum;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_first_number_whose_cdf_reaches_the_level() {
        let distribution = PurchaseDistribution::from_probabilities(vec![0.5, 0.25, 0.25]);

        for (level, expected) in [(0.0, 0), (0.5, 0), (0.51, 1), (0.75, 1), (0.76, 2), (1.0, 2)] {
            assert_eq!(distribution.quantile(level), expected, "{level}");
        }
        for (n, pmf, cdf) in [(0, 0.5, 0.5), (1, 0.25, 0.75), (2, 0.25, 1.0), (9, 0.0, 1.0)] {
            assert_eq!(distribution.pmf(n).to_bits(), f64::to_bits(pmf));
            assert_eq!(distribution.cdf(n).to_bits(), f64::to_bits(cdf));
        }
        assert!((distribution.mean() - 0.75).abs() < 1e-15);
    }

    #[test]
    fn nothing_known_is_no_purchase() {
        assert_eq!(PurchaseDistribution::from_probabilities(Vec::new()).quantile(0.99), 0);
    }
}
