//! Where the broker is and how it is treated, checked before lapin hears of it.
//!
//! lapin reads some addresses as something else without a word: `amqp://[fd00::1]` as localhost, `amqp://host/` as the
//! virtual host with the empty name, which nobody has, and what comes behind a `/` in a password as a virtual host. They
//! are refused here.

use std::fmt;
use std::time::Duration;

use lapin::uri::AMQPUri;
use resilience::url::NotAUrl;
use resilience::{BreakerConfig, InvalidConfig, ServerUrl};

use super::topology::Names;

/// Says which broker, and how it is treated.
#[derive(Clone, Debug)]
pub struct RabbitMqConfig {
    /// `amqp://user:password@host:port/vhost`, the vhost percent-encoded; without one it is `/`.
    pub url: ServerUrl,
    /// Who we are, for the breaker, the metrics and the broker's list of connections.
    pub role: &'static str,
    /// What the names of the queues begin with.
    pub prefix: String,
    /// How long any call to the broker may take, but for the others named here.
    pub call_limit: Duration,
    /// How long a confirmation is waited for.
    pub confirm_limit: Duration,
    /// How long a connection may take.
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
    pub(super) uri: AMQPUri,
    /// For people.
    pub(super) url: ServerUrl,
    pub(super) role: &'static str,
    pub(super) names: Names,
    pub(super) call_limit: Duration,
    pub(super) confirm_limit: Duration,
    pub(super) connect_limit: Duration,
    pub(super) in_flight: usize,
}

impl Settings {
    pub(super) fn read(config: &RabbitMqConfig) -> Result<Self, InvalidConfig> {
        config.rules().map_err(|error| error.of("RabbitMQ"))?;
        Ok(Self {
            uri: read(&config.url, config.heartbeat, config.connect_limit)?,
            url: config.url.clone(),
            role: config.role,
            names: Names::new(&config.prefix)?,
            call_limit: config.call_limit,
            confirm_limit: config.confirm_limit,
            connect_limit: config.connect_limit,
            in_flight: config.in_flight.max(1),
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Reads a URL.
fn read(url: &ServerUrl, heartbeat: Duration, connect_limit: Duration) -> Result<AMQPUri, InvalidConfig> {
    let refuse = |problem: &str| {
        Err(InvalidConfig::url("RabbitMQ URL", problem, "amqp://user:password@host:port/vhost"))
    };

    match url.scheme() {
        "amqp" => {}
        "amqps" => return refuse("TLS is not built in: use amqp://, and a tunnel or service mesh"),
        _ => return refuse("the scheme must be amqp"),
    }
    let Ok(parts) = url.parts() else { return refuse(&NotAUrl.to_string()) };
    let host = parts.hosts.first().map_or("", |host| &host.name);
    if host.is_empty() {
        return refuse("the host is missing");
    }
    if host.contains(':') {
        return refuse("an IPv6 address would be read as localhost: use a host name");
    }
    let vhost = parts.path.as_deref().unwrap_or("/");
    if vhost.is_empty() {
        return refuse("the virtual host is empty: leave the last / away for the default one, or write /%2f");
    }

    // lapin's own words are not shown: they may quote the URL.
    let Ok(mut uri) = url.expose().parse::<AMQPUri>() else { return refuse(&NotAUrl.to_string()) };
    if (uri.authority.host.as_str(), uri.vhost.as_str()) != (host, vhost) {
        return refuse(&NotAUrl.to_string());
    }
    uri.query.heartbeat.get_or_insert(heartbeat.as_secs().clamp(1, u16::MAX.into()) as u16);
    uri.query.connection_timeout.get_or_insert(connect_limit.as_millis() as u64);
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(url: &str) -> Result<AMQPUri, String> {
        super::read(&url.into(), Duration::from_secs(10), Duration::from_secs(5))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn no_debug_form_shows_the_password() {
        let config = RabbitMqConfig::new("amqp://ltv:secret@broker:5672", "worker");
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

    #[test]
    fn an_address_that_would_be_misread_is_refused_without_its_password() {
        let check = |url: &str, expected: &str| {
            let error = read(url).unwrap_err();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("secret"), "{url}: {error}");
        };

        check("amqp://u:secret@[fd00::1]:5672", "IPv6");
        check("amqp://[::1]", "IPv6");
        check("amqp://u:secret@h/", "virtual host is empty");
        check("amqp://u:secret@h/?heartbeat=5", "virtual host is empty");
        check("amqps://u:secret@h", "TLS");
        check("http://u:secret@h", "scheme");
        check("u:secret@h", "expected amqp://");
        check("amqp://u:secret@", "host is missing");
        check("amqp://u:secret@:5672", "host is missing");
        check("amqp://u:sec/ret:secret@h", "not a URL");
        check("amqp:///secret@h", "not a URL");
        check("amqp://u:5/secret@h", "not a URL");
        check("amqp://u:secret@h:70000", "not a URL");
        check("amqp://u:secret@h?heartbeat=often", "not a URL");
    }

    #[test]
    fn a_good_address_is_read_as_it_stands() {
        let uri = read("amqp://ltv:s%40cret@broker:5673/night").unwrap();

        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("broker", 5673));
        assert_eq!(uri.authority.userinfo.password, "s@cret");
        assert_eq!(uri.vhost, "night");
        assert_eq!(read("amqp://h").unwrap().vhost, "/");
        assert_eq!(read("amqp://h/%2f").unwrap().vhost, "/");
    }

    #[test]
    fn the_heartbeat_is_ours_unless_the_url_says_otherwise() {
        assert_eq!(read("amqp://h").unwrap().query.heartbeat, Some(10));
        assert_eq!(read("amqp://h?heartbeat=5").unwrap().query.heartbeat, Some(5));
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_refused(
            scheme in "(amqp://|amqps://|[a-z]{0,4}(://)?)",
            rest in "(\\PC|[%/@:?#\\[\\]=&0-9a-z]){0,40}",
        ) {
            if let Ok(uri) = read(&format!("{scheme}{rest}")) {
                prop_assert!(!uri.authority.host.is_empty() && !uri.vhost.is_empty());
            }
        }

        #[test]
        fn no_password_is_shown_whatever_is_in_it(
            scheme in "(amqp://|amqps://|http://|)",
            before in "(\\PC|[%/@:?#]){0,10}",
            after in "(\\PC|[%/@:?#]){0,10}",
            place in "[a-z]{0,5}(:[0-9]{1,6})?(/[a-z]{0,3})?",
        ) {
            let url = format!("{scheme}ltv:{before}s3cret{after}@{place}");

            let error = read(&url).err().unwrap_or_default();

            prop_assert!(!error.contains("s3cret"), "{url}: {error}");
        }
    }
}
