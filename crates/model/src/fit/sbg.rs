//! The likelihood of sBG and its gradient over the cohorts' counts.

use super::contract_row::counted;
use super::{ContractRow, Fit, FitError, Tenure, conclude, optimum};
use crate::Sbg;
use crate::kernel::beta_ratio::ln_beta_ratio;
use crate::kernel::gamma::digamma_difference;

/// Fits sBG by maximum likelihood (Fader & Hardie 2007, appendix B) on the counts of any number of cohorts.
pub fn sbg(rows: &[ContractRow]) -> Result<Fit<Sbg>, FitError> {
    fit_from(rows, [0.0, 1.0])
}

/// [`sbg`] with the search begun at `start`.
pub fn sbg_from(rows: &[ContractRow], start: &Sbg) -> Result<Fit<Sbg>, FitError> {
    fit_from(rows, [start.alpha(), start.beta()].map(libm::log))
}

fn fit_from(rows: &[ContractRow], start: [f64; 2]) -> Result<Fit<Sbg>, FitError> {
    const MODEL: &str = "sbg";
    let rows = counted(MODEL, rows)?;
    let customers: u64 = rows.iter().map(|row| row.customers).sum();
    let found = optimum::maximise(start, &|ln_parameters: &[f64; 2]| {
        mean_at(&rows, customers as f64, ln_parameters.map(libm::exp))
    });
    conclude(MODEL, customers, &found, |[alpha, beta]| Sbg::new(alpha, beta))
}

/// The mean log-likelihood per customer, and its gradient by the logarithms of the parameters.
///
/// With `s = alpha + beta` and `m = n - 1`:
///
/// ```text
/// ln S(n):  d/dalpha = psi(s) - psi(s+n)            d/dbeta = psi(beta+n) - psi(beta) - psi(s+n) + psi(s)
/// ln P(n):  d/dalpha = psi(s) - psi(s+n) + 1/alpha  d/dbeta = psi(beta+m) - psi(beta) - psi(s+n) + psi(s)
/// ```
fn mean_at(rows: &[ContractRow], customers: f64, [alpha, beta]: [f64; 2]) -> (f64, [f64; 2]) {
    let both = alpha + beta;
    let (mut value, mut by_alpha, mut by_beta) = (0.0, 0.0, 0.0);
    for row in rows {
        let (made, came_to) = match row.tenure {
            Tenure::ChurnedAt(n) => (f64::from(n - 1), f64::from(n)),
            Tenure::ActiveAfter(n) => (f64::from(n), f64::from(n)),
        };
        let weight = row.customers as f64 / customers;
        let left = digamma_difference(both, came_to);
        value += weight * ln_beta_ratio(alpha, beta, made);
        by_alpha -= weight * left;
        by_beta += weight * (digamma_difference(beta, made) - left);
        if came_to > made {
            value += weight * libm::log(alpha / (both + made));
            by_alpha += weight / alpha;
        }
    }
    (value, [alpha * by_alpha, beta * by_beta])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<ContractRow> {
        ContractRow::of_survivors(&[1000, 631, 468, 382, 326])
    }

    #[test]
    fn a_cohort_with_one_renewal_behind_it_does_not_identify_two_parameters() {
        for start in [[0.5, 0.5], [1.0, 1.0], [3.0, 40.0]] {
            let start = Sbg::new(start[0], start[1]).unwrap();

            let error = sbg_from(&ContractRow::of_survivors(&[1000, 700]), &start).unwrap_err();

            // Rounding decides whether the plain looks bent at all.
            assert!(
                matches!(error, FitError::NotIdentified { .. } | FitError::DidNotConverge { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn the_sum_is_the_models_log_likelihood() {
        let model = Sbg::new(0.7, 1.2).unwrap();
        let each = |row: &ContractRow| {
            let probability = match row.tenure {
                Tenure::ChurnedAt(n) => model.pmf(n),
                Tenure::ActiveAfter(n) => model.survival(n),
            };
            row.customers as f64 * libm::log(probability)
        };

        let (mean, _) = mean_at(&rows(), 1000.0, [0.7, 1.2]);

        assert!((mean * 1000.0 - rows().iter().map(each).sum::<f64>()).abs() < 1e-10);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_sum() {
        let at = [0.7_f64, 1.2].map(libm::log);
        let (_, gradient) = mean_at(&rows(), 1000.0, at.map(libm::exp));

        for i in 0..2 {
            let shifted = |by: f64| {
                let mut at = at;
                at[i] += by;
                mean_at(&rows(), 1000.0, at.map(libm::exp)).0
            };
            let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!((slope - gradient[i]).abs() < 1e-9, "{i}: {slope} is not {}", gradient[i]);
        }
    }
}
