//! Answers over HTTP what the command line can say, and asks the lane for what has to be fresh.
//!
//! A role, `ltv api`. It decides nothing: what is known comes from the seams, what it looks like is `documents`'. Any
//! number of them may run beside each other; none keeps anything that another would need.
//!
//! # How a resource is added
//!
//! 1. A file in `rest/` with its handlers, each under `#[utoipa::path(…)]`, and `routes()`, which binds them to the seams.
//! 2. Its name in `rest/mod.rs`: a `mod`, and a `merge`.
//! 3. `INSTA_UPDATE=always cargo test -p api document`, which writes what has become of the document into
//!    `src/tests/snapshots/`.
//!
//! A handler takes [`extract`]'s `Path`, `Query` and `Body`, and returns `Result<_, Problem>`. What every answer needs is
//! not its business: request id, shedding, limits of time and size, refusal of query keys that the document does not
//! name, problems for everything that goes wrong (`attend.rs`). Which refusals there are is added to each operation of
//! the document by `openapi.rs`. Work that is not a read has its class in `shed.rs`.
//!
//! # Failure by failure
//!
//! * **PostgreSQL is away.** What needs it is refused at once while its breaker is open (503, `store-unavailable`).
//! * **RabbitMQ or Redis are away.** Only what cannot be said without them fails.
//! * **More is asked than can be answered.** Each class of work has so many places and no queue: 503, `overloaded`, with
//!   a `Retry-After` that is drawn, so that not all come back at once. Health and metrics are always answered.
//! * **A client is slow.** Its head, its body, and each standstill of what it reads have a limit; so has the number of
//!   connections. The limits are in `server.rs` and `extract.rs`.
//! * **A handler takes too long:** 503, `too-slow`. What it began in the store ends there at its own limit.
//! * **A handler panics:** 500, and the connection goes on.
//! * **Somebody vanishes.** His handler is dropped. What others wait for as well goes on.
//! * **It is asked to stop.** It takes no connection any more, answers what is under way, and tells streams to end.
//!   What is not over within the grace period is cut off. It exits with 0.

mod attend;
mod document;
pub mod extract;
mod metrics;
mod models;
mod openapi;
mod patience;
mod problem;
mod request_id;
mod rest;
mod seams;
mod server;
mod shed;
#[cfg(test)]
mod tests;
mod urls;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use process::operations::Check;
use process::telemetry::Metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use metrics::describe as describe_metrics;
pub use openapi::document;
pub use problem::{Fault, Place, Problem};
pub use seams::{ApiQueue, ApiStore, Over, Seams};
pub use server::MOST_CONNECTIONS;

use models::Models;
use openapi::Document;
use shed::Gates;

/// What the answers are made of. A clone is another handle to the same.
pub struct Api<S: Seams>(Arc<Shared<S>>);

/// What all handlers share.
pub struct Shared<S: Seams> {
    /// The truth.
    pub store: S::Store,
    /// Messages.
    pub queue: S::Queue,
    /// What may be lost.
    pub cache: S::Cache,
    /// What it was told.
    pub config: ApiConfig,
    /// The model versions that were asked for.
    pub(crate) models: Models,
    pub(crate) gates: Gates,
    pub(crate) document: Document,
}

/// What an api is told.
pub struct ApiConfig {
    /// Its name, which is that of one process.
    pub name: String,
    /// Cancelled when it begins to drain: streams end then.
    pub draining: CancellationToken,
    /// How long what is under way may take after that.
    pub grace_period: Duration,
    /// What its health is asked by.
    pub checks: Vec<Check>,
    /// What a scrape reads; none where nothing was installed.
    pub metrics: Option<Metrics>,
    /// Tells the watchdog that it is alive.
    pub alive: Arc<dyn Fn() + Send + Sync>,
    /// The trace that a call is made in, as pairs.
    pub trace_context: fn() -> Vec<(String, String)>,
}

impl<S: Seams> Api<S> {
    /// Puts an api together.
    pub fn new(store: S::Store, queue: S::Queue, cache: S::Cache, config: ApiConfig) -> Self {
        let (models, gates, document) = (Models::default(), Gates::default(), openapi::written::<S>());
        Self(Arc::new(Shared { store, queue, cache, config, models, gates, document }))
    }

    /// Answers on `listener` until it drains, and for as long as that takes.
    pub async fn run(self, listener: TcpListener) -> anyhow::Result<()> {
        let server = server::Server {
            draining: self.config.draining.clone(),
            grace_period: self.config.grace_period,
            alive: self.config.alive.clone(),
        };
        server.run(listener, self.router()).await
    }

    /// Everything that it answers.
    pub(crate) fn router(self) -> Router {
        let (router, _) = rest::routes::<S>().split_for_parts();
        attend::attended(router, self)
    }
}

impl<S: Seams> Deref for Api<S> {
    type Target = Shared<S>;

    fn deref(&self) -> &Shared<S> {
        &self.0
    }
}

impl<S: Seams> Clone for Api<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
