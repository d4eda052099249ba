//! The api over backends in memory: what it answers, and that everything that is no success is a problem.

mod customers;
mod dead_letters;
mod document;
mod ground;
mod models;
mod problems;
mod segments;
mod server;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use jiff::Timestamp;
use model::{Currency, Observation};
use process::operations::Check;
use serde_json::Value;
use store::memory::Memory;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{Api, ApiConfig, Over};

/// An api over backends in memory.
pub(crate) type InMemory = Api<Over<Memory, queue::Memory, cache::Memory>>;

/// Makes one over a store.
pub(crate) fn api(store: Memory, checks: Vec<Check>) -> InMemory {
    api_over(store, queue::memory::Broker::new().connect(), checks)
}

/// Makes one over a store and a queue.
pub(crate) fn api_over(store: Memory, queue: queue::Memory, checks: Vec<Check>) -> InMemory {
    let config = ApiConfig {
        name: "api-1".into(),
        draining: CancellationToken::new(),
        grace_period: Duration::from_secs(1),
        checks,
        metrics: None,
        alive: Arc::new(|| ()),
        trace_context: Vec::new,
    };
    Api::new(store, queue, cache::Memory::default(), config)
}

/// A store without customers.
pub(crate) fn nobody() -> Memory {
    let now = Timestamp::UNIX_EPOCH;
    let eur = Currency::parse("EUR").unwrap();
    Memory::new(store::memory::Accounts::new(Observation::new(now.as_microsecond(), eur)), now)
}

/// What was answered.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Asks.
pub(crate) async fn ask(router: &Router, request: Request<Body>) -> Answered {
    let response: Response<Body> = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Answered { status: parts.status, headers: parts.headers, body }
}

pub(crate) async fn get(router: &Router, path: &str) -> Answered {
    ask(router, request(Method::GET, path)).await
}

pub(crate) fn request(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(format!("/api/ltv{path}")).body(Body::empty()).unwrap()
}

/// Sends a body that is JSON, or none.
pub(crate) async fn post(router: &Router, path: &str, body: &str) -> Answered {
    let mut request = request(Method::POST, path).map(|_| Body::from(body.to_owned()));
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    ask(router, request).await
}
