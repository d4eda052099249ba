//! The generative process of a base: BG/NBD and Gamma-Gamma, by segment.
//!
//! The terms, and how a wanted number of transactions is reached, are at the top of the module.

use super::dice::Dice;
use super::segments::{SEGMENTS, Segment};
use super::subscriptions::{self, Cost, Subscribed};
use super::{Acquired, GenerateSpec, Purchase, SECONDS_PER_WEEK, round_to_minor};

/// BG/NBD on the CDNOW sample, by the week: Fader, Hardie & Lee (2005), table 2.
const R: f64 = 0.243;
const ALPHA: f64 = 4.414;
const A: f64 = 0.793;
const B: f64 = 2.426;

/// Gamma-Gamma on the CDNOW sample: Fader & Hardie (2013); `V` in cents.
pub(super) const P: f64 = 6.25;
pub(super) const Q: f64 = 3.74;
pub(super) const V: f64 = 1_544.0;

/// Some customers in the order of their places, and their purchases in any order.
pub(super) struct Block {
    pub(super) customers: Vec<Acquired>,
    pub(super) purchases: Vec<Purchase>,
    pub(super) subscriptions: Vec<Subscribed>,
    pub(super) costs: Vec<Cost>,
}

/// The generative process of a base.
pub(super) struct Process {
    seed: [u8; 32],
    window_seconds: u32,
    alpha: f64,
    b: f64,
    /// None in a base without subscriptions.
    subscriptions: Option<subscriptions::Process>,
}

impl Process {
    pub(super) fn new(spec: &GenerateSpec) -> Self {
        let intensity = match spec.transactions_per_customer {
            None => 1.0,
            Some(mean) => intensity_for(mean, f64::from(spec.weeks)),
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&spec.seed.to_le_bytes());
        Self {
            seed,
            window_seconds: spec.weeks * SECONDS_PER_WEEK,
            alpha: ALPHA / intensity,
            b: b_at(intensity),
            subscriptions: spec.subscriptions.then(|| subscriptions::Process::new(spec, seed)),
        }
    }

    pub(super) fn block(&self, places: std::ops::Range<u32>) -> Block {
        let mut customers = Vec::with_capacity(places.len());
        let mut purchases = Vec::with_capacity(places.len() * 4);
        let (mut subscriptions, mut costs) = (Vec::new(), Vec::new());
        for place in places {
            let acquired = self.customer(place, &mut purchases);
            customers.push(acquired);
            if let Some(process) = &self.subscriptions {
                costs.push(process.customer(place, acquired.second, &mut subscriptions));
            }
        }
        Block { customers, purchases, subscriptions, costs }
    }

    /// Draws a customer and its purchases. The order of the draws is part of what a seed means.
    fn customer(&self, place: u32, purchases: &mut Vec<Purchase>) -> Acquired {
        let mut dice = Dice::new(self.seed, u64::from(place));
        let acquired_at = dice.uniform() * f64::from(self.window_seconds);
        let segment = dice.segment();
        let Segment { rate, spend, .. } = SEGMENTS[usize::from(segment)];
        let lambda = dice.gamma(R) * rate / self.alpha;
        let dropout = dice.beta(A, self.b);
        let nu = dice.gamma(Q) / (V * spend);

        let mut time = acquired_at;
        loop {
            let amount_minor = round_to_minor(dice.gamma(P) / nu);
            purchases.push(Purchase { second: time as u32, customer: place, amount_minor });
            let has_left = time > acquired_at && dice.uniform() < dropout;
            time += dice.exponential() / lambda * f64::from(SECONDS_PER_WEEK);
            if has_left || time >= f64::from(self.window_seconds) {
                return Acquired { second: acquired_at as u32, segment };
            }
        }
    }
}

/// `b` for customers who buy `intensity` times as often: see the top of the module.
fn b_at(intensity: f64) -> f64 {
    intensity.max(1.0) * (A + B) - A
}

/// Finds how many times as often customers must buy to have `mean` transactions each, the first one included.
fn intensity_for(mean: f64, weeks: f64) -> f64 {
    // Bisection of the logarithm: 60 halvings leave nothing of the interval that a float could tell.
    let (mut low, mut high) = (-14.0, 14.0 * std::f64::consts::LN_10);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if 1.0 + expected_repeats(libm::exp(middle), weeks) < mean { low = middle } else { high = middle }
    }
    libm::exp(0.5 * (low + high))
}

/// The expected number of repeat purchases of a customer acquired at a moment uniform over the weeks.
pub(super) fn expected_repeats(intensity: f64, weeks: f64) -> f64 {
    let of_segment = |segment: &Segment| {
        let alpha = ALPHA / (intensity * segment.rate);
        f64::from(segment.percent) / 100.0 * expected_repeats_of(alpha, b_at(intensity), weeks)
    };
    SEGMENTS.iter().map(of_segment).sum()
}

/// The same for one `alpha`. Given `p`, a customer of age `t` has made `(1 - (alpha / (alpha + p t))^r) / p`
/// repeat purchases on average; this integrates it over `t` in closed form and over `p ~ Beta(a, b)` by the
/// midpoint rule, where `p = u^(1/a)` takes the pole of the density away.
fn expected_repeats_of(alpha: f64, b: f64, weeks: f64) -> f64 {
    const POINTS: u32 = 512;

    let (mut sum, mut weight_sum) = (0.0, 0.0);
    for point in 0..POINTS {
        let u = (f64::from(point) + 0.5) / f64::from(POINTS);
        let p = libm::pow(u, 1.0 / A);
        let weight = libm::pow(1.0 - p, b - 1.0);
        sum += weight * mean_repeats_given(p, alpha, weeks);
        weight_sum += weight;
    }
    sum / weight_sum
}

fn mean_repeats_given(p: f64, alpha: f64, weeks: f64) -> f64 {
    let x = p * weeks / alpha;
    if x < 1e-4 {
        // The first terms of the series: the closed form would cancel.
        return R * weeks / alpha * (0.5 - (R + 1.0) * x / 6.0);
    }
    // expm1(log1p) keeps what (1 + x)^(1 - r) - 1 would lose.
    let grown = libm::expm1((1.0 - R) * libm::log1p(x)) / (1.0 - R);
    (1.0 - grown / x) / p
}
