//! The value of an account: its parts against the models themselves, its intervals against customers whose future is
//! drawn, and what must always hold.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

mod draws;

use std::collections::BTreeMap;

use draws::Draws;
use model::{
    Account, Bdw, Between, BgNbd, Contract, ContractModel, ContractModels, Currency, GammaGamma, Grade,
    Horizons, Models, Observation, Parameters, PeriodRate, PlanIndex, PlanModel, Rejection, Sbg, Scorer,
    Season, SpendDistribution, Subscription, SubscriptionFold, Summary, Terms, Value, ValueTerms, Valuer,
    WEEKS_PER_YEAR,
};
use proptest::prelude::*;

const LAST_DAY: i64 = 20_000;

/// Minor units so small that rounding to them cannot be seen in ten digits.
const TINY: f64 = 1e9;

fn bg_nbd() -> BgNbd {
    BgNbd::new(0.9, 6.0, 0.6, 9.0).unwrap()
}

fn models() -> Models {
    models_in_units_of(1.0)
}

fn models_in_units_of(scale: f64) -> Models {
    let plan = |plan: &str, period_months, model| PlanModel { plan: plan.to_owned(), period_months, model };
    Models {
        purchases: Parameters {
            bg_nbd: bg_nbd(),
            gamma_gamma: GammaGamma::new(6.25, 3.74, 1544.0 * scale).unwrap(),
        },
        season: None,
        contracts: ContractModels {
            plans: vec![
                plan("pro", 1, ContractModel::Sbg(Sbg::new(0.7, 6.0).unwrap())),
                plan("pro", 12, ContractModel::Bdw(Bdw::new(0.8, 2.5, 1.2).unwrap())),
            ],
            others: Some(ContractModel::Sbg(Sbg::new(0.8, 4.0).unwrap())),
            ..ContractModels::default()
        },
    }
}

fn valuer() -> Valuer {
    Valuer::new(models(), ValueTerms::default(), LAST_DAY)
}

fn summary(frequency: u32, recency_days: u32, age_days: u32) -> Summary {
    Summary { frequency, recency_days, age_days, repeat_spend_minor: i64::from(frequency) * 3_000 }
}

fn buyer(summary: Summary) -> Account {
    let spend_minor = summary.repeat_spend_minor + 3_500;
    Account { purchases: Some(summary), spend_minor, ..Account::default() }
}

fn contract(plan: u16, period_months: u16, renewals: u32, days_to_renewal: u32) -> Contract {
    let price_minor = 2_000 * i64::from(period_months);
    Contract { price_minor, renewals, days_to_renewal, period_months, plan: PlanIndex(plan) }
}

fn with(mut account: Account, contracts: &[Contract]) -> Account {
    account.contracts = contracts.iter().copied().collect();
    account
}

fn subscriber(contracts: &[Contract]) -> Account {
    with(Account { paid_minor: 4_000, ..Account::default() }, contracts)
}

fn parts(horizons: &Horizons) -> [f64; 4] {
    let Horizons { months_12, months_24, months_36, for_ever } = *horizons;
    [months_12, months_24, months_36, for_ever.unwrap()].map(|minor| minor as f64)
}

#[track_caller]
fn assert_close(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual / expected - 1.0).abs() < tolerance, "{actual} is not {expected}");
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

#[test]
fn the_interval_of_a_contract_alone_is_of_its_payments() {
    let valuer = valuer();
    let monthly = contract(0, 1, 6, 10);
    let renewals = Sbg::new(0.7, 6.0).unwrap().remaining(6, 12);

    let intervals = valuer.value(&subscriber(&[monthly])).unwrap().intervals.unwrap();

    for (interval, level) in intervals.into_iter().zip([0.8, 0.9]) {
        let tail = 0.5 * (1.0 - level);
        let (lower, upper) = if renewals.pmf(0) < tail { (tail, 1.0 - tail) } else { (0.0, level) };
        assert_eq!(interval.lower_minor, 2_000 * i64::from(renewals.quantile(lower)));
        assert_eq!(interval.upper_minor, 2_000 * i64::from(renewals.quantile(upper)));
    }
}

#[test]
fn the_interval_of_many_contracts_stays_that_of_their_sum() {
    let valuer = valuer();
    let contracts = [6, 9, 12, 20].map(|renewals| contract(0, 1, renewals, 10));
    let sums = sums_of(&Sbg::new(0.7, 6.0).unwrap(), &contracts);

    let [eighty, ninety] = valuer.value(&subscriber(&contracts)).unwrap().intervals.unwrap();

    for (actual, level) in [
        (eighty.lower_minor, 0.1),
        (eighty.upper_minor, 0.9),
        (ninety.lower_minor, 0.05),
        (ninety.upper_minor, 0.95),
    ] {
        assert_eq!(actual, quantile_of(&sums, level), "{level}");
    }
}

#[test]
fn without_contracts_the_intervals_are_those_of_the_scorer() {
    let terms = ValueTerms::new(0.15, 0.5, 0.0, 1.0).unwrap();
    let valuer = Valuer::new(models(), terms, LAST_DAY);
    let scorer = Scorer::new(models().purchases, Terms::default());
    for summary in [summary(0, 0, 20), summary(3, 100, 200), summary(30, 690, 700), summary(9, 10, 700)] {
        let intervals = valuer.value(&buyer(summary)).unwrap().intervals.unwrap();

        let expected = scorer.prospect(&summary).unwrap().spend_intervals.unwrap();

        for (actual, expected) in intervals.into_iter().zip(expected) {
            assert!((actual.lower_minor as f64 - 0.5 * expected.lower).abs() <= 0.6);
            assert!((actual.upper_minor as f64 - 0.5 * expected.upper).abs() <= 0.6 + 1e-6 * expected.upper);
        }
    }
}

/// Draws a customer of the models with his future: the account, and what he contributes in the coming 12 months. He has
/// a contract for each of the `prices`, which are in units of those of [`contract`].
fn drawn(draws: &mut Draws, prices: &[i64]) -> (Account, f64) {
    let age_days = 30 + (draws.uniform() * 700.0) as u32;
    let age = f64::from(age_days) / 7.0;
    let rate = draws.gamma(0.9) / 6.0;
    let leaves = draws.beta(0.6, 9.0);
    let nu = draws.gamma(3.74) / 1544.0;
    let (mut frequency, mut recency_days, mut spend) = (0, 0, 0.0);
    let mut future = 0.0;
    let mut time = 0.0;
    loop {
        time -= draws.uniform().ln() / rate;
        if time > age + WEEKS_PER_YEAR {
            break;
        }
        let amount = draws.gamma(6.25) / nu;
        if time <= age {
            frequency += 1;
            recency_days = (time * 7.0) as u32;
            spend += amount;
        } else {
            future += amount;
        }
        if draws.uniform() < leaves {
            break;
        }
    }
    let summary = Summary { frequency, recency_days, age_days, repeat_spend_minor: spend as i64 };
    let mut account = buyer(summary);
    for price in prices {
        let is_monthly = draws.uniform() < 0.5;
        let renewals = (draws.uniform() * if is_monthly { 24.0 } else { 3.0 }) as u32;
        let mut going_on =
            if is_monthly { contract(0, 1, renewals, 9) } else { contract(2, 12, renewals, 99) };
        going_on.price_minor *= price;
        let (alpha, beta) = if is_monthly { (0.7, 6.0) } else { (0.8, 4.0) };
        let churn = draws.beta(alpha, beta + f64::from(renewals));
        let most = if is_monthly { 12 } else { 1 };
        let made = (0..most).take_while(|_| draws.uniform() > churn).count();
        future += made as f64 * going_on.price_minor as f64;
        account
            .contracts
            .push(Contract { plan: if is_monthly { PlanIndex(0) } else { PlanIndex::OTHER }, ..going_on });
    }
    let most = 60_000.0 * prices.iter().copied().max().unwrap_or(1) as f64;
    account.acquisition_cost_minor = Some(account.spend_minor + (draws.uniform() * most) as i64);
    (account, future)
}

/// Draws customers with contracts of these prices, and checks how many of them end where their forecasts say.
fn check_coverage(prices: &[i64], seed: u64, most: [f64; 2]) {
    let valuer = valuer();
    let mut draws = Draws(seed);
    let customers = 40_000;
    let (mut held, mut paid_back, mut expected) = ([0, 0], 0, 0.0);
    for _ in 0..customers {
        let (account, future) = drawn(&mut draws, prices);
        let value = valuer.value(&account).unwrap();
        for (held, interval) in held.iter_mut().zip(value.intervals.unwrap()) {
            let (lower, upper) = (interval.lower_minor as f64 - 0.5, interval.upper_minor as f64 + 0.5);
            *held += i32::from((lower..=upper).contains(&future));
        }
        let cost = account.acquisition_cost_minor.unwrap();
        paid_back += i32::from(value.historic_minor as f64 + future >= cost as f64);
        expected += value.payback.unwrap().probability;
    }

    let [eighty, ninety] = held.map(|held| f64::from(held) / f64::from(customers));
    assert!((0.79..=most[0]).contains(&eighty), "80 % holds {eighty}");
    assert!((0.89..=most[1]).contains(&ninety), "90 % holds {ninety}");
    let off = f64::from(paid_back) - expected;
    assert!(off.abs() < 0.005 * f64::from(customers), "{paid_back} of {expected}");
}

#[test]
fn intervals_of_purchases_and_a_contract_hold_what_they_say() {
    check_coverage(&[1], 11, [0.81, 0.91]);
}

#[test]
fn intervals_of_purchases_and_two_contracts_hold_little_more_than_they_say() {
    // Who has stopped buying has a distribution of few sums, and an interval must hold its ends whole.
    check_coverage(&[1, 1], 12, [0.82, 0.915]);
}

#[test]
fn intervals_of_three_contracts_with_very_different_prices_hold_what_they_say() {
    // Nearly all of it is what the dear one brings: of few sums, and an interval must hold its ends whole.
    check_coverage(&[1, 2, 30], 13, [0.825, 0.915]);
    check_coverage(&[30, 1, 2], 14, [0.825, 0.915]);
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
fn equal_sums_of_several_contracts_are_one_whatever_the_margin() {
    let terms = ValueTerms::new(0.15, 1.0, 0.0, 0.7).unwrap();
    let contracts =
        [6, 9, 12, 20].map(|renewals| Contract { price_minor: 1_999, ..contract(0, 1, renewals, 10) });
    let sums = sums_of(&Sbg::new(0.7, 6.0).unwrap(), &contracts);

    let actual = Valuer::new(models(), terms, LAST_DAY).value(&subscriber(&contracts)).unwrap();

    let quantile = |level| (quantile_of(&sums, level) as f64 * 0.7).round() as i64;
    let between = |lower, upper| Between { lower_minor: quantile(lower), upper_minor: quantile(upper) };
    assert_eq!(actual.intervals, Some([between(0.1, 0.9), between(0.05, 0.95)]));
}

#[test]
fn many_different_sums_leave_what_brings_nothing_by_itself() {
    let sbg = Sbg::new(1.0, 1.0).unwrap();
    let contracts = ContractModels { others: Some(ContractModel::Sbg(sbg)), ..ContractModels::default() };
    let valuer = Valuer::new(Models { contracts, ..models() }, ValueTerms::default(), LAST_DAY);
    let contracts = [1_000, 1_100, 1_210]
        .map(|price_minor| Contract { price_minor, ..contract(PlanIndex::OTHER.0, 1, 0, 10) });
    let sums = sums_of(&sbg, &contracts);

    let intervals = valuer.value(&subscriber(&contracts)).unwrap().intervals.unwrap();

    // Of eight such customers one pays nothing more.
    for (interval, level) in intervals.into_iter().zip([0.8, 0.9]) {
        assert_eq!(interval.lower_minor, 0);
        assert_close(interval.upper_minor as f64, quantile_of(&sums, level) as f64, 0.03);
    }
}

/// All sums that contracts may bring in a year, with their probabilities.
fn sums_of(sbg: &Sbg, contracts: &[Contract]) -> BTreeMap<i64, f64> {
    let mut sums = BTreeMap::from([(0, 1.0)]);
    for contract in contracts {
        let renewals = sbg.remaining(contract.renewals, 12);
        let mut more = BTreeMap::new();
        for (sum, probability) in &sums {
            for n in 0..=12 {
                let sum = sum + i64::from(n) * contract.price_minor;
                *more.entry(sum).or_insert(0.0) += probability * renewals.pmf(n);
            }
        }
        sums = more;
    }
    sums
}

fn quantile_of(sums: &BTreeMap<i64, f64>, level: f64) -> i64 {
    let mut cdf = 0.0;
    let reached = sums.iter().find(|(_, probability)| {
        cdf += *probability;
        cdf >= level
    });
    *reached.unwrap().0
}

#[test]
fn without_a_contract_model_the_purchases_are_valued_and_nothing_is_called_certain() {
    let none = Models { contracts: ContractModels::default(), ..models() };
    let valuer = Valuer::new(none, ValueTerms::default(), LAST_DAY);
    let account = Account { acquisition_cost_minor: Some(30_000), ..buyer(summary(30, 690, 700)) };
    let other = contract(PlanIndex::OTHER.0, 1, 3, 4);
    let bought = valuer.value(&account).unwrap();

    let value = valuer.value(&with(account, &[other])).unwrap();

    assert_eq!(value.contracts, Horizons::default());
    assert_eq!((value.intervals, value.future().for_ever), (None, None));
    assert_eq!((value.confidence.grade, value.confidence.relative_width), (Grade::D, None));
    assert_eq!((value.purchases, value.payback), (bought.purchases, bought.payback));
    assert_eq!(valuer.value(&subscriber(&[other])), Err(Rejection::NoContractModel));
}

#[test]
fn a_sum_for_ever_beyond_belief_is_none() {
    let valuer = Valuer::new(models(), ValueTerms::new(0.01, 1.0, 0.0, 1.0).unwrap(), LAST_DAY);
    let dear = Contract { price_minor: 250_000_000_000_000, ..contract(0, 1, 100, 4) };

    let contracts = valuer.value(&subscriber(&[dear])).unwrap().contracts;

    assert!(contracts.months_36 > 7_000_000_000_000_000 && contracts.for_ever.is_none(), "{contracts:?}");
}

#[test]
fn quantiles_of_both_parts_are_those_of_the_convolution() {
    let valuer = valuer();
    let models = models();
    let gamma_gamma = models.purchases.gamma_gamma;
    let (mut worst, mut worst_of_truth): (f64, f64) = (0.0, 0.0);
    for (x, recency_days, age_days) in
        [(0, 0, 60), (2, 50, 80), (8, 300, 400), (8, 100, 400), (40, 690, 700), (9, 30, 700)]
    {
        let summary = summary(x, recency_days, age_days);
        let (t_x, age, zbar) = (summary.recency(), summary.age(), summary.mean_spend_minor());
        let purchases = bg_nbd().purchase_distribution(x, t_x, age, WEEKS_PER_YEAR);
        let spend = SpendDistribution::new(&gamma_gamma, x, zbar, &purchases);
        let moments = spend.moments().unwrap();
        let positive = 1.0 - spend.p_zero();
        let mean = moments.mean() / positive;
        let ln_variance = ((moments.variance() + moments.mean().powi(2)) / positive / mean / mean).ln();
        let lognormal = |amount: f64| {
            let z = ((amount / mean).ln() + 0.5 * ln_variance) / ln_variance.sqrt();
            spend.p_zero() + positive * 0.5 * libm::erfc(-z / 2_f64.sqrt())
        };
        for contract in [0, 5, 30].map(|renewals| contract(0, 1, renewals, 10)) {
            let payments = Sbg::new(0.7, 6.0).unwrap().remaining(contract.renewals, 12);
            let convolved = |amount: f64, spent: &dyn Fn(f64) -> f64| -> f64 {
                let left = |n: u32| amount - 2_000.0 * f64::from(n);
                let made = (0..=12).filter(|&n| left(n) >= 0.0);
                made.map(|n| payments.pmf(n) * spent(left(n))).sum()
            };

            let intervals = valuer.value(&with(buyer(summary), &[contract])).unwrap().intervals.unwrap();

            let p_zero = spend.p_zero() * payments.pmf(0);
            for (interval, level) in intervals.into_iter().zip([0.8, 0.9]) {
                let tail = 0.5 * (1.0 - level);
                let (lower, upper) = if p_zero < tail { (tail, 1.0 - tail) } else { (0.0, level) };
                for (actual, level) in [(interval.lower_minor, lower), (interval.upper_minor, upper)] {
                    // Where the distribution jumps over the level, both sides of the jump are right.
                    let off = |spent: &dyn Fn(f64) -> f64| {
                        let around = [-1.0, 1.0].map(|by| convolved(actual as f64 + by, spent));
                        f64::max(around[0] - level, level - around[1])
                    };
                    worst = worst.max(off(&lognormal));
                    worst_of_truth = worst_of_truth.max(off(&|amount| spend.cdf(amount)));
                }
            }
        }
    }
    // The courses of a contract cost little beside what the lognormal itself costs.
    assert!(worst < 0.013, "{worst}");
    assert!(worst_of_truth < 0.055, "{worst_of_truth}");
}

#[test]
fn money_is_back_in_the_first_month_whose_expectation_reaches_the_cost() {
    let valuer = valuer();
    let account = with(buyer(summary(5, 300, 330)), &[contract(0, 1, 3, 5)]);
    let value_at = |cost| {
        let account = Account { acquisition_cost_minor: Some(cost), ..account.clone() };
        valuer.value(&account).unwrap()
    };
    let Value { historic_minor, purchases, contracts, .. } = value_at(0);
    let total = purchases.plus(&contracts);
    let months = |cost| value_at(cost).payback.unwrap().months;

    assert_eq!(months(historic_minor), Some(0));
    assert_eq!(months(historic_minor + 1), Some(1));
    for (total, year) in [(total.months_12, 12), (total.months_24, 24), (total.months_36, 36)] {
        assert_eq!(months(historic_minor + total - 1), Some(year));
        assert_ne!(months(historic_minor + total + 1), Some(year));
    }
    assert_eq!(months(historic_minor + total.months_36 + 1), None);
    assert_eq!(valuer.value(&account).unwrap().payback, None);
}

#[test]
fn months_within_a_year_are_those_of_the_models() {
    let valuer = valuer();
    let summary = summary(5, 300, 330);
    let monthly = contract(0, 1, 3, 5);
    let delta = Terms::default().delta();
    let mean = models().purchases.gamma_gamma.mean_spend(5, 3_000.0).unwrap();
    let rate = PeriodRate::of_annual(0.15, 1.0 / 12.0).unwrap();
    let now = 2_000.0 * (-delta * 5.0 / 7.0).exp();
    for month in 1..=36 {
        let weeks = f64::from(month) / 12.0 * WEEKS_PER_YEAR;
        let purchases = bg_nbd().discounted_purchases(5, summary.recency(), summary.age(), weeks, delta);
        let payments = Sbg::new(0.7, 6.0).unwrap().residual_lifetime_within(3, month, rate);
        let total = mean * purchases + now * payments;
        let account = with(buyer(summary), &[monthly]);
        let months = |more: f64| {
            let cost = account.spend_minor as f64 + (total + more).floor();
            let account = Account { acquisition_cost_minor: Some(cost as i64), ..account.clone() };
            valuer.value(&account).unwrap().payback.unwrap().months
        };

        assert_eq!(months(0.0), Some(month as u8));
        assert_ne!(months(1.0), Some(month as u8));
    }
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

#[test]
fn an_absent_season_and_none_are_the_same_to_the_bit() {
    let none = Models { season: Some(Season::none()), ..models() };
    let (absent, none) = (valuer(), Valuer::new(none, ValueTerms::default(), 3));
    for (account, _) in customers(200) {
        assert_eq!(absent.value(&account), none.value(&account));
    }
}

#[test]
fn neither_order_nor_threads_can_be_seen() {
    let accounts: Vec<Account> = customers(2_000).into_iter().map(|(account, _)| account).collect();
    let (alone, shared) = (valuer(), valuer());
    let expected: Vec<_> = accounts.iter().map(|account| alone.value(account).unwrap()).collect();

    let values = std::thread::scope(|scope| {
        let threads = [3, 7, 11, 13].map(|step| {
            let (accounts, shared) = (&accounts, &shared);
            scope.spawn(move || {
                let order = (0..accounts.len()).map(|place| place * step % accounts.len());
                let value = |place: usize| {
                    let mut account = accounts[place].clone();
                    let contracts = usize::max(account.contracts.len(), 1);
                    account.contracts.rotate_left(step % contracts);
                    (place, shared.value(&account).unwrap())
                };
                order.map(value).collect::<Vec<_>>()
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });

    for (place, value) in values.into_iter().flatten() {
        assert_eq!(value, expected[place]);
    }
}

fn customers(number: usize) -> Vec<(Account, f64)> {
    let mut draws = Draws(5);
    (0..number).map(|place| drawn(&mut draws, &[1, 7, 2, 2][..place % 5])).collect()
}

#[test]
fn who_has_neither_bought_again_nor_a_contract_is_known_by_all_others_only() {
    let valuer = valuer();
    let grade = |account: &Account| valuer.value(account).unwrap().confidence.grade;

    assert_eq!(grade(&buyer(summary(0, 0, 300))), Grade::PriorOnly);
    assert_eq!(grade(&Account { paid_minor: 10, ..Account::default() }), Grade::PriorOnly);
    assert_ne!(grade(&buyer(summary(1, 10, 300))), Grade::PriorOnly);
    assert_eq!(grade(&subscriber(&[contract(0, 1, 200, 4)])), Grade::A);
    // Long gone: [0, 0] holds what comes, and not what is expected.
    let gone = valuer.value(&buyer(summary(20, 60, 700))).unwrap();
    assert_eq!((gone.confidence.grade, gone.confidence.relative_width), (Grade::D, None));
}

#[test]
fn the_own_shares_are_those_of_the_two_posteriors() {
    let confidence = valuer().value(&buyer(summary(4, 60, 84))).unwrap().confidence;

    assert!((f64::from(confidence.own_rate) - 12.0 / 18.0).abs() < 1e-6);
    assert!((f64::from(confidence.own_spend) - 25.0 / 27.74).abs() < 1e-6);
}

#[test]
fn every_account_that_cannot_be_valued_has_its_rejection() {
    let good = buyer(summary(3, 50, 90));
    let bad_contract = |change: fn(&mut Contract)| {
        let mut contract = contract(0, 1, 3, 4);
        change(&mut contract);
        subscriber(&[contract])
    };
    let valuer = valuer();
    for (account, rejection) in [
        (Account::default(), Rejection::NoPurchase),
        (buyer(summary(3, 91, 90)), Rejection::InconsistentSummary),
        (Account { spend_minor: (1 << 53) + 1, ..good.clone() }, Rejection::SpendOutOfRange),
        (Account { paid_minor: i64::MIN, ..good.clone() }, Rejection::SpendOutOfRange),
        (bad_contract(|contract| contract.period_months = 0), Rejection::ImpossibleContract),
        (bad_contract(|contract| contract.period_months = 121), Rejection::ImpossibleContract),
        (bad_contract(|contract| contract.price_minor = -1), Rejection::ImpossibleContract),
        (bad_contract(|contract| contract.days_to_renewal = 0), Rejection::ImpossibleContract),
        (bad_contract(|contract| contract.days_to_renewal = 32), Rejection::ImpossibleContract),
        (bad_contract(|contract| contract.plan = PlanIndex(9)), Rejection::NoContractModel),
        (bad_contract(|contract| contract.price_minor = 1 << 53), Rejection::ValueOutOfRange),
        (
            Account {
                spend_minor: 0,
                ..buyer(Summary { repeat_spend_minor: 1 << 53, ..summary(1, 89, 90) })
            },
            Rejection::ValueOutOfRange,
        ),
    ] {
        assert_eq!(valuer.value(&account), Err(rejection), "{account:?}");
    }

    let heavy = Parameters { gamma_gamma: GammaGamma::new(0.3, 0.9, 9.0).unwrap(), ..models().purchases };
    let valuer = Valuer::new(Models::from(heavy), ValueTerms::default(), LAST_DAY);
    assert_eq!(valuer.value(&buyer(summary(0, 0, 90))), Err(Rejection::SpendHasNoMean));
    let other = Contract { plan: PlanIndex::OTHER, ..contract(0, 1, 3, 4) };
    assert_eq!(valuer.value(&subscriber(&[other])), Err(Rejection::NoContractModel));
}

#[test]
fn an_infinite_variance_leaves_no_interval_and_a_chance_of_payback() {
    let heavy = Parameters { gamma_gamma: GammaGamma::new(6.0, 1.5, 900.0).unwrap(), ..models().purchases };
    let valuer = Valuer::new(Models { purchases: heavy, ..models() }, ValueTerms::default(), LAST_DAY);
    let chance = |cost: i64| {
        let account = with(buyer(summary(0, 0, 90)), &[contract(0, 1, 3, 4)]);
        let account = Account { acquisition_cost_minor: Some(cost), ..account };
        let value = valuer.value(&account).unwrap();
        assert_eq!(value.intervals, None);
        assert_eq!(value.confidence.relative_width, None);
        value.payback.unwrap().probability
    };

    let chances = [0, 10_000, 40_000, 400_000].map(chance);

    assert!(chances.is_sorted_by(|sooner, later| sooner > later), "{chances:?}");
    assert!(chances[0] >= 1.0 && chances[3] > 0.0);
}

prop_compose! {
    fn any_contract()(price_minor in prop_oneof![0_i64..1_000_000, Just(0), 0_i64..1 << 40],
                      renewals in prop_oneof![0_u32..40, any::<u32>()],
                      days_to_renewal in prop_oneof![0_u32..32, 0_u32..400, any::<u32>()],
                      period_months in prop_oneof![Just(1_u16), Just(12), 1_u16..=120],
                      plan in prop_oneof![Just(0_u16), Just(1), Just(u16::MAX)]) -> Contract {
        Contract { price_minor, renewals, days_to_renewal, period_months, plan: PlanIndex(plan) }
    }
}

prop_compose! {
    fn any_account()(frequency in prop_oneof![Just(0_u32), 0_u32..60],
                     age_days in prop_oneof![0_u32..1_000, 0_u32..6_000],
                     share in 0.0..=1.0,
                     spend in prop_oneof![Just(0_i64), 0_i64..1_000_000, 0_i64..1 << 46],
                     buys in any::<bool>(),
                     contracts in prop::collection::vec(any_contract(), 0..4),
                     paid_minor in 1_i64..1 << 50,
                     acquisition_cost_minor in prop::option::of(prop_oneof![0_i64..1_000_000, any::<i64>()])) -> Account {
        let repeats = frequency > 0;
        let summary = Summary {
            frequency,
            recency_days: if repeats { (share * f64::from(age_days)) as u32 } else { 0 },
            age_days,
            repeat_spend_minor: if repeats { spend } else { 0 },
        };
        Account {
            purchases: buys.then_some(summary),
            spend_minor: spend,
            paid_minor,
            contracts: contracts.into_iter().collect(),
            acquisition_cost_minor,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_must_hold_of_every_value(account in any_account(), rate in prop_oneof![Just(0.0), 1e-4..1.0], take in 0.0..=1.0, margin in prop_oneof![Just(0.0), 0.0..=1.0]) {
        let terms = ValueTerms::new(rate, take, 0.01, margin).unwrap();
        let valuer = Valuer::new(models(), terms, LAST_DAY);

        let value = match valuer.value(&account) {
            Ok(value) => value,
            Err(rejection) => {
                let cannot_be = |contract: &Contract| {
                    let Contract { days_to_renewal, period_months, .. } = *contract;
                    days_to_renewal == 0 || days_to_renewal > 31 * u32::from(period_months)
                };
                let is_impossible = account.contracts.iter().any(cannot_be);
                let expected =
                    if is_impossible { Rejection::ImpossibleContract } else { Rejection::ValueOutOfRange };
                prop_assert_eq!(rejection, expected);
                return Ok(());
            }
        };

        for Horizons { months_12, months_24, months_36, for_ever } in [value.purchases, value.contracts] {
            prop_assert!(0 <= months_12 && months_12 <= months_24 && months_24 <= months_36);
            prop_assert!(for_ever.is_none_or(|for_ever| for_ever >= months_36));
        }
        prop_assert!(value.expected_purchases.is_finite() && value.expected_purchases >= 0.0);
        let [eighty, ninety] = value.intervals.unwrap();
        for interval in [eighty, ninety] {
            prop_assert!(0 <= interval.lower_minor && interval.lower_minor <= interval.upper_minor);
        }
        prop_assert!(ninety.upper_minor >= eighty.upper_minor && ninety.lower_minor <= eighty.lower_minor, "{eighty:?} {ninety:?}");
        prop_assert!(value.confidence.relative_width.is_none_or(|width| width.is_finite() && width >= 0.0));
        for share in [value.confidence.own_rate, value.confidence.own_spend] {
            prop_assert!((0.0..=1.0).contains(&share));
        }
        prop_assert_eq!(value.payback.is_some(), account.acquisition_cost_minor.is_some());
        if let Some(payback) = value.payback {
            prop_assert!((0.0..=1.0).contains(&payback.probability));
            let cost = account.acquisition_cost_minor.unwrap();
            prop_assert_eq!(payback.months == Some(0), value.historic_minor >= cost);
        }
    }
}
