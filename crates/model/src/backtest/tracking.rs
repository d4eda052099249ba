//! Week by week: what was bought, and what models say was to be expected.

use rayon::prelude::*;
use serde::Serialize;

use super::share::ratio;
use super::{Contender, Outcome};

/// How a model follows the purchases of the base known at the origin, from its first customer to the holdout's end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tracking {
    /// The weeks; the origin lies between the weeks -1 and 0.
    pub weeks: Vec<Week>,
    /// Over the holdout, `sum |forecast - actual| / sum actual` of the weeks (incremental tracking error).
    pub incremental_wape: Option<f64>,
    /// Over the holdout's weeks, the mean of `|forecast - actual| / actual` of what came up to then (cumulative tracking
    /// error).
    pub cumulative_mape: Option<f64>,
    /// `forecast / actual - 1` of everything from the first purchase to the end of the holdout, without regard to who
    /// bought what (the tracking of Fader, Hardie & Lee 2005, section 4.2).
    pub unconditional_bias: Option<f64>,
}

/// A week.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Week {
    /// Weeks after the origin; negative in the calibration.
    pub week: i32,
    /// Repeat purchases that came.
    pub actual: f64,
    /// Repeat purchases expected of customers of these ages, without regard to what they did.
    pub unconditional: f64,
    /// Purchases expected at the origin; `None` before it.
    pub forecast: Option<f64>,
}

/// The base known at an origin, as the tracking needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cohort {
    /// The origin: the first day after the calibration, since 1970-01-01.
    pub origin_day: i64,
    /// The length of the holdout.
    pub horizon_weeks: u32,
    /// The days of repeat purchases of these customers, each as often as it happened, before the holdout's end.
    pub repeat_days: Vec<i64>,
}

/// Follows the base with a model.
pub fn track(cohort: &Cohort, outcomes: &[Outcome], contender: &Contender) -> Tracking {
    let oldest = outcomes.iter().map(|outcome| outcome.calibration.age_days).max().unwrap_or(0);
    // Somebody of age 0 came on the day before the origin.
    let before = (oldest + 1).div_ceil(7) as i32;
    let numbers = -before..cohort.horizon_weeks as i32;

    let mut actual = vec![0.0; numbers.len()];
    for day in &cohort.repeat_days {
        let week = (day - cohort.origin_day).div_euclid(7) + i64::from(before);
        if let Some(count) = usize::try_from(week).ok().and_then(|week| actual.get_mut(week)) {
            *count += 1.0;
        }
    }
    let unconditional = unconditional(outcomes, contender, &numbers);
    let forecast = contender.cumulative(outcomes, cohort.horizon_weeks);
    let forecast = differences(&forecast);
    let weeks: Vec<Week> = numbers
        .zip(actual.iter().zip(differences(&unconditional)))
        .map(|(week, (&actual, unconditional))| {
            let forecast = usize::try_from(week).ok().map(|week| forecast[week]);
            Week { week, actual, unconditional, forecast }
        })
        .collect();
    Tracking::of(weeks)
}

impl Tracking {
    fn of(weeks: Vec<Week>) -> Self {
        let (mut error, mut relative, mut counted) = (0.0, 0.0, 0.0);
        let (mut forecast_sum, mut actual_sum) = (0.0, 0.0);
        for week in &weeks {
            let Some(forecast) = week.forecast else { continue };
            forecast_sum += forecast;
            actual_sum += week.actual;
            error += (forecast - week.actual).abs();
            if let Some(share) = ratio((forecast_sum - actual_sum).abs(), actual_sum) {
                relative += share;
                counted += 1.0;
            }
        }
        let total: f64 = weeks.iter().map(|week| week.actual).sum();
        let unconditional: f64 = weeks.iter().map(|week| week.unconditional).sum();
        Self {
            incremental_wape: ratio(error, actual_sum),
            cumulative_mape: ratio(relative, counted),
            unconditional_bias: ratio(unconditional - total, total),
            weeks,
        }
    }
}

/// What is expected up to the end of each week of customers who came when these did.
fn unconditional(outcomes: &[Outcome], contender: &Contender, weeks: &std::ops::Range<i32>) -> Vec<f64> {
    let oldest = outcomes.iter().map(|outcome| outcome.calibration.age_days).max().unwrap_or(0);
    let mut customers = vec![0.0; oldest as usize + 1];
    for outcome in outcomes {
        customers[outcome.calibration.age_days as usize] += 1.0;
    }
    let last = i64::from(oldest) + 7 * i64::from(weeks.end);
    let of_age: Vec<f64> =
        (0..=last).into_par_iter().map(|days| contender.expected_of_new(days as f64 / 7.0)).collect();
    weeks
        .clone()
        .map(|week| {
            let after = 7 * (i64::from(week) + 1);
            (0..)
                .zip(&customers)
                .map(|(age, &count): (i64, &f64)| {
                    usize::try_from(age + after).map_or(0.0, |days| count * of_age[days])
                })
                .sum()
        })
        .collect()
}

fn differences(cumulative: &[f64]) -> Vec<f64> {
    let before = std::iter::once(&0.0).chain(cumulative);
    cumulative.iter().zip(before).map(|(sum, before)| sum - before).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_weeks_are_those_computed_by_hand() {
        let week = |week, actual, unconditional, forecast| Week { week, actual, unconditional, forecast };

        let tracking = Tracking::of(vec![
            week(-1, 4.0, 5.0, None),
            week(0, 2.0, 2.0, Some(3.0)),
            week(1, 4.0, 2.0, Some(3.0)),
        ]);

        let close = |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-12);
        close(tracking.incremental_wape, 2.0 / 6.0);
        close(tracking.cumulative_mape, 0.5 * (0.5 + 0.0));
        close(tracking.unconditional_bias, -0.1);
    }

    #[test]
    fn weekly_numbers_are_differences_of_sums() {
        assert_eq!(differences(&[1.0, 3.0, 3.5]), [1.0, 2.0, 0.5]);
    }
}
