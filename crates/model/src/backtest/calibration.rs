//! Whether what came looks drawn from the distributions that were forecast.
//!
//! The probability integral transform (PIT) of a count is not one number but the stretch `[F(y-), F(y)]`. Spread
//! evenly over that stretch and averaged over the customers (the non-randomised PIT of Czado, Gneiting & Held 2009,
//! Biometrics 65, 1254-1261, eq. 2), it is uniform under the true model, exactly, however coarse the counts are. The
//! plain share of numbers within an interval is not: an interval of whole numbers must cover more than it promises.

use serde::Serialize;

/// Where a number `y` lies in the distribution that was forecast for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// `F(y-)`: the probability of fewer.
    pub below: f64,
    /// The probability of just that number.
    pub probability: f64,
}

impl Place {
    /// The logarithm of the probability of what came.
    ///
    /// A probability below 1e-15 counts as 1e-15: a distribution is listed to a tail of that size.
    pub fn log_score(&self) -> f64 {
        libm::log(f64::max(self.probability, LEAST_PROBABILITY))
    }

    /// The share of `[F(y-), F(y)]` that lies in `[low, high]`.
    fn share_within(&self, low: f64, high: f64) -> f64 {
        let Self { below, probability } = *self;
        if probability < LEAST_PROBABILITY {
            return if (low..=high).contains(&below) { 1.0 } else { 0.0 };
        }
        let overlap = f64::min(below + probability, high) - f64::max(below, low);
        (overlap / probability).clamp(0.0, 1.0)
    }
}

const LEAST_PROBABILITY: f64 = 1e-15;

/// How well distributions describe what came.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// The mean logarithm of the probability that was given to what came; more is better.
    pub log_score: f64,
    /// The share of the non-randomised PIT in each of twenty equal bins, 0.05 if all is well: a U says too narrow, a
    /// hump too wide, a slope biased.
    pub pit: Vec<f64>,
    /// What central intervals of 80 and 90 percent covered.
    pub coverage: Vec<Coverage>,
}

/// What the central intervals of a level covered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Coverage {
    /// The level in percent.
    pub percent: u32,
    /// The mean share of `[F(y-), F(y)]` in the central interval of the PIT: the level itself under the true model.
    pub pit_share: f64,
    /// The share of customers whose number lies between the quantiles, ends included: the level or more under the true
    /// model, far more where most numbers are 0.
    pub plain_share: f64,
}

const BINS: u32 = 20;

impl Calibration {
    /// Judges the places of what came; there must be one at least.
    pub(super) fn of(places: &[Place]) -> Self {
        let mean = |of: &dyn Fn(&Place) -> f64| places.iter().map(of).sum::<f64>() / places.len() as f64;
        let bin = |index: u32| {
            let edge = |index| f64::from(index) / f64::from(BINS);
            mean(&|place| place.share_within(edge(index), edge(index + 1)))
        };
        let coverage = |percent: u32| {
            let tail = f64::from(100 - percent) / 200.0;
            // Q(tail) <= y is F(y) >= tail, and y <= Q(1 - tail) is F(y-) < 1 - tail.
            let is_within =
                |place: &Place| place.below + place.probability >= tail && place.below < 1.0 - tail;
            Coverage {
                percent,
                pit_share: mean(&|place| place.share_within(tail, 1.0 - tail)),
                plain_share: mean(&|place| f64::from(u8::from(is_within(place)))),
            }
        };
        Self {
            log_score: mean(&Place::log_score),
            pit: (0..BINS).map(bin).collect(),
            coverage: [80, 90].map(coverage).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(below: f64, probability: f64) -> Place {
        Place { below, probability }
    }

    #[test]
    fn the_true_model_covers_what_it_promises_exactly() {
        // P = .7, .2, .1, in these proportions.
        let places: Vec<Place> = [(7, place(0.0, 0.7)), (2, place(0.7, 0.2)), (1, place(0.9, 0.1))]
            .into_iter()
            .flat_map(|(times, place)| std::iter::repeat_n(place, times))
            .collect();

        let found = Calibration::of(&places);

        assert!(found.pit.iter().all(|share| (share - 0.05).abs() < 1e-12), "{:?}", found.pit);
        let [of_80, of_90] = found.coverage[..] else { panic!("two levels") };
        assert!((of_80.pit_share - 0.8).abs() < 1e-12 && (of_90.pit_share - 0.9).abs() < 1e-12);
        // Q(.9) = 1 and Q(.95) = 2: whole numbers cover more.
        assert!((of_80.plain_share - 0.9).abs() < 1e-12, "{of_80:?}");
        assert!((of_90.plain_share - 1.0).abs() < 1e-12);
        let score = 0.7 * libm::log(0.7) + 0.2 * libm::log(0.2) + 0.1 * libm::log(0.1);
        assert!((found.log_score - score).abs() < 1e-12);
    }

    #[test]
    fn what_was_thought_impossible_costs_a_lot_but_not_everything() {
        let found = Calibration::of(&[place(1.0, 0.0), place(0.0, 1.0)]);

        assert!((found.log_score - 0.5 * libm::log(1e-15)).abs() < 1e-12);
        assert!((found.coverage[1].pit_share - 0.45).abs() < 1e-12);
        assert!((found.coverage[1].plain_share - 0.5).abs() < 1e-12);
        assert!((found.pit.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
