//! The judgement of one model at one origin.

use serde::Serialize;

use super::measures::bias as bias_of;
use super::{Calibration, Measures, Outcome, Place, Prediction};

/// The whole judgement of one model at one origin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assessment {
    /// Customers that were forecast.
    pub customers: u64,
    /// The numbers of purchases.
    pub count: Measures,
    /// The spend, in minor units.
    pub spend: Measures,
    /// The same totals by segment, in the order of the segments' numbers.
    pub segments: Vec<SegmentBias>,
    /// Mean numbers by the number of purchases in the calibration (conditional expectation).
    pub by_frequency: Vec<FrequencyBin>,
    /// How well the distributions describe what came; `None` for predictions without them.
    pub calibration: Option<Calibration>,
    /// What may be said in place of "85 % accuracy"; `None` without distributions or outcomes.
    pub three_figures: Option<ThreeFigures>,
}

/// How far a segment's totals were off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SegmentBias {
    /// The segment.
    pub segment: u32,
    /// Its customers.
    pub customers: u64,
    /// Prediction over actual purchases, less 1.
    pub count_bias: Option<f64>,
    /// Prediction over actual spend, less 1.
    pub spend_bias: Option<f64>,
}

/// Customers who had bought equally often.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FrequencyBin {
    /// Their repeat purchases in the calibration (`x`); the last bin holds all who had this number or more.
    pub frequency: u32,
    /// How many they are.
    pub customers: u64,
    /// Their mean purchases in the holdout.
    pub actual: f64,
    /// What was forecast.
    pub forecast: f64,
}

/// The three figures of a forecast that may stand where people ask for an accuracy; never one without the others.
///
/// They hold what they promise if the first is at least 0.85 for the portfolio and each large segment, the second at
/// least 0.85, and the third from 0.87 to 0.93.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ThreeFigures {
    /// `1 - |bias|` of the total spend.
    pub portfolio_spend: f64,
    /// `1 - |bias|` of the total number of purchases.
    pub portfolio_count: f64,
    /// The least `1 - |bias|` of the spend of a segment with at least [`LARGE_SEGMENT`] customers.
    pub worst_large_segment_spend: Option<f64>,
    /// `1 -` the decile WAPE of the spend.
    pub deciles_spend: f64,
    /// `1 -` the decile WAPE of the number of purchases.
    pub deciles_count: f64,
    /// The share of outcomes in the central 90 % of their forecast distributions, by the non-randomised PIT.
    pub coverage_90: f64,
    /// Whether all three hold on spend.
    pub all_hold: bool,
}

/// A segment is large from this number of customers on.
pub const LARGE_SEGMENT: u64 = 1_000;

/// Bins of the conditional expectation: 0 to 6 purchases, and 7 or more.
const FREQUENCY_BINS: u32 = 8;

/// Holds predictions against what came, customer by customer in the same order.
///
/// # Panics
///
/// If there are not as many predictions as outcomes.
pub fn assess(outcomes: &[Outcome], predictions: &[Prediction]) -> Assessment {
    assert_eq!(outcomes.len(), predictions.len(), "each outcome has its prediction");
    let actual: Vec<f64> = outcomes.iter().map(|outcome| f64::from(outcome.purchases)).collect();
    let expected: Vec<f64> = predictions.iter().map(|prediction| prediction.expected).collect();
    let actual_spend: Vec<f64> = outcomes.iter().map(|outcome| outcome.spend_minor as f64).collect();
    let expected_spend: Vec<f64> = predictions.iter().map(|prediction| prediction.spend_minor).collect();

    let count = Measures::of(&expected, &actual);
    let spend = Measures::of(&expected_spend, &actual_spend);
    let places: Option<Vec<Place>> = predictions.iter().map(|prediction| prediction.place).collect();
    let calibration = places.filter(|places| !places.is_empty()).map(|places| Calibration::of(&places));
    let segments = segments(outcomes, predictions);
    let three_figures =
        calibration.as_ref().and_then(|found| ThreeFigures::of(&count, &spend, &segments, found));
    Assessment {
        customers: outcomes.len() as u64,
        by_frequency: by_frequency(outcomes, predictions),
        count,
        spend,
        segments,
        calibration,
        three_figures,
    }
}

impl ThreeFigures {
    fn of(count: &Measures, spend: &Measures, segments: &[SegmentBias], found: &Calibration) -> Option<Self> {
        let closeness = |error: Option<f64>| error.map(|error| 1.0 - error.abs());
        let coverage_90 = found.coverage.iter().find(|coverage| coverage.percent == 90)?.pit_share;
        let large = segments.iter().filter(|segment| segment.customers >= LARGE_SEGMENT);
        let worst_large_segment_spend =
            large.filter_map(|segment| closeness(segment.spend_bias)).reduce(f64::min);
        let portfolio_spend = closeness(spend.bias)?;
        let deciles_spend = closeness(spend.decile_wape)?;
        let all_hold = portfolio_spend >= 0.85
            && worst_large_segment_spend.is_none_or(|worst| worst >= 0.85)
            && deciles_spend >= 0.85
            && (0.87..=0.93).contains(&coverage_90);
        Some(Self {
            portfolio_spend,
            portfolio_count: closeness(count.bias)?,
            worst_large_segment_spend,
            deciles_spend,
            deciles_count: closeness(count.decile_wape)?,
            coverage_90,
            all_hold,
        })
    }
}

/// The totals of each segment.
pub(super) fn segments(outcomes: &[Outcome], predictions: &[Prediction]) -> Vec<SegmentBias> {
    #[derive(Clone, Copy, Default)]
    struct Totals {
        customers: u64,
        count: [f64; 2],
        spend: [f64; 2],
    }
    let last = outcomes.iter().map(|outcome| outcome.segment).max();
    let mut totals = vec![Totals::default(); last.map_or(0, |last| last as usize + 1)];
    for (outcome, prediction) in outcomes.iter().zip(predictions) {
        let of = &mut totals[outcome.segment as usize];
        of.customers += 1;
        of.count[0] += prediction.expected;
        of.count[1] += f64::from(outcome.purchases);
        of.spend[0] += prediction.spend_minor;
        of.spend[1] += outcome.spend_minor as f64;
    }
    let bias = |[forecast, actual]: [f64; 2]| bias_of(forecast, actual);
    (0..)
        .zip(totals)
        .filter(|(_, of)| of.customers > 0)
        .map(|(segment, of)| SegmentBias {
            segment,
            customers: of.customers,
            count_bias: bias(of.count),
            spend_bias: bias(of.spend),
        })
        .collect()
}

fn by_frequency(outcomes: &[Outcome], predictions: &[Prediction]) -> Vec<FrequencyBin> {
    let mut bins: Vec<FrequencyBin> = (0..FREQUENCY_BINS)
        .map(|frequency| FrequencyBin { frequency, customers: 0, actual: 0.0, forecast: 0.0 })
        .collect();
    for (outcome, prediction) in outcomes.iter().zip(predictions) {
        let bin = &mut bins[outcome.calibration.frequency.min(FREQUENCY_BINS - 1) as usize];
        bin.customers += 1;
        bin.actual += f64::from(outcome.purchases);
        bin.forecast += prediction.expected;
    }
    bins.retain(|bin| bin.customers > 0);
    for bin in &mut bins {
        bin.actual /= bin.customers as f64;
        bin.forecast /= bin.customers as f64;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::super::origins::tests::outcome;
    use super::*;

    #[test]
    fn totals_are_judged_by_segment_and_by_frequency() {
        let outcomes = [outcome(0, 0, 1, 100), outcome(9, 0, 3, 300), outcome(7, 2, 5, 0)];
        let prediction = |expected, spend_minor| Prediction { expected, spend_minor, place: None };
        let predictions = [prediction(0.5, 80.0), prediction(2.5, 120.0), prediction(10.0, 5.0)];

        let assessment = assess(&outcomes, &predictions);

        assert_eq!(
            assessment.segments,
            [
                SegmentBias { segment: 0, customers: 2, count_bias: Some(-0.25), spend_bias: Some(-0.5) },
                SegmentBias { segment: 2, customers: 1, count_bias: Some(1.0), spend_bias: None },
            ]
        );
        assert_eq!(
            assessment.by_frequency,
            [
                FrequencyBin { frequency: 0, customers: 1, actual: 1.0, forecast: 0.5 },
                FrequencyBin { frequency: 7, customers: 2, actual: 4.0, forecast: 6.25 },
            ]
        );
        assert_eq!((assessment.calibration, assessment.three_figures), (None, None));
    }

    #[test]
    fn without_customers_there_is_nothing_to_judge() {
        let assessment = assess(&[], &[]);

        assert_eq!((assessment.customers, assessment.count.bias), (0, None));
        assert!(assessment.segments.is_empty() && assessment.three_figures.is_none());
    }

    #[test]
    fn an_accuracy_is_three_figures() {
        let outcomes: Vec<Outcome> = (0..40).map(|_| outcome(1, 0, 1, 100)).collect();
        let place = Some(Place { below: 0.2, probability: 0.5 });
        let predictions = vec![Prediction { expected: 0.9, spend_minor: 110.0, place }; 40];

        let figures = assess(&outcomes, &predictions).three_figures.unwrap();

        assert!((figures.portfolio_spend - 0.9).abs() < 1e-12);
        assert!((figures.portfolio_count - 0.9).abs() < 1e-12);
        assert!((figures.deciles_spend - 0.9).abs() < 1e-12);
        assert!((figures.coverage_90 - 1.0).abs() < 1e-12);
        assert_eq!(figures.worst_large_segment_spend, None);
        assert!(!figures.all_hold, "intervals that are too wide are no better than too narrow ones");
    }
}
