//! What was told, compared with what is committed.

use std::collections::HashMap;

use anyhow::Context;
use batch::{CustomerId, RequestId, RunId};
use serde::Deserialize;
use store::postgres::Postgres;
use store::{Archive, Explained, Requests};

/// What an api told of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Told {
    customer: CustomerId,
    origin: Origin,
    value_minor: Option<i64>,
    /// Which level it came from.
    pub(super) from: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    Run(RunId),
    Request(RequestId),
}

/// The part of an answer that is compared.
#[derive(Deserialize)]
struct Document {
    customer: String,
    value: Option<Value>,
    run: Option<String>,
    request: Option<String>,
    served: Option<Served>,
}

#[derive(Deserialize)]
struct Value {
    value_minor: i64,
}

#[derive(Deserialize)]
struct Served {
    from: String,
}

impl Told {
    /// Reads an answer to a question about a customer.
    pub(super) fn read(customer: CustomerId, body: &[u8]) -> anyhow::Result<Self> {
        let document: Document =
            serde_json::from_slice(body).with_context(|| format!("an answer about customer {customer}"))?;
        anyhow::ensure!(
            document.customer == customer.to_string(),
            "customer {customer} was asked for, and the answer is about {}",
            document.customer
        );
        let origin = match (document.run, document.request) {
            (Some(run), None) => Origin::Run(RunId(run.parse()?)),
            (None, Some(request)) => Origin::Request(RequestId(request.parse()?)),
            _ => anyhow::bail!("an answer about customer {customer} is from one run or one request"),
        };
        let from = document.served.map_or_else(|| "store".to_owned(), |served| served.from);
        Ok(Self { customer, origin, value_minor: document.value.map(|value| value.value_minor), from })
    }
}

/// All that was told, by whom it is about and where it was from.
#[derive(Default)]
pub(super) struct Truth(HashMap<(Origin, CustomerId), Option<i64>>);

impl Truth {
    /// Keeps what was told. Two who were told different things of the same are found out here: the later one is kept,
    /// and the store says which of them is right.
    pub(super) fn keep(&mut self, told: &Told) -> anyhow::Result<()> {
        let before = self.0.insert((told.origin, told.customer), told.value_minor);
        anyhow::ensure!(
            before.is_none_or(|before| before == told.value_minor),
            "customer {} was told with two values from {:?}: {before:?} and {:?}",
            told.customer,
            told.origin,
            told.value_minor
        );
        Ok(())
    }

    /// Compares all of it with the store.
    pub(super) async fn check(&self, store: &Postgres) -> anyhow::Result<()> {
        for (&(origin, customer), told) in &self.0 {
            let committed = match origin {
                Origin::Run(run) => of_run(store, run, customer).await?,
                Origin::Request(request) => of_request(store, request, customer).await?,
            };
            anyhow::ensure!(
                *told == committed,
                "customer {customer} was told with {told:?} from {origin:?}, which holds {committed:?}"
            );
        }
        Ok(())
    }
}

async fn of_run(store: &Postgres, run: RunId, customer: CustomerId) -> anyhow::Result<Option<i64>> {
    Ok(match store.explain(run, customer).await? {
        Explained::Valued(valued) => Some(valued.value.value_minor()),
        Explained::Rejected(_) => None,
        Explained::Absent => {
            anyhow::bail!("run {run} holds nothing of customer {customer}, who was told from it")
        }
    })
}

async fn of_request(
    store: &Postgres,
    request: RequestId,
    customer: CustomerId,
) -> anyhow::Result<Option<i64>> {
    let answer = store.answer_of(request).await?.with_context(|| format!("request {request} is there"))?;
    let known = answer.rows.iter().find(|known| known.customer == customer);
    let known = known.with_context(|| format!("request {request} holds nothing of customer {customer}"))?;
    Ok(known.outcome.as_ref().ok().map(|valued| valued.value.value_minor()))
}
