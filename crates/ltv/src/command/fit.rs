//! `ltv fit`
//!
//! Reads all histories, fits the models, holds them against those in force, stores them as a new version, and
//! promotes that unless it is too far from what is in force.

use std::sync::Arc;

use anyhow::{Context, bail};
use model::fit::{self, ContractDiagnostics, Diagnostics, PlanRows};
use model::{ContractModels, Models, Observation, Season, Summary};
use serde_json::json;
use store::postgres::{PlanTenures, Postgres};
use store::{NewModelVersion, NewPromotion, Planning, Reading, Selection, Values};

use super::fit_file;
use super::fit_guard::Before;
use super::fit_report::{self, Fitted};
use crate::cli::{FitArgs, SeasonChoice};
use crate::config;

/// Customers whose histories are read at a time.
const PAGE: usize = 20_000;

pub(crate) async fn run(args: &FitArgs) -> anyhow::Result<()> {
    if let (Some(model), Some(input), Some(out)) = (args.model, &args.input, &args.out) {
        return fit_file::run(args, model, input, out);
    }
    let database = args.database().context("--database-url is missing")?;
    let store = config::store_now(&database, "command").await?;
    let as_of = match args.as_of {
        Some(as_of) => as_of,
        None => store.now().await?,
    };
    let before = Before::find(&store, args.currency).await?;
    let data = Data::read(&store, args, as_of).await?;
    let fingerprint = data.fingerprint();
    let left_out = data.left_out;

    let (fitted, judgement) = tokio::task::spawn_blocking(move || {
        let fitted = data.fit(before.start())?;
        let judgement = before.judge(&fitted, &data.summaries, data.last_day);
        anyhow::Ok((fitted, judgement))
    })
    .await?
    .with_context(|| {
        format!("the histories at {as_of} cannot be fitted, {left_out} customers left out; load more, or see --as-of")
    })?;

    let is_refused = judgement.has_breaches() && !args.accept_breaches;
    let is_promoted = !args.no_promote && !is_refused;
    let new = NewModelVersion {
        currency: args.currency,
        models: fitted.models.clone(),
        fit: fit_report::document(&fitted, as_of, &judgement),
        data_fingerprint: fingerprint,
        code_version: env!("CARGO_PKG_VERSION").into(),
    };
    let promotion = is_promoted.then(|| NewPromotion {
        by: args.by.by.clone(),
        reason: Some(judgement.reason_for_promoting().into()),
    });
    let version = store.save_model_version(&new, promotion.as_ref()).await?;
    if args.json {
        let document = json!({
            "model_version": version,
            "parameters": new.models.purchases,
            "models": new.models,
            "fit": new.fit,
            "promoted": is_promoted,
        });
        println!("{document}");
    } else {
        print!("{}", fit_report::told(&fitted, version, args.currency, as_of));
        if left_out > 0 {
            println!("  {}", fit_report::left_out(left_out));
        }
        if !is_promoted {
            println!("  not promoted: `ltv models promote {version}` makes it the one that runs pin");
        }
    }
    judgement.warnings().for_each(|warning| eprintln!("ltv: warning: {warning}"));
    if is_refused {
        bail!(
            "model version {version} is too far from {}, so it was stored and not promoted: {}; \
             look at it, then `ltv models promote {version}`, or fit with --accept-breaches",
            judgement.against(),
            judgement.breaches().join("; ")
        );
    }
    Ok(())
}

/// What the models are fitted to.
struct Data {
    summaries: Arc<[Summary]>,
    /// Customers whose histories cannot be understood.
    left_out: u64,
    plans: Vec<PlanTenures>,
    season: Option<Season>,
    last_day: i64,
    fingerprint: Fingerprint,
}

impl Data {
    async fn read(store: &Postgres, args: &FitArgs, as_of: jiff::Timestamp) -> anyhow::Result<Self> {
        let mut fingerprint = Fingerprint::default();
        let (summaries, left_out) = summaries(store, args, as_of, &mut fingerprint).await?;
        let plans = store.contract_tenures(as_of, args.currency).await?;
        let season = match args.season {
            SeasonChoice::None => None,
            SeasonChoice::Estimate => {
                let counts = store.purchase_counts(as_of, args.currency).await?;
                let estimate = tokio::task::spawn_blocking(move || Season::estimate(&counts)).await?;
                Some(estimate.context("--season estimate; go without, --season none")?)
            }
        };
        let last_day = Observation::new(as_of.as_microsecond(), args.currency).last_day();
        Ok(Self { summaries: summaries.into(), left_out, plans, season, last_day, fingerprint })
    }

    fn fit(&self, start: Option<&model::Parameters>) -> Result<Fitted, fit::FitError> {
        let (purchases, diagnostics) = self.fit_purchases(start)?;
        let (contracts, contract_diagnostics) = self.fit_contracts();
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
    ) -> Result<(model::Parameters, Diagnostics), fit::FitError> {
        let none = Season::none();
        let season = self.season.as_ref().unwrap_or(&none);
        fit::parameters_in_season(self.summaries.iter().copied(), season, self.last_day, start)
    }

    fn fit_contracts(&self) -> (ContractModels, ContractDiagnostics) {
        let rows = self.plans.iter().map(|of| PlanRows {
            plan: &of.plan,
            period_months: of.period_months,
            rows: &of.rows,
        });
        fit::contract_models(&rows.collect::<Vec<_>>())
    }

    /// What the models were fitted on, as one number.
    fn fingerprint(&self) -> String {
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

/// The purchase histories of all customers who ever bought, and how many histories cannot be understood.
async fn summaries(
    store: &Postgres,
    args: &FitArgs,
    as_of: jiff::Timestamp,
    fingerprint: &mut Fingerprint,
) -> anyhow::Result<(Vec<Summary>, u64)> {
    // Contracts are read by their tenures; which model each has does not matter here.
    let contracts = ContractModels::default();
    let customers = store.selected(&Selection::All, as_of).await?;
    let mut summaries: Vec<Summary> = Vec::with_capacity(customers.len());
    let mut left_out = 0;
    for page in customers.chunks(PAGE) {
        let reading = Reading {
            customers: page,
            is_whole: true,
            as_of,
            currency: args.currency,
            contracts: &contracts,
        };
        for history in store.read_histories(&reading).await? {
            match history.account {
                Ok(account) => {
                    if let Some(summary) = account.purchases {
                        fingerprint.add_summary(history.customer.0, &summary);
                        summaries.push(summary);
                    }
                }
                Err(_) => left_out += 1,
            }
        }
    }
    Ok((summaries, left_out))
}

/// What the parameters were fitted on, as one number: FNV-1a over the summaries in the order of the customers, then
/// the contracts, then the season.
#[derive(Clone)]
struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

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
        for byte in numbers.into_iter().flat_map(i64::to_le_bytes) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
