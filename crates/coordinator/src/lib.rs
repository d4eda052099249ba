//! Watches runs: publishes what was lost, rescues, retries, finishes.
//!
//! A coordinator is a loop around one pass: take a snapshot, ask [`batch::supervise`] what to do about it, do it. It
//! may be killed at any moment, and another one goes on from the store. Look first at [`Coordinator`], then at the pass.
//!
//! | file | what it tells, and what happens when it goes wrong |
//! |---|---|
//! | `service` | the loop, from the start to the shutdown |
//! | `pass` | one look, and what is done about it |
//! | `finishing` | the end of a settled run, beside the passes |
//! | `judging` | whether a settled run is shown, or held for a person |
//! | `republishing` | messages for chunks that have none |
//! | `publication` | how the cache hears which runs are visible |
//! | `leadership` | which coordinator leads |
//! | `remembered` | what is kept between passes, and what forgetting it costs |
//!
//! It knows neither SQL nor AMQP nor Redis, and decides nothing: what is to be done is [`batch`]'s to say.

mod finishing;
mod judging;
mod leadership;
mod metrics;
mod pass;
mod publication;
mod remembered;
mod republishing;
mod service;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use batch::{RunId, SupervisePolicy};

pub use metrics::describe as describe_metrics;

/// How a coordinator works.
#[derive(Clone)]
pub struct CoordinatorConfig {
    /// Its name in the store and the logs; unique for each process that ever lived.
    pub name: String,
    /// How patient it is.
    pub policy: SupervisePolicy,
    /// The longest pause between two passes. As a run's end comes near, passes come closer together.
    pub pass_interval: Duration,
    /// How long it leads without renewing.
    pub leadership_lease: Duration,
    /// Called at least once a second while it is alive. A call to the store that hangs ends at its own limit.
    pub alive: Arc<dyn Fn() + Send + Sync>,
    /// Called, with each try again, with a settled run that cannot be finished because what is recorded of it makes no
    /// sense to the store ([`store::Error::Invalid`]). No waiting helps such a run, and it stays open until somebody
    /// cancels it; whoever waits for it alone had better end.
    pub unfinishable: Arc<Unfinishable>,
}

/// Is told of a run that cannot be finished, and why.
pub type Unfinishable = dyn Fn(RunId, &store::Error) + Send + Sync;

/// A coordinator with its seams.
pub struct Coordinator<S, Q, C> {
    /// Where runs are recorded.
    pub store: S,
    /// Where chunks are published.
    pub queue: Q,
    /// Where visible runs and progress are put near the reader.
    pub cache: C,
    /// How it works.
    pub config: CoordinatorConfig,
}
