//! Where the broker is and how it is treated, checked before lapin hears of it.

use std::fmt;
use std::time::Duration;

use batch::InstallationId;
use resilience::{BreakerConfig, InvalidConfig, ServerUrl};

use super::topology::Names;
use super::url::Place;

/// Says which broker, and how it is treated.
#[derive(Clone, Debug)]
pub struct RabbitMqConfig {
    /// `amqps://user:password@host:port/vhost`, the vhost percent-encoded; without one it is `/`. `amqp://` to the
    /// machine we are on, or with `?sslmode=disable`.
    pub url: ServerUrl,
    /// Who we are, for the breaker, the metrics and the broker's list of connections.
    pub role: &'static str,
    /// Whose messages these are.
    pub installation: InstallationId,
    /// What the names of the queues begin with; the installation follows.
    pub prefix: String,
    /// How long any call to the broker may take, but for the others named here.
    pub call_limit: Duration,
    /// How long a confirmation is waited for.
    pub confirm_limit: Duration,
    /// How long a connection may take. The URL's `connection_timeout` wins.
    pub connect_limit: Duration,
    /// How often both sides give a sign of life. The URL's `heartbeat` wins.
    pub heartbeat: Duration,
    /// How many confirmations are awaited at once.
    pub in_flight: usize,
    /// When publishing is given up for a while.
    pub breaker: BreakerConfig,
}

impl RabbitMqConfig {
    /// Takes the defaults that suit a broker on the same network.
    pub fn new(url: impl Into<ServerUrl>, role: &'static str) -> Self {
        Self {
            url: url.into(),
            role,
            installation: InstallationId::default(),
            prefix: "ltv".into(),
            call_limit: Duration::from_secs(5),
            confirm_limit: Duration::from_secs(10),
            connect_limit: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            in_flight: 256,
            breaker: BreakerConfig {
                // A call is as long as its plan; each confirmation has its own limit.
                slow_after: Duration::MAX,
                // The link knows at once when the broker is back, so nothing is gained by long rests.
                open_max: Duration::from_secs(5),
                ..BreakerConfig::default()
            },
        }
    }

    /// Checks every rule; [`RabbitMq::connect`](super::RabbitMq::connect) does it too.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        Settings::read(self).map(drop)
    }

    fn rules(&self) -> Result<(), InvalidConfig> {
        let limits = [
            ("call_limit", self.call_limit),
            ("confirm_limit", self.confirm_limit),
            ("connect_limit", self.connect_limit),
        ];
        for (field, limit) in limits {
            InvalidConfig::unless(!limit.is_zero(), field, "longer than zero")?;
        }
        self.breaker.validate().map_err(|error| error.of("breaker"))
    }
}

/// The configuration, read and checked.
pub(super) struct Settings {
    pub(super) place: Place,
    /// For people.
    pub(super) url: ServerUrl,
    pub(super) role: &'static str,
    pub(super) installation: InstallationId,
    pub(super) names: Names,
    pub(super) call_limit: Duration,
    pub(super) confirm_limit: Duration,
    pub(super) connect_limit: Duration,
    pub(super) in_flight: usize,
}

impl Settings {
    pub(super) fn read(config: &RabbitMqConfig) -> Result<Self, InvalidConfig> {
        config.rules().map_err(|error| error.of("RabbitMQ"))?;
        let place = Place::read(&config.url, config.heartbeat, config.connect_limit)?;
        Ok(Self {
            connect_limit: place.connect_limit(),
            place,
            url: config.url.clone(),
            role: config.role,
            installation: config.installation,
            names: Names::new(&config.prefix, config.installation)?,
            call_limit: config.call_limit,
            confirm_limit: config.confirm_limit,
            in_flight: config.in_flight.max(1),
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_form_shows_the_password() {
        let config = RabbitMqConfig::new("amqps://ltv:secret@broker:5672", "worker");
        let settings = Settings::read(&config).unwrap();

        for shown in [format!("{config:?}"), format!("{settings:?}")] {
            assert!(shown.contains("broker") && !shown.contains("secret"), "{shown}");
        }
    }

    #[test]
    fn a_setting_that_breaks_its_rule_is_refused_by_the_name_of_its_field() {
        let good = RabbitMqConfig::new("amqp://localhost", "test");
        let check = |config: RabbitMqConfig, expected: Result<(), &str>| {
            assert_eq!(config.validate().map_err(|error| error.field), expected);
        };

        check(good.clone(), Ok(()));
        check(RabbitMqConfig { call_limit: Duration::ZERO, ..good.clone() }, Err("call_limit"));
        check(RabbitMqConfig { confirm_limit: Duration::ZERO, ..good.clone() }, Err("confirm_limit"));
        check(RabbitMqConfig { connect_limit: Duration::ZERO, ..good.clone() }, Err("connect_limit"));
        check(RabbitMqConfig { prefix: String::new(), ..good.clone() }, Err("prefix"));
        check(RabbitMqConfig { url: "amqp://".into(), ..good.clone() }, Err("url"));
        let breaker = BreakerConfig { probes: 0, ..good.breaker };
        check(RabbitMqConfig { breaker, ..good }, Err("probes"));
    }
}
