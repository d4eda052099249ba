//! What segments come to in a run, and what one came to in the runs before.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use batch::RunId;
use documents::{Digits, RunFigures, SegmentHistory, SegmentOfRun};
use serde::Deserialize;
use store::{Figure, FiguresStanding, Summaries};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::document::{Json, Tag};
use crate::extract::{Id, Path, Query};
use crate::problem::Problem;
use crate::rest::Limit;
use crate::seams::Seams;

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let (list, one, past, all_past) = (list::<S>, one::<S>, past::<S>, all_past::<S>);
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(past))
        .routes(routes!(all_past))
}

/// Which run is asked about.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfRun {
    /// The run; the latest one over the whole base that has figures unless given.
    #[param(value_type = Option<Digits>)]
    run: Option<Id<RunId>>,
}

/// Which part of a history is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Part {
    /// How many runs, the latest.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// Also of runs over a part of the base.
    #[serde(default)]
    #[param(default = false)]
    partial: bool,
}

/// The same, of customers who have no segment's name in the path.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PartOfAll {
    /// Only the customers who were in no segment.
    #[serde(default)]
    #[param(default = false)]
    without_segment: bool,
    /// How many runs, the latest.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// Also of runs over a part of the base.
    #[serde(default)]
    #[param(default = false)]
    partial: bool,
}

/// What each segment of a run comes to
///
/// With the customers that it had when the run became visible. Figures of a run are worked out within a minute of that:
/// until then `standing` is `due`, and whoever names no run is told those of the run before.
#[utoipa::path(get, path = "/segments", tag = "segments",
    params(OfRun, ("If-None-Match" = Option<String>, Header, description = "The tag of what is known already")),
    responses(
        (status = 200, description = "The figures of its segments", body = RunFigures,
            headers(("ETag" = String, description = "Tells this state from others"))),
        (status = 304, description = "Nothing newer is known")))]
async fn list<S: Seams>(
    State(api): State<Api<S>>,
    Query(asked): Query<OfRun>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let figures = figures(&api, asked.run).await?;
    Ok(tag(&figures, "segments").answer(&headers, || RunFigures::from(&figures)))
}

/// What a segment comes to in a run
#[utoipa::path(get, path = "/segments/{name}", tag = "segments",
    params(("name" = String, Path, description = "Any text, percent-encoded"), OfRun,
        ("If-None-Match" = Option<String>, Header, description = "The tag of what is known already")),
    responses(
        (status = 200, description = "Its figures", body = SegmentOfRun,
            headers(("ETag" = String, description = "Tells this state from others"))),
        (status = 304, description = "Nothing newer is known")))]
async fn one<S: Seams>(
    State(api): State<Api<S>>,
    Path(name): Path<String>,
    Query(asked): Query<OfRun>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let figures = figures(&api, asked.run).await?;
    let run = figures.run.run;
    let document = SegmentOfRun::new(&figures, &name).ok_or_else(|| {
        Problem::not_found(match &figures.standing {
            FiguresStanding::Due => format!("the figures of run {run} are yet to be worked out"),
            FiguresStanding::Never(reason) => format!("run {run} has no figures of its segments: {reason}"),
            FiguresStanding::Computed(_) => format!("run {run} has no such segment"),
        })
    })?;
    Ok(tag(&figures, "segment").answer(&headers, || document))
}

/// What a segment came to in the latest runs
///
/// Each with the customers that it had then: one who moves takes no past with him.
#[utoipa::path(get, path = "/segments/{name}/history", tag = "segments",
    params(("name" = String, Path, description = "Any text, percent-encoded"), Part),
    responses((status = 200, description = "The runs, the newest first", body = SegmentHistory)))]
async fn past<S: Seams>(
    State(api): State<Api<S>>,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<SegmentHistory>, Problem> {
    let of = Figure::Segment(name);
    let history = history(&api, &of, part.limit, part.partial).await?;
    if history.runs.is_empty() {
        return Err(Problem::not_found("no run with figures has such a segment"));
    }
    Ok(Json(history))
}

/// What all customers came to in the latest runs
///
/// Or those who were in no segment.
#[utoipa::path(get, path = "/history", tag = "segments", params(PartOfAll),
    responses((status = 200, description = "The runs, the newest first", body = SegmentHistory)))]
async fn all_past<S: Seams>(
    State(api): State<Api<S>>,
    Query(part): Query<PartOfAll>,
) -> Result<Json<SegmentHistory>, Problem> {
    let of = if part.without_segment { Figure::WithoutSegment } else { Figure::All };
    Ok(Json(history(&api, &of, part.limit, part.partial).await?))
}

async fn figures<S: Seams>(api: &Api<S>, run: Option<Id<RunId>>) -> Result<store::RunFigures, Problem> {
    let found = match run {
        Some(Id(run)) => api.store.figures(run).await?,
        None => api.store.latest_figures().await?,
    };
    found.ok_or_else(|| {
        Problem::not_found(match run {
            Some(Id(run)) => format!("run {run} is not there, or not finished"),
            None => "no run over the whole base is finished yet".to_owned(),
        })
    })
}

async fn history<S: Seams>(
    api: &Api<S>,
    of: &Figure,
    limit: Limit,
    with_partial: bool,
) -> Result<SegmentHistory, Problem> {
    Ok(SegmentHistory::new(of, &api.store.past_figures(of, limit.get(), with_partial).await?))
}

/// A run's figures never change once they are there; that they grow old does, and whether there is a newer run.
fn tag(figures: &store::RunFigures, what: &str) -> Tag {
    let (at, is_fresh) = match &figures.standing {
        FiguresStanding::Due => (0, false),
        FiguresStanding::Never(_) => (1, false),
        FiguresStanding::Computed(computed) => (computed.computed_at.as_microsecond(), computed.is_fresh),
    };
    let newer = figures.newer.map_or(0, |run| run.0);
    Tag::new(&format!("{what}.{}.{at}.{is_fresh}.{newer}", figures.run.run))
}
