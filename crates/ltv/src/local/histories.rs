//! Folds a file of transactions, however large, into one summary for each customer.
//!
//! Memory is bounded by the customers, not by their transactions: each line goes into its customer's fold and is
//! forgotten. Two things would need the lines themselves, and are noticed on the way:
//!
//! * **A customer's lines are not in the order of time**, as in a file that is sorted otherwise. His fold is given up,
//!   and a second look at the file collects his lines, and those of nobody else, to sort them.
//! * **Numbers of transactions do not ascend**, so that one might come twice. The file is read again from its start,
//!   with the numbers kept: eight bytes a line more.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use model::{HistoryFold, Observation, Rejection, Summary};
use store::postgres::source::Transaction;

/// What is known of the customers' purchases.
#[derive(Debug, Default)]
pub(super) struct Histories {
    /// Where each customer stands among the folds.
    places: HashMap<i64, u32>,
    folds: Vec<Fold>,
    /// Transactions whose number had come before.
    pub(super) duplicates: u64,
    /// The latest moment of any.
    pub(super) latest_us: i64,
}

#[derive(Debug)]
struct Fold {
    customer: i64,
    last_us: i64,
    history: HistoryFold,
    is_in_order: bool,
}

/// What each customer's history comes to, by customer: the summary and the net spend on all purchases.
pub(super) type Folded = Vec<(i64, Result<(Summary, i64), Rejection>)>;

impl Histories {
    /// Reads the transactions before a moment, as often as it takes; `read` hands each of the file to what it is
    /// given.
    pub(super) fn read(
        before_us: i64,
        mut read: impl FnMut(&mut dyn FnMut(Transaction)) -> Result<()>,
    ) -> Result<Self> {
        let mut histories = Self { latest_us: i64::MIN, ..Self::default() };
        let (mut last, mut ascends) = (i64::MIN, true);
        read(&mut |transaction| {
            ascends &= std::mem::replace(&mut last, transaction.transaction_id) < transaction.transaction_id;
            if ascends {
                histories.push(&transaction, before_us);
            }
        })?;
        if !ascends {
            histories = Self { latest_us: i64::MIN, ..Self::default() };
            let mut seen = HashSet::new();
            read(&mut |transaction| {
                if seen.insert(transaction.transaction_id) {
                    histories.push(&transaction, before_us);
                } else {
                    histories.duplicates += 1;
                }
            })?;
        }
        if histories.folds.iter().any(|fold| !fold.is_in_order) {
            histories.sort(before_us, read)?;
        }
        Ok(histories)
    }

    /// How many customers have a history.
    pub(super) fn customers(&self) -> usize {
        self.folds.len()
    }

    /// Closes every history at the end of the observation.
    pub(super) fn finish(self, observation: &Observation) -> Folded {
        let Self { folds, .. } = self;
        let close = |mut fold: Fold| (fold.customer, fold.history.finish_with_spend(observation));
        let mut folded: Folded = folds.into_iter().map(close).collect();
        folded.sort_unstable_by_key(|(customer, _)| *customer);
        folded
    }

    fn push(&mut self, transaction: &Transaction, before_us: i64) {
        let at = transaction.occurred_at.as_microsecond();
        if at >= before_us {
            return;
        }
        self.latest_us = self.latest_us.max(at);
        let customer = transaction.customer_id;
        let place = *self.places.entry(customer).or_insert_with(|| {
            self.folds.push(Fold { customer, last_us: at, history: HistoryFold::new(), is_in_order: true });
            self.folds.len() as u32 - 1
        });
        self.folds[place as usize].push(transaction);
    }

    /// Looks at the file once more for the customers whose lines are not in order.
    fn sort(
        &mut self,
        before_us: i64,
        mut read: impl FnMut(&mut dyn FnMut(Transaction)) -> Result<()>,
    ) -> Result<()> {
        let mut lines: Vec<(u32, Transaction)> = Vec::new();
        let mut seen = HashSet::new();
        let keeps_numbers = self.duplicates > 0;
        read(&mut |transaction| {
            let is_first = !keeps_numbers || seen.insert(transaction.transaction_id);
            let place = self.places.get(&transaction.customer_id).copied();
            let disordered = place.filter(|&place| !self.folds[place as usize].is_in_order);
            if let Some(place) = disordered.filter(|_| is_first && transaction.occurred_at.as_microsecond() < before_us)
            {
                lines.push((place, transaction));
            }
        })?;
        lines.sort_by_key(|(place, transaction)| (*place, transaction.occurred_at));
        for history in lines.chunk_by(|one, other| one.0 == other.0) {
            let fold = &mut self.folds[history[0].0 as usize];
            *fold = Fold { last_us: i64::MIN, history: HistoryFold::new(), is_in_order: true, ..*fold };
            history.iter().for_each(|(_, transaction)| fold.push(transaction));
        }
        Ok(())
    }
}

impl Fold {
    fn push(&mut self, transaction: &Transaction) {
        let at = transaction.occurred_at.as_microsecond();
        self.is_in_order &= at >= self.last_us;
        self.last_us = at;
        if self.is_in_order {
            self.history.push(at, transaction.amount_minor, *transaction.currency.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use model::Currency;

    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn line(transaction_id: i64, customer_id: i64, day: i64, amount_minor: i64) -> Transaction {
        Transaction {
            transaction_id,
            customer_id,
            occurred_at: Timestamp::from_microsecond(day * DAY).unwrap(),
            amount_minor,
            currency: Currency::parse("USD").unwrap(),
        }
    }

    fn folded(lines: &[Transaction]) -> (Folded, u64) {
        let mut looks = 0;
        let histories = Histories::read(100 * DAY, |each| {
            looks += 1;
            lines.iter().copied().for_each(each);
            Ok(())
        })
        .unwrap();
        let duplicates = histories.duplicates;
        assert!(looks <= 3, "{looks} looks");
        let observation = Observation::new(100 * DAY, Currency::parse("USD").unwrap());
        (histories.finish(&observation), duplicates)
    }

    const NOTHING_AFTER: i64 = 200;

    fn in_order() -> Vec<Transaction> {
        vec![
            line(1, 7, 10, 500),
            line(2, 8, 11, 300),
            line(3, 7, 20, 400),
            line(4, 7, 30, -100),
            line(5, 7, NOTHING_AFTER, 900),
        ]
    }

    #[test]
    fn each_customers_lines_come_to_one_summary_and_what_lies_ahead_is_not_seen() {
        let (folded, duplicates) = folded(&in_order());

        assert_eq!(duplicates, 0);
        let summary = Summary { frequency: 1, recency_days: 10, age_days: 89, repeat_spend_minor: 300 };
        assert_eq!(folded[0], (7, Ok((summary, 800))));
        let once = Summary { frequency: 0, recency_days: 0, age_days: 88, repeat_spend_minor: 0 };
        assert_eq!(folded[1..], [(8, Ok((once, 300)))]);
    }

    #[test]
    fn the_order_of_the_file_does_not_matter() {
        let mut reversed = in_order();
        reversed.reverse();

        assert_eq!(folded(&reversed), folded(&in_order()));
    }

    #[test]
    fn a_transaction_that_comes_twice_counts_once_whatever_the_order() {
        let mut twice = in_order();
        twice.extend(in_order());

        for lines in [twice.clone(), twice.into_iter().rev().collect()] {
            assert_eq!(folded(&lines), (folded(&in_order()).0, 5));
        }
    }
}
