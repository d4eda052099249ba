//! The worker's metrics, in one place. What is true of a whole run comes from the store, not from here.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const MESSAGES: &str = "ltv_worker_messages_total";
const CUSTOMERS: &str = "ltv_worker_customers_total";
const STAGE_SECONDS: &str = "ltv_worker_stage_seconds";
const BUSY_SLOTS: &str = "ltv_worker_busy_slots";
const WAITS: &str = "ltv_worker_waits_total";

/// Tells the recorder what the worker's metrics mean.
pub fn describe() {
    describe_counter!(MESSAGES, Unit::Count, "Messages taken, by what became of them");
    describe_counter!(CUSTOMERS, Unit::Count, "Customers committed by this worker, by value or rejection");
    describe_histogram!(STAGE_SECONDS, Unit::Seconds, "Time of one stage of an attempt, by stage");
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

pub(crate) fn stage(stage: &'static str, took: Duration) {
    histogram!(STAGE_SECONDS, "stage" => stage).record(took.as_secs_f64());
}

pub(crate) fn busy(change: f64) {
    gauge!(BUSY_SLOTS).increment(change);
}

pub(crate) fn waited() {
    counter!(WAITS).increment(1);
}
