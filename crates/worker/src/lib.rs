//! Takes a chunk, computes its values, commits them.
//!
//! A worker is stateless: what it holds is in the store under a lease, and on the queue unacknowledged. Look
//! first at [`Worker::run`] (takes work while there is a free slot, drains on shutdown), then at `slot.rs` (one
//! message from begin to ack, failure by failure).
//!
//! It does not know SQL, AMQP or Redis, nor what a customer is worth; it knows in which order things happen.

mod compute;
mod faults;
mod held;
mod metrics;
mod slot;
mod valuers;

use std::sync::Arc;
use std::time::Duration;

use batch::{Priority, RetryPolicy};
use cache::Cache;
use queue::{Chunks, Consumer};
use resilience::Delays;
use store::{Attempts, Values};
use tokio::sync::{RwLock, Semaphore};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use compute::Compute;
use held::Held;
use slot::Slot;
use valuers::Valuers;

pub use compute::ComputeOn;
pub use faults::{FaultPlan, UnknownFault};
pub use metrics::describe as describe_metrics;

/// How a worker works.
#[derive(Clone)]
pub struct WorkerConfig {
    /// Its name in the store and the logs; unique for each process that ever lived.
    pub name: String,
    /// Chunks at work at a time.
    pub slots: usize,
    /// How long a chunk is believed to be at work without a sign of life. Renewed four times as often.
    pub lease: Duration,
    /// How often and how soon a failed chunk is tried again.
    pub retry: RetryPolicy,
    /// Where it computes.
    pub compute_on: ComputeOn,
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
        let mut consumer = queue.consume(&Priority::ALL, config.slots as u16).await?;
        let slots = Arc::new(Semaphore::new(config.slots));
        let held = Held::default();
        let (tasks, gave_up) = (TaskTracker::new(), CancellationToken::new());
        let slot = Arc::new(Slot {
            valuers: Valuers::default(),
            compute: Compute::start(config.compute_on),
            held: held.clone(),
            company: RwLock::default(),
            gave_up: gave_up.clone(),
            store: store.clone(),
            cache,
            config: config.clone(),
        });
        let heartbeat = tokio::spawn(held.keep_alive(store.clone(), config.lease));
        tracing::info!(worker = %config.name, slots = config.slots, "taking work");

        tokio::pin!(shutdown);
        let mut turn = interval(Duration::from_secs(1));
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            (config.alive)();
            let taken = async {
                let free = Arc::clone(&slots).acquire_owned().await.expect("the slots are never closed");
                // With its breaker open the store would only make us hold what others could do.
                store.wait_until_available().await;
                consumer.next().await.map(|delivery| (free, delivery))
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                taken = taken => {
                    let Some((free, delivery)) = taken else { break };
                    let slot = Arc::clone(&slot);
                    tasks.spawn(async move {
                        slot.take(delivery).await;
                        drop(free);
                    });
                }
                _ = turn.tick() => {}
            }
        }

        tracing::info!(held = tasks.len(), grace = ?config.grace_period, "draining");
        tasks.close();
        let drained = async {
            consumer.stop().await;
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
