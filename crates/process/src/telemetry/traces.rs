//! Traces over OTLP: spans from `info` up go to the collector in batches, from a thread of their own.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{Subscriber, warn};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

const SERVICE: &str = "ltv-fleet";

/// How long one batch may take.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);

/// How long the last spans may hold up the end of the process.
pub(super) const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// The least time between two warnings about the collector.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// The way of finished spans to the collector.
pub(super) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Opens the way, inside the runtime. The collector need not be there.
    pub(super) fn start(endpoint: &str, role: &'static str, instance: String) -> anyhow::Result<Self> {
        let exporter = OtlpExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_LIMIT)
            .build()
            .with_context(|| format!("open the OTLP endpoint {endpoint:?}"))?;
        global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(role, instance))
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_batch_exporter(Watched::new(exporter))
            .build();
        Ok(Self { provider })
    }

    /// The layer that turns spans of `tracing` into spans of this trace.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SERVICE))
            // A span moves over threads at every await, and its times on and off them are kept at every poll.
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_filter(LevelFilter::INFO)
    }

    /// Hands over the last spans, for [`SHUTDOWN_LIMIT`] at most.
    pub(super) async fn shutdown(self) {
        // Not `spawn_blocking`: the runtime waits for its blocking threads without a limit.
        let (done, outcome) = oneshot::channel();
        let flush = move || {
            let _ = done.send(self.provider.shutdown_with_timeout(SHUTDOWN_LIMIT));
        };
        if let Err(error) = thread::Builder::new().name("flush-spans".into()).spawn(flush) {
            warn!(%error, "last spans are lost: no thread to flush them");
            return;
        }
        match tokio::time::timeout(SHUTDOWN_LIMIT, outcome).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => warn!(%error, "last spans are lost"),
            Ok(Err(_)) | Err(_) => {
                warn!(limit = ?SHUTDOWN_LIMIT, "last spans are lost: flushing did not end");
            }
        }
    }
}

/// Says who speaks. Starts empty, because the SDK's own start reads environment variables.
fn resource(role: &'static str, instance: String) -> Resource {
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_service_name(SERVICE)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance),
            KeyValue::new("role", role),
        ])
        .build()
}

/// Warns now and then about spans that an exporter lost. The SDK itself says nothing.
#[derive(Debug)]
struct Watched<E> {
    exporter: E,
    losses: Mutex<Losses>,
}

impl<E> Watched<E> {
    fn new(exporter: E) -> Self {
        Self { exporter, losses: Mutex::default() }
    }

    fn lost(&self, spans: usize) -> Option<usize> {
        self.losses.lock().expect("nothing panics while it is held").add(spans, Instant::now())
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.exporter.export(batch).await;
        if let Err(error) = &outcome
            && let Some(spans) = self.lost(spans)
        {
            warn!(spans, %error, "spans are lost: the collector does not take them");
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The spans lost since the last warning.
#[derive(Debug, Default)]
struct Losses {
    spans: usize,
    warned: Option<Instant>,
}

impl Losses {
    /// Counts lost spans. Returns how many there are to warn about, if a warning is due.
    fn add(&mut self, spans: usize, now: Instant) -> Option<usize> {
        self.spans += spans;
        if self.warned.is_some_and(|warned| now.duration_since(warned) < WARNING_INTERVAL) {
            return None;
        }
        self.warned = Some(now);
        Some(std::mem::take(&mut self.spans))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn losses_are_warned_about_at_once_then_once_a_minute_and_in_full() {
        let mut losses = Losses::default();
        let start = Instant::now();

        assert_eq!(losses.add(5, start), Some(5));
        assert_eq!(losses.add(7, start + Duration::from_secs(5)), None);
        assert_eq!(losses.add(1, start + Duration::from_secs(59)), None);
        assert_eq!(losses.add(2, start + WARNING_INTERVAL), Some(10));
    }

    #[tokio::test]
    async fn an_endpoint_that_is_none_is_refused_at_the_start() {
        for endpoint in ["not an address", "https://no-tls-built-in:4317"] {
            let error = Traces::start(endpoint, "worker", "w".into()).err().unwrap();

            assert!(error.to_string().contains(endpoint), "{error}");
        }
    }

    #[tokio::test]
    async fn the_resource_says_who_speaks() {
        let resource = resource("worker", "worker-0".into());

        let said = |key: &str| resource.get(&key.to_owned().into()).unwrap().to_string();
        assert_eq!(said("service.name"), "ltv-fleet");
        assert_eq!(said("service.instance.id"), "worker-0");
        assert_eq!(said("role"), "worker");
    }
}
