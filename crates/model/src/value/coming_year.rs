//! Between which amounts a customer's contribution of the coming 12 months lies.

use super::buyer::Buyer;
use super::contract_tables::PAYMENTS_A_YEAR;
use super::contribution::{Atom, Bought, Contribution};
use super::subscriber::Subscriber;
use super::sums::{MOST_ATOMS, fill_atoms, fill_atoms_of_all};
use crate::{Level, SpendInterval, SpendMoments};

/// The levels of a value's intervals.
const LEVELS: [Level; 2] = [Level::EIGHTY, Level::NINETY];

/// The intervals of the coming 12 months' contribution, and the probability that it is `missing` or more;
/// `margin` is the share of payments that stays.
pub(super) fn coming_year(
    buyer: Option<&Buyer>,
    subscriber: &Subscriber<'_>,
    missing: Option<i64>,
    margin: f64,
) -> (Option<[SpendInterval; 2]>, f64) {
    match subscriber.contracts.as_slice() {
        [] => year_of(&[Atom { amount: 0.0, cdf: 1.0 }], buyer, subscriber, missing),
        [paying] => {
            let mut atoms = [Atom::default(); PAYMENTS_A_YEAR + 1];
            let filled = fill_atoms(&mut atoms, paying, margin);
            year_of(&atoms[..filled], buyer, subscriber, missing)
        }
        contracts => {
            let mut atoms = [Atom::default(); MOST_ATOMS];
            let filled = fill_atoms_of_all(&mut atoms, contracts, margin);
            year_of(&atoms[..filled], buyer, subscriber, missing)
        }
    }
}

/// The intervals of the coming 12 months' contribution, and the probability that it is `missing` or more, from all sums
/// that contracts may bring.
#[inline]
fn year_of(
    atoms: &[Atom],
    buyer: Option<&Buyer>,
    subscriber: &Subscriber<'_>,
    missing: Option<i64>,
) -> (Option<[SpendInterval; 2]>, f64) {
    let open = missing.filter(|&missing| missing > 0).map(|missing| missing as f64);
    let branches = subscriber.branches();
    let (p_zero, share, moments) = match buyer {
        Some(buyer) => (buyer.p_zero, buyer.share, buyer.moments),
        None => (1.0, 1.0, Some(SpendMoments::new(0.0, 0.0))),
    };
    let Some(moments) = moments else {
        let reaches = |missing| buyer.map_or(0.0, |buyer| buyer.reaches(missing, branches));
        return (None, open.map_or(1.0, reaches));
    };
    if subscriber.is_nobody() && open.is_none() {
        return (Some(of_purchases(p_zero, &moments, share)), 1.0);
    }
    let contribution = Contribution::new(&Bought::new(p_zero, &moments, share), atoms, branches);
    let probability = open.map_or(1.0, |missing| contribution.at_least(missing));
    if subscriber.is_nobody() {
        return (Some(of_purchases(p_zero, &moments, share)), probability);
    }
    let p_zero = contribution.p_zero();
    let interval = |level| SpendInterval::of(level, p_zero, |level| contribution.quantile(level));
    let [eighty, mut ninety] = LEVELS.map(interval);
    // Each quantile has an error of its own.
    ninety.lower = f64::min(ninety.lower, eighty.lower);
    ninety.upper = f64::max(ninety.upper, eighty.upper);
    (Some([eighty, ninety]), probability)
}

/// The intervals of [`Scorer::prospect`](crate::Scorer::prospect), of the share that stays.
#[inline]
fn of_purchases(p_zero: f64, moments: &SpendMoments, share: f64) -> [SpendInterval; 2] {
    SpendInterval::from_moments(p_zero, moments, LEVELS)
        .map(|SpendInterval { lower, upper }| SpendInterval { lower: share * lower, upper: share * upper })
}
