//! The gamma function's relatives, for positive arguments.

/// `ln Gamma(z)`, `z > 0`: relative error 2e-16 (libm).
pub(crate) fn ln_gamma(z: f64) -> f64 {
    libm::lgamma(z)
}

/// `ln Gamma(z + s) - ln Gamma(z)` for `z, s > 0`.
///
/// For large `z` the difference of two logarithms of size `z ln z` would lose the digits of their common part;
/// there Stirling's series is subtracted term by term. Absolute error about 1e-15 (1 + |result|) for `z >= 10`.
pub(crate) fn ln_gamma_ratio(z: f64, s: f64) -> f64 {
    if z < 10.0 {
        return ln_gamma(z + s) - ln_gamma(z);
    }
    (z - 0.5) * libm::log1p(s / z) + s * (libm::log(z + s) - 1.0) + (stirling_rest(z + s) - stirling_rest(z))
}

/// `ln B(z, s)` with the cancellation of large `z` avoided.
pub(crate) fn ln_beta(z: f64, s: f64) -> f64 {
    let (large, small) = if z > s { (z, s) } else { (s, z) };
    ln_gamma(small) - ln_gamma_ratio(large, small)
}

/// `psi(z) = d/dz ln Gamma(z)`, `z > 0`: absolute error about 1e-15 (1 + |psi|).
///
/// Recurrence up to 10, then the asymptotic series (Abramowitz & Stegun 6.3.18).
pub(crate) fn digamma(z: f64) -> f64 {
    let mut shift = 0.0;
    let mut z = z;
    while z < 10.0 {
        shift += 1.0 / z;
        z += 1.0;
    }
    let w = 1.0 / (z * z);
    let series = w
        * (1.0 / 12.0
            - w * (1.0 / 120.0
                - w * (1.0 / 252.0
                    - w * (1.0 / 240.0 - w * (1.0 / 132.0 - w * (691.0 / 32760.0 - w * (1.0 / 12.0)))))));
    libm::log(z) - 0.5 / z - series - shift
}

/// `psi'(z)`, `z > 0`: relative error about 1e-14.
///
/// Recurrence up to 10, then the asymptotic series (Abramowitz & Stegun 6.4.12).
pub(crate) fn trigamma(z: f64) -> f64 {
    let mut shift = 0.0;
    let mut z = z;
    while z < 10.0 {
        shift += 1.0 / (z * z);
        z += 1.0;
    }
    let w = 1.0 / (z * z);
    let series = w
        * (1.0 / 6.0
            - w * (1.0 / 30.0
                - w * (1.0 / 42.0
                    - w * (1.0 / 30.0 - w * (5.0 / 66.0 - w * (691.0 / 2730.0 - w * (7.0 / 6.0)))))));
    shift + (1.0 + 0.5 / z + series) / z
}

/// `psi(z + s) - psi(z)` for `z > 0` and `s >= 0`: relative error about 1e-14, however small `s` is beside `z`.
pub(crate) fn digamma_difference(z: f64, s: f64) -> f64 {
    let mut shift = 0.0;
    let mut z = z;
    while z < 10.0 {
        shift += s / (z + s) / z;
        z += 1.0;
    }
    let rests = psi_rest(z) - psi_rest(z + s);
    shift + libm::log1p(s / z) + 0.5 * (s / (z + s) / z) + rests
}

/// What `ln z - 1/(2z)` has more than `psi(z)`, for `z >= 10` (Abramowitz & Stegun 6.3.18).
fn psi_rest(z: f64) -> f64 {
    let w = 1.0 / (z * z);
    w * (1.0 / 12.0
        - w * (1.0 / 120.0
            - w * (1.0 / 252.0
                - w * (1.0 / 240.0 - w * (1.0 / 132.0 - w * (691.0 / 32760.0 - w * (1.0 / 12.0)))))))
}

/// What Stirling's formula leaves of `ln Gamma(z + 1)`: `ln Gamma(z+1) - (z + 1/2) ln z + z - ln sqrt(2 pi)`, `z > 0`.
///
/// Absolute error about 1e-15.
pub(crate) fn stirling_error(z: f64) -> f64 {
    const LN_SQRT_2_PI: f64 = 0.918_938_533_204_672_7;
    if z >= 10.0 { stirling_rest(z) } else { ln_gamma(z + 1.0) - (z + 0.5) * libm::log(z) + z - LN_SQRT_2_PI }
}

/// What Stirling's formula leaves of `ln Gamma(z)` for `z >= 10` (Abramowitz & Stegun 6.1.41).
pub(crate) fn stirling_rest(z: f64) -> f64 {
    let w = 1.0 / (z * z);
    (1.0 / 12.0
        - w * (1.0 / 360.0
            - w * (1.0 / 1260.0
                - w * (1.0 / 1680.0 - w * (1.0 / 1188.0 - w * (691.0 / 360_360.0 - w * (1.0 / 156.0)))))))
        / z
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: f64, expected: f64, relative: f64) {
        assert!((actual - expected).abs() <= relative * expected.abs(), "{actual} is not {expected}");
    }

    #[test]
    fn digamma_has_its_known_values() {
        close(digamma(1.0), -std::f64::consts::EULER_GAMMA, 1e-15);
        close(digamma(0.5), -1.963_510_026_021_423_5, 1e-15);
        close(digamma(1e-6), -1_000_000.577_214_02, 1e-15);
        close(digamma(1e8), 18.420_680_738_952_367, 1e-15);
    }

    #[test]
    fn digamma_climbs_by_the_reciprocal() {
        for z in [0.02, 0.3, 1.0, 2.5, 9.5, 10.5, 400.0, 5000.0] {
            let scale = 1.0 + digamma(z).abs() + 1.0 / z;
            assert!((digamma(z + 1.0) - digamma(z) - 1.0 / z).abs() < 2e-15 * scale, "{z}");
        }
    }

    #[test]
    fn trigamma_has_its_known_values_and_falls_by_the_reciprocal_square() {
        const PI_SQUARED: f64 = std::f64::consts::PI * std::f64::consts::PI;
        close(trigamma(1.0), PI_SQUARED / 6.0, 1e-15);
        close(trigamma(0.5), PI_SQUARED / 2.0, 1e-15);
        close(trigamma(1e8), 1.000_000_005e-8, 1e-15);
        for z in [0.02, 0.3, 1.0, 2.5, 9.5, 10.5, 400.0, 5000.0] {
            close(trigamma(z + 1.0) + 1.0 / (z * z), trigamma(z), 1e-14);
        }
    }

    #[test]
    fn a_difference_of_digammas_keeps_its_digits() {
        for z in [1e-3, 0.3, 2.5, 9.5, 400.0] {
            for steps in [1_u32, 2, 17] {
                let sum: f64 = (0..steps).map(|i| 1.0 / (z + f64::from(i))).sum();
                close(digamma_difference(z, f64::from(steps)), sum, 2e-15);
            }
        }
        close(digamma_difference(1e4, 1e-6), 1.000_050_001_616_661_6e-10, 1e-13);
    }

    #[test]
    fn the_beta_function_keeps_its_digits_beside_a_large_argument() {
        // B(z, 1) = 1 / z and B(z, 2) = 1 / (z (z + 1)).
        for z in [0.5, 9.0, 11.0, 5e3, 1e8] {
            close(ln_beta(z, 1.0), -libm::log(z), 2e-14);
            close(ln_beta(2.0, z), -libm::log(z * (z + 1.0)), 2e-14);
        }
    }
}
