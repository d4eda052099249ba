//! The customers and what is known of them, for a store that keeps no transactions.

use std::collections::HashMap;

use batch::CustomerId;
use jiff::Timestamp;
use model::{Account, Contract, Observation, Rejection, Summary};

/// A customer, as `source.customers` would have him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Customer<'a> {
    /// His number.
    pub id: CustomerId,
    /// What the business calls him.
    pub external_id: &'a str,
    /// His segment.
    pub segment: &'a str,
    /// Since when he is a customer.
    pub acquired_at: Timestamp,
}

/// A customer base: places from 0 on, in the order of the customers' numbers.
///
/// A function of the place, asked again and again: the store keeps a value's account only where it is not the one
/// that stands here.
pub trait Base: Send + Sync + 'static {
    /// How many customers there are.
    fn len(&self) -> usize;

    /// Whether there is nobody.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The customer's number at a place.
    fn id(&self, place: usize) -> CustomerId;

    /// The customer at a place.
    fn customer(&self, place: usize) -> Customer<'_>;

    /// What is known of the customer at a place, or why the models cannot use it.
    fn account(&self, place: usize) -> Result<Account, Rejection>;

    /// What the accounts were folded for; none if they hold for every run.
    fn observation(&self) -> Option<Observation> {
        None
    }

    /// The place of a customer.
    fn place(&self, customer: CustomerId) -> Option<usize> {
        let place = first_from(self, customer);
        (place < self.len() && self.id(place) == customer).then_some(place)
    }

    /// The customer whom the business knows by this name. Looks at everybody unless there is a better way.
    fn named(&self, external_id: &str) -> Option<CustomerId> {
        (0..self.len())
            .map(|place| self.customer(place))
            .find(|customer| customer.external_id == external_id)
            .map(|customer| customer.id)
    }
}

/// The first place whose customer has this number or a larger one.
fn first_from<B: Base + ?Sized>(base: &B, customer: CustomerId) -> usize {
    let (mut low, mut high) = (0, base.len());
    while low < high {
        let middle = low.midpoint(high);
        if base.id(middle) < customer {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// A base that is held in columns: some 80 bytes a customer, his name not counted, and no allocation of his own.
#[derive(Clone, Debug)]
pub struct Accounts {
    observation: Observation,
    ids: Vec<CustomerId>,
    rows: Vec<Row>,
    /// The names, one after the other; each row knows where its own ends.
    external_ids: String,
    segments: Vec<String>,
    segment_numbers: HashMap<String, u32>,
    contracts: Vec<Contract>,
}

/// What is known of a customer, without what only few have.
#[derive(Clone, Copy, Debug)]
struct Row {
    acquired_at_us: i64,
    external_id_end: u64,
    spend_minor: i64,
    paid_minor: i64,
    /// [`NONE`] where it is not known.
    acquisition_cost_minor: i64,
    repeat_spend_minor: i64,
    frequency: u32,
    recency_days: u32,
    age_days: u32,
    segment: u32,
    contracts_end: u32,
    kind: Kind,
}

/// No amount that is believed comes near.
const NONE: i64 = i64::MIN;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Buyer,
    NeverBought,
    Rejected(Rejection),
}

/// Why a customer cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCustomer {
    /// The numbers must ascend.
    #[error("customer {0} does not come after the customer before")]
    OutOfOrder(CustomerId),
    /// Contracts are numbered with 32 bits.
    #[error("customer {0}: the base holds more contracts than can be numbered")]
    TooManyContracts(CustomerId),
}

impl Accounts {
    /// Begins a base whose accounts are folded for this observation.
    pub fn new(observation: Observation) -> Self {
        Self {
            observation,
            ids: Vec::new(),
            rows: Vec::new(),
            external_ids: String::new(),
            segments: Vec::new(),
            segment_numbers: HashMap::new(),
            contracts: Vec::new(),
        }
    }

    /// Adds a customer; the numbers ascend.
    pub fn push(
        &mut self,
        customer: Customer<'_>,
        account: &Result<Account, Rejection>,
    ) -> Result<(), BadCustomer> {
        if self.ids.last().is_some_and(|&last| last >= customer.id) {
            return Err(BadCustomer::OutOfOrder(customer.id));
        }
        let contracts = account.as_ref().map_or(&[][..], |account| &account.contracts);
        let contracts_end = u32::try_from(self.contracts.len() + contracts.len())
            .map_err(|_| BadCustomer::TooManyContracts(customer.id))?;
        self.contracts.extend_from_slice(contracts);
        self.external_ids.push_str(customer.external_id);
        let nothing = Account::default();
        let (known, kind) = match account {
            Ok(account) if account.purchases.is_some() => (account, Kind::Buyer),
            Ok(account) => (account, Kind::NeverBought),
            &Err(rejection) => (&nothing, Kind::Rejected(rejection)),
        };
        let purchases = known.purchases.unwrap_or(Summary {
            frequency: 0,
            recency_days: 0,
            age_days: 0,
            repeat_spend_minor: 0,
        });
        let row = Row {
            acquired_at_us: customer.acquired_at.as_microsecond(),
            external_id_end: self.external_ids.len() as u64,
            spend_minor: known.spend_minor,
            paid_minor: known.paid_minor,
            acquisition_cost_minor: known.acquisition_cost_minor.unwrap_or(NONE),
            repeat_spend_minor: purchases.repeat_spend_minor,
            frequency: purchases.frequency,
            recency_days: purchases.recency_days,
            age_days: purchases.age_days,
            segment: self.segment(customer.segment),
            contracts_end,
            kind,
        };
        self.ids.push(customer.id);
        self.rows.push(row);
        Ok(())
    }

    /// Gives back what growing has taken and does not need.
    pub fn shrink_to_fit(&mut self) {
        self.ids.shrink_to_fit();
        self.rows.shrink_to_fit();
        self.external_ids.shrink_to_fit();
        self.contracts.shrink_to_fit();
    }

    fn segment(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.segment_numbers.get(name) {
            return number;
        }
        let number = self.segments.len() as u32;
        self.segments.push(name.to_owned());
        self.segment_numbers.insert(name.to_owned(), number);
        number
    }
}

impl Base for Accounts {
    fn len(&self) -> usize {
        self.ids.len()
    }

    fn id(&self, place: usize) -> CustomerId {
        self.ids[place]
    }

    fn customer(&self, place: usize) -> Customer<'_> {
        let row = &self.rows[place];
        let begin = place.checked_sub(1).map_or(0, |before| self.rows[before].external_id_end);
        let acquired_at = Timestamp::from_microsecond(row.acquired_at_us);
        Customer {
            id: self.ids[place],
            external_id: &self.external_ids[begin as usize..row.external_id_end as usize],
            segment: &self.segments[row.segment as usize],
            acquired_at: acquired_at.expect("it was made from a moment"),
        }
    }

    fn account(&self, place: usize) -> Result<Account, Rejection> {
        let row = &self.rows[place];
        let purchases = Summary {
            frequency: row.frequency,
            recency_days: row.recency_days,
            age_days: row.age_days,
            repeat_spend_minor: row.repeat_spend_minor,
        };
        let purchases = match row.kind {
            Kind::Buyer => Some(purchases),
            Kind::NeverBought => None,
            Kind::Rejected(rejection) => return Err(rejection),
        };
        let begin = place.checked_sub(1).map_or(0, |before| self.rows[before].contracts_end);
        Ok(Account {
            purchases,
            spend_minor: row.spend_minor,
            paid_minor: row.paid_minor,
            contracts: self.contracts[begin as usize..row.contracts_end as usize].iter().copied().collect(),
            acquisition_cost_minor: (row.acquisition_cost_minor != NONE)
                .then_some(row.acquisition_cost_minor),
        })
    }

    fn observation(&self) -> Option<Observation> {
        Some(self.observation)
    }
}

#[cfg(test)]
mod tests {
    use model::{Currency, PlanIndex};

    use super::*;

    fn customer(id: i64, external_id: &'static str) -> Customer<'static> {
        let acquired_at = Timestamp::from_second(id).unwrap();
        Customer { id: CustomerId(id), external_id, segment: "venues", acquired_at }
    }

    #[test]
    fn what_was_put_in_comes_out_for_every_customer() {
        let mut base = Accounts::new(Observation::new(0, Currency::parse("USD").unwrap()));
        let contract = |price_minor| Contract {
            price_minor,
            renewals: 3,
            days_to_renewal: 9,
            period_months: 12,
            plan: PlanIndex(0),
        };
        let accounts = [
            Ok(Account {
                contracts: [contract(1), contract(2), contract(3)].into_iter().collect(),
                ..Account::default()
            }),
            Err(Rejection::ForeignCurrency),
            Ok(Account {
                purchases: Some(Summary {
                    frequency: 2,
                    recency_days: 30,
                    age_days: 90,
                    repeat_spend_minor: 7,
                }),
                spend_minor: 11,
                paid_minor: 13,
                contracts: [contract(4)].into_iter().collect(),
                acquisition_cost_minor: Some(0),
            }),
        ];
        let customers = [customer(-3, "ä"), customer(5, ""), customer(9, "long name")];

        for (customer, account) in customers.iter().zip(&accounts) {
            base.push(*customer, account).unwrap();
        }

        for place in 0..3 {
            assert_eq!(base.customer(place), customers[place]);
            assert_eq!(base.account(place), accounts[place]);
            assert_eq!(base.place(customers[place].id), Some(place));
        }
        assert_eq!(base.place(CustomerId(6)), None);
        assert_eq!(base.named("long name"), Some(CustomerId(9)));
        assert_eq!(
            base.push(customer(9, "again"), &accounts[1]),
            Err(BadCustomer::OutOfOrder(CustomerId(9)))
        );
    }
}
