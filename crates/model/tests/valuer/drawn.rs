//! Customers who are drawn with their future: how many of them end where their forecasts say, and that nothing but the
//! account decides what it is worth.

use model::{Account, Contract, Models, PlanIndex, Season, Summary, ValueTerms, Valuer, WEEKS_PER_YEAR};

use crate::accounts::{buyer, contract, models, valuer};
use crate::draws::Draws;

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
