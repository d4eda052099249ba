//! The likelihood of BdW and its gradient over the cohorts' counts.

use super::contract_row::counted;
use super::sbg::sbg;
use super::{ContractRow, Fit, FitError, Tenure, conclude, optimum};
use crate::Bdw;
use crate::kernel::beta_ratio::ln_beta_ratio;
use crate::kernel::gamma::digamma_difference;

/// Fits BdW by maximum likelihood (Fader et al. 2018) on the counts of any number of cohorts.
pub fn bdw(rows: &[ContractRow]) -> Result<Fit<Bdw>, FitError> {
    fit_from(rows, [0.0, 1.0, 0.0])
}

/// [`bdw`] with the search begun at `start`.
pub fn bdw_from(rows: &[ContractRow], start: &Bdw) -> Result<Fit<Bdw>, FitError> {
    fit_from(rows, [start.alpha(), start.beta(), start.c()].map(libm::log))
}

/// The higher of two climbs, from `start` and from sBG's maximum, which is BdW's at `c = 1`.
///
/// Where `c` runs away the likelihood is a high plain with hollows of its own; a start there may not come down, and the
/// second climb costs little on a few hundred rows.
fn fit_from(rows: &[ContractRow], start: [f64; 3]) -> Result<Fit<Bdw>, FitError> {
    const MODEL: &str = "bdw";
    let rows = counted(MODEL, rows)?;
    let customers: u64 = rows.iter().map(|row| row.customers).sum();
    let climb = |start| {
        let found = optimum::maximise(start, &|ln_parameters: &[f64; 3]| {
            mean_at(&rows, customers as f64, ln_parameters.map(libm::exp))
        });
        conclude(MODEL, customers, &found, |[alpha, beta, c]| Bdw::new(alpha, beta, c))
    };
    let sbg = sbg(&rows).map_or([0.0, 1.0], |fit| [fit.model.alpha(), fit.model.beta()].map(libm::log));
    match (climb(start), climb([sbg[0], sbg[1], 0.0])) {
        (Ok(asked), Ok(safe)) if asked.log_likelihood >= safe.log_likelihood => Ok(asked),
        (asked, Err(_)) => asked,
        (_, safe) => safe,
    }
}

/// The mean log-likelihood per customer, and its gradient by the logarithms of the parameters.
///
/// With `s = alpha + beta` and `w = n^c`:
///
/// ```text
/// ln S(n):  d/dalpha = psi(s) - psi(s+w)
///           d/dbeta  = psi(beta+w) - psi(beta) - psi(s+w) + psi(s)
///           d/dc     = w ln n (psi(beta+w) - psi(s+w))
/// ln P(n) = ln S(n-1) + ln(1 - r),  r = S(n)/S(n-1):  d ln P = d ln S(n-1) - r/(1-r) d ln r
/// ```
fn mean_at(rows: &[ContractRow], customers: f64, parameters: [f64; 3]) -> (f64, [f64; 3]) {
    let [alpha, beta, c] = parameters;
    let mut sum = [0.0; 4];
    for row in rows {
        let term = match row.tenure {
            Tenure::ActiveAfter(n) => fall(alpha, beta, c, 0, n),
            Tenure::ChurnedAt(n) => {
                let before = fall(alpha, beta, c, 0, n - 1);
                let last = fall(alpha, beta, c, n - 1, n);
                let odds = libm::exp(last[0]) / -libm::expm1(last[0]);
                let churn = libm::log(-libm::expm1(last[0]));
                [
                    before[0] + churn,
                    before[1] - odds * last[1],
                    before[2] - odds * last[2],
                    before[3] - odds * last[3],
                ]
            }
        };
        let weight = row.customers as f64 / customers;
        for (sum, term) in sum.iter_mut().zip(term) {
            *sum += weight * term;
        }
    }
    let [value, by_alpha, by_beta, by_c] = sum;
    (value, [alpha * by_alpha, beta * by_beta, c * by_c])
}

/// `ln S(to)/S(from)` and its derivatives by `alpha`, `beta` and `c`.
fn fall(alpha: f64, beta: f64, c: f64, from: u32, to: u32) -> [f64; 4] {
    if from == to {
        return [0.0; 4];
    }
    let (from, to) = (f64::from(from), f64::from(to));
    let worn = beta + libm::pow(from, c);
    let step = if from > 0.0 {
        libm::pow(from, c) * libm::expm1(c * libm::log1p((to - from) / from))
    } else {
        libm::pow(to, c)
    };
    let left = digamma_difference(alpha + worn, step);
    // n^c ln n is 0 at both n = 0 and n = 1.
    let pace = |n: f64| if n > 1.0 { libm::pow(n, c) * libm::log(n) } else { 0.0 };
    let by_c =
        pace(from) * digamma_difference(worn, alpha) - pace(to) * digamma_difference(worn + step, alpha);
    [ln_beta_ratio(alpha, worn, step), -left, digamma_difference(worn, step) - left, by_c]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<ContractRow> {
        ContractRow::of_survivors(&[1000, 631, 468, 382, 326])
    }

    #[test]
    fn the_sum_is_the_models_log_likelihood() {
        let model = Bdw::new(0.5, 0.8, 1.3).unwrap();
        let each = |row: &ContractRow| {
            let probability = match row.tenure {
                Tenure::ChurnedAt(n) => model.pmf(n),
                Tenure::ActiveAfter(n) => model.survival(n),
            };
            row.customers as f64 * libm::log(probability)
        };

        let (mean, _) = mean_at(&rows(), 1000.0, [0.5, 0.8, 1.3]);

        assert!((mean * 1000.0 - rows().iter().map(each).sum::<f64>()).abs() < 1e-10);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_sum() {
        let at = [0.5_f64, 0.8, 1.3].map(libm::log);
        let (_, gradient) = mean_at(&rows(), 1000.0, at.map(libm::exp));

        for i in 0..3 {
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
