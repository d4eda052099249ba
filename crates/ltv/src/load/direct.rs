//! The same files without a database: rows as they are read, for those who need no more.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::Result;
use jiff::Timestamp;
use store::postgres::source::{AcquisitionCost, Customer, Relation, Subscription, Transaction};

use super::row::{
    AcquisitionCostColumns, Columns, CustomerColumns, Problem, Reason, Row, SubscriptionColumns,
    TransactionColumns,
};
use super::table::Table;
use super::{Progress, ROWS_BETWEEN_SIGNS, Stage};

/// A file to be read row by row.
#[derive(Clone, Copy)]
pub(crate) struct FileToRead<'a> {
    pub(crate) path: &'a Path,
    /// The clock: what is later has not happened, and is rejected as `ltv load` does. [`Timestamp::MAX`] leaves it to
    /// the caller to say what the future is.
    pub(crate) now: Timestamp,
    /// Whether it has been read before.
    pub(crate) is_again: bool,
    /// Is told now and then how far the reading is.
    pub(crate) progress: &'a dyn Fn(Progress),
}

impl<'a> FileToRead<'a> {
    /// A file that is read without a word, and whatever the clock says.
    fn quietly(path: &'a Path) -> Self {
        Self { path, now: Timestamp::MAX, is_again: false, progress: &|_| {} }
    }

    fn tell(&self, relation: Relation, rows: u64, bytes: u64, total_bytes: u64) {
        let stage = if self.is_again { Stage::ReadingAgain(relation) } else { Stage::Reading(relation) };
        (self.progress)(Progress { stage, rows, bytes, total_bytes });
    }
}

/// What became of a file's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadReport {
    /// Rows in the file.
    pub(crate) rows: u64,
    /// Rows that were rejected, by the reason's code.
    pub(crate) rejected: BTreeMap<&'static str, u64>,
    /// The first of them: its line, and what is wrong with it.
    pub(crate) first_problem: Option<(u64, String)>,
}

impl ReadReport {
    /// How many rows were rejected.
    pub(crate) fn rejected_rows(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Takes up what another report about the same file says.
    pub(crate) fn take_up(&mut self, other: Self) {
        self.rows += other.rows;
        for (reason, rows) in other.rejected {
            *self.rejected.entry(reason).or_default() += rows;
        }
        let first = self.first_problem.take().into_iter().chain(other.first_problem);
        self.first_problem = first.min_by_key(|(line, _)| *line);
    }

    /// Counts a row as rejected. What is wrong with it is asked where no earlier line is known to be bad.
    pub(crate) fn reject(&mut self, line: u64, reason: Reason, detail: impl FnOnce() -> String) {
        *self.rejected.entry(reason.code()).or_default() += 1;
        if self.first_problem.as_ref().is_none_or(|(first, _)| line < *first) {
            self.first_problem = Some((line, detail()));
        }
    }
}

/// A transaction, and the line of the file that it stands on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) line: u64,
    pub(crate) transaction: Transaction,
}

/// Reads a file of transactions.
pub(crate) fn transactions(path: &Path, mut each: impl FnMut(Transaction)) -> Result<ReadReport> {
    read(&FileToRead::quietly(path), |columns: &TransactionColumns, row| {
        columns.transaction(row).map(&mut each)
    })
}

/// Reads from a file of customers to which segment each belongs.
pub(crate) fn segments(path: &Path, mut each: impl FnMut((i64, String))) -> Result<ReadReport> {
    read(&FileToRead::quietly(path), |columns: &CustomerColumns, row| columns.segment(row).map(&mut each))
}

/// Reads a file of customers, each with its line.
pub(crate) fn customers(
    file: &FileToRead<'_>,
    mut each: impl FnMut(u64, &Customer<'_>),
) -> Result<ReadReport> {
    read(file, |columns: &CustomerColumns, row| columns.customer(row, |customer| each(row.line, customer)))
}

/// Reads a file of subscriptions, each with its line.
pub(crate) fn subscriptions(
    file: &FileToRead<'_>,
    mut each: impl FnMut(u64, &Subscription<'_>),
) -> Result<ReadReport> {
    read(file, |columns: &SubscriptionColumns, row| {
        columns.subscription(row, |subscription| each(row.line, subscription))
    })
}

/// Reads a file of acquisition costs, each with its line.
pub(crate) fn acquisition_costs(
    file: &FileToRead<'_>,
    mut each: impl FnMut(u64, AcquisitionCost),
) -> Result<ReadReport> {
    read(file, |columns: &AcquisitionCostColumns, row| columns.cost(row).map(|cost| each(row.line, cost)))
}

fn read<C: Columns>(
    file: &FileToRead<'_>,
    mut each: impl FnMut(&C, &Row<'_>) -> Result<(), Problem>,
) -> Result<ReadReport> {
    let mut table = Table::<C>::open(file.path)?;
    let mut report = ReadReport::default();
    file.tell(C::RELATION, 0, 0, table.total_bytes());
    while let Some(row) = table.next_as(file.now, &mut each)? {
        report.rows += 1;
        if report.rows.is_multiple_of(ROWS_BETWEEN_SIGNS) {
            file.tell(C::RELATION, report.rows, table.bytes_read(), table.total_bytes());
        }
        if let Err(problem) = row {
            report.reject(table.line(), problem.reason, || problem.detail);
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
pub(crate) fn transactions_ahead(
    file: &FileToRead<'_>,
    mut each: impl FnMut(&[Line]) -> ControlFlow<()>,
) -> Result<ReadReport> {
    let table = Table::<TransactionColumns>::open(file.path)?;
    let (now, total_bytes) = (file.now, table.total_bytes());
    file.tell(Relation::Transactions, 0, 0, total_bytes);
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let reading = scope.spawn(move || read_batches(table, now, |batch| sender.send(batch).is_ok()));
        for LinesAhead { lines, rows, bytes } in receiver {
            if each(&lines).is_break() {
                break; // The receiver goes, and with it the reading ends.
            }
            file.tell(Relation::Transactions, rows, bytes, total_bytes);
        }
        reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Reads a file in batches, as long as somebody takes them.
fn read_batches(
    mut table: Table<TransactionColumns>,
    now: Timestamp,
    is_taken: impl Fn(LinesAhead) -> bool,
) -> Result<ReadReport> {
    let mut report = ReadReport::default();
    let mut batch = Vec::with_capacity(LINES);
    while let Some(row) = table.next_as(now, TransactionColumns::transaction)? {
        report.rows += 1;
        match row {
            Ok(transaction) => batch.push(Line { line: table.line(), transaction }),
            Err(problem) => report.reject(table.line(), problem.reason, || problem.detail),
        }
        if batch.len() == LINES {
            let lines = std::mem::replace(&mut batch, Vec::with_capacity(LINES));
            if !is_taken(LinesAhead { lines, rows: report.rows, bytes: table.bytes_read() }) {
                return Ok(report);
            }
        }
    }
    is_taken(LinesAhead { lines: batch, rows: report.rows, bytes: table.bytes_read() });
    Ok(report)
}
