//! Files of transactions.

use anyhow::Result;
use jiff::Timestamp;
use model::Currency;

use crate::amount::AmountColumn;
use crate::header::{Column, Header};
use crate::kind::{Columns, Kind};
use crate::reason::Problem;
use crate::row::Row;

/// A transaction.
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

/// The columns of a file of transactions.
#[derive(Debug)]
pub struct TransactionColumns {
    transaction_id: Column,
    customer_id: Column,
    occurred_at: Column,
    amount: AmountColumn,
    currency: Column,
}

impl Columns for TransactionColumns {
    const KIND: Kind = Kind::Transactions;
    const NEEDED: &'static str = "transaction_id, customer_id, occurred_at, amount (such as 29.33) or \
         amount_minor (such as 2933), currency";

    fn find(header: &Header) -> Result<Self> {
        let find = |name| header.needed(name, Self::NEEDED);
        Ok(Self {
            transaction_id: find("transaction_id")?,
            customer_id: find("customer_id")?,
            occurred_at: find("occurred_at")?,
            amount: AmountColumn::needed(header, "amount_minor", "amount", Self::NEEDED)?,
            currency: find("currency")?,
        })
    }
}

impl TransactionColumns {
    /// Reads a row as a transaction, when the clock shows `now`.
    pub fn transaction(&self, row: Row<'_>, now: Timestamp) -> Result<Transaction, Problem> {
        let transaction_id = row.whole(self.transaction_id)?;
        let currency = row.currency(self.currency)?;
        Ok(Transaction {
            transaction_id,
            customer_id: row.whole(self.customer_id)?,
            occurred_at: row.past_time(self.occurred_at, now)?,
            amount_minor: row.amount(self.amount, currency)?,
            currency: currency.currency,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fields::FieldEnds;
    use crate::reason::Reason;
    use crate::tests::{header_of, read};

    #[test]
    fn each_mistake_has_its_reason() {
        let header = "transaction_id,customer_id,occurred_at,amount,currency";
        let check = |row: &str, expected| {
            assert_eq!(read(header, row, TransactionColumns::transaction), Err(expected), "{row}");
        };
        check("x,2,1997-01-18,29.33,USD", Reason::BadNumber);
        check("1,,1997-01-18,29.33,USD", Reason::MissingValue);
        check("1,2,1997-1-18,29.33,USD", Reason::BadTime);
        check("1,2,1969-12-31,29.33,USD", Reason::ImpossibleTime);
        check("1,2,2026-11-24,29.33,USD", Reason::FutureTime);
        check("1,2,1997-01-18,29.333,USD", Reason::BadAmount);
        check("1,2,1997-01-18,29.33,JPY", Reason::BadAmount);
        check("1,2,1997-01-18,90071992547409.93,USD", Reason::BadAmount);
        check("1,2,1997-01-18,29.33,usd", Reason::UnknownCurrency);
        check("99999999999999999999,2,1997-01-18,29.33,USD", Reason::BadNumber);
    }

    proptest! {
        #[test]
        fn any_row_is_a_transaction_that_can_be_believed_or_a_problem(
            row in prop::collection::vec(
                prop_oneof![
                    4 => "[0-9]{1,20}",
                    2 => "[0-9]{4}-[0-9]{2}-[0-9]{2}",
                    2 => "[-+]?[0-9]{1,17}\\.[0-9]{0,5}",
                    2 => prop::sample::select(vec!["EUR", "JPY", "KWD", "XXX"]).prop_map(str::to_owned),
                    1 => "\\PC{0,9}",
                ].prop_map(String::into_bytes),
                5,
            ),
            junk in prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let now = "2026-11-23T00:00:00Z".parse().unwrap();
            let mut text = row.join(&b',');
            if let Some((at, byte)) = junk {
                let at = at.index(text.len() + 1);
                text.insert(at, byte);
            }
            let header = b"transaction_id,customer_id,occurred_at,amount,currency";
            let header = header_of(header);
            let columns = TransactionColumns::find(&header).unwrap();
            let mut ends = FieldEnds::default();
            let fields = ends.split(&text);
            prop_assume!(fields.len() == 5);

            match columns.transaction(Row { header: &header, line: 2, fields }, now) {
                Ok(transaction) => {
                    prop_assert!(transaction.amount_minor.abs() <= 1 << 53);
                    prop_assert!((Timestamp::UNIX_EPOCH..=now).contains(&transaction.occurred_at));
                }
                Err(problem) => prop_assert!(!problem.detail.is_empty()),
            }
        }
    }
}
