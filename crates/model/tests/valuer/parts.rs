//! What purchases and contracts are worth: as the models say, whatever stands beside them.

use model::{
    Account, Contract, ContractModel, Currency, Horizons, Models, Observation, PeriodRate, PlanIndex, Scorer,
    Season, Subscription, SubscriptionFold, Summary, Terms, ValueTerms, Valuer, WEEKS_PER_YEAR,
};

use crate::accounts::{
    LAST_DAY, assert_close, bg_nbd, buyer, contract, models, models_in_units_of, subscriber, summary, valuer,
    with,
};

/// Minor units so small that rounding to them cannot be seen in ten digits.
const TINY: f64 = 1e9;

fn parts(horizons: &Horizons) -> [f64; 4] {
    let Horizons { months_12, months_24, months_36, for_ever } = *horizons;
    [months_12, months_24, months_36, for_ever.unwrap()].map(|minor| minor as f64)
}

#[test]
fn purchases_are_worth_what_the_models_say_to_ten_digits() {
    let terms = ValueTerms::new(0.15, 0.4, 0.02, 0.7).unwrap();
    let models = models_in_units_of(TINY);
    let gamma_gamma = models.purchases.gamma_gamma;
    let valuer = Valuer::new(models, terms, LAST_DAY);
    let delta = Terms::default().delta();
    for (x, recency_days, age_days) in [
        (0, 0, 0),
        (0, 0, 700),
        (1, 3, 4),
        (3, 60, 90),
        (12, 400, 430),
        (12, 100, 430),
        (150, 3_000, 3_010),
        (2_000, 4_000, 4_095),
        (2_500, 3_000, 3_010),
        (4, 7_000, 8_000),
    ] {
        let total = f64::from(x) * 3_000.0 * TINY;
        let summary = Summary { frequency: x, recency_days, age_days, repeat_spend_minor: total as i64 };
        let model = bg_nbd();
        let (t_x, age) = (summary.recency(), summary.age());
        let purchases = |years| model.discounted_purchases(x, t_x, age, years * WEEKS_PER_YEAR, delta);
        let for_ever = model.discounted_purchases_for_ever(x, t_x, age, delta).unwrap();
        let mean = gamma_gamma.mean_spend(x, summary.mean_spend_minor()).unwrap() * 0.4 * 0.98;

        let Ok(value) = valuer.value(&buyer(Summary { ..summary })) else {
            panic!("{summary:?} has no value");
        };

        let expected = [purchases(1.0), purchases(2.0), purchases(3.0), for_ever];
        for (actual, expected) in parts(&value.purchases).into_iter().zip(expected) {
            assert!((actual - expected * mean).abs() <= 1e-10 * actual + 0.5, "{summary:?}: {actual}");
        }
        assert_close(value.expected_purchases, model.expected_purchases(x, t_x, age, WEEKS_PER_YEAR), 1e-10);
        assert_eq!(value.p_alive.map(f64::to_bits), Some(model.p_alive(x, t_x, age).to_bits()));
    }
}

#[test]
fn in_a_season_purchases_are_worth_what_the_scorer_says() {
    let activity =
        std::array::from_fn(|week| 1.0 + 0.5 * (std::f64::consts::TAU * (week as f64 - 20.0) / 52.0).cos());
    let season = Season::of_activity(&activity).unwrap();
    let models = Models { season: Some(season.clone()), ..models_in_units_of(TINY) };
    let parameters = models.purchases;
    // At 50 % a year a century is for ever.
    let terms = ValueTerms::new(0.5, 1.0, 0.0, 1.0).unwrap();
    for last_day in [LAST_DAY, LAST_DAY + 180] {
        let valuer = Valuer::new(models.clone(), terms, last_day);
        let scorers = [1.0, 2.0, 3.0, 100.0]
            .map(|years| Scorer::in_season(parameters, terms.over_years(years).unwrap(), &season, last_day));
        for (x, recency_days, age_days) in [(0, 0, 30), (5, 300, 400), (40, 900, 1_000)] {
            let spend = (f64::from(x) * 3_000.0 * TINY) as i64;
            let summary = Summary { frequency: x, recency_days, age_days, repeat_spend_minor: spend };

            let value = valuer.value(&buyer(summary)).unwrap();

            let expected =
                scorers.each_ref().map(|scorer| scorer.value(&summary).unwrap().value_minor as f64);
            for (place, actual) in parts(&value.purchases).into_iter().enumerate() {
                // Behind 36 months the season is averaged.
                assert_close(actual, expected[place], if place < 3 { 1e-10 } else { 3e-4 });
            }
        }
    }
}

#[test]
fn contracts_are_worth_what_their_renewals_say_to_ten_digits() {
    let terms = ValueTerms::new(0.12, 0.4, 0.02, 0.7).unwrap();
    let models = models();
    let valuer = Valuer::new(models.clone(), terms, LAST_DAY);
    let price_minor = 1_000_000_000_000;
    let check = |plan: PlanIndex, period_months: u16, renewals, days_to_renewal, payments: [u32; 3]| {
        let contract = Contract { price_minor, renewals, days_to_renewal, period_months, plan };
        let value = valuer.value(&subscriber(&[contract])).unwrap();
        let rate = PeriodRate::of_annual(0.12, f64::from(period_months) / 12.0).unwrap();
        let remaining = |most| match models.contracts.get(plan, period_months).unwrap() {
            ContractModel::Sbg(sbg) => sbg.remaining(renewals, most),
            ContractModel::Bdw(bdw) => bdw.remaining(renewals, most),
        };
        let discount = (-Terms::new(1.0, 0.12).unwrap().delta() * f64::from(days_to_renewal) / 7.0).exp();
        let now = 1e12 * 0.7 * discount;
        let actual = parts(&value.contracts);
        for (actual, most) in actual.into_iter().zip(payments) {
            assert!((actual - now * remaining(most).discounted(rate)).abs() <= 1e-10 * actual + 0.5);
        }
        assert_close(actual[3], now * remaining(3_000).discounted(rate), 1e-10);
        assert_eq!(value.purchases, Horizons { for_ever: Some(0), ..Horizons::default() });
        assert_eq!((value.p_alive, value.expected_purchases.to_bits()), (None, 0));
    };

    check(PlanIndex(0), 1, 0, 12, [12, 24, 36]);
    check(PlanIndex(0), 1, 300, 31, [12, 24, 36]);
    check(PlanIndex(0), 1, 3_000, 31, [12, 24, 36]);
    check(PlanIndex(1), 12, 2, 366, [1, 2, 3]);
    check(PlanIndex::OTHER, 3, 5, 90, [4, 8, 12]);
    check(PlanIndex::OTHER, 5, 5, 61, [2, 5, 7]);
    check(PlanIndex::OTHER, 5, 5, 60, [3, 5, 7]);
    check(PlanIndex::OTHER, 120, 0, 400, [0, 1, 1]);
    // A plan's model under another period than it was learnt with.
    check(PlanIndex(1), 1, 2, 10, [12, 24, 36]);
}

#[test]
fn contracts_add_up() {
    let valuer = valuer();
    let (one, two) = (contract(0, 1, 7, 20), contract(1, 12, 1, 100));
    let alone = [one, two].map(|contract| valuer.value(&subscriber(&[contract])).unwrap());

    let both = valuer.value(&subscriber(&[one, two])).unwrap();

    let sum = alone[0].contracts.plus(&alone[1].contracts);
    for (actual, expected) in parts(&both.contracts).into_iter().zip(parts(&sum)) {
        assert!((actual - expected).abs() <= 1.0);
    }
    assert_eq!(valuer.value(&subscriber(&[two, one])).unwrap().contracts, both.contracts);
}

/// A subscription that goes on.
fn line<'a>(plan: &'a str, period_months: i64, price_minor: i64, started: &str) -> Subscription<'a> {
    let started: jiff::civil::Date = started.parse().unwrap();
    let day = i64::from((started - jiff::civil::date(1970, 1, 1)).get_days());
    Subscription {
        plan,
        period_months,
        started_at_us: day * 86_400_000_000,
        ended_at_us: None,
        price_minor,
        currency: *b"EUR",
    }
}

#[test]
fn the_order_of_subscriptions_never_matters() {
    let valuer = Valuer::new(models(), ValueTerms::new(0.15, 0.3, 0.1, 0.7).unwrap(), LAST_DAY);
    let observation = Observation::new((LAST_DAY + 1) * 86_400_000_000, Currency::parse("EUR").unwrap());
    let lines = [
        line("pro", 1, 1_999, "2023-05-17"),
        line("pro", 12, 59_900, "2022-01-31"),
        line("team", 3, 12_345, "2024-02-02"),
        line("pro", 1, 2_499, "2024-09-30"),
    ];
    for number in 2..=lines.len() {
        let mut values = Vec::new();
        for order in orders(number) {
            let mut fold = SubscriptionFold::new();
            for place in order {
                fold.push(&lines[place], &valuer.models().contracts, &observation);
            }
            let subscribed = fold.finish().unwrap();
            let account = Account {
                paid_minor: subscribed.paid_minor,
                contracts: subscribed.contracts,
                acquisition_cost_minor: Some(400_000),
                ..buyer(summary(4, 300, 330))
            };
            let value = valuer.value(&account).unwrap();
            values.push((account, value));
        }

        assert!(values.iter().all(|value| *value == values[0]), "{number} lines");
    }
}

/// All orders of so many places.
fn orders(number: usize) -> Vec<Vec<usize>> {
    let Some(last) = number.checked_sub(1) else { return vec![Vec::new()] };
    let shorter = orders(last);
    let with_last = |order: &Vec<usize>| {
        let order = order.clone();
        (0..=order.len()).map(move |at| {
            let mut order = order.clone();
            order.insert(at, last);
            order
        })
    };
    shorter.iter().flat_map(with_last).collect()
}

#[test]
fn a_contract_that_contributes_nothing_changes_nothing() {
    let terms = |margin| ValueTerms::new(0.0, 0.3, 0.1, margin).unwrap();
    let (paying, without_margin) =
        (Valuer::new(models(), terms(0.7), LAST_DAY), Valuer::new(models(), terms(0.0), LAST_DAY));
    let free = Contract { price_minor: 0, ..contract(0, 1, 3, 9) };
    let (monthly, yearly) = (contract(0, 1, 30, 9), contract(2, 12, 1, 99));
    for purchases in [Some(summary(0, 0, 300)), Some(summary(5, 300, 330)), Some(summary(20, 60, 700)), None]
    {
        let bought = purchases.map_or_else(|| subscriber(&[]), buyer);
        for cost in [None, Some(20_000), Some(60_000)] {
            let account = Account { acquisition_cost_minor: cost, ..bought.clone() };
            for contracts in [&[][..], &[monthly], &[monthly, yearly]] {
                let expected = paying.value(&with(account.clone(), contracts));

                let actual = paying.value(&with(account.clone(), &[contracts, &[free]].concat()));

                assert_eq!(actual, expected, "{account:?} {contracts:?}");
                assert_eq!(
                    without_margin.value(&with(account.clone(), contracts)),
                    without_margin.value(&account)
                );
            }
        }
    }
    // Nobody knows how long it lasts, and nobody has to.
    let unknown = Contract { price_minor: 0, ..contract(9, 1, 3, 9) };
    assert!(paying.value(&with(Account::default(), &[unknown])).is_ok());
}

#[test]
fn a_sum_for_ever_beyond_belief_is_none() {
    let valuer = Valuer::new(models(), ValueTerms::new(0.01, 1.0, 0.0, 1.0).unwrap(), LAST_DAY);
    let dear = Contract { price_minor: 250_000_000_000_000, ..contract(0, 1, 100, 4) };

    let contracts = valuer.value(&subscriber(&[dear])).unwrap().contracts;

    assert!(contracts.months_36 > 7_000_000_000_000_000 && contracts.for_ever.is_none(), "{contracts:?}");
}

#[test]
fn history_is_exact_beyond_what_a_float_holds() {
    let most = 1 << 53;
    let account = Account { spend_minor: most, paid_minor: most - 1, ..buyer(summary(0, 0, 100)) };

    assert_eq!(valuer().value(&account).unwrap().historic_minor, 2 * most - 1);

    let terms = ValueTerms::new(0.15, 0.5, 0.0, 0.25).unwrap();
    let account = Account { spend_minor: 1_001, paid_minor: 10, ..account };
    let historic = Valuer::new(models(), terms, LAST_DAY).value(&account).unwrap().historic_minor;
    assert_eq!(historic, 503);
}

#[test]
fn without_a_discount_purchases_have_no_value_for_ever() {
    let valuer = Valuer::new(models(), ValueTerms::new(0.0, 1.0, 0.0, 1.0).unwrap(), LAST_DAY);

    let bought = valuer.value(&buyer(summary(3, 50, 90))).unwrap();
    let subscribed = valuer.value(&subscriber(&[contract(0, 1, 3, 4)])).unwrap();

    assert_eq!((bought.purchases.for_ever, bought.future().for_ever), (None, None));
    // Churn is so rare for some that these contracts would last for ever on average.
    assert_eq!((subscribed.contracts.for_ever, subscribed.purchases.for_ever), (None, Some(0)));
}
