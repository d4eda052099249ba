//! `ltv api`

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use api::{Api, ApiConfig, MOST_CONNECTIONS, Over};
use cache::Redis;
use process::telemetry::{self, Metrics};
use queue::{Connection as _, RabbitMq};
use store::postgres::{Duty, Postgres};
use tokio::net::TcpListener;

use super::role::{self, Servers, Watch};
use crate::cli::ApiArgs;
use crate::config;

pub(crate) async fn run(args: ApiArgs, name: String, metrics: Metrics) -> anyhow::Result<()> {
    let connections = usize::from(args.connections);
    process::check_descriptors(connections + role::BESIDE_THE_STORE + MOST_CONNECTIONS);
    let store = config::store(&args.database, "api", connections)?;
    config::check(&args.broker, &args.cache)?;

    let servers = Servers::default();
    let checks = role::checks(&store, &servers);
    let surroundings = process::surround("api", args.role.listen, checks.clone(), metrics.clone()).await?;
    // Before anything is waited for, so that an address that is taken is found at once.
    let listener = listen(args.api_listen).await?;
    let Some(installation) =
        role::installation(Duty::Answer, (&store, &args.database), &surroundings).await?
    else {
        return surroundings.end().await;
    };
    let (queue, cache) = servers.connect((&args.broker, &args.cache), "api", installation).await?;
    let config = ApiConfig {
        name,
        draining: surroundings.stop.clone(),
        grace_period: args.grace_period,
        checks,
        metrics: Some(metrics),
        alive: surroundings.alive.ticker(),
        trace_context: telemetry::inject_current,
    };
    let watch = Watch::start(&store, installation, &surroundings.stop);
    let api = Api::<Over<Postgres, RabbitMq, Redis>>::new(store, queue.clone(), cache, config);
    api.run(listener).await?;
    let _ = tokio::time::timeout(Duration::from_secs(5), queue.close()).await;
    surroundings.end().await?;
    watch.end().await
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: give a free address with --api-listen"))?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "THE API HAS NO AUTHENTICATION YET, and is open to whoever reaches this address: he can read every \
             value, and change what is in force. Keep it on 127.0.0.1, or behind something that asks who comes"
        );
    }
    Ok(listener)
}
