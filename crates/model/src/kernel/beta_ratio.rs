//! How a Beta function falls when its second argument grows: the survival curve of every Beta-mixed geometric.

/// `ln [B(alpha, beta + n) / B(alpha, beta)]` for `alpha, beta > 0` and any real `n >= 0`; never above 0.
///
/// The four Gamma functions are combined before anything is rounded: with Stirling's series for each,
///
/// ```text
/// (beta - 1/2) ln(1 + n alpha / (beta (alpha+beta+n))) - n ln(1 + alpha/(beta+n)) - alpha ln(1 + n/(alpha+beta)) + rests
/// ```
///
/// so that no `ln Gamma` of the size `n ln n` is left to cancel; below `beta = 10` the recurrence in `beta` adds terms
/// of the same sign. Relative error below 1e-13 while `alpha n > 1e-9 beta`, for arguments up to 1e300.
pub(crate) fn ln_beta_ratio(alpha: f64, beta: f64, n: f64) -> f64 {
    let mut recurrence = 0.0;
    let mut beta = beta;
    while beta < 10.0 {
        recurrence += libm::log1p(excess(alpha, beta, n));
        beta += 1.0;
    }
    let both = alpha + beta;
    let main = (beta - 0.5) * libm::log1p(excess(alpha, beta, n))
        - n * libm::log1p(alpha / (beta + n))
        - alpha * libm::log1p(n / both);
    // Of the first term the difference in closed form: beside a small alpha n it would keep no digits.
    let first = -excess(alpha, beta, n) * (1.0 / (beta + n) + 1.0 / both) / 12.0;
    let others = (stirling_others(beta + n) - stirling_others(beta))
        - (stirling_others(both + n) - stirling_others(both));
    f64::min(main + first + others - recurrence, 0.0)
}

/// `(1 + n/beta) / (1 + n/(alpha+beta)) - 1`, as a product that cannot overflow.
fn excess(alpha: f64, beta: f64, n: f64) -> f64 {
    alpha / beta * (n / (alpha + beta + n))
}

/// What Stirling's formula and `1/(12 z)` leave of `ln Gamma(z)` for `z >= 10` (Abramowitz & Stegun 6.1.41).
fn stirling_others(z: f64) -> f64 {
    let w = 1.0 / (z * z);
    -w * (1.0 / 360.0
        - w * (1.0 / 1260.0
            - w * (1.0 / 1680.0 - w * (1.0 / 1188.0 - w * (691.0 / 360_360.0 - w * (1.0 / 156.0))))))
        / z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_of_the_retentions_comes_out() {
        for alpha in [1e-3, 0.7, 1.0, 30.0, 1e4] {
            for beta in [1e-3, 0.3, 9.99, 10.0, 250.0, 1e4] {
                let mut survival = 1.0;
                for n in 1..=2000 {
                    let before = beta + f64::from(n - 1);
                    survival *= before / (alpha + before);
                    let closed = libm::exp(ln_beta_ratio(alpha, beta, f64::from(n)));
                    let error = if survival > 1e-290 { (closed / survival - 1.0).abs() } else { closed };
                    assert!(error < 5e-13, "{alpha}, {beta}, {n}: {closed} is not {survival}");
                }
            }
        }
    }

    #[test]
    fn nothing_happens_in_no_time_and_huge_times_stay_finite() {
        assert_eq!(ln_beta_ratio(0.7, 1.2, 0.0).to_bits(), (0.0_f64).to_bits());
        for n in [1e12, 1e100, 1e289] {
            // S(n) ~ Gamma(alpha + beta) / Gamma(beta) n^-alpha, here with Gamma(2.5) / Gamma(2).
            let asymptote = libm::log(1.329_340_388_179_137) - 0.5 * libm::log(n);
            assert!((ln_beta_ratio(0.5, 2.0, n) / asymptote - 1.0).abs() < 1e-11);
        }
    }
}
