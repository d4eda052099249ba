//! Reads whole files of one kind, row by row, and tells what became of the rows.
//!
//! A row that cannot be read is counted with its reason; what is read is handed on as it comes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::Result;
use jiff::Timestamp;

use crate::acquisition_costs::{AcquisitionCost, AcquisitionCostColumns};
use crate::customers::{Customer, CustomerColumns};
use crate::kind::{Columns, FileOf, Kind};
use crate::reason::Problem;
use crate::row::Row;
use crate::subscriptions::{Subscription, SubscriptionColumns};
use crate::transactions::{Transaction, TransactionColumns};

/// How many rows may pass without a sign of life.
pub const ROWS_BETWEEN_SIGNS: u64 = 100_000;

/// A file to be read row by row.
#[derive(Clone, Copy)]
pub struct FileToRead<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// The clock: what is later has not happened, and is rejected as `ltv load` does. [`Timestamp::MAX`] leaves it to
    /// the caller to say what the future is.
    pub now: Timestamp,
    /// Whether it has been read before.
    pub is_again: bool,
    /// Is told now and then how far the reading is.
    pub progress: &'a dyn Fn(Progress),
}

impl<'a> FileToRead<'a> {
    /// A file that is read without a word, and whatever the clock says.
    fn quietly(path: &'a Path) -> Self {
        Self { path, now: Timestamp::MAX, is_again: false, progress: &|_| {} }
    }

    fn tell(&self, kind: Kind, rows: u64, bytes: u64, total_bytes: u64) {
        (self.progress)(Progress { kind, is_again: self.is_again, rows, bytes, total_bytes });
    }
}

/// How far the reading of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it tells.
    pub kind: Kind,
    /// Whether it has been read before.
    pub is_again: bool,
    /// Rows so far, good and bad.
    pub rows: u64,
    /// Bytes read so far, as the file is on disk.
    pub bytes: u64,
    /// The size of the file on disk.
    pub total_bytes: u64,
}

/// What became of a file's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Rows in the file.
    pub rows: u64,
    /// Rows that were rejected, by the code of the reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// The first of them: its line, and what is wrong with it.
    pub first_problem: Option<(u64, String)>,
}

impl ReadReport {
    /// How many rows were rejected.
    pub fn rejected_rows(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Takes up what another report about the same file says.
    pub fn take_up(&mut self, other: Self) {
        self.rows += other.rows;
        for (reason, rows) in other.rejected {
            *self.rejected.entry(reason).or_default() += rows;
        }
        let first = self.first_problem.take().into_iter().chain(other.first_problem);
        self.first_problem = first.min_by_key(|(line, _)| *line);
    }

    /// Counts a row as rejected. What is wrong with it is asked where no earlier line is known to be bad.
    pub fn reject(&mut self, line: u64, code: &'static str, detail: impl FnOnce() -> String) {
        *self.rejected.entry(code).or_default() += 1;
        if self.first_problem.as_ref().is_none_or(|(first, _)| line < *first) {
            self.first_problem = Some((line, detail()));
        }
    }
}

/// A transaction, and the line of the file that it stands on.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "as the type says")]
pub struct Line {
    pub line: u64,
    pub transaction: Transaction,
}

/// Reads a file of transactions.
pub fn transactions(path: &Path, mut each: impl FnMut(Transaction)) -> Result<ReadReport> {
    let file = FileToRead::quietly(path);
    read(&file, |columns: &TransactionColumns, row| columns.transaction(row, file.now).map(&mut each))
}

/// Reads from a file of customers to which segment each belongs.
pub fn segments(path: &Path, mut each: impl FnMut((i64, String))) -> Result<ReadReport> {
    read(&FileToRead::quietly(path), |columns: &CustomerColumns, row| columns.segment(row).map(&mut each))
}

/// Reads a file of customers, each with its line.
pub fn customers(file: &FileToRead<'_>, mut each: impl FnMut(u64, &Customer<'_>)) -> Result<ReadReport> {
    read(file, |columns: &CustomerColumns, row| {
        columns.customer(row, file.now, |customer| each(row.line, customer))
    })
}

/// Reads a file of subscriptions, each with its line.
pub fn subscriptions(
    file: &FileToRead<'_>,
    mut each: impl FnMut(u64, &Subscription<'_>),
) -> Result<ReadReport> {
    read(file, |columns: &SubscriptionColumns, row| {
        columns.subscription(row, file.now, |subscription| each(row.line, subscription))
    })
}

/// Reads a file of acquisition costs, each with its line.
pub fn acquisition_costs(
    file: &FileToRead<'_>,
    mut each: impl FnMut(u64, AcquisitionCost),
) -> Result<ReadReport> {
    read(file, |columns: &AcquisitionCostColumns, row| columns.cost(row).map(|cost| each(row.line, cost)))
}

fn read<C: Columns>(
    file: &FileToRead<'_>,
    mut each: impl FnMut(&C, Row<'_>) -> Result<(), Problem>,
) -> Result<ReadReport> {
    let mut rows = FileOf::<C>::open(file.path)?;
    let mut report = ReadReport::default();
    file.tell(C::KIND, 0, 0, rows.table().total_bytes());
    while let Some(row) = rows.next_as(&mut each)? {
        let table = rows.table();
        report.rows += 1;
        if report.rows.is_multiple_of(ROWS_BETWEEN_SIGNS) {
            file.tell(C::KIND, report.rows, table.bytes_read(), table.total_bytes());
        }
        if let Err(problem) = row {
            report.reject(table.line(), problem.reason.code(), || problem.detail);
        }
    }
    Ok(report)
}

/// Lines that are handed over, and how far in the file they reach.
struct LinesAhead {
    lines: Vec<Line>,
    rows: u64,
    bytes: u64,
}

/// Rows that are handed over at a time.
const LINES: usize = 4096;

/// Batches that may wait.
const AHEAD: usize = 8;

/// Reads a file of transactions on a thread of its own, ahead of who takes them, many lines at a time. Breaking ends
/// the reading, and the report speaks of what was read.
pub fn transactions_ahead(
    file: &FileToRead<'_>,
    mut each: impl FnMut(&[Line]) -> ControlFlow<()>,
) -> Result<ReadReport> {
    let rows = FileOf::open(file.path)?;
    let (now, total_bytes) = (file.now, rows.table().total_bytes());
    file.tell(Kind::Transactions, 0, 0, total_bytes);
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let reading = scope.spawn(move || read_batches(rows, now, |batch| sender.send(batch).is_ok()));
        for LinesAhead { lines, rows, bytes } in receiver {
            if each(&lines).is_break() {
                break; // The receiver goes, and with it the reading ends.
            }
            file.tell(Kind::Transactions, rows, bytes, total_bytes);
        }
        reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Reads a file in batches, as long as somebody takes them.
fn read_batches(
    mut rows: FileOf<TransactionColumns>,
    now: Timestamp,
    is_taken: impl Fn(LinesAhead) -> bool,
) -> Result<ReadReport> {
    let mut report = ReadReport::default();
    let mut batch = Vec::with_capacity(LINES);
    while let Some(row) = rows.next_as(|columns: &TransactionColumns, row| columns.transaction(row, now))? {
        let table = rows.table();
        report.rows += 1;
        match row {
            Ok(transaction) => batch.push(Line { line: table.line(), transaction }),
            Err(problem) => report.reject(table.line(), problem.reason.code(), || problem.detail),
        }
        if batch.len() == LINES {
            let lines = std::mem::replace(&mut batch, Vec::with_capacity(LINES));
            if !is_taken(LinesAhead { lines, rows: report.rows, bytes: table.bytes_read() }) {
                return Ok(report);
            }
        }
    }
    is_taken(LinesAhead { lines: batch, rows: report.rows, bytes: rows.table().bytes_read() });
    Ok(report)
}
