//! The pages that problems' types name, and the document.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::Path;
use crate::problem::{KINDS, Problem};
use crate::seams::Seams;

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let openapi = openapi::<S>;
    OpenApiRouter::new().routes(routes!(page)).routes(routes!(openapi))
}

/// What a type of problem means
///
/// The paragraph that a problem's `type` leads to.
#[utoipa::path(get, path = "/problems/{slug}", tag = "operations",
    params(("slug" = String, Path, description = "A problem's `code`", example = "not-found")),
    responses((status = 200, description = "A paragraph", body = String, content_type = "text/plain")))]
async fn page(Path(slug): Path<String>) -> Result<Response, Problem> {
    let kind = KINDS.iter().find(|kind| kind.slug == slug);
    let kind = kind.ok_or_else(|| Problem::not_found("there is no type of problem of that name"))?;
    let text = format!("{} ({})\n\n{}\n", kind.title, kind.status, kind.about);
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "operations",
    params(("If-None-Match" = Option<String>, Header, description = "The tag of one that is known")),
    responses((status = 200, description = "OpenAPI 3.1", body = Object), (status = 304, description = "It is known")))]
async fn openapi<S: Seams>(State(api): State<Api<S>>, headers: HeaderMap) -> Response {
    let (bytes, etag) = api.document.parts();
    let etag = HeaderValue::from_str(&format!("\"{etag}\"")).expect("digits can stand in a header");
    let head = [
        (ETAG, etag.clone()),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ];
    if headers.get(IF_NONE_MATCH) == Some(&etag) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    (head, bytes).into_response()
}
