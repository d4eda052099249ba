//! The exchanges and queues, and how they come about. Declaring them again changes nothing.
//!
//! ```text
//!   <names>.chunks ─critical─▶ <names>.critical ┐
//!      (direct)    ─high─────▶ <names>.high     ├─ delivered x-delivery-limit times ─▶ <names>.dead-letter
//!      │           ─normal───▶ <names>.normal   ┘                                      (exchange and queue)
//!      └────────────requests─▶ <names>.requests
//!
//!   <names>.replies ─<queue>─▶ <names>.replies.<at random>     a queue of each process that asks, while it does
//! ```
//!
//! Names begin with the prefix and the installation: `ltv.9f86d081884c7d65.normal`. So two installations that share a
//! broker share no queue, whatever their prefixes.
//!
//! Three queues and not message priorities, because those mean something else on every RabbitMQ version. All are
//! quorum queues: durable, and replicated where there is more than one broker.
//!
//! **Requests and replies** are on classic queues, which answer sooner and forget sooner: what they are about is in
//! the store. The queue of requests has no dead-letter exchange, or each request that nobody took in time would be among
//! the dead letters. Replies have an exchange of their own, by which no other queue can be reached: a request says
//! where its reply is to go, and not everybody who can write one is ours.
//!
//! **The delivery limit** is a backstop against a message that circles for ever. Attempts are counted in
//! Postgres, which decides long before; left out, the limit would be 20 on some versions. The dead-letter queue
//! has a limit nobody reaches, because each look at it counts as a delivery on some versions as well, and what
//! reaches the limit there is deleted.
//!
//! **Dead-lettering by the broker** is at most once, its default. At least once would pin messages in the work
//! queues while the dead-letter queue is away, for a backstop behind the truth in Postgres.
//!
//! **Failure by failure.**
//!
//! - *A queue was deleted*: every connection that is made declares everything, and so do a publisher that met an
//!   unroutable message and a consumer whose queue went away.
//! - *A queue exists with other settings*: nothing can mend that from here without deleting messages.
//!   [`Error::Refused`] names the queue, what differs, and the command.

use batch::{InstallationId, Priority};
use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Connection, ExchangeKind};
use resilience::InvalidConfig;

use super::Settings;
use super::connection::call;
use crate::{DELIVERY_LIMIT, Error, MOST_REQUESTS, REQUEST_TTL};

const DEAD_LETTER_DELIVERY_LIMIT: i32 = i32::MAX;

/// How requests are routed.
pub(super) const REQUESTS_KEY: &str = "requests";

/// The names, made from the prefix and the installation.
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
        Ok(Self { begin: format!("{prefix}.{installation}") })
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

    pub(super) fn requests(&self) -> String {
        format!("{}.requests", self.begin)
    }

    /// The exchange of replies.
    pub(super) fn replies(&self) -> String {
        format!("{}.replies", self.begin)
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
            None if queue == self.requests() => (self.exchange(), REQUESTS_KEY),
            None => (self.dead_letter(), ""),
        }
    }
}

impl Names {
    /// All exchanges.
    pub fn exchanges(&self) -> [String; 3] {
        [self.exchange(), self.replies(), self.dead_letter()]
    }
}

/// Declares everything, on a channel of its own, which an error would close.
pub(super) async fn declare(settings: &Settings, connection: &Connection) -> Result<(), Error> {
    let names = &settings.names;
    let channel = call(settings, "open a channel", connection.create_channel()).await?;

    for (exchange, kind) in [
        (names.exchange(), ExchangeKind::Direct),
        (names.replies(), ExchangeKind::Direct),
        (names.dead_letter(), ExchangeKind::Fanout),
    ] {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let declaring = channel.exchange_declare(short(&exchange), kind, options, FieldTable::default());
        call(settings, &format!("declare exchange {exchange}"), declaring)
            .await
            .map_err(|error| with_mend(error, "delete that exchange"))?;
    }

    for queue in names.queues() {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let arguments = queue_arguments(names, &queue);
        call(
            settings,
            &format!("declare queue {queue}"),
            channel.queue_declare(short(&queue), options, arguments),
        )
        .await
        .map_err(|error| with_mend(error, &format!("delete it with `rabbitmqctl delete_queue {queue}`")))?;

        let (exchange, key) = names.binding(&queue);
        let binding = channel.queue_bind(
            short(&queue),
            short(&exchange),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        call(settings, &format!("bind queue {queue}"), binding).await?;
    }

    call(settings, "close a channel", channel.close(200, "OK".into())).await
}

/// Deletes everything, with what is in it.
pub(super) async fn delete(settings: &Settings, connection: &Connection) -> Result<(), Error> {
    for queue in settings.names.queues() {
        delete_queue(settings, connection, &queue).await?;
    }
    let channel = call(settings, "open a channel", connection.create_channel()).await?;
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
    let channel = call(settings, "open a channel", connection.create_channel()).await?;
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

/// Adds to a refusal what a person can do about it.
fn with_mend(error: Error, mend: &str) -> Error {
    match error {
        Error::Refused { what, reason } => Error::Refused {
            what,
            reason: format!(
                "{reason}. If it exists with other settings, {mend}; the coordinator publishes again what is \
                 lost with it"
            ),
        },
        other => other,
    }
}

/// A name of ours as lapin wants it; it panics beyond 255 bytes.
pub(super) fn short(name: &str) -> ShortString {
    ShortString::try_new(name).expect("a prefix has at most 100 bytes, so no name reaches 255")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_from_the_prefix_and_the_installation() {
        let names = Names::new("ltv", InstallationId(0xab)).unwrap();

        let queues: Vec<String> = names.queues().collect();

        assert_eq!(
            queues,
            ["critical", "high", "normal", "requests", "dead-letter"]
                .map(|name| format!("ltv.00000000000000ab.{name}"))
        );
        assert_eq!(names.exchange(), "ltv.00000000000000ab.chunks");
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
