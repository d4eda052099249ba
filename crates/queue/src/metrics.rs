//! What the queue tells the outside. The broker itself tells how long its queues are.

use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use batch::Priority;

use crate::Error;

const PUBLISHED: &str = "ltv_queue_published_total";
const DELIVERIES: &str = "ltv_queue_deliveries_total";
const SETTLED: &str = "ltv_queue_settled_total";
const CONNECTED: &str = "ltv_queue_connected";
const BLOCKED: &str = "ltv_queue_blocked";
const RECONNECTS: &str = "ltv_queue_reconnects_total";
const CONFIRM: &str = "ltv_queue_confirm_seconds";
const REPLIES: &str = "ltv_queue_replies_total";
const REPLY: &str = "ltv_queue_reply_seconds";
const WAITERS: &str = "ltv_queue_waiters";

/// Describes the metrics to the recorder. Called once, after the recorder is installed.
pub fn describe() {
    describe_counter!(PUBLISHED, Unit::Count, "messages by what became of publishing them");
    describe_counter!(DELIVERIES, Unit::Count, "messages that came from the broker");
    describe_counter!(SETTLED, Unit::Count, "deliveries by how they ended, and whether that was sent");
    describe_gauge!(CONNECTED, "1 while connected to the broker: publish, or consume");
    describe_gauge!(BLOCKED, "1 while the broker takes no messages because its memory or disk is short");
    describe_counter!(RECONNECTS, Unit::Count, "connections and channels to the broker that were lost");
    describe_histogram!(CONFIRM, Unit::Seconds, "time from publishing a message to its confirmation");
    describe_counter!(
        REPLIES,
        Unit::Count,
        "replies to requests by what became of them, and those that never came"
    );
    describe_histogram!(REPLY, Unit::Seconds, "time from asking to the reply");
    describe_gauge!(WAITERS, Unit::Count, "how many wait for replies");
}

/// Names where a published message was to go, in the label `priority`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Queue(Priority),
    DeadLetter,
    Requests,
    /// The way back to one who asked, by its name.
    Reply(String),
}

impl Target {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Queue(priority) => priority.as_str(),
            Self::DeadLetter => "dead_letter",
            Self::Requests => "request",
            Self::Reply(_) => "reply",
        }
    }
}

pub(crate) fn published(target: &Target, result: &Result<(), Error>) {
    let outcome = result.as_ref().map_or_else(Error::outcome, |()| "confirmed");
    counter!(PUBLISHED, "priority" => target.as_str(), "outcome" => outcome).increment(1);
}

/// A message came from where it had been published to.
pub(crate) fn delivered(from: &Target) {
    counter!(DELIVERIES, "priority" => from.as_str()).increment(1);
}

pub(crate) fn settled(end: &'static str, sent: bool) {
    counter!(SETTLED, "end" => end, "sent" => if sent { "true" } else { "false" }).increment(1);
}

pub(crate) fn connected(connection: &'static str, is_connected: bool) {
    gauge!(CONNECTED, "connection" => connection).set(if is_connected { 1.0 } else { 0.0 });
}

pub(crate) fn blocked(is_blocked: bool) {
    gauge!(BLOCKED).set(if is_blocked { 1.0 } else { 0.0 });
}

pub(crate) fn reconnect(connection: &'static str) {
    counter!(RECONNECTS, "connection" => connection).increment(1);
}

pub(crate) fn confirmed_after(elapsed: Duration) {
    histogram!(CONFIRM).record(elapsed.as_secs_f64());
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyFate {
    /// Somebody waited for it.
    Heard,
    /// Who waited for it had heard it before.
    Repeated,
    /// Nobody waited, or not any more.
    Unexpected,
    Malformed,
    /// It never came, because the way back was lost.
    Lost,
}

pub(crate) fn replies(fate: ReplyFate, count: usize) {
    let outcome = match fate {
        ReplyFate::Heard => "heard",
        ReplyFate::Repeated => "repeated",
        ReplyFate::Unexpected => "unexpected",
        ReplyFate::Malformed => "malformed",
        ReplyFate::Lost => "lost",
    };
    counter!(REPLIES, "outcome" => outcome).increment(count as u64);
}

pub(crate) fn replied_after(elapsed: Duration) {
    histogram!(REPLY).record(elapsed.as_secs_f64());
}

/// So many more wait.
pub(crate) fn waiters(more: f64) {
    gauge!(WAITERS).increment(more);
}
