//! What must hold for BG/NBD and MBG/NBD alike, for every customer.

use model::{BgNbd, MbgNbd, Terms, Undefined};
use proptest::prelude::*;

fn parameters() -> impl Strategy<Value = [f64; 4]> {
    [logarithmic(0.01, 50.0), logarithmic(0.1, 1e4), logarithmic(0.05, 30.0), logarithmic(0.01, 500.0)]
}

/// Repeat purchases, when the last one was, and the age.
fn customer() -> impl Strategy<Value = (u32, f64, f64)> {
    (0_u32..200, 0.0..1000.0, 0.0..=1.0)
        .prop_map(|(x, age, share)| (x, if x == 0 { 0.0 } else { share * age }, age))
}

fn logarithmic(least: f64, most: f64) -> impl Strategy<Value = f64> {
    (least.ln()..most.ln()).prop_map(f64::exp)
}

fn close(actual: f64, expected: f64, relative: f64) -> bool {
    (actual - expected).abs() <= relative * expected.abs() + 1e-300
}

macro_rules! properties {
    ($module:ident, $model:ty) => {
        mod $module {
            use super::*;

            fn model([r, alpha, a, b]: [f64; 4]) -> $model {
                <$model>::new(r, alpha, a, b).unwrap()
            }

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(150))]

                #[test]
                fn the_chance_to_be_alive_falls_with_silence(parameters in parameters(), (x, t_x, age) in customer(), more in 0.01..100.0) {
                    let model = model(parameters);
                    let (before, after) = (model.p_alive(x, t_x, age), model.p_alive(x, t_x, age + more));

                    prop_assert!((0.0..=1.0).contains(&before) && after <= before);
                    prop_assert!(model.ln_p_alive(x, t_x, age + more) <= model.ln_p_alive(x, t_x, age));
                    prop_assert!(model.ln_p_dead(x, t_x, age + more) >= model.ln_p_dead(x, t_x, age));
                }

                #[test]
                fn a_longer_horizon_brings_more(parameters in parameters(), (x, t_x, age) in customer(), t in 0.1..200.0, more in 0.1..200.0) {
                    let model = model(parameters);
                    let (short, long) = (model.expected_purchases(x, t_x, age, t), model.expected_purchases(x, t_x, age, t + more));

                    prop_assert!(short >= 0.0 && long >= short * (1.0 - 1e-12));
                    prop_assert!(model.p_zero(x, t_x, age, t + more) <= model.p_zero(x, t_x, age, t));
                }

                #[test]
                fn discounts_take_and_for_ever_is_the_limit(parameters in parameters(), (x, t_x, age) in customer(), t in 0.1..500.0, delta in logarithmic(1e-4, 1.0)) {
                    let model = model(parameters);
                    let discounted = |t: f64| model.discounted_purchases(x, t_x, age, t, delta);
                    let for_ever = model.discounted_purchases_for_ever(x, t_x, age, delta).unwrap();

                    prop_assert!(discounted(t) <= model.expected_purchases(x, t_x, age, t));
                    prop_assert!(discounted(t) <= for_ever * (1.0 + 1e-12));
                    prop_assert!(close(discounted(40.0 / delta), for_ever, 1e-11), "{} {for_ever}", discounted(40.0 / delta));
                }

                #[test]
                fn the_unit_of_time_does_not_matter(parameters in parameters(), (x, t_x, age) in customer(), t in 0.1..500.0, delta in logarithmic(1e-4, 1.0)) {
                    let [r, alpha, a, b] = parameters;
                    let (weeks, days) = (model(parameters), model([r, 7.0 * alpha, a, b]));
                    let (d_x, d_age, d_t, d_delta) = (7.0 * t_x, 7.0 * age, 7.0 * t, delta / 7.0);

                    prop_assert!((weeks.ln_p_alive(x, t_x, age) - days.ln_p_alive(x, d_x, d_age)).abs() <= 1e-11 * (1.0 + weeks.ln_p_alive(x, t_x, age).abs()));
                    for (in_weeks, in_days) in [
                        (weeks.expected_purchases(x, t_x, age, t), days.expected_purchases(x, d_x, d_age, d_t)),
                        (weeks.discounted_purchases(x, t_x, age, t, delta), days.discounted_purchases(x, d_x, d_age, d_t, d_delta)),
                        (weeks.discounted_purchases_for_ever(x, t_x, age, delta).unwrap(), days.discounted_purchases_for_ever(x, d_x, d_age, d_delta).unwrap()),
                        (weeks.variance(x, t_x, age, t), days.variance(x, d_x, d_age, d_t)),
                        (weeks.p_zero(x, t_x, age, t), days.p_zero(x, d_x, d_age, d_t)),
                    ] {
                        prop_assert!(close(in_weeks, in_days, 1e-10), "{in_weeks} {in_days}");
                    }
                    // A density: one factor of seven for each purchase.
                    let in_days = days.log_likelihood(x, d_x, d_age) + f64::from(x) * 7.0_f64.ln();
                    prop_assert!((weeks.log_likelihood(x, t_x, age) - in_days).abs() <= 1e-10 * (1.0 + in_days.abs()));
                }

                #[test]
                fn the_probabilities_sum_to_one_with_the_stated_moments(parameters in parameters(), (x, t_x, age) in customer(), t in 0.1..200.0) {
                    let model = model(parameters);
                    let expected = model.expected_purchases(x, t_x, age, t);
                    prop_assume!(expected < 1e5);

                    let distribution = model.purchase_distribution(x, t_x, age, t);

                    let numbers = 0..=distribution.largest();
                    let sum: f64 = numbers.clone().map(|n| distribution.pmf(n)).sum();
                    let mean = distribution.mean();
                    let square = |n: u32| (f64::from(n) - mean) * (f64::from(n) - mean);
                    let variance: f64 = numbers.map(|n| square(n) * distribution.pmf(n)).sum();
                    prop_assert!((sum - 1.0).abs() < 1e-12, "{sum}");
                    prop_assert!(close(mean, expected, 1e-10), "{mean} {expected}");
                    let stated = model.variance(x, t_x, age, t);
                    prop_assert!(close(variance, stated, 1e-9), "{variance} {stated}");
                    prop_assert!(close(distribution.pmf(0), model.p_zero(x, t_x, age, t), 1e-13));
                    for level in [0.05, 0.5, 0.95] {
                        let n = distribution.quantile(level);
                        prop_assert!(distribution.cdf(n) >= level && (n == 0 || distribution.cdf(n - 1) < level));
                    }
                }

                #[test]
                fn the_curves_tell_the_same_as_the_formulas(parameters in parameters(), (x, t_x, age) in customer(), t in 0.1..200.0) {
                    let model = model(parameters);
                    let terms = Terms::new(t, 0.0).unwrap();

                    let spread = model.spread_curve(x, &terms).at(age);

                    let expected = model.alive_curve(x, &terms).purchases(age).expected;
                    let (by_curve, direct) = (spread.variance(model.p_alive(x, t_x, age), expected), model.variance(x, t_x, age, t));
                    prop_assert!(close(by_curve, direct, 1e-11), "{by_curve} {direct}");
                    let (by_curve, direct) = (spread.p_zero(model.p_alive(x, t_x, age)), model.p_zero(x, t_x, age, t));
                    prop_assert!((by_curve - direct).abs() < 1e-15);
                }
            }

            #[test]
            fn undiscounted_purchases_for_ever_end_only_if_customers_do() {
                let for_ever = |a: f64, delta: f64| {
                    model([0.5, 5.0, a, 3.0]).discounted_purchases_for_ever(2, 5.0, 9.0, delta)
                };

                assert_eq!(for_ever(0.8, 0.0), Err(Undefined::InfiniteSum));
                assert_eq!(for_ever(1.0, 0.0), Err(Undefined::InfiniteSum));
                assert!(for_ever(0.8, 1e-90).unwrap().is_finite());
                let (none, tiny) = (for_ever(2.5, 0.0).unwrap(), for_ever(2.5, 1e-30).unwrap());
                assert!(close(tiny, none, 1e-12), "{tiny} {none}");
            }

            #[test]
            fn the_ends_of_the_domain_are_finite() {
                let ends = [1e-7, 1e7];
                for corner in 0..16 {
                    let model = model(std::array::from_fn(|i| ends[corner >> i & 1]));
                    for (x, t, delta) in [(0, 1e-300, 1e-80), (0, 52.0, 1e-9), (3, 52.0, 0.003), (5000, 5217.0, 50.0), (u32::MAX, 1.0, 1e3)] {
                        for age in [0.0, 40.0, 6e8] {
                            let t_x = if x == 0 { 0.0 } else { 0.4 * age };
                            let terms = Terms::new(t, 0.1).unwrap();
                            let spread = model.spread_curve(x, &terms).at(age);
                            let answers = [
                                model.discounted_purchases_for_ever(x, t_x, age, delta).unwrap(),
                                model.variance(x, t_x, age, t),
                                model.p_zero(x, t_x, age, t),
                                spread.variance,
                                spread.p_zero,
                            ];
                            let what = format!("{model:?} {x} {age} {t} {delta} {answers:?}");
                            assert!(answers.iter().all(|answer| answer.is_finite() && *answer >= 0.0), "{what}");
                            assert!(model.log_likelihood(x, t_x, age).is_finite(), "{what}");
                        }
                    }
                }
            }

            #[test]
            fn a_distribution_too_wide_to_list_is_cut_short() {
                // 1e13 purchases expected: none are told apart.
                let distribution = model([1e7, 1e-7, 1e-3, 10.0]).purchase_distribution(0, 0.0, 0.0, 0.1);

                assert_eq!(distribution.quantile(1.0), 1 << 24);
                let sum: f64 = (0..=distribution.largest()).map(|n| distribution.pmf(n)).sum();
                // Sixteen million roundings.
                assert!((sum - 1.0).abs() < 1e-8, "{sum}");
            }
        }
    };
}

properties!(bg_nbd, BgNbd);
properties!(mbg_nbd, MbgNbd);
