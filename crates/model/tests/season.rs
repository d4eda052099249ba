//! The seasonal clock: exact where it is defined, found again from what it generated, and worth having.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]
#![expect(clippy::print_stdout, reason = "the measured errors are what a reader of the test wants to see")]

use std::collections::BTreeMap;

use model::fit::{self, Fit};
use model::{BgNbd, GammaGamma, Parameters, PurchaseCounts, Scorer, Season, SeasonError, Summary, Terms};

/// 2020-01-01, 2024-01-01 and others, in days since 1970-01-01.
const NEW_YEAR_2016: i64 = 16_801;
const NEW_YEAR_2020: i64 = 18_262;
const NEW_YEAR_2024: i64 = 19_723;

#[test]
fn the_year_has_its_weeks_where_they_are_said_to_be() {
    let mut activity = [1.0; Season::WEEKS];
    for (week, value) in activity.iter_mut().enumerate() {
        *value += week as f64;
    }
    let season = Season::of_activity(&activity).unwrap();
    let index_on = |day: i64| 7.0 * (season.tau((day + 1) as f64) - season.tau(day as f64));
    let check = |day: i64, week: usize| {
        assert!((index_on(day) - season.index()[week]).abs() < 1e-9, "{day}: {} {week}", index_on(day));
    };

    for (new_year, days) in [(NEW_YEAR_2016, 366), (NEW_YEAR_2020 + 366, 365), (0, 365), (10_957, 366)] {
        check(new_year, 0);
        check(new_year + 6, 0);
        check(new_year + 7, 1);
        check(new_year + 356, 50);
        check(new_year + 357, 51);
        check(new_year + days - 1, 51);
        check(new_year + days, 0);
        check(new_year - 1, 51);
    }
}

#[test]
fn operational_time_is_continuous_rising_and_undone() {
    let season = wedding_season();

    for day in [-400_000_i64, -1, 0, 11_322, 19_000, 47_481, 900_000] {
        for quarter in 0..4 * 800 {
            let moment = day as f64 + f64::from(quarter) / 4.0;
            let rise = season.tau(moment + 0.25) - season.tau(moment);
            assert!(rise > 0.0 && rise < 0.25, "{moment}: {rise}");
            // A fortieth of the usual speed in winter: the rounding of tau counts forty times.
            assert!((season.moment(season.tau(moment)) - moment).abs() < 1e-7, "{moment}");
        }
    }
    let four_centuries = 146_097.0;
    let gap = season.tau(1234.5 + four_centuries) - season.tau(1234.5) - four_centuries / 7.0;
    assert!(gap.abs() < 1e-11, "{gap}");
}

#[test]
fn times_are_differences_of_operational_time() {
    let season = wedding_season();

    for i in 0..5000_u32 {
        let (age_days, last_day) = (i * 7919 % 9000, NEW_YEAR_2024 + i64::from(i * 31 % 1500));
        let recency_days = i * 104_729 % (age_days + 1);
        let summary = Summary { frequency: 1, recency_days, age_days, repeat_spend_minor: 1 };
        let end_of = |day: i64| season.tau((day + 1) as f64);
        let first_day = last_day - i64::from(age_days);

        let (t_x, age) = season.times(&summary, last_day);

        assert_eq!(season.clock(last_day).times(&summary), (t_x, age));
        assert!((t_x - (end_of(first_day + i64::from(recency_days)) - end_of(first_day))).abs() < 1e-11);
        assert!((age - (end_of(last_day) - end_of(first_day))).abs() < 1e-11);
        assert!(0.0 <= t_x && t_x <= age);
        let weeks = f64::from(i) / 97.0;
        let horizon = season.tau((last_day + 1) as f64 + 7.0 * weeks) - end_of(last_day);
        assert!((season.horizon(last_day, weeks) - horizon).abs() < 1e-11);
    }
}

#[test]
fn days_at_the_ends_of_their_type_do_no_harm() {
    let season = wedding_season();

    for last_day in [i64::MIN, i64::MIN + 1, -1, i64::MAX - 1, i64::MAX] {
        for age_days in [0, 1, u32::MAX] {
            for recency_days in [0, age_days] {
                let summary = Summary { frequency: 1, recency_days, age_days, repeat_spend_minor: 1 };
                let (t_x, age) = season.times(&summary, last_day);
                assert!((0.0..=1e10).contains(&t_x) && (t_x..=1e10).contains(&age), "{last_day} {summary:?}");
            }
        }
        assert!((0.0..=6000.0).contains(&season.horizon(last_day, 5217.75)));
    }
}

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
fn an_index_survives_json_to_the_bit_and_a_wrong_one_is_named() {
    let season = wedding_season();
    let json = serde_json::to_string(&season).unwrap();
    let error = |json: &str| serde_json::from_str::<Season>(json).unwrap_err().to_string();

    let read: Season = serde_json::from_str(&json).unwrap();

    assert_eq!(read, season);
    assert!(read.index().iter().zip(season.index()).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert!(error(r#"{"index": ["1", "1"]}"#).contains("2 weeks given, 52 are needed"));
    assert!(error(&json.replacen("\"0.", "\"-0.", 1)).contains("season index of a week"));
    assert!(error(&json.replacen("\"0.", "\"0.9", 1)).contains("season mean"));
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let mut activity = [1.0; Season::WEEKS];
        activity[7] = wrong;
        assert!(Season::of_activity(&activity).is_err(), "{wrong}");
        assert!(Season::new(&activity).is_err(), "{wrong}");
    }
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

/// The first day anybody came, and the last observed one: 2023-12-31.
const FIRST_DAY: i64 = NEW_YEAR_2016 + 3 * 365 + 1;
const LAST_DAY: i64 = NEW_YEAR_2024 - 1;

/// A few bookings a year.
fn bookings() -> BgNbd {
    BgNbd::new(0.9, 60.0, 0.8, 4.0).unwrap()
}

/// All purchase days of a customer, to a year beyond [`LAST_DAY`].
struct Customer {
    days: Vec<i64>,
    /// Whether he dropped out at the last of them.
    left: bool,
}

impl Customer {
    fn observed(&self) -> &[i64] {
        &self.days[..self.days.partition_point(|&day| day <= LAST_DAY)]
    }

    fn is_alive_on(&self, day: i64) -> bool {
        !self.left || self.days[self.days.len() - 1] > day
    }

    fn summary(&self) -> Summary {
        self.summary_on(LAST_DAY)
    }

    fn summary_on(&self, last_day: i64) -> Summary {
        let days = &self.days[..self.days.partition_point(|&day| day <= last_day)];
        let frequency = days.len() as u32 - 1;
        Summary {
            frequency,
            recency_days: (days[days.len() - 1] - days[0]) as u32,
            age_days: (last_day - days[0]) as u32,
            repeat_spend_minor: i64::from(frequency) * 1000,
        }
    }
}

/// Customers of a growing base, who come, too, when there are weddings, and then buy as the model says in the
/// season's time.
fn simulate(model: &BgNbd, season: &Season, customers: u32, seed: u64) -> Vec<Customer> {
    let mut random = Random(seed);
    let (open, close) = (season.tau((FIRST_DAY + 1) as f64), season.tau((LAST_DAY + 1) as f64));
    let end = season.tau((LAST_DAY + 366) as f64);
    (0..customers)
        .map(|_| {
            // As the square root of a uniform share, twice as many come at the end as on average.
            let came = open + (close - open) * random.uniform().sqrt();
            let day_of = |tau: f64| season.moment(tau).floor() as i64;
            let mut days = vec![day_of(came).clamp(FIRST_DAY, LAST_DAY)];
            let lambda = random.gamma(model.r()) / model.alpha();
            let (alive, dead) = (random.gamma(model.b()), random.gamma(model.a()));
            let p = dead / (alive + dead);
            let mut tau = season.tau((days[0] + 1) as f64);
            let mut left = false;
            while !left {
                tau -= random.uniform().ln() / lambda;
                if tau >= end {
                    break;
                }
                days.push(day_of(tau));
                left = random.uniform() < p;
            }
            days.dedup();
            Customer { days, left }
        })
        .collect()
}

fn counts(customers: &[Customer]) -> PurchaseCounts {
    let mut counts = PurchaseCounts::new(FIRST_DAY, LAST_DAY).unwrap();
    for customer in customers {
        let days = customer.observed();
        counts.customer(days[0]);
        for &day in &days[1..] {
            counts.repeat(days[0], day);
        }
    }
    counts
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

/// SplitMix64 (Steele, Lea & Flood 2014), and what is drawn with it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, never either.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Marsaglia & Tsang (2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.uniform().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        loop {
            let x = self.normal();
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }
}

/// Weddings: from May to October, hardly anything in winter.
fn wedding_season() -> Season {
    Season::of_activity(&std::array::from_fn(|week| {
        let from_july = (week as f64 - 27.5) / 52.0;
        (2.5 * (std::f64::consts::TAU * from_july).cos()).exp()
    }))
    .unwrap()
}

fn cdnow() -> Parameters {
    Parameters {
        bg_nbd: BgNbd::new(0.243, 4.414, 0.793, 2.426).unwrap(),
        gamma_gamma: GammaGamma::new(6.25, 3.74, 1544.0).unwrap(),
    }
}
