//! A collector that keeps what it is sent, and the proof that traces reach one.
//!
//! [`Collector`] speaks OTLP over gRPC, as the real one does. Start it, hand its `endpoint` to the processes under
//! test, and ask for `spans` once they have ended: a process flushes its last spans on shutdown.

use std::sync::{Arc, Mutex, MutexGuard};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span that a collector received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The role of the process that sent it.
    pub(crate) role: String,
    /// The span itself: its name, attributes and links.
    pub(crate) span: Span,
}

impl Received {
    /// Tells whether this span links to the other.
    pub(crate) fn links_to(&self, other: &Self) -> bool {
        self.span
            .links
            .iter()
            .any(|link| link.trace_id == other.span.trace_id && link.span_id == other.span.span_id)
    }
}

/// A collector on a free port of this machine, until it is dropped.
pub(crate) struct Collector {
    endpoint: String,
    kept: Kept,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Collector {
    /// Starts to listen.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound port has an address"));
        let kept = Kept::default();
        let service = TraceServiceServer::new(kept.clone());
        let server = Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
        Self { endpoint, kept, server: tokio::spawn(server) }
    }

    /// The address for `--otlp-endpoint`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What was received so far.
    pub(crate) fn spans(&self) -> Vec<Received> {
        self.kept.lock().clone()
    }

    /// The spans of this name so far.
    pub(crate) fn spans_named(&self, name: &str) -> Vec<Received> {
        self.spans().into_iter().filter(|received| received.span.name == name).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Received>>>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Vec<Received>> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.lock();
        for process in request.into_inner().resource_spans {
            let role = process
                .resource
                .iter()
                .flat_map(|resource| &resource.attributes)
                .find(|attribute| attribute.key == "role")
                .and_then(|attribute| match attribute.value.as_ref()?.value.as_ref()? {
                    Value::StringValue(role) => Some(role.clone()),
                    _ => None,
                })
                .unwrap_or_default();
            let spans = process.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.extend(spans.map(|span| Received { role: role.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

mod tests {
    use ::tests::{Fleet, PATIENCE, Program};
    use process::telemetry::{self, LogFormat, TelemetryConfig};
    use tracing::info_span;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_attempt_of_a_night_links_to_the_dispatch_that_ordered_it() {
        let collector = Collector::start().await;
        let program = Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"));
        let fleet = Fleet::new(&program).await;
        let traced = ["--otlp-endpoint", collector.endpoint()];
        let run = fleet.dispatch(&traced).await;
        let _coordinator = fleet.coordinator(&[]);
        let mut worker = fleet.worker(&traced);

        fleet.finished(run).await;
        worker.terminate();
        worker.ended(PATIENCE).await;

        let dispatches = collector.spans_named("dispatch");
        let [dispatch] = &dispatches[..] else { panic!("one dispatch: {dispatches:?}") };
        let attempts = collector.spans_named("attempt");
        let chunks: i64 = fleet.ask("select chunks::bigint from fleet.runs where run_id = $1", run).await;
        assert_eq!(attempts.len() as i64, chunks, "a span for each attempt");
        assert!(attempts.iter().all(|attempt| attempt.links_to(dispatch)), "{attempts:?}");
    }

    // Starting telemetry installs it for the whole process, so no other test of this program may.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_attempts_span_reaches_the_collector_and_links_to_the_publishers() {
        let collector = Collector::start().await;
        let telemetry = telemetry::start(TelemetryConfig {
            log_format: LogFormat::Json,
            log_filter: "warn".into(),
            otlp_endpoint: Some(collector.endpoint().to_owned()),
            role: "worker",
            instance: "worker-0".into(),
            describe_metrics: || (),
        })
        .unwrap();

        let carried = info_span!("publish").in_scope(telemetry::inject_current);
        let attempt = info_span!("attempt", run.id = 7, chunk.id = 118, attempt = 1);
        telemetry::link(&attempt, &carried);
        attempt.in_scope(|| ());
        drop(attempt);
        telemetry.shutdown().await;

        let publish = &collector.spans_named("publish")[0];
        let attempt = &collector.spans_named("attempt")[0];
        assert_eq!(attempt.role, "worker");
        assert!(attempt.links_to(publish), "{attempt:?}");
        assert_ne!(attempt.span.trace_id, publish.span.trace_id, "an attempt is a trace of its own");
        let keys: Vec<&str> =
            attempt.span.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert!(keys.contains(&"run.id") && keys.contains(&"chunk.id"), "{keys:?}");
    }
}
