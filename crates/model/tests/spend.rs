//! The spend of a customer: per purchase against values computed with 40 digits, and in all against simulated ones.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

mod csv;

use csv::Table;
use model::{GammaGamma, Level, SpendInterval, Undefined};

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
