//! The likelihood of Pareto/NBD and its gradient over many customers.

use super::{FEWEST_CUSTOMERS, Fit, FitError, PurchaseRow, conclude, optimum, sum};
use crate::ParetoNbd;
use crate::kernel::decay;
use crate::kernel::gamma::{digamma, ln_gamma_ratio};

const MODEL: &str = "pareto_nbd";

/// Fits Pareto/NBD by maximum likelihood (Schmittlein, Morrison & Colombo 1987; Fader & Hardie's note 028, eq. 3).
///
/// # Errors
///
/// Too few or impossible customers, nobody who came back, or no maximum in reach.
pub fn pareto_nbd(rows: &[PurchaseRow]) -> Result<Fit<ParetoNbd>, FitError> {
    let likelihood = Likelihood::checked(rows)?;
    likelihood.fit(likelihood.start())
}

/// The same from a given start, such as yesterday's fit. If that leads nowhere, the usual start is tried.
///
/// # Errors
///
/// As for [`pareto_nbd`].
pub fn pareto_nbd_from(rows: &[PurchaseRow], start: &ParetoNbd) -> Result<Fit<ParetoNbd>, FitError> {
    let likelihood = Likelihood::checked(rows)?;
    let start = [start.r(), start.alpha(), start.s(), start.beta()].map(libm::log);
    match likelihood.fit(start) {
        Ok(fit) if fit.converged => Ok(fit),
        doubtful => likelihood.fit(likelihood.start()).or(doubtful),
    }
}

struct Likelihood {
    rows: Vec<Row>,
    /// The distinct `x`, ascending.
    frequencies: Vec<f64>,
    customers: u64,
}

struct Row {
    /// Place of `x` among the frequencies.
    frequency: usize,
    t_x: f64,
    age: f64,
    customers: f64,
}

/// What of a customer's log-likelihood and gradient depends on `x` alone.
struct ByFrequency {
    x: f64,
    ln_likelihood: f64,
    by_r: f64,
}

/// The silence after the last purchase, and the means over the time of death within it.
struct Silence {
    ln_probability: f64,
    p_alive: f64,
    p_dead: f64,
    /// `ln(A / (alpha + t_x))` and `ln(B / (beta + t_x))`.
    ln_growth: [f64; 2],
    /// `E ln((alpha + u) / (alpha + t_x))` and the same for `beta`.
    ln_growth_at_death: [f64; 2],
    /// `E u / (alpha + u)` and the same for `beta`.
    share_at_death: [f64; 2],
}

impl Likelihood {
    fn checked(rows: &[PurchaseRow]) -> Result<Self, FitError> {
        if let Some(row) = rows.iter().position(|row| !row.is_possible()) {
            return Err(FitError::ImpossibleRow { model: MODEL, row });
        }
        let found = rows.iter().map(|row| row.customers).sum();
        if found < FEWEST_CUSTOMERS {
            return Err(FitError::TooFewCustomers { model: MODEL, found, needed: FEWEST_CUSTOMERS });
        }
        if rows.iter().all(|row| row.x == 0) {
            return Err(FitError::NoRepeatPurchases);
        }
        Ok(Self::new(rows))
    }

    fn new(rows: &[PurchaseRow]) -> Self {
        let mut frequencies: Vec<u32> = rows.iter().map(|row| row.x).collect();
        frequencies.sort_unstable();
        frequencies.dedup();
        let row = |row: &PurchaseRow| Row {
            frequency: frequencies.binary_search(&row.x).expect("every x was collected"),
            t_x: row.t_x,
            age: row.age,
            customers: row.customers as f64,
        };
        Self {
            rows: rows.iter().map(row).collect(),
            frequencies: frequencies.into_iter().map(f64::from).collect(),
            customers: rows.iter().map(|row| row.customers).sum(),
        }
    }

    /// Where the search begins: the observed rate, and a dropout within about the observed time.
    fn start(&self) -> [f64; 4] {
        let [purchases, weeks] = sum::over_rows(&self.rows, |row| {
            [row.customers * self.frequencies[row.frequency], row.customers * row.age]
        });
        let r = 0.5;
        let alpha = f64::max(r * weeks / purchases, 1e-3);
        let beta = f64::max(0.5 * weeks / self.customers as f64, 1e-3);
        [r, alpha, 0.5, beta].map(libm::log)
    }

    fn fit(&self, start: [f64; 4]) -> Result<Fit<ParetoNbd>, FitError> {
        let found =
            optimum::maximise(start, &|ln_parameters: &[f64; 4]| self.mean_at(ln_parameters.map(libm::exp)));
        conclude(MODEL, self.customers, &found, |[r, alpha, s, beta]| ParetoNbd::new(r, alpha, s, beta))
    }

    /// The mean log-likelihood per customer, and its gradient by the logarithms of the parameters.
    ///
    /// With `p_a`, `p_d` the probabilities of being alive and dead, and `E` the mean over the time of death `u`, of
    /// density `(alpha+u)^-k (beta+u)^-(s+1)` on `(t_x, T)`:
    ///
    /// ```text
    /// d/dr     = psi(k) - psi(r) + ln alpha - p_a ln A - p_d E ln(alpha+u)
    /// d/dalpha = r/alpha - k (p_a/A + p_d E 1/(alpha+u))
    /// d/ds     = ln beta + p_d/s - p_a ln B - p_d E ln(beta+u)
    /// d/dbeta  = s/beta - p_a s/B - p_d (s+1) E 1/(beta+u)
    /// ```
    ///
    /// The sums below are these with `1 - alpha/(alpha+u)` written as `u/(alpha+u)`: what cancels has been taken out.
    fn mean_at(&self, parameters: [f64; 4]) -> (f64, [f64; 4]) {
        let [r, alpha, s, beta] = parameters;
        let table: Vec<ByFrequency> =
            self.frequencies.iter().map(|&x| ByFrequency::new(r, alpha, x)).collect();
        let [value, by_r, by_alpha, by_s, by_beta] = sum::over_rows(&self.rows, |row| {
            let &ByFrequency { x, ln_likelihood, by_r } = &table[row.frequency];
            let silence = Silence::new(parameters, x, row);
            let (p_alive, p_dead) = (silence.p_alive, silence.p_dead);
            let [alpha_until_last, beta_until_last] = [alpha, beta].map(|scale| libm::log1p(row.t_x / scale));
            let over_silence =
                |i: usize| p_alive * silence.ln_growth[i] + p_dead * silence.ln_growth_at_death[i];
            let share = |i: usize, scale: f64| {
                p_alive * (row.age / (scale + row.age)) + p_dead * silence.share_at_death[i]
            };
            let ln_rate_scale = alpha_until_last + over_silence(0);
            let ln_dropout_scale = beta_until_last + over_silence(1);
            [
                ln_likelihood - (r + x) * alpha_until_last - s * beta_until_last + silence.ln_probability,
                r * (by_r - ln_rate_scale),
                r * share(0, alpha) - x * (1.0 - share(0, alpha)),
                p_dead - s * ln_dropout_scale,
                s * share(1, beta) - p_dead * (1.0 - silence.share_at_death[1]),
            ]
            .map(|term| row.customers * term)
        });
        let mean = |sum: f64| sum / self.customers as f64;
        (mean(value), [by_r, by_alpha, by_s, by_beta].map(mean))
    }
}

impl ByFrequency {
    fn new(r: f64, alpha: f64, x: f64) -> Self {
        if x == 0.0 {
            return Self { x, ln_likelihood: 0.0, by_r: 0.0 };
        }
        Self {
            x,
            ln_likelihood: ln_gamma_ratio(r, x) - x * libm::log(alpha),
            by_r: digamma(r + x) - digamma(r),
        }
    }
}

impl Silence {
    fn new([r, alpha, s, beta]: [f64; 4], x: f64, row: &Row) -> Self {
        let k = r + x;
        let (a, b, length) = (alpha + row.t_x, beta + row.t_x, row.age - row.t_x);
        let ln_growth = [libm::log1p(length / a), libm::log1p(length / b)];
        let ln_alive = -k * ln_growth[0] - s * ln_growth[1];
        let [dead, ln_a, ln_b, share_a, share_b] =
            decay::integrate_coarsely(length, (k + 1.0) / a + (s + 2.0) / b, |v| {
                let (ln_a, ln_b) = (libm::log1p(v / a), libm::log1p(v / b));
                let density = libm::exp(-k * ln_a - (s + 1.0) * ln_b);
                let by_death = density * (row.t_x + v);
                [density, density * ln_a, density * ln_b, by_death / (a + v), by_death / (b + v)]
            });
        let (alive, dead_share) = (libm::exp(ln_alive), s / b * dead);
        let probability = alive + dead_share;
        let mean = |sum: f64| if dead > 0.0 { sum / dead } else { 0.0 };
        Self {
            ln_probability: libm::log(probability),
            p_alive: alive / probability,
            p_dead: dead_share / probability,
            ln_growth,
            ln_growth_at_death: [mean(ln_a), mean(ln_b)],
            share_at_death: [mean(share_a), mean(share_b)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: [[f64; 4]; 3] =
        [[0.553, 10.578, 0.606, 11.669], [3.0, 0.02, 1.0, 400.0], [0.05, 900.0, 4.0, 0.5]];

    fn rows() -> Vec<PurchaseRow> {
        [(0, 0.0, 38.86, 3), (2, 30.43, 38.86, 1), (1, 1.71, 30.0, 2), (26, 31.0, 31.0, 1), (7, 0.5, 39.0, 1)]
            .map(|(x, t_x, age, customers)| PurchaseRow { x, t_x, age, customers })
            .to_vec()
    }

    #[test]
    fn the_sum_is_the_models_log_likelihood() {
        for parameters in PARAMETERS {
            let [r, alpha, s, beta] = parameters;
            let model = ParetoNbd::new(r, alpha, s, beta).unwrap();
            let each =
                |row: &PurchaseRow| row.customers as f64 * model.log_likelihood(row.x, row.t_x, row.age);

            let (mean, _) = Likelihood::new(&rows()).mean_at(parameters);

            assert!((mean * 8.0 / rows().iter().map(each).sum::<f64>() - 1.0).abs() < 1e-11);
        }
    }

    #[test]
    fn customers_of_whom_nothing_is_learnt_are_refused() {
        let customer = PurchaseRow { x: 5, t_x: 41.0, age: 43.0, customers: 50 };
        let fit = |row: PurchaseRow| pareto_nbd(&[row]).unwrap_err();

        assert!(matches!(fit(customer), FitError::DidNotConverge { model: "pareto_nbd", .. }));
        assert!(matches!(fit(PurchaseRow { customers: 19, ..customer }), FitError::TooFewCustomers { .. }));
        assert_eq!(
            fit(PurchaseRow { t_x: 44.0, ..customer }),
            FitError::ImpossibleRow { model: MODEL, row: 0 }
        );
        assert_eq!(fit(PurchaseRow { x: 0, t_x: 0.0, ..customer }), FitError::NoRepeatPurchases);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_sum() {
        for parameters in PARAMETERS {
            let likelihood = Likelihood::new(&rows());
            let at = parameters.map(libm::log);
            let (_, gradient) = likelihood.mean_at(at.map(libm::exp));

            for i in 0..4 {
                let shifted = |by: f64| {
                    let mut at = at;
                    at[i] += by;
                    likelihood.mean_at(at.map(libm::exp)).0
                };
                let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
                assert!((slope - gradient[i]).abs() < 1e-8, "{i}: {slope} is not {}", gradient[i]);
            }
        }
    }
}
