//! A CSV file, gzipped or not, whose fields are asked for by the name of their column.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use csv::StringRecord;

use crate::load::Input;
use crate::load::records::{FieldEnds, Form, Records};

/// An open file, read record by record.
pub(crate) struct Table {
    header: Arc<Header>,
    source: Source,
}

enum Source {
    File(Box<Records<Input>>),
    /// Rows that were made from those of a file.
    Made(std::vec::IntoIter<Record>),
}

/// The names in the first line of a file.
#[derive(Debug)]
pub(crate) struct Header {
    path: PathBuf,
    names: Vec<String>,
}

/// The place of a column in every row of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column(usize);

/// A row as it stands in the file, and where.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    line: u64,
    fields: StringRecord,
}

/// A row together with the names of its columns.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    header: &'a Header,
    record: &'a Record,
}

impl Table {
    /// Opens a file and reads its header.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let input = Input::open(path).with_context(|| format!("open {name}"))?;
        let mut records = Records::new(input);
        let mut names = next_fields(&mut records).with_context(|| name.to_string())?.unwrap_or_default().1;
        if let Some(first) = names.first_mut() {
            *first = first.trim_start_matches('\u{feff}').to_owned();
        }
        for name in &mut names {
            *name = name.trim().to_owned();
        }
        ensure!(!names.is_empty(), "{name}: the file is empty; its first line must name the columns");
        let header = Arc::new(Header { path: path.to_owned(), names });
        Ok(Self { header, source: Source::File(Box::new(records)) })
    }

    /// Makes a table of other rows out of a file's.
    pub(crate) fn made_from(path: &Path, names: &[&str], rows: Vec<Record>) -> Self {
        let names = names.iter().copied().map(str::to_owned).collect();
        let header = Arc::new(Header { path: path.to_owned(), names });
        Self { header, source: Source::Made(rows.into_iter()) }
    }

    pub(crate) fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// Reads the next row; `None` at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<Record>> {
        let records = match &mut self.source {
            Source::File(records) => records,
            Source::Made(rows) => return Ok(rows.next()),
        };
        let name = self.header.path.display();
        let Some((line, fields)) = next_fields(records).with_context(|| name.to_string())? else {
            return Ok(None);
        };
        let (present, expected) = (fields.len(), self.header.names.len());
        ensure!(
            present == expected,
            "{name}, line {line}: {present} fields, but the header has {expected} columns"
        );
        Ok(Some(Record { line, fields: StringRecord::from(fields) }))
    }

    /// Reads up to `rows` rows.
    pub(crate) fn next_rows(&mut self, rows: usize) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        while records.len() < rows
            && let Some(record) = self.next()?
        {
            records.push(record);
        }
        Ok(records)
    }
}

/// The line and the fields of the next record; blank lines are none.
fn next_fields(records: &mut Records<Input>) -> Result<Option<(u64, Vec<String>)>> {
    let line = records.line();
    let Some(record) = records.next().with_context(|| format!("line {line} or after"))? else {
        return Ok(None);
    };
    let line = record.line;
    match record.form {
        Form::Whole => {}
        Form::Unclosed => bail!("line {line}: a quotation mark is not closed within 64 KiB"),
        Form::TooLong => bail!("line {line}: the line is longer than 64 KiB"),
    }
    let mut ends = FieldEnds::default();
    let fields = ends.split(record.text);
    let field = |index| {
        String::from_utf8(fields.get(index).into_owned())
            .with_context(|| format!("line {line}, field {}", index + 1))
    };
    Ok(Some((line, (0..fields.len()).map(field).collect::<Result<_>>()?)))
}

impl Header {
    /// The names of the columns, in order.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Finds the column that has one of these names, or says which are missing.
    pub(crate) fn column(&self, any_of: &[&str]) -> Result<Column> {
        self.optional(any_of)?.ok_or_else(|| {
            let found: String = self.names.join(", ").chars().take(200).collect();
            anyhow!(
                "{}, line 1: there is no column {}; found: {found}",
                self.path.display(),
                any_of.join(" or ")
            )
        })
    }

    /// Finds the column that has one of these names, if there is one.
    pub(crate) fn optional(&self, any_of: &[&str]) -> Result<Option<Column>> {
        let mut found = self.names.iter().enumerate().filter(|(_, name)| any_of.contains(&name.as_str()));
        let Some((place, name)) = found.next() else { return Ok(None) };
        if let Some((_, other)) = found.next() {
            bail!(
                "{}, line 1: the columns {name} and {other} are the same to this command; rename or remove one",
                self.path.display()
            );
        }
        Ok(Some(Column(place)))
    }

    /// The same columns under their names in lower case.
    pub(crate) fn in_lower_case(&self) -> Self {
        let names = self.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { path: self.path.clone(), names }
    }

    /// Whether there is a column of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|column| column == name)
    }
}

impl Record {
    /// Makes a row out of what begins on a line of the file.
    pub(crate) fn made_from(line: u64, fields: Vec<String>) -> Self {
        Self { line, fields: StringRecord::from(fields) }
    }

    /// The line on which it begins, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// The fields, in order.
    pub(crate) fn fields(&self) -> &StringRecord {
        &self.fields
    }

    /// The same row with the names of its columns.
    pub(crate) fn under<'a>(&'a self, header: &'a Header) -> Row<'a> {
        Row { header, record: self }
    }
}

impl<'a> Row<'a> {
    /// A field, without the blanks around it.
    pub(crate) fn text(&self, column: Column) -> &'a str {
        self.record.fields[column.0].trim()
    }

    /// A finite number.
    pub(crate) fn number(&self, column: Column) -> Result<f64> {
        let text = self.text(column);
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.bad(column, format_args!("{text:?} is not a number"))),
        }
    }

    /// A finite number that is at least zero.
    pub(crate) fn not_negative(&self, column: Column) -> Result<f64> {
        match self.number(column)? {
            number if number >= 0.0 => Ok(number),
            number => Err(self.bad(column, format_args!("{number} is below zero"))),
        }
    }

    /// A whole number; `2.0` is one.
    pub(crate) fn count(&self, column: Column) -> Result<u32> {
        let number = self.number(column)?;
        if number >= 0.0 && number <= f64::from(u32::MAX) && number % 1.0 == 0.0 {
            Ok(number as u32)
        } else {
            Err(self.bad(column, format_args!("{} is not a whole number from 0 to 2^32", self.text(column))))
        }
    }

    /// What is to be said of a column in this row.
    pub(crate) fn at(&self, column: &str, what: impl Display) -> String {
        format!("{}, line {}, column {column}: {what}", self.header.path.display(), self.record.line)
    }

    /// The error for a field that cannot be used.
    pub(crate) fn bad(&self, column: Column, what: impl Display) -> anyhow::Error {
        anyhow!(self.at(&self.header.names[column.0], what))
    }
}
