//! The same files without a database: rows as they are read, for those who need no more.

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use store::postgres::source::Transaction;

use super::row::{Columns, CustomerColumns, Problem, Row, TransactionColumns};
use super::table::Table;

/// What became of a file's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadReport {
    /// Rows in the file.
    pub(crate) rows: u64,
    /// Rows that could not be read.
    pub(crate) rejected: u64,
    /// The first of them: its line, and what is wrong with it.
    pub(crate) first_problem: Option<(u64, String)>,
}

/// Reads a file of transactions.
pub(crate) fn transactions(path: &Path, each: impl FnMut(Transaction)) -> Result<ReadReport> {
    read(path, TransactionColumns::transaction, each)
}

/// Reads from a file of customers to which segment each belongs.
pub(crate) fn segments(path: &Path, each: impl FnMut((i64, String))) -> Result<ReadReport> {
    read(path, CustomerColumns::segment, each)
}

fn read<C: Columns, T>(
    path: &Path,
    as_what: impl Fn(&C, &Row<'_>) -> Result<T, Problem>,
    mut each: impl FnMut(T),
) -> Result<ReadReport> {
    let mut table = Table::<C>::open(path)?;
    let mut report = ReadReport::default();
    // No database, no clock: what the future is, only the caller can say.
    while let Some(row) = table.next_as(Timestamp::MAX, &as_what)? {
        report.rows += 1;
        match row {
            Ok(row) => each(row),
            Err(problem) => {
                report.rejected += 1;
                report.first_problem.get_or_insert_with(|| (table.line(), problem.detail));
            }
        }
    }
    Ok(report)
}
