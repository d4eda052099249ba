//! The worker's metrics, in one place. What is true of a whole run comes from the store, not from here.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use store::ResultRows;
use valuation::Worked;

const MESSAGES: &str = "ltv_worker_messages_total";
const CUSTOMERS: &str = "ltv_worker_customers_total";
const STAGE_SECONDS: &str = "ltv_worker_stage_seconds";
const BUSY_SLOTS: &str = "ltv_worker_busy_slots";
const WAITS: &str = "ltv_worker_waits_total";
const REQUESTS: &str = "ltv_worker_requests_total";
const REQUEST_SECONDS: &str = "ltv_worker_request_seconds";
const REQUESTS_IN_HAND: &str = "ltv_worker_requests_in_hand";

/// What a stage belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Chunk,
    Request,
}

/// Tells the recorder what the worker's metrics mean.
pub fn describe() {
    describe_counter!(MESSAGES, Unit::Count, "Messages taken, by what became of them");
    describe_counter!(CUSTOMERS, Unit::Count, "Customers committed by this worker, by value or rejection");
    describe_counter!(REQUESTS, Unit::Count, "Requests that were done with here, by what became of them");
    describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "Time from taking a request to its reply");
    describe_gauge!(
        REQUESTS_IN_HAND,
        Unit::Count,
        "Requests in hand: at work, waiting for their turn, or for another's lease"
    );
    describe_histogram!(
        STAGE_SECONDS,
        Unit::Seconds,
        "Time of one stage of an attempt, by stage and by what it is an attempt at"
    );
    describe_gauge!(BUSY_SLOTS, Unit::Count, "Slots at work");
    describe_counter!(WAITS, Unit::Count, "Times an attempt waited for a store that was away");
}

pub(crate) fn settled(outcome: &'static str) {
    counter!(MESSAGES, "outcome" => outcome).increment(1);
}

pub(crate) fn committed(values: usize, rejections: usize) {
    counter!(CUSTOMERS, "result" => "value").increment(values as u64);
    counter!(CUSTOMERS, "result" => "rejection").increment(rejections as u64);
}

pub(crate) fn stage(work: Work, stage: &'static str, took: Duration) {
    let of = match work {
        Work::Chunk => "chunk",
        Work::Request => "request",
    };
    histogram!(STAGE_SECONDS, "of" => of, "stage" => stage).record(took.as_secs_f64());
}

/// Tells how long customers took, and hands on what came of it.
pub(crate) fn worked(work: Work, worked: Worked) -> ResultRows {
    stage(work, "read", worked.read);
    stage(work, "compute", worked.computed);
    worked.rows
}

pub(crate) fn request_settled(outcome: &'static str) {
    counter!(REQUESTS, "outcome" => outcome).increment(1);
}

pub(crate) fn request_replied(after: Duration) {
    histogram!(REQUEST_SECONDS).record(after.as_secs_f64());
}

pub(crate) fn requests_in_hand(change: f64) {
    gauge!(REQUESTS_IN_HAND).increment(change);
}

pub(crate) fn busy(change: f64) {
    gauge!(BUSY_SLOTS).increment(change);
}

pub(crate) fn waited() {
    counter!(WAITS).increment(1);
}
