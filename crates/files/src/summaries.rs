//! Customers in a file: one row each, or as many as have the same history, or the transactions themselves.

use std::path::Path;

use anyhow::Result;

use crate::header::{Column, Header};
use crate::row::Row;
use crate::summed_up;
use crate::table::Rows;

pub use crate::summed_up::Reading;

/// Opens a file of customers. Transactions are summed up into rows of customers; the number is of those who could
/// not be.
pub fn open(path: &Path, reading: &Reading) -> Result<(Rows, u64)> {
    let rows = Rows::open(path)?;
    if summed_up::are_in(rows.header()) { summed_up::fold(rows, reading) } else { Ok((rows, 0)) }
}

/// What a purchase model knows about a customer; times in weeks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Customer {
    /// Repeat purchases.
    pub x: u32,
    /// When the last of them was, from the first purchase.
    pub t_x: f64,
    /// From the first purchase to the end of the observation.
    pub age: f64,
}

/// What BG/BB knows about a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Donor {
    /// Opportunities that were used.
    pub x: u32,
    /// The last of them; 0 for none.
    pub t_x: u32,
    /// Opportunities that there were.
    pub n: u32,
}

/// Where the numbers of [`Customer`] or [`Donor`] are.
#[derive(Clone, Copy, Debug)]
pub struct HistoryColumns {
    x: Column,
    t_x: Column,
    length: Column,
}

/// Where the numbers of a spend model are.
#[derive(Clone, Copy, Debug)]
pub struct SpendColumns {
    x: Column,
    zbar: Column,
}

/// The names of a column that says how many customers a row stands for.
pub const WEIGHT: [&str; 5] = ["weights", "weight", "customers", "donors", "count"];

const X: [&str; 2] = ["x", "frequency"];
const ZBAR: [&str; 2] = ["zbar", "monetary_value"];

impl HistoryColumns {
    /// Finds the columns of customers who may buy at any time.
    pub fn of_customers(header: &Header) -> Result<Self> {
        Self::find(header, &["T", "age", "periods"])
    }

    /// Finds the columns of customers who have opportunities.
    pub fn of_donors(header: &Header) -> Result<Self> {
        Self::find(header, &["n", "periods", "T"])
    }

    fn find(header: &Header, length: &[&str]) -> Result<Self> {
        Ok(Self {
            x: header.column(&X)?,
            t_x: header.column(&["t_x", "recency"])?,
            length: header.column(length)?,
        })
    }

    /// Reads a customer who can exist.
    pub fn customer(&self, row: Row<'_>) -> Result<Customer> {
        let (x, t_x, age) = (row.count(self.x)?, row.not_negative(self.t_x)?, row.not_negative(self.length)?);
        if t_x > age {
            return Err(
                row.bad(self.t_x, format_args!("the last purchase at {t_x} is after the end at {age}"))
            );
        }
        self.check_silence(row, x, t_x)?;
        Ok(Customer { x, t_x, age })
    }

    /// Reads a customer with opportunities who can exist.
    pub fn donor(&self, row: Row<'_>) -> Result<Donor> {
        let (x, t_x, n) = (row.count(self.x)?, row.count(self.t_x)?, row.count(self.length)?);
        if t_x > n {
            return Err(row.bad(self.t_x, format_args!("the last use at {t_x} is after the end at {n}")));
        }
        self.check_silence(row, x, f64::from(t_x))?;
        if x > t_x {
            return Err(row.bad(self.x, format_args!("{x} uses do not fit into {t_x} opportunities")));
        }
        Ok(Donor { x, t_x, n })
    }

    fn check_silence(&self, row: Row<'_>, x: u32, t_x: f64) -> Result<()> {
        if x == 0 && t_x != 0.0 {
            return Err(row.bad(self.t_x, "must be 0 where there was no repeat purchase"));
        }
        Ok(())
    }
}

impl SpendColumns {
    /// Finds the columns.
    pub fn find(header: &Header) -> Result<Self> {
        Ok(Self { x: header.column(&X)?, zbar: header.column(&ZBAR)? })
    }

    /// Reads the repeat purchases and their mean spend; what is spent on no purchase is 0.
    pub fn spend(&self, row: Row<'_>) -> Result<(u32, f64)> {
        let (x, zbar) = (row.count(self.x)?, row.not_negative(self.zbar)?);
        Ok((x, if x == 0 { 0.0 } else { zbar }))
    }

    /// The error for a mean spend that cannot be used.
    pub fn bad_spend(&self, row: Row<'_>, what: &str) -> anyhow::Error {
        row.bad(self.zbar, what)
    }
}

/// Reads how many customers a row stands for: one, unless there is a column for it.
pub fn weight(row: Row<'_>, column: Option<Column>) -> Result<u64> {
    column.map_or(Ok(1), |column| row.count(column).map(u64::from))
}
