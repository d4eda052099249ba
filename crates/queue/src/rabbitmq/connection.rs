//! One connection to the broker: how it is made, which state it is in, and what lapin's errors mean here.
//!
//! **Failure by failure.**
//!
//! - *The broker refuses the port*: the connect fails at once, and whoever owns the connection tries again.
//! - *It accepts and says nothing* (a frozen broker, a proxy without a backend): the connect ends at its limit.
//!   lapin's thread stays until that socket ends, which nothing in its interface can force; tries come at most
//!   every few seconds, so these threads are few.
//! - *The way cannot be secured*: the connect fails, and what is wrong is told with who mends it. Certificates and the
//!   password are read anew for each try.
//! - *It vanishes without a word* (power, network): heartbeats. Nothing heard for twice the interval is a loss.
//! - *A login, a right, a virtual host is wrong*: [`Error::Refused`], which a person must mend. The owner goes on
//!   trying all the same, because the mending may happen at the broker.

use std::fmt::Write as _;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use resilience::within;
use tokio::sync::watch;

use super::{Settings, transport};
use crate::{DELIVERY_LIMIT, Error, metrics};

/// Hangs up with this code when nothing is wrong.
const NORMAL_CLOSE: u16 = 200;

/// The state of a connection, as its owner reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// The first attempt is under way.
    Connecting,
    /// It works.
    Up,
    /// It works, but the broker takes no messages on it, for this reason.
    Blocked(String),
    /// It does not, and is being made again.
    Down(Error),
    /// It was closed on purpose.
    Closed,
}

impl Link {
    /// Why nothing can be published now, if so. `call` names what was asked.
    pub(super) fn refusal(&self, call: &str) -> Option<Error> {
        let unavailable = |reason: &str| Error::Unavailable { what: call.into(), reason: reason.into() };
        match self {
            Self::Up => None,
            Self::Blocked(reason) => Some(Error::Blocked { what: call.into(), reason: reason.clone() }),
            Self::Connecting => Some(unavailable("still connecting to RabbitMQ")),
            Self::Down(error) => Some(error.clone().of(call)),
            Self::Closed => Some(unavailable("the queue was closed")),
        }
    }
}

/// Tells the others and the metrics which state the publishing connection is in.
pub(super) fn report(link: &watch::Sender<Link>, state: Link) {
    metrics::connected("publish", matches!(state, Link::Up | Link::Blocked(_)));
    metrics::blocked(matches!(state, Link::Blocked(_)));
    link.send_replace(state);
}

/// Connects once, within the limit. `purpose` is what an operator sees in the list of connections.
pub(super) async fn open(settings: &Settings, purpose: &str) -> Result<Connection, Error> {
    let what = format!("connect to RabbitMQ at {}", settings.url);
    let name = format!("ltv {} {purpose}", settings.role);
    // No recovery by lapin: it would keep what belongs to the old connection, and gives up after a while.
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let uri = settings.place.uri();
    let uri = uri.map_err(|reason| Error::Unavailable { what: what.clone(), reason })?;
    let connecting = transport::connect(uri, settings.place.tls.as_ref(), properties);

    match within(settings.connect_limit, &what, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(match translate(&what, &error) {
            Error::Unavailable { what, reason } => {
                let reason = reason + hint(&error, settings.place.tls.is_some());
                Error::Unavailable { what, reason }
            }
            refused => refused,
        }),
        Err(elapsed) => {
            let reason = format!("no answer within {} s", elapsed.limit.as_secs_f64());
            Err(Error::Unavailable { what, reason })
        }
    }
}

/// What a broker may have meant that hung up, or spoke of something else, before it was known who we are.
fn hint(error: &lapin::Error, is_secured: bool) -> &'static str {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let hung_up = match error.kind() {
        ErrorKind::IOError(io) => {
            tls::explain(&**io).is_none()
                && [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&io.kind())
        }
        ErrorKind::ParsingError(_) => true,
        _ => false,
    };
    match (hung_up, is_secured) {
        (false, _) => "",
        (true, true) => "; if it wants a certificate of ours, name it, sslcert=FILE and sslkey=FILE",
        (true, false) => "; if it speaks TLS here, write amqps://",
    }
}

/// Opens a channel.
pub(super) async fn open_channel(settings: &Settings, connection: &Connection) -> Result<Channel, Error> {
    call(settings, "open a channel", connection.create_channel()).await
}

/// Hangs up and waits for it, not for long.
pub(super) async fn close(settings: &Settings, connection: &Connection) {
    let closing = connection.close(NORMAL_CLOSE, "OK".into());
    if let Ok(Err(error)) = within(settings.call_limit, "close", closing).await {
        tracing::debug!(%error, "connection to RabbitMQ was gone before it was closed");
    }
}

/// Runs one call to the broker within the limit.
pub(super) async fn call<T>(
    settings: &Settings,
    what: &str,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Error> {
    ask(settings, what, call).await.map_err(|no| no.error)
}

/// What the broker answered that was not yes, for callers who go on differently after one no or another.
pub(super) struct No {
    pub(super) error: Error,
    kind: Option<AMQPErrorKind>,
}

impl No {
    pub(super) fn of(what: &str, error: &lapin::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::ProtocolError(protocol) => Some(protocol.kind().clone()),
            _ => None,
        };
        Self { error: translate(what, error), kind }
    }

    /// The user lacks a right.
    pub(super) fn is_refused(&self) -> bool {
        self.kind == Some(AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED))
    }

    /// The error. Where a right is lacking it says which, as in "read ltv.normal".
    pub(super) fn for_want_of(self, right: &str) -> Error {
        match self {
            no if no.is_refused() => no.with(&format!(
                ". Give the user the right to {right} (`rabbitmqctl set_permissions`, docs/grants.md)"
            )),
            no => no.error,
        }
    }

    /// What only a person can mend, with how.
    pub(super) fn with(self, mend: &str) -> Error {
        match self.error {
            Error::Refused { what, reason } | Error::Unavailable { what, reason } => {
                Error::Refused { what, reason: reason + mend }
            }
            error => error,
        }
    }

    /// There is nothing of that name.
    pub(super) fn is_missing(&self) -> bool {
        self.kind == Some(AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
    }

    /// There is something of that name already, of another kind or for one connection alone; or nothing more may be
    /// made.
    pub(super) fn is_taken(&self) -> bool {
        use AMQPSoftError::{PRECONDITIONFAILED, RESOURCELOCKED};
        [PRECONDITIONFAILED, RESOURCELOCKED].map(|kind| Some(AMQPErrorKind::Soft(kind))).contains(&self.kind)
    }
}

/// As [`call`], with what kind of no it was.
pub(super) async fn ask<T>(
    settings: &Settings,
    what: &str,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, No> {
    match within(settings.call_limit, what, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(No::of(what, &error)),
        Err(elapsed) => {
            let reason = format!("no answer from RabbitMQ within {} s", elapsed.limit.as_secs_f64());
            Err(No { error: Error::Unavailable { what: elapsed.what, reason }, kind: None })
        }
    }
}

/// Says what an error of lapin's means to us.
pub(super) fn translate(what: &str, error: &lapin::Error) -> Error {
    let what = what.to_owned();
    let reason = explain(error);
    match error.kind() {
        ErrorKind::ProtocolError(protocol) => match protocol.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED | AMQPSoftError::PRECONDITIONFAILED)
            | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => Error::Refused { what, reason },
            _ => Error::Unavailable { what, reason },
        },
        _ => Error::Unavailable { what, reason },
    }
}

/// Says in a few words what went wrong, the broker's own where it gave any.
pub(super) fn explain(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(protocol) => format!("RabbitMQ said: {}", protocol.get_message()),
        ErrorKind::IOError(io) => {
            if let Some(meaning) = tls::explain(&**io) {
                return meaning;
            }
            // "Connection refused (os error 111)": the number helps nobody.
            let text = io.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            let mut chars = text.chars();
            let mut lower = String::with_capacity(text.len());
            if let Some(first) = chars.next() {
                let _ = write!(lower, "{}{}", first.to_lowercase(), chars.as_str());
            }
            lower
        }
        ErrorKind::InvalidConnectionState(_)
        | ErrorKind::InvalidChannelState(..)
        | ErrorKind::InvalidChannel(_) => "the connection to RabbitMQ is gone".to_owned(),
        ErrorKind::ParsingError(_) => format!(
            "what RabbitMQ sent cannot be read. If it was a message, it comes again, up to {DELIVERY_LIMIT} times, and \
             is then among the dead letters. It cannot be listed there: RabbitMQ's management page shows it, and `ltv \
             dead-letters discard` throws it away with all the others"
        ),
        _ => error.to_string(),
    }
}

/// Says whether a call failed before anything of it was sent.
pub(super) fn is_unsent(error: &lapin::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidConnectionState(_)
            | ErrorKind::InvalidChannelState(..)
            | ErrorKind::InvalidChannel(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_cannot_publish_says_why_and_names_the_call() {
        let check = |link: &Link, expected: Option<&str>| {
            let refusal = link.refusal("publish chunk 3 of run 7").map(|error| error.to_string());
            assert_eq!(refusal.as_deref(), expected);
        };
        let down = Error::Unavailable { what: "connect".into(), reason: "connection refused".into() };

        check(&Link::Up, None);
        check(&Link::Connecting, Some("publish chunk 3 of run 7: still connecting to RabbitMQ"));
        check(&Link::Down(down), Some("publish chunk 3 of run 7: connection refused"));
        check(&Link::Closed, Some("publish chunk 3 of run 7: the queue was closed"));
        check(
            &Link::Blocked("low on memory".into()),
            Some("publish chunk 3 of run 7: RabbitMQ takes no messages at present: low on memory"),
        );
    }

    #[test]
    fn every_refusal_but_a_broker_that_refuses_us_is_transient() {
        let refused = Error::Refused { what: "connect".into(), reason: "login refused".into() };
        let is_transient = |link: Link| link.refusal("publish").unwrap().is_transient();

        assert!(is_transient(Link::Connecting));
        assert!(is_transient(Link::Blocked("low on disk".into())));
        assert!(!is_transient(Link::Down(refused)));
    }

    #[test]
    fn a_broker_that_hangs_up_at_once_may_want_the_way_secured_otherwise() {
        let error = |kind: std::io::ErrorKind| lapin::Error::from(std::io::Error::from(kind));
        let reset = error(std::io::ErrorKind::ConnectionReset);

        assert!(hint(&reset, true).contains("sslcert=FILE and sslkey=FILE"));
        assert!(hint(&reset, false).contains("write amqps://"));
        assert_eq!(hint(&error(std::io::ErrorKind::ConnectionRefused), false), "");
    }

    #[test]
    fn what_lapin_cannot_read_is_told_with_what_becomes_of_it() {
        let unreadable = amq_protocol::frame::parse_frame(&b"HTTP/1.1"[..]).unwrap_err();

        let told = explain(&ErrorKind::ParsingError(unreadable).into());

        assert!(told.contains("`ltv dead-letters discard`") && !told.contains("Nom"), "{told}");
    }

    #[test]
    fn an_io_error_reads_like_a_sentence_of_ours() {
        let refused = std::io::Error::from_raw_os_error(111);

        assert_eq!(explain(&lapin::Error::from(refused)), "connection refused");
    }
}
