//! The observed customer.
//!
//! Of a customer who is alive `n` tosses went well, `n = x` in BG/NBD and `n = x + 1` in MBG/NBD; of one who is dead
//! `n - 1` did and the last did not:
//!
//! ```text
//! L = Gamma(k)/Gamma(r) alpha^r A^-k  B(a, b+n)/B(a, b)  (1 + O),    O = [n > 0] a/(b+n-1) (A/(alpha+t_x))^k
//! ```
//!
//! with `k = r + x`, `A = alpha + T` (Hardie's note 027; Batislam, Denizel & Filiztekin 2007), and alive is
//! `p ~ Beta(a, b+n)`.

use crate::kernel::gamma::ln_gamma_ratio;
use crate::kernel::ln_1p_exp::ln_1p_exp;
use crate::purchases::alive::Alive;

/// One customer under the parameters of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Customer {
    pub(super) r: f64,
    pub(super) alpha: f64,
    pub(super) a: f64,
    pub(super) b: f64,
    pub(super) x: u32,
    /// The tosses that went well if he is alive: `n`.
    pub(super) tosses: f64,
    pub(super) t_x: f64,
    pub(super) age: f64,
}

impl Customer {
    /// `ln L`.
    pub(super) fn log_likelihood(&self) -> f64 {
        let &Self { r, alpha, a, b, tosses, age, .. } = self;
        // Without purchases everything but the silence cancels; kept apart so that its digits survive.
        let silence = -r * libm::log1p(age / alpha);
        if self.x == 0 {
            // The dead do not buy, and of the others the silent do not: 1 - b/(a+b) (1 - (alpha/A)^r).
            return if tosses == 0.0 { silence } else { libm::log1p(b / (a + b) * libm::expm1(silence)) };
        }
        let x = f64::from(self.x);
        let purchases = ln_gamma_ratio(r, x) - x * libm::log(alpha + age);
        let survivals = ln_gamma_ratio(b, a) - ln_gamma_ratio(b + tosses, a);
        silence + purchases + survivals + ln_1p_exp(self.ln_odds_dead())
    }

    pub(super) fn p_alive(&self) -> f64 {
        1.0 / (1.0 + libm::exp(self.ln_odds_dead()))
    }

    pub(super) fn p_dead(&self) -> f64 {
        1.0 / (1.0 + libm::exp(-self.ln_odds_dead()))
    }

    pub(super) fn ln_p_alive(&self) -> f64 {
        0.0 - ln_1p_exp(self.ln_odds_dead())
    }

    pub(super) fn ln_p_dead(&self) -> f64 {
        let ln_odds = self.ln_odds_dead();
        if ln_odds == f64::NEG_INFINITY { ln_odds } else { 0.0 - ln_1p_exp(-ln_odds) }
    }

    /// Var Y(t) = p_alive (V + p_dead m^2), of mean `m` and variance `V` given alive.
    pub(super) fn variance(&self, horizon: f64) -> f64 {
        let alive = self.alive().moments(horizon);
        // The probability last, for it may be smaller than what the squared mean leaves room for.
        self.p_alive() * (alive.variance + self.p_dead() * alive.mean * alive.mean)
    }

    /// P(Y(t) = 0).
    pub(super) fn p_zero(&self, horizon: f64) -> f64 {
        self.p_dead() + self.p_alive() * self.alive().p_zero(horizon)
    }

    /// What he is if he is alive.
    pub(super) fn alive(&self) -> Alive {
        let &Self { r, alpha, a, b, tosses, age, .. } = self;
        Alive { k: r + f64::from(self.x), rate: alpha + age, a, b: b + tosses }
    }

    /// The logarithm of the odds of being dead.
    fn ln_odds_dead(&self) -> f64 {
        let &Self { r, alpha, a, b, tosses, t_x, age, .. } = self;
        if tosses == 0.0 {
            return f64::NEG_INFINITY;
        }
        // ln1p instead of a difference of logarithms: most active customers bought recently.
        let silence = libm::log1p((age - t_x) / (alpha + t_x));
        libm::log(a / (b + (tosses - 1.0))) + (r + f64::from(self.x)) * silence
    }
}
