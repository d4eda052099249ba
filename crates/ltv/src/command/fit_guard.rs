//! Whether the models of `ltv fit` may take the place of those in force.

use model::fit::guard::{self, Limits, Night, Verdict};
use model::{Currency, Parameters, Scorer, Season, Summary, Terms};
use serde_json::{Value as Json, json};
use store::postgres::Postgres;
use store::{ModelVersion, ModelVersionId, Planning, Values};

use crate::fitting::Fitted;

/// The model version that runs would pin, if there is one.
pub(super) struct Before {
    version: Option<ModelVersion>,
    /// One that cannot be compared, because its money is another.
    in_other_currency: Option<ModelVersionId>,
}

impl Before {
    /// Finds it; one of another currency counts for none.
    pub(super) async fn find(store: &Postgres, currency: Currency) -> store::Result<Self> {
        let version = match store.model_version_to_pin(None).await? {
            Some(version) => store.model_version(version).await?,
            None => None,
        };
        Ok(Self::of(version, currency))
    }

    /// Where there is none.
    pub(super) fn none() -> Self {
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
    pub(super) fn start(&self) -> Option<&Parameters> {
        self.version.as_ref().map(|version| &version.models.purchases)
    }

    /// Judges what was fitted to these customers, whose summaries all end with `last_day`.
    ///
    /// What each version said of its own customers when it was fitted is compared: a feed that broke shows in the
    /// forecast even where the parameters hardly moved. A version that did not tell its forecast is asked for that of
    /// today's customers.
    pub(super) fn judge(&self, fitted: &Fitted, customers: &[Summary], last_day: i64) -> Judgement {
        let forecast = |parameters: &Parameters, season: Option<&Season>| {
            let none = Season::none();
            let season = season.unwrap_or(&none);
            let scorer = Scorer::in_season(*parameters, Terms::default(), season, last_day);
            guard::forecast(&scorer, customers)
        };
        let models = &fitted.models;
        let today = Night {
            parameters: models.purchases,
            is_seasonal: models.season.is_some(),
            purchase_log_likelihood: per_customer(&fitted.diagnostics.bg_nbd),
            spend_log_likelihood: per_customer(&fitted.diagnostics.gamma_gamma),
            forecast: forecast(&models.purchases, models.season.as_ref()),
        };
        let by_in_force = self
            .version
            .as_ref()
            .map(|version| forecast(&version.models.purchases, version.models.season.as_ref()));
        let yesterday = self.version.as_ref().zip(by_in_force).map(|(version, by_in_force)| {
            let told = Told::of(&version.fit);
            let models = &version.models;
            Night {
                parameters: models.purchases,
                is_seasonal: models.season.is_some(),
                // What a version made by hand does not tell cannot have moved.
                purchase_log_likelihood: told.purchases.unwrap_or(today.purchase_log_likelihood),
                spend_log_likelihood: told.spends.unwrap_or(today.spend_log_likelihood),
                forecast: told.forecast.unwrap_or(by_in_force),
            }
        });
        Judgement {
            verdict: guard::judge(yesterday.as_ref(), &today, &Limits::default()),
            flags: guard::flags(&today.parameters).iter().map(ToString::to_string).collect(),
            today,
            yesterday,
            by_in_force,
            against: self.version.as_ref().map(|version| version.version),
            in_other_currency: self.in_other_currency,
        }
    }
}

fn per_customer<M>(fit: &model::fit::Fit<M>) -> f64 {
    fit.log_likelihood / fit.customers as f64
}

/// The log-likelihoods per customer, and the forecast, that a fit document tells.
struct Told {
    purchases: Option<f64>,
    spends: Option<f64>,
    forecast: Option<f64>,
}

impl Told {
    fn of(fit: &Json) -> Self {
        let per_customer = |model: &str| {
            let number = |name: &str| fit.get(model)?.get(name)?.as_f64();
            Some(number("log_likelihood")? / number("customers")?).filter(|ratio| ratio.is_finite())
        };
        Self {
            purchases: per_customer("bg_nbd"),
            spends: per_customer("gamma_gamma"),
            forecast: fit.pointer("/guard/today/forecast_minor").and_then(Json::as_f64),
        }
    }
}

/// What the guard says.
pub(super) struct Judgement {
    verdict: Verdict,
    flags: Vec<String>,
    today: Night,
    yesterday: Option<Night>,
    /// The forecast of today's customers by the parameters in force: the difference to today's is made by the
    /// parameters alone.
    by_in_force: Option<f64>,
    against: Option<ModelVersionId>,
    in_other_currency: Option<ModelVersionId>,
}

impl Judgement {
    pub(super) fn has_breaches(&self) -> bool {
        matches!(self.verdict, Verdict::Keep(_))
    }

    /// What moved too far, each in words.
    pub(super) fn breaches(&self) -> Vec<String> {
        match &self.verdict {
            Verdict::Keep(breaches) => breaches.iter().map(ToString::to_string).collect(),
            Verdict::Accept(_) => Vec::new(),
        }
    }

    /// What somebody should look at.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        let other = self.in_other_currency.map(|version| {
            format!(
                "model version {version}, which is in force, is in another currency: nothing was compared"
            )
        });
        self.flags.iter().cloned().chain(other)
    }

    /// What the models were held against, in words.
    pub(super) fn against(&self) -> String {
        match self.against {
            Some(version) => format!("{version}, which is in force"),
            None => "what a model can be".into(),
        }
    }

    pub(super) fn reason_for_promoting(&self) -> &'static str {
        if self.has_breaches() { "ltv fit stored it, breaches accepted" } else { "ltv fit stored it" }
    }

    pub(super) fn document(&self) -> Json {
        json!({
            "against": self.against,
            "verdict": if self.has_breaches() { "keep" } else { "accept" },
            "breaches": self.breaches(),
            "flags": self.flags,
            "today": night(&self.today),
            "in_force": self.yesterday.as_ref().map(night),
            "forecast_by_in_force_minor": self.by_in_force,
        })
    }
}

fn night(night: &Night) -> Json {
    json!({
        "is_seasonal": night.is_seasonal,
        "purchase_log_likelihood": night.purchase_log_likelihood,
        "spend_log_likelihood": night.spend_log_likelihood,
        "forecast_minor": night.forecast,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_document_tells_what_it_came_to_and_one_by_hand_does_not() {
        let told = Told::of(&json!({
            "bg_nbd": { "log_likelihood": -200.0, "customers": 50 },
            "gamma_gamma": { "log_likelihood": -90.0, "customers": 0 },
            "guard": { "today": { "forecast_minor": 7.0 } },
        }));

        assert_eq!((told.purchases, told.spends, told.forecast), (Some(-4.0), None, Some(7.0)));
        let by_hand = Told::of(&json!("by hand"));
        assert_eq!((by_hand.purchases, by_hand.spends, by_hand.forecast), (None, None, None));
    }
}
