//! The spend of a customer: per purchase against values computed with 40 digits, and in all against simulated ones.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

mod csv;

use csv::Table;
use std::collections::BTreeMap;

use model::{BgNbd, GammaGamma, Level, SpendDistribution, SpendInterval, Undefined};

fn level(level: f64) -> Level {
    Level::new(level).unwrap()
}

fn relative(actual: f64, expected: f64) -> f64 {
    (actual / expected - 1.0).abs()
}

#[test]
fn what_is_known_of_a_mean_spend_is_right_to_twelve_digits_or_said_not_to_exist() {
    let (mut worst, mut undefined) = ([0.0_f64; 4], 0);
    for row in Table::read("ref_gamma_gamma.csv").rows() {
        let of = |column| row.number(column);
        let model = GammaGamma::new(of("p"), of("q"), of("v")).unwrap();
        let posterior = model.posterior(of("x") as u32, of("zbar"));

        match posterior.mean() {
            Ok(mean) => worst[0] = worst[0].max(relative(mean, of("mean_spend"))),
            Err(error) => {
                assert!(of("mean_spend").is_infinite());
                assert_eq!(error, Undefined::InfiniteMean);
                undefined += 1;
            }
        }
        match model.variance(of("x") as u32, of("zbar")) {
            Ok(variance) => worst[1] = worst[1].max(relative(variance, of("var_mean_spend"))),
            Err(error) => {
                assert!(of("var_mean_spend").is_infinite());
                let mean_too = of("mean_spend").is_infinite();
                assert_eq!(
                    error,
                    if mean_too { Undefined::InfiniteMean } else { Undefined::InfiniteVariance }
                );
                undefined += 1;
            }
        }
        worst[2] = worst[2].max(relative(posterior.shape(), of("post_shape")));
        worst[3] = worst[3].max(relative(posterior.scale(), of("post_scale")));
    }

    println!("worst relative errors of mean, variance, shape, scale: {worst:?}");
    assert!(worst.iter().all(|&error| error < 1e-12), "{worst:?}");
    assert_eq!(undefined, 4);
}

#[test]
fn the_quantiles_of_a_mean_spend_are_those_of_an_inverse_gamma() {
    // With p x + q = 1 the mean spend is p c over an exponential: P(M <= m) = exp(-p c / m).
    let model = GammaGamma::new(0.5, 0.5, 20.0).unwrap();

    for at in [1e-9, 0.05, 0.5, 0.9, 1.0 - 1e-9] {
        let expected = 0.5 * 27.0 / -libm::log(at);
        let actual = model.quantile(1, 7.0, level(at));
        assert!(relative(actual, expected) < 1e-8, "{at}: {actual} is not {expected}");
    }
    assert_eq!(model.variance(1, 7.0), Err(Undefined::InfiniteMean));
}

#[test]
fn an_interval_holds_what_it_says_or_the_atom_at_zero() {
    let cheap = |p_zero: f64| {
        let moments =
            GammaGamma::new(6.25, 3.74, 15.44).unwrap().posterior(2, 30.0).total_spend(1.2, 2.0).unwrap();
        SpendInterval::from_moments(p_zero, &moments, [Level::EIGHTY, Level::NINETY])
    };

    let [eighty, ninety] = cheap(0.04);
    assert!(0.0 < ninety.lower && ninety.lower < eighty.lower);
    assert!(eighty.upper < ninety.upper);

    let [eighty, ninety] = cheap(0.5);
    assert!(eighty.lower == 0.0 && ninety.lower == 0.0);
    assert!(0.0 < eighty.upper && eighty.upper < ninety.upper);

    let [eighty, ninety] = cheap(0.85);
    assert!(eighty == SpendInterval { lower: 0.0, upper: 0.0 } && ninety.upper > 0.0);

    for p_zero in [0.0, 1e-300, 0.05, 0.1, 0.8, 0.9, 0.95, 1.0 - 1e-16, 1.0] {
        for interval in cheap(p_zero) {
            assert!(interval.lower >= 0.0 && interval.lower <= interval.upper && interval.upper.is_finite());
        }
    }
}

#[test]
fn there_is_no_cheap_interval_without_a_second_moment() {
    let heavy = GammaGamma::new(0.8, 1.05, 50.0).unwrap();

    assert_eq!(heavy.posterior(0, 0.0).total_spend(1.0, 1.0), Err(Undefined::InfiniteVariance));
    assert!(heavy.posterior(5, 40.0).total_spend(1.0, 1.0).is_ok());
    assert_eq!(
        GammaGamma::new(4.0, 0.79, 20.0).unwrap().posterior(0, 0.0).total_spend(1.0, 1.0),
        Err(Undefined::InfiniteMean)
    );
}

/// A reference customer's purchases and spend over the horizon.
struct Customer {
    purchases: model::PurchaseDistribution,
    purchase_variance: f64,
    spend: SpendDistribution,
}

impl Customer {
    fn of(row: csv::Row<'_>) -> Self {
        let of = |column| row.number(column);
        let bg_nbd = BgNbd::new(of("r"), of("alpha"), of("a"), of("b")).unwrap();
        let gamma_gamma = GammaGamma::new(of("p"), of("q"), of("v")).unwrap();
        let (x, t_x, age, horizon) = (of("x") as u32, of("t_x"), of("T"), of("t"));
        let purchases = bg_nbd.purchase_distribution(x, t_x, age, horizon);
        let spend = SpendDistribution::new(&gamma_gamma, x, of("zbar"), &purchases);
        Self { purchase_variance: bg_nbd.variance(x, t_x, age, horizon), purchases, spend }
    }
}

#[test]
fn the_reference_customers_spend_what_they_should() {
    let mut worst = BTreeMap::<&str, f64>::new();

    for row in Table::read("ref_interval.csv").rows() {
        let Customer { purchases, purchase_variance, spend } = Customer::of(row);
        // The file's error is absolute in the probabilities: of the customer who is dead but for 1e-9 it has six digits.
        let (allowed, is_exact) = if row.number("mean_y") < 1e-6 { (1e-4, false) } else { (1e-9, true) };
        let mut compare = |name, actual: f64| {
            let expected = row.number(name);
            let error = if expected == 0.0 { actual.abs() } else { relative(actual, expected) };
            assert!(error < allowed, "{name} of {}: {actual} is not {expected}", row.text("id"));
            let worst: &mut f64 = worst.entry(name).or_default();
            *worst = if is_exact { worst.max(error) } else { *worst };
        };

        compare("pmf0", purchases.pmf(0));
        compare("pmf1", purchases.pmf(1));
        compare("pmf2", purchases.pmf(2));
        compare("mean_y", purchases.mean());
        compare("var_y", purchase_variance);
        compare("mean_spend_total", spend.mean().unwrap());
        compare("var_spend_total", spend.variance().unwrap());
        for (y, v, at) in [("y_q05", "v_q05", 0.05), ("y_q50", "v_q50", 0.5), ("y_q95", "v_q95", 0.95)] {
            compare(y, f64::from(purchases.quantile(at)));
            compare(v, spend.quantile(level(at)));
        }
    }

    println!("{worst:?}");
}

#[test]
fn an_exact_interval_holds_its_level_or_the_atom_and_a_cheap_one_nearly() {
    let mut off = Vec::new();

    for row in Table::read("ref_interval.csv").rows() {
        let Customer { spend, .. } = Customer::of(row);
        for level in [Level::EIGHTY, Level::NINETY] {
            let held = |interval: SpendInterval| {
                let below = if interval.lower > 0.0 { spend.cdf(interval.lower) } else { 0.0 };
                spend.cdf(interval.upper) - below
            };
            let exact = spend.interval(level);
            let [cheap] = SpendInterval::from_moments(spend.p_zero(), &spend.moments().unwrap(), [level]);

            let promised = level.get().max(spend.p_zero());
            assert!((held(exact) - promised).abs() < 1e-10, "{}: {}", row.text("id"), held(exact));
            assert!((held(cheap) - promised).abs() < 0.06, "{}: {}", row.text("id"), held(cheap));
            off.push((held(cheap) - promised).abs());
        }
    }

    println!(
        "cheap intervals hold up to {:.4} more or less than they say",
        off.into_iter().fold(0.0, f64::max)
    );
}

#[test]
fn the_distribution_of_a_spend_rises_from_its_atom_to_one_and_its_quantiles_lead_back() {
    for row in Table::read("ref_interval.csv").rows() {
        let Customer { spend, .. } = Customer::of(row);
        let amounts = [-1.0, 0.0, 1e-300, 1e-9, 0.3, 20.0, 900.0, 1e6, 1e300, f64::INFINITY];
        let cdf = amounts.map(|amount| spend.cdf(amount));

        assert!(cdf.is_sorted() && cdf[0] == 0.0 && cdf[9] >= 1.0, "{cdf:?}");
        assert_eq!(cdf[1].to_bits(), spend.p_zero().to_bits());
        for at in [1e-9, 0.3, 0.7, 0.999, 1.0 - 1e-9] {
            let amount = spend.quantile(level(at));
            if at <= spend.p_zero() {
                assert_eq!(amount.to_bits(), 0.0_f64.to_bits());
            } else {
                assert!((spend.cdf(amount) - at).abs() < 1e-13, "{at}: {amount} {}", spend.cdf(amount));
            }
        }
    }
}

#[test]
fn a_spend_without_moments_has_quantiles_all_the_same() {
    let purchases = BgNbd::new(0.6, 8.0, 2.5, 6.0).unwrap().purchase_distribution(0, 0.0, 30.0, 52.0);
    for (p, q, v) in [(4.0, 0.79, 20.0), (1e-9, 1e-9, 1e15), (1e15, 1e-9, 1e-9), (1e15, 1e15, 1e15)] {
        let spend = SpendDistribution::new(&GammaGamma::new(p, q, v).unwrap(), 0, 0.0, &purchases);

        assert_eq!(spend.variance().is_ok(), q > 2.0);
        let quantiles = [0.1, 0.5, 0.9, 0.99].map(|at| spend.quantile(level(at)));
        assert!(quantiles.is_sorted() && quantiles.iter().all(|amount| amount.is_finite()), "{quantiles:?}");
    }
}

#[test]
fn nobody_who_never_buys_spends() {
    let never = BgNbd::new(0.6, 8.0, 2.5, 6.0).unwrap().purchase_distribution(30, 1.0, 1e6, 1e-9);
    let spend = SpendDistribution::new(&GammaGamma::new(6.0, 4.0, 15.0).unwrap(), 30, 20.0, &never);

    assert_eq!(spend.interval(Level::NINETY), SpendInterval { lower: 0.0, upper: 0.0 });
    assert!(spend.quantile(level(1.0 - 1e-12)) == 0.0);
    assert!(spend.mean().unwrap() < 1e-9);
}
