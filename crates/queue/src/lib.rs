//! Carries messages: three priorities, a place for what cannot be done, and urgent requests with their replies.
//!
//! # What is this for?
//!
//! The dispatcher and the coordinator [`publish`](Chunks::publish) chunks, workers [`consume`](Chunks::consume)
//! them, what is urgent first, and the rest in turn. A message carries identity, never data: whose it is, which chunk of which run,
//! how many attempts the sender knew of, and the trace it belongs to. Postgres is the truth, so a message may arrive
//! twice, late, or never: what was lost is published again, and what comes twice finds its chunk settled.
//!
//! Who needs an answer now sends a [request](Requests), which names a row of the store's, and hears when it is
//! answered. The answer is in the store.
//!
//! # What does it not know?
//!
//! What a chunk holds, whether it is done, how many attempts it had, OpenTelemetry (a trace context is plain
//! pairs here), and when to retry. AMQP is known in [`rabbitmq`] alone; nothing in the traits speaks of it.
//!
//! # Which type to look at first?
//!
//! [`Chunks`], then [`Consumer`] and [`Delivery`]. One trait for each kind of caller:
//!
//! | trait | file | who calls it |
//! |---|---|---|
//! | [`Chunks`] | `chunks.rs` | dispatcher, coordinator, workers |
//! | [`Requests`], [`Requester`] | `requests.rs` | who asks, and who answers |
//! | [`DeadLetters`] | `dead_letters.rs` | people and their tools |
//! | [`Connection`] | `connection.rs` | the process that opened it |
//! | [`Consumer`], [`Delivery`], [`Asked`] | `delivery.rs`, `requests.rs` | whoever consumes, whatever the messages carry |
//!
//! There are two backends: [`RabbitMq`], and [`Memory`], a broker in one process with faults on request. What the
//! traits promise is tested by one suite that both pass (`promises`, behind the feature of that name); what is not
//! tested there is not promised, above all no order among the messages of one priority.
//!
//! # What a message looks like
//!
//! `{"v":2,"installation":"9f86d081884c7d65","run":7,"chunk":118,"attempt":0}`, and a request
//! `{"v":1,"installation":"9f86d081884c7d65","request":17}`. Another version, another field or
//! anything else is [`Malformed`], and so is what another installation sent: its numbers mean other chunks. The formats
//! are in `wire/`.

mod arrivals;
mod chunks;
mod connection;
mod dead_letters;
mod delivery;
mod error;
pub mod memory;
pub mod metrics;
#[cfg(any(test, feature = "promises"))]
pub mod promises;
pub mod rabbitmq;
mod requests;
mod waiters;
mod wire;

pub use chunks::{Chunks, Outgoing};
pub use connection::Connection;
pub use dead_letters::{DeadLetters, DeadMessage};
pub use delivery::{Acked, Consumer, Delivery};
pub use error::Error;
pub use memory::Memory;
pub use rabbitmq::{RabbitMq, RabbitMqConfig};
pub use requests::{Asked, Heard, MOST_REQUESTS, OutgoingRequest, REQUEST_TTL, Replied, Requester, Requests};
pub use waiters::Waiting;
pub use wire::{Malformed, Message, TraceContext};

/// How often a message may come back before it is put among the dead letters: a backstop against one that ends whoever
/// receives it, again and again. The store counts attempts, and decides before.
pub const DELIVERY_LIMIT: u32 = 10;
