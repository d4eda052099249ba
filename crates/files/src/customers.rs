//! Files that say who the customers are.

use anyhow::Result;
use jiff::Timestamp;

use crate::header::{Column, Header};
use crate::kind::{Columns, Kind};
use crate::reason::Problem;
use crate::row::Row;

/// A customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Customer<'a> {
    /// The customer's number.
    pub customer_id: i64,
    /// What the customer's own system calls it.
    pub external_id: &'a str,
    /// The segment it belongs to.
    pub segment: &'a str,
    /// Since when it is a customer.
    pub acquired_at: Timestamp,
}

/// The columns of a file of customers.
#[derive(Debug)]
pub struct CustomerColumns {
    customer_id: Column,
    external_id: Column,
    segment: Column,
    acquired_at: Column,
}

impl Columns for CustomerColumns {
    const KIND: Kind = Kind::Customers;
    const NEEDED: &'static str = "customer_id, external_id, segment, acquired_at";

    fn find(header: &Header) -> Result<Self> {
        let find = |name| header.needed(name, Self::NEEDED);
        Ok(Self {
            customer_id: find("customer_id")?,
            external_id: find("external_id")?,
            segment: find("segment")?,
            acquired_at: find("acquired_at")?,
        })
    }
}

impl CustomerColumns {
    /// Reads a row as a customer when the clock shows `now`, and hands it on.
    pub fn customer<T>(
        &self,
        row: Row<'_>,
        now: Timestamp,
        with: impl FnOnce(&Customer<'_>) -> T,
    ) -> Result<T, Problem> {
        Ok(with(&Customer {
            customer_id: row.whole(self.customer_id)?,
            external_id: &row.label(self.external_id)?,
            segment: &row.label(self.segment)?,
            acquired_at: row.past_time(self.acquired_at, now)?,
        }))
    }

    /// Reads from a row whose segment it is.
    pub(crate) fn segment(&self, row: Row<'_>) -> Result<(i64, String), Problem> {
        let customer_id = row.whole(self.customer_id)?;
        Ok((customer_id, row.label(self.segment)?.into_owned()))
    }
}
