//! What the models are fitted to: the same whether the histories come from a database or a file.

use std::sync::Arc;

use batch::CustomerId;
use jiff::Timestamp;
use model::fit::Tenure;
use model::{Account, ContractModels, Currency, Observation, Rejection, Season, Summary};
use store::postgres::Postgres;
use store::{PlanTenures, Reading, Values};
use tokio::task::spawn_blocking;

use crate::Error;

/// Customers whose histories are read at a time.
const PAGE: usize = 20_000;

/// What the models are fitted to.
#[derive(Clone, Debug)]
pub struct FitData {
    /// The purchase histories of those who ever bought, in the order of the customers.
    pub summaries: Arc<[Summary]>,
    /// Customers whose histories cannot be understood.
    pub left_out: u64,
    /// The last observed day, with which all histories end.
    pub last_day: i64,
    pub(crate) plans: Vec<PlanTenures>,
    pub(crate) season: Option<Season>,
    fingerprint: Fingerprint,
}

impl FitData {
    /// Reads the histories of these customers before `as_of`, everybody's subscriptions, and when everybody bought if
    /// a season is to be estimated.
    pub async fn read(
        store: &Postgres,
        customers: &[CustomerId],
        as_of: Timestamp,
        currency: Currency,
        is_seasonal: bool,
    ) -> Result<Self, Error> {
        let summaries = summaries(store, customers, as_of, currency).await?;
        let plans = store.contract_tenures(as_of, currency).await?;
        let season = if is_seasonal {
            let counts = store.purchase_counts(as_of, currency).await?;
            Some(spawn_blocking(move || Season::estimate(&counts)).await??)
        } else {
            None
        };
        let last_day = Observation::new(as_of.as_microsecond(), currency).last_day();
        Ok(Self::of(summaries, plans, season, last_day))
    }

    /// Takes what was read elsewhere: everybody's summaries in the order of the customers, the tenures of all
    /// subscriptions, the season to fit in, and the last observed day.
    pub fn of(summaries: Summaries, plans: Vec<PlanTenures>, season: Option<Season>, last_day: i64) -> Self {
        let Summaries { known, left_out, fingerprint } = summaries;
        Self { summaries: known.into(), left_out, plans, season, last_day, fingerprint }
    }

    /// What the models were fitted on, as one number.
    pub fn fingerprint(&self) -> String {
        let mut fingerprint = self.fingerprint.clone();
        for plan in &self.plans {
            fingerprint.add_plan(plan);
        }
        for index in self.season.iter().flat_map(Season::index) {
            fingerprint.add([index.to_bits() as i64]);
        }
        fingerprint.to_string()
    }
}

/// The purchase histories of those who ever bought, and how many histories cannot be understood.
#[derive(Clone, Debug, Default)]
pub struct Summaries {
    known: Vec<Summary>,
    left_out: u64,
    fingerprint: Fingerprint,
}

impl Summaries {
    /// Makes room for so many.
    pub fn with_capacity(customers: usize) -> Self {
        Self { known: Vec::with_capacity(customers), ..Self::default() }
    }

    /// Adds a customer; the numbers ascend.
    pub fn push(&mut self, customer: CustomerId, account: &Result<Account, Rejection>) {
        match account {
            Ok(Account { purchases: Some(summary), .. }) => {
                self.fingerprint.add_summary(customer.0, summary);
                self.known.push(*summary);
            }
            Ok(_) => {}
            Err(_) => self.left_out += 1,
        }
    }
}

async fn summaries(
    store: &Postgres,
    customers: &[CustomerId],
    as_of: Timestamp,
    currency: Currency,
) -> store::Result<Summaries> {
    // Contracts are read by their tenures; which model each has does not matter here.
    let contracts = ContractModels::default();
    let mut summaries = Summaries::with_capacity(customers.len());
    for page in customers.chunks(PAGE) {
        let reading =
            Reading { customers: page, run: None, is_whole: true, as_of, currency, contracts: &contracts };
        for history in store.read_histories(&reading).await? {
            summaries.push(history.customer, &history.account);
        }
    }
    Ok(summaries)
}

/// What the parameters were fitted on, as one number: over the summaries in the order of the customers, then the
/// contracts, then the season.
#[derive(Clone, Debug, Default)]
struct Fingerprint(batch::Fingerprint);

impl Fingerprint {
    fn add_summary(&mut self, customer: i64, summary: &Summary) {
        let Summary { frequency, recency_days, age_days, repeat_spend_minor } = *summary;
        self.add([customer, frequency.into(), recency_days.into(), age_days.into(), repeat_spend_minor]);
    }

    fn add_plan(&mut self, plan: &PlanTenures) {
        self.add([plan.plan.len() as i64, plan.period_months.into()]);
        self.add(plan.plan.bytes().map(i64::from));
        for row in &plan.rows {
            let (is_active, renewals) = match row.tenure {
                Tenure::ChurnedAt(renewals) => (0, renewals),
                Tenure::ActiveAfter(renewals) => (1, renewals),
            };
            self.add([is_active, renewals.into(), row.customers as i64]);
        }
    }

    fn add(&mut self, numbers: impl IntoIterator<Item = i64>) {
        self.0.extend(numbers);
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
