//! The base that is measured on, and the model that it is valued with.

use anyhow::Context;
use fitter::FitData;
use jiff::Timestamp;
use model::ValueTerms;
use store::postgres::{Postgres, SourceSize};
use store::{ModelVersions, NewModelVersion, NewPromotion, Planning, Selection};

use super::note;
use crate::cli::BenchFleetArgs;
use crate::generate::{GenerateSpec, generate_into};
use crate::output::count;

/// The moment that the generated base ends at.
const AS_OF: &str = "2026-07-01T00:00:00Z";

/// The weeks that it reaches back.
const WEEKS: u32 = 104;

/// Makes sure that the base is the one ordered, and that a model is fitted to it; returns how large it is.
pub(super) async fn prepare(args: &BenchFleetArgs, store: &Postgres) -> anyhow::Result<SourceSize> {
    let found = store.source_size().await?;
    let transactions = (f64::from(args.customers) * args.transactions) as u64;
    let is_same = found.customers == u64::from(args.customers)
        && found.transactions.abs_diff(transactions) < transactions / 10 + 1_000
        && (found.subscriptions == 0) == args.no_subscriptions;
    if found.customers > 0 && !is_same {
        anyhow::bail!(
            "the database holds another base ({} customers, {} transactions, {} subscriptions): empty it with \
             `scripts/stack reset`",
            count(found.customers),
            count(found.transactions),
            count(found.subscriptions)
        );
    }
    if !is_same {
        note("generating the base, its rows in time order");
        let spec = GenerateSpec {
            customers: args.customers,
            transactions_per_customer: Some(args.transactions),
            first_customer_id: 1,
            first_transaction_id: 1,
            seed: 1,
            as_of: as_of(),
            weeks: WEEKS,
            subscriptions: !args.no_subscriptions,
        };
        generate_into(store, &spec, |_| {}).await?;
    }
    if store.model_version_to_pin(None).await?.is_none() {
        note("fitting the model");
        fit(store).await?;
    }
    Ok(store.source_size().await?)
}

/// Fits the models to the first hundred thousand customers, which is plenty for a benchmark.
async fn fit(store: &Postgres) -> anyhow::Result<()> {
    const FITTED: usize = 100_000;
    let currency = model::Currency::parse("USD").context("USD is a currency")?;
    let customers = store.selected(&Selection::All, as_of()).await?;
    let some = &customers[..customers.len().min(FITTED)];
    let data = FitData::read(store, some, as_of(), currency, false).await?;
    let new = NewModelVersion {
        currency,
        models: data.fit(None)?.models,
        fit: serde_json::json!({ "by": "ltv bench" }),
        data_fingerprint: data.fingerprint(),
        code_version: env!("CARGO_PKG_VERSION").into(),
    };
    store.save_model_version(&new, Some(&NewPromotion::default())).await?;
    Ok(())
}

pub(super) fn as_of() -> Timestamp {
    AS_OF.parse().expect("the constant is a moment")
}

pub(super) fn terms() -> ValueTerms {
    ValueTerms::default()
}
