//! What a URL says, in the driver's words.
//!
//! Each parameter of libpq's is heard or refused by name; none is passed over in silence. Told to the driver as keywords
//! and not as a URL, because the driver would end the login at the first `@`, and take the rest of a password for the
//! host.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use resilience::url::{UrlParts, is_near};
use resilience::{InvalidConfig, Password, Rule, ServerUrl};
use tls::{Demand, Scheme, Tls};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};

use super::with_causes;

/// What the driver hears under the same name.
const HEARD: [&str; 12] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "port",
    "user",
];

/// What others know and what becomes of it here.
const KNOWN: [(&str, Rule); 26] = [
    ("client_encoding", Rule::Only(&["utf8", "UTF8", "auto"])),
    ("fallback_application_name", Rule::Never("write application_name")),
    ("gssdelegation", Rule::Never("there is no login by Kerberos")),
    ("gssencmode", Rule::Only(&["disable", "prefer"])),
    ("gsslib", Rule::Never("there is no login by Kerberos")),
    ("keepalives", Rule::Only(&["1"])),
    ("krbsrvname", Rule::Never("there is no login by Kerberos")),
    (
        "passfile",
        Rule::Never("write password_file=FILE, for a file that holds the password and nothing else"),
    ),
    ("pgbouncer", Rule::Never("leave it away")),
    ("replication", Rule::Only(&["false", "off", "no", "0"])),
    (
        "require_auth",
        Rule::Never("write channel_binding=require, or have the server ask for scram-sha-256 alone"),
    ),
    ("requirepeer", Rule::Never("leave it away")),
    ("requiressl", Rule::Never("write sslmode=verify-full")),
    ("service", Rule::Never("write what the service's file says into the URL")),
    ("servicefile", Rule::Never("write what the service's file says into the URL")),
    ("ssl", Rule::Never("write sslmode=verify-full")),
    ("ssl_max_protocol_version", Rule::Only(&["TLSv1.3"])),
    ("ssl_min_protocol_version", Rule::Only(&["TLSv1", "TLSv1.1", "TLSv1.2"])),
    ("sslcertmode", Rule::Only(&["allow"])),
    ("sslcompression", Rule::Only(&["0"])),
    ("sslcrl", Rule::Never("name authorities in sslrootcert that have revoked nothing")),
    ("sslcrldir", Rule::Never("name authorities in sslrootcert that have revoked nothing")),
    ("sslkeylogfile", Rule::Never("leave it away")),
    ("sslpassword", Rule::Never("write the key into a file without a password that nobody else may read")),
    ("sslsni", Rule::Only(&["1"])),
    ("tcp_user_timeout", Rule::Never("it is 15 s")),
];

/// A URL that was read.
pub(super) struct Read {
    pub(super) driver: Config,
    /// Where the password is, if it has to be read anew for each connection.
    pub(super) password: Option<Password>,
    pub(super) tls: Option<Tls>,
}

/// Reads a URL. No error shows a part of it that could be a password.
pub(super) fn read(url: &ServerUrl) -> Result<Read, InvalidConfig> {
    let refuse = |problem: &str| {
        InvalidConfig::url("database URL", problem, "postgres://user:password@host:port/database")
    };
    if !["postgres", "postgresql"].contains(&url.scheme()) {
        return Err(refuse("the scheme must be postgres"));
    }
    let mut parts = url.parts().map_err(|error| refuse(&error.to_string()))?;
    understand(&mut parts).map_err(|problem| refuse(&problem))
}

fn understand(parts: &mut UrlParts) -> Result<Read, String> {
    let demand = Demand::take(parts)?;
    let password = parts.take_password()?;
    let mut keywords = Keywords::default();
    parts.user.iter().for_each(|user| keywords.say("user", user));
    // A port alone is that of a host among the parameters.
    for host in parts.hosts.iter().filter(|host| !host.name.is_empty() || host.port.is_some()) {
        Some(&host.name).filter(|name| !name.is_empty()).iter().for_each(|name| keywords.say("host", name));
        keywords.say("port", &host.port.unwrap_or(5432).to_string());
    }
    parts.path.iter().filter(|database| !database.is_empty()).for_each(|name| keywords.say("dbname", name));
    if let Some(Password::Given(password)) = &password {
        keywords.say("password", password);
    }
    if let Some(sessions) = parts.take(&["target_session_attrs"]) {
        keywords.say("target_session_attrs", sessions_that(&sessions)?);
    }
    if let Some(count) = parts.take_number::<u32>("keepalives_count")? {
        keywords.say("keepalives_retries", &count.to_string());
    }
    let negotiation = parts.take(&["sslnegotiation"]);
    for name in HEARD {
        parts.take(&[name]).iter().for_each(|value| keywords.say(name, value));
    }
    parts.refuse_the_rest(
        &KNOWN,
        &[&HEARD[..], &["password", "target_session_attrs"], &tls::WORDS].concat(),
    )?;

    let mut driver = keywords.driver()?;
    let tls = secure(&mut driver, demand, negotiation.as_deref())?;
    Ok(Read { driver, password: password.filter(|it| matches!(it, Password::InFile(_))), tls })
}

/// Decides whether the way is to be secured, and tells the driver.
fn secure(driver: &mut Config, demand: Demand, negotiation: Option<&str>) -> Result<Option<Tls>, String> {
    let hosts = driver.get_hosts();
    let is_socket = |host: &Host| matches!(host, Host::Unix(_));
    let is_near = hosts.iter().all(|host| match host {
        Host::Tcp(name) => is_near(name),
        Host::Unix(_) => true,
    }) && driver.get_hostaddrs().iter().all(IpAddr::is_loopback);
    let is_direct = match negotiation {
        None | Some("postgres") => false,
        Some("direct") => true,
        Some(_) => return Err("sslnegotiation must be postgres or direct".into()),
    };
    // As with libpq: nobody stands between us and a socket.
    let files = if !hosts.is_empty() && hosts.iter().all(is_socket) {
        None
    } else {
        demand.decide(Scheme::Silent, is_near)?
    };
    let Some(files) = files else {
        driver.ssl_mode(SslMode::Disable);
        return Ok(None);
    };
    if hosts.iter().any(is_socket) {
        return Err("a socket beside a host that is secured: name them in URLs of their own".into());
    }
    if hosts.is_empty() {
        return Err("hostaddr alone names nobody to verify: add host=NAME".into());
    }
    driver.ssl_mode(SslMode::Require);
    if is_direct {
        driver.ssl_negotiation(SslNegotiation::Direct);
        return Tls::speaking(&files, &["postgresql"]).map(Some);
    }
    Tls::new(&files).map(Some)
}

/// The driver's word for the sessions that libpq would take. It asks whether one may write.
fn sessions_that(attributes: &str) -> Result<&str, String> {
    match attributes {
        "any" | "read-write" | "read-only" => Ok(attributes),
        "primary" => Ok("read-write"),
        "standby" => Ok("read-only"),
        _ => Err("target_session_attrs must be any, read-write, read-only, primary or standby".into()),
    }
}

/// A connection string in the making.
#[derive(Default)]
struct Keywords(String);

impl Keywords {
    fn say(&mut self, keyword: &str, value: &str) {
        let value = value.replace('\\', r"\\").replace('\'', r"\'");
        write!(self.0, "{keyword}='{value}' ").expect("a string grows");
    }

    fn driver(&self) -> Result<Config, String> {
        let config: Config = self.0.parse().map_err(|error| with_causes(&error))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("it names no host".into());
        }
        Ok(config)
    }
}

/// How long a connection may take, all hosts of the URL together: the last may be the one that answers.
pub(super) fn connect_limit(driver: &Config) -> Duration {
    let hosts = driver.get_hosts().len().max(driver.get_hostaddrs().len()).max(1);
    let one = driver.get_connect_timeout().copied().unwrap_or_default();
    one.saturating_mul(hosts.try_into().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(url: &str) -> Config {
        read(&url.into()).unwrap_or_else(|error| panic!("{url}: {error}")).driver
    }

    fn refused(url: &str) -> String {
        let error = read(&url.into()).map(drop).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        let text = error.to_string();
        let text = text.strip_prefix("database URL: ").unwrap();
        text.strip_suffix("; expected postgres://user:password@host:port/database").unwrap().to_owned()
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
    fn what_documents_of_managed_services_say_is_heard() {
        let neon = driver(
            "postgresql://u:p@ep-x.eu.aws.neon.tech/d?sslmode=require&channel_binding=require\
             &options=endpoint%3Dep-x",
        );
        assert_eq!(neon.get_ssl_mode(), SslMode::Require);
        assert_eq!(neon.get_channel_binding(), tokio_postgres::config::ChannelBinding::Require);

        let standby = driver(
            "postgres://u@h1:5432,h2:5433/d?target_session_attrs=primary&connect_timeout=7&application_name=night\
             &keepalives=1&keepalives_idle=9&keepalives_count=3&load_balance_hosts=random&gssencmode=disable\
             &client_encoding=utf8&sslsni=1",
        );
        assert_eq!(standby.get_target_session_attrs(), tokio_postgres::config::TargetSessionAttrs::ReadWrite);
        assert_eq!(standby.get_application_name(), Some("night"));
        assert_eq!(standby.get_keepalives_retries(), Some(3));
        assert_eq!(connect_limit(&standby), Duration::from_secs(14));

        let named =
            driver("postgres:///d?host=db.internal&hostaddr=10.0.0.7&user=u&password=p&sslmode=verify-ca");
        assert_eq!(named.get_hosts(), [Host::Tcp("db.internal".into())]);
        assert_eq!((named.get_user(), named.get_password()), (Some("u"), Some(&b"p"[..])));

        let direct = driver("postgres://u@h/d?sslnegotiation=direct");
        assert_eq!(direct.get_ssl_negotiation(), SslNegotiation::Direct);
    }

    #[test]
    fn the_way_to_another_machine_is_secured_unless_the_url_says_otherwise() {
        let check = |url: &str, expected: SslMode| {
            let read = read(&url.into()).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(read.driver.get_ssl_mode(), expected, "{url}");
            assert_eq!(read.tls.is_some(), expected == SslMode::Require, "{url}");
        };

        check("postgres://u@db/d", SslMode::Require);
        check("postgres://u@db/d?sslmode=disable", SslMode::Disable);
        check("postgres://u@10.0.0.1/d", SslMode::Require);
        check("postgres://u@localhost/d", SslMode::Disable);
        check("postgres://u@localhost/d?sslmode=verify-full", SslMode::Require);
        check("postgres://u@127.0.0.1,db/d", SslMode::Require);
        check("postgres://u@localhost/d?hostaddr=10.0.0.1", SslMode::Require);
        check("postgres:///d?host=/var/run&sslmode=verify-full", SslMode::Disable);
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
        let check = |url: &str, expected: &str| assert_eq!(refused(url), expected, "{url}");

        check("", "the scheme must be postgres");
        check("host=h password=hunter2", "the scheme must be postgres");
        check("mysql://ltv:hunter2@h", "the scheme must be postgres");
        check("postgres://ltv:hunter2@", "it names no host");
        check("postgres://ltv:hunter2@/ltv", "it names no host");
        let escape = "not a URL: characters such as / @ : # % in a password are written %2F %40 %3A %23 %25";
        check("postgres://ltv:hunter2/ltv", escape);
        check("postgres://ltv:hunter2@h/ltv?sslmode", escape);
        let number = "invalid connection string: invalid value for option `connect_timeout`";
        check("postgres://ltv:hunter2@h/ltv?connect_timeout=hunter2", number);
    }

    #[test]
    fn what_is_not_heard_is_refused_by_name_with_what_to_do_instead() {
        let check = |query: &str, expected: &str| {
            let problem = refused(&format!("postgres://ltv:hunter2@h/ltv?{query}"));
            assert!(problem.contains(expected), "{query}: {problem}");
        };

        check("sslmode=prefer", "write verify-full, or disable");
        check("passfile=/x", "passfile is not heard here: write password_file=FILE");
        check("sslpassword=hunter2", "sslpassword is not heard here: write the key into a file");
        check("service=x", "service is not heard here");
        check("sslcompression=1", "sslcompression may only be 0");
        check("ssl_min_protocol_version=TLSv1.3", "ssl_min_protocol_version may only be TLSv1 or");
        check("target_session_attrs=prefer-standby", "target_session_attrs must be any, read-write");
        check("sslnegotiation=x", "sslnegotiation must be postgres or direct");
        check("hunter2=1", "one of its parameters is not known; those that are: application_name");
        check("password_file=/nowhere/x", "a password beside password_file");
        check("sslrootcert=/nowhere/ca.pem", "/nowhere/ca.pem cannot be read: No such file or directory");
        let alone = refused("postgres:///ltv?hostaddr=10.0.0.1");
        assert!(alone.contains("add host=NAME"), "{alone}");
        let both = refused("postgres://h/ltv?host=/var/run");
        assert!(both.contains("URLs of their own"), "{both}");
        let file = refused("postgres://ltv@h/ltv?password_file=/nowhere/x");
        assert!(file.starts_with("the password file /nowhere/x cannot be read"), "{file}");
    }
}
