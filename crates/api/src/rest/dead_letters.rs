//! What could not be done, and how it is put back to work.

use std::time::Duration;

use axum::extract::State;
use batch::{CustomerId, Limits, PlanPolicy, Priority, RunId, RunState};
use dispatcher::{DispatchError, Dispatcher, Order};
use documents::{DeadChunk, DeadLetters, DeadMessage, Digits, Redriven};
use queue::DeadLetters as _;
use serde::Deserialize;
use store::{Archive, RunRecord, Selection};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::document::Json;
use crate::extract::{Id, Path, Query};
use crate::problem::Problem;
use crate::rest::Limit;
use crate::seams::Seams;

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let (list, redrive) = (list::<S>, redrive::<S>);
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(redrive))
}

/// How long a run of its own for a run's dead chunks may take.
const DEADLINE: Duration = Duration::from_mins(30);

/// How many are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Listed {
    /// At most so many of each kind.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// What could not be done
///
/// Chunks that used up their attempts, and messages that made no sense, were not ours, or came back too often. Without
/// RabbitMQ the messages are `null`, and `messages_error` says so.
#[utoipa::path(get, path = "/dead-letters", tag = "dead-letters", params(Listed),
    responses((status = 200, description = "All that could not be done", body = DeadLetters)))]
async fn list<S: Seams>(
    State(api): State<Api<S>>,
    Query(Listed { limit }): Query<Listed>,
) -> Result<Json<DeadLetters>, Problem> {
    let chunks = api.store.dead_chunks(limit.get()).await?;
    let messages = api.queue.dead_letters(limit.get() as usize).await;
    if let Err(error) = &messages {
        tracing::debug!(%error, "the broker does not tell of its dead letters");
    }
    Ok(Json(DeadLetters {
        chunks: chunks.iter().map(DeadChunk::from).collect(),
        messages: messages.as_ref().ok().map(|messages| messages.iter().map(message).collect()),
        messages_error: messages.is_err().then(|| "RabbitMQ does not tell".to_owned()),
    }))
}

fn message(dead: &queue::DeadMessage) -> DeadMessage {
    DeadMessage { reason: dead.reason.clone(), queue: dead.origin.clone(), what: dead.to_string() }
}

/// Puts a run's dead chunks back to work
///
/// Within the run while it goes on or is held; those of a finished run as a run of their own, for the same moment and with
/// the same model version, whose values take the place of those that are missing. Repeated, it finds none that are dead.
#[utoipa::path(post, path = "/dead-letters/{run}/redrive", tag = "dead-letters",
    params(("run" = Digits, Path, description = "The run's number")),
    responses((status = 200, description = "They are back", body = Redriven)))]
async fn redrive<S: Seams>(
    State(api): State<Api<S>>,
    Path(Id(run)): Path<Id<RunId>>,
) -> Result<Json<Redriven>, Problem> {
    let absent = || Problem::not_found(format!("there is no run {run}"));
    let record = api.store.run(run).await?.ok_or_else(absent)?;
    if !record.state.is_over() {
        let chunks = api.store.redrive(run).await?;
        return Ok(Json(Redriven { run, chunks: Some(chunks), as_run: None, customers: None }));
    }
    if matches!(record.state, RunState::Cancelled | RunState::Rejected) {
        return Err(Problem::conflict(format!("run {run} was {}", record.state)));
    }
    let customers = api.store.dead_customers(run).await?;
    if customers.is_empty() {
        return Err(Problem::conflict(format!("run {run} has no dead chunks")));
    }
    as_run_of_its_own(&api, &record, customers).await.map(Json)
}

async fn as_run_of_its_own<S: Seams>(
    api: &Api<S>,
    run: &RunRecord,
    customers: Vec<CustomerId>,
) -> Result<Redriven, Problem> {
    let dispatcher = Dispatcher {
        store: api.store.clone(),
        queue: api.queue.clone(),
        policy: PlanPolicy::default(),
        trace_context: api.config.trace_context,
    };
    let order = Order {
        selection: Selection::Customers(customers),
        priority: Priority::High,
        as_of: Some(run.as_of),
        deadline: DEADLINE,
        model_version: Some(run.model_version),
        terms: run.terms,
        again: true,
        limits: Limits::default(),
    };
    let dispatched = dispatcher.dispatch(&order).await.map_err(refused)?;
    let customers = Some(dispatched.customers);
    Ok(Redriven { run: run.run, chunks: None, as_run: Some(dispatched.run), customers })
}

fn refused(error: DispatchError) -> Problem {
    match error {
        DispatchError::Store(error) => error.into(),
        error => Problem::conflict(error.to_string()),
    }
}
