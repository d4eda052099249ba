//! How far numbers were off: in total, by tenth of the base, and for each customer.

use serde::Serialize;

use super::gain::{Ranking, order};
use super::share::ratio;

/// How far the predictions of one quantity were off.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measures {
    /// The total that was forecast.
    pub forecast: f64,
    /// The total that came.
    pub actual: f64,
    /// Prediction over actual total, less 1: below 0 too little was forecast.
    pub bias: Option<f64>,
    /// The tenths of the base, those with the highest predictions first.
    pub deciles: Vec<Decile>,
    /// `sum |forecast - actual| / sum actual` over the tenths.
    pub decile_wape: Option<f64>,
    /// The mean over the tenths of `|forecast - actual| / actual`; tenths in which nothing came are left out.
    pub decile_mape: Option<f64>,
    /// The mean absolute error of a customer.
    pub mae: f64,
    /// The root of the mean squared error of a customer.
    pub rmse: f64,
    /// `sum |forecast - actual| / sum actual` over the customers.
    pub individual_wape: Option<f64>,
    /// Pearson's correlation of forecast and actual over the customers.
    pub correlation: Option<f64>,
    /// How well the predictions rank the customers.
    pub ranking: Ranking,
}

/// A tenth of the base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Decile {
    /// Its customers.
    pub customers: u64,
    /// What was forecast for them.
    pub forecast: f64,
    /// What came.
    pub actual: f64,
}

pub(super) const DECILES: usize = 10;

impl Measures {
    /// Holds predictions against what came.
    pub(super) fn of(forecast: &[f64], actual: &[f64]) -> Self {
        let pairs = || forecast.iter().zip(actual);
        let customers = actual.len().max(1) as f64;
        let (forecast_total, actual_total) = (forecast.iter().sum::<f64>(), actual.iter().sum::<f64>());
        let absolute: f64 = pairs().map(|(f, a)| (f - a).abs()).sum();
        let squared: f64 = pairs().map(|(f, a)| (f - a) * (f - a)).sum();
        let order = order(forecast);
        let deciles = deciles(&order, forecast, actual);
        Self {
            forecast: forecast_total,
            actual: actual_total,
            bias: bias(forecast_total, actual_total),
            decile_wape: wape(&deciles),
            decile_mape: mape(&deciles),
            deciles,
            mae: absolute / customers,
            rmse: libm::sqrt(squared / customers),
            individual_wape: ratio(absolute, actual_total),
            correlation: correlation(forecast, actual),
            ranking: Ranking::of(&order, forecast, actual),
        }
    }
}

/// The tenth to which the customer at a place of the order belongs.
pub(super) fn decile_at(place: usize, customers: usize) -> usize {
    place * DECILES / customers
}

fn deciles(order: &[usize], forecast: &[f64], actual: &[f64]) -> Vec<Decile> {
    let mut deciles = vec![Decile::default(); DECILES];
    for (place, &customer) in order.iter().enumerate() {
        let decile = &mut deciles[decile_at(place, order.len())];
        decile.customers += 1;
        decile.forecast += forecast[customer];
        decile.actual += actual[customer];
    }
    deciles
}

pub(super) fn wape(deciles: &[Decile]) -> Option<f64> {
    let error: f64 = deciles.iter().map(|decile| (decile.forecast - decile.actual).abs()).sum();
    ratio(error, deciles.iter().map(|decile| decile.actual).sum())
}

fn mape(deciles: &[Decile]) -> Option<f64> {
    let errors: Vec<f64> = deciles
        .iter()
        .filter_map(|decile| ratio((decile.forecast - decile.actual).abs(), decile.actual))
        .collect();
    ratio(errors.iter().sum(), errors.len() as f64)
}

/// `forecast / actual - 1`.
pub(super) fn bias(forecast: f64, actual: f64) -> Option<f64> {
    ratio(forecast - actual, actual)
}

fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |z: &[f64]| z.iter().sum::<f64>() / z.len() as f64;
    let (a_mean, b_mean) = (mean(a), mean(b));
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        aa += (a - a_mean) * (a - a_mean);
        bb += (b - b_mean) * (b - b_mean);
        ab += (a - a_mean) * (b - b_mean);
    }
    ratio(ab, libm::sqrt(aa) * libm::sqrt(bb))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: Option<f64>, expected: f64) {
        assert!((actual.unwrap() - expected).abs() < 1e-12, "{actual:?} is not {expected}");
    }

    #[test]
    fn errors_are_those_computed_by_hand() {
        let measures = Measures::of(&[1.0, 0.5, 2.5], &[2.0, 0.0, 2.0]);

        close(measures.bias, 0.0);
        close(Some(measures.mae), 2.0 / 3.0);
        close(Some(measures.rmse), libm::sqrt(1.5 / 3.0));
        close(measures.individual_wape, 0.5);
        // Around the means 4/3: (-1/3, -5/6, 7/6) and (2/3, -4/3, 2/3).
        close(measures.correlation, (5.0 / 3.0) / libm::sqrt(13.0 / 6.0 * 8.0 / 3.0));
    }

    #[test]
    fn tenths_go_from_the_highest_forecast_down() {
        let forecast: Vec<f64> = (0..20).map(f64::from).collect();
        let actual: Vec<f64> = (0..20).map(|i| if i < 10 { 0.0 } else { f64::from(i) + 1.0 }).collect();

        let measures = Measures::of(&forecast, &actual);

        assert_eq!(measures.deciles.len(), 10);
        assert_eq!(measures.deciles[0], Decile { customers: 2, forecast: 37.0, actual: 39.0 });
        assert_eq!(measures.deciles[9], Decile { customers: 2, forecast: 1.0, actual: 0.0 });
        // The upper five are off by 2 each, the lower five by all that was forecast: 45.
        close(measures.decile_wape, (10.0 + 45.0) / 155.0);
        let upper = [39.0, 35.0, 31.0, 27.0, 23.0];
        close(measures.decile_mape, upper.iter().map(|actual| 2.0 / actual).sum::<f64>() / 5.0);
    }

    #[test]
    fn nothing_came_and_so_there_is_no_relative_error() {
        let measures = Measures::of(&[1.0, 1.0], &[0.0, 0.0]);

        assert_eq!((measures.bias, measures.decile_wape, measures.correlation), (None, None, None));
        assert_eq!((measures.mae, measures.ranking.gini), (1.0, None));
    }
}
