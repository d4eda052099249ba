//! Requests: urgent questions that were asked, and what became of them.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use batch::RequestId;
use documents::{Digits, Request, RequestWithAnswer, ServedFrom};
use serde::Deserialize;
use store::{Answer, Requests};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::customers::View;
use super::fresh::{Telling, pending, refused, waits};
use crate::Api;
use crate::asking::Outcome;
use crate::document::{Json, json};
use crate::extract::{Id, Path, Query};
use crate::problem::Problem;
use crate::seams::Seams;

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let (show, abandon) = (show::<S>, abandon::<S>);
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(abandon))
}

/// How a request is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Followed {
    /// `full` adds all horizons, the parts, the inputs, the terms and the intervals.
    #[serde(default)]
    #[param(inline)]
    view: View,
    /// How long to wait for the answer, up to 30 s; `Prefer: wait=N` says the same in seconds.
    #[param(example = "2s")]
    wait: Option<String>,
}

/// A request, with its answer once there is one
///
/// While it is open the answer is a 202. Asking for it keeps it alive until it expires: its message is sent again.
#[utoipa::path(get, path = "/requests/{request}", tag = "requests",
    params(("request" = Digits, Path, description = "Its number"), Followed,
        ("Prefer" = Option<String>, Header, description = "`wait=N`, in seconds")),
    responses(
        (status = 200, description = "It is over: answered, failed, expired or abandoned", body = RequestWithAnswer),
        (status = 202, description = "It is open", body = Request,
            headers(("Location" = String, description = "Where the answer will be"),
                ("Retry-After" = i32, description = "In seconds")))))]
async fn show<S: Seams>(
    State(api): State<Api<S>>,
    Path(Id(request)): Path<Id<RequestId>>,
    Query(asked): Query<Followed>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let waits = waits(&headers, asked.wait.as_deref(), Duration::ZERO)?;
    let mut response = match api.asking().await?.follow(request, waits.wait).await {
        Outcome::Pending(record) => return Ok(pending(&record, &waits)),
        Outcome::Answered(answer) => json(StatusCode::OK, &with_answer(&api, &answer, asked.view).await?),
        Outcome::Over(record) => {
            json(StatusCode::OK, &RequestWithAnswer { request: Request::new(&record), results: None })
        }
        other => return Err(refused(other)),
    };
    waits.tell(response.headers_mut());
    Ok(response)
}

async fn with_answer<S: Seams>(
    api: &Api<S>,
    answer: &Answer,
    view: View,
) -> Result<RequestWithAnswer, Problem> {
    let telling = Telling::of(api, &answer.rows, view).await?;
    let results = answer.rows.iter().map(|known| telling.fresh(known, ServedFrom::Store)).collect();
    Ok(RequestWithAnswer { request: Request::new(&answer.record), results: Some(results) })
}

/// Leaves a request that nobody is at work on
///
/// Nobody begins it any more. Under its key it may be asked again.
#[utoipa::path(post, path = "/requests/{request}/abandon", tag = "requests",
    params(("request" = Digits, Path, description = "Its number")),
    responses((status = 200, description = "It is abandoned", body = Request)))]
async fn abandon<S: Seams>(
    State(api): State<Api<S>>,
    Path(Id(request)): Path<Id<RequestId>>,
) -> Result<Json<Request>, Problem> {
    let is_left = api.store.abandon(request).await?;
    let record = api.store.look(&[request]).await?.pop();
    let record = record.ok_or_else(|| Problem::not_found("there is no such request"))?;
    if is_left {
        return Ok(Json(Request::new(&record)));
    }
    match record.state {
        batch::RequestState::Abandoned => Ok(Json(Request::new(&record))),
        batch::RequestState::Leased => Err(Problem::conflict("somebody is at work on it")),
        state => Err(Problem::conflict(format!("it is {}", state.as_str()))),
    }
}
