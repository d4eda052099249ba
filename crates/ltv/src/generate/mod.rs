//! A made-up customer base that behaves as the models say customers behave.
//!
//! Each customer is drawn from the generative process of BG/NBD and Gamma-Gamma, so that a fit finds again
//! what was put in, less what is lost when the purchases of a day are counted as one:
//!
//! * acquired at a moment uniform over the weeks before `as_of`, with the first purchase at that moment;
//! * while alive, buys at a rate `lambda ~ Gamma(r, alpha)` a week, with exponential waiting times;
//! * after each repeat purchase, leaves for good with probability `p ~ Beta(a, b)`;
//! * each purchase costs `z ~ Gamma(p, nu)`, where `nu ~ Gamma(q, v)`.
//!
//! The parameters are those of the CDNOW sample (Fader, Hardie & Lee 2005; Fader & Hardie 2013), by the week
//! and in US dollars: `r = 0.243, alpha = 4.414, a = 0.793, b = 2.426; p = 6.25, q = 3.74, v = 15.44`.
//! Segments buy a little more or less often, and spend a little more or less, than that; on average they do
//! neither.
//!
//! **A wanted mean number of transactions** `m` is reached by making everybody buy `k` times as often, at
//! `alpha / k`. If `k > 1`, leaving becomes `k` times less likely after each purchase: `b' = k (a + b) - a`.
//! So customers stay for about as many weeks as before; the rate alone could not do it, because CDNOW's
//! customers leave long before their tenth purchase. `k` is found by bisection on the expected number of
//! purchases.
//!
//! Most customers have subscriptions besides, and an acquisition cost: see `subscriptions.rs`.
//!
//! **Deterministic.** The same specification gives the same base on every machine and with any number of
//! threads: each customer has a random stream of its own (ChaCha8), all elementary functions come from
//! `libm`, and the order is total. Customer `i` is the same however many others there are.
//!
//! **Memory** is 12 bytes for each transaction, 20 for each subscription and 12 for each customer, once.

mod csv;
mod dice;
mod process;
mod segments;
mod straight;
mod subscriptions;

use jiff::Timestamp;
use model::Currency;
use rayon::prelude::*;
use store::postgres::source::{AcquisitionCost, Customer, Subscription, Transaction};

pub use csv::{CsvFiles, Packing};
pub use straight::{GenerateReport, Progress, Stage, generate_into};

use process::{Block, Process};
use segments::SEGMENTS;
use subscriptions::{Cost, Subscribed, cost_row};

/// Which base to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateSpec {
    /// How many customers.
    pub customers: u32,
    /// How many transactions they have on average, the first purchase included; `None` for what follows from
    /// the CDNOW parameters as they are.
    pub transactions_per_customer: Option<f64>,
    /// The number of the first customer; the others follow.
    pub first_customer_id: i64,
    /// The number of the first transaction; the others follow in the order of time.
    pub first_transaction_id: i64,
    /// The same seed gives the same base.
    pub seed: u64,
    /// Everything happens before this moment.
    pub as_of: Timestamp,
    /// Over how many weeks before `as_of` customers are acquired.
    pub weeks: u32,
    /// Whether there are subscriptions and acquisition costs. Customers and transactions are the same without.
    pub subscriptions: bool,
}

/// A specification that cannot be followed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadSpec(String);

const LONGEST_WEEKS: u32 = 2_600;
const MOST_TRANSACTIONS_PER_CUSTOMER: f64 = 10_000.0;
const SECONDS_PER_WEEK: u32 = 7 * 24 * 3600;

impl GenerateSpec {
    fn check(&self) -> Result<(), BadSpec> {
        let bad = |text: String| Err(BadSpec(text));
        if !(1..=LONGEST_WEEKS).contains(&self.weeks) {
            return bad(format!("weeks must be from 1 to {LONGEST_WEEKS}, not {}", self.weeks));
        }
        if self.start_second() < 0 {
            return bad(format!("{} weeks before {} is before 1970", self.weeks, self.as_of));
        }
        match self.transactions_per_customer {
            Some(mean) if !(mean > 1.0 && mean <= MOST_TRANSACTIONS_PER_CUSTOMER) => bad(format!(
                "transactions per customer must be more than 1, the first purchase, and at most \
                 {MOST_TRANSACTIONS_PER_CUSTOMER}, not {mean}"
            )),
            _ => Ok(()),
        }
    }

    /// When the first customer may have been acquired, in seconds since 1970.
    fn start_second(&self) -> i64 {
        self.as_of.as_second() - i64::from(self.weeks) * i64::from(SECONDS_PER_WEEK)
    }
}

/// A generated customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedCustomer {
    /// Its number.
    pub customer_id: i64,
    /// What its own system calls it.
    pub external_id: String,
    /// Its segment.
    pub segment: &'static str,
    /// The moment of its first purchase.
    pub acquired_at: Timestamp,
}

impl GeneratedCustomer {
    /// The row of it.
    pub fn row(&self) -> Customer<'_> {
        Customer {
            customer_id: self.customer_id,
            external_id: &self.external_id,
            segment: self.segment,
            acquired_at: self.acquired_at,
        }
    }
}

/// A generated base.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    spec: GenerateSpec,
    customers: Vec<Acquired>,
    purchases: Vec<Purchase>,
    subscriptions: Vec<Subscribed>,
    /// Of each customer; empty in a base without.
    costs: Vec<Cost>,
}

/// A customer, without what follows from its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Acquired {
    /// Seconds since the start.
    second: u32,
    /// Its place among the segments.
    segment: u8,
}

/// A transaction, without what follows from its place. Ordered by time, then by customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Purchase {
    /// Seconds since the start.
    second: u32,
    /// The customer's place.
    customer: u32,
    amount_minor: u32,
}

/// Generates a base, on all threads of the current `rayon` pool.
pub fn generate(spec: &GenerateSpec) -> Result<Generated, BadSpec> {
    const CUSTOMERS_PER_BLOCK: u32 = 8_192;

    spec.check()?;
    let process = Process::new(spec);
    let blocks: Vec<Block> = (0..spec.customers.div_ceil(CUSTOMERS_PER_BLOCK))
        .into_par_iter()
        .map(|block| {
            let first = block * CUSTOMERS_PER_BLOCK;
            let last = first.saturating_add(CUSTOMERS_PER_BLOCK).min(spec.customers);
            process.block(first..last)
        })
        .collect();

    let mut customers = Vec::with_capacity(spec.customers as usize);
    let mut purchases = Vec::with_capacity(blocks.iter().map(|block| block.purchases.len()).sum());
    let mut subscriptions = Vec::with_capacity(blocks.iter().map(|block| block.subscriptions.len()).sum());
    let mut costs = Vec::with_capacity(blocks.iter().map(|block| block.costs.len()).sum());
    // Each block is freed as soon as it is copied, so that nothing is held twice for long.
    for block in blocks {
        customers.extend(block.customers);
        purchases.extend(block.purchases);
        subscriptions.extend(block.subscriptions);
        costs.extend(block.costs);
    }
    purchases.par_sort_unstable();
    subscriptions.par_sort_unstable();
    Ok(Generated { spec: spec.clone(), customers, purchases, subscriptions, costs })
}

impl Generated {
    /// How many customers there are.
    pub fn customer_count(&self) -> u64 {
        self.customers.len() as u64
    }

    /// How many transactions there are.
    pub fn transaction_count(&self) -> u64 {
        self.purchases.len() as u64
    }

    /// How many subscriptions there are.
    pub fn subscription_count(&self) -> u64 {
        self.subscriptions.len() as u64
    }

    /// Of how many customers it is known what it cost to win them.
    pub fn acquisition_cost_count(&self) -> u64 {
        self.costs.iter().flatten().count() as u64
    }

    /// The customers, by their number.
    pub fn customers(&self) -> impl ExactSizeIterator<Item = GeneratedCustomer> + '_ {
        self.customers.iter().enumerate().map(|(place, acquired)| {
            let customer_id = self.spec.first_customer_id + place as i64;
            GeneratedCustomer {
                customer_id,
                external_id: format!("supplier-{customer_id}"),
                segment: SEGMENTS[usize::from(acquired.segment)].name,
                acquired_at: self.moment(acquired.second),
            }
        })
    }

    /// The transactions in the order of time, as a table that has grown would hold them: those of one
    /// customer lie scattered over it.
    pub fn transactions(&self) -> impl ExactSizeIterator<Item = Transaction> + '_ {
        let currency = currency();
        self.purchases.iter().enumerate().map(move |(place, purchase)| Transaction {
            transaction_id: self.spec.first_transaction_id + place as i64,
            customer_id: self.spec.first_customer_id + i64::from(purchase.customer),
            occurred_at: self.moment(purchase.second),
            amount_minor: i64::from(purchase.amount_minor),
            currency,
        })
    }

    /// The subscriptions in the order of their starts.
    pub fn subscriptions(&self) -> impl ExactSizeIterator<Item = Subscription<'static>> + '_ {
        let (first, currency) = (self.spec.first_customer_id, currency());
        self.subscriptions.iter().map(move |line| line.row(first, |second| self.moment(second), currency))
    }

    /// What it cost to win customers, by their number.
    pub fn acquisition_costs(&self) -> impl Iterator<Item = AcquisitionCost> + '_ {
        let (first, currency) = (self.spec.first_customer_id, currency());
        let places = self.costs.iter().enumerate();
        places.filter_map(move |(place, cost)| Some(cost_row(first + place as i64, (*cost)?, currency)))
    }

    fn moment(&self, second: u32) -> Timestamp {
        Timestamp::from_second(self.spec.start_second() + i64::from(second))
            .expect("every moment lies between 1970 and `as_of`")
    }
}

/// What everybody pays in.
const CURRENCY: &str = "USD";

fn currency() -> Currency {
    Currency::parse(CURRENCY).expect("the currency is three capital letters")
}

/// Nobody pays less than a cent; the cast stops at the largest `u32`, 43 million dollars.
fn round_to_minor(amount: f64) -> u32 {
    libm::round(amount).max(1.0) as u32
}

#[cfg(test)]
mod tests {
    use super::process::{P, Q, V, expected_repeats};
    use super::segments::Segment;
    use super::*;

    fn spec(customers: u32, transactions_per_customer: Option<f64>) -> GenerateSpec {
        GenerateSpec {
            customers,
            transactions_per_customer,
            first_customer_id: 1,
            first_transaction_id: 1,
            seed: 7,
            as_of: "2026-11-01T00:00:00Z".parse().unwrap(),
            weeks: 104,
            subscriptions: true,
        }
    }

    #[test]
    fn the_mean_number_of_transactions_is_the_one_asked_for() {
        for mean in [1.2, 3.0, 10.0, 40.0] {
            let generated = generate(&spec(60_000, Some(mean))).unwrap();
            let found = generated.transaction_count() as f64 / 60_000.0;
            assert!((found / mean - 1.0).abs() < 0.05, "asked for {mean}, found {found}");
        }
    }

    #[test]
    fn without_a_wanted_mean_the_base_buys_like_cdnow() {
        let expected = 1.0 + expected_repeats(1.0, 104.0);

        let generated = generate(&spec(60_000, None)).unwrap();

        let found = generated.transaction_count() as f64 / 60_000.0;
        assert!((found / expected - 1.0).abs() < 0.03, "expected {expected}, found {found}");
        let spend: f64 = generated.transactions().map(|transaction| transaction.amount_minor as f64).sum();
        let mean_spend = spend / generated.transaction_count() as f64;
        let expected_spend = P * V / (Q - 1.0);
        assert!(
            (mean_spend / expected_spend - 1.0).abs() < 0.03,
            "expected {expected_spend}, found {mean_spend}"
        );
    }

    #[test]
    fn a_seed_gives_the_same_base_with_any_number_of_threads() {
        let spec = spec(20_000, Some(5.0));
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let three = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();

        assert!(one.install(|| generate(&spec)) == three.install(|| generate(&spec)));
        assert_ne!(
            generate(&spec).unwrap().purchases,
            generate(&GenerateSpec { seed: 8, ..spec }).unwrap().purchases
        );
    }

    #[test]
    fn a_seed_means_the_same_base_for_ever() {
        let generated = generate(&spec(1_000, Some(5.0))).unwrap();

        let third = generated.transactions().nth(2).unwrap();
        let sum: i64 = generated.transactions().map(|transaction| transaction.amount_minor).sum();
        let found = (generated.transaction_count(), third.customer_id, third.occurred_at.to_string(), sum);
        assert_eq!(found, (5_349, 750, "2024-11-03T15:31:31Z".to_owned(), 19_162_176));
    }

    #[test]
    fn a_seed_means_the_same_subscriptions_for_ever() {
        let generated = generate(&spec(1_000, Some(5.0))).unwrap();

        let third = generated.subscriptions().nth(2).unwrap();
        let ends = generated.subscriptions().filter(|line| line.ended_at.is_some()).count();
        let costs: i64 = generated.acquisition_costs().map(|cost| cost.cost_minor).sum();
        let found = (generated.subscription_count(), third.customer_id, third.started_at.to_string());
        assert_eq!(found, (967, 935, "2024-11-13T07:39:15Z".to_owned()));
        assert_eq!((ends, generated.acquisition_cost_count(), costs), (390, 899, 11_088_729));
    }

    #[test]
    fn without_subscriptions_everybody_buys_the_same() {
        let with = generate(&spec(2_000, Some(5.0))).unwrap();
        let without = generate(&GenerateSpec { subscriptions: false, ..spec(2_000, Some(5.0)) }).unwrap();

        assert!(with.customers().eq(without.customers()));
        assert!(with.transactions().eq(without.transactions()));
        assert_eq!((without.subscription_count(), without.acquisition_cost_count()), (0, 0));
    }

    #[test]
    fn a_customer_is_the_same_however_many_others_there_are() {
        let few = generate(&spec(10, None)).unwrap();
        let many = generate(&spec(10_000, None)).unwrap();

        assert!(few.customers().eq(many.customers().take(10)));
        let of_the_first_ten = many.subscriptions().filter(|line| line.customer_id <= 10);
        assert!(few.subscriptions().eq(of_the_first_ten));
        assert!(few.acquisition_costs().eq(many.acquisition_costs().filter(|cost| cost.customer_id <= 10)));
    }

    #[test]
    fn transactions_come_in_the_order_of_time_and_start_with_the_acquisition() {
        let generated = generate(&spec(5_000, Some(4.0))).unwrap();
        let as_of = generated.spec.as_of;
        let rows: Vec<_> = generated.transactions().collect();

        assert!(rows.is_sorted_by_key(|row| row.occurred_at));
        assert!(rows.iter().all(|row| row.occurred_at < as_of && row.amount_minor > 0));
        assert!(rows.iter().map(|row| row.transaction_id).eq(1..=rows.len() as i64));
        let mut first = std::collections::HashMap::new();
        for row in &rows {
            first.entry(row.customer_id).or_insert(row.occurred_at);
        }
        assert!(generated.customers().all(|customer| first[&customer.customer_id] == customer.acquired_at));
    }

    #[test]
    fn the_segments_are_a_hundred_percent_and_average_on_average() {
        let mean = |factor: fn(&Segment) -> f64| -> f64 {
            SEGMENTS.iter().map(|segment| f64::from(segment.percent) / 100.0 * factor(segment)).sum()
        };

        assert_eq!(SEGMENTS.iter().map(|segment| segment.percent).sum::<u8>(), 100);
        assert!((mean(|segment| segment.rate) - 1.0).abs() < 1e-3);
        assert!((mean(|segment| segment.spend) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_specification_that_cannot_be_followed_is_refused() {
        let check = |change: fn(&mut GenerateSpec)| {
            let mut spec = spec(1, None);
            change(&mut spec);
            assert!(generate(&spec).is_err(), "{spec:?}");
        };
        check(|spec| spec.weeks = 0);
        check(|spec| spec.transactions_per_customer = Some(1.0));
        check(|spec| spec.transactions_per_customer = Some(f64::NAN));
        check(|spec| spec.as_of = "1971-01-01T00:00:00Z".parse().unwrap());
    }
}
