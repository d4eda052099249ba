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
//! | `figuring` | the figures of segments, once a run is visible |
//! | `publication` | how the cache hears which runs are visible |
//! | `leadership` | which coordinator leads |
//! | `namesakes` | processes that were given one name |
//! | `remembered` | what is kept between passes, and what forgetting it costs |
//!
//! It knows neither SQL nor AMQP nor Redis, and decides nothing: what is to be done is [`batch`]'s to say.

mod figuring;
mod finishing;
mod judging;
mod leadership;
mod metrics;
mod namesakes;
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
use resilience::trouble::{Kind, Trouble};

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
    /// What keeps it from its work.
    pub troubles: Troubles,
    /// Called at least once a second while it is alive. A call to the store that hangs ends at its own limit.
    pub alive: Arc<dyn Fn() + Send + Sync>,
    /// Called, with each try again, with a settled run that cannot be finished because what is recorded of it makes no
    /// sense to the store ([`store::Error::Invalid`]). No waiting helps such a run, and it stays open until somebody
    /// cancels it; whoever waits for it alone had better end.
    pub unfinishable: Arc<Unfinishable>,
}

/// Whether what is in the way of a call to the store passes by itself.
fn kind_of(error: &store::Error) -> Kind {
    if error.is_transient() { Kind::Passing } else { Kind::Lasting }
}

/// What keeps a coordinator from its work, each told once; whoever asks whether it is ready looks here.
#[derive(Clone, Debug)]
pub struct Troubles {
    /// Taking or renewing the leadership, or hearing who has it.
    pub leadership: Trouble,
    /// Passes, of the one that leads.
    pub passes: Trouble,
    /// Finishing settled runs, for the same. Each run is a party of its own to it.
    pub finishing: Trouble,
    /// Publishing chunks, for the same.
    pub publishing: Trouble,
    /// Taking chunks from leases that cannot be believed any more, for the same.
    pub rescues: Trouble,
    /// Telling the cache which runs are visible, for the same.
    pub publication: Trouble,
    /// Working out the figures of finished runs, for the same.
    pub figures: Trouble,
}

impl Troubles {
    /// Nobody who does not lead has them: whoever leads meets them now.
    fn leads_no_more(&self) {
        for trouble in [&self.passes, &self.publishing, &self.rescues, &self.publication, &self.figures] {
            trouble.over();
        }
    }
}

impl Default for Troubles {
    fn default() -> Self {
        Self {
            leadership: Trouble::new("renew the leadership"),
            passes: Trouble::new("look after the runs"),
            finishing: Trouble::new("finish settled runs"),
            publishing: Trouble::new("publish chunks"),
            rescues: Trouble::new("rescue chunks"),
            publication: Trouble::new("tell the cache which runs are visible"),
            figures: Trouble::new("work out the figures of runs"),
        }
    }
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
