//! The roles that go on until they are told to stop: `ltv worker`, `ltv coordinator` and `ltv api`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use process::GivenName;
use worker::FaultPlan;

use super::values::{duration, lease};
use super::{BrokerArgs, CacheArgs, DatabaseArgs, TermsArgs};

/// What every role has.
#[derive(Clone, Debug, Args)]
pub struct RoleArgs {
    /// Its name in logs and in the store, to which a random part is added; made of host and process unless given
    #[arg(long, env = "LTV_INSTANCE", value_name = "NAME")]
    pub instance: Option<GivenName>,

    /// Where /healthz, /readyz and /metrics are served; port 0 takes a free one
    #[arg(long, env = "LTV_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// `ltv worker`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct WorkerArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub broker: BrokerArgs,

    #[command(flatten)]
    pub cache: CacheArgs,

    #[command(flatten)]
    pub role: RoleArgs,

    /// Chunks at work at a time
    #[arg(long, env = "LTV_SLOTS", value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub slots: u16,

    /// Critical and high chunks at work at a time beside those, in slots that no other chunk can take
    #[arg(long, env = "LTV_URGENT_SLOTS", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(0..=16))]
    pub urgent_slots: u16,

    /// Urgent requests that are read and computed at a time, in slots of their own; with 0 it takes none
    #[arg(long, env = "LTV_REQUEST_SLOTS", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(0..=16))]
    pub request_slots: u16,

    /// How long a request is believed to be at work without a sign of life
    #[arg(long, env = "LTV_REQUEST_LEASE", value_name = "TIME", value_parser = lease, default_value = "5s")]
    pub request_lease: Duration,

    /// Threads that compute
    #[arg(long, env = "LTV_COMPUTE_THREADS", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub compute_threads: u16,

    /// How long a chunk is believed to be at work without a sign of life
    #[arg(long, env = "LTV_LEASE", value_name = "TIME", value_parser = lease, default_value = "20s")]
    pub lease: Duration,

    /// Failures after which a chunk is dead, and a request has failed
    #[arg(long, env = "LTV_MAX_FAILURES", value_name = "N", default_value_t = batch::RetryPolicy::default().max_failures,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_failures: u32,

    /// How long it may take to finish what it holds after SIGTERM
    #[arg(long, env = "LTV_GRACE_PERIOD", value_name = "TIME", value_parser = duration, default_value = "25s")]
    pub grace_period: Duration,

    #[command(
        flatten,
        next_help_heading = "Terms of requests until a run over the whole base is shown, whose terms they take then"
    )]
    pub terms: TermsArgs,

    /// Break the protocol on purpose, for tests
    #[arg(long, env = "LTV_FAULT", hide = true)]
    pub fault: Option<FaultPlan>,

    /// Ignore the fencing token, for tests
    #[cfg(feature = "faults")]
    #[arg(long, hide = true)]
    pub no_fence: bool,
}

/// `ltv coordinator`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct CoordinatorArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub broker: BrokerArgs,

    #[command(flatten)]
    pub cache: CacheArgs,

    #[command(flatten)]
    pub role: RoleArgs,

    /// The longest pause between two passes
    #[arg(long, env = "LTV_PASS_INTERVAL", value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub pass_interval: Duration,

    /// How long it leads without renewing
    #[arg(long, env = "LTV_LEADERSHIP_LEASE", value_name = "TIME", value_parser = lease, default_value = "10s")]
    pub leadership_lease: Duration,

    /// How long the workers' leases last
    #[arg(long, env = "LTV_LEASE", value_name = "TIME", value_parser = lease, default_value = "20s")]
    pub lease: Duration,

    /// How long a dispatcher may take to publish a chunk
    #[arg(long, env = "LTV_PUBLISH_GRACE", value_name = "TIME", value_parser = duration, default_value = "10s")]
    pub publish_grace: Duration,

    /// How long a published chunk may be with nobody while its queue is empty
    #[arg(long, env = "LTV_LOST_AFTER", value_name = "TIME", value_parser = duration, default_value = "10s")]
    pub lost_after: Duration,

    /// Failures after which a chunk is dead
    #[arg(long, env = "LTV_MAX_FAILURES", value_name = "N", default_value_t = batch::RetryPolicy::default().max_failures,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_failures: u32,
}

/// `ltv api`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct ApiArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub broker: BrokerArgs,

    #[command(flatten)]
    pub cache: CacheArgs,

    #[command(flatten)]
    pub role: RoleArgs,

    /// Where the api is served, without authentication: this machine alone, unless told otherwise; port 0 takes a free one
    #[arg(long, env = "LTV_API_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub api_listen: SocketAddr,

    /// Connections to PostgreSQL
    #[arg(long, env = "LTV_API_CONNECTIONS", value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(4..=256))]
    pub connections: u16,

    /// How long it may take to answer what is under way after SIGTERM
    #[arg(long, env = "LTV_GRACE_PERIOD", value_name = "TIME", value_parser = duration, default_value = "25s")]
    pub grace_period: Duration,
}
