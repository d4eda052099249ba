//! The process's metrics, as Prometheus reads them.

use std::time::Duration;

use anyhow::Context as _;
use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::kernel;

const BUILD_INFO: &str = "ltv_build_info";

/// How often the histograms' samples are folded into their buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Bounds for every histogram of durations: from a confirmed publish to the deadline of a night.
const SECONDS: [f64; 20] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    300.0, 600.0, 1800.0,
];

/// Bounds for every other histogram: counts from one to ten million. Without them it would become a summary, whose
/// quantiles cannot be added up over replicas.
const COUNTS: [f64; 15] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7];

/// What a scrape reads: the metrics of all crates, and what the kernel knows about the process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder that the `metrics` macros report to. Works once in a process.
    pub(super) fn install(role: &'static str) -> anyhow::Result<Self> {
        let handle = builder()?.install_recorder().context("install the metrics' recorder")?;
        describe_gauge!(BUILD_INFO, "1, labelled with the program's version and the process's role");
        gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "role" => role).set(1.0);
        Ok(Self(handle))
    }

    /// Renders everything in Prometheus's text format.
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        // Where the kernel tells nothing (not Linux), the rest is still worth reading.
        if let Some(process) = kernel::read() {
            process.write(&mut text);
        }
        text
    }
}

impl From<PrometheusHandle> for Metrics {
    fn from(handle: PrometheusHandle) -> Self {
        Self(handle)
    }
}

/// Folds the histograms' samples together until `stop`. Unscraped, they would pile up in memory.
pub(super) async fn keep_up(metrics: Metrics, stop: CancellationToken) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        metrics.0.run_upkeep();
    }
}

fn builder() -> anyhow::Result<PrometheusBuilder> {
    PrometheusBuilder::new()
        .set_buckets(&COUNTS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS))
        .context("set the histograms' buckets")
}

#[cfg(test)]
mod tests {
    use metrics::{counter, histogram};

    use super::*;

    /// What the macros in `work` report, as a scrape reads it.
    fn reported(work: impl FnOnce()) -> String {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, work);
        Metrics::from(recorder.handle()).render()
    }

    #[test]
    fn durations_are_histograms_from_half_a_millisecond_to_half_an_hour() {
        let text = reported(|| histogram!("ltv_attempt_duration_seconds").record(0.7));

        assert!(text.contains("# TYPE ltv_attempt_duration_seconds histogram"), "{text}");
        assert!(text.contains("ltv_attempt_duration_seconds_bucket{le=\"0.5\"} 0"), "{text}");
        assert!(text.contains("ltv_attempt_duration_seconds_bucket{le=\"1\"} 1"), "{text}");
        assert!(text.contains("ltv_attempt_duration_seconds_bucket{le=\"1800\"} 1"), "{text}");
    }

    #[test]
    fn other_distributions_are_histograms_too() {
        let text = reported(|| histogram!("ltv_chunk_customers").record(500.0));

        assert!(text.contains("ltv_chunk_customers_bucket{le=\"300\"} 0"), "{text}");
        assert!(text.contains("ltv_chunk_customers_bucket{le=\"1000\"} 1"), "{text}");
    }

    #[test]
    fn a_scrape_shows_the_crates_metrics_and_the_process() {
        let text = reported(|| counter!("ltv_attempts_total", "outcome" => "done").increment(3));

        assert!(text.contains("ltv_attempts_total{outcome=\"done\"} 3\n"), "{text}");
        assert!(text.contains("\nprocess_open_fds "), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_upkeep_ends_when_it_is_stopped() {
        let metrics = Metrics::from(builder().unwrap().build_recorder().handle());
        let stop = CancellationToken::new();
        let upkeep = tokio::spawn(keep_up(metrics, stop.clone()));
        tokio::time::advance(UPKEEP_INTERVAL * 3).await;

        stop.cancel();

        upkeep.await.unwrap();
    }
}
