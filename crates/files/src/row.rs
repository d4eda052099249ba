//! A row of a file: its fields, asked for by their columns.
//!
//! Here is what is read of rows that must all be understood: an error names file, line and column. What is read of rows
//! that nobody vouches for, each of which is read or has a problem, is in `field.rs`.

use std::borrow::Cow;
use std::fmt::Display;

use anyhow::{Context, Result, anyhow};

use crate::fields::{FieldEnds, Fields, quoted};
use crate::header::{Column, Header};

/// The fields of a row, together with the names of its columns.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub(crate) header: &'a Header,
    pub(crate) line: u64,
    pub(crate) fields: Fields<'a>,
}

/// A row that is kept, as it stands in the file, and where. Every field of it is a text.
#[derive(Clone, Debug)]
pub struct Record {
    line: u64,
    text: Vec<u8>,
    ends: FieldEnds,
}

impl Record {
    /// Makes a row out of what begins on a line of the file.
    pub(crate) fn made_from(line: u64, fields: &[String]) -> Self {
        let text = fields.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",").into_bytes();
        let mut ends = FieldEnds::default();
        ends.split(&text);
        Self { line, text, ends }
    }

    /// The line on which it begins, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The same row with the names of its columns.
    pub fn under<'a>(&'a self, header: &'a Header) -> Row<'a> {
        Row { header, line: self.line, fields: self.ends.of(&self.text) }
    }
}

impl<'a> Row<'a> {
    /// The line on which it begins, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Keeps the row, if every field of it is a text.
    pub(crate) fn to_record(self, ends: FieldEnds) -> Result<Record> {
        for index in 0..self.fields.len() {
            std::str::from_utf8(&self.fields.get(index)).with_context(|| {
                format!("{}, line {}, field {}", self.header.path().display(), self.line, index + 1)
            })?;
        }
        Ok(Record { line: self.line, text: self.fields.text().to_owned(), ends })
    }

    /// The fields as they are written, in order, without their quotation marks.
    pub(crate) fn texts(&self) -> impl Iterator<Item = Cow<'a, str>> {
        let fields = self.fields;
        (0..fields.len()).map(move |index| text(fields.get(index)))
    }

    /// A field, without the blanks around it.
    pub fn text(&self, column: Column) -> Cow<'a, str> {
        match text(self.fields.get(column.0)) {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        }
    }

    /// A finite number.
    pub fn number(&self, column: Column) -> Result<f64> {
        let text = self.text(column);
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.bad(column, format_args!("{text:?} is not a number"))),
        }
    }

    /// A finite number that is at least zero.
    pub fn not_negative(&self, column: Column) -> Result<f64> {
        match self.number(column)? {
            number if number >= 0.0 => Ok(number),
            number => Err(self.bad(column, format_args!("{number} is below zero"))),
        }
    }

    /// A whole number; `2.0` is one.
    pub fn count(&self, column: Column) -> Result<u32> {
        let number = self.number(column)?;
        if number >= 0.0 && number <= f64::from(u32::MAX) && number % 1.0 == 0.0 {
            Ok(number as u32)
        } else {
            Err(self.bad(column, format_args!("{} is not a whole number from 0 to 2^32", self.text(column))))
        }
    }

    /// What is to be said of a column in this row.
    pub(crate) fn at(&self, column: &str, what: impl Display) -> String {
        format!("{}, line {}, column {column}: {what}", self.header.path().display(), self.line)
    }

    /// The error for a field that cannot be used.
    pub fn bad(&self, column: Column, what: impl Display) -> anyhow::Error {
        anyhow!(self.at(self.header.name(column), what))
    }
}

/// Bytes as the text that they are; of those that are none, what can be read.
fn text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}
