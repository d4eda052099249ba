//! The fit of both purchase models, from summaries.

use super::{Fit, FitError, PurchaseRow, SpendRow, bg_nbd, bg_nbd_from, gamma_gamma, gamma_gamma_from};
use crate::{BgNbd, GammaGamma, Parameters, Season, Summary};

/// Both fits, and whether the spend model's assumption holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostics {
    /// The purchase model, fitted on all customers.
    pub bg_nbd: Fit<BgNbd>,
    /// The spend model, fitted on those who bought again and spent something.
    pub gamma_gamma: Fit<GammaGamma>,
    /// The correlation of frequency and mean spend among the latter. Gamma-Gamma assumes none; above about 0.3 the
    /// mean spends are in doubt.
    pub spend_correlation: f64,
}

/// Fits BG/NBD on all customers, and Gamma-Gamma on those with `frequency > 0` and spend above 0.
pub fn parameters(
    summaries: impl IntoIterator<Item = Summary>,
) -> Result<(Parameters, Diagnostics), FitError> {
    parameters_in_season(summaries, &Season::none(), 0, None)
}

/// The same with BG/NBD in operational weeks of the season, for summaries that all end with `last_day`; both searches
/// begin at `start` if there is one: last night's parameters, say.
///
/// A start shortens the way and can change the last bits of where it ends.
pub fn parameters_in_season(
    summaries: impl IntoIterator<Item = Summary>,
    season: &Season,
    last_day: i64,
    start: Option<&Parameters>,
) -> Result<(Parameters, Diagnostics), FitError> {
    let (purchases, spends) = rows_in_season(summaries, season, last_day);
    let (bg_nbd, gamma_gamma) = match start {
        Some(start) => {
            (bg_nbd_from(&purchases, &start.bg_nbd)?, gamma_gamma_from(&spends, &start.gamma_gamma)?)
        }
        None => (bg_nbd(&purchases)?, gamma_gamma(&spends)?),
    };
    let parameters = Parameters { bg_nbd: bg_nbd.model, gamma_gamma: gamma_gamma.model };
    Ok((parameters, Diagnostics { bg_nbd, gamma_gamma, spend_correlation: spend_correlation(&spends) }))
}

/// Counts equal customers, for each model by what it looks at.
///
/// Customers with a single purchase differ by nothing but their age in days, and most customers are of that kind.
pub fn rows(summaries: impl IntoIterator<Item = Summary>) -> (Vec<PurchaseRow>, Vec<SpendRow>) {
    rows_in_season(summaries, &Season::none(), 0)
}

/// The same with the times in operational weeks of the season, for summaries that all end with `last_day`.
pub fn rows_in_season(
    summaries: impl IntoIterator<Item = Summary>,
    season: &Season,
    last_day: i64,
) -> (Vec<PurchaseRow>, Vec<SpendRow>) {
    let mut summaries: Vec<Summary> = summaries.into_iter().collect();

    summaries.sort_unstable_by_key(|s| (s.frequency, s.recency_days, s.age_days));
    let same = |a: &Summary, b: &Summary| {
        (a.frequency, a.recency_days, a.age_days) == (b.frequency, b.recency_days, b.age_days)
    };
    let purchase_row = |group: &[Summary]| {
        let (t_x, age) = season.times(&group[0], last_day);
        PurchaseRow { x: group[0].frequency, t_x, age, customers: group.len() as u64 }
    };
    let purchases = summaries.chunk_by(same).map(purchase_row).collect();

    summaries.retain(|s| s.frequency > 0 && s.repeat_spend_minor > 0);
    summaries.sort_unstable_by_key(|s| (s.frequency, s.repeat_spend_minor));
    let same =
        |a: &Summary, b: &Summary| (a.frequency, a.repeat_spend_minor) == (b.frequency, b.repeat_spend_minor);
    let spend_row = |group: &[Summary]| SpendRow {
        x: group[0].frequency,
        zbar: group[0].mean_spend_minor(),
        customers: group.len() as u64,
    };
    let spends = summaries.chunk_by(same).map(spend_row).collect();
    (purchases, spends)
}

/// Pearson's correlation of frequency and mean spend; 0 where either does not vary.
fn spend_correlation(rows: &[SpendRow]) -> f64 {
    let mean = |f: &dyn Fn(&SpendRow) -> f64| {
        let (sum, customers) = rows.iter().fold((0.0, 0.0), |(sum, customers), row| {
            (sum + row.customers as f64 * f(row), customers + row.customers as f64)
        });
        sum / customers
    };
    let x = mean(&|row| f64::from(row.x));
    let z = mean(&|row| row.zbar);
    let covariance = mean(&|row| (f64::from(row.x) - x) * (row.zbar - z));
    let x_variance = mean(&|row| (f64::from(row.x) - x) * (f64::from(row.x) - x));
    let z_variance = mean(&|row| (row.zbar - z) * (row.zbar - z));
    let scale = libm::sqrt(x_variance * z_variance);
    if scale > 0.0 { covariance / scale } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(frequency: u32, recency_days: u32) -> Summary {
        let repeat_spend_minor = i64::from(frequency) * 1000;
        Summary { frequency, recency_days, age_days: 300, repeat_spend_minor }
    }

    fn message(summaries: impl IntoIterator<Item = Summary>) -> String {
        parameters(summaries).unwrap_err().to_string()
    }

    #[test]
    fn too_few_customers_are_counted_in_the_error() {
        let error = message(vec![summary(2, 100); 19]);

        assert_eq!(error, "fit bg_nbd: 19 customers are too few, at least 20 are needed");
        assert!(message([]).contains("0 customers are too few"));
    }

    #[test]
    fn customers_who_never_came_back_teach_nothing() {
        assert_eq!(message(vec![summary(0, 0); 50]), "fit the purchases: no customer made a repeat purchase");
    }

    #[test]
    fn customers_who_are_all_the_same_have_no_most_likely_model() {
        let error = message(vec![summary(5, 290); 50]);

        assert!(error.starts_with("fit bg_nbd: did not converge"), "{error}");
    }

    #[test]
    fn an_impossible_row_is_named() {
        let possible = PurchaseRow { x: 1, t_x: 3.0, age: 9.0, customers: 50 };

        for impossible in [
            PurchaseRow { t_x: 10.0, ..possible },
            PurchaseRow { x: 0, ..possible },
            PurchaseRow { age: f64::NAN, ..possible },
        ] {
            let error = bg_nbd(&[possible, impossible]).unwrap_err();
            assert_eq!(error, FitError::ImpossibleRow { model: "bg_nbd", row: 1 });
        }
    }

    #[test]
    fn spends_with_too_heavy_a_tail_are_refused() {
        // One purchase each, log-logistic with exponent 0.7: P(spend > z) falls like z^-0.7.
        let spend = |share: f64| 100.0 * libm::pow(share / (1.0 - share), 1.0 / 0.7);
        let row = |i: u32| SpendRow { x: 1, zbar: spend((f64::from(i) + 0.5) / 200.0), customers: 1 };
        let rows: Vec<SpendRow> = (0..200).map(row).collect();

        let error = gamma_gamma(&rows).unwrap_err();

        assert!(matches!(error, FitError::SpendHasNoMean { .. }), "{error}");
    }
}
