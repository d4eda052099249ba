//! What every request goes through, whatever it asks for.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::http::{Request, Response};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::problem::{Problem, written};
use crate::request_id::{HEADER, RequestId};
use crate::seams::Seams;
use crate::shed::Class;
use crate::{Api, metrics, urls};

/// How long a handler may take until its answer begins. Longer than anybody may ask to wait.
const HANDLER_LIMIT: Duration = Duration::from_secs(35);

/// Puts this around all paths, and around what is none.
pub(crate) fn attended<S: Seams>(router: Router<Api<S>>, api: Api<S>) -> Router {
    let router = router.fallback(async || Problem::NoSuchPath);
    router.layer(from_fn_with_state(api.clone(), attend)).with_state(api)
}

async fn attend<S: Seams>(State(api): State<Api<S>>, request: Request<Body>, next: Next) -> Response<Body> {
    let began = Instant::now();
    let id = RequestId::of(request.headers());
    let method = request.method().clone();
    // The document's path: those that clients make up would be as many labels.
    let path = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request_id = id.as_str(), %method, path);

    let answered = async {
        let answer = answer(&api, &path, request, next).await;
        let mut response = written(answer.unwrap_or_else(Problem::into_response), &id, &path);
        response.headers_mut().insert(HEADER, id.header());
        response
    };
    let response = answered.instrument(span).await;

    metrics::answered(&path, &method, response.status().as_u16(), began.elapsed());
    response
}

async fn answer<S: Seams>(
    api: &Api<S>,
    path: &str,
    request: Request<Body>,
    next: Next,
) -> Result<Response<Body>, Problem> {
    let place = Class::of(&request).map(|class| api.gates.admit(class)).transpose()?;
    urls::check(request.uri())?;
    api.document.check_query(request.method(), path, request.uri().query())?;

    let handled = AssertUnwindSafe(next.run(request)).catch_unwind();
    let response = timeout(HANDLER_LIMIT, handled).await.map_err(|_| Problem::TooSlow)?;
    let response = response.map_err(|_| Problem::Internal("its handler panicked".into()))?;
    Ok(match place {
        Some(place) => place.until_sent(response),
        None => response,
    })
}
