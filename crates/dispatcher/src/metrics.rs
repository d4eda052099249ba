//! The dispatcher's metrics, in one place.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

const RUNS: &str = "ltv_dispatcher_runs_total";
const PLAN_SECONDS: &str = "ltv_dispatcher_plan_seconds";
const PUBLISH_SECONDS: &str = "ltv_dispatcher_publish_seconds";

/// Tells the recorder what the dispatcher's metrics mean.
pub fn describe() {
    describe_counter!(RUNS, Unit::Count, "Orders, by whether they made a new run or found one");
    describe_histogram!(PLAN_SECONDS, Unit::Seconds, "Time to plan and record a run");
    describe_histogram!(PUBLISH_SECONDS, Unit::Seconds, "Time to publish a run's chunks, confirms included");
}

pub(crate) fn planned(is_new: bool, took: Duration) {
    counter!(RUNS, "result" => if is_new { "new" } else { "found" }).increment(1);
    histogram!(PLAN_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn published(took: Duration) {
    histogram!(PUBLISH_SECONDS).record(took.as_secs_f64());
}
