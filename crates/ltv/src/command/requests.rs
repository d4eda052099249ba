//! `ltv requests`

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use batch::RequestId;
use documents::{Fresh, KnownCustomer, Request, RequestWithAnswer, Served, ServedFrom, Told};
use store::postgres::{Duty, Postgres};
use store::{Answer, ModelVersionId, RequestRecord, Requests, Values};

use super::meaning::meaning;
use crate::cli::{RequestArgs, RequestShowArgs};
use crate::config;
use crate::output::{count, money, table};
use crate::stdout::{put, say};

pub(crate) async fn show(args: &RequestShowArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.request.database, "command").await?;
    let answer =
        store.answer_of(args.request.request).await?.with_context(|| missing(args.request.request))?;
    let results = results(&store, &answer).await?;
    if args.json {
        let results = answer.record.settled_at.is_some().then_some(results);
        let request = Request::new(&answer.record);
        say!("{}", documents::line(&RequestWithAnswer { request, results }))?;
        return Ok(());
    }
    tell(&answer.record)?;
    let rows: Vec<_> = results.iter().map(row).collect();
    if !rows.is_empty() {
        put(table(&["customer", "value", "stale", "why there is none"], &[3], &rows))?;
    }
    Ok(())
}

pub(crate) async fn abandon(args: &RequestArgs) -> anyhow::Result<()> {
    let store = config::store_for(Duty::Read, &args.database, "command").await?;
    if store.abandon(args.request).await? {
        say!("request {} is abandoned: nobody begins it any more", args.request)?;
        return Ok(());
    }
    let record = store.look(&[args.request]).await?.pop().with_context(|| missing(args.request))?;
    bail!("request {} cannot be left: it is {}", args.request, record.state.as_str())
}

fn missing(request: RequestId) -> String {
    format!("there is no request {request}")
}

/// What was answered, as the api tells it.
async fn results(store: &Postgres, answer: &Answer) -> anyhow::Result<Vec<Fresh>> {
    let versions: BTreeSet<ModelVersionId> = answer.rows.iter().map(|known| known.model_version).collect();
    let mut models = BTreeMap::new();
    for version in versions {
        let model = store.model_version(version).await?.context("an answer's model version is missing")?;
        models.insert(version, model);
    }
    let valued: Vec<_> = answer.rows.iter().map(|known| (known.customer, known.as_of)).collect();
    let stale = if valued.is_empty() { Vec::new() } else { store.stale(&valued).await? };
    let fresh = |known: &store::Known| Fresh {
        told: Told::Short(KnownCustomer::new(known, &models[&known.model_version])),
        stale: Some(stale.binary_search(&known.customer).is_ok()),
        served: Served::now(ServedFrom::Store),
    };
    Ok(answer.rows.iter().map(fresh).collect())
}

fn tell(record: &RequestRecord) -> anyhow::Result<()> {
    say!("\nRequest {}, {}\n", record.request, record.state.as_str())?;
    say!("  customers    {}", count(record.customers))?;
    say!("  asked at     {}", record.asked_at)?;
    say!("  expires at   {}", record.expires_at)?;
    if let Some(pinned) = record.pinned {
        say!("  valued for   {}, with model version {}", pinned.as_of, pinned.model_version)?;
    }
    if let Some(at) = record.settled_at {
        let (values, rejections) = (count(record.values), count(record.rejections));
        say!("  settled at   {at}: {values} values, {rejections} rejections")?;
    }
    if let Some(reason) = &record.reason {
        say!("  failed       {} times, last because {reason}", record.failures)?;
    }
    say!("")?;
    Ok(())
}

fn row(fresh: &Fresh) -> Vec<String> {
    let Told::Short(known) = &fresh.told else { return Vec::new() };
    let value = known.value.as_ref().map(|value| money(value.value_minor)).unwrap_or_default();
    let why = known.reason.as_deref().map(meaning).unwrap_or_default();
    let stale = if fresh.stale == Some(true) { "stale" } else { "" };
    vec![known.customer.to_string(), value, stale.to_owned(), why]
}
