//! Who the customers are, where a file says so.

use std::collections::HashSet;

use anyhow::Result;
use batch::CustomerId;
use files::read::{self, FileToRead, ReadReport};
use jiff::Timestamp;
use store::memory::Customer;
use store::postgres::source::Conflict;

use super::names::Names;

/// The customers of a file, by their number.
#[derive(Debug, Default)]
pub(super) struct Customers {
    rows: Vec<Row>,
    /// The external ids, one after the other; each row knows where its own stands.
    external_ids: String,
    segments: Names,
    /// What became of the file's lines.
    pub(super) report: ReadReport,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    id: i64,
    acquired_at_us: i64,
    line: u64,
    external_id: (u64, u8),
    segment: u32,
}

impl Customers {
    /// Reads a file. A number, or an external id, belongs to the first line that names it.
    pub(super) fn read(file: &FileToRead<'_>) -> Result<Self> {
        let mut customers = Self::default();
        let report = read::customers(file, |line, customer| {
            let begin = customers.external_ids.len() as u64;
            customers.external_ids.push_str(customer.external_id);
            customers.rows.push(Row {
                id: customer.customer_id,
                acquired_at_us: customer.acquired_at.as_microsecond(),
                line,
                external_id: (begin, customer.external_id.len() as u8),
                segment: customers.segments.number(customer.segment),
            });
        })?;
        customers.report = report;
        customers.keep_each_once();
        Ok(customers)
    }

    /// Their numbers, ascending.
    pub(super) fn ids(&self) -> Vec<i64> {
        self.rows.iter().map(|row| row.id).collect()
    }

    /// The customer at a place in the order of the numbers.
    pub(super) fn customer(&self, place: usize) -> Customer<'_> {
        let row = &self.rows[place];
        Customer {
            id: CustomerId(row.id),
            external_id: external_id(&self.external_ids, row),
            segment: self.segments.name(row.segment),
            acquired_at: Timestamp::from_microsecond(row.acquired_at_us).expect("it was made from a moment"),
        }
    }

    fn keep_each_once(&mut self) {
        let Self { rows, external_ids, report, .. } = self;
        let mut named = HashSet::with_capacity(rows.len());
        let named_twice: HashSet<u64> = rows
            .iter()
            .filter(|row| !named.insert(external_id(external_ids, row)))
            .map(|row| row.line)
            .collect();
        drop(named);
        // Stable: of one number, the first line stays the first.
        rows.sort_by_key(|row| row.id);
        let mut before = None;
        rows.retain(|row| {
            let id = row.id;
            if before.replace(id) == Some(id) {
                report.reject(row.line, Conflict::DuplicateCustomerId.code(), || {
                    format!("customer_id {id} is in an earlier line already")
                });
                return false;
            }
            let is_named_twice = named_twice.contains(&row.line);
            if is_named_twice {
                report.reject(row.line, Conflict::DuplicateExternalId.code(), || {
                    format!("external_id {} is in an earlier line already", external_id(external_ids, row))
                });
            }
            !is_named_twice
        });
        rows.shrink_to_fit();
    }
}

fn external_id<'a>(external_ids: &'a str, row: &Row) -> &'a str {
    let (begin, length) = row.external_id;
    &external_ids[begin as usize..begin as usize + usize::from(length)]
}
