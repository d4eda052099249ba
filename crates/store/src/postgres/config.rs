//! Where the database is and how it is treated, and the driver's settings that come of it.

use std::fmt::Write as _;
use std::time::Duration;

use resilience::{BreakerConfig, InvalidConfig, ServerUrl};
use tokio_postgres::{Config, NoTls};

use super::connect::Connections;
use super::with_causes;

/// How a connection is secured, whatever it is for.
pub(super) type Connector = NoTls;

/// Says which database, and how it is treated.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`, with special characters percent-encoded; several hosts are
    /// separated by commas, and the driver's parameters may follow a `?`.
    pub url: ServerUrl,
    /// Who calls: the breaker's metrics are labelled with it, and `pg_stat_activity` shows it.
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
    /// How long a connection to one of the hosts may take.
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
        read(&self.url).map(drop)
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

    /// What secures every connection.
    #[expect(clippy::unused_self, reason = "what is configured decides it")]
    pub(super) fn connector(&self) -> Connector {
        NoTls
    }

    /// How the connections of the pool are made.
    pub(super) fn connections(&self) -> Result<Connections, InvalidConfig> {
        let mut config = read(&self.url)?;
        config
            .application_name(format!("ltv {}", self.role))
            .connect_timeout(self.connect_limit)
            .tcp_user_timeout(Duration::from_secs(15))
            .keepalives_idle(Duration::from_secs(15));
        // The server's own limit is the backstop for a client that was stopped with a statement under way.
        // It does not end a COPY that waits for its client: `supervision` ends those that stand in its way.
        let backstop = self.finish_limit.max(self.bulk_limit) + Duration::from_secs(5);
        let limits = format!(
            "-c statement_timeout={} -c idle_in_transaction_session_timeout=60000 -c tcp_keepalives_idle=15 \
             -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
            backstop.as_millis()
        );
        Ok(Connections::new(config, &limits, self.connector()))
    }
}

/// Says in the driver's words what a URL says in ours. Told as keywords and not as a URL, because the driver would end
/// the login at the first `@`, and take the rest of a password for the host.
fn read(url: &ServerUrl) -> Result<Config, InvalidConfig> {
    let refuse = |problem: &str| {
        InvalidConfig::url("database URL", problem, "postgres://user:password@host:port/database")
    };
    if !["postgres", "postgresql"].contains(&url.scheme()) {
        return Err(refuse("the scheme must be postgres"));
    }
    let parts = url.parts().map_err(|error| refuse(&error.to_string()))?;

    let mut keywords = String::new();
    let mut say = |keyword: &str, value: &str| {
        let value = value.replace('\\', r"\\").replace('\'', r"\'");
        write!(keywords, "{keyword}='{value}' ").expect("a string grows");
    };
    parts.user.iter().for_each(|user| say("user", user));
    parts.password.iter().for_each(|password| say("password", password));
    // A port alone is that of a host among the parameters.
    for host in parts.hosts.iter().filter(|host| !host.name.is_empty() || host.port.is_some()) {
        Some(&host.name).filter(|name| !name.is_empty()).iter().for_each(|name| say("host", name));
        say("port", &host.port.unwrap_or(5432).to_string());
    }
    parts.path.iter().filter(|database| !database.is_empty()).for_each(|database| say("dbname", database));
    parts.parameters.iter().for_each(|(name, value)| say(name, value));

    let config: Config = keywords.parse().map_err(|error| refuse(&with_causes(&error)))?;
    if config.get_hosts().is_empty() {
        return Err(refuse("it names no host"));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::Host;

    use super::*;

    fn driver(url: &str) -> Config {
        read(&url.into()).unwrap()
    }

    #[test]
    fn the_driver_hears_what_the_url_says() {
        let config =
            driver("postgresql://ltv:s%40c'r\\et@db-1,[fd00::1]:5434/night?options=-c%20role%3Dltv&port=1");

        let hosts = [Host::Tcp("db-1".into()), Host::Tcp("fd00::1".into())];
        assert_eq!((config.get_hosts(), config.get_ports()), (&hosts[..], &[5432, 5434, 1][..]));
        assert_eq!(config.get_user(), Some("ltv"));
        assert_eq!(config.get_password(), Some(&b"s@c'r\\et"[..]));
        assert_eq!(config.get_dbname(), Some("night"));
        assert_eq!(config.get_options(), Some("-c role=ltv"));
    }

    #[test]
    fn a_socket_is_a_host_in_the_place_of_one_or_as_a_parameter() {
        for url in
            ["postgres://%2Fvar%2Frun/ltv", "postgres:///ltv?host=/var/run", "postgres://ltv@/?host=/var/run"]
        {
            assert_eq!(driver(url).get_hosts(), [Host::Unix("/var/run".into())], "{url}");
        }
    }

    #[test]
    fn a_port_is_heard_where_the_host_is_a_parameter() {
        let config = driver("postgres://ltv@:5433/ltv?host=/var/run");

        assert_eq!(config.get_hosts(), [Host::Unix("/var/run".into())]);
        assert_eq!(config.get_ports(), [5433]);
    }

    #[test]
    fn a_password_with_an_at_is_no_host() {
        let config = driver("postgresql://ltv:hunt@er2@127.0.0.1/ltv");

        assert_eq!(config.get_hosts(), [Host::Tcp("127.0.0.1".into())]);
        assert_eq!(config.get_password(), Some(&b"hunt@er2"[..]));
    }

    #[test]
    fn a_url_that_cannot_be_used_is_one_clear_error_without_the_password() {
        let check = |url: &str, expected: &str| {
            let error = PostgresConfig::new(url, "test").validate().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("database URL: {expected}; expected postgres://user:password@host:port/database")
            );
            assert!(!format!("{error:?}").contains("hunter2"));
        };

        check("", "the scheme must be postgres");
        check("host=h password=hunter2", "the scheme must be postgres");
        check("mysql://ltv:hunter2@h", "the scheme must be postgres");
        check("postgres://ltv:hunter2@", "it names no host");
        check("postgres://ltv:hunter2@/ltv", "it names no host");
        let escape = "not a URL: characters such as / @ : # % in a password are written %2F %40 %3A %23 %25";
        check("postgres://ltv:hunter2/ltv", escape);
        check("postgres://ltv:hunter2@h/ltv?sslmode", escape);
        let mode = "invalid connection string: invalid value for option `sslmode`";
        check("postgres://ltv:hunter2@h/ltv?sslmode=verify-full", mode);
        check(
            "postgres://ltv@h?sslpassword=hunter2",
            "invalid connection string: unknown option `sslpassword`",
        );
    }

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
