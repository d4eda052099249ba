//! The models against values computed with 40 digits, and against the papers.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

mod csv;
mod worst;

use csv::Table;
use model::{BgNbd, GammaGamma, MbgNbd, MeanUndefined, Terms};
use worst::Worst;

/// Compares a model's answers with every column of its rows.
macro_rules! check_purchase_model {
    ($name:literal, $model:ty, $bound:literal) => {{
        let table = Table::read("ref_transaction_models.csv");
        let mut worst = Worst::default();
        let mut rows = 0;

        for row in table.rows().filter(|row| row.text("model") == $name) {
            let of = |column| row.number(column);
            let model = <$model>::new(of("r"), of("alpha"), of("a_or_s"), of("b_or_beta")).unwrap();
            let (x, t_x, age, t, delta) = (of("x") as u32, of("t_x"), of("T"), of("t"), of("delta"));
            rows += 1;

            if age == 0.0 {
                // Certain; the file holds what 40 digits leave of zero.
                assert!(model.log_likelihood(x, t_x, age).abs() < f64::MIN_POSITIVE);
            } else {
                worst.compare("log_lik", row, model.log_likelihood(x, t_x, age), of("log_lik"));
            }
            worst.compare("ln_p_alive", row, model.ln_p_alive(x, t_x, age), of("ln_p_alive"));
            worst.compare("p_zero", row, model.p_zero(x, t_x, age, t), of("p_zero"));
            let distribution = model.purchase_distribution(x, t_x, age, t);
            worst.compare("pmf(0)", row, distribution.pmf(0), of("p_zero"));
            if of("ln_p_dead") == 0.0 {
                // Below the reference's 40 digits beside 1.
                assert!(model.ln_p_dead(x, t_x, age).abs() < 1e-38);
            } else {
                worst.compare("ln_p_dead", row, model.ln_p_dead(x, t_x, age), of("ln_p_dead"));
            }
            if of("ln_p_alive") < -700.0 {
                // Below the range of full precision the file holds zeros.
                assert!(model.p_alive(x, t_x, age) < 1e-300);
                assert!(model.variance(x, t_x, age, t) < 1e-290);
                continue;
            }
            worst.compare("p_alive", row, model.p_alive(x, t_x, age), of("p_alive"));
            worst.compare("cet", row, model.expected_purchases(x, t_x, age, t), of("cet"));
            worst.compare("det", row, model.discounted_purchases(x, t_x, age, t, delta), of("det"));
            let dert = model.discounted_purchases_for_ever(x, t_x, age, delta).unwrap();
            worst.compare("dert", row, dert, of("dert"));
            worst.compare("var_y", row, model.variance(x, t_x, age, t), of("var_y"));
            if of("cet") > 1e-3 {
                // A tail below 1e-15 is left out.
                worst.compare("mean of the pmf", row, distribution.mean(), of("cet"));
            }
            if age > 0.0 {
                let terms = Terms::new(t, 0.0).unwrap();
                let p_alive = model.p_alive(x, t_x, age);
                let expected = model.alive_curve(x, &terms).purchases(age).expected;
                let spread = model.spread_curve(x, &terms).at(age);
                worst.compare("var_y by curve", row, spread.variance(p_alive, expected), of("var_y"));
                worst.compare("p_zero by curve", row, spread.p_zero(p_alive), of("p_zero"));
            }
        }

        println!("{}:", $name);
        assert_eq!(rows, 99);
        worst.check($bound);
    }};
}

#[test]
fn bg_nbd_is_right_to_eleven_digits_in_every_corner() {
    check_purchase_model!("bgnbd", BgNbd, 1e-11);
}

#[test]
fn mbg_nbd_is_right_to_eleven_digits_in_every_corner() {
    check_purchase_model!("mbgnbd", MbgNbd, 1e-11);
}

/// The same for points at random, far beyond the table's.
macro_rules! check_random_points {
    ($name:literal, $model:ty, $bound:literal) => {{
        let table = Table::read("ref_bg_mbg_random.csv");
        let mut worst = Worst::default();

        for row in table.rows().filter(|row| row.text("model") == $name) {
            let of = |column| row.number(column);
            let model = <$model>::new(of("r"), of("alpha"), of("a"), of("b")).unwrap();
            let (x, t_x, age, t) = (of("x") as u32, of("t_x"), of("T"), of("t"));

            worst.compare("log_lik", row, model.log_likelihood(x, t_x, age), of("log_lik"));
            worst.compare("p_alive", row, model.p_alive(x, t_x, age), of("p_alive"));
            worst.compare("cet", row, model.expected_purchases(x, t_x, age, t), of("cet"));
            let dert = model.discounted_purchases_for_ever(x, t_x, age, of("delta")).unwrap();
            worst.compare("dert", row, dert, of("dert"));
            worst.compare("var_y", row, model.variance(x, t_x, age, t), of("var_y"));
            worst.compare("p_zero", row, model.p_zero(x, t_x, age, t), of("p_zero"));

            let distribution = model.purchase_distribution(x, t_x, age, t);
            let mean = distribution.mean();
            let square = |n: u32| (f64::from(n) - mean) * (f64::from(n) - mean);
            let variance = (0..=distribution.largest()).map(|n| square(n) * distribution.pmf(n)).sum();
            worst.compare("mean of the pmf", row, mean, of("cet"));
            worst.compare("variance of the pmf", row, variance, of("var_y"));

            let terms = Terms::new(t, 0.0).unwrap();
            let expected = model.alive_curve(x, &terms).purchases(age).expected;
            let spread = model.spread_curve(x, &terms).at(age);
            let variance = spread.variance(model.p_alive(x, t_x, age), expected);
            worst.compare("var_y by curve", row, variance, of("var_y"));
        }

        println!("{} at random:", $name);
        worst.check($bound);
    }};
}

#[test]
fn bg_nbd_is_right_at_random_points() {
    check_random_points!("bgnbd", BgNbd, 1e-11);
}

#[test]
fn mbg_nbd_is_right_at_random_points() {
    check_random_points!("mbgnbd", MbgNbd, 1e-11);
}

#[test]
fn gamma_gamma_is_right_to_eleven_digits_in_every_corner() {
    let table = Table::read("ref_gamma_gamma.csv");
    let mut worst = Worst::default();

    for row in table.rows() {
        let of = |column| row.number(column);
        let model = GammaGamma::new(of("p"), of("q"), of("v")).unwrap();
        let (x, zbar) = (of("x") as u32, of("zbar"));

        match model.mean_spend(x, zbar) {
            Ok(mean) => worst.compare("mean", row, mean, of("mean_spend")),
            Err(MeanUndefined) => assert!(of("mean_spend").is_infinite()),
        }
        worst.compare("log_lik", row, model.log_likelihood(x, zbar), of("log_lik"));
    }

    assert_eq!(table.rows().count(), 40);
    worst.check(1e-11);
}

#[test]
fn the_published_values_of_given_parameters_come_out() {
    let cdnow = BgNbd::new(0.242_592_907_2, 4.413_531_561_2, 0.792_886_148_1, 2.425_753_436_5).unwrap();
    let rounded = BgNbd::new(0.243, 4.414, 0.793, 2.426).unwrap();
    let note_027 = BgNbd::new(0.25, 4.0, 0.8, 2.5).unwrap();
    let mut found = 0;

    for row in Table::read("published_values.csv").rows().filter(|row| row.text("model") == "bgnbd") {
        let setting = row.text("dataset_or_params");
        let new_customer =
            row.text("quantity").strip_prefix("E[X(").and_then(|t| t.strip_suffix(")] new customer"));
        let (actual, relative) = match (setting, new_customer, row.text("quantity")) {
            // The spreadsheet rounds the parameters here, and not in the next rows.
            ("cdnow MLE", None, "CET(t=39|x=2,tx=30.43,T=38.86)") => {
                (rounded.expected_purchases(2, 30.43, 38.86, 39.0), 1e-9)
            }
            ("cdnow MLE", Some(t), _) => (cdnow.expected_purchases(0, 0.0, 0.0, t.parse().unwrap()), 1e-9),
            (_, Some(t), _) => (rounded.expected_purchases(0, 0.0, 0.0, t.parse().unwrap()), 1e-12),
            ("(0.243,4.414,0.793,2.426)", None, probability) => {
                // P(X(30)=11), of a new customer.
                let mut numbers = probability.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
                let mut next = || -> u32 { numbers.next().unwrap().parse().unwrap() };
                let distribution = rounded.purchase_distribution(0, 0.0, 0.0, f64::from(next()));
                (distribution.pmf(next()), 1e-10)
            }
            (_, _, "log_lik") if setting.contains("x=200") => {
                (note_027.log_likelihood(200, 38.0, 40.0), 1e-11)
            }
            (_, _, "log_lik") if setting.contains("x=0") => (note_027.log_likelihood(0, 0.0, 40.0), 1e-9),
            _ => continue,
        };
        found += 1;
        let computed = row.number("computed_here");
        assert!(
            (actual / computed - 1.0).abs() < relative,
            "{}: {actual} is not {computed}",
            row.text("quantity")
        );
        if let Ok(published) = row.text("published").parse::<f64>() {
            assert!((actual - published).abs() <= row.number("abs_tolerance"), "{}", row.text("quantity"));
        }
    }

    assert_eq!(found, 24);
}
