//! The fields of spans and events as `tracing` tells them, and as JSON.

use std::error::Error;
use std::fmt::{self, Debug, Write as _};

use tracing::field::{Field, Visit};

/// Hands every field to a function.
pub(super) struct Each<F>(pub(super) F);

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
pub(super) enum Value<'a> {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'a str),
    Error(&'a (dyn Error + 'static)),
    Debug(&'a dyn Debug),
}

impl Value<'_> {
    pub(super) fn write(&self, out: &mut String) {
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

pub(super) fn write_text(out: &mut String, value: &str) {
    let _ = quoted(out, |text| text.write_str(value));
}

/// Writes a JSON string. The closing quote stands even if the text could not be finished.
pub(super) fn quoted(out: &mut String, text: impl FnOnce(&mut Escaped<'_>) -> fmt::Result) -> fmt::Result {
    out.push('"');
    let result = text(&mut Escaped(out));
    out.push('"');
    result
}

/// Escapes what is written to it as the inside of a JSON string.
pub(super) struct Escaped<'a>(&'a mut String);

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
