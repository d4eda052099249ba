//! What a URL says, in fred's words. Each parameter is heard or refused by name.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use fred::error::{Error, ErrorKind};
use fred::types::config::{Config, CredentialProvider, Server, ServerConfig, TlsConnector};
use resilience::url::{UrlHost, UrlParts};
use resilience::{InvalidConfig, Password, Rule, ServerUrl};
use tls::{Demand, Scheme, Tls};

/// What redis-py and others know and what becomes of it here.
const KNOWN: [(&str, Rule); 12] = [
    ("client_name", Rule::Never("leave it away")),
    ("decode_responses", Rule::Never("leave it away")),
    ("health_check_interval", Rule::Never("leave it away: the connection is watched")),
    ("max_connections", Rule::Never("leave it away: there is one")),
    ("protocol", Rule::Only(&["2"])),
    ("retry_on_timeout", Rule::Never("leave it away: whoever asked decides that")),
    ("socket_connect_timeout", Rule::Never("leave it away: it is 2 s")),
    ("socket_keepalive", Rule::Never("leave it away: the connection is watched")),
    ("socket_timeout", Rule::Never("leave it away: each call has a limit")),
    ("ssl_ca_path", Rule::Never("name a file: ssl_ca_certs=FILE")),
    (
        "ssl_keyfile_password",
        Rule::Never("write the key into a file without a password that nobody else may read"),
    ),
    ("ssl_password", Rule::Never("write the key into a file without a password that nobody else may read")),
];

/// What a URL says.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) port: u16,
    /// How the way there is secured, if it is.
    pub(super) tls: Option<Tls>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Password>,
    pub(super) database: Option<u8>,
}

/// Reads a URL in fred's words. No error shows a part of it that could be a password.
pub(super) fn read(url: &ServerUrl) -> Result<Config, InvalidConfig> {
    place(url).map(config)
}

/// Reads a URL. No error shows a part of it that could be a password.
pub(super) fn place(url: &ServerUrl) -> Result<Place, InvalidConfig> {
    let wrong = |problem: &str| {
        InvalidConfig::url("redis url", problem, "redis://[[user:]password@]host[:port][/database]")
    };
    let scheme = match url.scheme() {
        "redis" => Scheme::Clear("rediss"),
        "rediss" => Scheme::Secured,
        _ => return Err(wrong("the scheme must be redis or rediss")),
    };
    if url.expose().contains('#') {
        return Err(wrong("# must be percent-encoded"));
    }
    let mut parts = url.parts().map_err(|_| wrong("the host, port or database cannot be read"))?;
    understand(scheme, &mut parts).map_err(|problem| wrong(&problem))
}

fn understand(scheme: Scheme, parts: &mut UrlParts) -> Result<Place, String> {
    let unreadable = || "the host, port or database cannot be read".to_owned();
    let demand = Demand::take(parts)?;
    let password = parts.take_password()?;
    let user = parts.take(&["username"]).or_else(|| parts.user.take()).filter(|user| !user.is_empty());
    let database = parts.take(&["db"]).or_else(|| parts.path.take()).filter(|number| !number.is_empty());
    parts.refuse_the_rest(&KNOWN, &[&["db", "username", "password"][..], &tls::WORDS].concat())?;

    let (name, port) = match &parts.hosts[..] {
        [UrlHost { name, port }] if !name.is_empty() => (name, *port),
        [_, _, ..] => return Err("it names several hosts: name the one that is written to".into()),
        _ => return Err(unreadable()),
    };
    let files = demand.decide(scheme, resilience::url::is_near(name))?;
    Ok(Place {
        name: name.clone(),
        port: port.unwrap_or(6379),
        database: database.map(|number| number.parse()).transpose().map_err(|_| unreadable())?,
        tls: files.as_ref().map(Tls::new).transpose()?,
        user,
        password,
    })
}

fn config(place: Place) -> Config {
    let Place { name, port, tls, user, password, database } = place;
    let secured = tls.map(|tls| TlsConnector::Rustls(tokio_rustls::TlsConnector::from(tls.config())).into());
    let config = Config { server: server(&name, port), database, tls: secured, ..Config::default() };
    match password {
        Some(Password::Given(password)) => Config { username: user, password: Some(password), ..config },
        Some(file) => Config { credential_provider: Some(Arc::new(Login { user, file })), ..config },
        None => Config { username: user, ..config },
    }
}

fn server(name: &str, port: u16) -> ServerConfig {
    // fred takes an IPv6 address as it stands in a URL, and a certificate names it as it is.
    let host = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let tls_server_name = Some(name.into());
    ServerConfig::Centralized { server: Server { tls_server_name, ..Server::new(host, port) } }
}

/// Who asks, by a password that is read anew for each connection.
struct Login {
    user: Option<String>,
    file: Password,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("file", &self.file).finish_non_exhaustive()
    }
}

impl CredentialProvider for Login {
    fn fetch<'this, 'server, 'future>(
        &'this self,
        _: Option<&'server Server>,
    ) -> Pin<Box<dyn Future<Output = Result<(Option<String>, Option<String>), Error>> + Send + 'future>>
    where
        'this: 'future,
        'server: 'future,
    {
        let read = self.file.read().map(|password| (self.user.clone(), Some(password)));
        Box::pin(std::future::ready(read.map_err(|problem| Error::new(ErrorKind::Auth, problem))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPECTED: &str = "; expected redis://[[user:]password@]host[:port][/database]";

    #[test]
    fn a_wrong_url_is_one_clear_error_without_the_password() {
        let check = |url: &str, expected: &str| {
            let error = read(&url.into()).unwrap_err();
            let text = error.to_string();
            let problem =
                text.strip_prefix("redis url: ").and_then(|text| text.strip_suffix(EXPECTED)).unwrap();
            assert!(problem.starts_with(expected), "{url}: {problem}");
            assert!(!format!("{error:?}").contains("sesame"));
        };

        let unreadable = "the host, port or database cannot be read";
        check("", "the scheme must be redis or rediss");
        check("sesame", "the scheme must be redis or rediss");
        check("http://:sesame@host", "the scheme must be redis or rediss");
        check("redis-cluster://:sesame@host", "the scheme must be redis or rediss");
        check("redis://:sesame@", unreadable);
        check("redis://:sesame@host:port", unreadable);
        check("redis://:sesame@localhost:6379/cache", unreadable);
        check("redis://:sesame@localhost:6379/999", unreadable);
        check("redis://:sesame@localhost?db=sesame", unreadable);
        check("redis://:ses#ame@host", "# must be percent-encoded");
        check("redis://:sesame@h1,h2", "it names several hosts: name the one that is written to");
        check(
            "redis://:sesame@host",
            "it would show the password to everybody on the way to another machine",
        );
        check(
            "redis://:sesame@host?ssl_cert_reqs=required",
            "the scheme is that of plaintext: write rediss://",
        );
        check("rediss://:sesame@host?ssl_cert_reqs=none", "ssl_cert_reqs may only be required");
        check("rediss://:sesame@host?ssl_check_hostname=false", "ssl_check_hostname may only be true");
        check("rediss://:sesame@host?sslmode=disable", "sslmode=disable contradicts the scheme");
        check("rediss://:sesame@host?ssl_ca_certs=/nowhere/ca", "/nowhere/ca cannot be read");
        check("rediss://:sesame@host?socket_timeout=5", "socket_timeout is not heard here");
        check("rediss://:sesame@host?sesame=5", "one of its parameters is not known; those that are: db");
        check("rediss://host?password_file=/nowhere/p", "the password file /nowhere/p cannot be read");
    }

    #[test]
    fn a_url_gives_host_port_database_and_decoded_login() {
        let config = read(&"redis://app:s%23same@cache.internal:7000/3?sslmode=disable".into()).unwrap();

        let host = &config.server.hosts()[0];
        assert_eq!((host.host.to_string(), host.port), ("cache.internal".into(), 7000));
        assert_eq!((config.username.as_deref(), config.password.as_deref()), (Some("app"), Some("s#same")));
        assert_eq!((config.database, config.tls), (Some(3), None));
        let near = read(&"redis://localhost?db=4&username=u&password=p".into()).unwrap();
        assert_eq!((near.server.hosts()[0].port, near.database), (6379, Some(4)));
        assert_eq!((near.username.as_deref(), near.password.as_deref()), (Some("u"), Some("p")));
    }

    #[test]
    fn a_secured_server_is_verified_by_the_name_of_the_url() {
        for (url, host, name) in [
            ("rediss://:p@cache.internal", "cache.internal", "cache.internal"),
            ("rediss://[fd00::1]:6380", "[fd00::1]", "fd00::1"),
        ] {
            let config = read(&url.into()).unwrap();
            let server = &config.server.hosts()[0];
            assert!(config.tls.is_some(), "{url}");
            assert_eq!(server.host.to_string(), host);
            assert_eq!(server.tls_server_name.as_ref().map(ToString::to_string).as_deref(), Some(name));
        }
    }

    #[tokio::test]
    async fn a_password_in_a_file_is_the_one_that_is_there_at_the_next_connection() {
        let file = std::env::temp_dir().join(format!("ltv-redis-password-{}", std::process::id()));
        std::fs::write(&file, "sesame\n").unwrap();
        let url = format!("redis://app@localhost?password_file={}", file.display());
        let config = read(&url.as_str().into()).unwrap();
        let login = config.credential_provider.as_ref().unwrap();
        let fetched = async || login.fetch(None).await.map_err(|error| error.details().to_owned());

        assert_eq!(fetched().await, Ok((Some("app".into()), Some("sesame".into()))));
        std::fs::write(&file, "new").unwrap();
        assert_eq!(fetched().await, Ok((Some("app".into()), Some("new".into()))));
        std::fs::remove_file(&file).unwrap();
        assert!(fetched().await.unwrap_err().contains("cannot be read"));
        assert!(!format!("{config:?}").contains("sesame"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_url_or_refused_without_being_shown(
            scheme in "(redis://|rediss://|redis-cluster://|unix://|)",
            before in "(\\PC|[%/@:?#\\[\\]]){0,20}",
            after in "(\\PC|[%/@:?#\\[\\]0-9&=]){0,20}",
        ) {
            let url = format!("{scheme}{before}s3same{after}");

            if let Err(error) = read(&url.as_str().into()) {
                prop_assert!(!format!("{error} {error:?}").contains("s3same"), "{url}: {error:?}");
            }
        }
    }
}
