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

/// Describes the metrics to the recorder. Called once, after the recorder is installed.
pub fn describe() {
    describe_counter!(PUBLISHED, Unit::Count, "messages by what became of publishing them");
    describe_counter!(DELIVERIES, Unit::Count, "messages that came from the broker");
    describe_counter!(SETTLED, Unit::Count, "deliveries by how they ended, and whether that was sent");
    describe_gauge!(CONNECTED, "1 while connected to the broker: publish, or consume");
    describe_gauge!(BLOCKED, "1 while the broker takes no messages because its memory or disk is short");
    describe_counter!(RECONNECTS, Unit::Count, "connections and channels to the broker that were lost");
    describe_histogram!(CONFIRM, Unit::Seconds, "time from publishing a message to its confirmation");
}

/// Names where a published message was to go, in the label `priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Queue(Priority),
    DeadLetter,
}

impl Target {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queue(priority) => priority.as_str(),
            Self::DeadLetter => "dead_letter",
        }
    }
}

pub(crate) fn published(target: Target, result: &Result<(), Error>) {
    let outcome = result.as_ref().map_or_else(Error::outcome, |()| "confirmed");
    counter!(PUBLISHED, "priority" => target.as_str(), "outcome" => outcome).increment(1);
}

pub(crate) fn delivered(priority: Priority) {
    counter!(DELIVERIES, "priority" => priority.as_str()).increment(1);
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
