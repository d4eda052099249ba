//! What is known of a customer: the newest of what runs and requests have said.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use batch::CustomerId;
use documents::{Digits, KnownCustomer, KnownInFull};
use serde::Deserialize;
use store::{Archive, Known, ModelVersion, Origin, Requests};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::document::Tag;
use crate::extract::{Id, Path, Query};
use crate::problem::Problem;
use crate::seams::Seams;

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let (by_number, by_external_id) = (by_number::<S>, by_external_id::<S>);
    OpenApiRouter::new().routes(routes!(by_number)).routes(routes!(by_external_id))
}

/// How a customer is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// `full` adds all horizons, the parts, the inputs, the terms and the intervals.
    #[serde(default)]
    #[param(inline)]
    view: View,
}

/// How much is told.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum View {
    /// What a cache holds.
    #[default]
    Short,
    /// All there is.
    Full,
}

/// What is known of a customer
///
/// His value, or why he has none: the newest of what runs and requests have said. A rejection is an answer.
#[utoipa::path(get, path = "/customers/{customer_id}", tag = "customers",
    params(("customer_id" = Digits, Path, description = "His number"), Asked,
        ("If-None-Match" = Option<String>, Header, description = "The tag of what is known already")),
    responses(
        (status = 200, description = "What is known of him; `full` and `inputs` in the full view alone", body = KnownInFull,
            headers(("ETag" = String, description = "Tells this state from others"))),
        (status = 304, description = "Nothing newer is known")))]
async fn by_number<S: Seams>(
    State(api): State<Api<S>>,
    Path(Id(customer)): Path<Id<CustomerId>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    known(&api, customer, asked.view, &headers).await
}

/// What is known of the customer whom the business knows by a name
#[utoipa::path(get, path = "/customers/by-external-id/{external_id}", tag = "customers",
    params(("external_id" = String, Path, description = "Any text, percent-encoded"), Asked,
        ("If-None-Match" = Option<String>, Header, description = "The tag of what is known already")),
    responses(
        (status = 200, description = "What is known of him; `full` and `inputs` in the full view alone", body = KnownInFull,
            headers(("ETag" = String, description = "Tells this state from others"))),
        (status = 304, description = "Nothing newer is known")))]
async fn by_external_id<S: Seams>(
    State(api): State<Api<S>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let customer = api.store.customer_named(&name).await?;
    let customer = customer.ok_or_else(|| Problem::not_found("no customer has this external id"))?;
    known(&api, customer, asked.view, &headers).await
}

async fn known<S: Seams>(
    api: &Api<S>,
    customer: CustomerId,
    view: View,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let latest = api.store.latest(&[customer]).await?.pop();
    let Some(known) = latest else {
        return Err(Problem::not_found(format!(
            "no run or request has said anything of customer {customer}"
        )));
    };
    let model = api.models.get(&api.store, known.model_version).await?;
    Ok(answer(&known, &model, view, headers))
}

fn answer(known: &Known, model: &Arc<ModelVersion>, view: View, headers: &HeaderMap) -> Response {
    let (kind, number) = match known.origin {
        Origin::Run(run) => ("run", run.0),
        Origin::Request(request) => ("request", request.0),
    };
    let state = |view: &str| format!("{kind}.{number}.{}.{view}", known.as_of.as_microsecond());
    match view {
        View::Short => Tag::new(&state("short")).answer(headers, || KnownCustomer::new(known, model)),
        View::Full => Tag::new(&state("full")).answer(headers, || KnownInFull::new(known, model)),
    }
}
