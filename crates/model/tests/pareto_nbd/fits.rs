//! Fits and their forecasts against the papers, and parameters found again: from anywhere, and from drawn customers.

use model::ParetoNbd;
use model::fit::{self, PurchaseRow};

use crate::csv::{Row, Table};

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
