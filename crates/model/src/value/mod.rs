//! What a customer is worth: the [`Value`], and the [`Valuer`] that turns an [`Account`] into one.
//!
//! What customers and contracts have in common is tabulated once for a run (`purchase_tables`, `contract_tables`); the
//! distribution of what a year brings is put together for each customer (`contribution`).

mod buyer;
mod coming_year;
mod contract_tables;
mod contribution;
mod purchase_tables;
mod subscriber;
mod sums;
mod valuer;

pub use valuer::Valuer;

use serde::Serialize;

use crate::account::money::{LARGEST_SUM_MINOR, whole_minor};
use crate::{Account, Rejection, SpendInterval};

/// What a customer is worth. All money is contribution in minor units of the run's currency: spend times the take
/// rate, payments for subscriptions times the margin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Value {
    /// What he has contributed so far: a fact.
    pub historic_minor: i64,
    /// What his purchases are expected to contribute from now on, discounted.
    pub purchases: Horizons,
    /// What his contracts are expected to contribute from now on, discounted. Where he buys and the models know nothing
    /// of one of his contracts, nothing is counted here, `for_ever` is none, and the confidence has the grade
    /// [`D`](Grade::D): what he is worth is more than is said.
    pub contracts: Horizons,
    /// Expected number of purchases in the coming 12 months; 0 if he never bought anything.
    pub expected_purchases: f64,
    /// Probability that he will still buy; none if he never bought anything.
    pub p_alive: Option<f64>,
    /// Between which amounts his contribution of the coming 12 months lies, not discounted, with a probability of 80 %
    /// and of 90 %; none where the spend's variance is infinite, or nothing is known of one of his contracts.
    pub intervals: Option<[Between; 2]>,
    /// How far the value rests on what is known of himself.
    pub confidence: Confidence,
    /// When what it cost to win him comes back; none if the cost is not known.
    pub payback: Option<Payback>,
}

/// Expected contributions, summed up over the coming months and discounted, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Horizons {
    /// Over 12 months.
    pub months_12: i64,
    /// Over 24 months.
    pub months_24: i64,
    /// Over 36 months.
    pub months_36: i64,
    /// For ever; none where the sum has no end, is beyond 2^53 minor units, or is not known.
    pub for_ever: Option<i64>,
}

/// Two amounts in minor units, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Between {
    /// The smaller one.
    pub lower_minor: i64,
    /// The larger one.
    pub upper_minor: i64,
}

/// How far a value rests on what is known of the customer himself, and not of all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Confidence {
    /// The letter that sums the others up.
    pub grade: Grade,
    /// His own share in what is believed of his purchase rate: `T / (alpha + T)`; 0 without purchases.
    pub own_rate: f32,
    /// His own share in what is believed of his spend: `p x / (p x + q - 1)`; 0 without repeat purchases.
    pub own_spend: f32,
    /// The width of the 80 % interval in units of the contribution that is expected over the same 12 months, not
    /// discounted; none where there is no interval, nothing is expected, or the interval ends below what is expected: of
    /// a customer who will most likely bring nothing `[0, 0]` says so, and its width would say that his value is sure.
    pub relative_width: Option<f32>,
}

/// What the confidence comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Grade {
    /// The 80 % interval is at most half as wide as what is expected.
    A,
    /// At most as wide as what is expected.
    B,
    /// At most twice as wide.
    C,
    /// Wider, or there is no width.
    D,
    /// Nothing but what is known of all customers: he has no repeat purchase and no contract that contributes anything.
    PriorOnly,
}

/// When the cost of acquisition comes back. Where nothing is known of one of his contracts it is counted without them:
/// no later than that, and at least as likely.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Payback {
    /// After how many months from now historic and expected discounted contribution have reached it; 0 if they have
    /// already, none if not within 36 months.
    pub months: Option<u8>,
    /// The probability that historic contribution and that of the coming 12 months, not discounted, reach it.
    pub probability: f64,
}

impl Horizons {
    /// Rounds them. What is asked for may not be beyond belief; the sum for ever may, and is none then.
    fn rounded(discounted: [f64; 3], for_ever: Option<f64>) -> Result<Self, Rejection> {
        let [months_12, months_24, months_36] = discounted.map(whole_minor);
        Ok(Self {
            months_12: months_12?,
            months_24: months_24?,
            months_36: months_36?,
            for_ever: for_ever.and_then(|sum| whole_minor(sum).ok()),
        })
    }

    /// Both together; none for ever if either has no end.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            months_12: self.months_12 + other.months_12,
            months_24: self.months_24 + other.months_24,
            months_36: self.months_36 + other.months_36,
            for_ever: self.for_ever.zip(other.for_ever).map(|(one, two)| one + two),
        }
    }
}

impl Between {
    /// Rounds both ends; what is beyond belief becomes the most that is believed.
    fn rounded(interval: SpendInterval) -> Self {
        let whole = |amount: f64| libm::round(amount).clamp(0.0, LARGEST_SUM_MINOR as f64) as i64;
        Self { lower_minor: whole(interval.lower), upper_minor: whole(interval.upper) }
    }
}

impl Value {
    /// What he is expected to contribute from now on, discounted: purchases and contracts.
    pub fn future(&self) -> Horizons {
        self.purchases.plus(&self.contracts)
    }

    /// The value as it is ranked and summed up: what he is expected to contribute over the coming 12 months, discounted,
    /// in minor units.
    pub fn value_minor(&self) -> i64 {
        self.purchases.months_12 + self.contracts.months_12
    }

    /// What he will have contributed in 36 months, by what it cost to win him (LTV:CAC); none where the cost is not
    /// known or is nothing.
    pub fn ltv_to_cac(&self, account: &Account) -> Option<f64> {
        let cost = account.acquisition_cost_minor.filter(|&cost| cost > 0)?;
        Some((self.historic_minor + self.future().months_36) as f64 / cost as f64)
    }
}

impl Grade {
    const ALL: [Self; 5] = [Self::A, Self::B, Self::C, Self::D, Self::PriorOnly];

    /// The letter under which the grade is stored, in ASCII: A to D, and P for [`PriorOnly`](Self::PriorOnly).
    pub fn letter(self) -> u8 {
        match self {
            Self::A => b'A',
            Self::B => b'B',
            Self::C => b'C',
            Self::D => b'D',
            Self::PriorOnly => b'P',
        }
    }

    /// Finds the grade of that [`letter`](Self::letter).
    pub fn from_letter(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|grade| grade.letter() == letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grade_is_found_by_its_letter() {
        for grade in Grade::ALL {
            assert_eq!(Grade::from_letter(grade.letter()), Some(grade));
        }
        assert_eq!(Grade::from_letter(b'E'), None);
    }
}
