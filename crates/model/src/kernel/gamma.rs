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
    fn the_beta_function_keeps_its_digits_beside_a_large_argument() {
        // B(z, 1) = 1 / z and B(z, 2) = 1 / (z (z + 1)).
        for z in [0.5, 9.0, 11.0, 5e3, 1e8] {
            close(ln_beta(z, 1.0), -libm::log(z), 2e-14);
            close(ln_beta(2.0, z), -libm::log(z * (z + 1.0)), 2e-14);
        }
    }
}
