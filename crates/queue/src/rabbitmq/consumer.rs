//! Consuming: feeds, one for each priority that was asked for, into one inbox from which what is urgent is taken first (`arrivals.rs`).
//!
//! **Terms.** A *feed* is a channel with a prefetch and one consumer. The *inbox* holds what has come and was not
//! taken. A delivery is *stale* when the channel it came on is gone.
//!
//! **One task owns the connection**, sets up the feeds, and does so again whatever ends. The prefetch is set on
//! the new channel before it consumes: forgotten once, one worker would swallow a whole queue. It counts what is
//! in the inbox or taken and not settled, for each priority.
//!
//! **Failure by failure.**
//!
//! - *The connection is lost* (also when the broker restarts, or heartbeats stop): the inbox is emptied, all of it
//!   is stale and comes again. What was taken is stale as well: its ack is not sent, the chunk is found settled
//!   when it comes again. The connection is made again for ever, with growing, jittered pauses.
//! - *A channel is closed by the broker* (an ack that took longer than its time-out, 406): only this feed is set
//!   up again, the others go on.
//! - *The stream ends on a healthy connection* (the queue was deleted, or its leader moved): as before, and the
//!   topology is declared again first. Without this the worker would live on and never get another message.
//! - *The queue was deleted and declared again within milliseconds*: the broker (seen with 3.10) takes the new
//!   queue for the old one, does not cancel our consumer, and hands it messages that never leave the broker. Two
//!   answers: nobody here declares a queue again before [`DELETION_SETTLES`] has passed, and a feed that has been
//!   silent for [`RENEW_AFTER`] is set up afresh although nothing seems wrong, which frees such messages.
//! - *One queue may not be read*: its feed is tried again for ever, and told as an error once. The others go on.
//! - *The broker is away when consuming begins*: the same as when it is lost later.
//! - *A taker stops waiting* ([`next`](crate::Consumer::next) is dropped): what comes stays in the inbox.
//! - *Stop*: each feed cancels its consumer, hears out what was on its way, and the inbox is given back. Channels
//!   live until the last delivery taken from them is settled; then they close, and the connection with them.
//! - *The consumer is dropped without stop*: the same, in the background.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{AttemptId, PerPriority, Priority};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Event};
use resilience::within;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connection::{self, ask, call, explain, open_channel};
use super::delivery::RabbitMqDelivery;
use super::feeds::Feeds;
use super::losses::Losses;
use super::publisher::Publisher;
use super::topology::{self, Names, short};
use super::{DELETION_SETTLES, Settings, is_closing};
use crate::arrivals::Arrivals;
use crate::metrics::{self, Target};
use crate::{Consumer, Delivery, Error, Message};

/// A feed to which nothing came for so long, and with nothing to settle, is set up afresh.
const RENEW_AFTER: Duration = Duration::from_secs(30);

/// What a consumer is fed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Chunks,
    /// They have one queue; all of them are critical.
    Requests,
}

impl Source {
    pub(super) fn queue(self, names: &Names, priority: Priority) -> String {
        match self {
            Self::Chunks => names.queue(priority),
            Self::Requests => names.requests(),
        }
    }

    fn target(self, priority: Priority) -> Target {
        match self {
            Self::Chunks => Target::Queue(priority),
            Self::Requests => Target::Requests,
        }
    }
}

/// Consumes chunks, or requests, from RabbitMQ.
#[derive(Debug)]
pub struct RabbitMqConsumer<M = AttemptId> {
    inbox: Arc<Inbox<M>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl<M: Message> RabbitMqConsumer<M> {
    /// Starts the task.
    pub(super) fn start(
        settings: Arc<Settings>,
        publisher: Publisher,
        source: Source,
        priorities: &[Priority],
        prefetch: u16,
    ) -> (Self, Arc<Feeds>) {
        let inbox = Arc::new(Inbox::default());
        let feeds = Arc::new(Feeds::of(priorities));
        let (stop, stopping) = watch::channel(false);
        let task = Task {
            closing: publisher.closing(),
            settings,
            publisher,
            source,
            // 0 would mean no bound at all.
            prefetch: prefetch.max(1),
            inbox: Arc::clone(&inbox),
            feeds: Arc::clone(&feeds),
            stopping,
        };
        let task = tokio::spawn(task.run());
        (Self { inbox, stop, task }, feeds)
    }

    /// Counts what has come and was not taken: for tests.
    #[doc(hidden)]
    pub fn arrived(&self) -> PerPriority<usize> {
        let state = self.inbox.lock();
        PerPriority::from_fn(|priority| state.waiting.count(priority))
    }
}

impl<M: Message> Consumer for RabbitMqConsumer<M> {
    type Delivery = RabbitMqDelivery<M>;

    async fn next(&mut self) -> Option<RabbitMqDelivery<M>> {
        self.inbox.take().await
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "consuming ended badly");
        }
    }
}

/// Holds what has come and was not taken.
#[derive(Debug)]
struct Inbox<M> {
    state: Mutex<InboxState<M>>,
    arrived: Notify,
}

#[derive(Debug)]
struct InboxState<M> {
    waiting: Arrivals<RabbitMqDelivery<M>>,
    is_closed: bool,
}

impl<M> Default for Inbox<M> {
    fn default() -> Self {
        let waiting = Arrivals::new(Instant::now());
        Self { state: Mutex::new(InboxState { waiting, is_closed: false }), arrived: Notify::new() }
    }
}

impl<M: Message> Inbox<M> {
    fn put(&self, delivery: RabbitMqDelivery<M>) {
        let priority = delivery.priority();
        self.lock().waiting.put(Instant::now(), priority, delivery);
        self.arrived.notify_one();
    }

    /// Takes the one whose turn it is. Nothing is awaited between taking it and returning it.
    async fn take(&self) -> Option<RabbitMqDelivery<M>> {
        loop {
            {
                let mut state = self.lock();
                let found = state.waiting.take();
                if found.is_some() || state.is_closed {
                    return found;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Gives back everything of these priorities. What is stale is only dropped.
    async fn give_back(&self, priorities: &[Priority]) {
        let mut given_back = Vec::new();
        {
            let mut state = self.lock();
            for &priority in priorities {
                given_back.extend(state.waiting.drain(priority));
            }
        }
        for delivery in given_back {
            let _ = delivery.requeue().await;
        }
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, InboxState<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is the one task that owns the consuming connection.
struct Task<M> {
    settings: Arc<Settings>,
    publisher: Publisher,
    source: Source,
    prefetch: u16,
    inbox: Arc<Inbox<M>>,
    feeds: Arc<Feeds>,
    stopping: watch::Receiver<bool>,
    closing: watch::Receiver<bool>,
}

impl<M: Message> Task<M> {
    async fn run(self) {
        let mut losses = Losses::new();
        loop {
            let established = tokio::select! {
                established = establish(&self.settings) => established,
                () = self.is_stopping() => break,
            };
            let error = match established {
                Err(error) => error,
                Ok(connection) => {
                    tracing::info!(url = %self.settings.url, "connected to RabbitMQ for consuming");
                    metrics::connected("consume", true);
                    let since = Instant::now();
                    let served = self.serve(&connection).await;
                    metrics::connected("consume", false);
                    self.inbox.give_back(&Priority::ALL).await;
                    match served {
                        Ok(()) => break,
                        Err(error) => {
                            metrics::reconnect("consume");
                            losses.lasted(since.elapsed());
                            error
                        }
                    }
                }
            };

            self.feeds.wanted().for_each(|priority| self.feeds.explain(priority, &error));
            log_down(losses.is_known(&error), &error);
            tokio::select! {
                () = losses.delays.pause() => {}
                () = self.is_stopping() => break,
            }
        }
        self.feeds.end();
        self.inbox.close();
    }

    /// Keeps all feeds going. Ends well when it is stopped, and with an error when the connection is lost.
    async fn serve(&self, connection: &Connection) -> Result<(), Error> {
        let feeds = try_join_all(self.feeds.wanted().map(|priority| self.feed(connection, priority)));
        tokio::try_join!(feeds, self.watch(connection)).map(|_| ())
    }

    /// Hears when the connection is lost; the feeds would hear it as well, but not while they pause.
    async fn watch(&self, connection: &Connection) -> Result<(), Error> {
        let mut events = std::pin::pin!(connection.events_listener());
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = self.is_stopping() => return Ok(()),
            };
            match event {
                Some(Event::Error(error)) if !connection.status().connected() => {
                    return Err(lost(&explain(&error)));
                }
                Some(_) => {}
                None => return Err(lost("the connection ended")),
            }
        }
    }

    /// Keeps one feed going, with as many channels one after another as it takes.
    async fn feed(&self, connection: &Connection, priority: Priority) -> Result<(), Error> {
        let mut losses = Losses::new();
        loop {
            let end = match self.open_feed(connection, priority).await {
                Ok(feed) => {
                    let since = Instant::now();
                    let end = self.forward(feed, priority).await;
                    losses.lasted(since.elapsed());
                    match end {
                        FeedEnd::Stopped => return Ok(()),
                        FeedEnd::Silent => continue,
                        FeedEnd::Lost(reason) => lost(&reason),
                    }
                }
                Err(error) => error,
            };
            if !connection.status().connected() {
                return Err(end);
            }

            self.feeds.explain(priority, &end);
            log_feed(&self.source.queue(&self.settings.names, priority), losses.is_known(&end), &end);
            metrics::reconnect("consume");
            // Of a channel that died they are stale; of a queue that went away they may be given back.
            self.inbox.give_back(&[priority]).await;
            let declared = async {
                tokio::time::sleep(DELETION_SETTLES).await;
                losses.delays.pause().await;
                topology::declare(&self.settings).await
            };
            tokio::select! {
                // What it is that is not there is told by the consuming of it; the other feeds go on.
                declared = declared => if let Err(error) = declared {
                    tracing::debug!(%error, "cannot declare what is missing, trying again");
                },
                () = self.is_stopping() => return Ok(()),
            }
        }
    }

    async fn open_feed(&self, connection: &Connection, priority: Priority) -> Result<Feed, Error> {
        let settings = &self.settings;
        let queue = self.source.queue(&settings.names, priority);
        let channel = open_channel(settings, connection).await?;
        // For each consumer, not for the channel, which quorum queues do not know; so it comes before `consume`.
        let qos = channel.basic_qos(self.prefetch, BasicQosOptions { global: false });
        call(settings, &format!("set the prefetch of {queue}"), qos).await?;
        let consume = channel.basic_consume(
            short(&queue),
            ShortString::default(), // the broker makes up a tag
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let stream = ask(settings, &format!("consume {queue}"), consume).await;
        let stream = stream.map_err(|no| no.for_want_of(&format!("read {queue}")))?;
        Ok(Feed { channel: Arc::new(channel), stream })
    }

    /// Puts what comes into the inbox until nothing can come any more.
    async fn forward(&self, mut feed: Feed, priority: Priority) -> FeedEnd {
        let _consuming = self.feeds.mark(priority);
        let end = loop {
            let next = tokio::select! {
                next = feed.stream.next() => next,
                () = self.is_stopping() => break FeedEnd::Stopped,
                () = tokio::time::sleep(RENEW_AFTER) => {
                    // Every other holder of the channel is a delivery that is not settled. It would come on top of
                    // the prefetch of a new channel.
                    if Arc::strong_count(&feed.channel) == 1 {
                        break FeedEnd::Silent;
                    }
                    continue;
                }
            };
            match next {
                Some(Ok(delivery)) => self.put(delivery, priority, &feed),
                Some(Err(error)) => return FeedEnd::Lost(explain(&error)),
                None => return FeedEnd::Lost("RabbitMQ cancelled the consumer".into()),
            }
        };

        let cancel = feed.channel.basic_cancel(feed.stream.tag(), BasicCancelOptions::default());
        if let Err(error) = call(&self.settings, "cancel a consumer", cancel).await {
            return FeedEnd::Lost(error.to_string());
        }
        let hear_out = async {
            while let Some(Ok(delivery)) = feed.stream.next().await {
                self.put(delivery, priority, &feed);
            }
        };
        // The end of the stream is already on its way with the answer to the cancel.
        let _ = within(self.settings.call_limit, "hear out a consumer", hear_out).await;
        end
    }

    fn put(&self, delivery: lapin::message::Delivery, priority: Priority, feed: &Feed) {
        metrics::delivered(&self.source.target(priority));
        self.inbox.put(RabbitMqDelivery::new(
            delivery,
            self.source,
            priority,
            Arc::clone(&feed.channel),
            self.publisher.clone(),
            Arc::clone(&self.settings),
        ));
    }

    async fn is_stopping(&self) {
        let (mut stopping, mut closing) = (self.stopping.clone(), self.closing.clone());
        tokio::select! {
            () = is_closing(&mut stopping) => {}
            () = is_closing(&mut closing) => {}
        }
    }
}

struct Feed {
    /// Shared with every delivery that came on it and is not settled.
    channel: Arc<Channel>,
    stream: lapin::Consumer,
}

/// Why a feed's channel is no longer listened to.
enum FeedEnd {
    Stopped,
    /// Nothing came for long; nothing seems wrong.
    Silent,
    Lost(String),
}

async fn establish(settings: &Settings) -> Result<Connection, Error> {
    topology::declare(settings).await?;
    connection::open(settings, "consume").await
}

fn lost(reason: &str) -> Error {
    Error::Unavailable { what: "consume".into(), reason: reason.to_owned() }
}

/// Logs why a feed ended; once, where it does not even begin.
fn log_feed(queue: &str, is_known: bool, end: &Error) {
    if !end.is_transient() && is_known {
        tracing::debug!(queue, error = %end, "still cannot consume from one queue");
    } else if end.is_transient() {
        tracing::warn!(queue, error = %end, "no longer consuming, beginning again");
    } else {
        tracing::error!(queue, error = %end, "cannot consume from one queue until somebody mends this, trying again");
    }
}

/// Logs a loss once, not every attempt to mend it.
fn log_down(is_known: bool, error: &Error) {
    if is_known {
        tracing::debug!(%error, "still cannot consume from RabbitMQ");
    } else if error.is_transient() {
        tracing::warn!(%error, "cannot consume from RabbitMQ, trying again");
    } else {
        tracing::error!(%error, "cannot consume from RabbitMQ until somebody mends this, trying again");
    }
}
