//! How far a run is, told as it goes: server-sent events.
//!
//! Progress is a state and no log: who connects is told the newest at once, and each event replaces the one before. An
//! event's id tells the state that it is of, in every process alike, so that a client may go on anywhere
//! (`Last-Event-ID`). The stream ends with the run.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use documents::RunProgress;
use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::runs::Which;
use crate::Api;
use crate::extract::Path;
use crate::followed::follow;
use crate::problem::Problem;
use crate::seams::Seams;

const LAST_EVENT_ID: &str = "Last-Event-ID";

/// How soon a client comes back whose connection broke.
const RETRY: Duration = Duration::from_secs(2);

/// After how long a silence something is said.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a stream may take; whoever is still interested comes back.
const LONGEST: Duration = Duration::from_hours(1);

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let events = events::<S>;
    OpenApiRouter::new().routes(routes!(events))
}

/// How far a run is, as it goes
///
/// Server-sent events: `progress` with the newest state at once and again whenever it has changed, `end` with the last one,
/// after which the stream closes, and `bye` where this process cannot go on, after which another one can. The data of
/// `progress` and `end` is as shown. Who sends the id of `end` as `Last-Event-ID` is told that there is nothing more (204).
#[utoipa::path(get, path = "/runs/{run}/events", tag = "runs",
    params(("run" = String, Path, description = "Its number, or `latest`", example = "latest"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen")),
    responses(
        (status = 200, description = "The events", body = RunProgress, content_type = "text/event-stream"),
        (status = 204, description = "The end of the run has been seen")))]
async fn events<S: Seams>(
    State(api): State<Api<S>>,
    Path(which): Path<Which>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = which.of(&api).await?;
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let watched = follow(&api, record).await?;
    let has_seen_all = {
        let now = watched.borrow();
        now.state.is_over() && now.id() == last
    };
    if has_seen_all {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let head = [
        (CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    if method == Method::HEAD {
        let kind = (CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        return Ok((head, [kind]).into_response());
    }
    let told = told(watched, last.to_owned(), api.config.draining.clone());
    let events = Sse::new(told).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok((head, events).into_response())
}

/// Who listens.
struct Listener {
    watched: watch::Receiver<RunProgress>,
    /// The id of what he was told last.
    last: String,
    is_new: bool,
    until: Instant,
    draining: CancellationToken,
}

/// What comes next for him.
enum Next {
    Progress(RunProgress),
    End(RunProgress),
    Bye,
}

fn told(
    watched: watch::Receiver<RunProgress>,
    last: String,
    draining: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let until = Instant::now() + LONGEST;
    let listener = Listener { watched, last, is_new: true, until, draining };
    unfold(Some(listener), |listener| async move {
        let mut listener = listener?;
        let is_new = listener.is_new;
        let next = listener.next().await;
        let event = match &next {
            Next::Progress(progress) => named("progress", progress),
            Next::End(progress) => named("end", progress),
            // Not all at the same time.
            Next::Bye => Event::default()
                .event("bye")
                .data("{}")
                .retry(Duration::from_millis(rand::random_range(1_000..=5_000))),
        };
        let goes_on = matches!(next, Next::Progress(_));
        let event = if is_new && goes_on { event.retry(RETRY) } else { event };
        Some((Ok(event), goes_on.then_some(listener)))
    })
}

fn named(name: &str, progress: &RunProgress) -> Event {
    Event::default().event(name).id(progress.id()).data(documents::body(progress))
}

impl Listener {
    async fn next(&mut self) -> Next {
        let is_told = !self.is_new || {
            let now = self.watched.borrow();
            !now.state.is_over() && now.id() == self.last
        };
        self.is_new = false;
        if is_told {
            tokio::select! {
                biased;
                () = self.draining.cancelled() => return Next::Bye,
                () = sleep_until(self.until) => return Next::Bye,
                changed = self.watched.changed() => if changed.is_err() { return Next::Bye },
            }
        }
        let now = self.watched.borrow_and_update().clone();
        if now.state.is_over() { Next::End(now) } else { Next::Progress(now) }
    }
}
