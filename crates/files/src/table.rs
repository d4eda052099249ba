//! A CSV file, gzipped or not, read row by row.
//!
//! Who reads it decides what a row that cannot be read costs:
//!
//! | | [`Table`], [`FileOf`](crate::FileOf) | [`Rows`] |
//! |---|---|---|
//! | a row that cannot be read | costs itself: it comes back with its [`Problem`] | ends the reading, with file and line |
//! | a field that is not UTF-8 | is a problem for whoever asks for it | ends the reading, whichever column it is in |
//! | names of columns | in any case, whatever they hold | as they are written, each a text |
//! | a first line whose quotation mark is not closed, or that is too long | is taken as it is | ends the reading |
//! | UTF-16 | is told of by that name | is no UTF-8 |

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};

use crate::fields::FieldEnds;
use crate::header::{Header, Naming};
use crate::input::Input;
use crate::reason::{Problem, Reason};
use crate::records::{Form, Records, Stretch};
use crate::row::{Record, Row};

/// An open file whose header has been read.
#[derive(Debug)]
pub struct Table {
    header: Arc<Header>,
    records: Records<Input>,
    ends: FieldEnds,
}

impl Table {
    /// Opens a file and reads its header.
    pub(crate) fn open(path: &Path, naming: Naming) -> Result<Self> {
        let name = path.display();
        let input = Input::open(path).with_context(|| format!("open {name}"))?;
        let mut records = Records::new(input);
        let mut ends = FieldEnds::default();
        let Stretch { line, text, form } = match records.next() {
            Ok(Some(stretch)) => stretch,
            Ok(None) => bail!("{name}: the file is empty; its first line must name the columns"),
            Err(error) => return Err(broken(&error, path, &records)),
        };
        match naming {
            Naming::AsWritten => {
                if let Some(problem) = problem_of(form) {
                    bail!("{name}, line {line}: {}", problem.detail);
                }
            }
            Naming::InAnyCase if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") => {
                bail!("{name}, line 1: the text is UTF-16; save it as UTF-8")
            }
            Naming::InAnyCase => {}
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let header = Arc::new(Header::read(path, &ends.split(text), naming)?);
        Ok(Self { header, records, ends })
    }

    /// Reads the next row, or what is wrong with it; `None` at the end of the file.
    pub(crate) fn next_row(&mut self) -> Result<Option<Result<Row<'_>, Problem>>> {
        let (line, form) = match self.records.next() {
            Ok(Some(stretch)) => (stretch.line, stretch.form),
            Ok(None) => return Ok(None),
            Err(error) => return Err(broken(&error, self.header.path(), &self.records)),
        };
        let problem = if let Some(problem) = problem_of(form) {
            problem
        } else {
            let found = self.ends.split(self.records.text()).len();
            let expected = self.header.names().len();
            if found == expected {
                let fields = self.ends.of(self.records.text());
                return Ok(Some(Ok(Row { header: &self.header, line, fields })));
            }
            let detail = format!("{found} fields, but the header has {expected} columns");
            Problem::new(Reason::WrongColumnCount, detail)
        };
        if matches!(problem.reason, Reason::UnclosedQuote | Reason::WrongColumnCount) {
            // A stray quotation mark may have joined lines that are rows of their own.
            self.records.keep_first_line();
        }
        Ok(Some(Err(problem)))
    }

    /// Reads the next row, which must be one, to keep it.
    fn next_record(&mut self) -> Result<Option<Record>> {
        let problem = match self.next_row()? {
            None => return Ok(None),
            Some(Ok(_)) => None,
            Some(Err(problem)) => Some(problem),
        };
        let line = self.records.line();
        if let Some(problem) = problem {
            bail!("{}, line {line}: {}", self.header.path().display(), problem.detail);
        }
        let row = Row { header: &self.header, line, fields: self.ends.of(self.records.text()) };
        row.to_record(self.ends.clone()).map(Some)
    }

    /// The names of the columns.
    pub(crate) fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.header.path()
    }

    /// The line of the row that was read last.
    pub fn line(&self) -> u64 {
        self.records.line()
    }

    /// The text of the row that was read last, as it stands in the file.
    pub fn text(&self) -> &[u8] {
        self.records.text()
    }

    /// How much of the file has been read.
    pub fn bytes_read(&self) -> u64 {
        self.records.source().bytes_read()
    }

    /// How large the file is.
    pub fn total_bytes(&self) -> u64 {
        self.records.source().total_bytes()
    }
}

/// Rows that must all be understood: those of a file, or rows that were made from them.
#[derive(Debug)]
pub struct Rows {
    header: Arc<Header>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(Box<Table>),
    Made(std::vec::IntoIter<Record>),
}

impl Rows {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self> {
        let table = Table::open(path, Naming::AsWritten)?;
        Ok(Self { header: table.header().clone(), source: Source::File(Box::new(table)) })
    }

    /// Makes other rows out of a file's.
    pub(crate) fn made_from(path: &Path, names: &[&str], rows: Vec<Record>) -> Self {
        Self { header: Arc::new(Header::made_from(path, names)), source: Source::Made(rows.into_iter()) }
    }

    /// The names of the columns.
    pub fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// Reads the next row; `None` at the end.
    pub fn next_row(&mut self) -> Result<Option<Record>> {
        match &mut self.source {
            Source::File(table) => table.next_record(),
            Source::Made(rows) => Ok(rows.next()),
        }
    }

    /// Reads up to `rows` rows.
    pub(crate) fn next_rows(&mut self, rows: usize) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        while records.len() < rows
            && let Some(record) = self.next_row()?
        {
            records.push(record);
        }
        Ok(records)
    }
}

/// What is wrong with a record that cannot be a row.
fn problem_of(form: Form) -> Option<Problem> {
    match form {
        Form::Whole => None,
        Form::Unclosed => Some(Problem::new(
            Reason::UnclosedQuote,
            "a quotation mark is not closed within 64 KiB; double it if it belongs to the text",
        )),
        Form::TooLong => Some(Problem::new(Reason::RowTooLong, "the line is longer than 64 KiB")),
    }
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
