//! Many customers at a time: what is known of them, or worked out for whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use batch::{CustomerId, RequestId};
use documents::{Batch, BatchOutcome, BatchResult, Digits, Request, ServedFrom};
use serde::Deserialize;
use store::{Archive, Known, Requests};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::customers::View;
use super::fresh::{Asked, Telling, ask, pending, waits};
use crate::Api;
use crate::batch::{MOST, Name, Who, customers, who};
use crate::document::json;
use crate::extract::{Body, Id, Query};
use crate::idempotency_key::key;
use crate::problem::{Place, Problem};
use crate::seams::Seams;

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let create = create::<S>;
    OpenApiRouter::new().routes(routes!(create))
}

/// Customers, by number or by name, up to 10,000.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBatch {
    /// Numbers of customers.
    #[schema(value_type = Option<Vec<Digits>>, min_items = 1, max_items = 10_000)]
    customers: Option<Vec<Id<CustomerId>>>,
    /// Or what the business calls them.
    #[schema(min_items = 1, max_items = 10_000)]
    external_ids: Option<Vec<String>>,
    /// Whether they are valued anew, for this moment.
    #[serde(default)]
    fresh: bool,
}

/// How much is told, and how long is waited.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Options {
    /// `full` adds all horizons, the parts, the inputs, the terms and the intervals.
    #[serde(default)]
    #[param(inline)]
    view: View,
    /// How long to wait for fresh values, up to 30 s; `Prefer: wait=N` says the same in seconds.
    #[param(example = "10s")]
    wait: Option<String>,
}

/// What is known of many customers, or their fresh values
///
/// One result for each that is asked for, in that order. Fresh values are worked out as one request: 202 with its place
/// if they are not there when the wait, which is none unless it is asked for, is over. Asked again with the same
/// `Idempotency-Key` it is the same request.
#[utoipa::path(post, path = "/batches", tag = "customers",
    request_body = NewBatch,
    params(Options,
        ("Prefer" = Option<String>, Header, description = "`wait=N`, in seconds; `respond-async`"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters; for fresh values")),
    responses(
        (status = 200, description = "A result for each", body = Batch),
        (status = 202, description = "They are worked out", body = Request,
            headers(("Location" = String, description = "Where the answer will be"),
                ("Retry-After" = i32, description = "In seconds")))))]
async fn create<S: Seams>(
    State(api): State<Api<S>>,
    Query(options): Query<Options>,
    headers: HeaderMap,
    Body(new): Body<NewBatch>,
) -> Result<Response, Problem> {
    let waits = waits(&headers, options.wait.as_deref(), Duration::ZERO)?;
    let key = key(&headers)?;
    let is_fresh = new.fresh;
    let names = names(new)?;
    let who = who(&names, found(&api, &names).await?);
    let customers = customers(&who);
    let (request, known) = if is_fresh && !customers.is_empty() {
        match ask(&api, customers, key, waits.wait).await? {
            Asked::Answered(answer) => (Some(answer.record.request), answer.rows),
            Asked::Pending(record) => return Ok(pending(&record, &waits)),
        }
    } else {
        (None, api.store.latest(&customers).await?)
    };
    let batch = batch(&api, names, &who, &known, (request, options.view)).await?;
    let mut response = json(StatusCode::OK, &batch);
    waits.tell(response.headers_mut());
    Ok(response)
}

fn names(new: NewBatch) -> Result<Vec<Name>, Problem> {
    let (pointer, names): (_, Vec<Name>) = match (new.customers, new.external_ids) {
        (Some(numbers), None) => {
            ("/customers", numbers.into_iter().map(|Id(number)| Name::Number(number)).collect())
        }
        (None, Some(external)) => ("/external_ids", external.into_iter().map(Name::External).collect()),
        _ => {
            let detail = "either `customers` or `external_ids` says who is asked for";
            return Err(Problem::invalid(Place::Body, "", detail));
        }
    };
    if names.is_empty() || names.len() > MOST {
        let detail = format!("from 1 to {MOST} may be asked for at a time, and these are {}", names.len());
        return Err(Problem::invalid(Place::Body, pointer, detail));
    }
    Ok(names)
}

/// Finds out who they are.
async fn found<S: Seams>(
    api: &Api<S>,
    names: &[Name],
) -> Result<impl Fn(&Name) -> Option<CustomerId> + use<S>, Problem> {
    let (mut numbers, mut external) = (Vec::new(), Vec::new());
    for name in names {
        match name {
            Name::Number(number) => numbers.push(*number),
            Name::External(name) => external.push(name.clone()),
        }
    }
    let there: BTreeSet<CustomerId> = match &numbers[..] {
        [] => BTreeSet::new(),
        numbers => api.store.customers_there(numbers).await?.into_iter().collect(),
    };
    let named: BTreeMap<String, CustomerId> = match &external[..] {
        [] => BTreeMap::new(),
        external => api.store.customers_named(external).await?.into_iter().collect(),
    };
    Ok(move |name: &Name| match name {
        Name::Number(number) => there.get(number).copied(),
        Name::External(name) => named.get(name).copied(),
    })
}

async fn batch<S: Seams>(
    api: &Api<S>,
    names: Vec<Name>,
    who: &[Who],
    known: &[Known],
    (request, view): (Option<RequestId>, View),
) -> Result<Batch, Problem> {
    let telling = Telling::of(api, known, view).await?;
    let known: BTreeMap<CustomerId, &Known> = known.iter().map(|known| (known.customer, known)).collect();
    let result = |(name, who): (Name, &Who)| {
        let (number, external_id) = match name {
            Name::Number(number) => (Some(number), None),
            Name::External(name) => (None, Some(name)),
        };
        let nothing = BatchResult {
            customer: number,
            external_id,
            outcome: BatchOutcome::Unknown,
            duplicate_of: None,
            known: None,
            stale: None,
        };
        match *who {
            Who::Nobody => nothing,
            Who::Again(place) => BatchResult {
                outcome: BatchOutcome::DuplicateOf,
                duplicate_of: Some(place as u64),
                ..nothing
            },
            Who::Customer(customer) => match known.get(&customer) {
                None => BatchResult { customer: Some(customer), outcome: BatchOutcome::Unvalued, ..nothing },
                Some(known) => BatchResult {
                    customer: Some(customer),
                    outcome: match known.outcome {
                        Ok(_) => BatchOutcome::Valued,
                        Err(_) => BatchOutcome::Rejected,
                    },
                    known: Some(telling.told(known)),
                    stale: telling.is_stale(known),
                    ..nothing
                },
            },
        }
    };
    let results = names.into_iter().zip(who).map(result).collect();
    let from = if request.is_some() { ServedFrom::Computed } else { ServedFrom::Store };
    Ok(Batch::new(request, from, results))
}
