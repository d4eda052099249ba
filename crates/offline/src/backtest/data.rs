//! The customers of a file.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail};
use files::{Transaction, read};
use jiff::Timestamp;
use model::Currency;
use model::backtest::Line;

use super::{DataFacts, MICROSECONDS_PER_DAY, date};

/// A customer.
#[derive(Clone, Debug, PartialEq)]
pub struct Customer {
    /// His segment's number.
    pub segment: u32,
    /// His history in time order.
    pub lines: Vec<Line>,
}

/// The customers of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// Where they come from, for a person.
    pub source: String,
    /// The customers, by their number.
    pub customers: Vec<Customer>,
    /// The names of the segments.
    pub segments: Vec<String>,
    rows: u64,
    rejected_rows: u64,
    pub(crate) first_problem: Option<(u64, String)>,
}

impl Base {
    /// Reads a file of transactions, and the segments from a file of customers.
    pub fn read(transactions: &Path, customers: Option<&Path>) -> Result<Self> {
        let mut rows = Vec::new();
        let report = read::transactions(transactions, |row| rows.push(row))?;
        let segments = match customers {
            None => HashMap::new(),
            Some(path) => {
                let mut segments = HashMap::new();
                read::segments(path, |(customer, segment)| {
                    segments.insert(customer, segment);
                })?;
                segments
            }
        };
        let mut base = Self::of(rows, &segments);
        base.source = transactions.file_name().unwrap_or_default().to_string_lossy().into_owned();
        base.rows = report.rows;
        base.rejected_rows = report.rejected_rows();
        base.first_problem = report.first_problem;
        Ok(base)
    }

    /// Takes transactions in any order, and the names of segments by customer; a number of a transaction that comes
    /// again is that transaction again.
    pub fn of(mut rows: Vec<Transaction>, segment_of: &HashMap<i64, String>) -> Self {
        rows.sort_unstable_by_key(|row| (row.customer_id, row.occurred_at, row.transaction_id));
        rows.dedup_by_key(|row| (row.customer_id, row.occurred_at, row.transaction_id));
        let mut segments: Vec<String> = segment_of.values().cloned().collect();
        segments.sort_unstable();
        segments.dedup();
        let unknown = segments.len() as u32;
        let line = |row: &Transaction| Line {
            occurred_at_us: row.occurred_at.as_microsecond(),
            amount_minor: row.amount_minor,
            currency: *row.currency.as_bytes(),
        };
        let customers: Vec<Customer> = rows
            .chunk_by(|a, b| a.customer_id == b.customer_id)
            .map(|rows| {
                let segment = segment_of.get(&rows[0].customer_id);
                let number = segment.and_then(|name| segments.binary_search(name).ok());
                Customer {
                    segment: number.map_or(unknown, |number| number as u32),
                    lines: rows.iter().map(line).collect(),
                }
            })
            .collect();
        segments.push(if segments.is_empty() { "all" } else { "none" }.into());
        Self {
            source: "memory".into(),
            customers,
            segments,
            rows: rows.len() as u64,
            rejected_rows: 0,
            first_problem: None,
        }
    }

    /// The first day of the data, and the first one that is no longer looked at, since 1970-01-01.
    pub(super) fn days(&self, as_of: Option<Timestamp>) -> Result<(i64, i64)> {
        let times =
            || self.customers.iter().flat_map(|customer| &customer.lines).map(|line| line.occurred_at_us);
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            bail!("{}: there are no transactions", self.source)
        };
        let day_of = |time: i64| time.div_euclid(MICROSECONDS_PER_DAY);
        // A day that is not over would look like a bad day: the end is a midnight.
        let end = as_of.map_or(day_of(last) + 1, |as_of| day_of(as_of.as_microsecond()));
        Ok((day_of(first), end))
    }

    pub(super) fn facts(&self, first_day: i64, end_day: i64, currency: Currency) -> DataFacts {
        DataFacts {
            source: self.source.clone(),
            rows: self.rows,
            rejected_rows: self.rejected_rows,
            customers: self.customers.len() as u64,
            first_day: date(first_day),
            end: date(end_day),
            currency: currency.to_string(),
        }
    }

    /// Says which rows could not be read, if any.
    /// Says which rows were rejected, if any.
    pub fn warning(&self) -> Option<String> {
        let (line, detail) = self.first_problem.as_ref()?;
        Some(format!(
            "{}: {} of {} rows could not be read; the first is line {line}: {detail}",
            self.source, self.rejected_rows, self.rows
        ))
    }
}
