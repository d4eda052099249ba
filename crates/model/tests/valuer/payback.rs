//! When the money for a customer is back, and how probable it is that it ever comes back.

use model::{
    Account, GammaGamma, Models, Parameters, PeriodRate, Sbg, Terms, Value, ValueTerms, Valuer,
    WEEKS_PER_YEAR,
};

use crate::accounts::{LAST_DAY, bg_nbd, buyer, contract, models, summary, valuer, with};

#[test]
fn money_is_back_in_the_first_month_whose_expectation_reaches_the_cost() {
    let valuer = valuer();
    let account = with(buyer(summary(5, 300, 330)), &[contract(0, 1, 3, 5)]);
    let value_at = |cost| {
        let account = Account { acquisition_cost_minor: Some(cost), ..account.clone() };
        valuer.value(&account).unwrap()
    };
    let Value { historic_minor, purchases, contracts, .. } = value_at(0);
    let total = purchases.plus(&contracts);
    let months = |cost| value_at(cost).payback.unwrap().months;

    assert_eq!(months(historic_minor), Some(0));
    assert_eq!(months(historic_minor + 1), Some(1));
    for (total, year) in [(total.months_12, 12), (total.months_24, 24), (total.months_36, 36)] {
        assert_eq!(months(historic_minor + total - 1), Some(year));
        assert_ne!(months(historic_minor + total + 1), Some(year));
    }
    assert_eq!(months(historic_minor + total.months_36 + 1), None);
    assert_eq!(valuer.value(&account).unwrap().payback, None);
}

#[test]
fn months_within_a_year_are_those_of_the_models() {
    let valuer = valuer();
    let summary = summary(5, 300, 330);
    let monthly = contract(0, 1, 3, 5);
    let delta = Terms::default().delta();
    let mean = models().purchases.gamma_gamma.mean_spend(5, 3_000.0).unwrap();
    let rate = PeriodRate::of_annual(0.15, 1.0 / 12.0).unwrap();
    let now = 2_000.0 * (-delta * 5.0 / 7.0).exp();
    for month in 1..=36 {
        let weeks = f64::from(month) / 12.0 * WEEKS_PER_YEAR;
        let purchases = bg_nbd().discounted_purchases(5, summary.recency(), summary.age(), weeks, delta);
        let payments = Sbg::new(0.7, 6.0).unwrap().residual_lifetime_within(3, month, rate);
        let total = mean * purchases + now * payments;
        let account = with(buyer(summary), &[monthly]);
        let months = |more: f64| {
            let cost = account.spend_minor as f64 + (total + more).floor();
            let account = Account { acquisition_cost_minor: Some(cost as i64), ..account.clone() };
            valuer.value(&account).unwrap().payback.unwrap().months
        };

        assert_eq!(months(0.0), Some(month as u8));
        assert_ne!(months(1.0), Some(month as u8));
    }
}

#[test]
fn an_infinite_variance_leaves_no_interval_and_a_chance_of_payback() {
    let heavy = Parameters { gamma_gamma: GammaGamma::new(6.0, 1.5, 900.0).unwrap(), ..models().purchases };
    let valuer = Valuer::new(Models { purchases: heavy, ..models() }, ValueTerms::default(), LAST_DAY);
    let chance = |cost: i64| {
        let account = with(buyer(summary(0, 0, 90)), &[contract(0, 1, 3, 4)]);
        let account = Account { acquisition_cost_minor: Some(cost), ..account };
        let value = valuer.value(&account).unwrap();
        assert_eq!(value.intervals, None);
        assert_eq!(value.confidence.relative_width, None);
        value.payback.unwrap().probability
    };

    let chances = [0, 10_000, 40_000, 400_000].map(chance);

    assert!(chances.is_sorted_by(|sooner, later| sooner > later), "{chances:?}");
    assert!(chances[0] >= 1.0 && chances[3] > 0.0);
}
