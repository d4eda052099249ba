//! Looking at the queues: how many messages wait, and what the dead letters are.
//!
//! On a connection of its own, made when it is first needed: on a blocked publishing connection no question would
//! be sent, and that is when somebody looks. Each question has a channel of its own, because asking for a queue
//! that is not there closes the channel.
//!
//! **Failure by failure.**
//!
//! - *The broker is away*: known from the publishing link, so the answer comes at once.
//! - *It does not answer*: every call has its limit, and the next question makes a new connection if this one
//!   is gone.
//! - *A queue is missing*: its count is `None`, the others are counted.
//! - *We die while peeking*: the broker takes back what was read and not acked.

use std::sync::Arc;

use batch::{PerPriority, Priority};
use futures_util::future::join_all;
use lapin::options::{BasicGetOptions, BasicNackOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::sync::Mutex;

use super::Settings;
use super::connection::{self, call};
use super::delivery::{LONGEST_NAME, LONGEST_REASON, ORIGIN, REASON, header, read};
use super::topology::short;
use crate::dead_letters::no_chunk;
use crate::{DeadMessage, Error};

#[derive(Debug)]
pub(super) struct Control {
    settings: Arc<Settings>,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Control {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, connection: Mutex::new(None) }
    }

    pub(super) async fn waiting(&self) -> PerPriority<Option<u64>> {
        let counts = join_all(Priority::ALL.map(async |priority| {
            let queue = self.settings.names.queue(priority);
            self.count(&queue)
                .await
                .inspect_err(|error| tracing::warn!(%error, queue, "messages not counted"))
                .ok()
        }))
        .await;
        PerPriority::from_fn(|priority| counts[priority as usize])
    }

    async fn count(&self, queue: &str) -> Result<u64, Error> {
        let channel = self.channel().await?;
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let declaring = channel.queue_declare(short(queue), options, FieldTable::default());
        let declared = call(&self.settings, &format!("count the messages of {queue}"), declaring).await?;
        Ok(declared.message_count().into())
    }

    pub(super) async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadMessage>, Error> {
        let queue = self.settings.names.dead_letter();
        let what = format!("look into {queue}");
        let channel = self.channel().await?;

        let mut found = Vec::new();
        let mut last_tag = None;
        while found.len() < limit {
            let get = channel.basic_get(short(&queue), BasicGetOptions { no_ack: false });
            let Some(message) = call(&self.settings, &what, get).await? else { break };
            last_tag = Some(message.delivery.delivery_tag);
            found.push(dead_message(&message.delivery, &self.settings));
        }

        // All at once, so that they return in their order.
        if let Some(tag) = last_tag {
            let options = BasicNackOptions { multiple: true, requeue: true };
            call(&self.settings, &what, channel.basic_nack(tag, options)).await?;
        }
        call(&self.settings, &what, channel.close(200, "OK".into())).await?;
        Ok(found)
    }

    pub(super) async fn discard_dead_letters(&self) -> Result<u32, Error> {
        let queue = self.settings.names.dead_letter();
        let channel = self.channel().await?;
        let purging = channel.queue_purge(short(&queue), QueuePurgeOptions::default());
        call(&self.settings, &format!("empty {queue}"), purging).await
    }

    /// The connection, made again if it is gone.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, Error> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| connection.status().connected()) {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(connection::open(&self.settings, "control").await?);
        *held = Some(Arc::clone(&connection));
        Ok(connection)
    }

    pub(super) async fn close(&self) {
        let held = self.connection.lock().await.take();
        if let Some(connection) = held {
            connection::close(&self.settings, &connection).await;
        }
    }

    async fn channel(&self) -> Result<Channel, Error> {
        let connection = self.connection().await?;
        connection::open_channel(&self.settings, &connection).await
    }
}

fn dead_message(letter: &lapin::message::Delivery, settings: &Settings) -> DeadMessage {
    let (properties, to) = (&letter.properties, settings.installation);
    let name = |key: &str| header(properties, key, LONGEST_NAME);
    let origin = name(ORIGIN).or_else(|| name("x-first-death-queue"));
    let (message, trace) = if origin.as_ref() == Some(&settings.names.requests()) {
        let (request, trace) = read(&letter.data, properties, to);
        (no_chunk(request), trace)
    } else {
        read(&letter.data, properties, to)
    };
    // What the broker put here itself carries its own headers, and what somebody else did, none.
    let reason = header(properties, REASON, LONGEST_REASON)
        .or_else(|| name("x-first-death-reason"))
        .or_else(|| message.as_ref().err().map(|malformed| malformed.reason.clone()))
        .unwrap_or_else(|| "unknown".to_owned());
    DeadMessage { message, reason, origin, trace }
}
