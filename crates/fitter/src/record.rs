//! What is stored of a fit beside its models: how far it can be trusted, and what was thought of it.
//!
//! A record is a document in the store, and outlives the release that wrote it: the next fit is held against what the
//! one in force told. So a record is read as far as it can be. What is missing, or was written otherwise or by hand, is
//! not told, and the rest is not lost with it. A number that is none is written as null, as JSON has it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::fit::guard;
use model::fit::{ContractFit, Diagnostics, Fit, FitError, PlanDiagnostics};
use model::{Bdw, ContractModel, Sbg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;
use store::{ModelVersionId, PlanTenures};

use crate::fitted::Fitted;

/// A fit, as it is stored with its model version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FitRecord {
    /// The moment whose histories were fitted.
    #[serde(deserialize_with = "as_far_as_understood")]
    pub as_of: Option<Timestamp>,
    /// The fit of the purchase model; standard errors in the order of the parameters.
    #[serde(deserialize_with = "as_far_as_understood")]
    pub bg_nbd: ModelFit<Vec<Option<f64>>>,
    /// The fit of the spend model.
    #[serde(deserialize_with = "as_far_as_understood")]
    pub gamma_gamma: ModelFit<Vec<Option<f64>>>,
    /// The correlation of frequency and mean spend.
    pub spend_correlation: Option<f64>,
    /// Whether the search began at the parameters then in force.
    pub began_at_parameters_in_force: bool,
    /// Whether a season was fitted in.
    pub is_seasonal: bool,
    /// The fits of the contract models.
    #[serde(deserialize_with = "as_far_as_understood")]
    pub contracts: ContractRecords,
    /// What was thought of it all.
    #[serde(deserialize_with = "as_far_as_understood")]
    pub guard: GuardRecord,
}

/// How far the fit of one model can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelFit<E> {
    /// The logarithm of the likelihood of all customers.
    pub log_likelihood: Option<f64>,
    /// The largest derivative of the log-likelihood per customer by the logarithm of a parameter.
    pub gradient_norm: Option<f64>,
    /// Of each parameter.
    pub standard_errors: E,
    /// Customers behind the fit.
    pub customers: u64,
    /// Whether the gradient is as good as none.
    pub converged: bool,
    /// How often the log-likelihood of all customers was evaluated.
    pub evaluations: u32,
}

/// Numbers by the names of a model's parameters.
pub type ByName = BTreeMap<String, Option<f64>>;

/// The fits of the contract models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContractRecords {
    /// Each plan, by its name and then its period.
    pub plans: Vec<PlanRecord>,
    /// All plans of a period pooled.
    pub others_by_period: Vec<PeriodRecord>,
    /// All plans pooled.
    pub others: Chosen,
}

/// How a plan came by its model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// The plan's name.
    pub plan: String,
    /// Months from one payment to the next.
    pub period_months: u16,
    /// Its contracts.
    pub contracts: u64,
    /// Why those that have ended did, and how many of them.
    pub ends: Option<BTreeMap<String, u64>>,
    /// Subscriptions that cannot be.
    pub left_out: Option<u64>,
    /// Its model.
    #[serde(flatten)]
    pub chosen: Chosen,
}

/// How the plans of a period came by their model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeriodRecord {
    /// Months from one payment to the next.
    pub period_months: u16,
    /// The model.
    #[serde(flatten)]
    pub chosen: Chosen,
}

/// The contract model that was chosen, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "there are as many as plans")]
pub enum Chosen {
    /// One was.
    Fitted(ContractFitRecord),
    /// None was.
    LeftToOthers(LeftToOthers),
}

/// The fits of both contract models, and which is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContractFitRecord {
    /// The name of the chosen one.
    pub model: String,
    /// Twice what the log-likelihood of the richer one is above the other's.
    pub likelihood_ratio: Option<f64>,
    /// Why the same churn is taken for all customers, where it is.
    pub constant_churn: Option<String>,
    /// Churn that differs between customers.
    pub sbg: Tried,
    /// Churn that changes with time too.
    pub bdw: Tried,
}

/// A plan without a model of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftToOthers {
    /// The model that it has not; null in the document.
    pub model: (),
    /// Why it has none; older records call it `why`.
    #[serde(alias = "why")]
    pub reason: String,
}

/// One of the contract models, or why it could not be fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tried {
    /// It was fitted.
    Fitted(TriedFit),
    /// It was not.
    Failed {
        /// Why; older records call it `why`.
        #[serde(alias = "why")]
        reason: String,
    },
}

/// The fit of one contract model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriedFit {
    /// Its parameters.
    pub parameters: ByName,
    /// How far they can be trusted.
    #[serde(flatten)]
    pub fit: ModelFit<ByName>,
}

/// What the guard thought of a fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuardRecord {
    /// The model version that was in force.
    pub against: Option<ModelVersionId>,
    /// Which of the two it would rather have.
    pub verdict: Option<GuardVerdict>,
    /// What moved too far, each in words.
    pub breaches: Vec<String>,
    /// What somebody should look at, each in words.
    pub flags: Vec<String>,
    /// What the fit says.
    pub today: Compared,
    /// What the models then in force said.
    pub in_force: Option<Compared>,
}

/// Which models the guard would rather have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardVerdict {
    /// Those in force.
    Keep,
    /// Those that were fitted.
    Accept,
}

/// What was compared; both forecasts are of that day's customers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compared {
    /// Whether the purchases are in a season's time.
    pub is_seasonal: bool,
    /// Of the purchases, per customer.
    pub purchase_log_likelihood: Option<f64>,
    /// Of the spends, per customer who bought again.
    pub spend_log_likelihood: Option<f64>,
    /// Of the contracts, per contract.
    pub contract_log_likelihood: Option<f64>,
    /// The spend that is expected of all customers, in minor units.
    pub forecast_minor: Option<f64>,
    /// The same of a customer.
    pub forecast_per_customer_minor: Option<f64>,
}

impl FitRecord {
    /// Records a fit and what the guard thought of it.
    pub fn of(fitted: &Fitted, as_of: Timestamp, guard: GuardRecord) -> Self {
        let Diagnostics { bg_nbd, gamma_gamma, spend_correlation } = &fitted.diagnostics;
        let listed = |errors: &[f64]| errors.iter().copied().map(Some).collect();
        Self {
            as_of: Some(as_of),
            bg_nbd: ModelFit::of(bg_nbd, listed),
            gamma_gamma: ModelFit::of(gamma_gamma, listed),
            spend_correlation: Some(*spend_correlation),
            began_at_parameters_in_force: fitted.is_warm,
            is_seasonal: fitted.models.season.is_some(),
            contracts: ContractRecords::of(fitted),
            guard,
        }
    }

    /// Reads what is stored, as far as it can be understood.
    pub fn read(stored: &Json) -> Self {
        Self::deserialize(stored).unwrap_or_default()
    }

    /// The document to store.
    pub fn document(&self) -> Json {
        serde_json::to_value(self).expect("numbers, texts and lists by text are JSON")
    }

    /// The log-likelihood of the purchases, per customer.
    pub fn purchase_log_likelihood(&self) -> Option<f64> {
        per(self.bg_nbd.log_likelihood, self.bg_nbd.customers)
    }

    /// The log-likelihood of the spends, per customer who bought again.
    pub fn spend_log_likelihood(&self) -> Option<f64> {
        per(self.gamma_gamma.log_likelihood, self.gamma_gamma.customers)
    }

    /// The spend that was expected of a customer when it was fitted, in minor units.
    pub fn forecast_per_customer(&self) -> Option<f64> {
        per(self.guard.today.forecast_minor, self.bg_nbd.customers)
    }
}

fn per(total: Option<f64>, customers: u64) -> Option<f64> {
    total.map(|total| total / customers as f64).filter(|each| each.is_finite())
}

impl<E> ModelFit<E> {
    fn of<M>(fit: &Fit<M>, standard_errors: impl FnOnce(&[f64]) -> E) -> Self {
        Self {
            log_likelihood: Some(fit.log_likelihood),
            gradient_norm: Some(fit.gradient_norm),
            standard_errors: standard_errors(&fit.standard_errors),
            customers: fit.customers,
            converged: fit.converged,
            evaluations: fit.evaluations,
        }
    }
}

impl ContractRecords {
    fn of(fitted: &Fitted) -> Self {
        let diagnostics = &fitted.contract_diagnostics;
        let of_period = |(&period_months, fit)| PeriodRecord { period_months, chosen: Chosen::of(fit) };
        Self {
            plans: diagnostics.plans.iter().map(|plan| PlanRecord::of(plan, &fitted.plans)).collect(),
            others_by_period: diagnostics.others_by_period.iter().map(of_period).collect(),
            others: Chosen::of(&diagnostics.others),
        }
    }
}

impl Default for ContractRecords {
    fn default() -> Self {
        let others = Chosen::LeftToOthers(LeftToOthers { model: (), reason: "it is not told".into() });
        Self { plans: Vec::new(), others_by_period: Vec::new(), others }
    }
}

impl PlanRecord {
    fn of(plan: &PlanDiagnostics, read: &[PlanTenures]) -> Self {
        let tenures =
            read.iter().find(|read| read.plan == plan.plan && read.period_months == plan.period_months);
        Self {
            plan: plan.plan.clone(),
            period_months: plan.period_months,
            contracts: plan.contracts,
            ends: tenures.map(|tenures| tenures.ends.clone()),
            left_out: tenures.map(|tenures| tenures.left_out),
            chosen: Chosen::of(&plan.fit),
        }
    }
}

impl Chosen {
    fn of(fit: &Result<ContractFit, FitError>) -> Self {
        match fit {
            Ok(fit) => Self::Fitted(ContractFitRecord {
                model: match fit.model {
                    ContractModel::Sbg(_) => "sbg".into(),
                    ContractModel::Bdw(_) => "bdw".into(),
                },
                likelihood_ratio: fit.likelihood_ratio,
                constant_churn: fit.constant_churn.map(|reason| reason.to_string()),
                sbg: Tried::of(&fit.sbg, |sbg: &Sbg| [("alpha", sbg.alpha()), ("beta", sbg.beta())]),
                bdw: Tried::of(&fit.bdw, |bdw: &Bdw| {
                    [("alpha", bdw.alpha()), ("beta", bdw.beta()), ("c", bdw.c())]
                }),
            }),
            Err(error) => Self::LeftToOthers(LeftToOthers { model: (), reason: error.to_string() }),
        }
    }
}

impl Tried {
    fn of<M, const N: usize>(
        fit: &Result<Fit<M>, FitError>,
        parameters: impl FnOnce(&M) -> [(&'static str, f64); N],
    ) -> Self {
        match fit {
            Ok(fit) => {
                let parameters = parameters(&fit.model);
                let names = parameters.map(|(name, _)| name);
                let named = |errors: &[f64]| by_name(names.into_iter().zip(errors.iter().copied()));
                Self::Fitted(TriedFit { parameters: by_name(parameters), fit: ModelFit::of(fit, named) })
            }
            Err(error) => Self::Failed { reason: error.to_string() },
        }
    }
}

fn by_name(numbers: impl IntoIterator<Item = (&'static str, f64)>) -> ByName {
    numbers.into_iter().map(|(name, number)| (name.to_owned(), Some(number))).collect()
}

impl From<&guard::Fitted> for Compared {
    fn from(fitted: &guard::Fitted) -> Self {
        Self {
            is_seasonal: fitted.is_seasonal,
            purchase_log_likelihood: Some(fitted.purchase_log_likelihood),
            spend_log_likelihood: Some(fitted.spend_log_likelihood),
            contract_log_likelihood: fitted.contract_log_likelihood,
            forecast_minor: Some(fitted.forecast),
            forecast_per_customer_minor: Some(fitted.forecast_per_customer),
        }
    }
}

/// Reads a part of a record; one that was written otherwise is not told.
fn as_far_as_understood<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    Ok(T::deserialize(Json::deserialize(deserializer)?).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use model::fit::{ContractRow, PlanRows, contract_models};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_tells_what_it_came_to_and_one_by_hand_does_not() {
        let told = FitRecord::read(&json!({
            "bg_nbd": { "log_likelihood": -200.0, "customers": 50 },
            "gamma_gamma": { "log_likelihood": -90.0, "customers": 0 },
            "guard": { "today": { "forecast_minor": 700.0, "contract_log_likelihood": -1.5 } },
            "contracts": "in an older way",
        }));

        assert_eq!((told.purchase_log_likelihood(), told.spend_log_likelihood()), (Some(-4.0), None));
        assert_eq!(told.guard.today.contract_log_likelihood, Some(-1.5));
        assert_eq!(told.forecast_per_customer(), Some(14.0));
        for by_hand in [json!("by hand"), json!({ "by": "hand" }), Json::Null] {
            assert_eq!(FitRecord::read(&by_hand), FitRecord::default());
        }
        let untold = FitRecord::default();
        assert_eq!((untold.purchase_log_likelihood(), untold.spend_log_likelihood()), (None, None));
        assert_eq!(
            (untold.guard.today.contract_log_likelihood, untold.forecast_per_customer()),
            (None, None)
        );
    }

    /// What `ltv fit` stores, with contracts of every shape.
    #[test]
    fn what_was_stored_is_read_back_and_would_be_written_the_same() {
        let stored: Json = serde_json::from_str(include_str!("../tests/data/stored_fit.json")).unwrap();

        let record = FitRecord::read(&stored);

        assert_eq!(record.document(), stored);
        assert!(record.purchase_log_likelihood().is_some() && record.spend_log_likelihood().is_some());
        assert!(record.forecast_per_customer().is_some());
        assert_eq!(record.contracts.plans.len(), 3);
    }

    #[test]
    fn a_record_of_before_that_says_why_is_read_as_one_that_gives_a_reason() {
        let stored = include_str!("../tests/data/stored_fit.json");
        let before = stored.replace("\"reason\":", "\"why\":");
        assert_ne!(before, stored);

        let record = FitRecord::read(&serde_json::from_str(&before).unwrap());

        assert_eq!(record.document(), serde_json::from_str::<Json>(stored).unwrap());
    }

    fn chosen(fit: &Result<ContractFit, FitError>) -> Json {
        serde_json::to_value(Chosen::of(fit)).unwrap()
    }

    #[test]
    fn a_plan_without_a_model_of_its_own_says_why() {
        let survivors = |size: u64| ContractRow::of_survivors(&[size, size * 7 / 10, size * 6 / 10]);
        let (large, small) = (survivors(1000), survivors(200));
        let rows = |plan, rows| PlanRows { plan, period_months: 1, rows };

        let (_, diagnostics) = contract_models(&[rows("large", &large), rows("small", &small)]);
        let documents: Vec<Json> = diagnostics.plans.iter().map(|plan| chosen(&plan.fit)).collect();

        assert_eq!(documents[0]["model"], "sbg");
        assert!(documents[0]["sbg"]["parameters"]["alpha"].is_f64(), "{}", documents[0]);
        assert!(documents[0]["sbg"]["standard_errors"]["beta"].is_f64(), "{}", documents[0]);
        assert_eq!(documents[1]["model"], Json::Null);
        assert_eq!(documents[1]["reason"], "fit sbg: 200 customers are too few, at least 300 are needed");
    }

    #[test]
    fn a_constant_churn_is_said_to_be_one() {
        let cohort = ContractRow::of_survivors(&[1000, 700]);

        let (_, diagnostics) = contract_models(&[PlanRows { plan: "new", period_months: 1, rows: &cohort }]);

        let document = chosen(&diagnostics.plans[0].fit);
        assert_eq!(document["constant_churn"], "constant churn: heterogeneity cannot be told yet");
    }
}
