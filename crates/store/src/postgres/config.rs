//! Where the database is and how it is treated, and the driver's settings that come of it.

use std::time::Duration;

use resilience::{BreakerConfig, InvalidConfig, ServerUrl};
use tokio_postgres::Config;

use super::connect::Connections;
use super::secure::{Door, Secure};
use super::url;

/// Says which database, and how it is treated.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`, with special characters percent-encoded; several hosts are
    /// separated by commas, and libpq's parameters may follow a `?`.
    pub url: ServerUrl,
    /// Who calls: the breaker's metrics are labelled with it, and `pg_stat_activity` shows it unless the URL has an
    /// `application_name`.
    pub role: &'static str,
    /// The most connections. Over all processes they must stay below the server's `max_connections`.
    pub connections: usize,
    /// How long a short statement may take, and a connection outside the pool.
    pub call_limit: Duration,
    /// How long reading or committing a chunk, or cutting a plan, may take.
    pub bulk_limit: Duration,
    /// How long a lock that shuts everybody else out is waited for. Whoever comes after the one that waits, waits as
    /// long: so it is short, and tried again.
    pub lock_limit: Duration,
    /// How long building a finished run's primary key may take.
    pub finish_limit: Duration,
    /// How long a connection to one of the hosts may take. The URL's `connect_timeout` wins.
    pub connect_limit: Duration,
    /// How long a connection of the pool is waited for while others use them all.
    pub pool_limit: Duration,
    /// When the breaker opens, and for how long.
    pub breaker: BreakerConfig,
}

impl PostgresConfig {
    /// Takes the defaults that suit a database on the same network.
    pub fn new(url: impl Into<ServerUrl>, role: &'static str) -> Self {
        let bulk_limit = Duration::from_mins(1);
        Self {
            url: url.into(),
            role,
            connections: 8,
            call_limit: Duration::from_secs(5),
            bulk_limit,
            lock_limit: Duration::from_secs(1),
            finish_limit: Duration::from_mins(10),
            connect_limit: Duration::from_secs(3),
            pool_limit: Duration::from_secs(10),
            breaker: BreakerConfig {
                // Reading or committing a chunk may take its time; a slow call is one that is close to its limit.
                slow_after: bulk_limit / 2,
                open_max: Duration::from_secs(5),
                ..BreakerConfig::default()
            },
        }
    }

    /// Checks every rule; [`Postgres::new`](super::Postgres::new) does it too.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.rules().map_err(|error| error.of("postgres"))?;
        url::read(&self.url).map(drop)
    }

    fn rules(&self) -> Result<(), InvalidConfig> {
        InvalidConfig::unless(self.connections >= 1, "connections", "at least 1")?;
        let limits = [
            ("call_limit", self.call_limit),
            ("bulk_limit", self.bulk_limit),
            ("lock_limit", self.lock_limit),
            ("finish_limit", self.finish_limit),
            ("connect_limit", self.connect_limit),
            ("pool_limit", self.pool_limit),
        ];
        for (field, limit) in limits {
            InvalidConfig::unless(!limit.is_zero(), field, "longer than zero")?;
        }
        self.breaker.validate().map_err(|error| error.of("breaker"))
    }

    /// How the connections of the pool are made.
    pub(super) fn connections(&self) -> Result<Connections, InvalidConfig> {
        let url::Read { driver: mut config, password, tls } = url::read(&self.url)?;
        // The server's own limit is the backstop for a client that was stopped with a statement under way.
        // It does not end a COPY that waits for its client: `supervision` ends those that stand in its way.
        let backstop = self.finish_limit.max(self.bulk_limit) + Duration::from_secs(5);
        // What the URL says wins.
        if config.get_application_name().is_none() {
            config.application_name(format!("ltv {}", self.role));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(self.connect_limit);
        }
        if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
            config.keepalives_idle(Duration::from_secs(15));
        }
        config.tcp_user_timeout(Duration::from_secs(15));
        let limits = format!(
            "-c statement_timeout={} -c idle_in_transaction_session_timeout=60000 -c tcp_keepalives_idle=15 \
             -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
            backstop.as_millis()
        );
        Ok(Connections::new(config, &limits, Door::new(Secure(tls), password)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_breaks_its_rule_is_refused_by_the_name_of_its_field() {
        let good = PostgresConfig::new("postgres://localhost/ltv", "test");
        let check = |config: PostgresConfig, expected: Result<(), &str>| {
            assert_eq!(config.validate().map_err(|error| error.field), expected);
        };

        check(good.clone(), Ok(()));
        check(PostgresConfig { connections: 0, ..good.clone() }, Err("connections"));
        check(PostgresConfig { call_limit: Duration::ZERO, ..good.clone() }, Err("call_limit"));
        check(PostgresConfig { bulk_limit: Duration::ZERO, ..good.clone() }, Err("bulk_limit"));
        check(PostgresConfig { lock_limit: Duration::ZERO, ..good.clone() }, Err("lock_limit"));
        check(PostgresConfig { finish_limit: Duration::ZERO, ..good.clone() }, Err("finish_limit"));
        check(PostgresConfig { connect_limit: Duration::ZERO, ..good.clone() }, Err("connect_limit"));
        check(PostgresConfig { pool_limit: Duration::ZERO, ..good.clone() }, Err("pool_limit"));
        let breaker = BreakerConfig { probes: 0, ..good.breaker };
        check(PostgresConfig { breaker, ..good }, Err("probes"));
    }
}
