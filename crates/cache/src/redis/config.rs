//! Where Redis is and how it is treated, and fred's settings that come of it.

use std::time::Duration;

use batch::InstallationId;
use fred::types::config::{Blocking, ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, RespVersion};
use resilience::{BreakerConfig, InvalidConfig, ServerUrl};

use super::url;

/// How long a socket may stay without an answer that is due.
const UNRESPONSIVE: Duration = Duration::from_secs(5);

/// How many commands may wait in fred's queue. More are refused at once, which the breaker counts.
const QUEUE: usize = 4_096;

/// Says which Redis, and how it is treated.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `rediss://[[user]:password@]host[:port][/database]`, with special characters percent-encoded; `redis://` to the
    /// machine we are on, or with `?sslmode=disable`.
    pub url: ServerUrl,
    /// Who calls; the breaker's metrics are labelled with it.
    pub role: &'static str,
    /// Whose values these are.
    pub installation: InstallationId,
    /// What every key begins with; the installation follows.
    pub prefix: String,
    /// How long a call may take, but for the writing of a chunk, and the reading of as much.
    pub call_limit: Duration,
    /// How long the writing of a chunk may take, and each part of a look through a partial run.
    pub bulk_limit: Duration,
    /// How long one try to connect may take, and how long the start waits for the first.
    pub connect_limit: Duration,
    /// How long anything stays after it was last written.
    pub time_to_live: Duration,
    /// When the breaker opens, and for how long.
    pub breaker: BreakerConfig,
}

impl RedisConfig {
    /// Takes the defaults that suit a Redis on the same network.
    pub fn new(url: impl Into<ServerUrl>, role: &'static str) -> Self {
        Self {
            url: url.into(),
            role,
            installation: InstallationId::default(),
            prefix: "ltv".into(),
            call_limit: Duration::from_millis(250),
            bulk_limit: Duration::from_secs(1),
            connect_limit: Duration::from_secs(2),
            time_to_live: Duration::from_hours(72),
            // A cache is missed less than a database: give it up sooner. And a probe costs it less: ask more often.
            breaker: BreakerConfig {
                minimum_calls: 5,
                open_max: Duration::from_secs(5),
                ..BreakerConfig::default()
            },
        }
    }

    /// What every key begins with, installation and all.
    pub fn names(&self) -> String {
        names(&self.prefix, self.installation)
    }

    /// Checks every rule; [`Redis::connect`](super::Redis::connect) does it too.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.rules().map_err(|error| error.of("redis"))?;
        url::read(&self.url).map(drop)
    }

    fn rules(&self) -> Result<(), InvalidConfig> {
        let limits = [
            ("call_limit", self.call_limit),
            ("bulk_limit", self.bulk_limit),
            ("connect_limit", self.connect_limit),
        ];
        for (field, limit) in limits {
            InvalidConfig::unless(!limit.is_zero(), field, "longer than zero")?;
        }
        let year = Duration::from_hours(365 * 24);
        let fits = (Duration::from_secs(1)..=year).contains(&self.time_to_live);
        InvalidConfig::unless(fits, "time_to_live", "from a second to a year")?;
        self.breaker.validate().map_err(|error| error.of("breaker"))
    }

    pub(super) fn expiry_seconds(&self) -> i64 {
        self.time_to_live.as_secs() as i64 // at most a year's
    }
}

/// What every key begins with: the prefix and the installation.
pub fn names(prefix: &str, installation: InstallationId) -> String {
    format!("{prefix}:{installation}")
}

/// Gives fred a limit that is a little shorter than ours. fred takes a command out of its queue when its own limit
/// is over, but not when the caller has stopped listening.
pub(super) fn inner_limit(limit: Duration) -> Duration {
    limit.mul_f64(0.95)
}

/// Sets everything that matters about fred, whatever its defaults are in the next version.
pub(super) fn client_builder(config: &RedisConfig) -> Result<Builder, InvalidConfig> {
    let mut builder = Builder::from_config(url::read(&config.url)?);
    builder
        .set_policy(ReconnectPolicy::new_exponential(0, 100, 2_000, 2))
        .with_config(|client| {
            client.fail_fast = false;
            client.blocking = Blocking::Block;
            client.version = RespVersion::RESP2;
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = inner_limit(config.call_limit);
            performance.max_feed_count = 200;
            performance.broadcast_channel_capacity = 32;
        })
        .with_connection_config(|connection| {
            connection.connection_timeout = config.connect_limit;
            connection.internal_command_timeout = config.connect_limit;
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = QUEUE;
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: Duration::from_secs(1) };
            connection.reconnect_on_auth_error = true;
            connection.auto_client_setname = false;
            connection.disable_cluster_health_check = true;
            connection.tcp.nodelay = Some(true);
        });
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Redis;

    #[test]
    fn a_configuration_never_shows_its_url() {
        let config = RedisConfig::new("redis://:sesame@host", "worker");

        let shown = format!("{config:?}");

        assert!(shown.contains("worker") && !shown.contains("sesame"), "{shown}");
    }

    #[tokio::test]
    async fn a_configuration_that_can_never_work_is_refused_at_once() {
        let good = RedisConfig::new("redis://127.0.0.1", "worker");
        let check = async |config: RedisConfig, expected: &str| {
            let error = Redis::connect(config).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
        };

        let call = "redis: call_limit must be longer than zero";
        check(RedisConfig { call_limit: Duration::ZERO, ..good.clone() }, call).await;
        let bulk = "redis: bulk_limit must be longer than zero";
        check(RedisConfig { bulk_limit: Duration::ZERO, ..good.clone() }, bulk).await;
        let connect = "redis: connect_limit must be longer than zero";
        check(RedisConfig { connect_limit: Duration::ZERO, ..good.clone() }, connect).await;
        let expiry = "redis: time_to_live must be from a second to a year";
        check(RedisConfig { time_to_live: Duration::from_millis(999), ..good.clone() }, expiry).await;
        check(RedisConfig { time_to_live: Duration::MAX, ..good.clone() }, expiry).await;
        let breaker = BreakerConfig { probes: 0, ..good.breaker };
        check(RedisConfig { breaker, ..good }, "redis: breaker: probes must be at least 1").await;
    }
}
