//! How well predictions rank the customers.

use serde::Serialize;

use super::share::ratio;

/// How much of what came was with those who were ranked first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranking {
    /// The Gini index of what came, in the order of the predictions, over the one in the order of what came: 1 is the
    /// best possible ranking, 0 is chance. Customers with equal predictions count as mixed.
    pub gini: Option<f64>,
    /// The gain curve: shares of the customers, highest forecast first, in hundredths.
    pub gain: Vec<GainPoint>,
}

/// A point of a gain curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GainPoint {
    /// A share of the customers.
    pub customers: f64,
    /// Their share of what came.
    pub actual: f64,
    /// The share that as many would have at best.
    pub best: f64,
}

const POINTS: usize = 100;

impl Ranking {
    /// Judges an order of customers by forecast.
    pub(super) fn of(by_forecast: &[usize], forecast: &[f64], actual: &[f64]) -> Self {
        let ranked = Curve::of(by_forecast, forecast, actual);
        let best = Curve::of(&order(actual), actual, actual);
        let total: f64 = actual.iter().sum();
        let point = |index: usize| {
            let customers = index as f64 / POINTS as f64;
            let share = |curve: &Curve| ratio(curve.at(customers * actual.len() as f64), total);
            Some(GainPoint { customers, actual: share(&ranked)?, best: share(&best)? })
        };
        Self {
            gini: ratio(ranked.area_above_even(), best.area_above_even()),
            gain: (0..=POINTS).filter_map(point).collect(),
        }
    }
}

/// The customers, those with the highest forecast first; equal ones as they come.
pub(super) fn order(forecast: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..forecast.len()).collect();
    order.sort_by(|&a, &b| forecast[b].total_cmp(&forecast[a]));
    order
}

/// What came, summed up over the customers in an order: straight where customers are equal.
struct Curve(Vec<(f64, f64)>);

impl Curve {
    fn of(order: &[usize], key: &[f64], actual: &[f64]) -> Self {
        let mut points = vec![(0.0, 0.0)];
        let (mut customers, mut sum) = (0.0, 0.0);
        for equal in order.chunk_by(|&a, &b| key[a].total_cmp(&key[b]).is_eq()) {
            customers += equal.len() as f64;
            sum += equal.iter().map(|&customer| actual[customer]).sum::<f64>();
            points.push((customers, sum));
        }
        Self(points)
    }

    /// The area between the curve and the straight line to its end.
    fn area_above_even(&self) -> f64 {
        let below: f64 =
            self.0.windows(2).map(|pair| (pair[1].0 - pair[0].0) * 0.5 * (pair[0].1 + pair[1].1)).sum();
        let (customers, sum) = self.0[self.0.len() - 1];
        below - 0.5 * customers * sum
    }

    fn at(&self, customers: f64) -> f64 {
        let next = self.0.partition_point(|point| point.0 < customers);
        match (next.checked_sub(1).map(|last| self.0[last]), self.0.get(next)) {
            (Some(last), Some(next)) => last.1 + (next.1 - last.1) * (customers - last.0) / (next.0 - last.0),
            (None, _) => 0.0,
            (Some(last), None) => last.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gini(forecast: &[f64], actual: &[f64]) -> Option<f64> {
        Ranking::of(&order(forecast), forecast, actual).gini
    }

    #[test]
    fn the_best_ranking_has_one_chance_none_and_the_worst_minus_one() {
        let actual = [0.0, 1.0, 3.0];

        assert_eq!(gini(&[0.1, 0.2, 0.3], &actual), Some(1.0));
        assert_eq!(gini(&[1.0, 1.0, 1.0], &actual), Some(0.0));
        assert_eq!(gini(&[0.3, 0.2, 0.1], &actual), Some(-1.0));
        // 3, 0, 1 sums to 3, 3, 4: the area is 1.5 + 3 + 3.5 = 8 of at best 1.5 + 3.5 + 4 = 9; even is 6.
        assert!((gini(&[0.2, 0.1, 0.3], &actual).unwrap() - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn the_gain_curve_rises_from_nothing_to_all() {
        let forecast = [4.0, 3.0, 2.0, 1.0];
        let ranking = Ranking::of(&order(&forecast), &forecast, &[2.0, 0.0, 2.0, 0.0]);

        let at = |index: usize| (ranking.gain[index].actual, ranking.gain[index].best);
        assert_eq!(
            [at(0), at(25), at(50), at(75), at(100)],
            [(0.0, 0.0), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0), (1.0, 1.0)]
        );
        // Who are equal at best are mixed: the second hundredth has half of the first fourth's share and so on.
        assert!((ranking.gain[10].best - 0.2).abs() < 1e-12);
    }
}
