//! What moved since the run before, and why.

use axum::extract::State;
use batch::{RunId, RunState};
use documents::{Digits, Movements};
use serde::Deserialize;
use store::{Archive, Moves};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::document::Json;
use crate::extract::{Id, Query};
use crate::problem::Problem;
use crate::seams::Seams;

/// Among so many of the latest runs one that is finished is looked for.
const LATEST: u32 = 50;

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let one = one::<S>;
    OpenApiRouter::new().routes(routes!(one))
}

/// Which run.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// The run; the latest finished one unless given.
    #[param(value_type = Option<Digits>)]
    run: Option<Id<RunId>>,
}

/// What moved since the run before, and why
///
/// By segment and cause, exact to the minor unit: the causes of a segment add up to its `difference_minor`. It is worked
/// out after a run is finished, while no run is open; until then it is `due`.
#[utoipa::path(get, path = "/movements", tag = "movements", params(Asked),
    responses((status = 200, description = "What moved, or why that is not known", body = Movements)))]
async fn one<S: Seams>(
    State(api): State<Api<S>>,
    Query(Asked { run }): Query<Asked>,
) -> Result<Json<Movements>, Problem> {
    let run = match run {
        Some(Id(run)) => run,
        None => latest(&api.store).await?.ok_or_else(|| Problem::not_found("no run is finished yet"))?,
    };
    let movements = api.store.movements(run).await?;
    let movements = movements.ok_or_else(|| {
        Problem::not_found(format!(
            "run {run} is compared with no other: it is not there, not finished, or over named customers"
        ))
    })?;
    Ok(Json(Movements::from(&movements)))
}

async fn latest(store: &impl Archive) -> Result<Option<RunId>, Problem> {
    let runs = store.runs(LATEST).await?;
    Ok(runs.into_iter().find(|run| run.state == RunState::Finished).map(|run| run.run))
}
