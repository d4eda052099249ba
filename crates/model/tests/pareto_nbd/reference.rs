//! Every quantity against values computed with 40 digits.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use model::ParetoNbd;

use crate::csv::{Row, Table};

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
