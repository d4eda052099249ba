//! What was predicted of one customer, by a model or without one.

use super::Place;
use crate::Summary;

/// What was predicted of one customer over the horizon, before anything of it was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Expected purchase days.
    pub expected: f64,
    /// Expected spend, in minor units, not discounted.
    pub spend_minor: f64,
    /// Where the number that came lies in the predicted distribution; `None` if only a number was predicted.
    pub place: Option<Place>,
}

impl Prediction {
    /// Predicts that nobody buys any more, which is what most do.
    pub fn nothing() -> Self {
        Self { expected: 0.0, spend_minor: 0.0, place: None }
    }

    /// Predicts that everybody goes on at the rate he had, `x / T` purchases and `x zbar / T` of spend a week.
    pub fn own_rate(summary: &Summary, horizon_weeks: f64) -> Self {
        let weeks = summary.age();
        if weeks == 0.0 {
            return Self::nothing();
        }
        Self {
            expected: f64::from(summary.frequency) / weeks * horizon_weeks,
            spend_minor: summary.repeat_spend_minor as f64 / weeks * horizon_weeks,
            place: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::origins::tests::outcome;
    use super::*;

    #[test]
    fn own_rate_goes_on_as_before() {
        let summary = outcome(4, 0, 0, 0).calibration;

        let prediction = Prediction::own_rate(&summary, 39.0);

        assert!((prediction.expected - 4.0 / 20.0 * 39.0).abs() < 1e-12);
        assert!((prediction.spend_minor - 4_000.0 / 20.0 * 39.0).abs() < 1e-9);
        let new = Summary { age_days: 0, ..outcome(0, 0, 0, 0).calibration };
        assert_eq!(Prediction::own_rate(&new, 39.0), Prediction::nothing());
    }
}
