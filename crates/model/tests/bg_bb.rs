//! BG/BB: values computed with 40 digits, the donors of the paper, and what must always hold.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

mod csv;
mod starts;
mod worst;

use csv::Table;
use model::fit::{self, OpportunityRow};
use model::{BgBb, PeriodRate, Undefined};
use proptest::prelude::*;
use starts::Starts;
use worst::Worst;

fn model_of(row: csv::Row<'_>) -> BgBb {
    let of = |column| row.number(column);
    BgBb::new(of("alpha"), of("beta"), of("gamma"), of("delta")).unwrap()
}

fn history_of(row: csv::Row<'_>) -> (u32, u32, u32) {
    let of = |column| row.number(column) as u32;
    (of("x"), of("t_x"), of("n"))
}

#[test]
fn every_reference_customer_is_right_to_eleven_digits() {
    let table = Table::read("ref_bgbb.csv");
    let mut worst = Worst::default();

    for row in table.rows() {
        let of = |column| row.number(column);
        let (model, (x, t_x, n)) = (model_of(row), history_of(row));
        let rate = PeriodRate::new(of("d")).unwrap();

        for (column, actual) in [
            ("log_lik", model.log_likelihood(x, t_x, n)),
            ("p_alive_n", model.p_alive(x, t_x, n)),
            ("p_alive_n_plus_1", model.p_alive_at_next(x, t_x, n)),
            ("cet_n_star", model.expected_purchases(x, t_x, n, of("n_star") as u32)),
            ("dert", model.discounted_purchases_for_ever(x, t_x, n, rate).unwrap()),
        ] {
            worst.compare(column, row, actual, of(column));
        }
    }

    assert_eq!(table.rows().count(), 11);
    worst.check(1e-11);
}

#[test]
fn the_corners_of_the_domain_are_right_to_eleven_digits() {
    let table = Table::read("ref_bgbb_corners.csv");
    let mut worst = Worst::default();

    for row in table.rows() {
        let of = |column| row.number(column);
        let (model, (x, t_x, n)) = (model_of(row), history_of(row));
        let rate = PeriodRate::new(of("d")).unwrap();
        let n_star = of("n_star") as u32;
        let ahead = model.purchase_distribution(x, t_x, n, n_star);

        for (column, actual) in [
            ("log_lik", model.log_likelihood(x, t_x, n)),
            ("p_alive_n", model.p_alive(x, t_x, n)),
            ("ln_p_alive_n", model.ln_p_alive(x, t_x, n)),
            ("ln_p_dead_n", if t_x < n { model.ln_p_dead(x, t_x, n) } else { 0.0 }),
            ("p_alive_n_plus_1", model.p_alive_at_next(x, t_x, n)),
            ("cet_n_star", model.expected_purchases(x, t_x, n, n_star)),
            ("dert", model.discounted_purchases_for_ever(x, t_x, n, rate).unwrap()),
            ("var_n_star", model.variance(x, t_x, n, n_star)),
            ("p_zero", model.p_zero(x, t_x, n, n_star)),
            ("pmf_half", ahead.pmf(n_star / 2)),
            ("pmf_all", ahead.pmf(n_star)),
        ] {
            if of(column) == 0.0 {
                assert!((0.0..1e-299).contains(&actual), "{column} of {}: {actual}", row.text("id"));
            } else {
                worst.compare(column, row, actual, of(column));
            }
        }
    }

    assert_eq!(table.rows().count(), 36);
    worst.check(1e-11);
}

fn donors() -> Vec<OpportunityRow> {
    let row = |row: csv::Row<'_>| {
        let (x, t_x, n) = history_of(row);
        OpportunityRow { x, t_x, n, customers: row.number("donors") as u64 }
    };
    Table::read("donations.csv").rows().map(row).collect()
}

#[test]
fn the_donors_lead_to_the_published_maximum_and_values() {
    let fit = fit::bg_bb(&donors()).unwrap();

    assert!(fit.converged && fit.customers == 11_104);
    let model = fit.model;
    let total: f64 = donors()
        .iter()
        .map(|row| row.customers as f64 * model.expected_purchases(row.x, row.t_x, row.n, 5))
        .sum();
    let rounded = BgBb::new(1.2035, 0.7497, 0.6567, 2.7834).unwrap();
    let mut found = 0;
    for row in Table::read("published_values.csv").rows().filter(|row| row.text("model") == "bgbb") {
        let of_new =
            row.text("quantity").strip_prefix("E[X(").and_then(|n| n.strip_suffix(")] new customer"));
        let actual = match (row.text("quantity"), of_new) {
            ("alpha", _) => model.alpha(),
            ("beta", _) => model.beta(),
            ("gamma", _) => model.gamma(),
            ("delta", _) => model.delta(),
            ("log_lik", _) => fit.log_likelihood,
            ("p_alive(x=0,tx=0)", _) => model.p_alive_at_next(0, 0, 6),
            ("p_alive(x=2,tx=4)", _) => model.p_alive_at_next(2, 4, 6),
            ("p_alive(x=6,tx=6)", _) => model.p_alive_at_next(6, 6, 6),
            ("total CET 5 periods", _) => total,
            (_, Some(n)) => rounded.expected_purchases_of_new(n.parse().unwrap()),
            (quantity, _) => panic!("what is {quantity}?"),
        };
        found += 1;
        let (quantity, computed) = (row.text("quantity"), row.number("computed_here"));
        println!("{quantity} = {actual}, exactly {computed}, published {}", row.text("published"));
        assert!((actual / computed - 1.0).abs() < 1e-8, "{quantity}: {actual} is not {computed}");
        assert!((actual - row.number("published")).abs() <= row.number("abs_tolerance"), "{quantity}");
    }

    assert_eq!(found, 20);
}

#[test]
fn every_start_leads_to_the_same_maximum() {
    let rows = donors();
    let exact = fit::bg_bb(&rows).unwrap().model;
    let mut starts = Starts::new(20_261_124);
    let mut worst = 0.0_f64;

    for _ in 0..20 {
        let mut any = || starts.between(1e-2, 1e2);
        let start = BgBb::new(any(), any(), any(), any()).unwrap();
        let found = fit::bg_bb_from(&rows, &start).unwrap_or_else(|error| panic!("{start:?}: {error}")).model;
        for (found, exact) in [
            (found.alpha(), exact.alpha()),
            (found.beta(), exact.beta()),
            (found.gamma(), exact.gamma()),
            (found.delta(), exact.delta()),
        ] {
            worst = worst.max((found / exact - 1.0).abs());
        }
    }

    println!("worst relative distance of twenty fits {worst:.1e}");
    assert!(worst < 1e-5, "{worst:e}");
}

#[test]
fn without_discount_a_dropout_that_may_be_never_has_no_end() {
    let model = BgBb::new(1.2, 0.75, 0.66, 2.8).unwrap();

    assert_eq!(model.discounted_purchases_for_ever(2, 4, 6, PeriodRate::ZERO), Err(Undefined::InfiniteSum));
}

prop_compose! {
    fn any_model()(alpha in logarithmic(1e-3, 1e4), beta in logarithmic(1e-3, 1e4), gamma in logarithmic(1e-3, 1e4), delta in logarithmic(1e-3, 1e4)) -> BgBb {
        BgBb::new(alpha, beta, gamma, delta).unwrap()
    }
}

prop_compose! {
    fn any_history(longest: u32)(n in 1..longest)(n in Just(n), t_x in 0..=n, share in 0.0..=1.0) -> (u32, u32, u32) {
        (if t_x == 0 { 0 } else { u32::max(1, (share * f64::from(t_x)) as u32) }, t_x, n)
    }
}

fn logarithmic(least: f64, most: f64) -> impl Strategy<Value = f64> {
    (libm::log(least)..libm::log(most)).prop_map(libm::exp)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_history_has_a_probability(model in any_model()) {
        // All 64 sequences of six opportunities, by what is observed of them.
        let ways = |x: u32, t_x: u32| (1..x).fold(1.0, |ways, i| ways * f64::from(t_x - i) / f64::from(i));
        let mut sum = libm::exp(model.log_likelihood(0, 0, 6));
        for t_x in 1..=6 {
            for x in 1..=t_x {
                sum += ways(x, t_x) * libm::exp(model.log_likelihood(x, t_x, 6));
            }
        }
        prop_assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    }

    #[test]
    fn nothing_is_ever_out_of_range(model in any_model(), (x, t_x, n) in any_history(5000), n_star in 1_u32..200, d in logarithmic(1e-6, 1.0)) {
        let rate = PeriodRate::new(d).unwrap();

        prop_assert!(model.log_likelihood(x, t_x, n) <= 0.0);
        prop_assert!(model.log_likelihood(x, t_x, n).is_finite());
        prop_assert!((0.0..=1.0).contains(&model.p_alive(x, t_x, n)));
        prop_assert!(model.ln_p_alive(x, t_x, n).is_finite());
        let expected = model.expected_purchases(x, t_x, n, n_star);
        prop_assert!((0.0..=f64::from(n_star)).contains(&expected));
        prop_assert!(model.variance(x, t_x, n, n_star) >= 0.0);
        prop_assert!(model.discounted_purchases_for_ever(x, t_x, n, rate).unwrap().is_finite());
        prop_assert!(model.discounted_purchases(x, t_x, n, n_star, rate) <= expected);
    }

    #[test]
    fn the_distribution_has_the_moments(model in any_model(), (x, t_x, n) in any_history(60), n_star in 1_u32..80) {
        let distribution = model.purchase_distribution(x, t_x, n, n_star);
        let moment = |power: i32| -> f64 { (0..=n_star).map(|y| f64::from(y).powi(power) * distribution.pmf(y)).sum() };
        let (mean, variance) = (model.expected_purchases(x, t_x, n, n_star), model.variance(x, t_x, n, n_star));

        prop_assert!((moment(0) - 1.0).abs() < 1e-12);
        prop_assert!((moment(1) - mean).abs() <= 1e-11 * mean);
        prop_assert!((moment(2) - mean * mean - variance).abs() <= 1e-11 * moment(2));
        prop_assert!((distribution.pmf(0) / model.p_zero(x, t_x, n, n_star) - 1.0).abs() < 1e-11);
    }
}
