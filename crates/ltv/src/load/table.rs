//! A CSV file of one kind, read row by row: a typed row goes into a batch, a bad one comes back with its
//! problem.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use store::postgres::source::Batch;

use super::input::Input;
use super::records::{FieldEnds, Form, Records};
use super::row::{Columns, Header, MissingColumn, Problem, Reason, Row};

/// An open file whose header has been understood.
#[derive(Debug)]
pub(super) struct Table<C> {
    path: PathBuf,
    records: Records<Input>,
    ends: FieldEnds,
    columns: C,
    column_count: usize,
}

/// What became of a row.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in the batch; this is its number.
    Read { number: i64 },
    /// It cannot be read.
    Rejected(Problem),
}

impl<C: Columns> Table<C> {
    /// Opens a file and finds its columns.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let input = Input::open(path).with_context(|| format!("open {name}"))?;
        let mut records = Records::new(input);
        let mut ends = FieldEnds::default();
        let header = read_header(&mut records, &mut ends, path)?;
        let columns = C::find(&header).map_err(|missing| explain::<C>(&missing, &header, path))?;
        Ok(Self { path: path.to_owned(), records, ends, columns, column_count: header.columns() })
    }

    /// Reads the next row into the batch; `None` at the end of the file. `now` is the clock.
    pub(super) fn next(&mut self, now: Timestamp, batch: &mut Batch) -> Result<Option<Outcome>> {
        let read = self.next_as(now, |columns, row| columns.read(row, batch))?;
        Ok(read.map(|result| match result {
            Ok(number) => Outcome::Read { number },
            Err(problem) => Outcome::Rejected(problem),
        }))
    }

    /// Reads the next row as whatever `read` makes of it; `None` at the end of the file.
    pub(super) fn next_as<T>(
        &mut self,
        now: Timestamp,
        read: impl FnOnce(&C, &Row<'_>) -> Result<T, Problem>,
    ) -> Result<Option<Result<T, Problem>>> {
        let record = match self.records.next() {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(None),
            Err(error) => return Err(broken(&error, &self.path, &self.records)),
        };
        let result = match record.form {
            Form::Unclosed => Err(Problem::new(
                Reason::UnclosedQuote,
                "a quotation mark is not closed within 64 KiB; double it if it belongs to the text",
            )),
            Form::TooLong => Err(Problem::new(Reason::RowTooLong, "the line is longer than 64 KiB")),
            Form::Whole => {
                let fields = self.ends.split(record.text);
                if fields.len() == self.column_count {
                    read(&self.columns, &Row { line: record.line, fields, now })
                } else {
                    let (found, expected) = (fields.len(), self.column_count);
                    let detail = format!("{found} fields, but the header has {expected} columns");
                    Err(Problem::new(Reason::WrongColumnCount, detail))
                }
            }
        };
        if let Err(Problem { reason: Reason::UnclosedQuote | Reason::WrongColumnCount, .. }) = result {
            // A stray quotation mark may have joined lines that are rows of their own.
            self.records.keep_first_line();
        }
        Ok(Some(result))
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The line of the row that was read last.
    pub(super) fn line(&self) -> u64 {
        self.records.line()
    }

    /// The text of the row that was read last, as it stands in the file.
    pub(super) fn text(&self) -> &[u8] {
        self.records.text()
    }

    /// How much of the file has been read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.records.source().bytes_read()
    }

    /// How large the file is.
    pub(super) fn total_bytes(&self) -> u64 {
        self.records.source().total_bytes()
    }
}

fn read_header(records: &mut Records<Input>, ends: &mut FieldEnds, path: &Path) -> Result<Header> {
    let name = path.display();
    let line = match records.next() {
        Ok(Some(_)) => records.text(),
        Ok(None) => bail!("{name}: the file is empty; its first line must name the columns"),
        Err(error) => return Err(broken(&error, path, records)),
    };
    if line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff") {
        bail!("{name}, line 1: the text is UTF-16; save it as UTF-8");
    }
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    Ok(Header::read(&ends.split(line)))
}

fn explain<C: Columns>(missing: &MissingColumn, header: &Header, path: &Path) -> anyhow::Error {
    let (name, wanted, needed) = (path.display(), missing.wanted, C::NEEDED);
    if missing.appears_twice {
        return anyhow!("{name}, line 1: two columns are named {wanted}; rename or remove one");
    }
    let found = header.to_string();
    let mend = if header.columns() == 1 && found.contains([';', '\t', '|']) {
        "separate the columns with commas"
    } else {
        "name the columns in the first line"
    };
    let found: String = found.chars().take(200).collect();
    anyhow!(
        "{name}, line 1: there is no column {wanted}; {mend}. Found: {found}. Needed, in any order: {needed}"
    )
}

/// The error for a file that cannot be read on.
fn broken(error: &io::Error, path: &Path, records: &Records<Input>) -> anyhow::Error {
    let (name, line) = (path.display(), records.line());
    if !records.source().is_gzip() {
        return anyhow!("{name}, line {line}: {error}");
    }
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the compressed file breaks off".to_owned(),
        _ => format!("the compressed file is damaged ({error})"),
    };
    anyhow!("{name}, line {line}: {what}; make or copy the file again")
}
