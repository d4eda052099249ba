//! Customers drawn from BG/NBD and Gamma-Gamma themselves, from a seed.

use model::Summary;

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

fn summary(draws: &mut Draws, age_weeks: f64) -> Summary {
    let age_days = 1 + (draws.uniform() * (age_weeks * 7.0 - 1.0)) as u32;
    let daily_rate = draws.gamma(0.243) / 4.414 / 7.0;
    let leaves = draws.beta(0.793, 2.426);
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
