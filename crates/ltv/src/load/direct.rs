//! The same files without a database: rows as they are read, for those who need no more.
//!
//! `now` is the clock: what is later has not happened, and is rejected as `ltv load` does. [`Timestamp::MAX`] leaves it
//! to the caller to say what the future is.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::Result;
use jiff::Timestamp;
use store::postgres::source::{AcquisitionCost, Customer, Subscription, Transaction};

use super::row::{
    AcquisitionCostColumns, Columns, CustomerColumns, Problem, Reason, Row, SubscriptionColumns,
    TransactionColumns,
};
use super::table::Table;

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
    read(path, Timestamp::MAX, |columns: &TransactionColumns, row| columns.transaction(row).map(&mut each))
}

/// Reads from a file of customers to which segment each belongs.
pub(crate) fn segments(path: &Path, mut each: impl FnMut((i64, String))) -> Result<ReadReport> {
    read(path, Timestamp::MAX, |columns: &CustomerColumns, row| columns.segment(row).map(&mut each))
}

/// Reads a file of customers, each with its line.
pub(crate) fn customers(
    path: &Path,
    now: Timestamp,
    mut each: impl FnMut(u64, &Customer<'_>),
) -> Result<ReadReport> {
    read(path, now, |columns: &CustomerColumns, row| {
        columns.customer(row, |customer| each(row.line, customer))
    })
}

/// Reads a file of subscriptions, each with its line.
pub(crate) fn subscriptions(
    path: &Path,
    now: Timestamp,
    mut each: impl FnMut(u64, &Subscription<'_>),
) -> Result<ReadReport> {
    read(path, now, |columns: &SubscriptionColumns, row| {
        columns.subscription(row, |subscription| each(row.line, subscription))
    })
}

/// Reads a file of acquisition costs, each with its line.
pub(crate) fn acquisition_costs(
    path: &Path,
    now: Timestamp,
    mut each: impl FnMut(u64, AcquisitionCost),
) -> Result<ReadReport> {
    read(path, now, |columns: &AcquisitionCostColumns, row| {
        columns.cost(row).map(|cost| each(row.line, cost))
    })
}

fn read<C: Columns>(
    path: &Path,
    now: Timestamp,
    mut each: impl FnMut(&C, &Row<'_>) -> Result<(), Problem>,
) -> Result<ReadReport> {
    let mut table = Table::<C>::open(path)?;
    let mut report = ReadReport::default();
    while let Some(row) = table.next_as(now, &mut each)? {
        report.rows += 1;
        if let Err(problem) = row {
            report.reject(table.line(), problem.reason, || problem.detail);
        }
    }
    Ok(report)
}

/// Rows that are handed over at a time.
const LINES: usize = 4096;

/// Batches that may wait.
const AHEAD: usize = 8;

/// Reads a file of transactions on a thread of its own, ahead of who takes them, many lines at a time. Breaking ends
/// the reading, and the report speaks of what was read.
pub(crate) fn transactions_ahead(
    path: &Path,
    now: Timestamp,
    mut each: impl FnMut(&[Line]) -> ControlFlow<()>,
) -> Result<ReadReport> {
    let table = Table::<TransactionColumns>::open(path)?;
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let reading = scope.spawn(move || read_batches(table, now, |batch| sender.send(batch).is_ok()));
        for batch in receiver {
            let batch: Vec<Line> = batch;
            if each(&batch).is_break() {
                break; // The receiver goes, and with it the reading ends.
            }
        }
        reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Reads a file in batches, as long as somebody takes them.
fn read_batches(
    mut table: Table<TransactionColumns>,
    now: Timestamp,
    is_taken: impl Fn(Vec<Line>) -> bool,
) -> Result<ReadReport> {
    let mut report = ReadReport::default();
    let mut batch = Vec::with_capacity(LINES);
    while let Some(row) = table.next_as(now, TransactionColumns::transaction)? {
        report.rows += 1;
        match row {
            Ok(transaction) => batch.push(Line { line: table.line(), transaction }),
            Err(problem) => report.reject(table.line(), problem.reason, || problem.detail),
        }
        if batch.len() == LINES && !is_taken(std::mem::replace(&mut batch, Vec::with_capacity(LINES))) {
            return Ok(report);
        }
    }
    is_taken(batch);
    Ok(report)
}
