//! A season and its models found again from what they generated, and what is needed for that.

use std::collections::BTreeMap;

use model::fit::{self, Fit};
use model::{BgNbd, PurchaseCounts, Season, SeasonError, Summary};

use crate::customers::{Customer, FIRST_DAY, LAST_DAY, bookings, counts, simulate};
use crate::weddings::{NEW_YEAR_2016, NEW_YEAR_2020, NEW_YEAR_2024, wedding_season};

#[test]
fn the_season_is_found_again_although_the_base_grows_and_ages() {
    let season = wedding_season();
    let customers = simulate(&bookings(), &season, 40_000, 1);

    let found = Season::estimate(&counts(&customers)).unwrap();

    let repeats = repeats_by_week(&customers);
    let mut chi_square = 0.0;
    for (week, repeats) in repeats.iter().enumerate() {
        let (was, is) = (season.index()[week], found.index()[week]);
        let standard_error = 0.75 / f64::sqrt(*repeats);
        let z = (is / was).ln() / standard_error;
        chi_square += z * z;
        println!("week {week:2}: {was:.4} {is:.4} {repeats:6.0} purchases, {z:5.2} standard errors");
    }
    println!("mean square of the standard errors: {:.2}", chi_square / 52.0);
    assert!(chi_square / 52.0 < 2.0);
    let naive = naive_index(&customers);
    let off = |index: &[f64; Season::WEEKS]| {
        (0..Season::WEEKS).map(|week| (index[week] - season.index()[week]).abs()).sum::<f64>() / 52.0
    };
    println!("mean absolute error {:.4}, of plain counts {:.4}", off(found.index()), off(&naive));
}

#[test]
fn no_season_is_found_where_there_is_none() {
    let customers = simulate(&bookings(), &Season::none(), 40_000, 2);

    let found = Season::estimate(&counts(&customers)).unwrap();

    let repeats = repeats_by_week(&customers);
    let worst = (0..Season::WEEKS)
        .map(|week| found.index()[week].ln().abs() * f64::sqrt(repeats[week]) / 0.75)
        .fold(0.0, f64::max);
    println!("worst week: {worst:.2} standard errors");
    assert!(worst < 4.0);
}

#[test]
fn parameters_are_recovered_in_the_seasons_time() {
    let model = bookings();
    let season = wedding_season();
    let customers = simulate(&model, &season, 40_000, 3);
    let summaries: Vec<Summary> = customers.iter().map(Customer::summary).collect();
    let fitted = |season: &Season| {
        fit::bg_nbd(&fit::rows_in_season(summaries.iter().copied(), season, LAST_DAY).0).unwrap()
    };
    let z = |fit: &Fit<BgNbd>| {
        let found = [fit.model.r(), fit.model.alpha(), fit.model.a(), fit.model.b()];
        let was = [model.r(), model.alpha(), model.a(), model.b()];
        let z: [f64; 4] = std::array::from_fn(|i| (found[i] - was[i]) / fit.standard_errors[i]);
        println!("{found:.4?}, standard errors from the truth: {z:.2?}, ln L {:.1}", fit.log_likelihood);
        z.iter().fold(0.0, |worst: f64, z| worst.max(z.abs()))
    };

    let estimated = Season::estimate(&counts(&customers)).unwrap();

    assert!(z(&fitted(&season)) < 3.0);
    assert!(z(&fitted(&estimated)) < 3.0);
    assert!(z(&fitted(&Season::none())) > 5.0);
}

#[test]
fn two_years_and_enough_purchases_are_needed() {
    let mut counts = PurchaseCounts::new(NEW_YEAR_2020, NEW_YEAR_2020 + 2000).unwrap();
    assert_eq!(Season::estimate(&counts), Err(SeasonError::TooFewDays { found: 0, needed: 731 }));

    counts.customer(NEW_YEAR_2020 + 1500);
    let short = Season::estimate(&counts);
    counts.customer(NEW_YEAR_2020 + 1000);
    counts.customer(NEW_YEAR_2020 - 1);
    counts.customer(NEW_YEAR_2020 + 2001);
    counts.repeat(NEW_YEAR_2020 + 1000, NEW_YEAR_2020 + 1001);
    counts.repeat(NEW_YEAR_2020 + 1000, NEW_YEAR_2020 + 1000);
    counts.repeat(NEW_YEAR_2020 + 1000, NEW_YEAR_2020 + 2001);
    let quiet = Season::estimate(&counts);

    let message = "season: 501 days from the first purchase are too few, at least 731 are needed";
    assert_eq!(short.unwrap_err().to_string(), message);
    assert_eq!(quiet, Err(SeasonError::TooFewRepeats { found: 1, needed: 520 }));
    assert!(matches!(PurchaseCounts::new(1, 0), Err(SeasonError::PeriodOutOfRange { found: 0, .. })));
    assert!(PurchaseCounts::new(i64::MIN, i64::MAX).is_err());
}

#[test]
fn a_week_without_any_purchase_keeps_its_place() {
    // Everything is bought in one week of the year.
    let mut counts = PurchaseCounts::new(NEW_YEAR_2016, NEW_YEAR_2024 - 1).unwrap();
    for customer in 0..2000_i64 {
        let first_day = NEW_YEAR_2016 + customer % 1000;
        counts.customer(first_day);
        for year in 3..8 {
            counts.repeat(first_day, NEW_YEAR_2016 + year * 365 + 180);
        }
    }

    let season = Season::estimate(&counts).unwrap();

    assert!(season.index().iter().all(|&index| index > 0.0));
    let most = season.index().iter().fold(0.0, |most: f64, &index| most.max(index));

    assert!(most > 10.0);
}

#[test]
fn counting_apart_is_counting_together() {
    let customers = simulate(&bookings(), &wedding_season(), 500, 5);
    let (one, other) = customers.split_at(200);

    let mut merged = counts(other);
    merged.merge(&counts(one));

    assert_eq!(merged, counts(&customers));
}

#[test]
fn counting_customers_by_their_days_is_counting_them_one_by_one() {
    let customers = simulate(&bookings(), &wedding_season(), 500, 5);
    let mut customers_by_days = BTreeMap::new();
    for customer in &customers {
        let days = customer.observed();
        for &day in days {
            *customers_by_days.entry((days[0], day)).or_default() += 1;
        }
    }

    let mut together = PurchaseCounts::new(FIRST_DAY, LAST_DAY).unwrap();
    for ((came, day), customers) in customers_by_days {
        together.customers_on(came, day, customers);
    }

    assert_eq!(together, counts(&customers));
}

fn repeats_by_week(customers: &[Customer]) -> [f64; Season::WEEKS] {
    let mut repeats = [0.0; Season::WEEKS];
    for customer in customers {
        for &day in &customer.observed()[1..] {
            let year_starts = [0, 365, 731, 1096, 1461].map(|start| FIRST_DAY + start);
            let start = year_starts.iter().rfind(|&&start| start <= day).unwrap();
            repeats[usize::min((day - start) as usize / 7, 51)] += 1.0;
        }
    }
    repeats
}

fn naive_index(customers: &[Customer]) -> [f64; Season::WEEKS] {
    *Season::of_activity(&repeats_by_week(customers).map(|repeats| repeats + 1.0)).unwrap().index()
}
