//! The exchanges and queues, and how they come about. Declaring them again changes nothing.
//!
//! ```text
//!   <names>.chunks ─critical─▶ <names>.critical ┐
//!      (direct)    ─high─────▶ <names>.high     ├─ delivered x-delivery-limit times ─▶ <names>.dead-letter
//!                  ─normal───▶ <names>.normal   ┘                                      (exchange and queue)
//!
//!   <names>.requests           (exchange and queue)
//!   <names>.replies ─<queue>─▶ <names>.replies.<at random>     a queue of each process that asks, while it does
//!      (direct)
//! ```
//!
//! Names begin with the prefix, the installation and a version: `ltv.9f86d081884c7d65.v2.normal`. So two installations
//! that share a broker share no queue, whatever their prefixes. The version is that of the arguments below: those of a
//! queue that exists cannot be changed, so that a release with other ones has queues of its own. After an upgrade, and
//! after a roll-back, each release finds queues as it wants them, and its coordinator publishes again what lies in the
//! other's: 10 s later, because nothing waits on its own. **So coordinators and workers are replaced together.** What a
//! coordinator or a dispatcher of the new release publishes, no worker of the other takes: it waits for the first of the
//! new ones. And a coordinator of the other release that leads, without workers of its own, sees its messages wait, and
//! the night stands for as long as it leads: so of the two the coordinators come first.
//!
//! Three queues and not message priorities, because those mean something else on every RabbitMQ version. All are
//! quorum queues: durable, and replicated where there is more than one broker.
//!
//! **Requests and replies** are on classic queues, which answer sooner and forget sooner: what they are about is in
//! the store. The queue of requests has no dead-letter exchange, or each request that nobody took in time would be among
//! the dead letters. Requests have an exchange of their own, so that who asks need not be able to publish chunks; and so
//! have replies, by which no other queue can be reached: a request says where its reply is to go, and not everybody who
//! can write one is ours.
//!
//! **The delivery limit** is a backstop against a message that circles for ever: one that ends whoever receives it, in
//! a way that the [`sieve`](super::sieve) does not know. It is ten: each of its deliveries costs a connection or a
//! worker, and attempts are counted in Postgres, which decides after five. Nothing is lost with it. A message that had
//! nothing to do with ten losses (its connections were cut, or it was given back by workers that drained) is listed
//! among the dead letters, and its chunk, published and with nobody, is published again when its queue has run empty.
//! Left out, the limit would be 20 on some versions and none on others. Since RabbitMQ 4.3 a `basic.nack` does not
//! count. Only a worker that lives sends one (what is dropped in a panic goes back by `basic.reject`, which counts; no
//! test tells the two apart, since before 4.3 both do): one that drains gives each message back once, and one that cannot put a message among the dead letters waits a
//! second before it gives it back. So such a message may circle there for as long as the dead letters take nothing,
//! once a second, and harms nobody.
//!
//! The dead-letter queue has a limit nobody reaches, because each look at it counts as a delivery on some versions as
//! well, and what reaches the limit there is deleted.
//!
//! **Dead-lettering by the broker** is at most once, its default. At least once would pin messages in the work
//! queues while the dead-letter queue is away, for a backstop behind the truth in Postgres.
//!
//! **Failure by failure.**
//!
//! - *A queue was deleted*: every connection that is made declares everything, and so do a publisher that met an
//!   unroutable message and a consumer whose queue went away.
//! - *A queue or an exchange exists with other settings*: nothing can mend that from here without deleting messages.
//!   [`Error::Refused`] names it, what differs, and what to do. It may be somebody else's, so the first advice is another
//!   prefix; to delete is said only of a queue, and only of one that is the fleet's own, with what is lost: nothing but time
//!   with a queue of chunks, and with that of the dead letters what it holds.
//! - *The user may not configure*, because others make what is there: even to declare what exists needs that right. So
//!   each thing that is refused is looked for instead, which needs none, and [`Error::Refused`] names the ones that are
//!   missing. How they were made is then theirs. Each queue is bound all the same, where that is allowed: it needs the
//!   right to write to the queue and to read from the exchange, and binding again changes nothing. A message that
//!   no queue takes is told by whoever publishes it.
//!
//! **On a connection of its own**, which ends with it. An error of one channel is an event of its whole connection, and
//! whoever publishes would have to take it for the loss of something that is under way.

use std::fmt::{self, Write as _};

use batch::{InstallationId, Priority};
use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, Connection, ExchangeKind};
use resilience::InvalidConfig;

use super::Settings;
use super::connection::{self, No, ask, call, open_channel};
use crate::{DELIVERY_LIMIT, Error, MOST_REQUESTS, REQUEST_TTL};

const DEAD_LETTER_DELIVERY_LIMIT: i32 = i32::MAX;
/// Rises with every change of a queue's arguments. The first queues had no version in their names.
const VERSION: u32 = 2;

/// The names, made from the prefix, the installation and the version of the queues' arguments.
#[derive(Clone, Debug)]
pub struct Names {
    begin: String,
}

impl Names {
    /// Takes a prefix, unless no queue could be named with it.
    pub fn new(prefix: &str, installation: InstallationId) -> Result<Self, InvalidConfig> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if prefix.is_empty() || prefix.len() > 100 || !prefix.chars().all(fits) {
            let rule = "use 1 to 100 letters, digits, dots, dashes or underscores";
            return Err(InvalidConfig::new("prefix", format!("queue prefix {prefix:?}: {rule}")));
        }
        Ok(Self { begin: format!("{prefix}.{installation}.v{VERSION}") })
    }

    pub(super) fn queue(&self, priority: Priority) -> String {
        format!("{}.{priority}", self.begin)
    }

    pub(super) fn exchange(&self) -> String {
        format!("{}.chunks", self.begin)
    }

    /// The dead-letter exchange, and the queue behind it.
    pub(super) fn dead_letter(&self) -> String {
        format!("{}.dead-letter", self.begin)
    }

    /// The exchange of requests, and the queue behind it.
    pub(super) fn requests(&self) -> String {
        format!("{}.requests", self.begin)
    }

    /// The exchange of replies.
    pub(super) fn replies(&self) -> String {
        format!("{}.replies", self.begin)
    }

    /// What RabbitMQ's permissions call all of them.
    pub(super) fn pattern(&self) -> String {
        format!("^{}\\.", self.begin.replace('.', r"\."))
    }

    /// All queues, but those of processes that ask, which go with them.
    pub fn queues(&self) -> impl Iterator<Item = String> {
        let ours = [self.requests(), self.dead_letter()];
        Priority::ALL.map(|priority| self.queue(priority)).into_iter().chain(ours)
    }

    /// The exchange of a queue, and how it is reached there.
    fn binding(&self, queue: &str) -> (String, &'static str) {
        match Priority::ALL.into_iter().find(|&priority| self.queue(priority) == queue) {
            Some(priority) => (self.exchange(), priority.as_str()),
            None if queue == self.requests() => (self.requests(), ""),
            None => (self.dead_letter(), ""),
        }
    }
}

impl Names {
    /// All exchanges.
    pub fn exchanges(&self) -> [String; 4] {
        [self.exchange(), self.requests(), self.replies(), self.dead_letter()]
    }
}

/// Declares everything, or finds that what may not be made is there.
pub(super) async fn declare(settings: &Settings) -> Result<(), Error> {
    let connection = connection::open(settings, "declare").await?;
    let declared = Declaring::all(settings, &connection).await;
    connection::close(settings, &connection).await;
    declared
}

/// One of the things that have to be there.
#[derive(Debug)]
enum Thing {
    Exchange(String, ExchangeKind),
    Queue(String),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(name, _) => write!(f, "exchange {name}"),
            Self::Queue(name) => write!(f, "queue {name}"),
        }
    }
}

/// Who makes a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    We,
    Others,
}

/// Is the declaring of everything, on one channel after another: each no closes one.
struct Declaring<'a> {
    settings: &'a Settings,
    connection: &'a Connection,
    channel: Channel,
}

impl<'a> Declaring<'a> {
    async fn all(settings: &'a Settings, connection: &'a Connection) -> Result<(), Error> {
        let channel = open_channel(settings, connection).await?;
        let mut declaring = Self { settings, connection, channel };
        let names = &settings.names;

        let mut missing = Vec::new();
        for exchange in [
            Thing::Exchange(names.exchange(), ExchangeKind::Direct),
            Thing::Exchange(names.requests(), ExchangeKind::Fanout),
            Thing::Exchange(names.replies(), ExchangeKind::Direct),
            Thing::Exchange(names.dead_letter(), ExchangeKind::Fanout),
        ] {
            missing.extend(declaring.ensure(&exchange).await?.err());
        }
        let mut queues = Vec::new();
        for queue in names.queues() {
            match declaring.ensure(&Thing::Queue(queue.clone())).await? {
                Ok(maker) => queues.push((queue, maker)),
                Err(refusal) => missing.push(refusal),
            }
        }
        if !missing.is_empty() {
            return Err(may_not_be_made(missing, names));
        }
        for (queue, maker) in queues {
            declaring.bind(&queue, maker).await?;
        }
        call(settings, "close a channel", declaring.channel.close(200, "OK".into())).await
    }

    /// Sees to it that a thing is there. What is missing and may not be made is an answer, so that all of it is told.
    async fn ensure(&mut self, thing: &Thing) -> Result<Result<Maker, Missing>, Error> {
        let refused = match self.declare(thing, false).await {
            Ok(()) => return Ok(Ok(Maker::We)),
            Err(no) if no.is_refused() => no.error,
            Err(no) if no.is_taken() => return Err(no.with(&untangle(thing, self.settings))),
            Err(no) => return Err(no.error),
        };
        match self.declare(thing, true).await {
            Ok(()) => Ok(Ok(Maker::Others)),
            Err(no) if no.is_missing() => Ok(Err(Missing { thing: thing.to_string(), refused })),
            Err(no) => Err(no.error),
        }
    }

    /// Declares a thing, or, `passive`, only looks for it.
    async fn declare(&mut self, thing: &Thing, passive: bool) -> Result<(), No> {
        let what = format!("{} {thing}", if passive { "find" } else { "declare" });
        let (settings, channel) = (self.settings, &self.channel);
        let answer = match thing {
            Thing::Exchange(name, kind) => {
                let options = ExchangeDeclareOptions { durable: true, passive, ..Default::default() };
                let declaring =
                    channel.exchange_declare(short(name), kind.clone(), options, FieldTable::default());
                ask(settings, &what, declaring).await
            }
            Thing::Queue(name) => {
                let options = QueueDeclareOptions { durable: true, passive, ..Default::default() };
                let arguments = queue_arguments(&settings.names, name);
                ask(settings, &what, channel.queue_declare(short(name), options, arguments)).await.map(drop)
            }
        };
        self.after(answer).await
    }

    /// Binds a queue to its exchange. Who may not, may rely on the one who made the queue.
    async fn bind(&mut self, queue: &str, maker: Maker) -> Result<(), Error> {
        let names = &self.settings.names;
        let (exchange, key) = names.binding(queue);
        let binding = self.channel.queue_bind(
            short(queue),
            short(&exchange),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        let bound = ask(self.settings, &format!("bind queue {queue}"), binding).await;
        match self.after(bound).await {
            Err(no) if no.is_refused() && maker == Maker::Others => Ok(()),
            bound => {
                bound.map_err(|no| no.for_want_of(&format!("write to {queue} and read from {exchange}")))
            }
        }
    }

    /// Opens another channel where the broker closed this one.
    async fn after<T>(&mut self, answer: Result<T, No>) -> Result<T, No> {
        if answer.is_err()
            && self.connection.status().connected()
            && let Ok(channel) = open_channel(self.settings, self.connection).await
        {
            self.channel = channel;
        }
        answer
    }
}

/// Deletes everything, with what is in it.
pub(super) async fn delete(settings: &Settings, connection: &Connection) -> Result<(), Error> {
    for queue in settings.names.queues() {
        delete_queue(settings, connection, &queue).await?;
    }
    let channel = open_channel(settings, connection).await?;
    for exchange in settings.names.exchanges() {
        let deleting = channel.exchange_delete(short(&exchange), ExchangeDeleteOptions::default());
        call(settings, &format!("delete exchange {exchange}"), deleting).await?;
    }
    Ok(())
}

/// Deletes one queue, with what is in it.
pub(super) async fn delete_queue(
    settings: &Settings,
    connection: &Connection,
    queue: &str,
) -> Result<(), Error> {
    let channel = open_channel(settings, connection).await?;
    let deleting = channel.queue_delete(short(queue), QueueDeleteOptions::default());
    call(settings, &format!("delete queue {queue}"), deleting).await?;
    Ok(())
}

fn queue_arguments(names: &Names, queue: &str) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    let mut arguments = FieldTable::default();
    if queue == names.requests() {
        arguments.insert("x-queue-type".into(), text("classic"));
        arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(REQUEST_TTL.as_millis() as i32));
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(MOST_REQUESTS as i32));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        return arguments;
    }
    arguments.insert("x-queue-type".into(), text("quorum"));
    if queue == names.dead_letter() {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DEAD_LETTER_DELIVERY_LIMIT));
    } else {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT as i32));
        arguments.insert("x-dead-letter-exchange".into(), text(&names.dead_letter()));
    }
    arguments
}

/// What is not there and may not be made.
struct Missing {
    thing: String,
    refused: Error,
}

/// Says who can make what is missing.
fn may_not_be_made(missing: Vec<Missing>, names: &Names) -> Error {
    let things: Vec<&str> = missing.iter().map(|missing| missing.thing.as_str()).collect();
    let things = things.join(", ");
    let reason = match missing.into_iter().next().map(|missing| missing.refused) {
        Some(Error::Refused { reason, .. }) => reason,
        _ => "refused".to_owned(),
    };
    Error::Refused {
        what: format!("find {things}"),
        reason: format!(
            "not there, and this user may not make it ({reason}). Have it made, by the names and settings in \
             docs/grants.md, or give the user the rights to configure, write and read {}",
            names.pattern()
        ),
    }
}

/// What a person can do about something that exists with other settings, without harm to whose it is.
fn untangle(thing: &Thing, settings: &Settings) -> String {
    let mut mend = ". If it exists with other settings, it may be somebody else's: choose another prefix for the fleet's \
                    names (--queue-prefix)"
        .to_owned();
    if let Thing::Queue(queue) = thing {
        let vhost = settings.place.vhost_option();
        let lost = if *queue == settings.names.dead_letter() {
            ". The dead letters in it are lost for good: look at them first, with the release that made it or on \
             RabbitMQ's management page"
        } else {
            ", and the coordinator publishes again what is lost with it"
        };
        let _ = write!(
            mend,
            ". If it is the fleet's own, `rabbitmqctl delete_queue {vhost}{queue}` lets it be made anew{lost}"
        );
    }
    mend
}

/// A name of ours as lapin wants it; it panics beyond 255 bytes.
pub(super) fn short(name: &str) -> ShortString {
    ShortString::try_new(name).expect("a prefix has at most 100 bytes, so no name reaches 255")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_from_the_prefix_the_installation_and_the_version() {
        let names = Names::new("ltv", InstallationId(0xab)).unwrap();

        let queues: Vec<String> = names.queues().collect();

        assert_eq!(
            queues,
            ["critical", "high", "normal", "requests", "dead-letter"]
                .map(|name| format!("ltv.00000000000000ab.v2.{name}"))
        );
        assert_eq!(names.exchange(), "ltv.00000000000000ab.v2.chunks");
    }

    #[test]
    fn a_prefix_that_would_not_make_a_name_is_refused() {
        for prefix in ["", "ltv fleet", "ltv/1", "lätv", &"l".repeat(101)] {
            assert!(
                matches!(Names::new(prefix, InstallationId(1)), Err(InvalidConfig { field: "prefix", .. })),
                "{prefix}"
            );
        }
    }
}
