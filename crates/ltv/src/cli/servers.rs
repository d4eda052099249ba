//! Where the servers are.

use std::time::Duration;

use clap::Args;
use resilience::ServerUrl;

use super::values::duration;

/// Where the database is.
#[derive(Clone, Debug, Args)]
pub struct DatabaseArgs {
    /// PostgreSQL, as postgres://user:password@host:port/database, with libpq's parameters
    #[arg(long, env = "LTV_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: ServerUrl,

    /// PostgreSQL that customers and histories are read from, where that is not the fleet's own: a read replica of it,
    /// or another database with the schema source
    #[arg(long, env = "LTV_SOURCE_URL", value_name = "URL", hide_env_values = true)]
    pub source_url: Option<ServerUrl>,

    /// How long reading or committing a chunk, or cutting a plan, may take; more for a slow source
    #[arg(long, env = "LTV_BULK_LIMIT", value_name = "TIME", value_parser = duration, default_value = "1m")]
    pub bulk_limit: Duration,
}

/// Where the broker is.
#[derive(Clone, Debug, Args)]
pub struct BrokerArgs {
    /// RabbitMQ, as amqps://user:password@host:port/vhost; amqp:// on this machine, or with ?sslmode=disable
    #[arg(long, env = "LTV_AMQP_URL", value_name = "URL", hide_env_values = true)]
    pub amqp_url: ServerUrl,

    /// What the names of queues begin with; the installation's identity follows
    #[arg(long, env = "LTV_QUEUE_PREFIX", value_name = "NAME", default_value = "ltv")]
    pub queue_prefix: String,
}

/// Where the cache is.
#[derive(Clone, Debug, Args)]
pub struct CacheArgs {
    /// Redis, as rediss://user:password@host:port; redis:// on this machine, or with ?sslmode=disable
    #[arg(long, env = "LTV_REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis_url: ServerUrl,

    /// What the names of keys begin with; the installation's identity follows
    #[arg(long, env = "LTV_CACHE_PREFIX", value_name = "NAME", default_value = "ltv")]
    pub cache_prefix: String,
}
