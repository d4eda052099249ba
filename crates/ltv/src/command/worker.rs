//! `ltv worker`

use std::num::NonZeroUsize;
use std::time::Duration;

use batch::{Priority, RetryPolicy};
use queue::Connection as _;
use resilience::Delays;
use store::postgres::Duty;
use worker::{ComputeOn, Lane, RequestConfig, Troubles, Worker, WorkerConfig};

use super::role::{self, Servers, Watch};
use crate::cli::WorkerArgs;
use crate::config;
use process::telemetry::{self, Metrics};

pub(crate) async fn run(args: WorkerArgs, name: String, metrics: Metrics) -> anyhow::Result<()> {
    // One connection for each slot, so that none waits for another's, and one each for the heartbeat, a check, and a
    // failure to record.
    let connections = usize::from(args.slots + args.urgent_slots) + 3;
    let servers = 1 + usize::from(args.database.source_url.is_some());
    // And the same for requests, which the night cannot take: their heartbeat, and one to begin or to answer.
    let for_requests = if args.request_slots == 0 { 0 } else { usize::from(args.request_slots) + 2 };
    process::check_descriptors(
        servers * (connections + for_requests) + role::BESIDE_THE_STORE + 2 * role::TO_CONSUME,
    );
    let terms = args.terms.terms()?;
    let store = config::store(&args.database, "worker", connections)?;
    let store_for_requests = config::store(&args.database, "worker-requests", for_requests.max(1))?;
    #[cfg(feature = "faults")]
    let store = if args.no_fence { store.without_fence() } else { store };
    config::check(&args.broker, &args.cache)?;

    let servers = Servers::default();
    let troubles = Troubles::default();
    let mut checks = role::checks(&store, &servers);
    checks.extend(role::check_of_source(&store));
    checks.push(role::untroubled("begin", &troubles.begin));
    checks.push(role::untroubled("work", &troubles.work));
    checks.push(role::untroubled("requests", &troubles.requests));
    let surroundings = process::surround("worker", args.role.listen, checks, metrics).await?;
    let Some(installation) = role::installation(Duty::Work, (&store, &args.database), &surroundings).await?
    else {
        return surroundings.end().await;
    };
    role::look_at_source(&store, &args.database).await;
    let (queue, cache) = servers.connect((&args.broker, &args.cache), "worker", installation).await?;
    let threads = usize::from(args.compute_threads);
    let threads = NonZeroUsize::new(threads).expect("the command line takes 1 at least");
    let config = WorkerConfig {
        name,
        lanes: lanes(&args),
        requests: (args.request_slots > 0).then_some(RequestConfig {
            slots: args.request_slots,
            lease: args.request_lease,
            terms,
        }),
        lease: args.lease,
        retry: RetryPolicy { max_failures: args.max_failures, ..RetryPolicy::default() },
        compute_on: ComputeOn::Threads(threads),
        troubles,
        delays: Delays::reconnect,
        grace_period: args.grace_period,
        alive: surroundings.alive.ticker(),
        link: telemetry::link,
        faults: args.fault.unwrap_or_default(),
    };
    let stop = surroundings.stop.clone();
    let watch = Watch::start(&store, installation, &stop);
    let worker = Worker { store, store_for_requests, queue: queue.clone(), cache, config };
    worker.run(stop.cancelled_owned()).await?;
    // What was acknowledged last must leave the process before it ends.
    let _ = tokio::time::timeout(Duration::from_secs(5), queue.close()).await;
    surroundings.end().await?;
    watch.end().await
}

/// The lane that is kept for what is urgent goes first, so that it takes what both could take.
fn lanes(args: &WorkerArgs) -> Vec<Lane> {
    let urgent = Lane { priorities: vec![Priority::Critical, Priority::High], slots: args.urgent_slots };
    let all = Lane::of_all_priorities(args.slots);
    [urgent, all].into_iter().filter(|lane| lane.slots > 0).collect()
}
