//! What is known of a customer on the day of a valuation.
//!
//! [`HistoryFold`] turns his transactions into a [`Summary`], [`SubscriptionFold`] his subscriptions into what they have
//! brought and the [`Contract`]s that go on; both together are his [`Account`]. What cannot be is a [`Rejection`].

mod currency;
mod history;
pub(crate) mod money;
mod observation;
mod rejection;
mod subscription;
mod summary;
mod unchanged;

pub use currency::{Currency, CurrencyError};
pub use history::HistoryFold;
pub use observation::Observation;
pub use rejection::Rejection;
pub use subscription::{
    Contract, Contracts, Course, LONGEST_PERIOD, NextRenewal, Subscribed, Subscription, SubscriptionFold,
};
pub use summary::Summary;

use serde::Serialize;

use money::LARGEST_SUM_MINOR;

/// What is known of a customer: the inputs of a [`Value`](crate::Value).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    /// The purchase history; none if he never bought anything.
    pub purchases: Option<Summary>,
    /// Net spend on all purchases, the first included, in minor units.
    pub spend_minor: i64,
    /// All payments for subscriptions, in minor units.
    pub paid_minor: i64,
    /// The contracts that go on.
    pub contracts: Contracts,
    /// What it cost to win him, in minor units, where that is known.
    pub acquisition_cost_minor: Option<i64>,
}

/// A month has at most so many days.
const LONGEST_MONTH: u32 = 31;

/// What is known is put together relation by relation. Of several problems the history's is the one that is told, then
/// the subscriptions', then the cost's.
impl Account {
    /// Begins with what a history came to: its summary, and the net spend on all purchases.
    pub fn of_purchases(history: Result<(Summary, i64), Rejection>) -> Result<Self, Rejection> {
        history.map(|(summary, spend_minor)| Self {
            purchases: Some(summary),
            spend_minor,
            ..Self::default()
        })
    }

    /// Adds the subscriptions of a customer who has any. With them, to have bought nothing is no reason to reject him.
    pub fn add_subscriptions(known: &mut Result<Self, Rejection>, subscribed: Result<Subscribed, Rejection>) {
        if *known == Err(Rejection::NoPurchase) {
            *known = Ok(Self::default());
        }
        let Ok(account) = known else { return };
        match subscribed {
            Ok(Subscribed { paid_minor, contracts }) => {
                (account.paid_minor, account.contracts) = (paid_minor, contracts);
            }
            Err(rejection) => *known = Err(rejection),
        }
    }

    /// Adds what it cost to win the customer, in minor units.
    pub fn add_cost(known: &mut Result<Self, Rejection>, cost: Result<i64, Rejection>) {
        let Ok(account) = known else { return };
        match cost {
            Ok(cost_minor) => account.acquisition_cost_minor = Some(cost_minor),
            Err(rejection) => *known = Err(rejection),
        }
    }

    /// Refuses an account that cannot be.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Rejection> {
        if self.purchases.is_some_and(|summary| !summary.is_consistent()) {
            return Err(Rejection::InconsistentSummary);
        }
        let believed = -LARGEST_SUM_MINOR..=LARGEST_SUM_MINOR;
        if !(believed.contains(&self.spend_minor) && believed.contains(&self.paid_minor)) {
            return Err(Rejection::SpendOutOfRange);
        }
        let can_be = |contract: &Contract| {
            (1..=LONGEST_PERIOD).contains(&contract.period_months)
                && (1..=LONGEST_MONTH * u32::from(contract.period_months)).contains(&contract.days_to_renewal)
                && (0..=LARGEST_SUM_MINOR).contains(&contract.price_minor)
        };
        if !self.contracts.iter().all(can_be) {
            return Err(Rejection::ImpossibleContract);
        }
        let is_nobody = self.purchases.is_none() && self.contracts.is_empty() && self.paid_minor == 0;
        if is_nobody { Err(Rejection::NoPurchase) } else { Ok(()) }
    }
}
