//! Customers drawn from BG/NBD and Gamma-Gamma themselves, from a seed.

use model::{Account, Contract, PlanIndex, Summary};

/// Draws that are the same on every machine: SplitMix64, and what follows from its uniform numbers.
struct Draws(u64);

impl Draws {
    /// Uniform in (0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (u, w) = (self.uniform(), self.uniform());
        libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * w)
    }

    /// Gamma with unit scale (Marsaglia & Tsang 2000, with their lift for shapes below 1).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let lift = libm::pow(self.uniform(), 1.0 / shape);
            return lift * self.gamma(shape + 1.0);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let z = self.normal();
            let v = (1.0 + c * z) * (1.0 + c * z) * (1.0 + c * z);
            if v > 0.0 && libm::log(self.uniform()) < 0.5 * z * z + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }

    fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (left, right) = (self.gamma(a), self.gamma(b));
        left / (left + right)
    }
}

/// Summaries of customers who were acquired over `age_weeks`, under the parameters of the CDNOW sample.
pub(crate) fn summaries(customers: usize, age_weeks: f64, seed: u64) -> Vec<Summary> {
    let mut draws = Draws(seed);
    (0..customers).map(|_| summary(&mut draws, age_weeks)).collect()
}

/// Accounts of suppliers who buy some ten times in two years; every second one has a contract, by the month or by the
/// year, and for each is known what it cost to win him.
#[allow(dead_code, reason = "each bench takes what it needs")]
pub(crate) fn accounts(customers: usize, age_weeks: f64, seed: u64) -> Vec<Account> {
    let mut draws = Draws(seed);
    let account = |place: usize| {
        let habits = Habits { r: 0.9, alpha: 3.0, a: 0.6, b: 9.0 };
        let summary = summary_of(&mut draws, age_weeks, &habits);
        let mut account = Account {
            purchases: Some(summary),
            spend_minor: summary.repeat_spend_minor + 3_500,
            acquisition_cost_minor: Some((draws.uniform() * 100_000.0) as i64),
            ..Account::default()
        };
        if place.is_multiple_of(2) {
            let period_months = if draws.uniform() < 0.5 { 1 } else { 12 };
            let price_minor = i64::from(period_months) * 1_500;
            let renewals = (draws.uniform() * 24.0) as u32 / u32::from(period_months);
            let days_to_renewal = 1 + (draws.uniform() * 30.0 * f64::from(period_months)) as u32;
            account.paid_minor = i64::from(renewals + 1) * price_minor;
            let plan = PlanIndex::OTHER;
            account.contracts.push(Contract { price_minor, renewals, days_to_renewal, period_months, plan });
        }
        account
    };
    (0..customers).map(account).collect()
}

/// Parameters of BG/NBD.
struct Habits {
    r: f64,
    alpha: f64,
    a: f64,
    b: f64,
}

fn summary(draws: &mut Draws, age_weeks: f64) -> Summary {
    summary_of(draws, age_weeks, &Habits { r: 0.243, alpha: 4.414, a: 0.793, b: 2.426 })
}

fn summary_of(draws: &mut Draws, age_weeks: f64, habits: &Habits) -> Summary {
    let age_days = 1 + (draws.uniform() * (age_weeks * 7.0 - 1.0)) as u32;
    let daily_rate = draws.gamma(habits.r) / habits.alpha / 7.0;
    let leaves = draws.beta(habits.a, habits.b);
    let (mut time, mut last_day, mut frequency) = (0.0, 0, 0);
    loop {
        time -= libm::log(draws.uniform()) / daily_rate;
        if time >= f64::from(age_days) {
            break;
        }
        // The purchases of a day are one purchase.
        let day = time as u32;
        if day > last_day {
            (last_day, frequency) = (day, frequency + 1);
        }
        if draws.uniform() < leaves {
            break;
        }
    }
    let nu = draws.gamma(3.74) / 1544.0;
    let spend = if frequency == 0 { 0.0 } else { draws.gamma(6.25 * f64::from(frequency)) / nu };
    Summary { frequency, recency_days: last_day, age_days, repeat_spend_minor: spend as i64 }
}
