//! Pareto/NBD against values computed with 40 digits, against the papers, and against itself.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

mod csv;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use csv::{Row, Table};
use model::fit::{self, PurchaseRow};
use model::{ParetoNbd, Undefined};
use proptest::prelude::*;

/// Worst relative error of each quantity, and where.
#[derive(Default)]
struct Worst(BTreeMap<&'static str, (f64, String)>);

impl Worst {
    fn compare(&mut self, quantity: &'static str, row: Row<'_>, actual: f64, expected: f64) {
        let equal = actual.partial_cmp(&expected) == Some(Ordering::Equal); // infinities and zeros too
        let error = if equal { 0.0 } else { (actual / expected - 1.0).abs() };
        let worst = self.0.entry(quantity).or_default();
        assert!(!error.is_nan(), "{quantity} of {}: {actual} is not {expected}", row.text("id"));
        if error > worst.0 {
            *worst = (error, row.text("id").to_owned());
        }
    }

    fn check(self, bound: f64) {
        for (quantity, (error, id)) in &self.0 {
            println!("pareto_nbd {quantity}: worst relative error {error:.1e} at {id}");
        }
        for (quantity, (error, id)) in self.0 {
            assert!(error < bound, "{quantity}: {error:e} at {id}");
        }
    }
}

/// Compares all nine quantities of a row.
fn compare(worst: &mut Worst, row: Row<'_>) {
    let of = |column| row.number(column);
    let model = ParetoNbd::new(of("r"), of("alpha"), of("a_or_s"), of("b_or_beta")).unwrap();
    let (x, t_x, age, t, delta) = (of("x") as u32, of("t_x"), of("T"), of("t"), of("delta"));

    worst.compare("log_lik", row, model.log_likelihood(x, t_x, age), of("log_lik"));
    worst.compare("ln_p_alive", row, model.ln_p_alive(x, t_x, age), of("ln_p_alive"));
    // ln(1 - p) = -p where p is small; the reference takes it from 40 digits beside 1, of which few or none are left.
    let ln_p_dead = if of("p_alive") < 1e-20 { -of("p_alive") } else { of("ln_p_dead") };
    worst.compare("ln_p_dead", row, model.ln_p_dead(x, t_x, age), ln_p_dead);
    worst.compare("p_zero", row, model.p_zero(x, t_x, age, t), of("p_zero"));
    if of("ln_p_alive") < -700.0 {
        // Below the range of full precision the file holds zeros.
        assert!(model.p_alive(x, t_x, age) < 1e-300);
        return;
    }
    worst.compare("p_alive", row, model.p_alive(x, t_x, age), of("p_alive"));
    worst.compare("cet", row, model.expected_purchases(x, t_x, age, t), of("cet"));
    worst.compare("det", row, model.discounted_purchases(x, t_x, age, t, delta), of("det"));
    let for_ever = model.discounted_purchases_for_ever(x, t_x, age, delta);
    worst.compare("dert", row, for_ever.unwrap(), of("dert"));
    worst.compare("var_y", row, model.variance(x, t_x, age, t), of("var_y"));
}

#[test]
fn pareto_nbd_is_right_to_eleven_digits_in_every_corner() {
    let table = Table::read("ref_transaction_models.csv");
    let mut worst = Worst::default();
    let mut rows = 0;

    for row in table.rows().filter(|row| row.text("model") == "paretonbd") {
        compare(&mut worst, row);
        rows += 1;
    }

    assert_eq!(rows, 100);
    worst.check(1e-11);
}

#[test]
fn pareto_nbd_is_right_at_the_ends_of_its_domain() {
    let table = Table::read("ref_pareto_nbd_extremes.csv");
    let mut worst = Worst::default();

    for row in table.rows() {
        let of = |column| row.number(column);
        let model = ParetoNbd::new(of("r"), of("alpha"), of("s"), of("beta")).unwrap();
        let (x, t_x, age, t, delta) = (of("x") as u32, of("t_x"), of("T"), of("t"), of("delta"));
        let mut compare = |quantity: &'static str, actual| worst.compare(quantity, row, actual, of(quantity));
        compare("log_lik", model.log_likelihood(x, t_x, age));
        compare("ln_p_alive", model.ln_p_alive(x, t_x, age));
        compare("ln_p_dead", model.ln_p_dead(x, t_x, age));
        compare("p_zero", model.p_zero(x, t_x, age, t));
        if of("ln_p_alive") < -700.0 {
            continue;
        }
        compare("p_alive", model.p_alive(x, t_x, age));
        compare("cet", model.expected_purchases(x, t_x, age, t));
        compare("det", model.discounted_purchases(x, t_x, age, t, delta));
        compare("var_y", model.variance(x, t_x, age, t));
        let for_ever = model.discounted_purchases_for_ever(x, t_x, age, delta);
        compare("dert", for_ever.unwrap());
        if of("p_alive") > 1e-12 && !row.text("pmf_n").is_empty() {
            compare("pmf_n", model.purchase_distribution(x, t_x, age, t).pmf(of("n") as u32));
        }
    }

    assert_eq!(table.rows().count(), 53);
    worst.check(1e-11);
}

#[test]
fn the_published_values_of_given_parameters_come_out() {
    let model = |r, alpha, s, beta| ParetoNbd::new(r, alpha, s, beta).unwrap();
    let walkthrough = model(0.5534, 10.5802, 0.6061, 11.6562);
    let cdnow = fit::pareto_nbd(&cdnow()).unwrap().model;
    let new = model(0.55, 10.56, 0.61, 11.64);
    let iso_values = model(0.562_996_6, 12.559_037_0, 0.408_109_5, 10.514_804_8);
    let mut found = 0;

    for row in Table::read("published_values.csv").rows().filter(|row| row.text("model") == "paretonbd") {
        let quantity = row.text("quantity");
        let new_customer = quantity.strip_prefix("E[X(").and_then(|t| t.strip_suffix(")] new customer"));
        let actual = match (new_customer, quantity) {
            (Some(t), _) => new.expected_purchases(0, 0.0, 0.0, t.parse().unwrap()),
            (_, "p_alive(26,30.86,31)") => walkthrough.p_alive(26, 30.86, 31.0),
            (_, "CET(52|26,30.86,31)") => walkthrough.expected_purchases(26, 30.86, 31.0, 52.0),
            (_, "p_alive(0,0,39)") => cdnow.p_alive(0, 0.0, 39.0),
            (_, "DERT(x=7,tx=35,T=77.86)") => {
                iso_values.discounted_purchases_for_ever(7, 35.0, 77.86, 0.0027).unwrap()
            }
            _ => continue,
        };
        found += 1;
        let computed = row.number("computed_here");
        println!("pareto_nbd {quantity} = {actual}, exactly {computed}, published {}", row.text("published"));
        // The table's fit for this one was stopped at six digits.
        let relative = if quantity == "p_alive(0,0,39)" { 1e-6 } else { 1e-10 };
        assert!((actual - computed).abs() <= relative * computed, "{quantity}: {actual} is not {computed}");
        if let Ok(published) = row.text("published").parse::<f64>() {
            assert!((actual - published).abs() <= row.number("abs_tolerance"), "{quantity}");
        }
    }

    assert_eq!(found, 14);
}

#[test]
fn the_fit_of_39_weeks_is_the_published_maximum() {
    let fit = fit::pareto_nbd(&cdnow()).unwrap();

    println!("{fit:?}");
    assert!(fit.converged);
    assert_eq!(fit.customers, 2357);
    check("cdnow_customers_summary", "log_lik", fit.log_likelihood, 1e-9);
    for (name, value) in parameters(&fit.model) {
        check("cdnow_customers_summary", name, value, 1e-8);
    }
    let standard_errors = ["se_r", "se_alpha", "se_s", "se_beta"];
    for (name, &value) in standard_errors.iter().zip(&fit.standard_errors) {
        check("cdnow_customers_summary", name, value, 1e-4);
    }
}

#[test]
fn the_fit_of_78_weeks_is_the_published_maximum() {
    let dataset = "cdnow sample, 78 weeks (end 1998-06-30)";

    let fit = fit::pareto_nbd(&sample(day(1998, 6, 30))).unwrap();

    println!("{fit:?}");
    assert!(fit.converged);
    check(dataset, "log_lik", fit.log_likelihood, 1e-9);
    for (name, value) in parameters(&fit.model) {
        check(dataset, name, value, 1e-7);
    }
}

#[test]
fn twenty_random_starts_find_the_same_maximum() {
    let rows = cdnow();
    let best = fit::pareto_nbd(&rows).unwrap();
    let mut random = Random(20);

    for _ in 0..20 {
        let mut anywhere = |centre: f64| centre * (9.2 * (2.0 * random.next() - 1.0)).exp();
        let start = ParetoNbd::new(anywhere(0.5), anywhere(10.0), anywhere(0.5), anywhere(10.0)).unwrap();

        let fit = fit::pareto_nbd_from(&rows, &start).unwrap();

        println!("{start:?}: {} evaluations", fit.evaluations);
        for ((name, value), (_, expected)) in parameters(&fit.model).into_iter().zip(parameters(&best.model))
        {
            assert!(
                (value / expected - 1.0).abs() < 1e-5,
                "{name}: {value} is not {expected} from {start:?}"
            );
        }
    }
}

#[test]
fn the_forecast_of_the_holdout_is_the_papers() {
    let model = fit::pareto_nbd(&cdnow()).unwrap().model;
    let observed = sample(day(1997, 9, 30));
    let later = sample(day(1998, 6, 30));

    let cumulative: f64 =
        observed.iter().map(|row| model.expected_purchases(0, 0.0, 0.0, row.age + 39.0)).sum();
    let expected: Vec<f64> =
        observed.iter().map(|row| model.expected_purchases(row.x, row.t_x, row.age, 39.0)).collect();
    let actual: Vec<f64> =
        observed.iter().zip(&later).map(|(before, after)| f64::from(after.x - before.x)).collect();

    let bias = 100.0 * (cumulative / 4339.0 - 1.0);
    let correlation = correlation(&expected, &actual);
    println!("pareto_nbd holdout: {bias:.3} %, correlation {correlation:.5}");
    assert!((bias + 1.59).abs() < 0.01, "{bias}");
    assert!((bias + 2.0).abs() < 0.5, "{bias}");
    assert!((correlation - 0.6302).abs() < 0.0001, "{correlation}");
}

#[test]
fn simulated_customers_give_their_parameters_back() {
    let mut random = Random(1);
    let rows: Vec<PurchaseRow> =
        (0..30_000).map(|_| random.customer(&ParetoNbd::new(0.8, 6.0, 0.6, 12.0).unwrap())).collect();

    let fit = fit::pareto_nbd(&rows).unwrap();

    println!("{fit:?}");
    assert!(fit.converged);
    for ((name, value), (truth, error)) in
        parameters(&fit.model).into_iter().zip([0.8, 6.0, 0.6, 12.0].into_iter().zip(&fit.standard_errors))
    {
        assert!((value - truth).abs() < 4.0 * error, "{name}: {value} is not {truth} within {error}");
    }
}

prop_compose! {
    fn model()(r in logarithmic(0.01, 50.0), alpha in logarithmic(0.1, 1e4), s in logarithmic(0.01, 30.0), beta in logarithmic(0.1, 1e4)) -> ParetoNbd {
        ParetoNbd::new(r, alpha, s, beta).unwrap()
    }
}

prop_compose! {
    /// A customer with his purchases, when the last one was, and his age.
    fn customer()(x in 0_u32..200, age in 0.0..1000.0, share in 0.0..=1.0) -> (u32, f64, f64) {
        (x, if x == 0 { 0.0 } else { share * age }, age)
    }
}

/// Everything that is a probability or a number of purchases.
fn forecasts(model: &ParetoNbd, x: u32, t_x: f64, age: f64, t: f64, delta: f64) -> [f64; 6] {
    [
        model.p_alive(x, t_x, age),
        model.expected_purchases(x, t_x, age, t),
        model.discounted_purchases(x, t_x, age, t, delta),
        model.discounted_purchases_for_ever(x, t_x, age, delta).unwrap(),
        model.variance(x, t_x, age, t),
        model.p_zero(x, t_x, age, t),
    ]
}

fn logarithmic(least: f64, most: f64) -> impl Strategy<Value = f64> {
    (least.ln()..most.ln()).prop_map(f64::exp)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_chance_to_be_alive_falls_with_silence(model in model(), (x, t_x, age) in customer(), more in 0.01..100.0) {
        let before = model.p_alive(x, t_x, age);
        let after = model.p_alive(x, t_x, age + more);

        prop_assert!((0.0..=1.0).contains(&before));
        prop_assert!(after <= before);
        prop_assert!(before < 1e-300 || model.ln_p_dead(x, t_x, age + more) >= model.ln_p_dead(x, t_x, age));
        let (alive, dead) = (model.ln_p_alive(x, t_x, age).exp(), model.ln_p_dead(x, t_x, age).exp());
        prop_assert!((alive + dead - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_longer_horizon_brings_more_purchases(model in model(), (x, t_x, age) in customer(), horizon in 0.1..200.0, more in 0.1..200.0) {
        let (before, after) = (model.expected_purchases(x, t_x, age, horizon), model.expected_purchases(x, t_x, age, horizon + more));

        prop_assert!(before < after || after < 1e-300 || after / before - 1.0 < 1e-12, "{before} {after}");
        prop_assert!(model.p_zero(x, t_x, age, horizon + more) <= model.p_zero(x, t_x, age, horizon) * (1.0 + 1e-14));
    }

    #[test]
    fn a_discount_takes_and_never_gives(model in model(), (x, t_x, age) in customer(), horizon in 0.1..500.0, delta in logarithmic(1e-12, 1.0)) {
        let expected = model.expected_purchases(x, t_x, age, horizon);
        let discounted = model.discounted_purchases(x, t_x, age, horizon, delta);
        let for_ever = model.discounted_purchases_for_ever(x, t_x, age, delta).unwrap();

        prop_assert!(discounted <= expected);
        prop_assert!(discounted >= expected * (-delta * horizon).exp() * (1.0 - 1e-12));
        prop_assert!(discounted <= for_ever * (1.0 + 1e-12));
        let long = model.discounted_purchases(x, t_x, age, 45.0 / delta, delta);
        prop_assert!((long - for_ever).abs() <= 1e-12 * for_ever, "{long} {for_ever}");
    }

    #[test]
    fn no_quantity_depends_on_the_unit_of_time(model in model(), (x, t_x, age) in customer(), horizon in 0.1..500.0, delta in logarithmic(1e-6, 1.0)) {
        let days = ParetoNbd::new(model.r(), 7.0 * model.alpha(), model.s(), 7.0 * model.beta()).unwrap();

        let weekly = forecasts(&model, x, t_x, age, horizon, delta);
        let daily = forecasts(&days, x, 7.0 * t_x, 7.0 * age, 7.0 * horizon, delta / 7.0);

        for (weekly, daily) in weekly.into_iter().zip(daily) {
            prop_assert!((weekly - daily).abs() <= 1e-11 * weekly, "{weekly} {daily}");
        }
        let density = model.log_likelihood(x, t_x, age) - days.log_likelihood(x, 7.0 * t_x, 7.0 * age);
        prop_assert!((density - f64::from(x) * 7.0_f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn no_purchase_so_far_is_as_likely_as_it_was_forecast(model in model(), age in 0.1..500.0) {
        // P(x = 0) is both the likelihood of a customer and the forecast of a new one.
        let likelihood = model.log_likelihood(0, 0.0, age).exp();

        prop_assert!((likelihood / model.p_zero(0, 0.0, 0.0, age) - 1.0).abs() < 1e-12);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_distribution_has_the_mean_and_the_variance(model in model(), (x, t_x, age) in customer(), horizon in 0.1..100.0) {
        let mean = model.expected_purchases(x, t_x, age, horizon);
        let variance = model.variance(x, t_x, age, horizon);
        prop_assume!(variance < 1e8);

        let distribution = model.purchase_distribution(x, t_x, age, horizon);

        let moment = |f: &dyn Fn(f64) -> f64| -> f64 { (0..=1_000_000).map(|n| f(f64::from(n)) * distribution.pmf(n)).sum() };
        prop_assert!((moment(&|_| 1.0) - 1.0).abs() < 1e-12);
        prop_assert!((moment(&|n| n) - mean).abs() <= 1e-11 * mean, "{} {mean}", moment(&|n| n));
        let spread = moment(&|n| (n - mean) * (n - mean));
        prop_assert!((spread - variance).abs() <= 1e-10 * variance, "{spread} {variance}");
        let p_zero = model.p_zero(x, t_x, age, horizon);
        prop_assert!((distribution.pmf(0) - p_zero).abs() <= 1e-12 * p_zero);
        let median = distribution.quantile(0.5);
        prop_assert!(distribution.cdf(median) >= 0.5);
        prop_assert!(median == 0 || distribution.cdf(median - 1) < 0.5);
    }
}

#[test]
fn without_a_discount_the_sum_is_finite_only_above_s_1() {
    let sum =
        |s| ParetoNbd::new(0.5, 10.0, s, 12.0).unwrap().discounted_purchases_for_ever(2, 30.0, 39.0, 0.0);

    assert_eq!(sum(0.6), Err(Undefined::InfiniteSum));
    assert_eq!(sum(1.0), Err(Undefined::InfiniteSum));
    assert!(sum(1.000_001).unwrap().is_finite());
}

#[test]
fn models_at_the_corners_of_their_domain_are_finite() {
    let ends = [1e-7, 1e7];
    let customers = [
        (0, 0.0, 0.0),
        (0, 0.0, 6e8),
        (1, 0.0, 1e-9),
        (3, 20.0, 40.0),
        (5000, 900.0, 900.0),
        (u32::MAX, 1.0, 6e8),
    ];
    for corner in 0..16 {
        let [r, alpha, s, beta] = std::array::from_fn(|i| ends[corner >> i & 1]);
        let model = ParetoNbd::new(r, alpha, s, beta).unwrap();
        for (x, t_x, age) in customers {
            assert!(model.log_likelihood(x, t_x, age).is_finite(), "{model:?} {x} {t_x} {age}");
            assert!(model.ln_p_alive(x, t_x, age) <= 0.0 && model.ln_p_alive(x, t_x, age).is_finite());
            assert!(model.ln_p_dead(x, t_x, age) <= 0.0);
            for (t, delta) in [(0.0, 0.0), (1e-300, 1e-300), (52.0, 0.0027), (1e6, 50.0)] {
                let expected = model.expected_purchases(x, t_x, age, t);
                let discounted = model.discounted_purchases(x, t_x, age, t, delta);
                assert!(
                    expected.is_finite() && (0.0..=expected).contains(&discounted),
                    "{model:?} {x} {age} {t}"
                );
                let variance = model.variance(x, t_x, age, t);
                assert!(variance.is_finite() && variance >= 0.0, "{model:?} {x} {t_x} {age} {t}: {variance}");
                assert!((0.0..=1.0).contains(&model.p_zero(x, t_x, age, t)), "{model:?} {x} {age} {t}");
                match model.discounted_purchases_for_ever(x, t_x, age, delta) {
                    Ok(for_ever) => assert!(for_ever.is_finite() && for_ever >= 0.0),
                    Err(Undefined::InfiniteSum) => assert!(delta <= 1e-300),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}

#[test]
fn distributions_at_the_corners_of_the_domain_are_whole() {
    let ends = [1e-7, 1e7];
    for corner in 0..16 {
        let [r, alpha, s, beta] = std::array::from_fn(|i| ends[corner >> i & 1]);
        let model = ParetoNbd::new(r, alpha, s, beta).unwrap();
        for (x, t_x, age) in [(0, 0.0, 0.0), (1, 3.0, 3.0), (5000, 900.0, 900.0)] {
            let distribution = model.purchase_distribution(x, t_x, age, 52.0);

            let last = distribution.quantile(1.0);
            let sum: f64 = (0..=last).map(|n| distribution.pmf(n)).sum();
            println!("{model:?} {x}: {last} {sum}");
            assert!((sum - 1.0).abs() < 1e-8, "{model:?} {x} {t_x} {age}: {sum}");
        }
    }
}

fn parameters(model: &ParetoNbd) -> [(&'static str, f64); 4] {
    [("r", model.r()), ("alpha", model.alpha()), ("s", model.s()), ("beta", model.beta())]
}

/// Checks a value against `published_values.csv`: the papers' digits, and those computed exactly.
fn check(dataset: &str, quantity: &str, value: f64, relative: f64) {
    let table = Table::read("published_values.csv");
    let row = table
        .rows()
        .find(|row| {
            row.text("model") == "paretonbd"
                && row.text("dataset_or_params") == dataset
                && row.text("quantity") == quantity
        })
        .unwrap();
    let computed = row.number("computed_here");
    println!("pareto_nbd {quantity} = {value}, exactly {computed}, published {}", row.text("published"));
    assert!((value / computed - 1.0).abs() < relative, "{quantity}: {value} is not {computed}");
    if let Ok(published) = row.text("published").parse::<f64>() {
        assert!((value - published).abs() <= row.number("abs_tolerance"), "{quantity}: {value}");
    }
}

fn cdnow() -> Vec<PurchaseRow> {
    let row = |row: Row<'_>| PurchaseRow {
        x: row.number("frequency") as u32,
        t_x: row.number("recency"),
        age: row.number("T"),
        customers: 1,
    };
    Table::read("cdnow_customers_summary.csv").rows().map(row).collect()
}

/// The customers of the sample through a day, in the order of their numbers; times in hundredths of weeks as in the
/// published summaries.
fn sample(last_day: i64) -> Vec<PurchaseRow> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cdnow_sample_transactions.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<(&str, i64)> = text
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let date: i64 = fields[2].parse().unwrap();
            (fields[1], day(date / 10_000, date / 100 % 100, date % 100))
        })
        .filter(|&(_, date)| date <= last_day)
        .collect();
    let weeks = |days: i64| (days as f64 / 7.0 * 100.0).round() / 100.0;
    lines
        .chunk_by(|a, b| a.0 == b.0)
        .map(|customer| {
            let (first, last) = (customer[0].1, customer[customer.len() - 1].1);
            let days = customer.chunk_by(|a, b| a.1 == b.1).count();
            PurchaseRow {
                x: days as u32 - 1,
                t_x: weeks(last - first),
                age: weeks(last_day - first),
                customers: 1,
            }
        })
        .collect()
}

/// Days from 1997-01-01, for dates of 1997 and 1998.
fn day(year: i64, month: i64, day: i64) -> i64 {
    let before_month = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    (year - 1997) * 365 + before_month[month as usize - 1] + day - 1
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |z: &[f64]| z.iter().sum::<f64>() / z.len() as f64;
    let (a_mean, b_mean) = (mean(a), mean(b));
    let product = |u: &[f64], u_mean: f64, w: &[f64], w_mean: f64| -> f64 {
        u.iter().zip(w).map(|(u, w)| (u - u_mean) * (w - w_mean)).sum()
    };
    let variances = product(a, a_mean, a, a_mean) * product(b, b_mean, b, b_mean);
    product(a, a_mean, b, b_mean) / variances.sqrt()
}

/// Seeded random numbers (splitmix64, Steele, Lea & Flood 2014).
struct Random(u64);

impl Random {
    /// Uniform on (0, 1).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((z ^ (z >> 31)) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    fn exponential(&mut self) -> f64 {
        -self.next().ln()
    }

    /// Gamma of mean `shape` (Ahrens & Dieter's GS for shapes up to 1).
    fn gamma(&mut self, shape: f64) -> f64 {
        let border = 1.0 + shape / std::f64::consts::E;
        loop {
            let p = border * self.next();
            if p <= 1.0 {
                let z = p.powf(1.0 / shape);
                if self.next() <= (-z).exp() {
                    return z;
                }
            } else {
                let z = -((border - p) / shape).ln();
                if self.next() <= z.powf(shape - 1.0) {
                    return z;
                }
            }
        }
    }

    /// A customer as the model believes him to be, half a year to a year and a half old.
    fn customer(&mut self, model: &ParetoNbd) -> PurchaseRow {
        let rate = self.gamma(model.r()) / model.alpha();
        let lifetime = self.exponential() * model.beta() / self.gamma(model.s());
        let age = 26.0 + (self.next() * 364.0).round() / 7.0;
        let (mut x, mut t_x) = (0, 0.0);
        loop {
            let next = t_x + self.exponential() / rate;
            if next > f64::min(lifetime, age) {
                return PurchaseRow { x, t_x, age, customers: 1 };
            }
            (x, t_x) = (x + 1, next);
        }
    }
}
