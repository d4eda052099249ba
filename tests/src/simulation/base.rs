//! The customers of a simulated night, and what an undisturbed valuation says about each.

use std::collections::BTreeMap;

use batch::CustomerId;
use jiff::Timestamp;
use model::{
    Account, BgNbd, Contract, ContractModel, ContractModels, Currency, GammaGamma, Models, Observation,
    Parameters, PlanIndex, Rejection, Sbg, Summary, Value, ValueTerms, Valuer,
};
use serde_json::json;
use store::memory::{Base, Customer, Memory};
use store::{ModelVersions, NewModelVersion};

use super::scene::as_of;

/// What somebody ordered, and what an undisturbed valuation says about each of its customers.
#[derive(Debug)]
pub(super) struct Ordered {
    /// For which moment.
    pub(super) as_of: Timestamp,
    /// Whether it is for everybody.
    pub(super) is_whole: bool,
    pub(super) customers: BTreeMap<CustomerId, Outcome>,
}

/// What a customer's valuation must come to.
pub(super) type Outcome = Result<Value, Rejection>;

/// So many customers from number 1 on, this far apart; what is known of each follows from the seed and his place.
#[derive(Clone, Debug)]
pub(super) struct Customers {
    seed: u64,
    count: u64,
    apart: u64,
}

impl Customers {
    pub(super) fn new(seed: u64, count: u64, apart: u64) -> Self {
        Self { seed, count, apart }
    }

    /// Their numbers.
    pub(super) fn ids(&self) -> Vec<CustomerId> {
        (0..self.count as usize).map(|place| self.id(place)).collect()
    }

    /// What an undisturbed valuation says about each of these.
    pub(super) fn valued(
        &self,
        customers: &[CustomerId],
        terms: ValueTerms,
        as_of: Timestamp,
    ) -> BTreeMap<CustomerId, Outcome> {
        let last_day = Observation::new(as_of.as_microsecond(), currency()).last_day();
        let valuer = Valuer::new(models(), terms, last_day);
        let outcome = |&customer: &CustomerId| {
            let account = self.account(self.place(customer).expect("who was ordered is there"));
            (customer, account.and_then(|account| valuer.value(&account)))
        };
        customers.iter().map(outcome).collect()
    }

    /// Numbers that follow from the seed and the place, each as if drawn.
    fn numbers(&self, place: usize) -> impl FnMut(u64) -> u64 {
        let mut state = self.seed ^ (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        move |below| {
            // SplitMix64 (Steele, Lea & Flood 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) % below
        }
    }
}

impl Base for Customers {
    fn len(&self) -> usize {
        self.count as usize
    }

    fn id(&self, place: usize) -> CustomerId {
        customer(place as u64, self.apart)
    }

    fn customer(&self, place: usize) -> Customer<'_> {
        let acquired_at = Timestamp::UNIX_EPOCH;
        Customer { id: self.id(place), external_id: "", segment: "all", acquired_at }
    }

    fn account(&self, place: usize) -> Result<Account, Rejection> {
        let mut number = self.numbers(place);
        if number(12) == 0 {
            return Err(Rejection::ForeignCurrency);
        }
        let age_days = 100 + number(4) as u32;
        let frequency = number(3) as u32;
        let purchases = Summary {
            frequency,
            recency_days: if frequency == 0 { 0 } else { 1 + number(90) as u32 },
            age_days,
            repeat_spend_minor: i64::from(frequency) * (100 + number(5_000) as i64),
        };
        let contract = Contract {
            price_minor: number(10_000) as i64,
            renewals: number(20) as u32,
            days_to_renewal: 1 + number(30) as u32,
            period_months: 1,
            plan: PlanIndex::OTHER,
        };
        Ok(Account {
            purchases: Some(purchases),
            spend_minor: purchases.repeat_spend_minor + 1_000,
            paid_minor: contract.price_minor,
            contracts: (0..number(2)).map(|_| contract).collect(),
            acquisition_cost_minor: None,
        })
    }

    /// What is known of them is the same at every moment: values of two runs differ by the terms.
    fn observation(&self) -> Option<Observation> {
        None
    }
}

/// Who stands at a place, where they are this far apart.
pub(super) fn customer(place: u64, apart: u64) -> CustomerId {
    CustomerId((1 + place * apart) as i64)
}

/// A store over these customers, with a model in force.
pub(super) async fn store_over(customers: Customers) -> Memory {
    let store = Memory::new(customers, as_of());
    let new = NewModelVersion {
        currency: currency(),
        models: models(),
        fit: json!({}),
        data_fingerprint: String::new(),
        code_version: String::new(),
    };
    store
        .save_model_version(&new, Some(&store::NewPromotion::default()))
        .await
        .expect("memory takes a model");
    store
}

fn currency() -> Currency {
    Currency::parse("USD").expect("three capital letters")
}

/// CDNOW's parameters (Fader, Hardie & Lee 2005; Fader & Hardie 2013), and a contract model.
fn models() -> Models {
    let purchases = Parameters {
        bg_nbd: BgNbd::new(0.243, 4.414, 0.793, 2.426).expect("in its domain"),
        gamma_gamma: GammaGamma::new(6.25, 3.74, 1544.0).expect("in its domain"),
    };
    let sbg = Sbg::new(0.7, 3.8).expect("in its domain");
    let contracts = ContractModels { others: Some(ContractModel::Sbg(sbg)), ..ContractModels::default() };
    Models { purchases, season: None, contracts }
}
