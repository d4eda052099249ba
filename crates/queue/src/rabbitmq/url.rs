//! The address of the broker: checked before lapin reads it, and shown without its password.
//!
//! lapin reads two addresses as something else without a word: `amqp://[fd00::1]` as localhost, and
//! `amqp://host/` as the virtual host with the empty name, which nobody has. Both are refused here.

use std::time::Duration;

use lapin::uri::AMQPUri;

use crate::Error;

/// Shows a URL without its password: `amqp://ltv:***@broker:5672`.
///
/// Everything up to the last `@` is taken as user and password, so that a password with an unescaped `/` or `@`
/// in it is hidden as well.
///
/// ```
/// assert_eq!(queue::redacted("amqp://ltv:secret@broker:5672/%2f"), "amqp://ltv:***@broker:5672/%2f");
/// ```
pub fn redacted(url: &str) -> String {
    // What has other characters before its :// is no scheme, but a password with :// in it.
    let is_scheme = |(scheme, _): &(&str, &str)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (scheme, rest) = url.split_once("://").filter(is_scheme).unwrap_or(("", url));
    let Some((login, place)) = rest.rsplit_once('@') else { return url.to_owned() };
    let user = login.split(':').next().unwrap_or_default();
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{user}:***@{place}")
}

/// Reads a URL.
pub(super) fn parse(url: &str, heartbeat: Duration, connect_timeout: Duration) -> Result<AMQPUri, Error> {
    let refuse = |problem: &str| {
        let shown = redacted(url);
        Err(Error::Configuration(format!("RabbitMQ URL {shown}: {problem}")))
    };

    let Some((scheme, rest)) = url.split_once("://") else {
        return refuse("expected amqp://user:password@host:port");
    };
    match scheme {
        "amqp" => {}
        "amqps" => return refuse("TLS is not built in: use amqp://, and a tunnel or service mesh"),
        _ => return refuse("the scheme must be amqp"),
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.starts_with('[') {
        return refuse("an IPv6 address would be read as localhost: use a host name");
    }
    if host.is_empty() || host.starts_with(':') {
        return refuse("the host is missing");
    }
    if path == "/" || path.starts_with("/?") {
        return refuse("the virtual host is empty: leave the last / away for the default one, or write /%2f");
    }

    // lapin's own words are not shown: they may quote the URL.
    let Ok(mut uri) = url.parse::<AMQPUri>() else {
        return refuse(
            "not a URL: characters such as / @ : # % in a password are written %2F %40 %3A %23 %25",
        );
    };
    uri.query.heartbeat.get_or_insert(heartbeat.as_secs().clamp(1, u16::MAX.into()) as u16);
    uri.query.connection_timeout.get_or_insert(connect_timeout.as_millis() as u64);
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(url: &str) -> Result<AMQPUri, String> {
        parse(url, Duration::from_secs(10), Duration::from_secs(5)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_password_is_never_shown() {
        let check = |url: &str, expected: &str| assert_eq!(redacted(url), expected);

        check("amqp://u:p@h", "amqp://u:***@h");
        check("amqp://u:p@h:5672/%2f?heartbeat=5", "amqp://u:***@h:5672/%2f?heartbeat=5");
        check("amqp://u:a/b@c:d@h", "amqp://u:***@h");
        check("amqp://h:5672", "amqp://h:5672");
        check("u:p@h", "u:***@h");
        check("nonsense", "nonsense");
        check("", "");
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

            let shown = redacted(&url);
            let error = read(&url).err().unwrap_or_default();

            prop_assert!(!shown.contains("s3cret"), "{url} is shown as {shown}");
            prop_assert!(!error.contains("s3cret"), "{url}: {error}");
        }
    }
}
