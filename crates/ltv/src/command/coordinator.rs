//! `ltv coordinator`

use std::sync::Arc;
use std::time::Duration;

use batch::{RetryPolicy, SupervisePolicy};
use coordinator::{Coordinator, CoordinatorConfig, Troubles};
use movements::{Mover, MoverConfig};
use queue::Connection as _;
use store::postgres::Duty;

use super::role::{self, Servers, Watch};
use crate::cli::CoordinatorArgs;
use crate::config;
use process::telemetry::Metrics;

/// Its connections to PostgreSQL: one for the leadership, one for a pass, one for each of three runs that are finished at
/// once, one for the figures of a run, one for what moved, one to ask, for a moment, who stands in the way of these, and
/// one to ask which installation this is.
const CONNECTIONS: usize = 9;

pub(crate) async fn run(args: CoordinatorArgs, name: String, metrics: Metrics) -> anyhow::Result<()> {
    process::check_descriptors(CONNECTIONS + role::BESIDE_THE_STORE);
    let store = config::store(&args.database, "coordinator", CONNECTIONS)?;
    config::check(&args.broker, &args.cache)?;

    let servers = Servers::default();
    let troubles = Troubles::default();
    let mut checks = role::checks(&store, &servers);
    checks.extend([
        role::untroubled("leadership", &troubles.leadership),
        role::untroubled("passes", &troubles.passes),
        role::untroubled("finishing", &troubles.finishing),
        role::untroubled("publishing", &troubles.publishing),
        role::untroubled("rescues", &troubles.rescues),
        role::untroubled("publication", &troubles.publication),
        role::untroubled("figures", &troubles.figures),
    ]);
    let surroundings = process::surround("coordinator", args.role.listen, checks, metrics).await?;
    let Some(installation) =
        role::installation(Duty::Coordinate, (&store, &args.database), &surroundings).await?
    else {
        return surroundings.end().await;
    };
    let (queue, cache) = servers.connect((&args.broker, &args.cache), "coordinator", installation).await?;
    let mover = MoverConfig { pause: args.pass_interval * 5, ..MoverConfig::named(name.clone()) };
    let config = CoordinatorConfig {
        name,
        policy: SupervisePolicy {
            publish_grace: args.publish_grace,
            lost_after: args.lost_after,
            lease_duration: args.lease,
            retry: RetryPolicy { max_failures: args.max_failures, ..RetryPolicy::default() },
            ..SupervisePolicy::default()
        },
        pass_interval: args.pass_interval,
        leadership_lease: args.leadership_lease,
        troubles,
        alive: surroundings.alive.ticker(),
        // A fleet has other runs to look after, and people who read its logs.
        unfinishable: Arc::new(|_, _| {}),
    };
    let stop = surroundings.stop.clone();
    let watch = Watch::start(&store, installation, &stop);
    let mover = Mover { store: store.clone(), config: mover };
    let moving = tokio::spawn(mover.run(stop.clone().cancelled_owned()));
    let coordinator = Coordinator { store, queue: queue.clone(), cache, config };
    coordinator.run(stop.cancelled_owned()).await;
    moving.await?;
    let _ = tokio::time::timeout(Duration::from_secs(5), queue.close()).await;
    surroundings.end().await?;
    watch.end().await
}
