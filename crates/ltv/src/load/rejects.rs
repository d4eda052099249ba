//! The file of rejected rows.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use files::{FileOf, NewFile};
use jiff::Timestamp;
use store::postgres::source::{Batch, Conflict, ConflictingRow};
use tokio::sync::mpsc;

use super::staged::Staged;

/// Why a row is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// It cannot be read.
    Unreadable(files::Reason),
    /// At odds with another row.
    Conflict(Conflict),
}

impl Reason {
    /// The name under which the reason is reported and counted.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Unreadable(reason) => reason.code(),
            Self::Conflict(conflict) => conflict.code(),
        }
    }
}

/// How many rows were rejected for which reason.
pub(super) type Rejected = BTreeMap<Reason, u64>;

/// Writes the rejected rows. Under another name until [`finish`](Self::finish), so that a load that fails
/// leaves the rejects of an earlier one alone.
#[derive(Debug)]
pub(super) struct RejectsFile {
    path: PathBuf,
    table: Table,
}

#[derive(Debug)]
enum Table {
    Open(Box<csv::Writer<NewFile>>),
    /// No file can be made there, for this reason. That is an error when there is a row to write down, and not before:
    /// a container's root is read-only, and most loads reject nothing.
    Refused(String),
}

impl RejectsFile {
    /// Begins the file; `inputs` are loaded and must not be written over.
    pub(super) fn create(path: &Path, inputs: &[&Path]) -> Result<Self> {
        let table = match NewFile::create(path, inputs) {
            Ok(file) => Table::Open(Box::new(csv::Writer::from_writer(file))),
            Err(error) if is_refused(&error) => Table::Refused(format!("{error:#}")),
            Err(error) => return Err(error),
        };
        let mut rejects = Self { path: path.to_owned(), table };
        if let Table::Open(_) = rejects.table {
            rejects.write(["file", "line", "reason", "detail", "row"].map(str::as_bytes))?;
        }
        Ok(rejects)
    }

    fn reject(&mut self, file: &Path, line: u64, (reason, detail): (Reason, &str), row: &[u8]) -> Result<()> {
        let file = file.to_string_lossy();
        let line = line.to_string();
        let row = String::from_utf8_lossy(row);
        self.write([
            file.as_bytes(),
            line.as_bytes(),
            reason.code().as_bytes(),
            detail.as_bytes(),
            row.as_bytes(),
        ])
    }

    fn write(&mut self, fields: [&[u8]; 5]) -> Result<()> {
        match &mut self.table {
            Table::Open(writer) => {
                writer.write_record(fields).with_context(|| format!("write {}", self.path.display()))
            }
            Table::Refused(reason) => {
                bail!("a rejected row must be written down, and {reason}: name another file with --rejects")
            }
        }
    }

    /// Makes sure that everything is on its way to the disk.
    pub(super) fn flush(&mut self) -> Result<()> {
        let Table::Open(writer) = &mut self.table else { return Ok(()) };
        writer.flush().with_context(|| format!("write {}", self.path.display()))
    }

    /// Gives the file its name.
    pub(super) fn finish(self) -> Result<()> {
        let Table::Open(writer) = self.table else {
            if self.path.exists() {
                tracing::warn!(rejects = %self.path.display(), "this file is of another load: nothing was rejected now");
            }
            return Ok(());
        };
        let file = writer.into_inner().map_err(csv::IntoInnerError::into_error);
        file.map_err(anyhow::Error::from).and_then(NewFile::finish).with_context(|| {
            format!("the good rows are loaded, the others are not in {}", self.path.display())
        })
    }
}

/// Whether the folder takes no new file: a right that is missing, or a read-only file system.
fn is_refused(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem))
}

/// Reads a file for the second time and writes down what cannot be loaded of it, in the order of its lines:
/// what cannot be read, and what the database found at odds with other rows.
///
/// Reading twice keeps the text of the rows, and a list of the bad ones, out of memory and out of the
/// database.
pub(super) fn write_rejects<C: Staged>(
    mut file: FileOf<C>,
    now: Timestamp,
    mut conflicts: mpsc::Receiver<ConflictingRow>,
    rejects: &mut RejectsFile,
) -> Result<Rejected> {
    let mut rejected = Rejected::new();
    let mut batch = Batch::default();
    let mut conflict = conflicts.blocking_recv();
    while let Some(row) = file.next_as(|columns, row| columns.stage(row, now, &mut batch))? {
        let table = file.table();
        let (reason, detail) = if let Err(problem) = row {
            (Reason::Unreadable(problem.reason), problem.detail)
        } else {
            let Some(found) = conflict.take_if(|found| found.line == table.line()) else { continue };
            conflict = conflicts.blocking_recv();
            (Reason::Conflict(found.conflict), found.detail)
        };
        rejects.reject(table.path(), table.line(), (reason, &detail), table.text())?;
        *rejected.entry(reason).or_default() += 1;
        if batch.is_full() {
            batch = Batch::default();
        }
    }
    if let Some(missed) = conflict {
        bail!(
            "{}, line {}: the file was changed while it was being loaded",
            file.table().path().display(),
            missed.line
        );
    }
    Ok(rejected)
}
