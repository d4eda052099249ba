//! The likelihood of BG/BB and its gradient over many customers.

use super::{FEWEST_CUSTOMERS, Fit, FitError, conclude, optimum, sum};
use crate::BgBb;

/// Customers with the same purchases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpportunityRow {
    /// Purchases.
    pub x: u32,
    /// The opportunity of the last one, counted from 1; 0 when `x = 0`.
    pub t_x: u32,
    /// Opportunities.
    pub n: u32,
    /// How many customers are like this.
    pub customers: u64,
}

/// Fits BG/BB by maximum likelihood (Fader, Hardie & Shang 2010).
pub fn bg_bb(rows: &[OpportunityRow]) -> Result<Fit<BgBb>, FitError> {
    fit_from(rows, [0.0, 0.0, 0.0, 1.0])
}

/// [`bg_bb`] with the search begun at `start`.
pub fn bg_bb_from(rows: &[OpportunityRow], start: &BgBb) -> Result<Fit<BgBb>, FitError> {
    fit_from(rows, [start.alpha(), start.beta(), start.gamma(), start.delta()].map(libm::log))
}

fn fit_from(rows: &[OpportunityRow], start: [f64; 4]) -> Result<Fit<BgBb>, FitError> {
    const MODEL: &str = "bg_bb";
    if let Some(row) = rows.iter().position(|row| !row.is_possible()) {
        return Err(FitError::ImpossibleRow { model: MODEL, row });
    }
    let customers: u64 = rows.iter().map(|row| row.customers).sum();
    if customers < FEWEST_CUSTOMERS {
        return Err(FitError::TooFewCustomers { model: MODEL, found: customers, needed: FEWEST_CUSTOMERS });
    }

    let likelihood = Likelihood::new(rows);
    let found = optimum::maximise(start, &|ln_parameters: &[f64; 4]| {
        likelihood.mean_at(ln_parameters.map(libm::exp))
    });
    conclude(MODEL, customers, &found, |[alpha, beta, gamma, delta]| BgBb::new(alpha, beta, gamma, delta))
}

impl OpportunityRow {
    fn is_possible(&self) -> bool {
        self.x <= self.t_x && self.t_x <= self.n && (self.x > 0) == (self.t_x > 0)
    }
}

struct Likelihood {
    rows: Vec<OpportunityRow>,
    longest: u32,
    customers: f64,
}

/// `ln Gamma(z + m)/Gamma(z)` and its derivative by `z`, for every `m` up to the longest history.
struct Rising(Vec<[f64; 2]>);

impl Rising {
    fn new(z: f64, longest: u32) -> Self {
        let next = |sum: &mut [f64; 2], m: u32| {
            let here = *sum;
            let factor = z + f64::from(m);
            *sum = [here[0] + libm::log(factor), here[1] + 1.0 / factor];
            Some(here)
        };
        Self((0..=longest + 1).scan([0.0; 2], next).collect())
    }

    fn at(&self, m: u32) -> [f64; 2] {
        self.0[m as usize]
    }
}

impl Likelihood {
    fn new(rows: &[OpportunityRow]) -> Self {
        let mut rows: Vec<OpportunityRow> = rows.iter().filter(|row| row.customers > 0).copied().collect();
        rows.sort_unstable();
        let same = |a: &OpportunityRow, b: &OpportunityRow| (a.x, a.t_x, a.n) == (b.x, b.t_x, b.n);
        let total = |rows: &[OpportunityRow]| rows.iter().map(|row| row.customers).sum();
        let rows: Vec<OpportunityRow> =
            rows.chunk_by(same).map(|rows| OpportunityRow { customers: total(rows), ..rows[0] }).collect();
        let longest = rows.iter().map(|row| row.n).max().unwrap_or(0);
        let customers = rows.iter().map(|row| row.customers as f64).sum();
        Self { rows, longest, customers }
    }

    /// The mean log-likelihood per customer, and its gradient by the logarithms of the parameters.
    ///
    /// The likelihood is a sum of products of Beta functions; each term's logarithm has differences of `psi` at whole
    /// distances for derivatives, which are sums of reciprocals, and the sum has their mean, weighted by the terms.
    fn mean_at(&self, parameters: [f64; 4]) -> (f64, [f64; 4]) {
        let [alpha, beta, gamma, delta] = parameters;
        let rising = |z| Rising::new(z, self.longest);
        let terms = Terms {
            gamma,
            alpha: rising(alpha),
            beta: rising(beta),
            alpha_beta: rising(alpha + beta),
            delta: rising(delta),
            gamma_delta: rising(gamma + delta),
        };
        let [value, by_alpha, by_beta, by_gamma, by_delta] = sum::over_rows(&self.rows, |row| {
            let weight = row.customers as f64 / self.customers;
            terms.of(row).map(|term| weight * term)
        });
        (value, [alpha * by_alpha, beta * by_beta, gamma * by_gamma, delta * by_delta])
    }
}

struct Terms {
    gamma: f64,
    alpha: Rising,
    beta: Rising,
    alpha_beta: Rising,
    delta: Rising,
    gamma_delta: Rising,
}

impl Terms {
    /// A customer's log-likelihood and its derivatives by the parameters.
    fn of(&self, row: &OpportunityRow) -> [f64; 5] {
        let alive = self.alive(row);
        let largest =
            if row.t_x < row.n { f64::max(alive[0], self.dead_after(row, row.t_x)[0]) } else { alive[0] };
        let mut sum = [0.0; 5];
        let mut add = |term: [f64; 5]| {
            let share = libm::exp(term[0] - largest);
            sum[0] += share;
            for i in 1..5 {
                sum[i] += share * term[i];
            }
        };
        add(alive);
        for i in row.t_x..row.n {
            add(self.dead_after(row, i));
        }
        [largest + libm::log(sum[0]), sum[1] / sum[0], sum[2] / sum[0], sum[3] / sum[0], sum[4] / sum[0]]
    }

    /// The term of those who are alive at the end.
    fn alive(&self, row: &OpportunityRow) -> [f64; 5] {
        let [value, by_alpha, by_beta] = self.sequence(row.x, row.n);
        let [stayed, by_delta] = self.delta.at(row.n);
        let [all, by_all] = self.gamma_delta.at(row.n);
        [value + stayed - all, by_alpha, by_beta, -by_all, by_delta - by_all]
    }

    /// The term of those who dropped out after the `i`-th opportunity.
    fn dead_after(&self, row: &OpportunityRow, i: u32) -> [f64; 5] {
        let [value, by_alpha, by_beta] = self.sequence(row.x, i);
        let [stayed, by_delta] = self.delta.at(i);
        let [all, by_all] = self.gamma_delta.at(i + 1);
        let left = libm::log(self.gamma);
        [value + left + stayed - all, by_alpha, by_beta, 1.0 / self.gamma - by_all, by_delta - by_all]
    }

    /// `x` purchases in a given order at `n` opportunities.
    fn sequence(&self, x: u32, n: u32) -> [f64; 3] {
        let [bought, by_alpha] = self.alpha.at(x);
        let [passed, by_beta] = self.beta.at(n - x);
        let [all, by_all] = self.alpha_beta.at(n);
        [bought + passed - all, by_alpha - by_all, by_beta - by_all]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<OpportunityRow> {
        [(0, 0, 6, 30), (3, 4, 6, 10), (6, 6, 6, 7), (1, 1, 6, 11), (2, 9, 12, 3), (5, 30, 60, 2)]
            .map(|(x, t_x, n, customers)| OpportunityRow { x, t_x, n, customers })
            .to_vec()
    }

    #[test]
    fn the_sum_is_the_models_log_likelihood() {
        let model = BgBb::new(1.2, 0.75, 0.66, 2.8).unwrap();
        let each = |row: &OpportunityRow| row.customers as f64 * model.log_likelihood(row.x, row.t_x, row.n);

        let (mean, _) = Likelihood::new(&rows()).mean_at([1.2, 0.75, 0.66, 2.8]);

        assert!((mean * 63.0 - rows().iter().map(each).sum::<f64>()).abs() < 1e-11);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_sum() {
        let likelihood = Likelihood::new(&rows());
        let at = [1.2_f64, 0.75, 0.66, 2.8].map(libm::log);
        let (_, gradient) = likelihood.mean_at(at.map(libm::exp));

        for i in 0..4 {
            let shifted = |by: f64| {
                let mut at = at;
                at[i] += by;
                likelihood.mean_at(at.map(libm::exp)).0
            };
            let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!((slope - gradient[i]).abs() < 1e-9, "{i}: {slope} is not {}", gradient[i]);
        }
    }
}
