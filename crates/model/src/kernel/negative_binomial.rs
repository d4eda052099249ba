//! The negative binomial distribution: Poisson counts whose rate is Gamma distributed.

use std::f64::consts::PI;

use super::gamma::stirling_error;

/// The part of the largest term below which a term no longer counts, not even beside small probabilities.
const NEGLIGIBLE: f64 = 1e-40;

/// `P(N = 0), P(N = 1), ...` for `N ~ Poisson(lambda t)`, `lambda ~ Gamma(k, A)`, `y = t/A`, and what is left beyond:
/// to where a term is below 1e-40 of the largest, and at most up to `largest`.
///
/// `k > 0`, `0 <= y`. Relative error about 1e-15 times the square root of the distance from the mode.
pub(crate) fn probabilities(k: f64, y: f64, largest: usize) -> (Vec<f64>, f64) {
    let z = y / (1.0 + y);
    let mode = f64::min(libm::floor(f64::max(0.0, (k - 1.0) * y)), largest as f64);
    let at_mode = mode as usize;

    let mut terms = vec![0.0; at_mode + 1];
    terms[at_mode] = probability(k, y, mode);
    for n in (1..=at_mode).rev() {
        let count = n as f64;
        terms[n - 1] = terms[n] * (count / ((k + (count - 1.0)) * z));
    }
    let growth = |n: usize| (k + n as f64) / (n as f64 + 1.0) * z;
    let mut last = terms[at_mode];
    while terms.len() <= largest && last > NEGLIGIBLE * terms[at_mode] {
        last *= growth(terms.len() - 1);
        terms.push(last);
    }
    let beyond = beyond(&terms, growth);
    (terms, beyond)
}

/// The probability of more than is listed: one minus the list while that has its digits, else summed.
fn beyond(terms: &[f64], growth: impl Fn(usize) -> f64) -> f64 {
    let listed: f64 = terms.iter().sum();
    if listed < 0.5 {
        return 1.0 - listed;
    }
    let mut n = terms.len() - 1;
    let mut term = terms[n];
    let mut sum = 0.0;
    while term > 1e-17 * sum && term > 0.0 {
        term *= growth(n);
        sum += term;
        n += 1;
    }
    sum
}

/// `P(N = n)` by Loader's saddle-point expansion ("Fast and accurate computation of binomial probabilities", 2000),
/// whose terms are of the size of the logarithm; those of the Gamma functions are a million times that.
fn probability(k: f64, y: f64, n: f64) -> f64 {
    if n == 0.0 {
        return libm::exp(-k * libm::log1p(y));
    }
    let all = k + n;
    let rest = stirling_error(all) - stirling_error(k) - stirling_error(n);
    let deviance = deviance(k, all / (1.0 + y)) + deviance(n, all * (y / (1.0 + y)));
    k / all * libm::sqrt(all / (2.0 * PI * k * n)) * libm::exp(rest - deviance)
}

/// `x ln(x/m) + m - x` without the cancellation where `x` is close to `m`.
fn deviance(x: f64, m: f64) -> f64 {
    let v = (x - m) / (x + m);
    if v.abs() > 0.1 {
        return x * libm::log(x / m) + m - x;
    }
    // x ln(x/m) = 2x artanh v, and m - x = -v (x + m).
    let w = v * v;
    let series = (1..=9).rev().fold(0.0, |sum, j| (sum + 1.0 / f64::from(2 * j + 1)) * w);
    (x - m) * v + 2.0 * x * v * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_one_and_the_mean_is_ky() {
        for (k, y) in
            [(0.3, 0.01), (1.0, 5.0), (0.01, 1e4), (5000.2, 0.3), (7.5, 0.0), (1e6, 0.5), (250.0, 400.0)]
        {
            let (terms, beyond) = probabilities(k, y, 1 << 24);

            let sum = terms.iter().sum::<f64>() + beyond;
            let mean: f64 = terms.iter().enumerate().map(|(n, term)| n as f64 * term).sum();
            assert!((sum - 1.0).abs() < 1e-12, "NB({k}, {y}): {sum}");
            assert!((mean - k * y).abs() <= 1e-12 * k * y, "NB({k}, {y}): {mean}");
        }
    }

    #[test]
    fn a_list_cut_short_leaves_the_rest_beyond() {
        // P(N = n) = z^n / (1 + y) for k = 1.
        for (y, largest) in [(1e9, 100), (5.0, 40), (1e300, 3)] {
            let (terms, beyond) = probabilities(1.0, y, largest);

            let z = y / (1.0 + y);
            assert_eq!(terms.len(), largest + 1);
            assert!((beyond / libm::pow(z, largest as f64 + 1.0) - 1.0).abs() < 1e-13, "{y}: {beyond}");
        }
    }
}
