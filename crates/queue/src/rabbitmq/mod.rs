//! The backend on RabbitMQ. AMQP is known here and nowhere else.
//!
//! Several connections, because what ails one must not ail the others: one to publish (the broker may block it), one
//! to consume for each consumer, one for the replies to each requester, and one to look at the queues; and one that lives
//! no longer than it takes to declare them. Each is made again when it is lost, by us and not by lapin, whose recovery
//! keeps what belongs to the old connection and gives up after a while.
//!
//! | file | what it tells |
//! |---|---|
//! | `topology` | the queues |
//! | `publisher`, `flight`, `ledger` | how a message gets to them, and how we know |
//! | `consumer`, `feeds`, `losses`, `delivery` | how it comes from them, and how it ends |
//! | `requests` | the way back to who asked |
//! | `control` | looking at them |
//! | `config`, `url`, `connection` | the broker, its address, its errors |
//! | `transport`, `sieve` | the way there, and what lapin gets to read of what comes |

mod config;
mod connection;
mod consumer;
mod control;
mod delivery;
mod feeds;
mod flight;
mod job;
mod ledger;
mod losses;
mod publisher;
mod requests;
mod sieve;
mod topology;
mod transport;
mod url;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use batch::{InstallationId, PerPriority, Priority};
use lapin::BasicProperties;
use resilience::{Breaker, InvalidConfig, Name};
use tokio::sync::watch;

pub use config::RabbitMqConfig;
pub use consumer::RabbitMqConsumer;
pub use delivery::RabbitMqDelivery;
pub use requests::RabbitMqRequester;
pub use topology::Names;

use self::config::Settings;
use self::connection::Link;
use self::consumer::Source;
use self::control::Control;
use self::feeds::Feeds;
use self::job::Frame;
use self::publisher::Publisher;
use crate::metrics::Target;
use crate::waiters::Waiters;
use crate::{Chunks, Connection, DeadLetters, DeadMessage, Error, Message, Outgoing};

/// A connection that lasted this long has proved itself: the next pause is the shortest again, and the next loss is told.
const PROVEN_AFTER: Duration = Duration::from_secs(10);

/// A queue that seems deleted is declared again no sooner: until the broker has told its consumers, a new queue of
/// the same name leaves them hanging.
const DELETION_SETTLES: Duration = Duration::from_secs(1);

/// A log's filter without what lapin calls an error each time that a channel is closed. It returns the same error to us,
/// who know whether it is one: that a queue may not be made, and is there, is none. Who names lapin hears it.
pub fn quietened(filter: &str) -> String {
    match filter {
        "" => quietened("info"),
        filter if filter.contains("lapin") => filter.to_owned(),
        filter => format!("{filter},lapin::channel=off"),
    }
}

/// Is the queues on RabbitMQ. A clone is another handle to the same connections.
#[derive(Clone, Debug)]
pub struct RabbitMq {
    settings: Arc<Settings>,
    publisher: Publisher,
    control: Arc<Control>,
    listeners: Arc<Mutex<Vec<Weak<dyn Listener>>>>,
}

/// Something that is listened to, for as long as it is not over.
trait Listener: fmt::Debug + Send + Sync {
    fn is_over(&self) -> bool;

    /// Why not everything is as it should be, if so.
    fn trouble(&self) -> Option<String>;
}

impl Listener for Feeds {
    fn is_over(&self) -> bool {
        Feeds::is_over(self)
    }

    fn trouble(&self) -> Option<String> {
        Feeds::trouble(self)
    }
}

impl Listener for Waiters {
    fn is_over(&self) -> bool {
        Waiters::is_over(self)
    }

    fn trouble(&self) -> Option<String> {
        Waiters::trouble(self)
    }
}

impl RabbitMq {
    /// Begins to connect, and returns when the first attempt has ended, well or not.
    ///
    /// A broker that is away is no error here: it is tried again in the background, and calls answer
    /// [`Error::Unavailable`] until it is there. Only a configuration that cannot work is an error.
    pub async fn connect(config: RabbitMqConfig) -> Result<Self, InvalidConfig> {
        let settings = Arc::new(Settings::read(&config)?);
        let name = Name { dependency: "rabbitmq", role: config.role };
        let breaker = Breaker::new(name, config.breaker)?;
        let publisher = Publisher::start(Arc::clone(&settings), breaker);
        publisher.first_attempt().await;

        let control = Arc::new(Control::new(Arc::clone(&settings)));
        Ok(Self { settings, publisher, control, listeners: Arc::default() })
    }

    /// Connects, or says in one line why not: for commands, which would rather end than wait.
    pub async fn connect_now(config: RabbitMqConfig) -> Result<Self, Error> {
        let queue = Self::connect(config).await?;
        match queue.publisher.link() {
            Link::Down(Error::Unavailable { reason, .. }) => {
                let what = format!("RabbitMQ at {} is not reachable", queue.settings.url);
                let reason = format!("{reason}; start it, or correct its URL");
                Err(Error::Unavailable { what, reason })
            }
            Link::Down(error) => Err(error),
            Link::Connecting | Link::Up | Link::Blocked(_) | Link::Closed => Ok(queue),
        }
    }

    /// Resolves when the broker takes no messages at present (low on memory, low on disk), to its reason. It says so to
    /// who publishes, and not before.
    pub async fn blocked(&self) -> String {
        self.publisher.blocked().await
    }

    /// The breaker in front of publishing.
    pub fn breaker(&self) -> &Breaker {
        self.publisher.breaker()
    }

    /// Publishes any bytes to a queue: for tests and drills that need garbage.
    #[doc(hidden)]
    pub async fn publish_raw(&self, priority: Priority, body: Vec<u8>) -> Result<(), Error> {
        let target = Target::Queue(priority);
        let what = format!("publish raw bytes to {priority}");
        self.publisher.publish_one(Frame { what, target, body, properties: BasicProperties::default() }).await
    }

    /// Publishes any bytes to the queue of requests, with nobody to reply to: for tests.
    #[doc(hidden)]
    pub async fn publish_raw_request(&self, body: Vec<u8>) -> Result<(), Error> {
        let (what, target) = ("publish a raw request".into(), Target::Requests);
        self.publisher.publish_one(Frame { what, target, body, properties: BasicProperties::default() }).await
    }

    /// Deletes the queue of requests with what is in it: for tests.
    #[doc(hidden)]
    pub async fn delete_requests(&self) -> Result<(), Error> {
        let queue = self.settings.names.requests();
        topology::delete_queue(&self.settings, &*self.control.connection().await?, &queue).await
    }

    /// Deletes all queues and exchanges of the prefix with what is in them: for tests.
    #[doc(hidden)]
    pub async fn delete_topology(&self) -> Result<(), Error> {
        topology::delete(&self.settings, &*self.control.connection().await?).await
    }

    /// Deletes one queue with what is in it: for tests and drills.
    #[doc(hidden)]
    pub async fn delete_queue(&self, priority: Priority) -> Result<(), Error> {
        let queue = self.settings.names.queue(priority);
        topology::delete_queue(&self.settings, &*self.control.connection().await?, &queue).await
    }

    /// Begins to consume, unless the queue was closed.
    fn consume_from<M: Message>(
        &self,
        source: Source,
        priorities: &[Priority],
        prefetch: u16,
    ) -> Result<RabbitMqConsumer<M>, Error> {
        self.refuse_if_closed("consume")?;
        let (settings, publisher) = (Arc::clone(&self.settings), self.publisher.clone());
        let (consumer, feeds) = RabbitMqConsumer::start(settings, publisher, source, priorities, prefetch);
        self.watch(&feeds);
        Ok(consumer)
    }

    fn refuse_if_closed(&self, call: &str) -> Result<(), Error> {
        match self.publisher.link() {
            Link::Closed => Err(job::closed(call)),
            _ => Ok(()),
        }
    }

    /// Counts a listener in when it is asked whether all is well.
    fn watch<L: Listener + 'static>(&self, listener: &Arc<L>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.upgrade().is_some_and(|listener| !listener.is_over()));
        let listener: Weak<L> = Arc::downgrade(listener);
        listeners.push(listener);
    }

    /// Why nothing can be asked of the broker now, if so.
    fn outage(&self, call: &str) -> Option<Error> {
        match self.publisher.link() {
            Link::Blocked(_) => None,
            link => link.refusal(call),
        }
    }
}

impl Chunks for RabbitMq {
    type Consumer = RabbitMqConsumer;

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        if messages.is_empty() {
            return Vec::new();
        }
        let frame = |outgoing| frame(outgoing, self.settings.installation);
        self.publisher.publish(messages.iter().map(frame).collect()).await
    }

    async fn consume(&self, priorities: &[Priority], prefetch: u16) -> Result<RabbitMqConsumer, Error> {
        self.consume_from(Source::Chunks, priorities, prefetch)
    }

    async fn waiting(&self) -> PerPriority<Option<u64>> {
        match self.outage("count messages") {
            Some(_) => PerPriority::from_fn(|_| None),
            None => self.control.waiting().await,
        }
    }
}

impl DeadLetters for RabbitMq {
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadMessage>, Error> {
        match self.outage("look at the dead letters") {
            Some(error) => Err(error),
            None => self.control.dead_letters(limit).await,
        }
    }

    async fn discard_dead_letters(&self) -> Result<u32, Error> {
        match self.outage("discard the dead letters") {
            Some(error) => Err(error),
            None => self.control.discard_dead_letters().await,
        }
    }
}

impl Connection for RabbitMq {
    fn trouble(&self) -> Option<String> {
        let of_publishing = match self.publisher.link() {
            Link::Up => None,
            Link::Connecting => Some("not connected yet".to_owned()),
            Link::Blocked(reason) => Some(format!("takes no messages at present: {reason}")),
            Link::Down(error) => Some(error.to_string()),
            Link::Closed => Some("closed".to_owned()),
        };
        of_publishing.or_else(|| {
            let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.iter().filter_map(Weak::upgrade).find_map(|listener| listener.trouble())
        })
    }

    async fn close(&self) {
        self.publisher.close().await;
        self.control.close().await;
    }
}

fn frame(outgoing: &Outgoing, from: InstallationId) -> Frame {
    let Outgoing { priority, message, trace } = outgoing;
    let batch::ChunkRef { run, chunk } = message.chunk;
    // Names it for people who look into a queue; duplicates are the store's to recognise.
    let id = format!("{run}/{chunk}/{}", message.attempt);
    Frame {
        what: format!("publish {}", message.name()),
        target: Target::Queue(*priority),
        body: message.encode(from),
        properties: BasicProperties::default()
            .with_message_id(id.into())
            .with_headers(delivery::headers(trace)),
    }
}

/// Waits until somebody says so, or nobody is left to say it.
async fn is_closing(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|is_set| *is_set).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_heard_by_who_names_it() {
        assert_eq!(quietened("warn,worker=debug"), "warn,worker=debug,lapin::channel=off");
        assert_eq!(quietened(""), "info,lapin::channel=off");
        assert_eq!(quietened("info,lapin=debug"), "info,lapin=debug");
    }

    #[tokio::test]
    async fn a_url_that_would_be_misread_is_refused_at_once() {
        let refused = RabbitMq::connect(RabbitMqConfig::new("amqp://u:secret@localhost/", "test")).await;

        assert!(matches!(refused, Err(InvalidConfig { field: "url", .. })));
    }

    #[tokio::test]
    async fn a_broker_that_is_away_is_no_error_at_the_start_but_calls_fail_at_once() {
        // Nothing listens on port 1.
        let queue =
            RabbitMq::connect(RabbitMqConfig::new("amqp://u:secret@127.0.0.1:1", "test")).await.unwrap();

        let result = queue.publisher.publish_one(frame(&outgoing(), InstallationId(1))).await;

        let error = result.unwrap_err();
        assert!(error.is_transient());
        assert_eq!(error.to_string(), "publish chunk 1 of run 1: connection refused");
        assert!(!queue.ready());
        assert_eq!(queue.waiting().await, PerPriority::from_fn(|_| None));
        queue.close().await;
        assert!(queue.consume(&Priority::ALL, 1).await.is_err());
    }

    #[tokio::test]
    async fn a_command_hears_in_one_line_what_is_wrong() {
        let config = RabbitMqConfig::new("amqp://u:secret@127.0.0.1:1", "test");

        let error = RabbitMq::connect_now(config).await.unwrap_err();

        assert_eq!(
            error.to_string(),
            "RabbitMQ at amqp://u:***@127.0.0.1:1 is not reachable: connection refused; start it, or correct its URL"
        );
    }

    fn outgoing() -> Outgoing {
        let chunk = batch::ChunkRef { run: batch::RunId(1), chunk: batch::ChunkId(1) };
        Outgoing {
            priority: Priority::Normal,
            message: batch::AttemptId { chunk, attempt: batch::Attempt(0) },
            trace: crate::TraceContext::default(),
        }
    }
}
