//! Folds a file of transactions, however large, into one summary for each customer.
//!
//! Memory is bounded by the customers, not by their transactions: each line goes into its customer's fold and is
//! forgotten. Two things would need the lines themselves, and are noticed on the way:
//!
//! * **A customer's lines are not in the order of time**, as in a file that is sorted otherwise. His fold is given up,
//!   and a second look at the file collects his lines, and those of nobody else, to sort them: 24 bytes each.
//! * **Numbers of transactions do not ascend**, so that one might come twice. The file is read again from its start,
//!   with the numbers kept.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use anyhow::Result;
use model::{HistoryFold, Observation, Rejection, Summary};
use store::postgres::source::{Conflict, Transaction};

use crate::load::{Line, ReadReport, Reason};

/// What is known of the customers' purchases.
#[derive(Debug, Default)]
pub(super) struct Histories {
    /// Where each customer stands among the folds.
    places: HashMap<i64, u32>,
    folds: Vec<Fold>,
    /// Whether the customers were known before, and others are none.
    is_closed: bool,
    /// The place of whose line came last: the next one is often his too.
    last: u32,
    /// What became of the file's lines.
    pub(super) report: ReadReport,
    /// The latest moment of any; [`i64::MIN`] if there is none.
    pub(super) latest_us: i64,
}

#[derive(Debug)]
struct Fold {
    customer: i64,
    first_us: i64,
    last_us: i64,
    history: HistoryFold,
    is_in_order: bool,
}

/// A line of a customer whose lines are not in order.
#[derive(Clone, Copy)]
struct Disordered {
    at_us: i64,
    amount_minor: i64,
    place: u32,
    currency: [u8; 3],
}

/// What a customer's history comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Folded {
    pub(super) customer: i64,
    /// When he first bought, or was refunded; [`i64::MAX`] if he never was.
    pub(super) first_us: i64,
    /// The summary, and the net spend on all purchases in minor units.
    pub(super) history: Result<(Summary, i64), Rejection>,
}

impl Histories {
    /// Reads the transactions before a moment, as often as it takes; `read` hands the lines of the file to what it is
    /// given, until that breaks. With `known`, ascending, the lines of others are rejected.
    pub(super) fn read(
        before_us: i64,
        known: Option<&[i64]>,
        mut read: impl FnMut(&mut dyn FnMut(&[Line]) -> ControlFlow<()>) -> Result<ReadReport>,
    ) -> Result<Self> {
        let mut histories = Self::over(known);
        let (mut last, mut ascends) = (i64::MIN, true);
        let mut report = read(&mut |lines| {
            for line in lines {
                let number = line.transaction.transaction_id;
                ascends &= std::mem::replace(&mut last, number) < number;
                if !ascends {
                    return ControlFlow::Break(());
                }
                histories.push(line, before_us);
            }
            ControlFlow::Continue(())
        })?;
        if !ascends {
            histories = Self::over(known);
            let mut seen = HashSet::new();
            report = read(&mut |lines| {
                for line in lines {
                    histories.push_once(line, before_us, &mut seen);
                }
                ControlFlow::Continue(())
            })?;
        }
        if histories.folds.iter().any(|fold| !fold.is_in_order) {
            histories.sort(before_us, !ascends, read)?;
        }
        histories.report.take_up(report);
        Ok(histories)
    }

    /// Closes every history at the end of the observation; by customer.
    pub(super) fn finish(self, observation: &Observation) -> Vec<Folded> {
        let Self { folds, .. } = self;
        let close = |mut fold: Fold| Folded {
            customer: fold.customer,
            first_us: fold.first_us,
            history: fold.history.finish_with_spend(observation),
        };
        let mut folded: Vec<Folded> = folds.into_iter().map(close).collect();
        folded.sort_unstable_by_key(|folded| folded.customer);
        folded.shrink_to_fit();
        folded
    }

    fn over(known: Option<&[i64]>) -> Self {
        let mut histories =
            Self { latest_us: i64::MIN, is_closed: known.is_some(), last: u32::MAX, ..Self::default() };
        let known = known.unwrap_or_default();
        histories.folds.extend(known.iter().map(|&customer| Fold::new(customer)));
        histories.places.extend(known.iter().copied().zip(0..));
        histories
    }

    fn push_once(&mut self, line: &Line, before_us: i64, seen: &mut HashSet<i64>) {
        let Transaction { transaction_id, customer_id, .. } = line.transaction;
        let is_first = seen.insert(transaction_id);
        // As with `ltv load`, who is not there is the first thing to say of a line.
        if is_first || (self.is_closed && self.place(customer_id).is_none()) {
            self.push(line, before_us);
        } else {
            self.report.reject(line.line, Reason::Conflict(Conflict::DuplicateTransactionId), || {
                format!("transaction_id {transaction_id} is in an earlier line already")
            });
        }
    }

    fn push(&mut self, line: &Line, before_us: i64) {
        let Line { line, transaction } = line;
        let customer = transaction.customer_id;
        let place = self.place(customer);
        if place.is_none() && self.is_closed {
            let unknown = Reason::Conflict(Conflict::UnknownCustomer);
            return self.report.reject(*line, unknown, || unknown_customer(customer));
        }
        let at = transaction.occurred_at.as_microsecond();
        if at >= before_us {
            return;
        }
        self.latest_us = self.latest_us.max(at);
        self.last = place.unwrap_or_else(|| {
            let place = self.folds.len() as u32;
            self.folds.push(Fold::new(customer));
            self.places.insert(customer, place);
            place
        });
        self.folds[self.last as usize].push(at, transaction.amount_minor, *transaction.currency.as_bytes());
    }

    fn place(&self, customer: i64) -> Option<u32> {
        let is_last = self.folds.get(self.last as usize).is_some_and(|fold| fold.customer == customer);
        if is_last { Some(self.last) } else { self.places.get(&customer).copied() }
    }

    /// Looks at the file once more for the customers whose lines are not in order.
    fn sort(
        &mut self,
        before_us: i64,
        may_repeat: bool,
        mut read: impl FnMut(&mut dyn FnMut(&[Line]) -> ControlFlow<()>) -> Result<ReadReport>,
    ) -> Result<()> {
        let mut disordered: Vec<Disordered> = Vec::new();
        let mut seen = HashSet::new();
        read(&mut |lines| {
            for Line { transaction, .. } in lines {
                let is_first = !may_repeat || seen.insert(transaction.transaction_id);
                let at_us = transaction.occurred_at.as_microsecond();
                if !is_first || at_us >= before_us {
                    continue;
                }
                let place = self.places.get(&transaction.customer_id).copied();
                let place = place.filter(|&place| !self.folds[place as usize].is_in_order);
                disordered.extend(place.map(|place| Disordered {
                    at_us,
                    amount_minor: transaction.amount_minor,
                    place,
                    currency: *transaction.currency.as_bytes(),
                }));
            }
            ControlFlow::Continue(())
        })?;
        disordered.sort_by_key(|line| (line.place, line.at_us));
        for history in disordered.chunk_by(|one, other| one.place == other.place) {
            let fold = &mut self.folds[history[0].place as usize];
            *fold = Fold::new(fold.customer);
            for line in history {
                fold.push(line.at_us, line.amount_minor, line.currency);
            }
        }
        Ok(())
    }
}

/// What is wrong with a line about somebody who is no customer.
pub(super) fn unknown_customer(customer: i64) -> String {
    format!("customer_id {customer} is not among the customers")
}

impl Fold {
    fn new(customer: i64) -> Self {
        let history = HistoryFold::new();
        Self { customer, first_us: i64::MAX, last_us: i64::MIN, history, is_in_order: true }
    }

    fn push(&mut self, at_us: i64, amount_minor: i64, currency: [u8; 3]) {
        self.is_in_order &= at_us >= self.last_us;
        self.last_us = at_us;
        self.first_us = self.first_us.min(at_us);
        if self.is_in_order {
            self.history.push(at_us, amount_minor, currency);
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

    /// The histories, and how many lines were rejected.
    fn folded(transactions: &[Transaction], known: Option<&[i64]>) -> (Vec<Folded>, u64) {
        let numbered = transactions.iter().zip(2..);
        let lines: Vec<Line> = numbered.map(|(&transaction, line)| Line { line, transaction }).collect();
        let mut looks = 0;
        let histories = Histories::read(100 * DAY, known, |each| {
            looks += 1;
            let _ = lines.chunks(2).try_for_each(each);
            Ok(ReadReport { rows: lines.len() as u64, ..ReadReport::default() })
        })
        .unwrap();
        assert!(looks <= 3, "{looks} looks");
        let rejected = histories.report.rejected_rows();
        let observation = Observation::new(100 * DAY, Currency::parse("USD").unwrap());
        (histories.finish(&observation), rejected)
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
        let (folded, rejected) = folded(&in_order(), None);

        assert_eq!(rejected, 0);
        let summary = Summary { frequency: 1, recency_days: 10, age_days: 89, repeat_spend_minor: 300 };
        let once = Summary { frequency: 0, recency_days: 0, age_days: 88, repeat_spend_minor: 0 };
        assert_eq!(
            folded,
            [
                Folded { customer: 7, first_us: 10 * DAY, history: Ok((summary, 800)) },
                Folded { customer: 8, first_us: 11 * DAY, history: Ok((once, 300)) },
            ]
        );
    }

    #[test]
    fn the_order_of_the_file_does_not_matter() {
        let mut reversed = in_order();
        reversed.reverse();

        assert_eq!(folded(&reversed, None), folded(&in_order(), None));
    }

    #[test]
    fn a_transaction_that_comes_twice_counts_once_whatever_the_order() {
        let mut twice = in_order();
        twice.extend(in_order());

        for lines in [twice.clone(), twice.into_iter().rev().collect()] {
            assert_eq!(folded(&lines, None), (folded(&in_order(), None).0, 5));
        }
    }

    #[test]
    fn where_the_customers_are_known_others_are_rejected_and_those_without_a_line_are_there() {
        let (folded, rejected) = folded(&in_order(), Some(&[8, 9]));

        assert_eq!(rejected, 4, "those of customer 7, however late");
        let customers: Vec<_> =
            folded.iter().map(|folded| (folded.customer, folded.history.is_ok())).collect();
        assert_eq!(customers, [(8, true), (9, false)]);
        assert_eq!(folded[1].history, Err(Rejection::NoPurchase));
    }
}
