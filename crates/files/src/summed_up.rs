//! Transactions as summaries of the customers who made them.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use model::{Currency, DAYS_PER_WEEK, HistoryFold, Observation};

use crate::amount::AmountColumn;
use crate::header::{Column, Header};
use crate::row::{Record, Row};
use crate::table::Rows;
use crate::{currency, number, time};

/// How transactions are read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Nothing at or after this moment counts; unless given, all days count up to the last transaction's.
    pub as_of: Option<Timestamp>,
    /// Customers with another currency are left out.
    pub currency: Currency,
    /// A column that says which segment a customer is in.
    pub segment_column: Option<String>,
}

/// Where the columns of a file of transactions are.
struct Columns {
    customer: Column,
    occurred_at: Column,
    amount: AmountColumn,
    currency: Option<Column>,
    segment: Option<Column>,
}

/// One line of a history.
struct Transaction {
    customer: usize,
    occurred_at_us: i64,
    amount_minor: i64,
    currency: Currency,
}

/// A customer as he first appears.
struct Customer {
    name: String,
    line: u64,
    segment: Option<String>,
}

/// Whether a file with this header holds transactions.
pub(crate) fn are_in(header: &Header) -> bool {
    header.in_lower_case().has("occurred_at")
}

/// Folds transactions into a table of `customer_id,x,t_x,T,zbar`, and counts those who cannot be summed up.
///
/// `zbar` is in the unit of the file: major units where it has `amount`, minor units where it has `amount_minor`.
pub(crate) fn fold(mut rows: Rows, reading: &Reading) -> Result<(Rows, u64)> {
    let header = rows.header().in_lower_case();
    let columns = Columns::find(&header, reading)?;
    let mut customers: Vec<Customer> = Vec::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut transactions = Vec::new();
    while let Some(record) = rows.next_row()? {
        let row = record.under(&header);
        let name = row.text(columns.customer);
        let customer = numbers.get(&*name).copied().unwrap_or_else(|| {
            let segment = columns.segment.map(|segment| row.text(segment).into_owned());
            customers.push(Customer { name: name.to_string(), line: record.line(), segment });
            numbers.insert(name.to_string(), customers.len() - 1);
            customers.len() - 1
        });
        transactions.push(columns.read(row, customer, reading.currency)?);
    }
    ensure!(!transactions.is_empty(), "{}: there is no transaction", header.path().display());

    let as_of_us = reading.as_of.map_or_else(|| midnight_after(&transactions), Timestamp::as_microsecond);
    transactions.retain(|transaction| transaction.occurred_at_us < as_of_us);
    transactions.sort_by_key(|transaction| (transaction.customer, transaction.occurred_at_us));
    let observation = Observation::new(as_of_us, reading.currency);
    let unit = columns.unit(reading.currency);
    let mut summaries = Vec::with_capacity(customers.len());
    let mut seen = 0;
    for history in transactions.chunk_by(|a, b| a.customer == b.customer) {
        let customer = &customers[history[0].customer];
        seen += 1;
        summaries.extend(summary(customer, history, &observation, unit));
    }
    let left_out = seen - summaries.len() as u64;
    let mut names = vec!["customer_id", "x", "t_x", "T", "zbar"];
    names.extend(reading.segment_column.as_deref());
    Ok((Rows::made_from(header.path(), &names, summaries), left_out))
}

impl Columns {
    fn find(header: &Header, reading: &Reading) -> Result<Self> {
        let customer = match header.optional(&["customer_id"])? {
            Some(column) => column,
            None => header.column(&["external_id", "customer_id"])?,
        };
        let segment = |name: &String| header.column(&[&name.to_ascii_lowercase()]);
        Ok(Self {
            customer,
            occurred_at: header.column(&["occurred_at"])?,
            amount: AmountColumn::find(header, "amount_minor", "amount")?,
            currency: header.optional(&["currency"])?,
            segment: reading.segment_column.as_ref().map(segment).transpose()?,
        })
    }

    fn read(&self, row: Row<'_>, customer: usize, usual: Currency) -> Result<Transaction> {
        let text = row.text(self.occurred_at);
        let occurred_at = time::read(&text)
            .ok_or_else(|| row.bad(self.occurred_at, format_args!("{text:?} is {}", time::NEITHER)))?;
        let known = match self.currency {
            Some(column) => {
                let code = row.text(column);
                currency::find(&code)
                    .ok_or_else(|| row.bad(column, format_args!("{code:?} is not a currency of ISO 4217")))?
            }
            None => currency::Known::of(usual),
        };
        let text = row.text(self.amount.column());
        let amount_minor = self.amount.read(&text, known.exponent).ok_or_else(|| {
            let code = known.currency;
            row.bad(
                self.amount.column(),
                format_args!("{text:?} is not an amount of {code} below 2^53 minor units"),
            )
        })?;
        Ok(Transaction {
            customer,
            occurred_at_us: occurred_at.as_microsecond(),
            amount_minor,
            currency: known.currency,
        })
    }

    /// How many minor units make one of the file's.
    fn unit(&self, currency: Currency) -> f64 {
        match self.amount {
            AmountColumn::Minor(_) => 1.0,
            AmountColumn::Major(_) => 10_i64.pow(currency::Known::of(currency).exponent) as f64,
        }
    }
}

fn midnight_after(transactions: &[Transaction]) -> i64 {
    const DAY: i64 = 86_400_000_000;
    let last = transactions.iter().map(|transaction| transaction.occurred_at_us).max().unwrap_or(0);
    (last.div_euclid(DAY) + 1) * DAY
}

/// The row of a customer, unless his history cannot be summed up.
fn summary(
    customer: &Customer,
    history: &[Transaction],
    observation: &Observation,
    unit: f64,
) -> Option<Record> {
    let mut fold = HistoryFold::new();
    for transaction in history {
        let &Transaction { occurred_at_us, amount_minor, currency, .. } = transaction;
        fold.push(occurred_at_us, amount_minor, *currency.as_bytes());
    }
    let summary = fold.finish(observation).ok()?;
    let weeks = |days: u32| number::text(f64::from(days) / DAYS_PER_WEEK);
    let mut fields = vec![
        customer.name.clone(),
        summary.frequency.to_string(),
        weeks(summary.recency_days),
        weeks(summary.age_days),
        number::text(summary.mean_spend_minor() / unit),
    ];
    fields.extend(customer.segment.clone());
    Some(Record::made_from(customer.line, &fields))
}
