//! What must hold for every customer and every model, not only for the tabulated ones.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

use model::{BgNbd, GammaGamma, Parameters, Rejection, Scorer, Summary, Terms};
use proptest::prelude::*;

prop_compose! {
    fn bg_nbd()(r in logarithmic(0.01, 50.0), alpha in logarithmic(0.1, 1e4), a in logarithmic(0.01, 30.0), b in logarithmic(0.01, 500.0)) -> BgNbd {
        BgNbd::new(r, alpha, a, b).unwrap()
    }
}

prop_compose! {
    fn parameters()(bg_nbd in bg_nbd(), p in 0.1..20.0, q in 1.01..20.0, v in logarithmic(1.0, 1e6)) -> Parameters {
        Parameters { bg_nbd, gamma_gamma: GammaGamma::new(p, q, v).unwrap() }
    }
}

prop_compose! {
    /// A customer with his purchases, when the last one was, and his age.
    fn customer()(x in 0_u32..200, age in 0.0..1000.0, share in 0.0..=1.0) -> (u32, f64, f64) {
        (x, if x == 0 { 0.0 } else { share * age }, age)
    }
}

prop_compose! {
    fn summary()(frequency in prop_oneof![0_u32..100, any::<u32>()],
                 age_days in prop_oneof![0_u32..5000, any::<u32>()],
                 share in 0.0..=1.0,
                 spend in prop_oneof![0_i64..10_000_000, 0_i64..=1 << 53]) -> Summary {
        let repeats = frequency > 0;
        Summary {
            frequency,
            recency_days: if repeats { (share * f64::from(age_days)) as u32 } else { 0 },
            age_days,
            repeat_spend_minor: if repeats { spend } else { 0 },
        }
    }
}

fn logarithmic(least: f64, most: f64) -> impl Strategy<Value = f64> {
    (least.ln()..most.ln()).prop_map(f64::exp)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_chance_to_be_alive_falls_with_silence(model in bg_nbd(), (x, t_x, age) in customer(), more in 0.01..100.0) {
        let before = model.p_alive(x, t_x, age);
        let after = model.p_alive(x, t_x, age + more);

        prop_assert!((0.0..=1.0).contains(&before));
        prop_assert!(after <= before);
        prop_assert!(x == 0 || before < 1e-300 || model.ln_p_dead(x, t_x, age + more) >= model.ln_p_dead(x, t_x, age));
    }

    #[test]
    fn a_longer_horizon_brings_more_purchases(model in bg_nbd(), (x, t_x, age) in customer(), horizon in 0.1..200.0, more in 0.1..200.0) {
        let short = model.expected_purchases(x, t_x, age, horizon);
        let long = model.expected_purchases(x, t_x, age, horizon + more);

        prop_assert!(short >= 0.0 && short.is_finite());
        prop_assert!(long >= short * (1.0 - 1e-12), "{} weeks {}, {} weeks {}", horizon, short, horizon + more, long);
    }

    #[test]
    fn the_rate_of_purchases_never_rises(model in bg_nbd(), x in 0_u32..200, age in 0.0..500.0, first in 1.0..100.0, second in 1.0..100.0) {
        let at = |t: f64| model.alive_curve(x, &Terms::new(t, 0.0).unwrap()).purchases(age).expected;
        let (whole, part) = (at(first + second), at(first));

        prop_assert!((whole - part) / second <= part / first * (1.0 + 1e-10));
    }

    #[test]
    fn discounting_never_adds(model in bg_nbd(), x in 0_u32..200, age in 0.0..1000.0, horizon in 0.1..500.0, rate in 0.0..10.0) {
        let purchases = model.alive_curve(x, &Terms::new(horizon, rate).unwrap()).purchases(age);

        prop_assert!(purchases.discounted <= purchases.expected);
        prop_assert!(purchases.discounted >= purchases.expected * (-horizon * Terms::new(horizon, rate).unwrap().delta()).exp() * (1.0 - 1e-12));
    }

    #[test]
    fn a_value_is_finite_or_refused_whatever_the_summary(parameters in parameters(), summary in summary()) {
        match Scorer::new(parameters, Terms::default()).value(&summary) {
            Ok(value) => {
                prop_assert!(value.value_minor >= 0);
                prop_assert!(value.expected_purchases.is_finite() && value.expected_purchases >= 0.0);
                prop_assert!((0.0..=1.0).contains(&value.p_alive));
            }
            Err(rejection) => prop_assert_eq!(rejection, Rejection::ValueOutOfRange),
        }
    }

    #[test]
    fn the_value_is_the_product_of_the_models(parameters in parameters(), (x, t_x, age) in customer()) {
        let terms = Terms::default();
        let summary = Summary {
            frequency: x,
            recency_days: (t_x * 7.0).ceil().min((age * 7.0).floor()) as u32,
            age_days: (age * 7.0).floor() as u32,
            repeat_spend_minor: 1234 * i64::from(x),
        };
        let Parameters { bg_nbd, gamma_gamma } = &parameters;

        let value = Scorer::new(parameters, terms).value(&summary).unwrap();

        let (t_x, age, t) = (summary.recency(), summary.age(), terms.horizon_weeks());
        let spend = gamma_gamma.mean_spend(x, summary.mean_spend_minor()).unwrap();
        let product = spend * bg_nbd.discounted_purchases(x, t_x, age, t, terms.delta());
        prop_assert_eq!(value.p_alive.to_bits(), bg_nbd.p_alive(x, t_x, age).to_bits());
        prop_assert!((value.expected_purchases - bg_nbd.expected_purchases(x, t_x, age, t)).abs() <= 1e-12 * value.expected_purchases);
        prop_assert!((value.value_minor as f64 - product).abs() <= 0.5 + 1e-9 * product);
    }
}

#[test]
fn a_prospect_is_what_the_models_say() {
    let Parameters { bg_nbd, gamma_gamma } = cdnow();
    let terms = Terms::default();
    let scorer = Scorer::new(cdnow(), terms);
    let close = |actual: f64, expected: f64| {
        assert!((actual - expected).abs() <= 1e-10 * expected.abs(), "{actual} is not {expected}");
    };

    for (frequency, recency_days, age_days) in
        [(0, 0, 200), (1, 30, 40), (7, 100, 700), (40, 600, 610), (300, 90, 91)]
    {
        let summary =
            Summary { frequency, recency_days, age_days, repeat_spend_minor: 3_000 * i64::from(frequency) };
        let (t_x, age, horizon) = (summary.recency(), summary.age(), terms.horizon_weeks());

        let prospect = scorer.prospect(&summary).unwrap();

        assert_eq!(prospect.value, scorer.value(&summary).unwrap());
        close(
            prospect.discounted_purchases,
            bg_nbd.discounted_purchases(frequency, t_x, age, horizon, terms.delta()),
        );
        close(prospect.variance, bg_nbd.variance(frequency, t_x, age, horizon));
        close(prospect.p_zero, bg_nbd.p_zero(frequency, t_x, age, horizon));
        close(
            prospect.mean_spend_minor,
            gamma_gamma.mean_spend(frequency, summary.mean_spend_minor()).unwrap(),
        );
        let [eighty, ninety] = prospect.spend_intervals.unwrap();
        assert!(ninety.lower <= eighty.lower && eighty.lower <= eighty.upper && eighty.upper <= ninety.upper);
    }
}

#[test]
fn a_prospect_without_a_variance_of_the_spend_has_no_intervals() {
    let parameters = Parameters { gamma_gamma: GammaGamma::new(0.5, 1.5, 900.0).unwrap(), ..cdnow() };
    let new = Summary { frequency: 0, recency_days: 0, age_days: 100, repeat_spend_minor: 0 };

    let prospect = Scorer::new(parameters, Terms::default()).prospect(&new).unwrap();

    assert_eq!(prospect.spend_intervals, None);
    assert!(prospect.value.value_minor > 0 && prospect.variance > 0.0);
}

#[test]
fn a_summary_at_the_ends_of_its_types_is_valued() {
    let parameters = cdnow();
    let scorer = Scorer::new(parameters, Terms::new(5217.75, 0.0).unwrap());

    for frequency in [0, 1, 255, 256, 4095, 4096, u32::MAX] {
        for age_days in [0, 1, 4095, 4096, u32::MAX] {
            let recency_days = if frequency == 0 { 0 } else { age_days };
            let summary = Summary { frequency, recency_days, age_days, repeat_spend_minor: 0 };
            let value = scorer.value(&summary).unwrap();
            assert!(
                value.expected_purchases.is_finite() && value.expected_purchases > 0.0,
                "{summary:?} {value:?}"
            );
        }
    }
}

#[test]
fn models_at_the_ends_of_their_domain_are_finite() {
    let ends = [1e-7, 1e7];
    let corners = (0..16).map(|corner| std::array::from_fn(|i| ends[corner >> i & 1]));
    for [r, alpha, a, b] in corners {
        let model = BgNbd::new(r, alpha, a, b).unwrap();
        for (x, horizon, rate) in [(0, 1e-300, 0.0), (3, 52.0, 0.15), (u32::MAX, 5217.0, 10.0)] {
            let curve = model.alive_curve(x, &Terms::new(horizon, rate).unwrap());
            for age in [0.0, 40.0, 6e8] {
                let purchases = curve.purchases(age);
                assert!(
                    purchases.expected.is_finite() && purchases.expected >= 0.0,
                    "{model:?} {x} {purchases:?}"
                );
                assert!(purchases.discounted <= purchases.expected, "{model:?} {x} {purchases:?}");
            }
        }
    }
}

#[test]
fn a_contradictory_summary_is_refused() {
    let scorer = Scorer::new(cdnow(), Terms::default());
    let summary = Summary { frequency: 1, recency_days: 5, age_days: 9, repeat_spend_minor: 100 };

    for contradictory in [
        Summary { recency_days: 10, ..summary },
        Summary { frequency: 0, ..summary },
        Summary { repeat_spend_minor: -1, ..summary },
        Summary { repeat_spend_minor: i64::MAX, ..summary },
    ] {
        assert_eq!(scorer.value(&contradictory), Err(Rejection::InconsistentSummary));
    }
}

#[test]
fn a_new_customer_has_no_value_where_the_mean_spend_is_infinite() {
    let parameters = Parameters { gamma_gamma: GammaGamma::new(4.0, 0.79, 20.0).unwrap(), ..cdnow() };
    let scorer = Scorer::new(parameters, Terms::default());
    let new = Summary { frequency: 0, recency_days: 0, age_days: 9, repeat_spend_minor: 0 };

    assert_eq!(scorer.value(&new), Err(Rejection::SpendHasNoMean));
    assert!(scorer.value(&Summary { frequency: 1, recency_days: 3, ..new }).is_ok());
}

#[test]
fn neither_threads_nor_order_nor_the_tables_can_be_seen_in_a_value() {
    let terms = Terms::default();
    let summaries: Vec<Summary> = (0..20_000_u32)
        .map(|i| {
            let frequency = i * 7919 % 300;
            let age_days = frequency + i * 104_729 % 4200;
            let recency_days = if frequency == 0 { 0 } else { frequency + i % (age_days - frequency + 1) };
            Summary {
                frequency,
                recency_days,
                age_days,
                repeat_spend_minor: i64::from(frequency * (i % 5000)),
            }
        })
        .collect();
    let bits = |scorer: &Scorer, summary: &Summary| {
        let value = scorer.value(summary).unwrap();
        (value.value_minor, value.expected_purchases.to_bits(), value.p_alive.to_bits())
    };
    let alone = Scorer::new(cdnow(), terms);
    let expected: Vec<_> = summaries.iter().map(|summary| bits(&alone, summary)).collect();

    let shared = Scorer::new(cdnow(), terms);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (shared, summaries, expected) = (&shared, &summaries, &expected);
            scope.spawn(move || {
                for step in 0..summaries.len() {
                    let place = (step * 7 + thread * 2500) % summaries.len();
                    assert_eq!(bits(shared, &summaries[place]), expected[place]);
                }
            });
        }
    });

    for summary in summaries.iter().step_by(500) {
        let curve = cdnow().bg_nbd.alive_curve(summary.frequency, &terms);
        let p_alive = cdnow().bg_nbd.p_alive(summary.frequency, summary.recency(), summary.age());
        let direct = p_alive * curve.purchases(summary.age()).expected;
        assert_eq!(shared.value(summary).unwrap().expected_purchases.to_bits(), direct.to_bits());
    }
}

fn cdnow() -> Parameters {
    Parameters {
        bg_nbd: BgNbd::new(0.243, 4.414, 0.793, 2.426).unwrap(),
        gamma_gamma: GammaGamma::new(6.25, 3.74, 1544.0).unwrap(),
    }
}
