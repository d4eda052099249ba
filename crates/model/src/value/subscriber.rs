//! A customer as far as he has contracts: what they are expected to bring, and the courses that they may take.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::contract_tables::{Found, Year};
use super::contribution::{BRANCHES, Branch};
use crate::Contract;

/// A customer as far as he has contracts that contribute something.
pub(super) struct Subscriber<'a> {
    /// Those whose payments scatter most come first, whatever the order they are known in.
    pub(super) contracts: SmallVec<[Paying<'a>; 2]>,
    /// The models know nothing of one of them, and so nothing is counted.
    pub(super) is_unknown: bool,
    pub(super) discounted: [f64; 3],
    pub(super) for_ever: Option<f64>,
    /// Expected payments of 12 months, not discounted.
    pub(super) year_mean: f64,
    branches: [Branch; BRANCHES],
    filled: usize,
}

/// A contract that contributes something.
pub(super) struct Paying<'a> {
    pub(super) contract: &'a Contract,
    /// What a payment contributes.
    pub(super) price: f64,
    /// What one on the day of the next counts today.
    pub(super) now: f64,
    /// The variance of what it contributes in 12 months.
    pub(super) scatter: f64,
    pub(super) payments: Found<'a>,
}

impl Paying<'_> {
    pub(super) fn by_scatter(one: &Self, two: &Self) -> Ordering {
        two.scatter.total_cmp(&one.scatter).then_with(|| one.contract.cmp(two.contract))
    }

    pub(super) fn within_months(&self, months: u16) -> f64 {
        self.now * self.payments.within_months(self.contract, months)
    }

    pub(super) fn year(&self) -> &Year {
        self.payments.year(self.contract)
    }
}

impl Subscriber<'_> {
    pub(super) fn nobody() -> Self {
        let mut branches = [Branch::default(); BRANCHES];
        branches[0].probability = 1.0;
        Self {
            contracts: SmallVec::new(),
            is_unknown: false,
            discounted: [0.0; 3],
            for_ever: Some(0.0),
            year_mean: 0.0,
            branches,
            filled: 1,
        }
    }

    pub(super) fn unknown() -> Self {
        Self { is_unknown: true, for_ever: None, ..Self::nobody() }
    }

    pub(super) fn is_nobody(&self) -> bool {
        self.contracts.is_empty() && !self.is_unknown
    }

    pub(super) fn branches(&self) -> &[Branch] {
        &self.branches[..self.filled]
    }

    /// What contracts are expected to contribute within so many months, discounted.
    pub(super) fn within_months(&self, months: u16) -> f64 {
        self.contracts.iter().map(|paying| paying.within_months(months)).sum()
    }

    /// Adds what the contract at a place brings. The cases of the first two are told apart; the others, which scatter
    /// less, blur them.
    pub(super) fn add(&mut self, place: usize) {
        let paying = &self.contracts[place];
        for (sum, months) in self.discounted.iter_mut().zip([12, 24, 36]) {
            *sum += paying.within_months(months);
        }
        let for_ever = paying.payments.for_ever().map(|payments| paying.now * payments);
        self.for_ever = self.for_ever.zip(for_ever).map(|(sum, more)| sum + more);
        let (price, year) = (paying.price, paying.year());
        self.year_mean += price * year.mean;
        if place >= 2 {
            for branch in &mut self.branches[..self.filled] {
                branch.mean += price * year.mean;
                branch.variance += paying.scatter;
            }
            return;
        }
        let before = self.branches;
        let mut filled = 0;
        for case in year.cases() {
            for branch in &before[..self.filled] {
                self.branches[filled] = Branch {
                    probability: branch.probability * case.probability,
                    least: branch.least + price * case.least,
                    mean: branch.mean + price * case.mean,
                    variance: branch.variance + price * price * case.variance,
                };
                filled += 1;
            }
        }
        self.filled = filled;
    }
}
