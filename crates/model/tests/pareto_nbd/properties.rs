//! What holds of every model and customer, the corners of the domain included.

use model::{ParetoNbd, Undefined};
use proptest::prelude::*;

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
