//! Requests and replies: the way there is the publisher's and the consumer's; here are the way back, and the reply.
//!
//! **One task of each requester owns a connection** with one queue on it: exclusive, so that nobody else reads it and it
//! goes with the connection; without acks; under a name drawn at random for each connection, so that a reply to a queue
//! that is gone reaches nobody. Replies are published to an exchange of their own, whose only queues are such ones.
//!
//! **Failure by failure.** What a waiter and an answerer see of each is told in `requests.rs`; here is why.
//!
//! - *The connection is lost* (the broker restarts, heartbeats stop): the task hears of it first, tells every waiter,
//!   and connects again for ever, with growing, jittered pauses.
//! - *It vanishes without a word*: heartbeats, twice their interval. Until then waiters have their own limit.
//! - *The queue of replies is deleted*: the broker cancels the consumer; the same as a lost connection.
//! - *The name is taken*, by whatever chance or mischief: the broker refuses to declare it, the next try has another.
//! - *The user may not make such a queue*: [`Error::Refused`], which names the right. It is tried for ever all the same.
//! - *The request is confirmed late, or never*: a reply proves that it arrived; otherwise asking ends after
//!   [`SEND_LIMIT`], [`Error::Unconfirmed`]. The breaker counts it, so a broker that has fallen silent costs this a few
//!   times, and then nothing.
//! - *A request says nonsense about where its reply goes*: no such queue, so whoever asked has left.
//! - *The broker takes no messages* on the answerer's connection (blocked, away, its breaker open): the reply is not
//!   sent, at once.
//! - *A reply's confirmation does not come*: the answerer goes on after [`SEND_LIMIT`].

use std::sync::Arc;
use std::time::Duration;

use batch::{Priority, RequestId};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Connection, Event};
use resilience::Delays;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::connection::{self, Link, No, ask, call, explain};
use super::consumer::Source;
use super::delivery::{RabbitMqDelivery, headers};
use super::job::Frame;
use super::publisher::Publisher;
use super::topology::{self, short};
use super::{PROVEN_AFTER, RabbitMq, RabbitMqConsumer, Settings, is_closing};
use crate::metrics::{self, ReplyFate, Target};
use crate::waiters::Waiters;
use crate::wire::{decode_reply, encode_reply};
use crate::{
    Asked, Delivery as _, Error, Message as _, OutgoingRequest, REQUEST_TTL, Replied, Requester, Requests,
    Waiting,
};

/// How long the confirmation of a request or a reply is waited for.
const SEND_LIMIT: Duration = Duration::from_secs(1);

impl Requests for RabbitMq {
    type Requester = RabbitMqRequester;
    type Server = RabbitMqConsumer<RequestId>;

    async fn requester(&self) -> Result<RabbitMqRequester, Error> {
        self.refuse_if_closed("listen for replies")?;
        let (settings, publisher) = (Arc::clone(&self.settings), self.publisher.clone());
        let (requester, listener, first_attempt) = RabbitMqRequester::start(settings, publisher);
        self.watch(&listener);
        // An error means that the task has ended, because the queue was closed.
        let _ = first_attempt.await;
        Ok(requester)
    }

    async fn serve(&self, prefetch: u16) -> Result<RabbitMqConsumer<RequestId>, Error> {
        self.consume_from(Source::Requests, &[Priority::Critical], prefetch)
    }
}

/// Asks over RabbitMQ.
#[derive(Clone, Debug)]
pub struct RabbitMqRequester {
    settings: Arc<Settings>,
    publisher: Publisher,
    waiters: Waiters,
    /// The task ends with its last clone.
    _stop: Arc<watch::Sender<bool>>,
}

impl RabbitMqRequester {
    /// Starts the task. The last part resolves when it has tried to connect once.
    fn start(settings: Arc<Settings>, publisher: Publisher) -> (Self, Arc<Waiters>, oneshot::Receiver<()>) {
        let waiters = Waiters::new(lost("still connecting to RabbitMQ"));
        let listener = Arc::new(waiters.clone());
        let (stop, stopping) = watch::channel(false);
        let (tried, first_attempt) = oneshot::channel();
        let task = Task {
            closing: publisher.closing(),
            stopping,
            settings: Arc::clone(&settings),
            waiters: Arc::clone(&listener),
        };
        tokio::spawn(task.run(tried));
        (Self { settings, publisher, waiters, _stop: Arc::new(stop) }, listener, first_attempt)
    }
}

impl Requester for RabbitMqRequester {
    async fn ask(&self, request: OutgoingRequest) -> Result<Waiting, Error> {
        let OutgoingRequest { request, left, trace } = request;
        let what = format!("ask for {}", request.name());
        let (mut waiting, way) = self.waiters.enter(request, &what)?;
        // Nothing left would still reach whoever takes it at once.
        let left = left.clamp(Duration::from_millis(1), REQUEST_TTL);
        let frame = Frame {
            what,
            target: Target::Requests,
            body: request.encode(self.settings.installation),
            properties: BasicProperties::default()
                .with_correlation_id(request.to_string().into())
                .with_expiration(left.as_millis().to_string().into())
                .with_reply_to(short(&way))
                .with_headers(headers(&trace)),
        };

        let published = tokio::select! {
            biased;
            published = self.publisher.publish_soon(SEND_LIMIT, frame) => published,
            // Told by the reply that it arrived, or that nobody will hear.
            _ = waiting.end() => return Ok(waiting),
        };
        match published {
            Ok(()) => Ok(waiting),
            Err(Error::Unroutable { what }) => {
                let reason = "its queue is not there, and is being declared again".into();
                Err(Error::Unavailable { what, reason })
            }
            Err(error) => Err(error),
        }
    }

    fn is_listening(&self) -> bool {
        self.waiters.is_open()
    }

    fn waiting(&self) -> usize {
        self.waiters.len()
    }
}

impl Asked for RabbitMqDelivery<RequestId> {
    async fn reply(&self) -> Replied {
        let (Ok(request), Some(way)) = (self.message(), self.reply_to()) else { return Replied::NotSent };
        let frame = Frame {
            what: format!("reply to {}", request.name()),
            target: Target::Reply(way.to_owned()),
            body: encode_reply(*request),
            properties: BasicProperties::default().with_correlation_id(request.to_string().into()),
        };
        match self.publisher().publish_soon(SEND_LIMIT, frame).await {
            Ok(()) => Replied::Sent,
            Err(Error::Unroutable { .. }) => Replied::Left,
            Err(error) => {
                tracing::debug!(%error, "reply not sent; whoever asked will look");
                Replied::NotSent
            }
        }
    }
}

/// Is the one task that owns a requester's connection.
struct Task {
    settings: Arc<Settings>,
    waiters: Arc<Waiters>,
    stopping: watch::Receiver<bool>,
    closing: watch::Receiver<bool>,
}

/// A connection on which replies come.
struct Session {
    connection: Connection,
    events: BoxStream<'static, Event>,
    replies: lapin::Consumer,
    way: String,
}

impl Task {
    async fn run(self, tried: oneshot::Sender<()>) {
        let mut tried = Some(tried);
        let mut delays = Delays::reconnect();
        let mut last_error = None;
        loop {
            let session = tokio::select! {
                session = establish(&self.settings) => session,
                () = self.is_stopping() => break,
            };
            let error = match session {
                Err(error) => error,
                Ok(session) => {
                    tracing::info!(url = %self.settings.url, "connected to RabbitMQ for replies");
                    metrics::connected("replies", true);
                    self.waiters.open(&session.way);
                    drop(tried.take());
                    let since = Instant::now();
                    let heard = self.hear(session).await;
                    metrics::connected("replies", false);
                    match heard {
                        Ok(()) => break,
                        Err(error) => {
                            // Before anything else: they wait for what cannot come.
                            self.waiters.lose(error.clone());
                            metrics::reconnect("replies");
                            if since.elapsed() >= PROVEN_AFTER {
                                delays.reset();
                            }
                            error
                        }
                    }
                }
            };

            log_down(last_error.as_ref(), &error);
            self.waiters.lose(error.clone());
            drop(tried.take());
            last_error = Some(error);
            tokio::select! {
                () = delays.pause() => {}
                () = self.is_stopping() => break,
            }
        }
        self.waiters.end(Link::Closed.refusal("").expect("a closed link refuses everything"));
    }

    /// Hears replies. Ends well when it is stopped, and with an error when none can come any more.
    async fn hear(&self, session: Session) -> Result<(), Error> {
        let Session { connection, mut events, mut replies, .. } = session;
        loop {
            tokio::select! {
                reply = replies.next() => match reply {
                    Some(Ok(reply)) => self.take(&reply),
                    Some(Err(error)) => return Err(lost(&explain(&error))),
                    None => return Err(lost("RabbitMQ cancelled the consumer of replies")),
                },
                event = events.next() => match event {
                    Some(Event::Error(error)) if !connection.status().connected() => {
                        return Err(lost(&explain(&error)));
                    }
                    Some(_) => {}
                    None => return Err(lost("the connection ended")),
                },
                () = self.is_stopping() => {
                    connection::close(&self.settings, &connection).await;
                    return Ok(());
                }
            }
        }
    }

    fn take(&self, reply: &Delivery) {
        let named = reply.properties.correlation_id().as_ref().map(ShortString::as_str);
        match decode_reply(&reply.data) {
            Ok(request) if named == Some(&request.to_string()) => {
                self.waiters.hear(request, Instant::now());
            }
            Ok(request) => {
                metrics::replies(ReplyFate::Malformed, 1);
                tracing::warn!(%request, named, "a reply says one request and is about another");
            }
            Err(malformed) => {
                metrics::replies(ReplyFate::Malformed, 1);
                tracing::warn!(%malformed, "a reply makes no sense");
            }
        }
    }

    async fn is_stopping(&self) {
        let (mut stopping, mut closing) = (self.stopping.clone(), self.closing.clone());
        tokio::select! {
            () = is_closing(&mut stopping) => {}
            () = is_closing(&mut closing) => {}
        }
    }
}

/// Makes a connection with a queue of its own, and consumes it.
async fn establish(settings: &Settings) -> Result<Session, Error> {
    topology::declare(settings).await?;
    let connection = connection::open(settings, "replies").await?;
    let events = connection.events_listener().boxed();
    let channel = call(settings, "open a channel", connection.create_channel()).await?;

    let way = format!("{}.{:016x}", settings.names.replies(), rand::random::<u64>());
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(LongString::from("classic")));
    let declaring = channel.queue_declare(short(&way), options, arguments);
    let declared = ask(settings, "declare a queue for replies", declaring).await;
    declared.map_err(|no| may_not(settings, &way, no))?;
    let binding = channel.queue_bind(
        short(&way),
        short(&settings.names.replies()),
        short(&way),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    let bound = ask(settings, "bind a queue for replies", binding).await;
    bound.map_err(|no| may_not(settings, &way, no))?;
    let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..Default::default() };
    let consuming =
        channel.basic_consume(short(&way), ShortString::default(), options, FieldTable::default());
    let consumed = ask(settings, "consume replies", consuming).await;
    let replies = consumed.map_err(|no| may_not(settings, &way, no))?;
    Ok(Session { connection, events, replies, way })
}

/// Says which right is lacking, and not the name of this time, so that it is told once.
fn may_not(settings: &Settings, way: &str, no: No) -> Error {
    let replies = settings.names.replies();
    let any = format!("{replies}.*");
    match no.for_want_of(&format!("configure, write to and read from {any}, and to read from {replies}")) {
        Error::Refused { what, reason } => Error::Refused { what, reason: reason.replace(way, &any) },
        error => error,
    }
}

fn lost(reason: &str) -> Error {
    Error::Unavailable { what: "listen for replies".into(), reason: reason.to_owned() }
}

/// Logs a loss once, not every attempt to mend it.
fn log_down(before: Option<&Error>, error: &Error) {
    if before == Some(error) {
        tracing::debug!(%error, "still cannot hear replies from RabbitMQ");
    } else if error.is_transient() {
        tracing::warn!(%error, "cannot hear replies from RabbitMQ, trying again");
    } else {
        tracing::error!(%error, "cannot hear replies from RabbitMQ until somebody mends this, trying again");
    }
}
