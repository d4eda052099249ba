//! The likelihood of Gamma-Gamma and its gradient over many customers.

use super::{FEWEST_CUSTOMERS, Fit, FitError, conclude, optimum, sum};
use crate::GammaGamma;
use crate::kernel::gamma::{digamma, ln_beta};

/// Customers with the same spend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpendRow {
    /// Repeat purchases, at least one.
    pub x: u32,
    /// Their mean spend, above zero.
    pub zbar: f64,
    /// How many customers are like this.
    pub customers: u64,
}

/// Fits Gamma-Gamma by maximum likelihood (Fader & Hardie, note 025, eq. 1a); `v` comes out in the unit of `zbar`.
pub fn gamma_gamma(rows: &[SpendRow]) -> Result<Fit<GammaGamma>, FitError> {
    climb(rows, None)
}

/// Fits Gamma-Gamma, beginning the search at `start`: last night's parameters, say.
pub fn gamma_gamma_from(rows: &[SpendRow], start: &GammaGamma) -> Result<Fit<GammaGamma>, FitError> {
    climb(rows, Some([start.p(), start.q(), start.v()]))
}

/// Mean spends whose largest were cut off, and what was cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Winsorised {
    /// The customers, in the order given, none with a mean spend above `cap`.
    pub rows: Vec<SpendRow>,
    /// The largest mean spend that was left as it is; 0 without customers.
    pub cap: f64,
    /// Customers whose mean spend was lowered to `cap`.
    pub customers_cut: u64,
}

/// Lowers mean spends above a percentile of the customers to it: `share` 0.999 leaves 999 of 1,000 as they are.
///
/// A few amounts that are errors, or whose like will not be seen again, otherwise decide how heavy the tail is. The
/// percentile is the smallest mean spend that at least this share of the customers does not exceed, so that fewer
/// than `1 / (1 - share)` customers lose nothing. Give it one segment at a time, in one currency.
pub fn winsorised(rows: &[SpendRow], share: f64) -> Winsorised {
    let mut ascending: Vec<&SpendRow> = rows.iter().collect();
    ascending.sort_by(|a, b| a.zbar.total_cmp(&b.zbar));
    let customers: u64 = rows.iter().map(|row| row.customers).sum();
    let mut below = 0;
    let reaches = |row: &&&SpendRow| {
        below += row.customers;
        below as f64 >= share * customers as f64
    };
    let cap = ascending.iter().find(reaches).or(ascending.last()).map_or(0.0, |row| row.zbar);
    Winsorised {
        rows: rows.iter().map(|row| SpendRow { zbar: row.zbar.min(cap), ..*row }).collect(),
        cap,
        customers_cut: rows.iter().filter(|row| row.zbar > cap).map(|row| row.customers).sum(),
    }
}

fn climb(rows: &[SpendRow], start: Option<[f64; 3]>) -> Result<Fit<GammaGamma>, FitError> {
    const MODEL: &str = "gamma_gamma";
    if let Some(row) = rows.iter().position(|row| !row.is_possible()) {
        return Err(FitError::ImpossibleRow { model: MODEL, row });
    }
    let customers: u64 = rows.iter().map(|row| row.customers).sum();
    if customers < FEWEST_CUSTOMERS {
        return Err(FitError::TooFewCustomers { model: MODEL, found: customers, needed: FEWEST_CUSTOMERS });
    }

    let likelihood = Likelihood::new(rows);
    let start = start.map(|start| start.map(libm::log));
    let starts: Vec<[f64; 3]> = start.into_iter().chain([likelihood.start()]).collect();
    let found = optimum::maximise_from(&starts, &|ln_parameters: &[f64; 3]| {
        likelihood.mean_at(ln_parameters.map(libm::exp))
    });
    let fit = conclude(MODEL, customers, &found, |[p, q, v]| GammaGamma::new(p, q, v))?;
    if fit.model.q() > 1.0 { Ok(fit) } else { Err(FitError::SpendHasNoMean { q: fit.model.q() }) }
}

/// The mean log-likelihood per customer, and its gradient, at the logarithms of Gamma-Gamma's parameters.
pub(super) fn gamma_gamma_surface(rows: &[SpendRow]) -> impl Fn(&[f64; 3]) -> (f64, [f64; 3]) {
    let likelihood = Likelihood::new(rows);
    move |ln_parameters| likelihood.mean_at(ln_parameters.map(libm::exp))
}

impl SpendRow {
    fn is_possible(&self) -> bool {
        self.x > 0 && self.zbar > 0.0 && self.zbar.is_finite()
    }
}

struct Likelihood {
    rows: Vec<Row>,
    /// The distinct `x`, ascending.
    frequencies: Vec<f64>,
    customers: f64,
}

struct Row {
    /// Place of `x` among the frequencies.
    frequency: usize,
    zbar: f64,
    ln_zbar: f64,
    customers: f64,
}

/// What of a customer's log-likelihood and gradient depends on `x` alone.
struct ByFrequency {
    x: f64,
    ln_likelihood: f64,
    by_p: f64,
    by_q: f64,
}

impl Likelihood {
    fn new(rows: &[SpendRow]) -> Self {
        let mut frequencies: Vec<u32> = rows.iter().map(|row| row.x).collect();
        frequencies.sort_unstable();
        frequencies.dedup();
        let row = |row: &SpendRow| Row {
            frequency: frequencies.binary_search(&row.x).expect("every x was collected"),
            zbar: row.zbar,
            ln_zbar: libm::log(row.zbar),
            customers: row.customers as f64,
        };
        let rows: Vec<Row> = rows.iter().map(row).collect();
        let customers = sum::over_rows(&rows, |row| [row.customers])[0];
        Self { rows, frequencies: frequencies.into_iter().map(f64::from).collect(), customers }
    }

    /// Where the search begins: the observed mean spend, with moderate spread within and between customers.
    fn start(&self) -> [f64; 3] {
        let mean = sum::over_rows(&self.rows, |row| [row.customers * row.zbar])[0] / self.customers;
        let (p, q) = (2.0, 4.0);
        [p, q, mean * (q - 1.0) / p].map(libm::log)
    }

    /// The mean log-likelihood per customer, and its gradient by the logarithms of the parameters.
    ///
    /// With `D = v + x zbar`, from `ln f = ln Gamma(px+q) - ln Gamma(px) - ln Gamma(q) + q ln(v/D) + px ln(x zbar/D)
    /// - ln zbar`:
    ///
    /// ```text
    /// d/dp = x (psi(px+q) - psi(px) + ln(x zbar / D))
    /// d/dq = psi(px+q) - psi(q) + ln(v / D)
    /// d/dv = q/v - (px+q)/D
    /// ```
    fn mean_at(&self, parameters: [f64; 3]) -> (f64, [f64; 3]) {
        let [p, q, v] = parameters;
        let table: Vec<ByFrequency> = self.frequencies.iter().map(|&x| ByFrequency::new(p, q, x)).collect();
        let [value, by_p, by_q, by_v] = sum::over_rows(&self.rows, |row| {
            let of = &table[row.frequency];
            let total = of.x * row.zbar;
            let own_share = -libm::log1p(v / total);
            let others_share = -libm::log1p(total / v);
            let shape = p * of.x;
            [
                row.customers * (of.ln_likelihood + shape * own_share + q * others_share - row.ln_zbar),
                row.customers * (of.by_p + of.x * own_share),
                row.customers * (of.by_q + others_share),
                row.customers * (q / v - (shape + q) / (v + total)),
            ]
        });
        let gradient = [p * by_p, q * by_q, v * by_v];
        (value / self.customers, gradient.map(|slope| slope / self.customers))
    }
}

impl ByFrequency {
    fn new(p: f64, q: f64, x: f64) -> Self {
        let shape = p * x;
        let both = digamma(shape + q);
        Self {
            x,
            ln_likelihood: -ln_beta(shape, q),
            by_p: x * (both - digamma(shape)),
            by_q: both - digamma(q),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<SpendRow> {
        [(1, 11.77, 3), (2, 22.35, 1), (26, 84.0, 2), (7, 0.5, 1)]
            .map(|(x, zbar, customers)| SpendRow { x, zbar, customers })
            .to_vec()
    }

    #[test]
    fn the_sum_is_the_models_log_likelihood() {
        let model = GammaGamma::new(6.25, 3.74, 15.44).unwrap();
        let each = |row: &SpendRow| row.customers as f64 * model.log_likelihood(row.x, row.zbar);

        let (mean, _) = Likelihood::new(&rows()).mean_at([6.25, 3.74, 15.44]);

        assert!((mean * 7.0 - rows().iter().map(each).sum::<f64>()).abs() < 1e-12);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_sum() {
        let likelihood = Likelihood::new(&rows());
        let at = [6.25_f64, 3.74, 15.44].map(libm::log);
        let (_, gradient) = likelihood.mean_at(at.map(libm::exp));

        for i in 0..3 {
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
