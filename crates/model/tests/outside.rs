//! What comes from outside: lines of histories and subscriptions with any numbers in them, and models as JSON.

use model::{
    BgNbd, ContractModel, ContractModels, Course, Currency, GammaGamma, HistoryFold, Models, Observation,
    Parameters, PlanModel, Sbg, Season, Subscription, SubscriptionFold, Terms, ValueTerms,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

const DAY_US: i64 = 86_400_000_000;

/// Numbers around which something may go wrong, and ordinary ones.
fn numbers() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => -10_000..1_000_000_i64,
        3 => (-50_000..50_000_i64).prop_map(|day| day * DAY_US),
        2 => any::<i64>(),
        1 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX, 1 << 53]),
    ]
}

fn euro() -> Currency {
    Currency::parse("EUR").expect("it is one")
}

fn currencies() -> impl Strategy<Value = [u8; 3]> {
    prop_oneof![9 => Just(*b"EUR"), 1 => any::<[u8; 3]>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_lines_give_a_summary_or_a_rejection(
        mut lines in prop::collection::vec((numbers(), numbers(), currencies()), 0..12),
        is_in_order: bool,
        as_of_us in numbers(),
    ) {
        if is_in_order {
            lines.sort_unstable();
        }
        let observation = Observation::new(as_of_us, euro());
        let mut fold = HistoryFold::new();
        for (occurred_at_us, amount_minor, currency) in lines {
            fold.push(occurred_at_us, amount_minor, currency);
        }

        if let Ok((summary, spend_minor)) = fold.finish_with_spend(&observation) {
            prop_assert!(summary.recency_days <= summary.age_days);
            prop_assert!(summary.repeat_spend_minor >= 0 && spend_minor.abs() <= 1 << 54);
            prop_assert!(summary.frequency == 0 || summary.recency_days > 0);
        }
    }

    #[test]
    fn any_subscription_gives_a_course_or_a_rejection(
        (started_at_us, as_of_us, price_minor) in (numbers(), numbers(), numbers()),
        ended_at_us in prop::option::of(numbers()),
        period_months in prop_oneof![1..121_i64, numbers()],
        currency in currencies(),
    ) {
        let observation = Observation::new(as_of_us, euro());
        let line =
            Subscription { plan: "pro", period_months, started_at_us, ended_at_us, price_minor, currency };
        let mut fold = SubscriptionFold::new();

        if let Ok(course) = Course::of(&line, &observation) {
            prop_assert!(course.payments >= 1 && course.days_to_renewal().is_none_or(|days| days >= 1));
            course.tenure(false);
        }
        for _ in 0..3 {
            fold.push(&line, &ContractModels::default(), &observation);
        }
        if let Ok(subscribed) = fold.finish() {
            prop_assert!(subscribed.paid_minor >= 0);
        }
    }
}

fn models() -> Models {
    let model = ContractModel::Sbg(Sbg::new(0.7, 1.3).expect("they are parameters"));
    let plans = vec![PlanModel { plan: "pro".into(), period_months: 1, model }];
    Models {
        purchases: Parameters {
            bg_nbd: BgNbd::new(0.24, 4.4, 0.8, 2.4).expect("they are parameters"),
            gamma_gamma: GammaGamma::new(6.2, 3.7, 15.4).expect("they are parameters"),
        },
        season: Some(Season::none()),
        contracts: ContractModels { plans, others: Some(model) },
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<f64>().prop_map(|number| Json::from(number.to_string())),
        prop::sample::select(vec!["NaN", "inf", "-inf", "1e999", "-0", "", "1e-999", " 1", "0x1p3"])
            .prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 60, 53, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..54).prop_map(Json::from),
            prop::collection::btree_map("[a-z_]{1,6}", inner, 0..4)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

/// Everything within a document that can be replaced, itself included.
fn places<'a>(json: &'a Json, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    let inner: Vec<(String, &'a Json)> = match json {
        Json::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        Json::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), field)).collect(),
        _ => Vec::new(),
    };
    for (name, json) in inner {
        places(json, &format!("{path}/{name}"), found);
    }
}

/// What is understood is written and read back as the same, so nothing got in that has no place there.
fn is_sound<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(
    text: &[u8],
) -> Result<(), TestCaseError> {
    let Ok(read) = serde_json::from_slice::<T>(text) else { return Ok(()) };
    let again = serde_json::to_string(&read).expect("it can be written");
    prop_assert_eq!(serde_json::from_str::<T>(&again).expect("it was written by us"), read);
    Ok(())
}

fn are_sound(text: &[u8]) -> Result<(), TestCaseError> {
    is_sound::<Models>(text)?;
    is_sound::<Parameters>(text)?;
    is_sound::<ContractModels>(text)?;
    is_sound::<Season>(text)?;
    is_sound::<ValueTerms>(text)?;
    is_sound::<Terms>(text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_bytes_are_models_and_terms_or_an_error(text: Vec<u8>) {
        are_sound(&text)?;
    }

    #[test]
    fn any_json_is_models_and_terms_or_an_error(json in any_json()) {
        are_sound(json.to_string().as_bytes())?;
    }

    #[test]
    fn models_and_terms_with_anything_in_one_place_are_read_or_an_error(
        place: prop::sample::Index,
        put in any_json(),
        which in 0..3_usize,
    ) {
        let mut json = [
            json!(models()),
            json!(ValueTerms::default()),
            json!(Terms::default()),
        ][which].clone();
        let mut found = Vec::new();
        places(&json, "", &mut found);
        let place = &found[place.index(found.len())];
        *json.pointer_mut(place).expect("the place is there") = put;

        are_sound(json.to_string().as_bytes())?;
    }

    #[test]
    fn terms_of_any_numbers_are_in_their_domain_or_refused(numbers: [f64; 4]) {
        let [discount, take, refund, margin] = numbers;
        if let Ok(terms) = ValueTerms::new(discount, take, refund, margin) {
            let shares = [terms.take_rate(), terms.refund_rate(), terms.contract_margin()];
            prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
            prop_assert!(terms.over_years(1.0).is_ok());
        }
    }
}

#[test]
fn json_without_a_bottom_is_an_error() {
    let text = "[".repeat(100_000);

    assert!(serde_json::from_str::<Models>(&text).is_err());
    assert!(serde_json::from_str::<Models>(&"{\"season\":".repeat(100_000)).is_err());
    assert!(serde_json::from_str::<Season>(&format!("{{\"index\":{text}")).is_err());
}
