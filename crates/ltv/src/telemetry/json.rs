//! Log lines as JSON, one object a line.
//!
//! Fields stand in this order: `timestamp`, `level`, `target`, `message`, the event's own fields, the fields of the
//! spans around it from the outermost inwards, `trace_id` and `span_id` while tracing is on. Everything lies flat
//! in the object, so that a search for `chunk.id` finds every line of an attempt.
//!
//! A name is written once: the event's field wins over a span's, an inner span's over an outer one's. A field that
//! has the name of one of the six above is written as `field.<name>`.
//!
//! A span's fields are encoded when they are recorded. An event is encoded straight into a buffer that its thread
//! keeps, and goes out in one write, so that lines of several threads do not mix.

use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Debug, Write as _};
use std::io::{self, Write as _};
use std::sync::OnceLock;

use opentelemetry::trace::TraceContextExt;
use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Scope, SpanRef};

const RESERVED: [&str; 6] = ["timestamp", "level", "target", MESSAGE, "trace_id", "span_id"];
const MESSAGE: &str = "message";

/// A buffer that grew beyond this for one long line is not kept.
const KEPT_CAPACITY: usize = 16 * 1024;

thread_local! {
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

/// Writes every event as a line of JSON.
pub(super) struct JsonLog<W, T = SystemTime> {
    writer: W,
    timer: T,
    dispatch: OnceLock<WeakDispatch>,
}

impl JsonLog<fn() -> io::Stderr> {
    /// Writes to standard error, with the system's clock: formatting a line's time is the one place that reads it.
    pub(super) fn to_stderr() -> Self {
        Self { writer: io::stderr, timer: SystemTime, dispatch: OnceLock::new() }
    }
}

impl<S, W, T> Layer<S> for JsonLog<W, T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
    T: FormatTime + 'static,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        // Only the first counts: a layer belongs to one subscriber.
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).expect("a new span is in the registry");
        let mut fields = SpanFields::default();
        attributes.record(&mut fields.recorder());
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).expect("a span that records is in the registry");
        // Encoded before the span is locked: a value's `Debug` may itself log within it.
        let mut recorded = SpanFields::default();
        values.record(&mut recorded.recorder());
        if let Some(fields) = span.extensions_mut().get_mut::<SpanFields>() {
            recorded.0.into_iter().for_each(|(name, value)| fields.set(name, value));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // The buffer is taken, not borrowed: a value's `Debug` may itself log.
        let mut line = LINE.try_with(Cell::take).unwrap_or_default();
        line.clear();
        self.write_line(&mut line, event, &context);
        // There is nowhere to report that a log line could not be written.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(line.as_bytes());
        if line.capacity() <= KEPT_CAPACITY {
            let _ = LINE.try_with(|kept| kept.set(line));
        }
    }
}

impl<W, T: FormatTime> JsonLog<W, T> {
    fn write_line<S>(&self, line: &mut String, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        line.push_str("{\"timestamp\":\"");
        // A time that cannot be written stays empty; the rest of the line still counts.
        let _ = self.timer.format_time(&mut Writer::new(line));
        let _ = write!(line, "\",\"level\":\"{}\",\"target\":", event.metadata().level());
        write_text(line, event.metadata().target());
        write_event_fields(line, event);
        write_span_fields(line, event, context);
        self.write_trace(line, event, context);
        line.push_str("}\n");
    }

    fn write_trace<S>(&self, line: &mut String, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(dispatch) = self.dispatch.get().and_then(WeakDispatch::upgrade) else { return };
        let traced = context
            .event_scope(event)
            .into_iter()
            .flatten()
            .find_map(|span| tracing_opentelemetry::get_otel_context(&span.id(), &dispatch));
        let Some(traced) = traced else { return };
        let span = traced.span();
        let (trace_id, span_id) = (span.span_context().trace_id(), span.span_context().span_id());
        if span.span_context().is_valid() {
            let _ = write!(line, ",\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\"");
        }
    }
}

fn write_event_fields(line: &mut String, event: &Event<'_>) {
    // Two visits, because the message need not be the first field of an event, and a line has one even if the
    // event has none.
    line.push_str(",\"message\":");
    let before = line.len();
    event.record(&mut Each(|name, value: Value<'_>| {
        if name == MESSAGE {
            value.write(line);
        }
    }));
    if line.len() == before {
        line.push_str("\"\"");
    }
    event.record(&mut Each(|name, value: Value<'_>| {
        if name != MESSAGE {
            write_name(line, name);
            value.write(line);
        }
    }));
}

fn write_span_fields<S>(line: &mut String, event: &Event<'_>, context: &Context<'_, S>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let own = event.metadata().fields();
    let scope = || context.event_scope(event).into_iter().flatten();
    for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
        let extensions = span.extensions();
        let Some(fields) = extensions.get::<SpanFields>() else { continue };
        for (name, value) in &fields.0 {
            let shadowed = own.field(name).is_some()
                || scope().take_while(|inner| inner.id() != span.id()).any(|inner| has_field(&inner, name));
            if !shadowed {
                write_name(line, name);
                line.push_str(value);
            }
        }
    }
}

fn has_field<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>, name: &str) -> bool {
    span.extensions()
        .get::<SpanFields>()
        .is_some_and(|fields| fields.0.iter().any(|(field, _)| *field == name))
}

/// A span's fields: names, and values that are encoded already.
#[derive(Default)]
struct SpanFields(Vec<(&'static str, String)>);

impl SpanFields {
    fn recorder(&mut self) -> impl Visit {
        Each(|name, value: Value<'_>| {
            let mut encoded = String::new();
            value.write(&mut encoded);
            self.set(name, encoded);
        })
    }

    fn set(&mut self, name: &'static str, value: String) {
        match self.0.iter_mut().find(|(field, _)| *field == name) {
            Some((_, recorded)) => *recorded = value,
            None => self.0.push((name, value)),
        }
    }
}

/// Hands every field to a function.
struct Each<F>(F);

impl<F: FnMut(&'static str, Value<'_>)> Visit for Each<F> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0(field.name(), Value::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0(field.name(), Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0(field.name(), Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0(field.name(), Value::Float(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0(field.name(), Value::Text(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.0(field.name(), Value::Error(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0(field.name(), Value::Debug(value));
    }
}

/// A field's value, as `tracing` tells it.
enum Value<'a> {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'a str),
    Error(&'a (dyn Error + 'static)),
    Debug(&'a dyn Debug),
}

impl Value<'_> {
    fn write(&self, out: &mut String) {
        // Writing to a string does not fail; a `Debug` that does leaves a shorter text.
        let _ = match self {
            Value::Bool(value) => write!(out, "{value}"),
            Value::Signed(value) => write!(out, "{value}"),
            Value::Unsigned(value) => write!(out, "{value}"),
            Value::Float(value) if value.is_finite() => write!(out, "{value:?}"),
            // JSON has no such number.
            Value::Float(value) => write!(out, "\"{value}\""),
            Value::Text(value) => {
                write_text(out, value);
                Ok(())
            }
            Value::Error(value) => quoted(out, |text| write_error(text, *value)),
            Value::Debug(value) => quoted(out, |text| write!(text, "{value:?}")),
        };
    }
}

/// Writes an error and what caused it, as `commit attempt 3: connection closed`.
fn write_error(text: &mut Escaped<'_>, error: &(dyn Error + 'static)) -> fmt::Result {
    write!(text, "{error}")?;
    let mut source = error.source();
    while let Some(cause) = source {
        write!(text, ": {cause}")?;
        source = cause.source();
    }
    Ok(())
}

fn write_name(line: &mut String, name: &str) {
    line.push(',');
    let name = name.strip_prefix("r#").unwrap_or(name);
    let _ = quoted(line, |text| {
        if RESERVED.contains(&name) {
            text.write_str("field.")?;
        }
        text.write_str(name)
    });
    line.push(':');
}

fn write_text(out: &mut String, value: &str) {
    let _ = quoted(out, |text| text.write_str(value));
}

/// Writes a JSON string. The closing quote stands even if the text could not be finished.
fn quoted(out: &mut String, text: impl FnOnce(&mut Escaped<'_>) -> fmt::Result) -> fmt::Result {
    out.push('"');
    let result = text(&mut Escaped(out));
    out.push('"');
    result
}

/// Escapes what is written to it as the inside of a JSON string.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        let special = |c: char| c < ' ' || matches!(c, '"' | '\\' | '\u{7f}');
        while let Some(at) = text.find(special) {
            self.0.push_str(&text[..at]);
            // Every special character is ASCII, so one byte long.
            match text.as_bytes()[at] {
                b'"' => self.0.push_str("\\\""),
                b'\\' => self.0.push_str("\\\\"),
                b'\n' => self.0.push_str("\\n"),
                b'\r' => self.0.push_str("\\r"),
                b'\t' => self.0.push_str("\\t"),
                byte => write!(self.0, "\\u{byte:04x}")?,
            }
            text = &text[at + 1..];
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
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
            r#"{"timestamp":"T","level":"INFO","target":"t","message":"m","c":"event","a":"outer","b":"inner"}"#.to_owned()
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
            r#"{"timestamp":"T","level":"INFO","target":"t","message":"m","field.level":9}"#.to_owned()
                + "\n"
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
}
