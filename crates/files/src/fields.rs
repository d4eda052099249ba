//! Cuts a record of CSV text into its fields, and takes their quotation marks away.

use std::borrow::Cow;

/// Where in a field the reading stands. A quotation mark means something only at the beginning of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Quoting {
    #[default]
    FieldStart,
    Plain,
    Quoted,
    /// After a quotation mark within a quoted field: the end of it, or the first half of a doubled one.
    QuoteInQuoted,
}

impl Quoting {
    pub(crate) fn is_open(self) -> bool {
        self == Self::Quoted
    }

    pub(crate) fn read(&mut self, text: &[u8]) {
        for &byte in text {
            *self = self.after(byte);
        }
    }

    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::QuoteInQuoted,
            (Self::Quoted, _) | (Self::FieldStart | Self::QuoteInQuoted, b'"') => Self::Quoted,
            (_, b',') => Self::FieldStart,
            (_, _) => Self::Plain,
        }
    }
}

/// Where the fields of a record are. Reused from record to record.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldEnds(Vec<Field>);

#[derive(Clone, Copy, Debug)]
struct Field {
    start: usize,
    end: usize,
    /// Whether there is more to the field than to copy it: quotation marks.
    is_quoted: bool,
}

/// The fields of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    text: &'a [u8],
    fields: &'a [Field],
}

impl FieldEnds {
    /// Splits a whole record.
    pub(crate) fn split<'a>(&'a mut self, text: &'a [u8]) -> Fields<'a> {
        self.0.clear();
        let mut quoting = Quoting::default();
        let mut field = Field { start: 0, end: 0, is_quoted: false };
        for (index, &byte) in text.iter().enumerate() {
            if byte == b',' && !quoting.is_open() {
                self.0.push(Field { end: index, ..field });
                field = Field { start: index + 1, end: 0, is_quoted: false };
            }
            quoting = quoting.after(byte);
            field.is_quoted |= quoting.is_open();
        }
        self.0.push(Field { end: text.len(), ..field });
        self.of(text)
    }

    /// The fields of the record that was split last; `text` is its text.
    pub(crate) fn of<'a>(&'a self, text: &'a [u8]) -> Fields<'a> {
        Fields { text, fields: &self.0 }
    }
}

impl<'a> Fields<'a> {
    /// The record.
    pub(crate) fn text(&self) -> &'a [u8] {
        self.text
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// A field as it is meant: without its quotation marks.
    pub(crate) fn get(&self, index: usize) -> Cow<'a, [u8]> {
        let field = self.fields[index];
        let text = &self.text[field.start..field.end];
        if field.is_quoted { unquote(text) } else { Cow::Borrowed(text) }
    }
}

fn unquote(text: &[u8]) -> Cow<'_, [u8]> {
    if let [b'"', inner @ .., b'"'] = text
        && !inner.contains(&b'"')
    {
        return Cow::Borrowed(inner);
    }
    let mut quoting = Quoting::default();
    let mut plain = Vec::with_capacity(text.len());
    for &byte in text {
        let is_mark = byte == b'"' && matches!(quoting, Quoting::FieldStart | Quoting::Quoted);
        if !is_mark {
            plain.push(byte);
        }
        quoting = quoting.after(byte);
    }
    Cow::Owned(plain)
}

/// A text as a field: in quotation marks where it could be taken for more than one.
pub fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_one_field_and_reads_back() {
        let texts = ["plain", "", "a,b", "say \"yes\"", "6\" wide", "two\nlines", "\""];
        let record: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
        let record = record.join(",");

        let mut ends = FieldEnds::default();
        let fields = ends.split(record.as_bytes());

        let read: Vec<_> = (0..fields.len()).map(|index| fields.get(index)).collect();
        assert_eq!(read, texts.map(|text| Cow::Borrowed(text.as_bytes())));
    }
}
