//! What it cost to win each customer.

use anyhow::Result;
use files::read::{self, FileToRead, ReadReport};
use model::{Currency, Rejection};
use store::postgres::source::Conflict;

use super::histories::unknown_customer;

/// The costs of a file, by customer, each customer once.
#[derive(Debug, Default)]
pub(super) struct Costs {
    pub(super) costs: Vec<(i64, Result<i64, Rejection>)>,
    /// What became of the file's lines.
    pub(super) report: ReadReport,
}

impl Costs {
    /// Reads a file. Of several costs of one customer the first line counts; a cost in another currency than the run's
    /// is a rejection of the customer.
    pub(super) fn read(
        file: &FileToRead<'_>,
        currency: Currency,
        is_known: impl Fn(i64) -> bool,
    ) -> Result<Self> {
        let mut rows = Vec::new();
        let mut report = read::acquisition_costs(file, |line, cost| {
            let is_foreign = cost.currency != currency;
            let cost_minor = if is_foreign { Err(Rejection::ForeignCurrency) } else { Ok(cost.cost_minor) };
            rows.push((cost.customer_id, line, cost_minor));
        })?;
        // Stable: of one customer, the first line stays the first.
        rows.sort_by_key(|(customer, ..)| *customer);
        let mut costs: Vec<(i64, Result<i64, Rejection>)> = Vec::with_capacity(rows.len());
        for (customer, line, cost) in rows {
            if !is_known(customer) {
                report.reject(line, Conflict::UnknownCustomer.code(), || unknown_customer(customer));
            } else if costs.last().is_some_and(|(last, _)| *last == customer) {
                report.reject(line, Conflict::DuplicateAcquisitionCost.code(), || {
                    format!("customer {customer} has an acquisition cost in an earlier line already")
                });
            } else {
                costs.push((customer, cost));
            }
        }
        Ok(Self { costs, report })
    }
}
