//! The most valuable customers.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use documents::TopPage;
use store::{Archive, Rank, RunRecord, Supervision};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::runs::{Page, paged};
use crate::Api;
use crate::cursor::RankCursor;
use crate::document::json;
use crate::extract::Query;
use crate::problem::Problem;
use crate::seams::Seams;

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let top = top::<S>;
    OpenApiRouter::new().routes(routes!(top))
}

/// The most valuable customers
///
/// Of the newest visible run over the whole base, or of the newest visible one where there is none. All pages are of the
/// run that the first one is of, whichever is published meanwhile.
#[utoipa::path(get, path = "/top", tag = "customers", params(Page),
    responses((status = 200, description = "A page of them", body = TopPage,
        headers(("Link" = String, description = "Where the next page is, if there is one")))))]
async fn top<S: Seams>(State(api): State<Api<S>>, Query(page): Query<Page>) -> Result<Response, Problem> {
    let limit = page.limit();
    let cursor = page.cursor(RankCursor::read)?;
    let run = match cursor {
        Some(RankCursor { run, .. }) => api.store.run(run).await?,
        None => visible(&api).await?,
    };
    let run = run.ok_or_else(|| Problem::not_found("no run is visible"))?;
    // One more tells whether there is another page.
    let mut ranked = api.store.ranked(run.run, cursor.map(|cursor| cursor.after), limit + 1).await?;
    let is_last = ranked.len() <= limit as usize;
    ranked.truncate(limit as usize);
    let last = ranked.last().filter(|_| !is_last);
    let next = last.map(|last| {
        let after = Rank { value_minor: last.value.value_minor(), customer: last.customer };
        RankCursor { run: run.run, after }.write()
    });
    let customers: Vec<_> = ranked.iter().map(|valued| valued.customer).collect();
    let names = api.store.names(&customers).await?;
    let model = api.models.get(&api.store, run.model_version).await?;
    let document = TopPage::new(&run, &model, &ranked, &names, next.clone());
    Ok(paged(json(StatusCode::OK, &document), "/top", limit, next.as_deref()))
}

/// The newest visible run over the whole base; the newest visible one where there is none.
async fn visible<S: Seams>(api: &Api<S>) -> Result<Option<RunRecord>, Problem> {
    let runs = api.store.visible_runs().await?.runs;
    let (Some(newest), Some(oldest)) = (runs.first(), runs.last()) else { return Ok(None) };
    let oldest = api.store.run(*oldest).await?;
    // That over the whole base is the last that is seen: nothing behind it is.
    match oldest {
        Some(record) if record.is_whole => Ok(Some(record)),
        _ => Ok(api.store.run(*newest).await?),
    }
}
