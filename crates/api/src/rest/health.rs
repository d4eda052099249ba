//! How the api itself does.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use process::operations::Readiness;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::document::Json;
use crate::problem::Problem;
use crate::seams::Seams;

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let (health, metrics) = (health::<S>, metrics::<S>);
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(metrics))
}

/// Whether the api can do its work
///
/// 200 if every server is there that it cannot do without, else the problem `not-ready`.
#[utoipa::path(get, path = "/health", tag = "operations",
    responses((status = 200, description = "It can", body = Object)))]
async fn health<S: Seams>(State(api): State<Api<S>>) -> Result<Json<Readiness>, Problem> {
    let readiness = Readiness::look(&api.config.checks, &api.config.draining).await;
    if readiness.ready {
        return Ok(Json(readiness));
    }
    let told = serde_json::to_value(&readiness).expect("names and texts are always JSON");
    Err(Problem::NotReady(told["dependencies"].clone()))
}

/// The api's metrics, as Prometheus reads them
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Prometheus's text format", body = String, content_type = "text/plain")))]
async fn metrics<S: Seams>(State(api): State<Api<S>>) -> Response {
    let text = api.config.metrics.as_ref().map(process::telemetry::Metrics::render).unwrap_or_default();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
