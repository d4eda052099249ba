//! What the models of a run are fitted to, and the fit: the same whether the histories come from a database or a file.

use std::sync::Arc;

use anyhow::Context;
use batch::CustomerId;
use model::fit::{self, ContractDiagnostics, Diagnostics, FitError, PlanRows};
use model::{
    Account, ContractModels, Currency, Models, Observation, PurchaseCounts, Rejection, Season, Summary,
};
use store::postgres::Postgres;
use store::{PlanTenures, Reading, Values};

use crate::cli::SeasonChoice;

/// Customers whose histories are read at a time.
const PAGE: usize = 20_000;

/// Models that were fitted, and how they came about.
pub(crate) struct Fitted {
    pub(crate) models: Models,
    pub(crate) diagnostics: Diagnostics,
    pub(crate) contract_diagnostics: ContractDiagnostics,
    /// What the contract models were fitted to.
    pub(crate) plans: Vec<PlanTenures>,
    /// Whether the search began at the parameters in force.
    pub(crate) is_warm: bool,
}

/// What the models are fitted to.
pub(crate) struct FitData {
    pub(crate) summaries: Arc<[Summary]>,
    /// Customers whose histories cannot be understood.
    pub(crate) left_out: u64,
    plans: Vec<PlanTenures>,
    season: Option<Season>,
    pub(crate) last_day: i64,
    fingerprint: Fingerprint,
}

impl FitData {
    /// Reads the histories of these customers before `as_of`, and everybody's subscriptions.
    pub(crate) async fn read(
        store: &Postgres,
        customers: &[CustomerId],
        as_of: jiff::Timestamp,
        currency: Currency,
        season: SeasonChoice,
    ) -> anyhow::Result<Self> {
        let summaries = summaries(store, customers, as_of, currency).await?;
        let plans = store.contract_tenures(as_of, currency).await?;
        let season = match season {
            SeasonChoice::None => None,
            SeasonChoice::Estimate => {
                let counts = store.purchase_counts(as_of, currency).await?;
                Some(tokio::task::spawn_blocking(move || estimated(&counts)).await??)
            }
        };
        let last_day = Observation::new(as_of.as_microsecond(), currency).last_day();
        Ok(Self::of(summaries, plans, season, last_day))
    }

    /// Takes what was read elsewhere: everybody's summaries in the order of the customers, the tenures of all
    /// subscriptions, the season to fit in, and the last observed day.
    pub(crate) fn of(
        summaries: Summaries,
        plans: Vec<PlanTenures>,
        season: Option<Season>,
        last_day: i64,
    ) -> Self {
        let Summaries { known, left_out, fingerprint } = summaries;
        Self { summaries: known.into(), left_out, plans, season, last_day, fingerprint }
    }

    /// Fits the models; the search for the purchase models begins at `start` if there is one.
    ///
    /// A model version holds models of purchases: subscriptions alone cannot make one.
    pub(crate) fn fit(&self, start: Option<&model::Parameters>) -> anyhow::Result<Fitted> {
        let (contracts, contract_diagnostics) = self.fit_contracts();
        let (purchases, diagnostics) =
            self.fit_purchases(start).map_err(|error| without_purchases(error, &contracts))?;
        Ok(Fitted {
            models: Models { purchases, season: self.season.clone(), contracts },
            diagnostics,
            contract_diagnostics,
            plans: self.plans.clone(),
            is_warm: start.is_some(),
        })
    }

    fn fit_purchases(
        &self,
        start: Option<&model::Parameters>,
    ) -> Result<(model::Parameters, Diagnostics), FitError> {
        let none = Season::none();
        let season = self.season.as_ref().unwrap_or(&none);
        fit::parameters_in_season(self.summaries.iter().copied(), season, self.last_day, start)
    }

    fn fit_contracts(&self) -> (ContractModels, ContractDiagnostics) {
        fit::contract_models(&rows(&self.plans))
    }

    /// What the models were fitted on, as one number.
    pub(crate) fn fingerprint(&self) -> String {
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

/// The season of everybody's purchases.
pub(crate) fn estimated(counts: &PurchaseCounts) -> anyhow::Result<Season> {
    Season::estimate(counts).context("--season estimate; go without, --season none")
}

/// What the contract models look at.
pub(crate) fn rows(plans: &[PlanTenures]) -> Vec<PlanRows<'_>> {
    plans
        .iter()
        .map(|of| PlanRows { plan: &of.plan, period_months: of.period_months, rows: &of.rows })
        .collect()
}

/// Why there are no models, with what to know where the subscriptions could be fitted and the purchases could not.
fn without_purchases(error: FitError, contracts: &ContractModels) -> anyhow::Error {
    let has_none = matches!(error, FitError::NoRepeatPurchases | FitError::TooFewCustomers { .. });
    let error = anyhow::Error::new(error);
    if has_none && contracts.others.is_some() {
        error.context(
            "the subscriptions can be fitted, the purchases cannot: a model version needs both, \
             so a business of subscriptions alone cannot be valued yet",
        )
    } else {
        error
    }
}

/// The purchase histories of those who ever bought, and how many histories cannot be understood.
#[derive(Default)]
pub(crate) struct Summaries {
    known: Vec<Summary>,
    left_out: u64,
    fingerprint: Fingerprint,
}

impl Summaries {
    pub(crate) fn with_capacity(customers: usize) -> Self {
        Self { known: Vec::with_capacity(customers), ..Self::default() }
    }

    /// Adds a customer; the numbers ascend.
    pub(crate) fn push(&mut self, customer: CustomerId, account: &Result<Account, Rejection>) {
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
    as_of: jiff::Timestamp,
    currency: Currency,
) -> anyhow::Result<Summaries> {
    // Contracts are read by their tenures; which model each has does not matter here.
    let contracts = ContractModels::default();
    let mut summaries = Summaries::with_capacity(customers.len());
    for page in customers.chunks(PAGE) {
        let reading = Reading { customers: page, is_whole: true, as_of, currency, contracts: &contracts };
        for history in store.read_histories(&reading).await? {
            summaries.push(history.customer, &history.account);
        }
    }
    Ok(summaries)
}

/// What the parameters were fitted on, as one number: over the summaries in the order of the customers, then the
/// contracts, then the season.
#[derive(Clone, Default)]
struct Fingerprint(batch::Fingerprint);

impl Fingerprint {
    fn add_summary(&mut self, customer: i64, summary: &Summary) {
        let Summary { frequency, recency_days, age_days, repeat_spend_minor } = *summary;
        self.add([customer, frequency.into(), recency_days.into(), age_days.into(), repeat_spend_minor]);
    }

    fn add_plan(&mut self, plan: &PlanTenures) {
        use fit::Tenure::{ActiveAfter, ChurnedAt};

        self.add([plan.plan.len() as i64, plan.period_months.into()]);
        self.add(plan.plan.bytes().map(i64::from));
        for row in &plan.rows {
            let (is_active, renewals) = match row.tenure {
                ChurnedAt(renewals) => (0, renewals),
                ActiveAfter(renewals) => (1, renewals),
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

#[cfg(test)]
mod tests {
    use model::fit::ContractRow;

    use super::*;

    fn data(survivors: &[u64]) -> FitData {
        let rows = ContractRow::of_survivors(survivors);
        let plan = PlanTenures { plan: "basic".into(), period_months: 1, rows, ..PlanTenures::default() };
        let summary = Summary { frequency: 0, recency_days: 0, age_days: 300, repeat_spend_minor: 0 };
        FitData {
            summaries: vec![summary; 100].into(),
            left_out: 0,
            plans: vec![plan],
            season: None,
            last_day: 20_000,
            fingerprint: Fingerprint::default(),
        }
    }

    #[test]
    fn a_business_of_subscriptions_alone_is_told_that_it_cannot_be_valued_yet() {
        let message = |data: FitData| data.fit(None).err().map(|error| format!("{error:#}")).unwrap();

        let subscriptions = message(data(&[1000, 900, 840, 800]));
        let nothing = message(FitData { plans: Vec::new(), ..data(&[]) });

        assert!(subscriptions.contains("subscriptions alone cannot be valued yet"), "{subscriptions}");
        assert!(subscriptions.contains("no customer made a repeat purchase"), "{subscriptions}");
        assert_eq!(nothing, "fit the purchases: no customer made a repeat purchase");
    }
}
