//! Rows of files as rows of the source relations.

use files::{
    AcquisitionCostColumns, Columns, CustomerColumns, Kind, Problem, Row, SubscriptionColumns,
    TransactionColumns,
};
use jiff::Timestamp;
use store::postgres::source::{AcquisitionCost, Batch, Customer, Relation, Subscription, Transaction};

/// The relation that a kind of file fills.
pub(crate) fn relation(kind: Kind) -> Relation {
    match kind {
        Kind::Customers => Relation::Customers,
        Kind::Transactions => Relation::Transactions,
        Kind::Subscriptions => Relation::Subscriptions,
        Kind::AcquisitionCosts => Relation::AcquisitionCosts,
    }
}

/// How the rows of one kind of file are sent on.
pub(super) trait Staged: Columns {
    /// Reads a row when the clock shows `now`, adds it to the batch and returns its number.
    fn stage(&self, row: Row<'_>, now: Timestamp, batch: &mut Batch) -> Result<i64, Problem>;
}

impl Staged for CustomerColumns {
    fn stage(&self, row: Row<'_>, now: Timestamp, batch: &mut Batch) -> Result<i64, Problem> {
        self.customer(row, now, |read| {
            let &files::Customer { customer_id, external_id, segment, acquired_at } = read;
            batch.push_staged_customer(
                row.line(),
                &Customer { customer_id, external_id, segment, acquired_at },
            );
            customer_id
        })
    }
}

impl Staged for TransactionColumns {
    fn stage(&self, row: Row<'_>, now: Timestamp, batch: &mut Batch) -> Result<i64, Problem> {
        let files::Transaction { transaction_id, customer_id, occurred_at, amount_minor, currency } =
            self.transaction(row, now)?;
        let transaction = Transaction { transaction_id, customer_id, occurred_at, amount_minor, currency };
        batch.push_staged_transaction(row.line(), &transaction);
        Ok(transaction_id)
    }
}

impl Staged for SubscriptionColumns {
    fn stage(&self, row: Row<'_>, now: Timestamp, batch: &mut Batch) -> Result<i64, Problem> {
        self.subscription(row, now, |read| {
            let &files::Subscription {
                customer_id,
                plan,
                period_months,
                started_at,
                ended_at,
                price_minor,
                currency,
                end_reason,
            } = read;
            let subscription = Subscription {
                customer_id,
                plan,
                period_months,
                started_at,
                ended_at,
                price_minor,
                currency,
                end_reason,
            };
            batch.push_staged_subscription(row.line(), &subscription);
            customer_id
        })
    }
}

impl Staged for AcquisitionCostColumns {
    fn stage(&self, row: Row<'_>, _: Timestamp, batch: &mut Batch) -> Result<i64, Problem> {
        let files::AcquisitionCost { customer_id, cost_minor, currency } = self.cost(row)?;
        batch
            .push_staged_acquisition_cost(row.line(), &AcquisitionCost { customer_id, cost_minor, currency });
        Ok(customer_id)
    }
}
