//! BG/BB: whether a customer takes up opportunities that come one by one.
//!
//! Fader, Hardie & Shang (2010), "Customer-base analysis in a discrete-time noncontractual setting", Marketing Science
//! 29, 1086-1108. Before each opportunity (a fair, a yearly package) a customer drops out with probability `theta`; if
//! he has not, he buys with probability `p`. Over the customers `p ~ Beta(alpha, beta)` and `theta ~ Beta(gamma,
//! delta)`. Observed are `x` purchases at `n` opportunities, the last purchase at the `t_x`-th.
//!
//! The likelihood is a sum over where he may have dropped out:
//!
//! ```text
//! L   = T_n + sum over i = t_x .. n-1 of D_i
//! T_n = B(alpha+x, beta+n-x)/B(alpha,beta) B(gamma, delta+n)/B(gamma,delta)         alive at the n-th
//! D_i = B(alpha+x, beta+i-x)/B(alpha,beta) B(gamma+1, delta+i)/B(gamma,delta)       dropped out after the i-th
//! ```
//!
//! The `D_i` fall, so relative to the first they are summed without overflow and without a floor. Given alive at `n`,
//! `p ~ Beta(alpha+x, beta+n-x)` and `theta ~ Beta(gamma, delta+n)` are independent, and the opportunities he will see
//! are the renewals of an [`Sbg`] contract: what is expected of the future follows from [`RemainingRenewals`].

use serde::{Deserialize, Serialize};

use crate::kernel::beta_ratio::ln_beta_ratio;
use crate::kernel::ln_1p_exp::ln_1p_exp;
use crate::parameter::exact_parameters;
use crate::{ParameterError, PeriodRate, PurchaseDistribution, RemainingRenewals, Sbg, Undefined};

/// The BG/BB model with its parameters; time in opportunities.
///
/// Domain: `x <= t_x <= n`, `t_x = 0` exactly when `x = 0`. Checked up to `n = 5000` against 40-digit references:
/// relative errors below 1e-11.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Text", try_from = "Text")]
pub struct BgBb {
    alpha: f64,
    beta: f64,
    gamma: f64,
    delta: f64,
}

impl BgBb {
    /// Takes the parameters, each from 1e-7 to 1e7.
    pub fn new(alpha: f64, beta: f64, gamma: f64, delta: f64) -> Result<Self, ParameterError> {
        let check = |name, value| ParameterError::check(name, value, 1e-7, 1e7);
        Ok(Self {
            alpha: check("alpha", alpha)?,
            beta: check("beta", beta)?,
            gamma: check("gamma", gamma)?,
            delta: check("delta", delta)?,
        })
    }

    /// First shape of the purchase probabilities, whose mean is `alpha / (alpha + beta)`.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Second shape of the purchase probabilities.
    pub fn beta(&self) -> f64 {
        self.beta
    }

    /// First shape of the dropout probabilities, whose mean is `gamma / (gamma + delta)`.
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    /// Second shape of the dropout probabilities.
    pub fn delta(&self) -> f64 {
        self.delta
    }

    /// The logarithm of the likelihood of one customer: of this sequence of purchases, not of their number.
    pub fn log_likelihood(&self, x: u32, t_x: u32, n: u32) -> f64 {
        if x == 0 {
            let buys = self.p_any_purchase(n);
            if buys < 0.5 {
                return libm::log1p(-buys);
            }
        }
        let ln_alive = self.ln_alive(x, n);
        let ln_odds_dead = self.ln_odds_dead(x, t_x, n);
        // From the larger of the two, whose logarithm is the smaller number.
        if ln_odds_dead <= 0.0 {
            ln_alive + libm::log1p(libm::exp(ln_odds_dead))
        } else {
            self.ln_first_death(x, t_x)
                + libm::log(self.deaths(x, t_x, n))
                + libm::log1p(libm::exp(-ln_odds_dead))
        }
    }

    /// The probability of being alive at the last opportunity `n`.
    pub fn p_alive(&self, x: u32, t_x: u32, n: u32) -> f64 {
        1.0 / (1.0 + libm::exp(self.ln_odds_dead(x, t_x, n)))
    }

    /// `ln p_alive`, finite where `p_alive` underflows.
    pub fn ln_p_alive(&self, x: u32, t_x: u32, n: u32) -> f64 {
        0.0 - ln_1p_exp(self.ln_odds_dead(x, t_x, n))
    }

    /// `ln(1 - p_alive)`; minus infinity for `t_x = n`.
    pub fn ln_p_dead(&self, x: u32, t_x: u32, n: u32) -> f64 {
        let ln_odds = self.ln_odds_dead(x, t_x, n);
        if ln_odds == f64::NEG_INFINITY { ln_odds } else { 0.0 - ln_1p_exp(-ln_odds) }
    }

    /// The probability of being alive at the next opportunity, `n + 1`.
    pub fn p_alive_at_next(&self, x: u32, t_x: u32, n: u32) -> f64 {
        self.p_alive(x, t_x, n) * self.dropout(n).retention(1)
    }

    /// Expected purchases at the next `n_star` opportunities (CET).
    pub fn expected_purchases(&self, x: u32, t_x: u32, n: u32, n_star: u32) -> f64 {
        self.discounted_purchases(x, t_x, n, n_star, PeriodRate::ZERO)
    }

    /// Expected purchases at the next `n_star` opportunities, each discounted to the last one, `n` (DET).
    pub fn discounted_purchases(&self, x: u32, t_x: u32, n: u32, n_star: u32, rate: PeriodRate) -> f64 {
        let seen = rate.ratio() * self.opportunities(n, n_star).discounted(rate);
        f64::min(self.p_alive(x, t_x, n) * self.given_alive(x, n).mean() * seen, f64::MAX)
    }

    /// Expected purchases for ever, each discounted to the last opportunity, `n` (DERT). Without discount they
    /// exist for `gamma > 1`.
    pub fn discounted_purchases_for_ever(
        &self,
        x: u32,
        t_x: u32,
        n: u32,
        rate: PeriodRate,
    ) -> Result<f64, Undefined> {
        let seen = rate.ratio() * self.dropout(n).residual_lifetime(0, rate)?;
        Ok(self.p_alive(x, t_x, n) * self.given_alive(x, n).mean() * seen)
    }

    /// The variance of the purchases at the next `n_star` opportunities.
    pub fn variance(&self, x: u32, t_x: u32, n: u32, n_star: u32) -> f64 {
        let seen = self.opportunities(n, n_star);
        let buying = self.given_alive(x, n);
        let p_alive = self.p_alive(x, t_x, n);
        let p_dead = libm::exp(self.ln_p_dead(x, t_x, n));
        let mean = buying.mean() * seen.expected();
        p_alive * (buying.variance(&seen) + p_dead * mean * mean)
    }

    /// The probability of no purchase at the next `n_star` opportunities.
    pub fn p_zero(&self, x: u32, t_x: u32, n: u32, n_star: u32) -> f64 {
        let none = libm::exp(self.now(x, n).log_likelihood(0, 0, n_star));
        libm::exp(self.ln_p_dead(x, t_x, n)) + self.p_alive(x, t_x, n) * none
    }

    /// The distribution of the purchases at the next `n_star` opportunities. Takes time as `n_star` squared.
    pub fn purchase_distribution(&self, x: u32, t_x: u32, n: u32, n_star: u32) -> PurchaseDistribution {
        let p_alive = self.p_alive(x, t_x, n);
        let mut probabilities = self.given_alive(x, n).distribution(&self.opportunities(n, n_star));
        for probability in &mut probabilities {
            *probability *= p_alive;
        }
        probabilities[0] += libm::exp(self.ln_p_dead(x, t_x, n));
        PurchaseDistribution::from_probabilities(probabilities)
    }

    /// The expected number of purchases of a new customer at his first `n` opportunities, `E[X(n)]`.
    pub fn expected_purchases_of_new(&self, n: u32) -> f64 {
        self.expected_purchases(0, 0, 0, n)
    }

    /// The distribution of the number of purchases of a new customer at his first `n` opportunities, `P(X(n) = x)`
    ///.
    pub fn purchase_distribution_of_new(&self, n: u32) -> PurchaseDistribution {
        self.purchase_distribution(0, 0, 0, n)
    }

    /// The dropout of a customer who is alive at `n`.
    fn dropout(&self, n: u32) -> Sbg {
        Sbg::after(self.gamma, self.delta, n)
    }

    /// How many of the next `n_star` opportunities a customer who is alive at `n` sees alive.
    fn opportunities(&self, n: u32, n_star: u32) -> RemainingRenewals {
        self.dropout(n).remaining(0, n_star)
    }

    /// The purchase probability of a customer with `x` purchases who is alive at `n`.
    fn given_alive(&self, x: u32, n: u32) -> Buying {
        Buying { alpha: self.alpha + f64::from(x), beta: self.beta + f64::from(n - x) }
    }

    /// The model of those who are alive at `n` with `x` purchases, as if they were new.
    fn now(&self, x: u32, n: u32) -> Self {
        let Buying { alpha, beta } = self.given_alive(x, n);
        Self { alpha, beta, gamma: self.gamma, delta: self.delta + f64::from(n) }
    }

    /// `ln T_n`.
    fn ln_alive(&self, x: u32, n: u32) -> f64 {
        self.ln_sequence(x, n) + self.dropout(0).ln_survival(n)
    }

    /// `ln D_i` of the first, `i = t_x`.
    fn ln_first_death(&self, x: u32, t_x: u32) -> f64 {
        let churn = self.gamma / (self.gamma + self.delta + f64::from(t_x));
        self.ln_sequence(x, t_x) + self.dropout(0).ln_survival(t_x) + libm::log(churn)
    }

    /// `ln [B(alpha+x, beta+n-x) / B(alpha, beta)]`, first the purchases and then the others: two falls.
    fn ln_sequence(&self, x: u32, n: u32) -> f64 {
        let &Self { alpha, beta, .. } = self;
        let bought = f64::from(x);
        ln_beta_ratio(beta, alpha, bought) + ln_beta_ratio(alpha + bought, beta, f64::from(n - x))
    }

    /// The sum of the `D_i` relative to the first of them: 0 if there is none, else from 1 to `n - t_x`.
    fn deaths(&self, x: u32, t_x: u32, n: u32) -> f64 {
        let &Self { alpha, beta, gamma, delta } = self;
        let (mut sum, mut term) = (0.0, 1.0);
        for i in t_x..n {
            sum += term;
            let (i, silent) = (f64::from(i), f64::from(i - x));
            term *= (beta + silent) / (alpha + beta + i) * ((delta + i) / (gamma + delta + i + 1.0));
            if term < 1e-300 {
                break;
            }
        }
        sum
    }

    /// The logarithm of the odds of being dead at `n`; minus infinity if he bought then.
    fn ln_odds_dead(&self, x: u32, t_x: u32, n: u32) -> f64 {
        if t_x == n {
            return f64::NEG_INFINITY;
        }
        // T_n relative to the first D_i: from t_x on he neither bought nor dropped out.
        let silent = f64::from(n - t_x);
        let at_last = self.given_alive(x, t_x);
        let odds_of_staying = (self.gamma + self.delta + f64::from(t_x)) / self.gamma;
        let ln_alive = ln_beta_ratio(at_last.alpha, at_last.beta, silent)
            + self.dropout(t_x).ln_survival(n - t_x)
            + libm::log(odds_of_staying);
        libm::log(self.deaths(x, t_x, n)) - ln_alive
    }

    /// The probability of a purchase among the first `n` opportunities, as the sum over the first of them: where it is
    /// small, 1 less the probability of none would have no digits.
    fn p_any_purchase(&self, n: u32) -> f64 {
        let &Self { alpha, beta, gamma, delta } = self;
        let (mut sum, mut waiting) = (0.0, 1.0);
        for i in (0..n).map(f64::from) {
            waiting *= (delta + i) / (gamma + delta + i);
            sum += waiting * (alpha / (alpha + beta + i));
            waiting *= (beta + i) / (alpha + beta + i);
        }
        sum
    }
}

/// The purchase probability of one customer, `p ~ Beta(alpha, beta)`.
struct Buying {
    alpha: f64,
    beta: f64,
}

impl Buying {
    fn mean(&self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    /// The variance of the purchases at so many opportunities: within a number of them Beta-binomial, and between.
    fn variance(&self, opportunities: &RemainingRenewals) -> f64 {
        let sum = self.alpha + self.beta;
        let mean = self.mean();
        let scale = mean * (self.beta / sum) / (sum + 1.0);
        let within = |n: u32| {
            let n_ = f64::from(n);
            opportunities.pmf(n) * n_ * (sum + n_)
        };
        let within: f64 = (0..=opportunities.horizon()).map(within).sum();
        scale * within + mean * mean * opportunities.variance()
    }

    /// The probabilities of 0, 1, ... purchases at so many opportunities.
    ///
    /// From the Beta-binomial probabilities of `i` opportunities follow those of `i + 1` with positive terms only.
    fn distribution(&self, opportunities: &RemainingRenewals) -> Vec<f64> {
        let longest = opportunities.horizon();
        let mut mixed = vec![0.0; longest as usize + 1];
        let mut beta_binomial = vec![0.0; longest as usize + 1];
        beta_binomial[0] = 1.0;
        for i in 0..=longest {
            let share = opportunities.pmf(i);
            for (mixed, probability) in mixed.iter_mut().zip(&beta_binomial[..=i as usize]) {
                *mixed += share * probability;
            }
            if i < longest {
                self.one_more(&mut beta_binomial, i);
            }
        }
        mixed
    }

    /// Turns the probabilities of purchases at `i` opportunities into those at `i + 1`.
    fn one_more(&self, beta_binomial: &mut [f64], i: u32) {
        let weight = self.alpha + self.beta + f64::from(i);
        for x in (0..=i).rev() {
            let (before, x_) = (beta_binomial[x as usize], f64::from(x));
            // Below this a probability is nothing beside its neighbours, and would soon lose its digits.
            let before = if before < 1e-290 { 0.0 } else { before };
            beta_binomial[x as usize + 1] += before * ((self.alpha + x_) / weight);
            beta_binomial[x as usize] = before * ((self.beta + f64::from(i - x)) / weight);
        }
    }
}

exact_parameters!(BgBb { alpha, beta, gamma, delta });
