//! Whether the models that were fitted may take the place of those in force.

use model::fit::guard::{self, Limits, Verdict};
use model::{Currency, Parameters, Scorer, Season, Summary, Terms};
use store::{ModelVersion, ModelVersionId, Planning, Values};

use crate::fitted::{Fitted, rows};
use crate::record::{Compared, FitRecord, GuardRecord, GuardVerdict};

/// The model version that runs would pin, if there is one.
#[derive(Clone, Debug)]
pub struct Before {
    version: Option<ModelVersion>,
    /// One that cannot be compared, because its money is another.
    in_other_currency: Option<ModelVersionId>,
}

impl Before {
    /// Finds it; one of another currency counts for none.
    pub async fn find(store: &(impl Planning + Values), currency: Currency) -> store::Result<Self> {
        let version = match store.model_version_to_pin(None).await? {
            Some(version) => store.model_version(version).await?,
            None => None,
        };
        Ok(Self::of(version, currency))
    }

    /// Where there is none.
    pub fn none() -> Self {
        Self { version: None, in_other_currency: None }
    }

    fn of(version: Option<ModelVersion>, currency: Currency) -> Self {
        match version {
            Some(other) if other.currency != currency => {
                Self { version: None, in_other_currency: Some(other.version) }
            }
            version => Self { version, in_other_currency: None },
        }
    }

    /// Where the search for the new parameters begins.
    pub fn start(&self) -> Option<&Parameters> {
        self.version.as_ref().map(|version| &version.models.purchases)
    }

    /// Judges what was fitted to these customers, whose summaries all end with `last_day`.
    ///
    /// What both say of today's customers is compared, which a base that merely grew does not move; and what each said of
    /// a customer of its own when it was fitted, where a feed that broke shows even if the parameters hardly moved.
    pub fn judge(&self, fitted: &Fitted, customers: &[Summary], last_day: i64) -> Judgement {
        let forecast = |parameters: &Parameters, season: Option<&Season>| {
            let none = Season::none();
            let season = season.unwrap_or(&none);
            let scorer = Scorer::in_season(*parameters, Terms::default(), season, last_day);
            guard::forecast(&scorer, customers)
        };
        let each = |forecast: f64| if customers.is_empty() { 0.0 } else { forecast / customers.len() as f64 };
        let models = &fitted.models;
        let rows = rows(&fitted.plans);
        let by_fitted = forecast(&models.purchases, models.season.as_ref());
        let now = guard::Fitted {
            parameters: models.purchases,
            is_seasonal: models.season.is_some(),
            purchase_log_likelihood: per_customer(&fitted.diagnostics.bg_nbd),
            spend_log_likelihood: per_customer(&fitted.diagnostics.gamma_gamma),
            contracts: models.contracts.clone(),
            contract_log_likelihood: guard::contract_log_likelihood(&models.contracts, &rows),
            forecast: by_fitted,
            forecast_per_customer: each(by_fitted),
        };
        let in_force = self.version.as_ref().map(|version| {
            let told = FitRecord::read(&version.fit);
            let models = &version.models;
            let by_in_force = forecast(&models.purchases, models.season.as_ref());
            guard::Fitted {
                parameters: models.purchases,
                is_seasonal: models.season.is_some(),
                // What a version made by hand does not tell cannot have moved.
                purchase_log_likelihood: told
                    .purchase_log_likelihood()
                    .unwrap_or(now.purchase_log_likelihood),
                spend_log_likelihood: told.spend_log_likelihood().unwrap_or(now.spend_log_likelihood),
                contracts: models.contracts.clone(),
                contract_log_likelihood: told.guard.today.contract_log_likelihood,
                forecast: by_in_force,
                forecast_per_customer: told.forecast_per_customer().unwrap_or(now.forecast_per_customer),
            }
        });
        Judgement {
            verdict: guard::judge(in_force.as_ref(), &now, &Limits::default()),
            flags: guard::flags(&now.parameters).iter().map(ToString::to_string).collect(),
            fitted: now,
            in_force,
            against: self.version.as_ref().map(|version| version.version),
            in_other_currency: self.in_other_currency,
        }
    }
}

fn per_customer<M>(fit: &model::fit::Fit<M>) -> f64 {
    fit.log_likelihood / fit.customers as f64
}

/// What the guard says of models that were fitted.
#[derive(Clone, Debug)]
pub struct Judgement {
    verdict: Verdict,
    flags: Vec<String>,
    fitted: guard::Fitted,
    in_force: Option<guard::Fitted>,
    against: Option<ModelVersionId>,
    in_other_currency: Option<ModelVersionId>,
}

impl Judgement {
    /// Whether something moved too far.
    pub fn has_breaches(&self) -> bool {
        matches!(self.verdict, Verdict::Keep(_))
    }

    /// What moved too far, each in words.
    pub fn breaches(&self) -> Vec<String> {
        match &self.verdict {
            Verdict::Keep(breaches) => breaches.iter().map(ToString::to_string).collect(),
            Verdict::Accept(_) => Vec::new(),
        }
    }

    /// What somebody should look at.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let other = self.in_other_currency.map(|version| {
            format!(
                "model version {version}, which is in force, is in another currency: nothing was compared"
            )
        });
        self.flags.iter().cloned().chain(other)
    }

    /// What the models were held against, in words.
    pub fn against(&self) -> String {
        match self.against {
            Some(version) => format!("{version}, which is in force"),
            None => "what a model can be".into(),
        }
    }

    /// Why the version is in force, as its promotion says.
    pub fn reason_for_promoting(&self) -> &'static str {
        if self.has_breaches() { "ltv fit stored it, breaches accepted" } else { "ltv fit stored it" }
    }

    pub(crate) fn record(&self) -> GuardRecord {
        GuardRecord {
            against: self.against,
            verdict: Some(if self.has_breaches() { GuardVerdict::Keep } else { GuardVerdict::Accept }),
            breaches: self.breaches(),
            flags: self.flags.clone(),
            today: Compared::from(&self.fitted),
            in_force: self.in_force.as_ref().map(Compared::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use store::PlanTenures;

    use super::*;

    const LAST_DAY: i64 = 20_000;

    /// The customers of CDNOW, each so many times, with so many times the amounts.
    fn customers(each: usize, times_as_much: f64) -> Vec<Summary> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../model/tests/data/cdnow_customers_summary_with_transactions.csv"
        );
        let customer = |line: &str| {
            let numbers: Vec<f64> = line.split(',').map(|number| number.parse().unwrap()).collect();
            let [_, x, t_x, age, zbar] = numbers[..] else { panic!("{line}") };
            Summary {
                frequency: x as u32,
                recency_days: libm::round(7.0 * t_x) as u32,
                age_days: libm::round(7.0 * age) as u32,
                repeat_spend_minor: libm::round(100.0 * x * zbar * times_as_much) as i64,
            }
        };
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().skip(1).flat_map(|line| vec![customer(line); each]).collect()
    }

    fn fitted(customers: &[Summary], start: Option<&Parameters>, survivors: &[u64]) -> Fitted {
        let (purchases, diagnostics) =
            model::fit::parameters_in_season(customers.iter().copied(), &Season::none(), LAST_DAY, start)
                .unwrap();
        let plan = PlanTenures {
            plan: "basic".into(),
            period_months: 1,
            rows: model::fit::ContractRow::of_survivors(survivors),
            ..PlanTenures::default()
        };
        let plans = vec![plan];
        let (contracts, contract_diagnostics) = model::fit::contract_models(&rows(&plans));
        Fitted {
            models: model::Models { contracts, ..purchases.into() },
            diagnostics,
            contract_diagnostics,
            plans,
            is_warm: start.is_some(),
        }
    }

    const SURVIVORS: [u64; 4] = [1000, 900, 840, 800];

    /// What was fitted to four of each, and is in force.
    fn before() -> Before {
        let customers = customers(4, 1.0);
        let first = Before { version: None, in_other_currency: None };
        let fitted = fitted(&customers, None, &SURVIVORS);
        let judgement = first.judge(&fitted, &customers, LAST_DAY);
        let version = ModelVersion {
            version: ModelVersionId(1),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            currency: Currency::parse("USD").unwrap(),
            fit: FitRecord::of(&fitted, jiff::Timestamp::UNIX_EPOCH, judgement.record()).document(),
            models: fitted.models,
            data_fingerprint: String::new(),
            code_version: String::new(),
        };
        Before { version: Some(version), in_other_currency: None }
    }

    fn breaches(customers: &[Summary], survivors: &[u64]) -> Vec<String> {
        let before = before();
        let fitted = fitted(customers, before.start(), survivors);
        before.judge(&fitted, customers, LAST_DAY).breaches()
    }

    #[test]
    fn a_base_that_merely_grew_is_accepted() {
        assert_eq!(breaches(&customers(5, 1.0), &SURVIVORS.map(|left| left * 5 / 4)), [""; 0]);
    }

    #[test]
    fn a_feed_with_ten_times_the_amounts_is_refused() {
        let breaches = breaches(&customers(4, 10.0), &SURVIVORS);

        let has = |quantity: &str| breaches.iter().any(|breach| breach.starts_with(quantity));
        assert!(has("the forecast per customer moved by +2.3") && has("v moved by +2.3"), "{breaches:?}");
    }

    #[test]
    fn a_plan_whose_churn_doubled_is_refused_by_its_name() {
        let breaches = breaches(&customers(4, 1.0), &[1000, 800, 680, 600]);

        assert_eq!(breaches.len(), 3, "{breaches:?}");
        assert!(breaches[0].starts_with("the churn of basic, every month moved by +0.69"), "{breaches:?}");
    }
}
