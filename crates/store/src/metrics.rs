//! The store's metrics, in one place.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

const CALL_SECONDS: &str = "ltv_store_call_seconds";
const ERRORS: &str = "ltv_store_errors_total";

/// Tells the recorder what the store's metrics mean.
pub fn describe() {
    describe_histogram!(CALL_SECONDS, Unit::Seconds, "Time of a call to the store, by call");
    describe_counter!(ERRORS, Unit::Count, "Calls to the store that failed, by call and kind");
}

pub(crate) fn called(call: &'static str, took: Duration) {
    histogram!(CALL_SECONDS, "call" => call).record(took.as_secs_f64());
}

pub(crate) fn failed(call: &'static str, is_transient: bool) {
    let kind = if is_transient { "unavailable" } else { "invalid" };
    counter!(ERRORS, "call" => call, "kind" => kind).increment(1);
}
