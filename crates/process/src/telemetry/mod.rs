//! What a process tells about itself: log lines, traces and metrics.
//!
//! **Terms.** A *line* is one log event on standard error. A *span* is a stretch of work (an attempt, a dispatch); its
//! fields stand in every line logged within it. The *collector* receives finished spans over OTLP. A *scrape* is
//! Prometheus reading `/metrics`.
//!
//! **Failure by failure.** Telemetry may be lost, it never holds up the night:
//!
//! - *The collector is away or slow*: spans wait in a bounded queue on a thread of their own, and are dropped
//!   when it is full. One warning a minute says how many were lost.
//! - *No collector is configured*: there is no tracing layer at all, and carrying a context carries nothing.
//! - *Nobody scrapes*: the histograms' samples are folded together every five seconds, so they do not pile up.
//! - *Shutdown while the collector is away*: waits a few seconds, then the last spans are lost.
//!
//! [`start`] is the way in. It reads no environment variable itself and is called once, inside the runtime.

mod context;
mod json;
mod kernel;
mod metrics;
mod traces;

pub use context::{inject_current, link};
pub use metrics::Metrics;

use std::io::{self, IsTerminal};

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

use crate::stderr;

use json::JsonLog;
use traces::Traces;

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: short lines, coloured on a terminal.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What [`start`] needs to know. Comes from whoever reads the configuration.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// How a log line is written.
    pub log_format: LogFormat,
    /// Which lines are written, as `info` or `info,lapin=warn`.
    pub log_filter: String,
    /// The collector's gRPC address, as `http://collector:4317`. Without one nothing is traced.
    pub otlp_endpoint: Option<String>,
    /// The role that this process plays, as `worker`.
    pub role: &'static str,
    /// What tells this process from every other, its own predecessors included.
    pub instance: String,
    /// Describes the metrics of the crates that this process is made of, which are not known here.
    pub describe_metrics: fn(),
}

/// The running telemetry of a process. Shut it down last.
pub struct Telemetry {
    metrics: Metrics,
    stop: CancellationToken,
    upkeep: JoinHandle<()>,
    traces: Option<Traces>,
}

/// Starts logs, metrics and, with an endpoint, traces.
///
/// Called once in a process, before anything else reports, and inside the runtime: the exporter's channel and
/// the upkeep of the histograms live on it.
pub fn start(config: TelemetryConfig) -> anyhow::Result<Telemetry> {
    let traces = match &config.otlp_endpoint {
        Some(endpoint) => Some(Traces::start(endpoint, config.role, config.instance)?),
        None => None,
    };
    tracing_subscriber::registry()
        .with(logs(config.log_format, &config.log_filter)?)
        .with(traces.as_ref().map(Traces::layer))
        .try_init()
        .context("install the log")?;

    let metrics = Metrics::install(config.role)?;
    stderr::describe_metrics();
    (config.describe_metrics)();
    let stop = CancellationToken::new();
    let upkeep = tokio::spawn(metrics::keep_up(metrics.clone(), stop.clone()));
    Ok(Telemetry { metrics, stop, upkeep, traces })
}

impl Telemetry {
    /// Returns what `/metrics` answers with.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Ends the upkeep and hands the last spans to the collector, for a few seconds at most.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.upkeep.await {
            tracing::error!(%error, "upkeep of the histograms failed");
        }
        if let Some(traces) = self.traces {
            traces.shutdown().await;
        }
    }
}

fn logs(format: LogFormat, filter: &str) -> anyhow::Result<Box<dyn Layer<Registry> + Send + Sync>> {
    let filter = log_filter(filter)?;
    Ok(match format {
        LogFormat::Json => JsonLog::to_stderr().with_filter(filter).boxed(),
        LogFormat::Text => {
            let lines = tracing_subscriber::fmt::layer().compact().with_writer(|| stderr::Lines);
            // Left alone on a terminal, the layer colours unless NO_COLOR is set.
            let lines = if io::stderr().is_terminal() { lines } else { lines.with_ansi(false) };
            lines.with_filter(filter).boxed()
        }
    })
}

/// Keeps the events that the operator asked for, and every span from `info` up whatever they asked for: at the
/// filter `warn`, a warning must still say which run, chunk and attempt it is about.
fn log_filter<S>(filter: &str) -> anyhow::Result<impl Filter<S> + use<S>> {
    let events = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(filter)
        .with_context(|| format!("log filter {filter:?}"))?;
    let spans = filter_fn(|metadata| metadata.is_span() && *metadata.level() <= LevelFilter::INFO)
        .with_max_level_hint(LevelFilter::INFO);
    Ok(events.or(spans))
}

#[cfg(test)]
mod tests {
    use tracing::{debug, info, info_span, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::json::Lines;
    use super::*;

    fn lines_at(filter: &str, work: impl FnOnce()) -> Vec<serde_json::Value> {
        let lines = Lines::default();
        let subscriber =
            tracing_subscriber::registry().with(lines.layer().with_filter(log_filter(filter).unwrap()));
        tracing::subscriber::with_default(subscriber, work);
        lines.parsed()
    }

    #[test]
    fn a_warning_keeps_its_spans_fields_when_infos_are_filtered_out() {
        let lines = lines_at("warn", || {
            let attempt = info_span!("attempt", run.id = 7, chunk.id = 118, attempt = 2);
            attempt.in_scope(|| {
                info!("left out");
                warn!("lease lost");
            });
        });

        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["message"], "lease lost");
        assert_eq!(lines[0]["run.id"], 7);
        assert_eq!(lines[0]["chunk.id"], 118);
        assert_eq!(lines[0]["attempt"], 2);
    }

    #[test]
    fn a_target_has_its_own_level() {
        let lines = lines_at("warn,chatty=debug", || {
            debug!(target: "chatty", "kept");
            info!(target: "quiet", "left out");
        });

        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["target"], "chatty");
    }

    #[test]
    fn an_empty_filter_means_info() {
        let lines = lines_at("", || {
            debug!("left out");
            info!("kept");
        });

        assert_eq!(lines.len(), 1);
    }

    #[test]
    fn a_malformed_filter_is_named() {
        let error = log_filter::<Registry>("worker=loud").err().unwrap();

        assert!(error.to_string().contains("worker=loud"), "{error}");
    }

    // The only test that may install the process's subscriber and recorder: both can be installed once.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn telemetry_starts_once_serves_metrics_and_ends_while_the_collector_is_away() {
        let config = TelemetryConfig {
            log_format: LogFormat::Json,
            log_filter: "error".into(),
            otlp_endpoint: Some("http://127.0.0.1:9".into()),
            role: "worker",
            instance: "worker-0".into(),
            describe_metrics: || (),
        };

        let telemetry = start(config.clone()).unwrap();
        info_span!("attempt").in_scope(|| ());
        let text = telemetry.metrics().render();
        let again = start(config);
        let ended = tokio::time::timeout(traces::SHUTDOWN_LIMIT * 2, telemetry.shutdown()).await;

        assert!(text.contains(r#"role="worker""#), "{text}");
        assert!(again.is_err(), "a second start must be refused");
        assert!(ended.is_ok(), "shutdown must be bounded");
    }
}
