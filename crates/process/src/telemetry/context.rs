//! Carries the trace context from the span that sends a message to the span that handles it.
//!
//! The two are *linked*, not parent and child: a run of thirty minutes would otherwise be one trace of every
//! attempt, and a rescue would hang below a span that ended long before it.
//!
//! Without a collector there is no propagator: nothing is carried, nothing is linked.

use opentelemetry::global;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Returns the current span's context as the pairs that travel with a message (`traceparent`, `tracestate`).
pub fn inject_current() -> Vec<(String, String)> {
    let context = tracing::Span::current().context();
    let mut pairs = Sent(Vec::new());
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut pairs));
    pairs.0
}

/// Reads the sender's context from the pairs that came with a message, if they hold a valid one.
fn span_context(pairs: &[(String, String)]) -> Option<SpanContext> {
    let context = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&opentelemetry::Context::new(), &Received(pairs))
    });
    let sender = context.span().span_context().clone();
    sender.is_valid().then_some(sender)
}

/// Links a span to the sender of a message.
pub fn link(span: &tracing::Span, pairs: &[(String, String)]) {
    if let Some(sender) = span_context(pairs) {
        span.add_link(sender);
    }
}

struct Sent(Vec<(String, String)>);

impl Injector for Sent {
    fn set(&mut self, key: &str, value: String) {
        // The propagator also sets a trace state that is empty.
        if !value.is_empty() {
            self.0.push((key.to_owned(), value));
        }
    }
}

struct Received<'a>(&'a [(String, String)]);

impl Extractor for Received<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        Some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::info_span;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn traced<T>(work: impl FnOnce() -> T) -> T {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn what_was_injected_in_a_span_names_that_span() {
        let (pairs, span) = traced(|| {
            let publish = info_span!("publish");
            (publish.in_scope(inject_current), publish.context().span().span_context().clone())
        });

        let sender = span_context(&pairs).unwrap();

        assert_eq!(pairs.len(), 1, "an empty trace state must not travel: {pairs:?}");
        assert_eq!(sender.trace_id(), span.trace_id());
        assert_eq!(sender.span_id(), span.span_id());
        assert!(sender.is_remote());
    }

    #[test]
    fn outside_any_span_there_is_nothing_to_carry() {
        assert_eq!(traced(inject_current), []);
    }

    #[test]
    fn pairs_that_are_no_context_are_ignored() {
        let check = |pairs: &[(String, String)]| traced(|| span_context(pairs));

        assert_eq!(check(&[]), None);
        assert_eq!(check(&[pair("traceparent", "not a context")]), None);
        assert_eq!(
            check(&[pair("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01")]),
            None
        );
    }

    #[test]
    fn the_names_case_does_not_matter() {
        let pairs = [pair("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];

        let sender = traced(|| span_context(&pairs)).unwrap();

        assert_eq!(sender.span_id().to_string(), "00f067aa0ba902b7");
    }
}
