//! Customers who are drawn with all their purchase days, and what a purchase count sees of them.

use model::{BgNbd, PurchaseCounts, Season, Summary};

use crate::weddings::{NEW_YEAR_2016, NEW_YEAR_2024};

/// The first day anybody came, and the last observed one: 2023-12-31.
pub(super) const FIRST_DAY: i64 = NEW_YEAR_2016 + 3 * 365 + 1;
pub(super) const LAST_DAY: i64 = NEW_YEAR_2024 - 1;

/// A few bookings a year.
pub(super) fn bookings() -> BgNbd {
    BgNbd::new(0.9, 60.0, 0.8, 4.0).unwrap()
}

/// All purchase days of a customer, to a year beyond [`LAST_DAY`].
pub(super) struct Customer {
    pub(super) days: Vec<i64>,
    /// Whether he dropped out at the last of them.
    left: bool,
}

impl Customer {
    pub(super) fn observed(&self) -> &[i64] {
        &self.days[..self.days.partition_point(|&day| day <= LAST_DAY)]
    }

    pub(super) fn is_alive_on(&self, day: i64) -> bool {
        !self.left || self.days[self.days.len() - 1] > day
    }

    pub(super) fn summary(&self) -> Summary {
        self.summary_on(LAST_DAY)
    }

    pub(super) fn summary_on(&self, last_day: i64) -> Summary {
        let days = &self.days[..self.days.partition_point(|&day| day <= last_day)];
        let frequency = days.len() as u32 - 1;
        Summary {
            frequency,
            recency_days: (days[days.len() - 1] - days[0]) as u32,
            age_days: (last_day - days[0]) as u32,
            repeat_spend_minor: i64::from(frequency) * 1000,
        }
    }
}

/// Customers of a growing base, who come, too, when there are weddings, and then buy as the model says in the
/// season's time.
pub(super) fn simulate(model: &BgNbd, season: &Season, customers: u32, seed: u64) -> Vec<Customer> {
    let mut random = Random(seed);
    let (open, close) = (season.tau((FIRST_DAY + 1) as f64), season.tau((LAST_DAY + 1) as f64));
    let end = season.tau((LAST_DAY + 366) as f64);
    (0..customers)
        .map(|_| {
            // As the square root of a uniform share, twice as many come at the end as on average.
            let came = open + (close - open) * random.uniform().sqrt();
            let day_of = |tau: f64| season.moment(tau).floor() as i64;
            let mut days = vec![day_of(came).clamp(FIRST_DAY, LAST_DAY)];
            let lambda = random.gamma(model.r()) / model.alpha();
            let (alive, dead) = (random.gamma(model.b()), random.gamma(model.a()));
            let p = dead / (alive + dead);
            let mut tau = season.tau((days[0] + 1) as f64);
            let mut left = false;
            while !left {
                tau -= random.uniform().ln() / lambda;
                if tau >= end {
                    break;
                }
                days.push(day_of(tau));
                left = random.uniform() < p;
            }
            days.dedup();
            Customer { days, left }
        })
        .collect()
}

pub(super) fn counts(customers: &[Customer]) -> PurchaseCounts {
    let mut counts = PurchaseCounts::new(FIRST_DAY, LAST_DAY).unwrap();
    for customer in customers {
        let days = customer.observed();
        counts.customer(days[0]);
        for &day in &days[1..] {
            counts.repeat(days[0], day);
        }
    }
    counts
}

/// SplitMix64 (Steele, Lea & Flood 2014), and what is drawn with it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, never either.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Marsaglia & Tsang (2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.uniform().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        loop {
            let x = self.normal();
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }
}
