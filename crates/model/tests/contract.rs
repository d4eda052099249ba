//! Contracts, sBG and BdW: values computed with 40 digits, the papers' values and fits, and what must always hold.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

mod csv;
mod starts;
mod worst;

use csv::Table;
use model::fit::{self, ContractRow};
use model::{Bdw, PeriodRate, Sbg, Undefined};
use proptest::prelude::*;
use starts::Starts;
use worst::Worst;

#[test]
fn every_reference_contract_is_right_to_eleven_digits() {
    let table = Table::read("ref_contract.csv");
    let mut worst = Worst::default();

    for row in table.rows() {
        let of = |column| row.number(column);
        let n = of("n") as u32;
        let rate = PeriodRate::new(of("d")).unwrap();
        let sbg = Sbg::new(of("alpha"), of("beta")).unwrap();
        let bdw = Bdw::new(of("alpha"), of("beta"), of("bdw_c")).unwrap();
        let posterior = sbg.churn_posterior(n);

        for (column, actual) in [
            ("survival_n", sbg.survival(n)),
            ("retention_n", sbg.retention(n)),
            ("pmf_n", sbg.pmf(n)),
            ("del_d", sbg.discounted_lifetime(rate).unwrap()),
            ("derl_n_d", sbg.residual_lifetime(n - 1, rate).unwrap()),
            ("derl12_n_d", sbg.residual_lifetime_within(n - 1, 12, rate)),
            ("post_mean_churn", posterior.mean()),
            ("post_sd_churn", posterior.standard_deviation()),
            ("bdw_survival_n", bdw.survival(n)),
            ("bdw_retention_n", bdw.retention(n)),
        ] {
            worst.compare(column, row, actual, of(column));
        }
    }

    assert_eq!(table.rows().count(), 56);
    worst.check(1e-11);
}

#[test]
fn the_corners_of_the_domain_are_right_to_eleven_digits() {
    let table = Table::read("ref_contract_corners.csv");
    let mut worst = Worst::default();

    for row in table.rows() {
        let of = |column| row.number(column);
        let n = of("n") as u32;
        let rate = PeriodRate::new(of("d")).unwrap();
        let sbg = Sbg::new(of("alpha"), of("beta")).unwrap();
        let bdw = Bdw::new(of("alpha"), of("beta"), of("c")).unwrap();
        let ahead = bdw.remaining(n - 1, 24);

        for (column, actual) in [
            ("survival_n", sbg.survival(n)),
            ("ln_survival_n", sbg.ln_survival(n)),
            ("del_d", sbg.discounted_lifetime(rate).unwrap()),
            ("derl_n_d", sbg.residual_lifetime(n - 1, rate).unwrap()),
            ("derl24_n_d", sbg.residual_lifetime_within(n - 1, 24, rate)),
            ("bdw_survival_n", bdw.survival(n)),
            ("bdw_retention_n", bdw.retention(n)),
            ("bdw_pmf_n", bdw.pmf(n)),
            ("bdw_derl24_n_d", ahead.discounted(rate)),
            ("bdw_var24_n_d", ahead.variance_discounted(rate)),
        ] {
            if of(column) == 0.0 {
                assert!((0.0..1e-299).contains(&actual), "{column} of {}: {actual}", row.text("id"));
            } else {
                worst.compare(column, row, actual, of(column));
            }
        }
    }

    assert_eq!(table.rows().count(), 45);
    worst.check(1e-11);
}

#[test]
fn the_published_residual_lifetimes_come_out() {
    let mut found = 0;

    for row in Table::read("published_values.csv").rows().filter(|row| row.text("model") == "sbg") {
        let Some(n) = row.text("quantity").strip_prefix("DERL n=") else { continue };
        let of = |prefix: &str| -> f64 {
            let setting = row.text("dataset_or_params").split(' ');
            setting.into_iter().find_map(|part| part.strip_prefix(prefix)).unwrap().parse().unwrap()
        };
        let model = Sbg::new(of("alpha="), of("beta=")).unwrap();
        let rate = PeriodRate::new(of("d=")).unwrap();

        let lifetime = model.residual_lifetime(n.parse::<u32>().unwrap() - 1, rate).unwrap();

        found += 1;
        assert!((lifetime / row.number("computed_here") - 1.0).abs() < 1e-7, "{lifetime}");
        assert!((lifetime - row.number("published")).abs() <= row.number("abs_tolerance"), "{lifetime}");
    }

    assert_eq!(found, 10);
}

/// A thousand customers over seven renewals, as the published survival says.
fn cohort(column: &str) -> Vec<ContractRow> {
    let table = Table::read("sbg_retention_published.csv");
    let survivors: Vec<u64> =
        table.rows().take(8).map(|row| libm::round(row.number(column) * 10.0) as u64).collect();
    ContractRow::of_survivors(&survivors)
}

fn check_published(model: &str, dataset: &str, fitted: &[(&str, f64)]) {
    let table = Table::read("published_values.csv");
    for &(quantity, value) in fitted {
        let of_it = |row: &csv::Row<'_>| {
            (row.text("model"), row.text("dataset_or_params"), row.text("quantity"))
                == (model, dataset, quantity)
        };
        let row = table.rows().find(of_it).unwrap();
        let computed = row.number("computed_here");
        println!("{model}, {dataset}: {quantity} = {value}, exactly {computed}");
        assert!((value / computed - 1.0).abs() < 1e-8, "{quantity}: {value} is not {computed}");
        if let Ok(published) = row.text("published").parse::<f64>() {
            assert!((value - published).abs() <= row.number("abs_tolerance"), "{quantity}: {value}");
        }
    }
}

const COHORTS: [(&str, &str); 2] = [
    ("regular_pct", "regular 7 renewals, 1000 customers"),
    ("highend_pct", "highend 7 renewals, 1000 customers"),
];

#[test]
fn sbg_finds_the_published_maximum() {
    for (column, dataset) in COHORTS {
        let fit = fit::sbg(&cohort(column)).unwrap();

        assert!(fit.converged && fit.customers == 1000);
        let (alpha, beta) = (fit.model.alpha(), fit.model.beta());
        check_published("sbg", dataset, &[("alpha", alpha), ("beta", beta), ("log_lik", fit.log_likelihood)]);
    }
}

#[test]
fn bdw_finds_the_exact_maximum() {
    for (column, dataset) in COHORTS {
        let fit = fit::bdw(&cohort(column)).unwrap();

        assert!(fit.converged && fit.customers == 1000);
        let model = fit.model;
        let fitted = [("alpha", model.alpha()), ("beta", model.beta()), ("c", model.c())];
        check_published("bdw", dataset, &fitted);
        check_published("bdw", dataset, &[("log_lik", fit.log_likelihood)]);
    }
}

#[test]
fn every_start_leads_to_the_same_maximum() {
    let mut starts = Starts::new(20_261_124);
    for (column, _) in COHORTS {
        let rows = cohort(column);
        let (sbg, bdw) = (fit::sbg(&rows).unwrap().model, fit::bdw(&rows).unwrap().model);
        let mut worst = 0.0_f64;
        for _ in 0..20 {
            let mut near = |z: f64, factor: f64| starts.between(z / factor, z * factor);
            let start = Sbg::new(near(1.0, 1e3), near(1.0, 1e3)).unwrap();
            let found = fit::sbg_from(&rows, &start).unwrap().model;
            let off = [found.alpha() / sbg.alpha(), found.beta() / sbg.beta()];
            let start = Bdw::new(near(1.0, 1e2), near(1.0, 1e2), near(1.0, 10.0)).unwrap();
            let found =
                fit::bdw_from(&rows, &start).unwrap_or_else(|error| panic!("{start:?}: {error}")).model;
            let more = [found.alpha() / bdw.alpha(), found.beta() / bdw.beta(), found.c() / bdw.c()];
            worst = off.into_iter().chain(more).fold(worst, |worst, ratio| worst.max((ratio - 1.0).abs()));
        }
        println!("{column}: worst relative distance of twenty fits {worst:.1e}");
        assert!(worst < 1e-5, "{column}: {worst:e}");
    }
}

#[test]
fn what_cannot_be_fitted_is_said() {
    let message =
        |survivors: &[u64]| fit::sbg(&ContractRow::of_survivors(survivors)).unwrap_err().to_string();

    assert_eq!(message(&[100, 100, 100]), "fit sbg: no customer churned");
    assert_eq!(message(&[10, 5]), "fit sbg: 10 customers are too few, at least 20 are needed");
    assert!(message(&[1000, 600]).starts_with("fit sbg: did not converge"));
}

#[test]
fn what_does_not_exist_is_said() {
    let (heavy, light) = (Sbg::new(1.0, 2.0).unwrap(), Sbg::new(3.0, 2.0).unwrap());
    let boom = PeriodRate::new(0.01).unwrap().with_growth(0.02).unwrap();

    assert_eq!(heavy.expected_residual_lifetime(3), Err(Undefined::InfiniteMean));
    assert_eq!(heavy.discounted_lifetime(PeriodRate::ZERO), Err(Undefined::InfiniteSum));
    assert_eq!(light.residual_lifetime(3, boom), Err(Undefined::InfiniteSum));
    assert!(
        light.residual_lifetime_within(3, 60, boom) > light.residual_lifetime_within(3, 60, PeriodRate::ZERO)
    );
    assert_eq!(light.expected_residual_lifetime(3), Ok(2.5));
    assert!((light.residual_lifetime(3, PeriodRate::ZERO).unwrap() - 2.5).abs() < 1e-15);
    assert_eq!(heavy.remaining_quantile(0, 1.0), None);
}

#[test]
fn quantiles_are_the_smallest_numbers() {
    // Of Beta(1, 1), 1 - 1/(n+2) have churned before the renewal n + 1.
    let uniform = Sbg::new(1.0, 1.0).unwrap();

    assert_eq!(
        [0.0, 0.5, 0.6, 0.9, 0.999].map(|level| uniform.remaining_quantile(0, level)),
        [Some(0), Some(0), Some(1), Some(8), Some(998)]
    );
    assert_eq!(Sbg::new(1e-3, 1.0).unwrap().remaining_quantile(0, 0.99), None);
}

prop_compose! {
    fn any_bdw()(alpha in logarithmic(1e-3, 1e4), beta in logarithmic(1e-3, 1e4), c in logarithmic(0.05, 4.0)) -> Bdw {
        Bdw::new(alpha, beta, c).unwrap()
    }
}

prop_compose! {
    fn any_sbg()(alpha in logarithmic(1e-3, 1e4), beta in logarithmic(1e-3, 1e4)) -> Sbg {
        Sbg::new(alpha, beta).unwrap()
    }
}

fn logarithmic(least: f64, most: f64) -> impl Strategy<Value = f64> {
    (libm::log(least)..libm::log(most)).prop_map(libm::exp)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn survival_falls_and_sbgs_retention_rises(sbg in any_sbg(), bdw in any_bdw(), n in 1_u32..5000) {
        prop_assert!(sbg.survival(n) <= sbg.survival(n - 1));
        prop_assert!(bdw.survival(n) <= bdw.survival(n - 1));
        prop_assert!(sbg.retention(n + 1) >= sbg.retention(n));
        prop_assert!((0.0..=1.0).contains(&bdw.retention(n)));
        prop_assert!((sbg.ln_survival(n) - Bdw::new(sbg.alpha(), sbg.beta(), 1.0).unwrap().ln_survival(n)).abs() <= 1e-12 * sbg.ln_survival(n).abs());
    }

    #[test]
    fn the_probabilities_sum_to_one(sbg in any_sbg(), bdw in any_bdw(), n in 0_u32..300) {
        let churned: f64 = (1..=n).map(|i| sbg.pmf(i)).sum();
        prop_assert!((churned + sbg.survival(n) - 1.0).abs() < 1e-12);
        let churned: f64 = (1..=n).map(|i| bdw.pmf(i)).sum();
        prop_assert!((churned + bdw.survival(n) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_longer_a_customer_has_stayed_the_longer_he_will(sbg in any_sbg(), m in 0_u32..5000, d in logarithmic(1e-9, 10.0)) {
        let rate = PeriodRate::new(d).unwrap();
        let (now, later) = (sbg.residual_lifetime(m, rate).unwrap(), sbg.residual_lifetime(m + 1, rate).unwrap());

        prop_assert!(now.is_finite() && now > 0.0);
        prop_assert!(later >= now * (1.0 - 1e-12), "{now}, {later}");
        // One renewal now, or none; then the lifetime of who made it.
        let step = sbg.retention(m + 1) * (1.0 + later / (1.0 + d));
        prop_assert!((step / now - 1.0).abs() < 2e-12, "{step}, {now}");
    }

    #[test]
    fn a_long_horizon_is_for_ever(sbg in any_sbg(), m in 0_u32..100, d in 0.01..1.0) {
        let rate = PeriodRate::new(d).unwrap();
        let (all, most) = (sbg.residual_lifetime(m, rate).unwrap(), sbg.residual_lifetime_within(m, 4000, rate));

        prop_assert!((most / all - 1.0).abs() < 1e-12, "{most}, {all}");
        prop_assert!(sbg.residual_lifetime_within(m, 30, rate) <= most * (1.0 + 1e-14));
    }

    #[test]
    fn the_listed_horizon_agrees_with_the_closed_form(bdw in any_bdw(), m in 0_u32..200, k in 1_u32..60) {
        let listed = bdw.remaining(m, k);

        for j in 0..k {
            prop_assert!((listed.survival()[j as usize] - bdw.remaining_survival(m, j)).abs() < 1e-13);
            prop_assert!((listed.pmf(j) - bdw.remaining_pmf(m, j)).abs() < 1e-13);
        }
        let quantile = bdw.remaining_quantile(m, 0.8);
        if listed.cdf(k - 1) > 0.8 {
            prop_assert_eq!(quantile, Some(listed.quantile(0.8)));
        }
    }
}

#[test]
fn a_bdw_lifetime_for_ever_is_the_sum_of_a_long_horizon() {
    for (alpha, beta, c) in [
        (0.8, 2.5, 1.2),
        (0.5, 1.0, 0.6),
        (30.0, 500.0, 1.5),
        (1e-3, 10.0, 1.0),
        (2.0, 1e7, 3.0),
        (0.7, 6.0, 1.0),
    ] {
        let bdw = Bdw::new(alpha, beta, c).unwrap();
        for (made, d) in [(0, 0.15), (7, 0.01), (300, 0.002)] {
            let rate = PeriodRate::new(d).unwrap();
            let horizon = (40.0 / d) as u32;

            let for_ever = bdw.residual_lifetime(made, rate).unwrap();

            let summed = bdw.residual_lifetime_within(made, horizon, rate);
            assert!(
                (for_ever / summed - 1.0).abs() < 1e-10,
                "{bdw:?}, {made}, {d}: {for_ever} is not {summed}"
            );
        }
    }
}

#[test]
fn a_bdw_lifetime_for_ever_is_that_of_sbg_where_nothing_depends_on_time() {
    for (alpha, beta) in [(1.5, 3.0), (1.02, 40.0), (6.0, 2e4)] {
        let (bdw, sbg) = (Bdw::new(alpha, beta, 1.0).unwrap(), Sbg::new(alpha, beta).unwrap());
        for (made, d) in [(0, 0.0), (9, 0.0), (9, 1e-9), (9, 1e-5), (0, 3.0)] {
            let rate = PeriodRate::new(d).unwrap();

            let for_ever = bdw.residual_lifetime(made, rate).unwrap();

            let exact = sbg.residual_lifetime(made, rate).unwrap();
            assert!(
                (for_ever / exact - 1.0).abs() < 1e-10,
                "{bdw:?}, {made}, {d}: {for_ever} is not {exact}"
            );
        }
    }
}

#[test]
fn a_bdw_lifetime_whose_end_is_out_of_sight_is_refused() {
    for (alpha, beta, c) in [(1001.0, 1.0, 1e-3), (2000.0, 2.0, 1e-3), (120.0, 50.0, 0.01), (1e7, 1e7, 1e-3)]
    {
        let bdw = Bdw::new(alpha, beta, c).unwrap();

        let lifetime = bdw.residual_lifetime(0, PeriodRate::ZERO);

        assert_eq!(lifetime, Err(Undefined::SumOutOfRange), "{bdw:?}");
        assert!(bdw.residual_lifetime(0, PeriodRate::new(0.01).unwrap()).is_ok());
    }
}

#[test]
fn a_bdw_lifetime_without_end_is_refused() {
    let lifetime = |alpha, c, rate| Bdw::new(alpha, 2.0, c).unwrap().residual_lifetime(3, rate);
    let growth = PeriodRate::ZERO.with_growth(0.01).unwrap();

    assert_eq!(lifetime(0.7, 1.4, PeriodRate::ZERO), Err(Undefined::InfiniteSum));
    assert_eq!(lifetime(5.0, 1.4, growth), Err(Undefined::InfiniteSum));
    assert!(lifetime(0.8, 1.4, PeriodRate::ZERO).is_ok());
}
