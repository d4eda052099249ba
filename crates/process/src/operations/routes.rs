//! The three paths, and what each answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use super::alive::Alive;
use super::check::{Check, Readiness};
use crate::telemetry::Metrics;

/// What the answers are made of.
#[derive(Clone)]
pub struct HttpState {
    /// The watchdog of the main loop.
    pub alive: Alive,
    /// The dependencies.
    pub checks: Vec<Check>,
    /// Cancelled when the process begins to drain: the token that also stops the role.
    pub draining: CancellationToken,
    /// What a scrape reads.
    pub metrics: Metrics,
}

/// The routes alone, for a role that has a server of its own.
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(state))
}

async fn healthz(State(state): State<Arc<HttpState>>) -> Response {
    match state.alive.check() {
        Ok(()) => "ok\n".into_response(),
        Err(_) if state.draining.is_cancelled() => "ok: draining\n".into_response(),
        Err(stalled) => (StatusCode::SERVICE_UNAVAILABLE, format!("{stalled}\n")).into_response(),
    }
}

async fn readyz(State(state): State<Arc<HttpState>>) -> Response {
    let readiness = Readiness::look(&state.checks, &state.draining).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&readiness).expect("names and texts are always JSON");
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

async fn metrics(State(state): State<Arc<HttpState>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render()).into_response()
}
