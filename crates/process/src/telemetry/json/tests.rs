use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{error, info, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// The lines that a test logged.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn layer(&self) -> JsonLog<Self, impl FormatTime + use<>> {
        let timer: fn(&mut Writer<'_>) -> fmt::Result = |writer| writer.write_str("T");
        JsonLog { writer: self.clone(), timer, dispatch: OnceLock::new() }
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn parsed(&self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(work: impl FnOnce()) -> String {
    let lines = Lines::default();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.layer()), work);
    lines.text()
}

#[test]
fn a_line_within_an_attempt_carries_the_attempts_fields() {
    let line = logged(|| {
        let run = info_span!("run", run.id = 7);
        let attempt = info_span!(parent: &run, "attempt", chunk.id = 118, attempt = 2);
        attempt.in_scope(|| info!(target: "worker", values = 500_u64, "committed"));
    });

    assert_eq!(
        line,
        r#"{"timestamp":"T","level":"INFO","target":"worker","message":"committed","values":500,"run.id":7,"chunk.id":118,"attempt":2}"#.to_owned()
            + "\n"
    );
}

#[test]
fn every_kind_of_value_has_its_json() {
    let line = logged(|| {
        let cause = io::Error::other("connection closed");
        let failure = anyhow::Error::new(cause).context("commit attempt 3 of chunk 118");
        let failure: &(dyn Error + 'static) = failure.as_ref();
        error!(
            target: "t",
            yes = true, minus = -1, whole = 2.0, huge = 1e300, nan = f64::NAN, text = "a", shown = %7,
            debug = ?Some("b"), wide = u128::MAX, error = failure, r#type = "raw", "m {}", 1
        );
    });

    assert_eq!(
        line,
        r#"{"timestamp":"T","level":"ERROR","target":"t","message":"m 1","yes":true,"minus":-1,"whole":2.0,"huge":1e300,"nan":"NaN","text":"a","shown":"7","debug":"Some(\"b\")","wide":"340282366920938463463374607431768211455","error":"commit attempt 3 of chunk 118: connection closed","type":"raw"}"#.to_owned()
            + "\n"
    );
}

#[test]
fn a_line_without_a_message_has_an_empty_one() {
    let line = logged(|| info!(target: "t", attempt = 1));

    assert_eq!(
        line,
        "{\"timestamp\":\"T\",\"level\":\"INFO\",\"target\":\"t\",\"message\":\"\",\"attempt\":1}\n"
    );
}

#[test]
fn a_name_stands_once_and_the_innermost_wins() {
    let line = logged(|| {
        let outer = info_span!("outer", a = "outer", b = "outer", c = "outer");
        let inner = info_span!(parent: &outer, "inner", b = "inner", c = "inner");
        inner.in_scope(|| info!(target: "t", c = "event", "m"));
    });

    assert_eq!(
        line,
        r#"{"timestamp":"T","level":"INFO","target":"t","message":"m","c":"event","a":"outer","b":"inner"}"#
            .to_owned()
            + "\n"
    );
}

#[test]
fn a_field_recorded_later_stands_in_the_lines_after_it() {
    let text = logged(|| {
        let span = info_span!("attempt", chunk.id = 1, attempt = tracing::field::Empty);
        let _entered = span.enter();
        info!(target: "t", "before");
        span.record("attempt", 1);
        span.record("attempt", 2);
        info!(target: "t", "after");
    });

    assert_eq!(
        text,
        r#"{"timestamp":"T","level":"INFO","target":"t","message":"before","chunk.id":1}
{"timestamp":"T","level":"INFO","target":"t","message":"after","chunk.id":1,"attempt":2}
"#
    );
}

#[test]
fn a_field_with_a_reserved_name_is_renamed() {
    let line = logged(|| {
        info_span!("s", message = "spans").in_scope(|| info!(target: "t", level = 9, "m"));
    });

    assert_eq!(
        line,
        r#"{"timestamp":"T","level":"INFO","target":"t","message":"m","field.level":9}"#.to_owned() + "\n"
    );
}

#[test]
fn every_character_survives_the_json() {
    let text: String = ('\0'..='\u{3ff}').chain(['\u{2028}', '€', '🦀']).collect();

    let line = logged(|| info!(text, shown = %text, "{text}"));

    assert_eq!(line.lines().count(), 1);
    let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(parsed["message"], text);
    assert_eq!(parsed["text"], text);
    assert_eq!(parsed["shown"], text);
}

#[test]
fn a_line_in_a_traced_span_names_trace_and_span() {
    let lines = Lines::default();
    let provider = SdkTracerProvider::builder().build();
    let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(lines.layer().boxed()).with(Some(traces));

    let context = tracing::subscriber::with_default(subscriber, || {
        info!("outside");
        let span = info_span!("attempt");
        span.in_scope(|| info!("inside"));
        span.context().span().span_context().clone()
    });

    let lines = lines.parsed();
    assert_eq!(lines[0].get("trace_id"), None);
    assert_eq!(lines[1]["trace_id"], context.trace_id().to_string());
    assert_eq!(lines[1]["span_id"], context.span_id().to_string());
}

#[test]
fn times_are_utc_with_microseconds() {
    let mut text = String::new();

    SystemTime.format_time(&mut Writer::new(&mut text)).unwrap();

    assert_eq!(text.len(), "2026-11-23T12:00:00.000000Z".len(), "{text}");
    assert!(text.ends_with('Z'), "{text}");
}
