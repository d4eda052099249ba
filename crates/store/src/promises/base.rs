//! The customers of the suite.

use std::collections::BTreeMap;

use batch::CustomerId;
use jiff::Timestamp;
use model::{
    Account, ContractModels, Currency, HistoryFold, Observation, Rejection, Subscribed, Subscription,
    SubscriptionFold,
};

use crate::Result;
use crate::memory::{Accounts, Customer};

/// A customer of the suite's base.
#[derive(Clone, Debug)]
pub struct BaseCustomer {
    /// The number.
    pub id: CustomerId,
    /// What the business calls him.
    pub external_id: String,
    /// The segment.
    pub segment: &'static str,
    /// Since when he is there.
    pub acquired_at: Timestamp,
    /// When, how much in minor units, in which currency; in the order of time.
    pub transactions: Vec<(Timestamp, i64, &'static str)>,
    /// Since when, and for how much in minor units of USD, he is subscribed to a plan by the month.
    pub subscription: Option<(Timestamp, i64)>,
    /// What it cost to win him, in minor units of USD.
    pub acquisition_cost_minor: Option<i64>,
}

/// The moment of the suite's runs, in seconds since 1970-01-01 UTC.
pub(super) const AS_OF: i64 = 1_700_000_000;

pub(super) const DAY: i64 = 86_400;

/// The moment of the suite's runs.
pub fn as_of() -> Timestamp {
    at(AS_OF)
}

/// What the accounts of the suite's base are folded for.
pub fn observation() -> Observation {
    Observation::new(as_of().as_microsecond(), currency())
}

/// The suite's base for a backend in memory.
pub fn accounts() -> Accounts {
    let mut accounts = Accounts::new(observation());
    for known in base() {
        let customer = Customer {
            id: known.id,
            external_id: &known.external_id,
            segment: known.segment,
            acquired_at: known.acquired_at,
        };
        accounts.push(customer, &known.account()).expect("the base is in order");
    }
    accounts.shrink_to_fit();
    accounts
}

/// The customers of the suite: eleven, and one who comes after [`as_of`].
pub fn base() -> Vec<BaseCustomer> {
    let customer = |id: i64| {
        let bought =
            |purchase: i64| (at(AS_OF - DAY * 10 * (id - 96 - purchase)), 100 * id + purchase, "USD");
        let mut transactions: Vec<_> = (0..=id % 4).map(bought).collect();
        match id {
            // Not before the moment, so not seen.
            102 => transactions.push((as_of(), 9_999, "USD")),
            103 => transactions.clear(),
            104 => transactions[0].2 = "EUR",
            105 => transactions.insert(0, (at(AS_OF - 500 * DAY), -100, "USD")),
            _ => {}
        }
        BaseCustomer {
            id: CustomerId(id),
            external_id: format!("c-{id}"),
            segment: if id < 109 { "venues" } else { "florists" },
            acquired_at: at(if id == 112 { AS_OF + 1 } else { AS_OF - 900 * DAY }),
            transactions,
            subscription: (id == 106).then(|| (at(AS_OF - 100 * DAY), 900)),
            acquisition_cost_minor: (id == 106).then_some(12_345),
        }
    };
    (101..=112).map(customer).collect()
}

impl BaseCustomer {
    /// What is known of him at [`as_of`].
    pub fn account(&self) -> Result<Account, Rejection> {
        let mut fold = HistoryFold::new();
        for (occurred_at, amount_minor, currency) in &self.transactions {
            if *occurred_at < as_of() {
                let currency = currency.as_bytes().try_into().expect("a currency has three letters");
                fold.push(occurred_at.as_microsecond(), *amount_minor, currency);
            }
        }
        let (purchases, spend_minor) = fold.finish_with_spend(&observation())?;
        let mut subscriptions = SubscriptionFold::new();
        if let Some((started_at, price_minor)) = self.subscription {
            let line = Subscription {
                plan: "pro",
                period_months: 1,
                started_at_us: started_at.as_microsecond(),
                ended_at_us: None,
                price_minor,
                currency: *currency().as_bytes(),
            };
            subscriptions.push(&line, no_contracts(), &observation());
        }
        let Subscribed { paid_minor, contracts } = subscriptions.finish()?;
        let acquisition_cost_minor = self.acquisition_cost_minor;
        Ok(Account { purchases: Some(purchases), spend_minor, paid_minor, contracts, acquisition_cost_minor })
    }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("the suite's moments are believable")
}

pub(super) fn currency() -> Currency {
    Currency::parse("USD").expect("USD is a currency")
}

pub(super) fn no_contracts() -> &'static ContractModels {
    static NONE: ContractModels =
        ContractModels { plans: Vec::new(), others_by_period: BTreeMap::new(), others: None };
    &NONE
}
