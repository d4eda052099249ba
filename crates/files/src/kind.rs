//! The kinds of files that say what a base of customers is, and an open file of one kind.

use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::header::{Header, Naming};
use crate::reason::Problem;
use crate::row::Row;
use crate::table::Table;

/// What a file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who the customers are.
    Customers,
    /// What they bought.
    Transactions,
    /// What they subscribed to.
    Subscriptions,
    /// What it cost to win them.
    AcquisitionCosts,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Customers => "customers",
            Self::Transactions => "transactions",
            Self::Subscriptions => "subscriptions",
            Self::AcquisitionCosts => "acquisition costs",
        })
    }
}

/// Where the columns of one kind of file are.
pub trait Columns: Sized + Send + 'static {
    /// What the file tells.
    const KIND: Kind;
    /// What it must hold, for a person.
    const NEEDED: &'static str;

    /// Finds the columns, or says which are missing.
    fn find(header: &Header) -> Result<Self>;
}

/// An open file of one kind, whose columns are found.
#[derive(Debug)]
pub struct FileOf<C> {
    table: Table,
    columns: C,
}

impl<C: Columns> FileOf<C> {
    /// Opens a file and finds its columns.
    pub fn open(path: &Path) -> Result<Self> {
        let table = Table::open(path, Naming::InAnyCase)?;
        let columns = C::find(table.header())?;
        Ok(Self { table, columns })
    }

    /// Reads the next row as whatever `read` makes of it; `None` at the end of the file.
    pub fn next_as<T>(
        &mut self,
        read: impl FnOnce(&C, Row<'_>) -> Result<T, Problem>,
    ) -> Result<Option<Result<T, Problem>>> {
        let row = self.table.next_row()?;
        Ok(row.map(|row| row.and_then(|row| read(&self.columns, row))))
    }

    /// The file, at the row that was read last.
    pub fn table(&self) -> &Table {
        &self.table
    }
}
