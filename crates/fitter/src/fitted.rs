//! The fit itself: data to models.

use model::fit::{self, ContractDiagnostics, Diagnostics, FitError, PlanRows};
use model::{ContractModels, Models, Parameters, Season};
use store::PlanTenures;

use crate::data::FitData;

/// Models that were fitted, and how they came about.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The models.
    pub models: Models,
    /// How those of purchases came about.
    pub diagnostics: Diagnostics,
    /// How those of contracts did.
    pub contract_diagnostics: ContractDiagnostics,
    /// What the contract models were fitted to.
    pub plans: Vec<PlanTenures>,
    /// Whether the search began at the parameters in force.
    pub is_warm: bool,
}

/// Why there are no models.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoModels {
    /// There are too few purchases, and subscriptions that could be fitted: worth knowing.
    #[error(
        "the subscriptions can be fitted, the purchases cannot: a model version needs both, \
         so a business of subscriptions alone cannot be valued yet"
    )]
    SubscriptionsAlone(#[source] FitError),
    /// The purchases cannot be fitted.
    #[error(transparent)]
    Purchases(FitError),
}

impl FitData {
    /// Fits the models; the search for the purchase models begins at `start` if there is one.
    ///
    /// A model version holds models of purchases: subscriptions alone cannot make one.
    pub fn fit(&self, start: Option<&Parameters>) -> Result<Fitted, NoModels> {
        let (contracts, contract_diagnostics) = fit::contract_models(&rows(&self.plans));
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

    fn fit_purchases(&self, start: Option<&Parameters>) -> Result<(Parameters, Diagnostics), FitError> {
        let none = Season::none();
        let season = self.season.as_ref().unwrap_or(&none);
        fit::parameters_in_season(self.summaries.iter().copied(), season, self.last_day, start)
    }
}

/// What the contract models look at.
pub(crate) fn rows(plans: &[PlanTenures]) -> Vec<PlanRows<'_>> {
    plans
        .iter()
        .map(|of| PlanRows { plan: &of.plan, period_months: of.period_months, rows: &of.rows })
        .collect()
}

fn without_purchases(error: FitError, contracts: &ContractModels) -> NoModels {
    let has_none = matches!(error, FitError::NoRepeatPurchases | FitError::TooFewCustomers { .. });
    if has_none && contracts.others.is_some() {
        NoModels::SubscriptionsAlone(error)
    } else {
        NoModels::Purchases(error)
    }
}

#[cfg(test)]
mod tests {
    use batch::CustomerId;
    use model::fit::ContractRow;
    use model::{Account, Summary};

    use super::*;
    use crate::Summaries;

    fn data(plans: Vec<PlanTenures>) -> FitData {
        let summary = Summary { frequency: 0, recency_days: 0, age_days: 300, repeat_spend_minor: 0 };
        let account = Account::of_purchases(Ok((summary, 0)));
        let mut summaries = Summaries::default();
        (1..=100).for_each(|customer| summaries.push(CustomerId(customer), &account));
        FitData::of(summaries, plans, None, 20_000)
    }

    #[test]
    fn a_business_of_subscriptions_alone_is_told_that_it_cannot_be_valued_yet() {
        let rows = ContractRow::of_survivors(&[1000, 900, 840, 800]);
        let plan = PlanTenures { plan: "basic".into(), period_months: 1, rows, ..PlanTenures::default() };

        let subscriptions = data(vec![plan]).fit(None).unwrap_err();
        let nothing = data(Vec::new()).fit(None).unwrap_err();

        assert_eq!(subscriptions, NoModels::SubscriptionsAlone(FitError::NoRepeatPurchases));
        let message = subscriptions.to_string();
        assert!(message.contains("subscriptions alone cannot be valued yet"), "{message}");
        assert_eq!(nothing.to_string(), "fit the purchases: no customer made a repeat purchase");
    }
}
