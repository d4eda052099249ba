//! The likelihood of BG/NBD and MBG/NBD, its gradient and its Hessian, over many customers.
//!
//! The models differ in how often a customer has tossed the coin that may end his purchases: after each repeat
//! purchase, or after the first one too.

use std::cmp::Ordering;
use std::sync::Arc;

use rayon::prelude::*;

use super::super::optimum::{Matrix, Surface, Vector};
use super::super::{PurchaseRow, sum};
use crate::kernel::gamma::{digamma, ln_gamma_ratio, trigamma};

/// Rows in a draft of the likelihood: enough that its maximum is near, few enough that finding it costs little.
const DRAFT_ROWS: usize = 4096;

/// Customers, sorted so that a night's evaluation is short: what depends on `x` alone, or on a time alone, is computed
/// once for each distinct one, and only what a customer's death depends on is left for the rows.
pub(super) struct Likelihood {
    /// Those who may be dead.
    rows: Vec<Row>,
    /// The distinct `x`, ascending.
    frequencies: Arc<[Counted]>,
    /// The distinct `t_x` and `T`, ascending.
    times: Arc<[f64]>,
    ages: Arc<[Age]>,
    /// How many tosses went well if a customer is alive ([`Tosses::survived`](crate::Tosses::survived)).
    survived: fn(f64) -> f64,
    customers: f64,
}

struct Row {
    /// Place of `x` among the frequencies.
    frequency: u32,
    /// Place of `t_x` among the times.
    last: u32,
    /// Place of `T` among the times.
    end: u32,
    customers: f64,
}

/// A distinct `x`.
struct Counted {
    x: f64,
    customers: f64,
}

/// A distinct `T`.
#[derive(Clone, Copy)]
struct Age {
    /// Its place among the times.
    end: u32,
    customers: f64,
    /// Repeat purchases of all of them.
    purchases: f64,
}

/// What depends on a time alone.
struct AtTime {
    /// `ln((alpha + t) / alpha)`.
    ln_growth: f64,
    /// `1 / (alpha + t)`.
    inverse: f64,
}

/// What is computed once for each distinct `x` and time.
struct Tables {
    frequencies: Vec<ByFrequency>,
    times: Vec<AtTime>,
}

/// What of a customer's log-likelihood and gradient depends on `x` alone.
struct ByFrequency {
    k: f64,
    ln_likelihood: f64,
    by_r: f64,
    by_a: f64,
    by_b: f64,
    /// `ln(a / (b + n - 1))`; minus infinity for `n = 0`: he cannot be dead.
    ln_odds: f64,
    odds_by_b: f64,
}

impl Likelihood {
    pub(super) fn new(rows: &[PurchaseRow], survived: fn(f64) -> f64) -> Self {
        let frequencies = distinct(rows.iter().map(|row| row.x), u32::cmp);
        let times = distinct(rows.iter().flat_map(|row| [row.t_x, row.age]), f64::total_cmp);
        let place = |time: f64| {
            times.binary_search_by(|other| other.total_cmp(&time)).expect("every time was collected") as u32
        };
        let placed: Vec<Row> = rows
            .par_iter()
            .map(|row| Row {
                frequency: frequencies.binary_search(&row.x).expect("every x was collected") as u32,
                last: place(row.t_x),
                end: place(row.age),
                customers: row.customers as f64,
            })
            .collect();

        let mut counted: Vec<Counted> =
            frequencies.iter().map(|&x| Counted { x: f64::from(x), customers: 0.0 }).collect();
        let mut ages: Vec<Age> =
            (0..times.len() as u32).map(|end| Age { end, customers: 0.0, purchases: 0.0 }).collect();
        for row in &placed {
            let (of, age) = (&mut counted[row.frequency as usize], &mut ages[row.end as usize]);
            of.customers += row.customers;
            age.customers += row.customers;
            age.purchases += row.customers * of.x;
        }
        let customers = counted.iter().map(|of| of.customers).sum();
        ages.retain(|age| age.customers > 0.0);
        let may_be_dead = |row: &Row| survived(counted[row.frequency as usize].x) > 0.0;
        let rows = placed.into_iter().filter(may_be_dead).collect();
        Self {
            rows,
            frequencies: counted.into(),
            times: times.into(),
            ages: ages.into(),
            survived,
            customers,
        }
    }

    /// Nearly the same likelihood from a few thousand rows; none where there are not many more.
    ///
    /// Only the rows are thinned, for they cost the most: each of those that stay is what stands at equal distances in
    /// the row of all customers, and counts for the distance. What depends on `x` or a time alone stays exact.
    pub(super) fn draft(&self) -> Option<Self> {
        if self.rows.len() < 4 * DRAFT_ROWS {
            return None;
        }
        let customers: f64 = self.rows.iter().map(|row| row.customers).sum();
        let distance = customers / DRAFT_ROWS as f64;
        let mut passed = 0.0;
        let thinned = self.rows.iter().filter_map(|row| {
            let before = libm::floor(passed / distance + 0.5);
            passed += row.customers;
            let stands_for = libm::floor(passed / distance + 0.5) - before;
            (stands_for > 0.0).then_some(Row { customers: stands_for * distance, ..*row })
        });
        Some(Self {
            rows: thinned.collect(),
            frequencies: Arc::clone(&self.frequencies),
            times: Arc::clone(&self.times),
            ages: Arc::clone(&self.ages),
            ..*self
        })
    }

    /// Where the search begins: the observed rate, and a dropout that is neither rare nor common.
    pub(super) fn start(&self) -> [f64; 4] {
        let [purchases, weeks] =
            sum::over_rows(&self.ages, |age| [age.purchases, age.customers * self.times[age.end as usize]]);
        let r = 0.5;
        let alpha = f64::max(r * weeks / purchases, 1e-3);
        [r, alpha, 1.0, 3.0].map(libm::log)
    }

    fn tables(&self, parameters: [f64; 4]) -> Tables {
        let alpha = parameters[1];
        let of_frequency = |of: &Counted| ByFrequency::new(parameters, of.x, (self.survived)(of.x));
        let at_time = |&t: &f64| AtTime { ln_growth: libm::log1p(t / alpha), inverse: 1.0 / (alpha + t) };
        Tables {
            frequencies: self.frequencies.par_iter().map(of_frequency).collect(),
            times: self.times.par_iter().map(at_time).collect(),
        }
    }

    /// The log-likelihood of all customers, and its gradient by the parameters, from sums over the rows of what
    /// [`MayBeDead::slope_terms`] says.
    ///
    /// With `p_d` the probability of being dead, `n` the tosses that went well if he is alive, and
    /// `l = ln(A / (alpha + t_x))`:
    ///
    /// ```text
    /// d/dr     = psi(k) - psi(r) + ln alpha - ln A + p_d l
    /// d/dalpha = r/alpha - k/A + p_d k (1/A - 1/(alpha + t_x))
    /// d/da     = psi(a+b) - psi(a+b+n) + p_d / a
    /// d/db     = psi(a+b) - psi(b) + psi(b+n) - psi(a+b+n) - p_d / (b+n-1)
    /// ```
    fn sum_slope(&self, parameters: [f64; 4], tables: &Tables, rows: [f64; 5]) -> (f64, Vector<4>) {
        let [r, alpha, a, _] = parameters;
        let [ln_1p_odds, dead, dead_silence, dead_alpha, dead_b] = rows;
        let (mut value, mut by_r, mut by_a, mut by_b) = (0.0, 0.0, 0.0, 0.0);
        let ln_alpha = libm::log(alpha);
        for (counted, of) in self.frequencies.iter().zip(&tables.frequencies) {
            value += counted.customers * (of.ln_likelihood - counted.x * ln_alpha);
            by_r += counted.customers * of.by_r;
            by_a += counted.customers * of.by_a;
            by_b += counted.customers * of.by_b;
        }
        let [growth_k, growth, shrunk_k] = sum::over_rows(&self.ages, |age| {
            let at = &tables.times[age.end as usize];
            let k = r * age.customers + age.purchases;
            [k * at.ln_growth, age.customers * at.ln_growth, k * at.inverse]
        });
        value += ln_1p_odds - growth_k;
        by_r += dead_silence - growth;
        let by_alpha = self.customers * r / alpha - shrunk_k + dead_alpha;
        by_a += dead / a;
        by_b -= dead_b;
        (value, [by_r, by_alpha, by_a, by_b])
    }

    /// The Hessian by the parameters, from sums over the rows of what [`MayBeDead::bend_terms`] says.
    ///
    /// The log-likelihood has the term `ln(1 + O)`, `O` the odds of being dead, and
    /// `d2 ln(1 + O) = p_d (1 - p_d) (d ln O)^2 + p_d d2 ln O`. The other terms are those of a customer who is alive.
    fn sum_bend(&self, parameters: [f64; 4], tables: &Tables, rows: [f64; 13]) -> Matrix<4> {
        let [r, alpha, a, b] = parameters;
        let [
            rr,
            r_alpha,
            rb,
            alpha_alpha,
            alpha_b,
            bb,
            by_a,
            r_a,
            alpha_a,
            b_a,
            dead,
            dead_r_alpha,
            dead_alpha,
        ] = rows;
        let mut hessian = [[0.0; 4]; 4];
        for counted in self.frequencies.iter() {
            let (x, n) = (counted.x, (self.survived)(counted.x));
            let alive = trigamma(a + b) - trigamma(a + b + n);
            hessian[0][0] += counted.customers * (trigamma(r + x) - trigamma(r));
            hessian[2][2] += counted.customers * alive;
            hessian[2][3] += counted.customers * alive;
            hessian[3][3] += counted.customers * (alive + trigamma(b + n) - trigamma(b));
        }
        let [shrunk, shrunk_squared_k] = sum::over_rows(&self.ages, |age| {
            let at = &tables.times[age.end as usize];
            let k = r * age.customers + age.purchases;
            [age.customers * at.inverse, k * at.inverse * at.inverse]
        });
        hessian[0][0] += rr;
        hessian[0][1] = self.customers / alpha - shrunk + r_alpha + dead_r_alpha;
        hessian[0][2] = r_a / a;
        hessian[0][3] = -rb;
        hessian[1][1] = shrunk_squared_k - self.customers * r / (alpha * alpha) + alpha_alpha - dead_alpha;
        hessian[1][2] = alpha_a / a;
        hessian[1][3] = -alpha_b;
        hessian[2][2] += (by_a - dead) / (a * a);
        hessian[2][3] -= b_a / a;
        hessian[3][3] += bb;
        std::array::from_fn(|i| std::array::from_fn(|j| hessian[usize::min(i, j)][usize::max(i, j)]))
    }

    /// Derivatives by logarithms, of the mean per customer.
    fn slope_by_logarithms(&self, parameters: [f64; 4], gradient: Vector<4>) -> Vector<4> {
        std::array::from_fn(|i| parameters[i] * gradient[i] / self.customers)
    }
}

/// The mean log-likelihood per customer as a function of the logarithms of the parameters.
impl Surface<4> for Likelihood {
    fn slope(&self, at: &Vector<4>) -> (f64, Vector<4>) {
        let parameters = at.map(libm::exp);
        let tables = self.tables(parameters);
        let rows = sum::over_rows(&self.rows, |row| MayBeDead::new(row, &tables).slope_terms());
        let (value, gradient) = self.sum_slope(parameters, &tables, rows);
        (value / self.customers, self.slope_by_logarithms(parameters, gradient))
    }

    fn bend(&self, at: &Vector<4>) -> Option<(f64, Vector<4>, Matrix<4>)> {
        let parameters = at.map(libm::exp);
        let tables = self.tables(parameters);
        let (for_slope, for_bend) = sum::over_rows(&self.rows, |row| {
            let row = MayBeDead::new(row, &tables);
            (row.slope_terms(), row.bend_terms())
        });
        let (value, gradient) = self.sum_slope(parameters, &tables, for_slope);
        let hessian = self.sum_bend(parameters, &tables, for_bend);
        let gradient = self.slope_by_logarithms(parameters, gradient);
        let negative_hessian = std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                let own = if i == j { gradient[i] } else { 0.0 };
                -(own + parameters[i] * parameters[j] * hessian[i][j] / self.customers)
            })
        });
        Some((value / self.customers, gradient, negative_hessian))
    }
}

/// Customers of a row, who may be dead.
struct MayBeDead<'a> {
    of: &'a ByFrequency,
    last: &'a AtTime,
    end: &'a AtTime,
    silence: f64,
    p_dead: f64,
    p_alive: f64,
    ln_1p_odds: f64,
    customers: f64,
}

impl<'a> MayBeDead<'a> {
    #[inline]
    fn new(row: &Row, tables: &'a Tables) -> Self {
        let of = &tables.frequencies[row.frequency as usize];
        let (last, end) = (&tables.times[row.last as usize], &tables.times[row.end as usize]);
        let silence = end.ln_growth - last.ln_growth;
        let ln_odds = of.ln_odds + of.k * silence;
        let odds = libm::exp(ln_odds);
        // Beyond the range of exp the customer is dead for certain, and ln(1 + O) = ln O.
        let (p_dead, p_alive, ln_1p_odds) = if odds < 1e300 {
            (odds / (1.0 + odds), 1.0 / (1.0 + odds), libm::log1p(odds))
        } else {
            (1.0, 0.0, ln_odds)
        };
        Self { of, last, end, silence, p_dead, p_alive, ln_1p_odds, customers: row.customers }
    }

    #[inline]
    fn slope_terms(&self) -> [f64; 5] {
        let dead = self.customers * self.p_dead;
        [
            self.customers * self.ln_1p_odds,
            dead,
            dead * self.silence,
            dead * self.of.k * (self.end.inverse - self.last.inverse),
            dead * self.of.odds_by_b,
        ]
    }

    /// In the order in which [`Likelihood::sum_bend`] takes them: products of the slopes of `ln O` by `r`, `alpha` and
    /// `b`; the same with that by `a`, still to be divided by `a`; and the second derivatives of `ln O`.
    #[inline]
    fn bend_terms(&self) -> [f64; 13] {
        let &Self { of, last, end, silence, .. } = self;
        let dead = self.customers * self.p_dead;
        let unsure = dead * self.p_alive;
        let shrunk = end.inverse - last.inverse;
        let by_alpha = of.k * shrunk;
        let (unsure_r, unsure_alpha, unsure_b) = (unsure * silence, unsure * by_alpha, unsure * of.odds_by_b);
        [
            unsure_r * silence,
            unsure_r * by_alpha,
            unsure_r * of.odds_by_b,
            unsure_alpha * by_alpha,
            unsure_alpha * of.odds_by_b,
            (unsure_b + dead * of.odds_by_b) * of.odds_by_b,
            unsure,
            unsure_r,
            unsure_alpha,
            unsure_b,
            dead,
            dead * shrunk,
            dead * by_alpha * (end.inverse + last.inverse),
        ]
    }
}

/// The distinct values, ascending.
fn distinct<T>(all: impl Iterator<Item = T>, order: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    all.sort_unstable_by(&order);
    all.dedup_by(|a, b| order(a, b).is_eq());
    all
}

impl ByFrequency {
    fn new([r, _, a, b]: [f64; 4], x: f64, tosses: f64) -> Self {
        if tosses == 0.0 {
            return Self {
                k: r,
                ln_likelihood: 0.0,
                by_r: 0.0,
                by_a: 0.0,
                by_b: 0.0,
                ln_odds: f64::NEG_INFINITY,
                odds_by_b: 0.0,
            };
        }
        let left = digamma(a + b) - digamma(a + b + tosses);
        Self {
            k: r + x,
            ln_likelihood: ln_gamma_ratio(r, x) + ln_gamma_ratio(b, a) - ln_gamma_ratio(b + tosses, a),
            by_r: digamma(r + x) - digamma(r),
            by_a: left,
            by_b: left + digamma(b + tosses) - digamma(b),
            ln_odds: libm::log(a / (b + (tosses - 1.0))),
            odds_by_b: 1.0 / (b + (tosses - 1.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AfterEach, AfterRepeats, BgNbd, MbgNbd, Tosses};

    const AT: [f64; 4] = [0.243, 4.414, 0.793, 2.426];

    fn rows() -> Vec<PurchaseRow> {
        [(0, 0.0, 38.86, 3), (2, 30.43, 38.86, 1), (1, 1.71, 30.0, 2), (26, 25.0, 31.0, 1), (7, 0.5, 39.0, 1)]
            .map(|(x, t_x, age, customers)| PurchaseRow { x, t_x, age, customers })
            .to_vec()
    }

    #[test]
    fn the_sum_is_the_models_log_likelihood() {
        let [r, alpha, a, b] = AT;
        let bg_nbd = BgNbd::new(r, alpha, a, b).unwrap();
        let mbg_nbd = MbgNbd::new(r, alpha, a, b).unwrap();
        let sum = |of: &dyn Fn(&PurchaseRow) -> f64| {
            rows().iter().map(|row| row.customers as f64 * of(row)).sum::<f64>()
        };

        for (survived, expected) in [
            (
                AfterRepeats::survived as fn(f64) -> f64,
                sum(&|row| bg_nbd.log_likelihood(row.x, row.t_x, row.age)),
            ),
            (
                AfterEach::survived as fn(f64) -> f64,
                sum(&|row| mbg_nbd.log_likelihood(row.x, row.t_x, row.age)),
            ),
        ] {
            let (mean, _) = Likelihood::new(&rows(), survived).slope(&AT.map(libm::log));
            assert!((mean * 8.0 - expected).abs() < 1e-12, "{mean} {expected}");
        }
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_sum() {
        for survived in [AfterRepeats::survived as fn(f64) -> f64, AfterEach::survived as fn(f64) -> f64] {
            let likelihood = Likelihood::new(&rows(), survived);
            let at = AT.map(libm::log);
            let (_, gradient) = likelihood.slope(&at);

            for i in 0..4 {
                let shifted = |by: f64| {
                    let mut at = at;
                    at[i] += by;
                    likelihood.slope(&at).0
                };
                let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
                assert!((slope - gradient[i]).abs() < 1e-9, "{i}: {slope} is not {}", gradient[i]);
            }
        }
    }

    #[test]
    fn the_hessian_is_the_slope_of_the_gradient() {
        for survived in [AfterRepeats::survived as fn(f64) -> f64, AfterEach::survived as fn(f64) -> f64] {
            let likelihood = Likelihood::new(&rows(), survived);
            let at = AT.map(libm::log);
            let (value, gradient, negative_hessian) = likelihood.bend(&at).unwrap();

            assert_eq!((value, gradient), likelihood.slope(&at));
            for i in 0..4 {
                let shifted = |by: f64| {
                    let mut at = at;
                    at[i] += by;
                    likelihood.slope(&at).1
                };
                let (up, down) = (shifted(1e-4), shifted(-1e-4));
                for j in 0..4 {
                    let bend = (down[j] - up[j]) / 2e-4;
                    let own = negative_hessian[i][j];
                    assert!((own - bend).abs() < 1e-8, "{i} {j}: {own} is not {bend}");
                }
            }
        }
    }
}
