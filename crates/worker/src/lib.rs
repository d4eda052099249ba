//! Takes a chunk, computes its values, commits them.
//!
//! A worker is stateless: what it holds is in the store under a lease, and on the queue unacknowledged. Look
//! first at [`Worker::run`] (takes work while there is a free slot, drains on shutdown), then at:
//!
//! | file | what it tells |
//! |---|---|
//! | `slot` | one message from begin to ack, failure by failure |
//! | `attempt` | one attempt: value, commit, tell the cache; or why not |
//! | `valuation`, `valuers`, `compute` | from customers to values and rejections, with no attempt in it |
//! | `patience` | waiting for a store that does not answer |
//! | `lanes` | which priorities are taken in which slots |
//! | `held` | what is at work here, and its leases |
//!
//! It does not know SQL, AMQP or Redis, nor what a customer is worth; it knows in which order things happen.

mod attempt;
mod compute;
mod faults;
mod held;
mod lanes;
mod metrics;
mod patience;
mod slot;
#[cfg(test)]
mod tests;
mod valuation;
mod valuers;

use std::sync::Arc;
use std::time::Duration;

use batch::RetryPolicy;
use cache::Cache;
use queue::Chunks;
use resilience::{Delays, Trouble};
use store::{Attempts, Values};
use tokio::sync::RwLock;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use attempt::Workbench;
use compute::Compute;
use held::Held;
use lanes::Lanes;
use slot::Slot;
use valuation::Valuation;
use valuers::Valuers;

pub use compute::ComputeOn;
pub use faults::{FaultPlan, UnknownFault};
pub use lanes::Lane;
pub use metrics::describe as describe_metrics;

/// How a worker works.
#[derive(Clone)]
pub struct WorkerConfig {
    /// Its name in the store and the logs; unique for each process that ever lived.
    pub name: String,
    /// Which priorities it takes, with how many slots.
    pub lanes: Vec<Lane>,
    /// How long a chunk is believed to be at work without a sign of life. Renewed four times as often.
    pub lease: Duration,
    /// How often and how soon a failed chunk is tried again.
    pub retry: RetryPolicy,
    /// Where it computes.
    pub compute_on: ComputeOn,
    /// What keeps it from its work.
    pub troubles: Troubles,
    /// The pauses between two looks at a store that is away.
    pub delays: fn() -> Delays,
    /// How long it may take to finish what it holds after it was asked to stop. What is left is given back.
    pub grace_period: Duration,
    /// Called when the main loop turns, at least once a second while it is alive.
    pub alive: Arc<dyn Fn() + Send + Sync>,
    /// Links an attempt's span to the trace that the message carries, as pairs.
    pub link: fn(&tracing::Span, &[(String, String)]),
    /// What it does wrong on purpose. Nothing, outside tests.
    pub faults: FaultPlan,
}

/// What keeps a worker from its work, each told once for all slots; whoever asks whether it is ready looks here. Each
/// message is a party of its own to it.
#[derive(Clone, Debug)]
pub struct Troubles {
    /// Beginning an attempt.
    pub begin: Trouble,
    /// Whatever an attempt asks of the store, and of the server that histories are read from.
    pub work: Trouble,
}

impl Default for Troubles {
    fn default() -> Self {
        Self { begin: Trouble::new("begin an attempt"), work: Trouble::new("work on an attempt") }
    }
}

/// A worker with its seams.
pub struct Worker<S, Q, C> {
    /// Leases, histories, values.
    pub store: S,
    /// Where the chunks come from.
    pub queue: Q,
    /// Where values are put near the reader.
    pub cache: C,
    /// How it works.
    pub config: WorkerConfig,
}

impl<S: Attempts + Values, Q: Chunks, C: Cache> Worker<S, Q, C> {
    /// Works until `shutdown` resolves, then drains: takes nothing more, finishes what it holds or gives it
    /// back within the grace period.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), queue::Error> {
        let Self { store, queue, cache, config } = self;
        let mut lanes = Lanes::open(&queue, &config.lanes).await?;
        let held = Held::default();
        let (tasks, gave_up) = (TaskTracker::new(), CancellationToken::new());
        let valuation = Valuation {
            valuers: Valuers::default(),
            compute: Compute::start(config.compute_on),
            faults: config.faults,
        };
        let bench = Workbench {
            store: store.clone(),
            cache,
            valuation,
            gave_up: gave_up.clone(),
            config: config.clone(),
        };
        let slot = Arc::new(Slot { bench, held: held.clone(), company: RwLock::default() });
        let heartbeat =
            tokio::spawn(held.keep_alive(store.clone(), config.lease, Trouble::new("renew the leases")));
        let slots: usize = config.lanes.iter().map(|lane| usize::from(lane.slots)).sum();
        tracing::info!(worker = %config.name, slots, "taking work");

        tokio::pin!(shutdown);
        let mut turn = interval(Duration::from_secs(1));
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            (config.alive)();
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                taken = lanes.next(&store) => {
                    let Some((taken_slot, delivery)) = taken else { break };
                    let slot = Arc::clone(&slot);
                    tasks.spawn(async move {
                        slot.take(delivery).await;
                        drop(taken_slot);
                    });
                }
                _ = turn.tick() => {}
            }
        }

        tracing::info!(held = tasks.len(), grace = ?config.grace_period, "draining");
        tasks.close();
        let drained = async {
            lanes.stop().await;
            tasks.wait().await;
        };
        if timeout(config.grace_period, drained).await.is_err() {
            gave_up.cancel();
            tasks.wait().await;
        }
        heartbeat.abort();
        tracing::info!("drained");
        Ok(())
    }
}
