//! A few customers who cannot be read are found among many, within the bound that is promised.

use std::collections::BTreeSet;

use batch::{CustomerId, Finding, Isolation};
use proptest::prelude::*;

/// What came of reading everybody, where a set fails if `is_bad` says so.
#[derive(Debug, Default, PartialEq)]
struct Read {
    /// Everybody, in the order in which they were read or found.
    everybody: Vec<CustomerId>,
    culprits: BTreeSet<CustomerId>,
    reads: usize,
    is_given_up: bool,
}

fn read(customers: &[CustomerId], most: usize, is_bad: impl Fn(&[CustomerId]) -> bool) -> Read {
    let mut isolation = Isolation::among(customers, most);
    let mut read = Read::default();
    while let Some(set) = isolation.next_set() {
        read.reads += 1;
        if !is_bad(set) {
            read.everybody.extend(set);
            continue;
        }
        match isolation.failed(set) {
            Finding::Divided => {}
            Finding::Culprit(culprit) => {
                read.everybody.push(culprit);
                read.culprits.insert(culprit);
            }
            Finding::GivenUp => {
                read.is_given_up = true;
                break;
            }
        }
    }
    read
}

fn customers(count: usize) -> Vec<CustomerId> {
    (0..count as i64).map(|index| CustomerId(3 * index + 7)).collect()
}

fn bound(customers: usize, culprits: usize) -> usize {
    1 + 2 * culprits * (customers as f64).log2().ceil() as usize
}

#[test]
fn where_nobody_is_bad_there_is_one_read() {
    let customers = customers(5_000);

    let read = read(&customers, 64, |_| false);

    assert_eq!(read, Read { everybody: customers, reads: 1, ..Read::default() });
}

#[test]
fn a_single_customer_who_cannot_be_read_is_not_read_twice() {
    let customers = customers(1);

    let read = read(&customers, 64, |_| true);

    assert_eq!((read.reads, read.culprits.len(), read.is_given_up), (1, 1, false));
}

#[test]
fn nobody_is_not_read() {
    assert_eq!(read(&[], 64, |_| true), Read::default());
}

#[test]
fn one_among_five_thousand_costs_27_reads_at_most() {
    let customers = customers(5_000);

    for culprit in customers.iter().step_by(37) {
        let read = read(&customers, 64, |set| set.contains(culprit));

        assert!(read.culprits.iter().eq([culprit]) && read.reads <= 27, "{culprit}: {}", read.reads);
    }
}

#[test]
fn where_everybody_is_bad_it_is_given_up_after_a_few_reads() {
    let customers = customers(5_000);

    let read = read(&customers, 64, |_| true);

    assert!(read.is_given_up && read.culprits.len() == 64, "{read:?}");
    assert!(read.reads < 2 * 65 + 13, "{} reads, mostly of single customers", read.reads);
}

#[test]
fn sets_that_fail_over_nobody_are_given_up_within_the_bound() {
    let customers = customers(5_000);

    let read = read(&customers, 3, |set| set.len() > 1);

    assert!(read.is_given_up && read.culprits.is_empty());
    assert!(read.reads <= bound(5_000, 4), "{} reads", read.reads);
}

proptest! {
    #[test]
    fn exactly_the_bad_ones_are_found_within_the_bound_and_everybody_comes_once_in_order(
        count in 1_usize..700,
        bad in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        most in 0_usize..20,
    ) {
        let customers = customers(count);
        let bad: BTreeSet<CustomerId> = bad.iter().map(|index| customers[index.index(count)]).collect();

        let read = read(&customers, most, |set| set.iter().any(|customer| bad.contains(customer)));

        prop_assert_eq!(read.is_given_up, bad.len() > most);
        if read.is_given_up {
            prop_assert!(read.culprits.is_subset(&bad));
            prop_assert!(read.reads <= bound(count, most + 1));
        } else {
            prop_assert!(read.reads <= bound(count, bad.len()), "{} reads", read.reads);
            prop_assert_eq!(read.everybody, customers);
            prop_assert_eq!(read.culprits, bad);
        }
    }
}
