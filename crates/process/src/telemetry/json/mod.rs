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

#[cfg(test)]
mod tests;
mod value;

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;

use opentelemetry::trace::TraceContextExt;
use tracing::dispatcher::WeakDispatch;
use tracing::field::Visit;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Scope, SpanRef};

use crate::stderr;
#[cfg(test)]
pub(super) use tests::Lines;

use value::{Each, Value, quoted, write_text};

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

impl JsonLog<fn() -> stderr::Lines> {
    /// Writes to standard error, with the system's clock: formatting a line's time is the one place that reads it.
    pub(super) fn to_stderr() -> Self {
        Self { writer: || stderr::Lines, timer: SystemTime, dispatch: OnceLock::new() }
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
