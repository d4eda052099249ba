//! Takes a chunk, computes its values, commits them; takes a request, commits its answer, and says so.
//!
//! A worker is stateless: what it holds is in the store under a lease, and on the queue unacknowledged. Look
//! first at [`Worker::run`] (takes work while there is a free slot, drains on shutdown), then at:
//!
//! | file | what it tells |
//! |---|---|
//! | `slot` | one message from begin to ack, failure by failure |
//! | `attempt` | one attempt: value, commit, tell the cache; or why not |
//! | `patience` | waiting for a store that does not answer |
//! | `lanes` | which priorities are taken in which slots |
//! | `requests` | urgent questions, from the message to the reply, beside the night; failure by failure |
//! | `turns` | whose turn it is where several wait for one place |
//! | `held` | what is at work here, and its leases |
//!
//! From customers to values and rejections it is the crate `valuation`'s to say.
//!
//! It does not know SQL, AMQP or Redis, nor what a customer is worth; it knows in which order things happen.

mod attempt;
mod faults;
mod held;
mod lanes;
mod metrics;
mod patience;
mod requests;
mod slot;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use batch::RetryPolicy;
use cache::Cache;
use queue::Chunks;
use resilience::{Delays, Trouble};
use store::{Attempts, ValueTerms, Values};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use attempt::Workbench;
use held::Held;
use lanes::Lanes;
use requests::IN_HAND;
use slot::Slot;
use valuation::Valuation;

pub use faults::{FaultPlan, UnknownFault};
pub use lanes::Lane;
pub use metrics::describe as describe_metrics;
pub use valuation::ComputeOn;

/// How a worker works.
#[derive(Clone)]
pub struct WorkerConfig {
    /// Its name in the store and the logs; unique for each process that ever lived.
    pub name: String,
    /// Which priorities it takes, with how many slots.
    pub lanes: Vec<Lane>,
    /// How it answers requests; none if it takes none.
    pub requests: Option<RequestConfig>,
    /// How long a chunk is believed to be at work without a sign of life. Renewed four times as often.
    pub lease: Duration,
    /// How often and how soon a failed chunk or request is tried again.
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

/// How a worker answers requests.
#[derive(Clone, Debug)]
pub struct RequestConfig {
    /// Requests that are read and computed at a time, in slots that no chunk can take.
    pub slots: u16,
    /// How long a request is believed to be at work without a sign of life. Renewed four times as often. Whoever waits
    /// for one whose worker was killed waits this long: so it is short.
    pub lease: Duration,
    /// Discount, take rate, refund rate and margin for a fleet that has shown no run yet.
    pub terms: ValueTerms,
}

impl RequestConfig {
    /// How many requests may be here and not settled. While one is read another is begun or committed, and one for few
    /// customers passes by one for many.
    pub fn in_hand(&self) -> u16 {
        self.slots.saturating_mul(IN_HAND)
    }
}

/// What keeps a worker from its work, each told once for all slots; whoever asks whether it is ready looks here. Each
/// message is a party of its own to it.
#[derive(Clone, Debug)]
pub struct Troubles {
    /// Beginning an attempt.
    pub begin: Trouble,
    /// Whatever an attempt asks of the store, and of the server that histories are read from.
    pub work: Trouble,
    /// Whatever a request asks of the store, from its begin to its answer.
    pub requests: Trouble,
}

impl Default for Troubles {
    fn default() -> Self {
        Self {
            begin: Trouble::new("begin an attempt"),
            work: Trouble::new("work on an attempt"),
            requests: Trouble::new("answer a request"),
        }
    }
}

/// A worker with its seams.
pub struct Worker<S, Q, C> {
    /// Leases, histories, values.
    pub store: S,
    /// The same for requests, with connections that chunks cannot take.
    pub store_for_requests: S,
    /// Where the chunks and the requests come from.
    pub queue: Q,
    /// Where values are put near the reader.
    pub cache: C,
    /// How it works.
    pub config: WorkerConfig,
}

impl<S, Q, C> Worker<S, Q, C>
where
    S: Attempts + Values + store::Requests,
    Q: Chunks + queue::Requests,
    C: Cache,
{
    /// Works until `shutdown` resolves, then drains: takes nothing more, finishes what it holds or gives it
    /// back within the grace period.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), queue::Error> {
        let Self { store, store_for_requests, queue, cache, config } = self;
        let mut lanes = Lanes::open(&queue, &config.lanes).await?;
        let held = Held::default();
        let (tasks, end) = (TaskTracker::new(), End::default());
        let valuation = Arc::new(Valuation::start(config.compute_on, config.faults.before_each()));
        let bench = Workbench {
            store: store.clone(),
            cache,
            valuation,
            gave_up: end.gave_up.clone(),
            config: config.clone(),
        };
        let slot = Arc::new(Slot { bench, held: held.clone(), company: Arc::default() });
        if let Some(requests) = &config.requests {
            let server = queue.serve(requests.in_hand()).await?;
            let shared = config.faults.shares_slots().then(|| lanes.slots_of_the_last()).flatten();
            let lane = slot.lane_of_requests(store_for_requests, requests.clone(), &end, shared);
            let lane = Arc::new(lane);
            let lane_ended = end.lane_ended.clone().drop_guard();
            tasks.spawn(async move {
                let _lane_ended = lane_ended;
                lane.serve(server).await;
            });
        }
        let heartbeat =
            tokio::spawn(held.keep_alive(store.clone(), config.lease, Trouble::new("renew the leases")));
        config.tell_of_its_slots();

        tokio::pin!(shutdown);
        let mut turn = interval(Duration::from_secs(1));
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            (config.alive)();
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                // Unasked it ends only when the queue was closed.
                () = end.lane_ended.cancelled() => break,
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
        end.drain(lanes, &tasks, config.grace_period).await;
        heartbeat.abort();
        Ok(())
    }
}

/// How a worker comes to its end.
#[derive(Clone, Default)]
struct End {
    /// Resolves when nothing more is to be taken.
    draining: CancellationToken,
    /// Resolves when the grace period is over.
    gave_up: CancellationToken,
    /// Resolves when the lane of requests is no more.
    lane_ended: CancellationToken,
}

impl End {
    /// Takes nothing more, and waits for what is held; has it given back when the grace period is over.
    async fn drain<C: queue::Consumer>(&self, lanes: Lanes<C>, tasks: &TaskTracker, grace_period: Duration) {
        tracing::info!(held = tasks.len(), grace = ?grace_period, "draining");
        tasks.close();
        self.draining.cancel();
        let drained = async {
            lanes.stop().await;
            tasks.wait().await;
        };
        if timeout(grace_period, drained).await.is_err() {
            self.gave_up.cancel();
            tasks.wait().await;
        }
        tracing::info!("drained");
    }
}

impl WorkerConfig {
    fn tell_of_its_slots(&self) {
        let slots: usize = self.lanes.iter().map(|lane| usize::from(lane.slots)).sum();
        let request_slots = self.requests.as_ref().map_or(0, |requests| requests.slots);
        tracing::info!(worker = %self.name, slots, request_slots, "taking work");
    }
}
