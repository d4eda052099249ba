//! Integrals of decaying functions whose scales may lie many orders of magnitude apart.

use super::gauss_legendre;

/// With twelve Gauss-Legendre nodes a panel, what falls like `exp(1 - e^g)` is then right to about 1e-14.
const WIDEST_PANEL: f64 = 1.25;

/// And then to about 1e-11.
const WIDEST_COARSE_PANEL: f64 = 2.5;

/// Panels that add less than this share are the last.
const NEGLIGIBLE: f64 = 1e-18;

/// The largest `rate * end` that is looked at.
const FARTHEST: f64 = 1e300;

/// `int_0^end f(v) dv` for several functions at once, by Gauss-Legendre in `g = ln(1 + rate v)`.
///
/// Meant for products of `(1 + v/a)^-k`, `exp(-delta v)`, `v` and the like, with `rate` about the sum of all `k/a` and
/// `delta`. In `g` each factor is analytic for `|Im g| < pi` and falls at its steepest like `exp(1 - e^g)`, whatever
/// the parameters: a plateau between two scales costs panels by the logarithm of their ratio, a layer at 0 costs none.
/// The first function must not be negative, and `f_0(v) (1 + rate v)` must rise and fall at most once: once it has
/// fallen to nothing the rest is left out.
///
/// Relative error about 1e-14.
#[inline]
pub(crate) fn integrate<const N: usize>(end: f64, rate: f64, f: impl Fn(f64) -> [f64; N]) -> [f64; N] {
    over_panels(WIDEST_PANEL, end, rate, f)
}

/// The same for half the price, with a relative error of about 1e-11.
#[inline]
pub(crate) fn integrate_coarsely<const N: usize>(
    end: f64,
    rate: f64,
    f: impl Fn(f64) -> [f64; N],
) -> [f64; N] {
    over_panels(WIDEST_COARSE_PANEL, end, rate, f)
}

#[inline]
fn over_panels<const N: usize>(widest: f64, end: f64, rate: f64, f: impl Fn(f64) -> [f64; N]) -> [f64; N] {
    let longest = libm::log1p(f64::min(rate * end, FARTHEST));
    let panels = (longest / widest).ceil().max(1.0);
    let half_width = longest / (2.0 * panels);
    let mut sum = [0.0; N];
    let mut before = 0.0;
    for panel in 0..panels as u32 {
        let mut share = [0.0; N];
        gauss_legendre::visit_panel(f64::from(2 * panel + 1) * half_width, half_width, |node, weight| {
            let grown = libm::expm1(node);
            let weight = weight * (1.0 + grown);
            for (share, value) in share.iter_mut().zip(f(grown / rate)) {
                *share += weight * value;
            }
        });
        for (sum, share) in sum.iter_mut().zip(share) {
            *sum += share;
        }
        if share[0] < before && share[0] <= NEGLIGIBLE * sum[0] {
            break;
        }
        before = share[0];
    }
    sum.map(|sum| sum / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(end: f64, rate: f64, exact: f64, f: impl Fn(f64) -> f64) {
        let [sum] = integrate(end, rate, |v| [f(v)]);
        assert!((sum / exact - 1.0).abs() < 1e-13, "{sum} is not {exact}");
        let [sum] = integrate_coarsely(end, rate, |v| [f(v)]);
        assert!((sum / exact - 1.0).abs() < 2e-11, "coarsely, {sum} is not {exact}");
    }

    #[test]
    fn an_exponential_is_exact_whatever_its_end() {
        for end in [1e-9, 0.3, 7.0, 1e4, 1e280] {
            check(end, 2.0, -0.5 * libm::expm1(-2.0 * end), |v| libm::exp(-2.0 * v));
        }
    }

    #[test]
    fn powers_of_any_steepness_are_exact() {
        for k in [1e-6, 0.3, 1.5, 40.0, 5000.0, 1e9] {
            for end in [1e-6, 1.0, 300.0, 1e12] {
                let exact = libm::expm1((1.0 - k) * libm::log1p(end)) / (1.0 - k);
                check(end, k + 1.0, exact, |v| libm::exp(-k * libm::log1p(v)));
            }
        }
    }

    #[test]
    fn two_scales_far_apart_are_both_seen() {
        // int_0^inf (e^-v/a + e^-v/b) dv = a + b.
        let (a, b) = (1e-7, 1e6);
        check(1e9, 1.0 / a, a + b, |v| libm::exp(-v / a) + libm::exp(-v / b));
    }
}
