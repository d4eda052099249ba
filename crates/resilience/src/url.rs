//! The URL of a server: kept as it was given, read by the seam that knows the server, shown without its password.
//!
//! A URL is taken whatever it says, so that nobody who merely passes it on (a command line above all) has a reason to
//! quote it in an error. The seam that is to use it reads it and refuses what makes no sense, in words that never
//! repeat it: of a URL that could not be read, nobody knows which part the password is.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// The parameters that are shown. Any other may be a secret, or a secret's place.
const HARMLESS: [&str; 26] = [
    "application_name",
    "auth_mechanism",
    "cacertfile",
    "certfile",
    "channel_binding",
    "channel_max",
    "connect_timeout",
    "connection_timeout",
    "dbname",
    "frame_max",
    "heartbeat",
    "host",
    "hostaddr",
    "keyfile",
    "password_file",
    "port",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
    "verify",
];

/// Says where a server is and who asks, as in `scheme://user:password@host:port/path?name=value`.
///
/// Its display and debug forms hide the password, also where the URL is malformed. Everything up to the last `@` is taken
/// for user and password there, so that a password with an unescaped `/` or `@` is hidden as well, and of the rest only
/// that is shown which looks as if it was meant so.
///
/// ```
/// let url = resilience::ServerUrl::from("amqp://ltv:secret@broker:5672/%2f");
/// assert_eq!(url.to_string(), "amqp://ltv:***@broker:5672/%2f");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

/// What a URL says, percent-decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlParts {
    /// Who asks.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The servers, in the order in which they are to be tried. None where the URL names none.
    pub hosts: Vec<UrlHost>,
    /// What comes after the `/`, if there is one.
    pub path: Option<String>,
    /// The parameters after the `?`, in their order.
    pub parameters: Vec<(String, String)>,
}

/// One of the servers that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlHost {
    /// Name or address, an IPv6 address without its brackets.
    pub name: String,
    /// The port, if it is given.
    pub port: Option<u16>,
}

/// Reports a text that is no URL, without showing any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a URL: characters such as / @ : # % in a password are written %2F %40 %3A %23 %25")]
pub struct NotAUrl;

impl ServerUrl {
    /// Shows the URL as it was given, password and all: for a driver or a child process, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Tells what stands before the `://`; nothing if that is no scheme.
    pub fn scheme(&self) -> &str {
        self.split().0
    }

    /// Reads what stands behind the `://`.
    ///
    /// The login ends at the last `@` before the `?`, so a password may hold characters that ought to be escaped.
    pub fn parts(&self) -> Result<UrlParts, NotAUrl> {
        let (_, rest) = self.split();
        let query_at = rest.find('?').unwrap_or(rest.len());
        let login_ends = rest[..query_at].rfind('@').or_else(|| rest.rfind('@'));
        let (login, place) = login_ends.map_or((None, rest), |at| (Some(&rest[..at]), &rest[at + 1..]));
        let (user, password) = match login {
            Some(login) => {
                login.split_once(':').map_or((Some(login), None), |(user, it)| (Some(user), Some(it)))
            }
            None => (None, None),
        };
        let place = Place::of(place);
        let parameter = |text: &str| {
            let (name, value) = text.split_once('=').filter(|(name, _)| is_name(name)).ok_or(NotAUrl)?;
            Ok((name.to_owned(), decoded(value)?))
        };
        Ok(UrlParts {
            user: user.map(decoded).transpose()?,
            password: password.map(decoded).transpose()?,
            hosts: place.hosts().map(UrlHost::read).collect::<Result<_, _>>()?,
            path: place.path.map(decoded).transpose()?,
            parameters: place.parameters().map(parameter).collect::<Result<_, _>>()?,
        })
    }

    /// Takes the scheme from the rest. What has other characters before its `://` is no scheme, but a password with
    /// `://` in it.
    fn split(&self) -> (&str, &str) {
        let is_scheme = |(scheme, _): &(&str, &str)| {
            scheme.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
        };
        self.0.split_once("://").filter(is_scheme).unwrap_or(("", &self.0))
    }
}

impl From<String> for ServerUrl {
    fn from(url: String) -> Self {
        Self(url.trim().to_owned())
    }
}

impl From<&str> for ServerUrl {
    fn from(url: &str) -> Self {
        Self(url.trim().to_owned())
    }
}

impl FromStr for ServerUrl {
    type Err = Infallible;

    fn from_str(url: &str) -> Result<Self, Infallible> {
        Ok(url.into())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.split();
        // Nobody knows what is what in a text without a scheme: a word alone, keywords, a URL in quotes.
        if scheme.is_empty() {
            return f.write_str(if rest.is_empty() { "" } else { "***" });
        }
        write!(f, "{scheme}://")?;
        let (login, place) =
            rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        if let Some(login) = login {
            // An `@` among the parameters: what comes behind it may be the end of a password.
            if login.contains(|c: char| c == '?' || c.is_whitespace()) || login.contains("password=") {
                return f.write_str("***");
            }
            // Without a colon it may be a password, and not a user.
            match login.split_once(':').filter(|(user, _)| is_harmless(user, "@")) {
                Some((user, _)) => write!(f, "{user}:***@")?,
                None => f.write_str("***@")?,
            }
        }
        Place::of(place).show(f)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shows nothing of it: what was read wrongly may hold the password anywhere.
impl fmt::Debug for UrlParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UrlParts { .. }")
    }
}

impl UrlHost {
    /// Whether this is the machine we are on: the way to it is nobody else's.
    pub fn is_near(&self) -> bool {
        is_near(&self.name)
    }

    fn read(text: &str) -> Result<Self, NotAUrl> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, rest) = rest.split_once(']').ok_or(NotAUrl)?;
                (name, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(NotAUrl)?) })
            }
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        let is_strange = |c: char| c.is_whitespace() || c.is_control() || "\"#<>@[\\]^`{|}".contains(c);
        if name.contains(is_strange) {
            return Err(NotAUrl);
        }
        let port = port.filter(|port| !port.is_empty()).map(|port| port.parse().map_err(|_| NotAUrl));
        Ok(Self { name: decoded(name)?, port: port.transpose()? })
    }
}

/// Whether a name or address is that of the machine we are on, or the path of a socket.
pub fn is_near(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host == "localhost" || host.starts_with('/') || address.is_ok_and(|address| address.is_loopback())
}

/// What stands behind the login, as it was written.
struct Place<'a> {
    authority: &'a str,
    path: Option<&'a str>,
    query: &'a str,
}

impl<'a> Place<'a> {
    fn of(text: &'a str) -> Self {
        let (before, query) = text.split_once('?').unwrap_or((text, ""));
        let (authority, path) =
            before.split_once('/').map_or((before, None), |(authority, path)| (authority, Some(path)));
        Self { authority, path, query }
    }

    fn hosts(&self) -> impl Iterator<Item = &'a str> {
        self.authority.split(',').filter(|host| !host.is_empty())
    }

    fn parameters(&self) -> impl Iterator<Item = &'a str> {
        self.query.split('&').filter(|parameter| !parameter.is_empty())
    }

    /// Shows what can be nothing else than it seems: what stands for a port may be a password whose host was forgotten,
    /// and behind a wrong separator anything may come.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.hosts().all(is_harmless_host) {
            return f.write_str("***");
        }
        f.write_str(self.authority)?;
        if let Some(path) = self.path {
            let shown = if is_harmless(path, "") { path } else { "***" };
            write!(f, "/{shown}")?;
        }
        for (number, parameter) in self.parameters().enumerate() {
            f.write_str(if number == 0 { "?" } else { "&" })?;
            let is_shown =
                |(name, value): &(&str, &str)| HARMLESS.contains(name) && is_harmless(value, ":,[]");
            match parameter.split_once('=').filter(is_shown) {
                Some((name, value)) => write!(f, "{name}={value}")?,
                None => f.write_str("***")?,
            }
        }
        Ok(())
    }
}

fn is_harmless_host(text: &str) -> bool {
    let Ok(UrlHost { name, port }) = UrlHost::read(text) else { return false };
    let is_address = text.starts_with('[');
    if name.is_empty() { port.is_none() } else { is_harmless(&name, if is_address { ":%" } else { "" }) }
}

/// Whether there is nothing in a text, decoded, but letters, digits, what joins them in names and paths, and some other
/// characters.
fn is_harmless(text: &str, others: &str) -> bool {
    let is_allowed = |c: char| c.is_alphanumeric() || "_-./".contains(c) || others.contains(c);
    decoded(text).is_ok_and(|text| text.chars().all(is_allowed))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_-.%".contains(c))
}

fn decoded(text: &str) -> Result<String, NotAUrl> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| NotAUrl)?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(url: &str) -> Result<UrlParts, NotAUrl> {
        ServerUrl::from(url).parts()
    }

    fn check_shown(url: &str, expected: &str) {
        assert_eq!(ServerUrl::from(url).to_string(), expected, "{url}");
    }

    #[test]
    fn a_password_is_never_shown() {
        check_shown("amqp://u:p@h", "amqp://u:***@h");
        check_shown("amqp://u:p@h:5672/%2f?heartbeat=5", "amqp://u:***@h:5672/%2f?heartbeat=5");
        check_shown("amqp://u:a/b@c:d@h", "amqp://u:***@h");
        check_shown("amqp://h:5672", "amqp://h:5672");
        check_shown("", "");
        check_shown(
            "postgres://u:p@h1:1,h2/d?sslmode=disable&x=p",
            "postgres://u:***@h1:1,h2/d?sslmode=disable&***",
        );
        check_shown("postgres://u:p@h?user=v&password=p&p", "postgres://u:***@h?user=v&***&***");
        check_shown("postgres://hunt@er2@h/d", "postgres://***@h/d");
        check_shown(
            "postgres://u:p@%2Fvar%2Frun,[fd00::1]:1/d",
            "postgres://u:***@%2Fvar%2Frun,[fd00::1]:1/d",
        );
    }

    #[test]
    fn a_password_whose_host_was_forgotten_is_not_shown_either() {
        check_shown("redis://:sesame", "redis://***");
        check_shown("redis://:12345", "redis://***");
        check_shown("redis://:ses#ame", "redis://***");
        check_shown("postgres://ltv:hunter2/ltv", "postgres://***");
        check_shown("postgres://ltv:hunter2?sslmode=disable", "postgres://***");
    }

    #[test]
    fn a_login_without_a_colon_may_be_a_password() {
        check_shown("redis://sesame@h", "redis://***@h");
        check_shown("postgres://ltv%3Ahunter2@h", "postgres://***@h");
        check_shown("redis://%3Asesame%40h", "redis://***");
    }

    #[test]
    fn a_password_among_the_parameters_is_not_shown_however_they_are_separated() {
        check_shown("postgres://u:p@h/d?password=hunt@er2", "postgres://***");
        check_shown("postgres://h/d?user=u&password=hunt@er2", "postgres://***");
        check_shown("postgres://h/d?host=h;password=p", "postgres://h/d?***");
        check_shown("postgres://h/d?user=u%26password=p", "postgres://h/d?***");
        check_shown("postgres://h/d&password=p", "postgres://h/***");
        check_shown("postgres://h/d&password=hunt@er2", "postgres://***");
        check_shown("postgres://h&password=p", "postgres://***");
    }

    #[test]
    fn of_a_text_without_a_scheme_nothing_is_shown() {
        check_shown("nonsense", "***");
        check_shown("u:p@h", "***");
        check_shown("host=h user=u password=hunt@er2", "***");
        check_shown("jdbc:postgresql://h/d?user=u&password=hunt@er2", "***");
        check_shown("\"postgres://u:p@h\"", "***");
        check_shown("hunter2://u@h", "***");
    }

    #[test]
    fn a_url_is_taken_apart_and_decoded() {
        let url = ServerUrl::from(
            "postgresql://l%74v:s%40cret@db-1:5433,[fd00::1]:5434,%2Ftmp/nig%68t?a=b%20c&d=\n",
        );

        let parts = url.parts().unwrap();

        assert_eq!(url.scheme(), "postgresql");
        assert_eq!((parts.user.as_deref(), parts.password.as_deref()), (Some("ltv"), Some("s@cret")));
        let host = |name: &str, port| UrlHost { name: name.into(), port };
        assert_eq!(parts.hosts, [host("db-1", Some(5433)), host("fd00::1", Some(5434)), host("/tmp", None)]);
        assert_eq!(parts.path.as_deref(), Some("night"));
        assert_eq!(parts.parameters, [("a".into(), "b c".into()), ("d".into(), String::new())]);
    }

    #[test]
    fn the_machine_we_are_on_is_told_from_others() {
        for near in ["localhost", "127.0.0.1", "127.8.9.10", "::1", "/var/run"] {
            assert!(is_near(near), "{near}");
        }
        for far in ["", "db", "localhost.example", "10.0.0.1", "fd00::1", "0.0.0.0", "127.0.0.1.example"] {
            assert!(!is_near(far), "{far}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        let parts = read("amqp://h").unwrap();

        assert_eq!((parts.user, parts.password, parts.path), (None, None, None));
        assert_eq!(parts.hosts, [UrlHost { name: "h".into(), port: None }]);
        assert_eq!(read("amqp://h/").unwrap().path.as_deref(), Some(""));
        assert_eq!(read("amqp:///d").unwrap().hosts, []);
    }

    #[test]
    fn a_password_with_characters_that_ought_to_be_escaped_is_read_whole() {
        let check = |url: &str, password: &str| {
            let parts = read(url).unwrap();
            assert_eq!(parts.password.as_deref(), Some(password), "{url}");
            assert_eq!(parts.hosts, [UrlHost { name: "h".into(), port: None }], "{url}");
        };

        check("postgres://u:hunt@er2@h/d", "hunt@er2");
        check("postgres://u:hunt/er2@h/d", "hunt/er2");
        check("postgres://u:hunt#er2@h/d?application_name=a@b", "hunt#er2");
        check("postgres://u:hunt?er2@h/d", "hunt?er2");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in
            ["a://h:70000", "a://h:port", "a://[::1", "a://[::1]x", "a://h h", "a://h?x", "a://u:%ff@h"]
        {
            assert_eq!(read(url), Err(NotAUrl), "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_and_read_or_refused(url in "(\\PC|[%/@:?#,\\[\\]=&0-9a-z]){0,40}") {
            let url = ServerUrl::from(url);

            let _ = (url.scheme().to_owned(), url.parts(), url.to_string());
        }

        #[test]
        fn no_password_is_shown_whatever_is_in_it(
            scheme in "(amqp://|amqps://|http://|)",
            before in "(\\PC|[%/@:?#]){0,10}",
            after in "(\\PC|[%/@:?#]){0,10}",
            place in "[a-z]{0,5}(:[0-9]{1,6})?(/[a-z]{0,3})?",
        ) {
            let url = ServerUrl::from(format!("{scheme}ltv:{before}s3cret{after}@{place}"));

            let shown = format!("{url} {url:?} {:?}", url.parts());

            prop_assert!(!shown.contains("s3cret"), "{} is shown as {shown}", url.expose());
        }
    }
}
