//! The rows of the source relations, encoded to be sent.

use bytes::{BufMut, BytesMut};
use jiff::Timestamp;
use model::Currency;

use crate::postgres::copy::{BUFFER, PIECE, POSTGRES_EPOCH_US};

/// A row of `source.customers`.
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

/// A row of `source.transactions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The transaction's number.
    pub transaction_id: i64,
    /// Who bought.
    pub customer_id: i64,
    /// When.
    pub occurred_at: Timestamp,
    /// For how much, in minor units; negative for a refund.
    pub amount_minor: i64,
    /// In which currency.
    pub currency: Currency,
}

/// A row of `source.subscriptions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// Whose it is.
    pub customer_id: i64,
    /// The plan's name.
    pub plan: &'a str,
    /// Months from one payment to the next.
    pub period_months: i32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
    /// What is paid each time, in minor units.
    pub price_minor: i64,
    /// In which currency.
    pub currency: Currency,
    /// Why it ended, if that is known; `plan_changed` if the customer went on in another plan.
    pub end_reason: Option<&'a str>,
}

/// A row of `source.acquisition_costs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcquisitionCost {
    /// Who was won.
    pub customer_id: i64,
    /// For how much, in minor units.
    pub cost_minor: i64,
    /// In which currency.
    pub currency: Currency,
}

/// Rows encoded for one binary COPY, in pieces of about 60 KiB.
///
/// Rows of one batch are all of one kind; the server refuses a COPY into which another kind has strayed.
#[derive(Debug)]
pub struct Batch {
    pub(super) bytes: BytesMut,
    rows: u64,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: BytesMut::with_capacity(BUFFER), rows: 0 }
    }
}

impl Batch {
    /// Adds a customer for [`SourceWriter::copy`](super::SourceWriter::copy).
    pub fn push_customer(&mut self, customer: &Customer<'_>) {
        self.begin_row(4);
        self.put_customer(customer);
    }

    /// Adds the customer of a line for [`SourceWriter::stage`](super::SourceWriter::stage).
    pub fn push_staged_customer(&mut self, line: u64, customer: &Customer<'_>) {
        self.begin_row(5);
        self.put_number(line as i64);
        self.put_customer(customer);
    }

    /// Adds a transaction for [`SourceWriter::copy`](super::SourceWriter::copy).
    pub fn push_transaction(&mut self, transaction: &Transaction) {
        self.begin_row(5);
        self.put_transaction(transaction);
    }

    /// Adds the transaction of a line for [`SourceWriter::stage`](super::SourceWriter::stage).
    pub fn push_staged_transaction(&mut self, line: u64, transaction: &Transaction) {
        self.begin_row(6);
        self.put_number(line as i64);
        self.put_transaction(transaction);
    }

    /// Adds a subscription for [`SourceWriter::copy`](super::SourceWriter::copy).
    pub fn push_subscription(&mut self, subscription: &Subscription<'_>) {
        self.begin_row(8);
        self.put_subscription(subscription);
    }

    /// Adds the subscription of a line for [`SourceWriter::stage`](super::SourceWriter::stage).
    pub fn push_staged_subscription(&mut self, line: u64, subscription: &Subscription<'_>) {
        self.begin_row(9);
        self.put_number(line as i64);
        self.put_subscription(subscription);
    }

    /// Adds an acquisition cost for [`SourceWriter::copy`](super::SourceWriter::copy).
    pub fn push_acquisition_cost(&mut self, cost: &AcquisitionCost) {
        self.begin_row(3);
        self.put_acquisition_cost(cost);
    }

    /// Adds the acquisition cost of a line for [`SourceWriter::stage`](super::SourceWriter::stage).
    pub fn push_staged_acquisition_cost(&mut self, line: u64, cost: &AcquisitionCost) {
        self.begin_row(4);
        self.put_number(line as i64);
        self.put_acquisition_cost(cost);
    }

    /// Whether it is time to send the batch and start another.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= PIECE
    }

    /// How many rows it holds.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn begin_row(&mut self, fields: i16) {
        self.bytes.put_i16(fields);
        self.rows += 1;
    }

    fn put_customer(&mut self, customer: &Customer<'_>) {
        self.put_number(customer.customer_id);
        self.put_text(customer.external_id.as_bytes());
        self.put_text(customer.segment.as_bytes());
        self.put_time(customer.acquired_at);
    }

    fn put_transaction(&mut self, transaction: &Transaction) {
        self.put_number(transaction.transaction_id);
        self.put_number(transaction.customer_id);
        self.put_time(transaction.occurred_at);
        self.put_number(transaction.amount_minor);
        self.put_text(transaction.currency.as_bytes());
    }

    fn put_subscription(&mut self, subscription: &Subscription<'_>) {
        self.put_number(subscription.customer_id);
        self.put_text(subscription.plan.as_bytes());
        self.bytes.put_i32(4);
        self.bytes.put_i32(subscription.period_months);
        self.put_time(subscription.started_at);
        match subscription.ended_at {
            Some(ended_at) => self.put_time(ended_at),
            None => self.put_null(),
        }
        self.put_number(subscription.price_minor);
        self.put_text(subscription.currency.as_bytes());
        match subscription.end_reason {
            Some(reason) => self.put_text(reason.as_bytes()),
            None => self.put_null(),
        }
    }

    fn put_acquisition_cost(&mut self, cost: &AcquisitionCost) {
        self.put_number(cost.customer_id);
        self.put_number(cost.cost_minor);
        self.put_text(cost.currency.as_bytes());
    }

    fn put_null(&mut self) {
        self.bytes.put_i32(-1);
    }

    fn put_number(&mut self, number: i64) {
        let mut field = [0; 12];
        field[..4].copy_from_slice(&8_i32.to_be_bytes());
        field[4..].copy_from_slice(&number.to_be_bytes());
        self.bytes.put_slice(&field);
    }

    fn put_time(&mut self, time: Timestamp) {
        self.put_number(time.as_microsecond() - POSTGRES_EPOCH_US);
    }

    fn put_text(&mut self, text: &[u8]) {
        self.bytes.put_i32(i32::try_from(text.len()).expect("a text is far shorter than 2 GiB"));
        self.bytes.put_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_encoded_as_postgres_writes_it() {
        let mut batch = Batch::default();

        batch.push_staged_transaction(
            7,
            &Transaction {
                transaction_id: -1,
                customer_id: 258,
                occurred_at: "2000-01-01T00:00:01Z".parse().unwrap(),
                amount_minor: 2933,
                currency: Currency::parse("USD").unwrap(),
            },
        );

        let number = |number: i64| [&8_i32.to_be_bytes()[..], &number.to_be_bytes()].concat();
        let fields = [number(7), number(-1), number(258), number(1_000_000), number(2933)].concat();
        assert_eq!(batch.bytes, [b"\0\x06", &fields[..], b"\0\0\0\x03USD"].concat());
        assert_eq!(batch.rows(), 1);
    }

    #[test]
    fn a_subscription_that_goes_on_has_neither_end_nor_reason() {
        let mut batch = Batch::default();

        batch.push_subscription(&Subscription {
            customer_id: 7,
            plan: "pro",
            period_months: 12,
            started_at: "2000-01-01T00:00:01Z".parse().unwrap(),
            ended_at: None,
            price_minor: 4_900,
            currency: Currency::parse("USD").unwrap(),
            end_reason: None,
        });

        let number = |number: i64| [&8_i32.to_be_bytes()[..], &number.to_be_bytes()].concat();
        let expected = [
            &b"\0\x08"[..],
            &number(7),
            b"\0\0\0\x03pro\0\0\0\x04\0\0\0\x0c",
            &number(1_000_000),
            &[0xFF; 4],
            &number(4_900),
            b"\0\0\0\x03USD",
            &[0xFF; 4],
        ];
        assert_eq!(batch.bytes, expected.concat());
    }
}
