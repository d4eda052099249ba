//! Forecasts in a season: the same as ever without one, exact over one, and right where others are wrong.

use model::fit;
use model::{BgNbd, GammaGamma, Parameters, Scorer, Season, Summary, Terms};

use crate::customers::{Customer, LAST_DAY, bookings, counts, simulate};
use crate::weddings::{NEW_YEAR_2020, NEW_YEAR_2024, wedding_season};

#[test]
fn without_a_season_every_bit_stays() {
    let none = Season::none();
    let terms = Terms::new(52.1775, 0.15).unwrap();
    let (plain, seasonal) =
        (Scorer::new(cdnow(), terms), Scorer::in_season(cdnow(), terms, &none, NEW_YEAR_2024 + 77));
    let summaries: Vec<Summary> = (0..3000_u32)
        .map(|i| {
            let (frequency, age_days) = (i % 40, 40 + i * 104_729 % 5000);
            let recency_days = if frequency == 0 { 0 } else { frequency + i % (age_days - frequency + 1) };
            Summary { frequency, recency_days, age_days, repeat_spend_minor: i64::from(frequency) * 999 }
        })
        .collect();

    for summary in &summaries {
        assert_eq!(none.times(summary, 20_001), (summary.recency(), summary.age()));
        let (was, is) = (plain.value(summary).unwrap(), seasonal.value(summary).unwrap());
        let alive = cdnow().bg_nbd.alive_curve(summary.frequency, &terms).purchases(summary.age());
        let p_alive = cdnow().bg_nbd.p_alive(summary.frequency, summary.recency(), summary.age());
        assert_eq!(was, is);
        assert_eq!(is.expected_purchases.to_bits(), (p_alive * alive.expected).to_bits());
        let curve = cdnow().bg_nbd.seasonal_curve(summary.frequency, &none.operational_horizon(5, &terms));
        assert_eq!(curve.purchases_over(summary.age(), &none.operational_horizon(5, &terms)), alive);
    }
    for weeks in [0.0, 0.1, 1.0 / 3.0, 52.1775, 5217.75] {
        assert_eq!(none.horizon(NEW_YEAR_2020, weeks).to_bits(), weeks.to_bits());
    }
    assert_eq!(fit::rows(summaries.iter().copied()), fit::rows_in_season(summaries, &none, NEW_YEAR_2024));
}

#[test]
fn discounting_over_a_season_is_exact_and_month_steps_are_close() {
    let season = wedding_season();
    let terms = Terms::new(52.1775, 0.15).unwrap();
    let model = cdnow().bg_nbd;
    let mut worst_expected = 0.0_f64;
    let (mut worst_exact, mut worst_months, mut worst_weeks) = (0.0_f64, 0.0_f64, 0.0_f64);

    for last_day in [NEW_YEAR_2024 + 59, NEW_YEAR_2024 + 180, NEW_YEAR_2024 + 290] {
        let horizon = season.operational_horizon(last_day, &terms);
        for (x, age) in [(0, 0.0), (0, 30.0), (3, 0.5), (8, 50.0), (60, 200.0), (3000, 400.0)] {
            let alive = |weeks: f64| {
                model
                    .alive_curve(x, &Terms::new(season.horizon(last_day, weeks), 0.0).unwrap())
                    .purchases(age)
            };
            // Steps with the discount of their middle; the error falls with the square of the step.
            let steps = |count: u32| {
                let at = |step: u32| terms.horizon_weeks() * f64::from(step) / f64::from(count);
                let mut before = 0.0;
                (1..=count)
                    .map(|step| {
                        let until = alive(at(step)).expected;
                        let part = until - before;
                        before = until;
                        part * (-terms.delta() * 0.5 * (at(step - 1) + at(step))).exp()
                    })
                    .sum::<f64>()
            };

            let exact = model.seasonal_curve(x, &horizon).purchases_over(age, &horizon);

            let fine = steps(1000);
            let in_one = alive(terms.horizon_weeks()).expected;
            worst_expected = worst_expected.max((exact.expected / in_one - 1.0).abs());
            assert!(exact.discounted < exact.expected);
            worst_exact = worst_exact.max((exact.discounted / fine - 1.0).abs());
            worst_months = worst_months.max((steps(12) / exact.discounted - 1.0).abs());
            worst_weeks = worst_weeks.max((steps(52) / exact.discounted - 1.0).abs());
        }
    }

    println!("expected purchases: {worst_expected:.1e}");
    assert!(worst_expected < 1e-12, "{worst_expected:.1e}");
    println!(
        "discounted purchases against 1000 steps: {worst_exact:.1e}; months {worst_months:.1e}, weeks {worst_weeks:.1e}"
    );
    assert!(worst_exact < 2e-7, "{worst_exact:.1e}");
    assert!(worst_months < 1e-3, "{worst_months:.1e}");
}

#[test]
fn models_at_the_ends_of_their_domain_are_finite_in_any_season() {
    let mut activity = [1.0; Season::WEEKS];
    activity[30] = 5000.0;
    let extreme = Season::of_activity(&activity).unwrap();
    let ends = [1e-7, 1e7];
    for corner in 0..16 {
        let [r, alpha, a, b] = std::array::from_fn(|i| ends[corner >> i & 1]);
        let model = BgNbd::new(r, alpha, a, b).unwrap();
        for (x, weeks, rate) in [(0, 1e-300, 0.0), (3, 52.0, 0.15), (u32::MAX, 300.0, 10.0)] {
            for season in [&extreme, &wedding_season()] {
                let horizon =
                    season.operational_horizon(NEW_YEAR_2024 + 100, &Terms::new(weeks, rate).unwrap());
                let curve = model.seasonal_curve(x, &horizon);
                for age in [0.0, 40.0, 6e8] {
                    let purchases = curve.purchases_over(age, &horizon);
                    assert!(
                        purchases.expected.is_finite() && purchases.expected >= 0.0,
                        "{model:?} {x} {purchases:?}"
                    );
                    assert!(
                        (0.0..=purchases.expected).contains(&purchases.discounted),
                        "{model:?} {x} {purchases:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn who_bought_last_summer_is_not_dead_in_february() {
    // A few bookings every summer, and a loyal base.
    let model = BgNbd::new(1.0, 40.0, 0.4, 3.0).unwrap();
    let customers = simulate(&model, &wedding_season(), 20_000, 6);
    let february = LAST_DAY + 45;
    let summaries: Vec<Summary> = customers.iter().map(|customer| customer.summary_on(february)).collect();
    let season = Season::estimate(&counts(&customers)).unwrap();
    let fitted = |season: &Season| {
        fit::bg_nbd(&fit::rows_in_season(summaries.iter().copied(), season, february).0).unwrap().model
    };
    let (seasonal, plain) = (fitted(&season), fitted(&Season::none()));
    let p_alive = |summary: &Summary| {
        let (t_x, age) = season.times(summary, february);
        (
            seasonal.p_alive(summary.frequency, t_x, age),
            plain.p_alive(summary.frequency, summary.recency(), summary.age()),
        )
    };

    for (fewest, underrated) in [(1, 0.15), (6, 0.25)] {
        let (mut n, mut with, mut without, mut alive) = (0.0, 0.0, 0.0, 0.0);
        for (customer, summary) in customers.iter().zip(&summaries) {
            let bought_last_summer = (160..280).contains(&(summary.age_days - summary.recency_days));
            if summary.frequency >= fewest && bought_last_summer {
                let p = p_alive(summary);
                (n, with, without) = (n + 1.0, with + p.0, without + p.1);
                alive += f64::from(customer.is_alive_on(february));
            }
        }
        let (with, without, alive) = (with / n, without / n, alive / n);
        println!("{n} customers who bought last summer, {fewest} times or more again in their lives:");
        println!("    {alive:.3} alive; expected {with:.3} with the season, {without:.3} without");
        assert!((with - alive).abs() < 4.0 * f64::sqrt(alive * (1.0 - alive) / n));
        assert!(without < alive - underrated);
    }

    for (summers, each) in [(2, 1), (4, 1), (1, 4), (2, 4), (4, 4), (4, 8)] {
        let first_day = LAST_DAY - 365 * (summers - 1) - 205;
        let last_purchase = LAST_DAY - 205 + if each > 1 { 60 } else { 0 };
        let summary = Summary {
            frequency: (summers * each - 1) as u32,
            recency_days: (last_purchase - first_day) as u32,
            age_days: (february - first_day) as u32,
            repeat_spend_minor: 0,
        };
        let (with, without) = p_alive(&summary);
        println!("{summers} summers, {each} bookings each: {with:.3} with the season, {without:.3} without");
        assert!(with > 0.65 && without < with - 0.05);
        assert!(each < 4 || without < with - 0.2);
    }
}

#[test]
fn forecasts_by_quarter_are_unbiased_with_the_season_and_not_without() {
    let customers = simulate(&bookings(), &wedding_season(), 40_000, 4);
    let summaries: Vec<Summary> = customers.iter().map(Customer::summary).collect();
    let forecast = |season: &Season| {
        let (rows, _) = fit::rows_in_season(summaries.iter().copied(), season, LAST_DAY);
        let bg_nbd = fit::bg_nbd(&rows).unwrap().model;
        let parameters = Parameters { bg_nbd, ..cdnow() };
        let until = |quarter: u32| {
            let terms = Terms::new(13.0 * f64::from(quarter), 0.0).unwrap();
            let scorer = Scorer::in_season(parameters, terms, season, LAST_DAY);
            summaries.iter().map(|summary| scorer.value(summary).unwrap().expected_purchases).collect()
        };
        let mut before = vec![0.0; summaries.len()];
        let mut quarters = Vec::new();
        for quarter in 1..=4 {
            let after: Vec<f64> = until(quarter);
            quarters
                .push(after.iter().zip(&before).map(|(after, before)| after - before).collect::<Vec<f64>>());
            before = after;
        }
        quarters
    };
    let judge = |name: &str, quarters: &[Vec<f64>]| -> Vec<f64> {
        (0..4_i64)
            .map(|quarter| {
                let days = LAST_DAY + 1 + 91 * quarter..LAST_DAY + 1 + 91 * (quarter + 1);
                let errors = customers.iter().zip(&quarters[quarter as usize]).map(|(customer, expected)| {
                    customer.days.iter().filter(|day| days.contains(day)).count() as f64 - expected
                });
                let (sum, squares) = errors.fold((0.0, 0.0), |(sum, squares), e| (sum + e, squares + e * e));
                let expected: f64 = quarters[quarter as usize].iter().sum();
                let z = sum / f64::sqrt(squares);
                println!(
                    "{name} quarter {}: {expected:.0} expected, {:.0} came, {z:.1} sampling errors",
                    quarter + 1,
                    expected + sum
                );
                z
            })
            .collect()
    };

    let estimated = Season::estimate(&counts(&customers)).unwrap();
    let with = judge("with", &forecast(&estimated));
    let without = judge("without", &forecast(&Season::none()));

    assert!(with.iter().all(|z| z.abs() < 3.0));
    assert!(without.iter().all(|z| z.abs() > 5.0));
}

fn cdnow() -> Parameters {
    Parameters {
        bg_nbd: BgNbd::new(0.243, 4.414, 0.793, 2.426).unwrap(),
        gamma_gamma: GammaGamma::new(6.25, 3.74, 1544.0).unwrap(),
    }
}
