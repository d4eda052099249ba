//! The coordinator's metrics, in one place. It gathers what is true of whole runs from the store's rows, which
//! nobody else reports.

use std::time::Duration;

use batch::{Outlook, PublishCause, RunSnapshot, Verdict};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use store::FinishedRun;

const PASS_SECONDS: &str = "ltv_coordinator_pass_seconds";
const REPUBLISHED: &str = "ltv_coordinator_published_total";
const RESCUED: &str = "ltv_coordinator_rescued_total";
const FINISHED: &str = "ltv_coordinator_finished_runs_total";
const HELD: &str = "ltv_coordinator_held_runs_total";
const HELD_NOW: &str = "ltv_held_runs";
const RUN_SECONDS: &str = "ltv_run_seconds";
const FIGURES_SECONDS: &str = "ltv_coordinator_figures_seconds";
const RUN_SHARE: &str = "ltv_run_share";
const RUN_OUTLOOK: &str = "ltv_run_outlook";

/// Tells the recorder what the coordinator's metrics mean.
pub fn describe() {
    describe_histogram!(PASS_SECONDS, Unit::Seconds, "Time of a pass");
    describe_counter!(REPUBLISHED, Unit::Count, "Chunks published by the coordinator, by cause");
    describe_counter!(RESCUED, Unit::Count, "Chunks rescued, by verdict");
    describe_counter!(FINISHED, Unit::Count, "Runs finished");
    describe_counter!(HELD, Unit::Count, "Runs held because they lie too far from the run before");
    describe_gauge!(
        HELD_NOW,
        "Runs that are held, and wait for a person; 0 of a coordinator that does not lead"
    );
    describe_histogram!(RUN_SECONDS, Unit::Seconds, "Time of a finished run from the plan on");
    describe_histogram!(
        FIGURES_SECONDS,
        Unit::Seconds,
        "Time that the figures of a finished run's segments take"
    );
    describe_gauge!(RUN_SHARE, "Settled share of the work of the latest open run, by priority");
    describe_gauge!(
        RUN_OUTLOOK,
        "Of the latest open run, by priority: 0 on track, 1 at risk, 2 infeasible, 3 missed"
    );
}

pub(crate) fn passed(took: Duration) {
    histogram!(PASS_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn republished(cause: PublishCause) {
    counter!(REPUBLISHED, "cause" => cause.as_str()).increment(1);
}

pub(crate) fn rescued(verdict: Verdict) {
    let verdict = match verdict {
        Verdict::RetryAt(_) => "retry",
        Verdict::DeadLetter => "dead_letter",
    };
    counter!(RESCUED, "verdict" => verdict).increment(1);
}

pub(crate) fn held() {
    counter!(HELD).increment(1);
}

pub(crate) fn held_now(runs: u64) {
    gauge!(HELD_NOW).set(runs as f64);
}

pub(crate) fn finished(finished: &FinishedRun) {
    counter!(FINISHED).increment(1);
    histogram!(RUN_SECONDS).record(finished.took.as_secs_f64());
}

pub(crate) fn figured(took: Duration) {
    histogram!(FIGURES_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn run(run: &RunSnapshot) {
    let RunSnapshot { recorded: run, forecast } = run;
    let outlook = match forecast.outlook {
        Outlook::OnTrack => 0.0,
        Outlook::AtRisk => 1.0,
        Outlook::Infeasible => 2.0,
        Outlook::Missed => 3.0,
    };
    let priority = run.priority.as_str();
    gauge!(RUN_SHARE, "priority" => priority).set(run.progress.share());
    gauge!(RUN_OUTLOOK, "priority" => priority).set(outlook);
}
