//! From what was typed to what it means: the seams of a process, each behind its breaker.

use std::time::Duration;

use anyhow::{Context, anyhow};
use batch::InstallationId;
use cache::{Redis, RedisConfig};
use queue::{RabbitMq, RabbitMqConfig};
use resilience::{Class, InvalidConfig, RetryPolicy, retry};
use store::postgres::{Duty, Postgres, PostgresConfig};

use crate::cli::{BrokerArgs, CacheArgs, DatabaseArgs};

/// Makes the store for a role that goes on while it is away.
pub(crate) fn store(
    args: &DatabaseArgs,
    role: &'static str,
    connections: usize,
) -> Result<Postgres, InvalidConfig> {
    let mut config = PostgresConfig::new(args.database_url.clone(), role);
    config.connections = connections;
    config.bulk_limit = args.bulk_limit;
    config.breaker.slow_after = args.bulk_limit / 2;
    let store = Postgres::new(config)?;
    match &args.source_url {
        Some(url) => store.with_source(url.clone()),
        None => Ok(store),
    }
}

/// Makes the store for a command that needs it now, with the schema it was made for.
pub(crate) async fn store_now(args: &DatabaseArgs, role: &'static str) -> anyhow::Result<Postgres> {
    store_for(Duty::Read, args, role).await
}

/// The same for a command that does more than look.
pub(crate) async fn store_for(
    duty: Duty,
    args: &DatabaseArgs,
    role: &'static str,
) -> anyhow::Result<Postgres> {
    let store = store(args, role, 4)?;
    reach(&store, args).await?;
    store.check_rights(duty).await?;
    store.check_schema().await?;
    Ok(store)
}

/// Makes the store for the command that creates the schema.
pub(crate) async fn store_without_schema(
    args: &DatabaseArgs,
    role: &'static str,
) -> anyhow::Result<Postgres> {
    let store = store(args, role, 2)?;
    reach(&store, args).await?;
    Ok(store)
}

/// Looks for the database a few times: a command that is started by a schedule should outlive a fail-over's blink.
async fn reach(store: &Postgres, args: &DatabaseArgs) -> anyhow::Result<()> {
    let policy = RetryPolicy {
        attempts: 3,
        first_delay: Duration::from_millis(200),
        factor: 3.0,
        max_delay: Duration::from_secs(2),
        total_time: Duration::from_secs(10),
    };
    let is_worth_it = |error: &store::Error| Class::transient_if(error.is_transient());
    let reached = retry(policy, || store.check(), is_worth_it).await;
    reached.map_err(|gave_up| gave_up.error).with_context(|| {
        format!(
            "PostgreSQL at {} cannot be used: start it (`scripts/stack up`), or set LTV_DATABASE_URL",
            args.database_url
        )
    })
}

fn queue_config(args: &BrokerArgs, role: &'static str, installation: InstallationId) -> RabbitMqConfig {
    let prefix = args.queue_prefix.clone();
    RabbitMqConfig { installation, prefix, ..RabbitMqConfig::new(args.amqp_url.clone(), role) }
}

fn cache_config(args: &CacheArgs, role: &'static str, installation: InstallationId) -> RedisConfig {
    let prefix = args.cache_prefix.clone();
    RedisConfig { installation, prefix, ..RedisConfig::new(args.redis_url.clone(), role) }
}

/// Whether queue and cache could be made: what can never work is found before anything is waited for.
pub(crate) fn check(broker: &BrokerArgs, cache: &CacheArgs) -> Result<(), InvalidConfig> {
    queue_config(broker, "check", InstallationId::default()).validate()?;
    cache_config(cache, "check", InstallationId::default()).validate()
}

/// Makes the queue for a role that goes on while the broker is away.
pub(crate) async fn queue(
    args: &BrokerArgs,
    role: &'static str,
    installation: InstallationId,
) -> Result<RabbitMq, InvalidConfig> {
    RabbitMq::connect(queue_config(args, role, installation)).await
}

/// Makes the queue for a command that needs it now.
pub(crate) async fn queue_now(
    args: &BrokerArgs,
    role: &'static str,
    installation: InstallationId,
) -> anyhow::Result<RabbitMq> {
    RabbitMq::connect_now(queue_config(args, role, installation)).await.map_err(|error| match error {
        queue::Error::Configuration(error) => error.into(),
        error => anyhow!("{error} (`scripts/stack up`, LTV_AMQP_URL)"),
    })
}

/// Makes the cache, which may be away.
pub(crate) async fn cache(
    args: &CacheArgs,
    role: &'static str,
    installation: InstallationId,
) -> Result<Redis, InvalidConfig> {
    Redis::connect(cache_config(args, role, installation)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_settings_of_the_breaker_are_valid() {
        let database_url = "postgres://ltv@localhost/ltv".into();
        let args = DatabaseArgs { database_url, source_url: None, bulk_limit: Duration::from_mins(1) };

        let store = store(&args, "test", 1).unwrap();

        assert_eq!(store.breaker().name().dependency, "postgres");
    }

    #[tokio::test]
    async fn a_url_that_cannot_be_used_is_refused_without_its_password() {
        let check = |error: InvalidConfig, expected: &str| {
            assert!(error.to_string().starts_with(expected), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        };

        let database_url = "postgres://ltv:hunter2@db/ltv?sslmode=prefer".into();
        let database = DatabaseArgs { database_url, source_url: None, bulk_limit: Duration::from_mins(1) };
        check(store(&database, "test", 1).unwrap_err(), "database URL: ");
        let broker = BrokerArgs { amqp_url: "amqp://ltv:hunter2@h".into(), queue_prefix: "ltv".into() };
        check(queue(&broker, "test", InstallationId(1)).await.unwrap_err(), "RabbitMQ URL: ");
        let now = queue_now(&broker, "test", InstallationId(1)).await.unwrap_err();
        check(now.downcast().unwrap(), "RabbitMQ URL: ");
        let redis = CacheArgs { redis_url: "redis://:hunter2".into(), cache_prefix: "ltv".into() };
        check(cache(&redis, "test", InstallationId(1)).await.unwrap_err(), "redis url: ");
    }
}
