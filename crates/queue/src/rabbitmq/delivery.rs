//! One message that is here, and the three ways to be done with it.
//!
//! **Failure by failure.**
//!
//! - *The connection it came from is gone*: lapin knows the channel's death by the delivery itself, so nothing is
//!   sent, and above all not on another channel, where the same tag is another message. [`Acked::NotSent`].
//! - *A part of it could not be read* (see [`sieve`](super::sieve)): it is malformed, whatever its body says.
//! - *Its headers are not ours*: the trace of a message goes on with it to the dead letters, so it is taken only if it is
//!   text of a trace's length, and that of a malformed message never. What else is read of headers is cut to a line.
//! - *A dead letter cannot be published*: the message is requeued, after a pause, because it would otherwise come
//!   back at once, again and again, for as long as the broker takes no messages.
//! - *A dead letter is published and its ack is lost*: the message comes again and is put there twice.
//! - *A delivery is dropped* (a panic, a cancelled task): it is requeued, so that it does not count against the
//!   prefetch for as long as the connection lives. By `basic.reject`, which counts towards the delivery limit on every
//!   version: what makes each who takes it panic goes round ten times, and no more. No test could tell it from
//!   `basic.nack`: before RabbitMQ 4.3, which the tests do not run on, both count.

use std::sync::Arc;
use std::time::Duration;

use batch::{InstallationId, Priority};
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Acker, BasicProperties, Channel};
use resilience::within;

use super::Settings;
use super::connection::explain;
use super::consumer::Source;
use super::job::Frame;
use super::publisher::Publisher;
use super::sieve::UNREADABLE;
use crate::dead_letters::{legible, shortened};
use crate::metrics::{self, Target};
use crate::{Acked, Delivery, Error, Malformed, Message, TraceContext};

pub(super) const REASON: &str = "ltv-reason";
pub(super) const ORIGIN: &str = "ltv-origin";
/// How much is read of a reason: as much as a dead letter of ours has.
pub(super) const LONGEST_REASON: usize = 1_000;
/// How much is read of what the broker or a neighbour calls something.
pub(super) const LONGEST_NAME: usize = 160;
/// W3C has a trace state of this length handed on.
const LONGEST_TRACE: usize = 512;
/// How long a dead letter that could not be published is held before it goes round again.
const PAUSE: Duration = Duration::from_secs(1);

/// Is a message from RabbitMQ that has to be settled.
#[derive(Debug)]
pub struct RabbitMqDelivery<M> {
    message: Result<M, Malformed>,
    source: Source,
    priority: Priority,
    redelivered: bool,
    trace: TraceContext,
    /// Where whoever sent it hears of its end.
    reply_to: Option<String>,
    body: Vec<u8>,
    /// Taken when it is settled.
    acker: Option<Acker>,
    /// Keeps the channel open until the last of its deliveries is settled.
    channel: Arc<Channel>,
    publisher: Publisher,
    settings: Arc<Settings>,
}

impl<M: Message> RabbitMqDelivery<M> {
    pub(super) fn new(
        delivery: lapin::message::Delivery,
        source: Source,
        priority: Priority,
        channel: Arc<Channel>,
        publisher: Publisher,
        settings: Arc<Settings>,
    ) -> Self {
        let (message, trace) = read(&delivery.data, &delivery.properties, settings.installation);
        Self {
            message,
            source,
            priority,
            redelivered: delivery.redelivered,
            trace,
            reply_to: delivery.properties.reply_to().as_ref().map(ToString::to_string),
            body: delivery.data,
            acker: Some(delivery.acker),
            channel,
            publisher,
            settings,
        }
    }

    pub(super) fn reply_to(&self) -> Option<&str> {
        self.reply_to.as_deref()
    }

    pub(super) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    async fn settle(&mut self, end: End) -> Acked {
        let Some(acker) = self.acker.take() else { return Acked::NotSent };
        settle(&acker, end, self.settings.call_limit).await
    }
}

impl<M: Message> Delivery for RabbitMqDelivery<M> {
    type Message = M;

    fn message(&self) -> Result<&M, &Malformed> {
        self.message.as_ref()
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn redelivered(&self) -> bool {
        self.redelivered
    }

    fn trace(&self) -> &TraceContext {
        &self.trace
    }

    async fn ack(mut self) -> Acked {
        self.settle(End::Ack).await
    }

    async fn requeue(mut self) -> Acked {
        self.settle(End::Requeue).await
    }

    async fn dead_letter(mut self, reason: &str) -> Result<Acked, Error> {
        let origin = self.source.queue(&self.settings.names, self.priority);
        let mut headers = headers(&self.trace);
        headers.insert(REASON.into(), text(shortened(reason)));
        headers.insert(ORIGIN.into(), text(&origin));
        let frame = Frame {
            what: match &self.message {
                Ok(message) => format!("dead-letter {}", message.name()),
                Err(_) => format!("dead-letter a malformed message of {origin}"),
            },
            target: Target::DeadLetter,
            body: self.body.clone(),
            properties: BasicProperties::default().with_headers(headers),
        };

        // Ack only once it is safe among the dead letters.
        match self.publisher.publish_one(frame).await {
            Ok(()) => Ok(self.settle(End::DeadLetter).await),
            Err(error) => {
                tokio::time::sleep(PAUSE).await;
                let _ = self.settle(End::Requeue).await;
                Err(error)
            }
        }
    }
}

impl<M> Drop for RabbitMqDelivery<M> {
    fn drop(&mut self) {
        let Some(acker) = self.acker.take().filter(Acker::usable) else { return };
        // Outside of a runtime nothing can be sent; the broker takes the message back with the connection.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (limit, channel) = (self.settings.call_limit, Arc::clone(&self.channel));
            runtime.spawn(async move {
                let _ = settle(&acker, End::Dropped, limit).await;
                drop(channel);
            });
        }
    }
}

/// How a delivery ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Ack,
    Requeue,
    Dropped,
    DeadLetter,
}

async fn settle(acker: &Acker, end: End, limit: Duration) -> Acked {
    let sending = async {
        match end {
            End::Ack | End::DeadLetter => acker.ack(BasicAckOptions::default()).await,
            End::Requeue => acker.nack(BasicNackOptions { requeue: true, ..Default::default() }).await,
            End::Dropped => acker.reject(BasicRejectOptions { requeue: true }).await,
        }
    };
    let (acked, problem) = match within(limit, "settle a delivery", sending).await {
        Ok(Ok(true)) => (Acked::Sent, None),
        Ok(Ok(false)) => (Acked::NotSent, None),
        Ok(Err(error)) => (Acked::NotSent, Some(explain(&error))),
        Err(elapsed) => (Acked::NotSent, Some(elapsed.to_string())),
    };

    let name = match end {
        End::Ack => "ack",
        End::Requeue | End::Dropped => "requeue",
        End::DeadLetter => "dead_letter",
    };
    metrics::settled(name, acked == Acked::Sent);
    if acked == Acked::NotSent {
        tracing::debug!(end = name, problem, "delivery is stale: its connection is gone");
    }
    acked
}

/// Reads a message, and the trace it belongs to if it makes sense.
pub(super) fn read<M: Message>(
    body: &[u8],
    properties: &BasicProperties,
    to: InstallationId,
) -> (Result<M, Malformed>, TraceContext) {
    let message = decode(body, properties, to);
    let trace = if message.is_ok() { trace_of(properties) } else { TraceContext::default() };
    (message, trace)
}

/// Reads a message, unless the sieve had to leave out a part of it.
///
/// Nobody of ours publishes such a message. So it is not taken at its word, although its body may make sense: the chunk,
/// if there is one, has a message of its own.
fn decode<M: Message>(body: &[u8], properties: &BasicProperties, to: InstallationId) -> Result<M, Malformed> {
    match header(properties, UNREADABLE, LONGEST_NAME) {
        Some(reason) => Err(Malformed { reason, is_foreign: false }),
        None => M::decode(body, to),
    }
}

/// The trace context as headers.
pub(super) fn headers(trace: &TraceContext) -> FieldTable {
    let mut headers = FieldTable::default();
    for (key, value) in trace.0.iter().filter(|(_, value)| value.len() <= LONGEST_TRACE) {
        // A key too long for AMQP is not one of W3C's.
        if let Ok(key) = ShortString::try_new(key.as_str()) {
            headers.insert(key, text(value));
        }
    }
    headers
}

fn trace_of(properties: &BasicProperties) -> TraceContext {
    let find = |key: &str| {
        let value = bytes_of(properties, key).filter(|value| value.len() <= LONGEST_TRACE)?;
        Some((key.to_owned(), str::from_utf8(value).ok()?.to_owned()))
    };
    TraceContext(TraceContext::KEYS.into_iter().filter_map(find).collect())
}

/// A header's text, of which anybody may be the author: so many characters at most, for people to read.
pub(super) fn header(properties: &BasicProperties, key: &str, longest: usize) -> Option<String> {
    let bytes = bytes_of(properties, key)?;
    Some(legible(&String::from_utf8_lossy(bytes), longest))
}

fn bytes_of<'a>(properties: &'a BasicProperties, key: &str) -> Option<&'a [u8]> {
    match properties.headers().as_ref()?.inner().get(key)? {
        AMQPValue::LongString(text) => Some(text.as_bytes()),
        AMQPValue::ShortString(text) => Some(text.as_str().as_bytes()),
        _ => None,
    }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_comes_back_from_headers_and_nothing_else_does() {
        let trace = TraceContext(vec![
            ("traceparent".into(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            ("tracestate".into(), "rojo=00f067aa0ba902b7".into()),
        ]);
        let mut table = headers(&trace);
        table.insert("x-death".into(), AMQPValue::LongInt(3));
        table.insert(REASON.into(), text("poison"));

        let properties = BasicProperties::default().with_headers(table);

        assert_eq!(trace_of(&properties), trace);
        assert_eq!(trace_of(&BasicProperties::default()), TraceContext::default());
        assert_eq!(header(&properties, REASON, 99).as_deref(), Some("poison"));
    }

    #[test]
    fn a_trace_that_is_no_text_or_too_long_and_that_of_a_malformed_message_is_not_handed_on() {
        let ours = InstallationId(1);
        let sound = batch::AttemptId {
            chunk: batch::ChunkRef { run: batch::RunId(7), chunk: batch::ChunkId(3) },
            attempt: batch::Attempt(0),
        };
        let body = sound.encode(ours);
        let trace_of = |body: &[u8], value: &[u8]| {
            let mut table = FieldTable::default();
            table.insert("traceparent".into(), AMQPValue::LongString(LongString::from(value)));
            let properties = BasicProperties::default().with_headers(table);
            let (message, trace) = read::<batch::AttemptId>(body, &properties, ours);
            assert_eq!(message.is_ok(), body != b"x");
            trace.get("traceparent").map(str::len)
        };

        assert_eq!(trace_of(&body, &[b'0'; LONGEST_TRACE]), Some(LONGEST_TRACE));
        assert_eq!(trace_of(&body, &[b'0'; LONGEST_TRACE + 1]), None);
        assert_eq!(trace_of(&body, &[0xFF; 20]), None);
        assert_eq!(trace_of(b"x", b"00-0af7"), None);
    }

    #[test]
    fn a_header_that_somebody_forged_fills_no_log_and_moves_no_cursor() {
        let mut table = FieldTable::default();
        table.insert(UNREADABLE.into(), text(&"\u{1b}\n".repeat(10_000)));
        let properties = BasicProperties::default().with_headers(table);

        let malformed = decode::<batch::AttemptId>(b"{}", &properties, InstallationId(1)).unwrap_err();

        assert!(malformed.reason.chars().count() < 170, "{malformed}");
        assert!(!malformed.reason.contains(char::is_control), "{malformed:?}");
    }

    #[test]
    fn a_key_too_long_for_amqp_is_left_out() {
        let trace = TraceContext(vec![("k".repeat(300), "v".into())]);

        assert!(headers(&trace).inner().is_empty());
    }
}
