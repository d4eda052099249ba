//! What is under way on one channel: from when a job is given to lapin to what became of it.
//!
//! The failures are told in `publisher`, whose task owns a flight for as long as it has its connection; which message
//! came back is found out by the [`Ledger`].

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Settings;
use super::connection::{No, is_unsent};
use super::job::Job;
use super::ledger::{Ledger, Settled};
use super::topology::short;
use crate::Error;
use crate::metrics::{self, Target};

const PERSISTENT: u8 = 2;
const TRANSIENT: u8 = 1;

/// The header with the number by which a returned message is known.
const NUMBER: &str = "ltv-number";

/// Is what is under way on one channel.
pub(super) struct Flight {
    channel: Channel,
    exchange: ShortString,
    dead_letter_exchange: ShortString,
    requests: ShortString,
    replies: ShortString,
    limit: Duration,
    most: usize,
    pub(super) under_way: FuturesUnordered<BoxFuture<'static, (u64, Outcome)>>,
    jobs: HashMap<u64, Waiting>,
    ledger: Ledger,
    last_number: u64,
    /// A confirmation was given up, so returned messages can no longer be told apart on this channel.
    pub(super) is_tainted: bool,
    /// Some message came back because no queue took it, and a queue should have been there.
    pub(super) met_unroutable: bool,
}

struct Waiting {
    what: String,
    target: Target,
    reply: oneshot::Sender<Result<(), Error>>,
}

/// How lapin ended one publish.
#[derive(Debug)]
pub(super) enum Outcome {
    Confirmed { returned: Option<u64> },
    Refused { returned: Option<u64> },
    Unsent(Error),
    Unknown(Error),
    TimedOut,
}

impl Flight {
    pub(super) fn new(settings: &Settings, channel: Channel) -> Self {
        Self {
            channel,
            exchange: short(&settings.names.exchange()),
            dead_letter_exchange: short(&settings.names.dead_letter()),
            requests: short(&settings.names.requests()),
            replies: short(&settings.names.replies()),
            limit: settings.confirm_limit,
            most: settings.in_flight,
            under_way: FuturesUnordered::new(),
            jobs: HashMap::new(),
            ledger: Ledger::default(),
            last_number: 0,
            is_tainted: false,
            met_unroutable: false,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < self.most && !self.ledger.is_holding()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Publishes a job. Its first poll, which numbers and sends it, is by the task like every other.
    pub(super) fn launch(&mut self, job: Job) {
        let Job { frame, reply } = job;
        self.last_number += 1;
        let number = self.last_number;
        let (exchange, key, mode) = match &frame.target {
            Target::Queue(priority) => (self.exchange.clone(), priority.as_str().into(), PERSISTENT),
            Target::DeadLetter => (self.dead_letter_exchange.clone(), ShortString::default(), PERSISTENT),
            // What they are about is in the store, so they are not worth the disk.
            Target::Requests => (self.requests.clone(), ShortString::default(), TRANSIENT),
            Target::Reply(way) => (self.replies.clone(), short(way), TRANSIENT),
        };
        let mut headers = frame.properties.headers().clone().unwrap_or_default();
        headers.insert(NUMBER.into(), AMQPValue::LongLongInt(number as i64));
        let properties = frame
            .properties
            .with_headers(headers)
            .with_delivery_mode(mode)
            .with_content_type("application/json".into());
        let publish = publish(self.channel.clone(), exchange, key, frame.body, properties);

        let limit = self.limit;
        self.jobs.insert(number, Waiting { what: frame.what, target: frame.target, reply });
        self.under_way.push(
            async move {
                let outcome = tokio::time::timeout(limit, publish).await;
                (number, outcome.unwrap_or(Outcome::TimedOut))
            }
            .boxed(),
        );
    }

    /// Takes an end, and with it all others that have come, and answers those that are certain.
    ///
    /// Fails when the connection is no longer worth keeping.
    pub(super) fn land(&mut self, first: (u64, Outcome), may_give_up: bool) -> Result<(), Error> {
        let mut loss = None;
        let mut next = Some(first);
        while let Some((number, outcome)) = next {
            match outcome {
                Outcome::Confirmed { returned } => self.ledger.confirm(number, returned),
                Outcome::Refused { returned } => {
                    if let Some(other) = returned {
                        self.ledger.returned(other);
                    }
                    self.answer(number, |what, target| match target {
                        Target::Requests => Err(Error::Full { what }),
                        _ => Err(Error::Unavailable { what, reason: "RabbitMQ could not keep it".into() }),
                    });
                }
                Outcome::Unsent(error) => {
                    let reason = error.reason();
                    loss = Some(error);
                    self.answer(number, |what, _| Err(Error::Unavailable { what, reason }));
                }
                Outcome::Unknown(error) => {
                    let reason = error.reason();
                    loss = Some(error);
                    self.answer(number, |what, _| Err(Error::Unconfirmed { what, reason }));
                }
                Outcome::TimedOut => {
                    self.is_tainted = true;
                    let reason = format!("no confirmation within {} s", self.limit.as_secs_f64());
                    if may_give_up {
                        loss = Some(lost(&reason));
                    }
                    self.answer(number, |what, _| Err(Error::Unconfirmed { what, reason }));
                }
            }
            next = self.under_way.next().now_or_never().flatten();
        }

        let under_way = if self.is_tainted { 0 } else { self.under_way.len() };
        for settled in self.ledger.settle(under_way) {
            match settled {
                Settled::Routed(number) if self.is_tainted => {
                    let reason = "a returned message may have gone astray".to_owned();
                    self.answer(number, |what, _| Err(Error::Unconfirmed { what, reason }));
                }
                Settled::Routed(number) => self.answer(number, |_, _| Ok(())),
                Settled::Unroutable(number) => {
                    let mut is_reply = false;
                    self.answer(number, |what, target| {
                        is_reply = matches!(target, Target::Reply(_));
                        Err(Error::Unroutable { what })
                    });
                    self.met_unroutable |= !is_reply;
                }
            }
        }
        loss.map_or(Ok(()), Err)
    }

    /// Answers everybody who still waits, because the connection is given up.
    pub(super) fn abandon(self, error: &Error) {
        let reason = error.reason();
        for waiting in self.jobs.into_values() {
            let _ =
                waiting.reply.send(Err(Error::Unconfirmed { what: waiting.what, reason: reason.clone() }));
        }
    }

    fn answer(&mut self, number: u64, result: impl FnOnce(String, Target) -> Result<(), Error>) {
        if let Some(waiting) = self.jobs.remove(&number) {
            // Nobody waits any more: nothing to do, it is published all the same.
            let _ = waiting.reply.send(result(waiting.what, waiting.target));
        }
    }
}

async fn publish(
    channel: Channel,
    exchange: ShortString,
    key: ShortString,
    body: Vec<u8>,
    properties: BasicProperties,
) -> Outcome {
    let start = Instant::now();
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let confirm = match channel.basic_publish(exchange, key, options, &body, properties).await {
        Ok(confirm) => confirm,
        Err(error) if is_unsent(&error) => return Outcome::Unsent(loss(&error)),
        Err(error) => return Outcome::Unknown(loss(&error)),
    };
    match confirm.await {
        Ok(Confirmation::Ack(returned)) => {
            metrics::confirmed_after(start.elapsed());
            Outcome::Confirmed { returned: number_of(returned) }
        }
        Ok(Confirmation::Nack(returned)) => Outcome::Refused { returned: number_of(returned) },
        // Success without a confirmation would be a lie.
        Ok(Confirmation::NotRequested) => Outcome::Unknown(lost("the channel does not confirm")),
        Err(error) => Outcome::Unknown(loss(&error)),
    }
}

/// What an error means for the whole connection. A right is lacking for one exchange, which it names.
pub(super) fn loss(error: &lapin::Error) -> Error {
    No::of("publish", error).for_want_of("write to that exchange")
}

pub(super) fn lost(reason: &str) -> Error {
    Error::Unavailable { what: "publish".into(), reason: reason.to_owned() }
}

/// The number of a returned message; 0, which is nobody's, if it carries none.
fn number_of(returned: Option<BasicReturnMessage>) -> Option<u64> {
    returned.map(|message| {
        let headers = message.properties.headers().as_ref();
        match headers.and_then(|headers| headers.inner().get(NUMBER)) {
            Some(AMQPValue::LongLongInt(number)) => *number as u64,
            _ => 0,
        }
    })
}
