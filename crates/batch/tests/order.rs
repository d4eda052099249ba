//! The order in which customers are valued, for any customers and any stakes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use batch::{CustomerId, OrderPolicy, Stake, order};
use proptest::prelude::*;

fn policy() -> OrderPolicy {
    OrderPolicy { neighbourhood: 10, most: 16, search_cost: 4.0, oldest: Duration::from_secs(1_000) }
}

fn stake(customer: i64, value_minor: i64) -> Stake {
    let age = Some(Duration::from_secs(100));
    Stake { customer: CustomerId(customer), value_minor: Some(value_minor), age, urgency: 1 }
}

prop_compose! {
    fn stakes()(
        stakes in prop::collection::vec(
            (-40..120_i64, any::<Option<i32>>(), prop::option::of(0..3_000_u64), 0..9_u32),
            0..60,
        ),
    ) -> Vec<Stake> {
        let stake = |(customer, value, age, urgency): (i64, Option<i32>, Option<u64>, u32)| Stake {
            customer: CustomerId(customer),
            value_minor: value.map(i64::from),
            age: age.map(Duration::from_secs),
            urgency,
        };
        stakes.into_iter().map(stake).collect()
    }
}

/// What is at stake in each customer, worked out by itself.
fn at_stake(stakes: &[Stake]) -> BTreeMap<CustomerId, f64> {
    let known: Vec<f64> =
        stakes.iter().filter_map(|stake| stake.value_minor).map(|value| (value as f64).abs()).collect();
    let mean = if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
    let mut sums = BTreeMap::new();
    for stake in stakes {
        let value = stake.value_minor.map_or(mean, |value| (value as f64).abs());
        let age = stake.age.map_or(1_000.0, |age| age.as_secs_f64().min(1_000.0));
        let at_stake = (value + 1.0) * (age + 1.0) * (f64::from(stake.urgency) + 1.0);
        *sums.entry(stake.customer).or_insert(0.0) += at_stake;
    }
    sums
}

fn neighbourhood(customer: CustomerId) -> i64 {
    customer.0.div_euclid(10)
}

/// What is at stake in a part, and what it costs.
fn weigh(part: &[CustomerId], stakes: &BTreeMap<CustomerId, f64>) -> (f64, f64) {
    let found: BTreeSet<i64> = part.iter().map(|customer| neighbourhood(*customer)).collect();
    let at_stake = part.iter().map(|customer| stakes[customer]).sum();
    (at_stake, 4.0 * found.len() as f64 + part.len() as f64)
}

/// The sum of what is at stake times how long it waits.
fn waited<'p>(
    parts: impl IntoIterator<Item = &'p Vec<CustomerId>>,
    stakes: &BTreeMap<CustomerId, f64>,
) -> f64 {
    let mut clock = 0.0;
    let waits = parts.into_iter().map(|part| {
        let (at_stake, cost) = weigh(part, stakes);
        clock += cost;
        at_stake * clock
    });
    waits.sum()
}

proptest! {
    #[test]
    fn everybody_is_valued_once_and_neighbours_are_read_together(stakes in stakes()) {
        let parts = order(&stakes, &policy());

        let named: BTreeSet<CustomerId> = stakes.iter().map(|stake| stake.customer).collect();
        let mut ordered: Vec<CustomerId> = parts.concat();
        ordered.sort_unstable();
        prop_assert_eq!(ordered, named.into_iter().collect::<Vec<_>>());
        for part in &parts {
            prop_assert!(!part.is_empty() && part.len() <= 16);
            prop_assert!(part.is_sorted());
        }
        let mut places: Vec<(i64, usize)> = parts
            .iter()
            .enumerate()
            .flat_map(|(place, part)| part.iter().map(move |customer| (neighbourhood(*customer), place)))
            .collect();
        places.sort_unstable();
        places.dedup();
        prop_assert!(places.windows(2).all(|pair| pair[0].0 != pair[1].0), "no neighbourhood is in two parts");
    }

    #[test]
    fn no_other_order_of_the_parts_lets_less_wait(
        stakes in stakes(),
        keys in prop::collection::vec(any::<u32>(), 60),
    ) {
        let parts = order(&stakes, &policy());
        let stakes = at_stake(&stakes);
        let mut other: Vec<(u32, &Vec<CustomerId>)> = keys.into_iter().zip(&parts).collect();
        other.sort_unstable();

        let ours = waited(&parts, &stakes);
        let theirs = waited(other.into_iter().map(|(_, part)| part), &stakes);

        prop_assert!(ours <= theirs * (1.0 + 1e-9), "{ours} and {theirs}");
    }

    #[test]
    fn the_order_does_not_depend_on_who_is_named_first(
        (stakes, shuffled) in stakes().prop_flat_map(|stakes| (Just(stakes.clone()), Just(stakes).prop_shuffle())),
    ) {
        prop_assert_eq!(order(&stakes, &policy()), order(&shuffled, &policy()));
    }

    #[test]
    fn who_has_more_at_stake_is_not_valued_later_for_it(
        values in prop::collection::btree_map(-40..120_i64, 0..1_000_i64, 1..60),
        who: prop::sample::Index,
        more in 1..1_000_000_i64,
    ) {
        let mut stakes: Vec<Stake> = values.into_iter().map(|(id, value)| stake(id, value)).collect();
        let who = who.index(stakes.len());
        let place = |stakes: &[Stake]| {
            let parts = order(stakes, &policy());
            parts.iter().position(|part| part.contains(&stakes[who].customer)).expect("he is in it")
        };

        let before = place(&stakes);
        stakes[who].value_minor = stakes[who].value_minor.map(|value| value + more);

        prop_assert!(place(&stakes) <= before);
    }

    #[test]
    fn a_neighbourhood_that_is_too_large_is_cut_and_nobody_is_lost(
        customers in prop::collection::btree_set(0..200_i64, 0..150),
        most in 0..30_usize,
    ) {
        let stakes: Vec<Stake> = customers.iter().map(|&id| stake(id, 5)).collect();
        let policy = OrderPolicy { neighbourhood: 200, most, ..policy() };

        let parts = order(&stakes, &policy);

        prop_assert!(parts.iter().all(|part| part.len() <= most.max(1)));
        let expected: Vec<CustomerId> = customers.into_iter().map(CustomerId).collect();
        prop_assert_eq!(parts.concat(), expected);
    }
}

#[test]
fn value_staleness_and_urgency_each_decide_where_the_others_are_alike() {
    let policy = OrderPolicy { most: 1, ..policy() };
    let first = |more: Stake| order(&[stake(5, 700), more], &policy)[0][0];

    assert_eq!(first(stake(25, 701)), CustomerId(25));
    assert_eq!(first(stake(25, 699)), CustomerId(5));
    assert_eq!(first(Stake { age: Some(Duration::from_secs(101)), ..stake(25, 700) }), CustomerId(25));
    assert_eq!(first(Stake { age: None, ..stake(25, 700) }), CustomerId(25));
    assert_eq!(first(Stake { urgency: 2, ..stake(25, 700) }), CustomerId(25));
    assert_eq!(first(Stake { urgency: 0, ..stake(25, 700) }), CustomerId(5));
    // A debt is as much at stake as what is expected.
    assert_eq!(first(stake(25, -900)), CustomerId(25));
}

#[test]
fn who_has_no_value_counts_as_the_others_do_on_average() {
    let policy = OrderPolicy { most: 1, ..policy() };
    let unknown = Stake { value_minor: None, ..stake(45, 0) };

    let parts = order(&[stake(5, 100), stake(25, 900), unknown], &policy);

    assert_eq!(parts.concat(), [25, 45, 5].map(CustomerId));
}

#[test]
fn what_is_nothing_in_one_respect_is_still_told_apart_by_the_others() {
    let policy = OrderPolicy { most: 1, ..policy() };
    let fresh = |id, value| Stake { age: Some(Duration::ZERO), ..stake(id, value) };

    let parts = order(&[fresh(5, 0), fresh(25, 9)], &policy);

    assert_eq!(parts.concat(), [25, 5].map(CustomerId));
}
