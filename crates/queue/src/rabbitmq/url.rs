//! What a URL says, in lapin's words. Each parameter is heard or refused by name.
//!
//! lapin reads no URL itself: it takes `amqp://[fd00::1]` for localhost, `amqp://host/` for the virtual host with the
//! empty name, which nobody has, and what comes behind a `/` in a password for a virtual host.

use std::time::Duration;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use resilience::url::{UrlHost, UrlParts};
use resilience::{InvalidConfig, Password, Rule, ServerUrl};
use tls::{Demand, Scheme, Tls};

use super::sieve::USUAL_FRAME_MAX;

const HEARD: [&str; 5] = ["auth_mechanism", "channel_max", "connection_timeout", "frame_max", "heartbeat"];

/// What RabbitMQ's other clients know and what becomes of it here.
const KNOWN: [(&str, Rule); 5] = [
    ("depth", Rule::Never("leave it away")),
    ("fail_if_no_peer_cert", Rule::Never("it is the server's to ask for")),
    (
        "password",
        Rule::Never(
            "the user's stands behind the user, or in a file (password_file=FILE); a key is read from a file \
             without one",
        ),
    ),
    ("server_name_indication", Rule::Never("connect to the host that the certificate names")),
    ("verify_hostname", Rule::Only(&["true"])),
];

/// Where the broker is, and who asks.
pub(super) struct Place {
    uri: AMQPUri,
    /// Read anew for each connection.
    password: Option<Password>,
    /// What the way there is secured with.
    pub(super) tls: Option<Tls>,
}

impl Place {
    /// Reads a URL. No error shows a part of it that could be a password.
    pub(super) fn read(
        url: &ServerUrl,
        heartbeat: Duration,
        connect_limit: Duration,
    ) -> Result<Self, InvalidConfig> {
        let refuse = |problem: &str| {
            InvalidConfig::url("RabbitMQ URL", problem, "amqps://user:password@host:port/vhost")
        };
        let scheme = match url.scheme() {
            "amqp" => Scheme::Clear("amqps"),
            "amqps" => Scheme::Secured,
            _ => return Err(refuse("the scheme must be amqp or amqps")),
        };
        let mut parts = url.parts().map_err(|error| refuse(&error.to_string()))?;
        let mut place = understand(scheme, &mut parts).map_err(|problem| refuse(&problem))?;
        let query = &mut place.uri.query;
        // lapin takes what the broker says, and reserves many frames: of a broker without a limit, 128 GiB.
        query.frame_max = query.frame_max.filter(|&size| size > 0).or(Some(USUAL_FRAME_MAX));
        query.heartbeat.get_or_insert(heartbeat.as_secs().clamp(1, u16::MAX.into()) as u16);
        query.connection_timeout.get_or_insert(connect_limit.as_millis() as u64);
        Ok(place)
    }

    /// How long a connection may take.
    pub(super) fn connect_limit(&self) -> Duration {
        Duration::from_millis(self.uri.query.connection_timeout.unwrap_or_default())
    }

    /// How `rabbitmqctl` is told the virtual host, with a space behind it; nothing for the one it takes by itself.
    pub(super) fn vhost_option(&self) -> String {
        match self.uri.vhost.as_str() {
            "/" => String::new(),
            vhost => format!("--vhost '{vhost}' "),
        }
    }

    /// What lapin is told, with the password as it is now.
    pub(super) fn uri(&self) -> Result<AMQPUri, String> {
        let mut uri = self.uri.clone();
        if let Some(password) = &self.password {
            uri.authority.userinfo.password = password.read()?;
        }
        Ok(uri)
    }
}

fn understand(scheme: Scheme, parts: &mut UrlParts) -> Result<Place, String> {
    let demand = Demand::take(parts)?;
    let query = AMQPQueryString {
        frame_max: parts.take_number("frame_max")?,
        channel_max: parts.take_number("channel_max")?,
        heartbeat: parts.take_number("heartbeat")?,
        connection_timeout: parts.take_number("connection_timeout")?,
        auth_mechanism: parts.take(&["auth_mechanism"]).map(|name| mechanism(&name)).transpose()?,
    };
    // Before the password is looked for, which it is not.
    if parts.parameters.iter().any(|(name, _)| name == "password") {
        parts.parameters.retain(|(name, _)| name == "password");
        parts.refuse_the_rest(&KNOWN, &HEARD)?;
    }
    let password = parts.take_password()?;
    parts.refuse_the_rest(&KNOWN, &[&HEARD[..], &tls::WORDS].concat())?;

    let (name, port) = match &parts.hosts[..] {
        [UrlHost { name, port }] if !name.is_empty() => (name, *port),
        [_, _, ..] => return Err("it names several hosts: name one that stands for all nodes".into()),
        _ => return Err("the host is missing".into()),
    };
    let vhost = parts.path.take().unwrap_or_else(|| "/".to_owned());
    if vhost.is_empty() {
        return Err(
            "the virtual host is empty: leave the last / away for the default one, or write /%2f".into()
        );
    }
    // A password whose user and colon were forgotten.
    if parts.user.as_ref().is_some_and(|user| user.contains('/')) {
        return Err(resilience::url::NotAUrl.to_string());
    }
    let files = demand.decide(scheme, resilience::url::is_near(name))?;
    if query.auth_mechanism == Some(SASLMechanism::External)
        && files.as_ref().is_none_or(|files| files.identity.is_none())
    {
        return Err("auth_mechanism=external asks for sslcert and sslkey".into());
    }
    let tls = files.map(|files| Tls::new(&files)).transpose()?;
    let lapins = AMQPUserInfo { username: "guest".into(), password: "guest".into() };
    let given = match &password {
        Some(Password::Given(password)) => password.clone(),
        _ => lapins.password,
    };
    let userinfo = AMQPUserInfo {
        username: parts.user.take().filter(|user| !user.is_empty()).unwrap_or(lapins.username),
        password: given,
    };
    let port = port.unwrap_or(if tls.is_some() { 5671 } else { 5672 });
    let scheme = if tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP };
    let uri =
        AMQPUri { scheme, authority: AMQPAuthority { userinfo, host: name.clone(), port }, vhost, query };
    Ok(Place { uri, password: password.filter(|it| matches!(it, Password::InFile(_))), tls })
}

fn mechanism(name: &str) -> Result<SASLMechanism, String> {
    match name.to_ascii_lowercase().as_str() {
        "plain" => Ok(SASLMechanism::Plain),
        "external" => Ok(SASLMechanism::External),
        _ => Err("auth_mechanism must be plain or external".into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(url: &str) -> Result<Place, String> {
        Place::read(&url.into(), Duration::from_secs(10), Duration::from_secs(5))
            .map_err(|error| error.to_string())
    }

    fn read(url: &str) -> Result<AMQPUri, String> {
        place(url)?.uri()
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name_without_the_password() {
        let check = |url: &str, expected: &str| {
            let error = read(url).unwrap_err();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("secret"), "{url}: {error}");
        };

        check("amqp://u:secret@h/", "virtual host is empty");
        check("amqp://u:secret@h/?heartbeat=5", "virtual host is empty");
        check("http://u:secret@h", "scheme");
        check("u:secret@h", "expected amqps://");
        check("amqp://u:secret@", "host is missing");
        check("amqp://u:secret@:5672", "host is missing");
        check("amqp://u:secret@h1,h2", "name one that stands for all nodes");
        check("amqp:///secret@h", "not a URL");
        check("amqp://u:secret@h:70000", "not a URL");
        check("amqp://u:secret@localhost?heartbeat=often", "heartbeat must be a number");
        check("amqp://u:secret@localhost?heartbeat=70000", "heartbeat must be a number");
        check("amqp://u:secret@localhost?auth_mechanism=secret", "must be plain or external");
        check("amqp://u:secret@localhost?auth_mechanism=external", "asks for sslcert and sslkey");
        check("amqp://u:secret@h", "write amqps://, or say sslmode=disable");
        check("amqp://u:secret@h?verify=verify_peer", "the scheme is that of plaintext");
        check("amqps://u:secret@h?verify=verify_none", "verify may only be verify_peer");
        check("amqps://u:secret@h?cacertfile=/nowhere/ca", "/nowhere/ca cannot be read");
        check("amqps://u:secret@h?server_name_indication=secret", "server_name_indication is not heard here");
        check(
            "amqps://u@h?password=secret",
            "password is not heard here: the user's stands behind the user, or in a file (password_file=FILE)",
        );
        check(
            "amqps://u:secret@h?secret=1",
            "one of its parameters is not known; those that are: auth_mechanism",
        );
        check("amqps://u@h?password_file=/nowhere/p", "the password file /nowhere/p cannot be read");
    }

    #[test]
    fn a_good_address_is_read_as_it_stands() {
        let uri = read("amqp://ltv:s%40cret@broker:5673/night?sslmode=disable").unwrap();

        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("broker", 5673));
        assert_eq!(uri.authority.userinfo.password, "s@cret");
        assert_eq!(uri.vhost, "night");
        assert_eq!(read("amqp://localhost").unwrap().vhost, "/");
        assert_eq!(read("amqp://localhost/%2f").unwrap().vhost, "/");
        assert_eq!(read("amqp://[::1]:5673").unwrap().authority.host, "::1");
        let slash = read("amqp://u:sec/ret@localhost").unwrap();
        assert_eq!((slash.authority.userinfo.password.as_str(), slash.vhost.as_str()), ("sec/ret", "/"));
        let nobody = read("amqp://localhost").unwrap().authority.userinfo;
        assert_eq!((nobody.username.as_str(), nobody.password.as_str()), ("guest", "guest"));
    }

    #[test]
    fn a_secured_broker_has_a_port_of_its_own() {
        let secured = place("amqps://ltv:p@broker?heartbeat=5&verify=verify_peer").unwrap();

        assert!(secured.tls.is_some());
        assert_eq!(secured.uri().unwrap().authority.port, 5671);
        assert_eq!(read("amqp://localhost").unwrap().authority.port, 5672);
    }

    #[test]
    fn a_password_in_a_file_is_the_one_that_is_there_at_the_next_connection() {
        let file = std::env::temp_dir().join(format!("ltv-amqp-password-{}", std::process::id()));
        std::fs::write(&file, "one\n").unwrap();
        let place = place(&format!("amqp://ltv@localhost?password_file={}", file.display())).unwrap();
        let password = || place.uri().map(|uri| uri.authority.userinfo.password);

        assert_eq!(password(), Ok("one".into()));
        std::fs::write(&file, "two").unwrap();
        assert_eq!(password(), Ok("two".into()));
        std::fs::remove_file(&file).unwrap();
        assert!(password().unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn the_limits_are_ours_unless_the_url_says_otherwise() {
        let ours = place("amqp://localhost").unwrap();
        let theirs = place("amqp://localhost?heartbeat=5&connection_timeout=700&channel_max=9").unwrap();

        assert_eq!(ours.uri().unwrap().query.heartbeat, Some(10));
        assert_eq!(ours.connect_limit(), Duration::from_secs(5));
        assert_eq!(theirs.uri().unwrap().query.heartbeat, Some(5));
        assert_eq!(theirs.uri().unwrap().query.channel_max, Some(9));
        assert_eq!(theirs.connect_limit(), Duration::from_millis(700));
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
            after in "(\\PC|[%/@:?#&=]){0,10}",
            place in "[a-z]{0,5}(:[0-9]{1,6})?(/[a-z]{0,3})?",
        ) {
            let url = format!("{scheme}ltv:{before}s3cret{after}@{place}");

            let error = read(&url).err().unwrap_or_default();

            prop_assert!(!error.contains("s3cret"), "{url}: {error}");
        }
    }
}
