//! The exponents of the gamma and beta distributions, kept free of cancellation.
//!
//! `x^a e^-x / Gamma(a)` and `x^a y^b / B(a, b)` are products of huge and tiny factors. Measured from their peaks
//! they are Gaussian factors times the exponential of a deviance (Loader 2000, "Fast and accurate computation of
//! binomial probabilities"), all of one sign.

use super::gamma::{ln_gamma, stirling_rest};

/// `u - ln(1 + u)`, never negative; `ratio` is `1 + u` with its own digits, needed where `u` is close to -1.
///
/// Relative error about 2e-15.
pub(super) fn deviance(u: f64, ratio: f64) -> f64 {
    // ln(1 + u) = 2 atanh(r), and u - 2 r = r u.
    let r = u / (2.0 + u);
    if r.abs() > 0.15 {
        return u - libm::log(ratio);
    }
    let w = r * r;
    let mut series = 0.0;
    for power in [19, 17, 15, 13, 11, 9, 7, 5, 3] {
        series = series * w + 1.0 / f64::from(power);
    }
    r * u - 2.0 * r * w * series
}

/// `ln Gamma(z) - (z - 1/2) ln z + z - ln(2 pi) / 2`, `z > 0`: absolute error about 1e-15 times `1 + |ln z|`.
pub(super) fn ln_gamma_rest(z: f64) -> f64 {
    if z < 10.0 { ln_gamma(z) - (z - 0.5) * libm::log(z) + z - HALF_LN_2_PI } else { stirling_rest(z) }
}

/// `a b - c d` with one rounding more than the result's own (Kahan).
pub(super) fn difference_of_products(a: f64, b: f64, c: f64, d: f64) -> f64 {
    let product = c * d;
    libm::fma(a, b, -product) - libm::fma(c, d, -product)
}

const HALF_LN_2_PI: f64 = 0.918_938_533_204_672_8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviance_keeps_its_digits_on_both_sides_of_its_series() {
        for (u, expected) in [
            (1e-8, 4.999_999_966_666_667e-17),
            (-0.2, 0.023_143_551_314_209_76),
            (0.3, 0.037_635_735_532_508_94),
            (0.4, 0.063_527_763_378_787_07),
            (5.0, 3.208_240_530_771_945),
        ] {
            let actual = deviance(u, 1.0 + u);
            assert!((actual / expected - 1.0).abs() < 2e-15, "{u}: {actual}");
        }
        assert!((deviance(-1.0, 1e-30) - 68.077_552_789_821_37).abs() < 1e-13);
    }
}
