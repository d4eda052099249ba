//! Folds a file of transactions, however large and in whichever order, into one summary for each customer.
//!
//! Memory is bounded by the customers, not by their transactions: each line goes into its customer's fold and is
//! forgotten. Where that does not do, the file is looked at again, as often as it takes, and no look keeps more than
//! its [`Share`]. Only which lines repeat the number of an earlier one is known of the whole file, as bits
//! ([`Repeats`]):
//!
//! * **Numbers of transactions do not ascend**, so that one might come twice. The file is read again from its start,
//!   with the [`Numbers`] kept.
//! * **A customer's lines are not in the order of time**, as in a file that is sorted otherwise. His fold is given up,
//!   and further looks take his lines [in order](NextInOrder), a share at a time: where everybody's lines are in
//!   disorder, a look for each four that a customer has on average.
//! * **The season is wanted.** What day everybody bought on is counted once it is known when the first of them did,
//!   in one look, which is the first of those above if they are needed too.

use std::collections::HashMap;
use std::ops::ControlFlow;

use anyhow::Result;
use files::Transaction;
use files::read::{Line, ReadReport};
use model::{Currency, HistoryFold, Observation, PurchaseCounts, Rejection, Summary};
use store::postgres::source::Conflict;

use super::in_order::{NextInOrder, Purchase};
use super::numbers::{Numbers, Repeats};
use super::season::SeasonCount;

/// Takes the lines of a file, many at a time, until it breaks.
pub(super) type Each<'a> = &'a mut dyn FnMut(&[Line]) -> ControlFlow<()>;

/// Looks at the file, and hands out its lines.
pub(super) type Look<'a> = dyn FnMut(Each<'_>) -> Result<ReadReport> + 'a;

/// What a look may keep: so many numbers or lines for each customer, and as many as do no harm where they are few. A
/// line takes 48 bytes with the room to sort it, a word of numbers less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) for_each: usize,
    pub(super) at_least: usize,
}

/// What is known of the customers' purchases.
#[derive(Debug)]
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
    /// The currency in which purchases are counted for the season, and when the first of them was.
    currency: [u8; 3],
    first_purchase_us: Option<i64>,
    repeats: Repeats,
    share: Share,
}

#[derive(Debug)]
struct Fold {
    customer: i64,
    first_us: i64,
    last_us: i64,
    history: HistoryFold,
    /// How many lines it has seen; of a fold that has seen more than can be counted, so many.
    lines: u32,
    is_in_order: bool,
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

impl Share {
    /// Beside a fold and its place in the table, which take about 180 bytes, 192 more.
    pub(super) const USUAL: Self = Self { for_each: 4, at_least: 1 << 16 };

    fn of(self, customers: usize) -> usize {
        self.at_least.max(self.for_each.saturating_mul(customers))
    }
}

impl Histories {
    /// Reads the transactions before a moment. With `known`, ascending, the lines of others are rejected. Purchases in
    /// `currency` make the season.
    pub(super) fn read(
        before_us: i64,
        known: Option<&[i64]>,
        currency: Currency,
        share: Share,
        look: &mut Look<'_>,
    ) -> Result<Self> {
        let mut histories = Self::over(known, currency, share);
        let (mut last, mut ascends) = (i64::MIN, true);
        let mut report = look(&mut |lines| {
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
            let begin = || Self::over(known, currency, share);
            (histories, report) = Self::read_with_numbers(before_us, begin, look)?;
        }
        histories.report.take_up(report);
        Ok(histories)
    }

    /// Reads them once for each share of their numbers; the last time, what is pushed is right.
    fn read_with_numbers(
        before_us: i64,
        begin: impl Fn() -> Self,
        look: &mut Look<'_>,
    ) -> Result<(Self, ReadReport)> {
        let mut numbers = Numbers::new();
        loop {
            let mut histories = begin();
            let report = look(&mut |lines| {
                for line in lines {
                    histories.push_once(line, before_us, &mut numbers);
                }
                ControlFlow::Continue(())
            })?;
            if numbers.is_whole() {
                histories.repeats = numbers.into_repeats();
                return Ok((histories, report));
            }
            numbers.look_on();
        }
    }

    /// Closes every history at the end of the observation, by customer, and counts for the season if that is wanted.
    pub(super) fn finish(
        mut self,
        observation: &Observation,
        is_seasonal: bool,
        look: &mut Look<'_>,
    ) -> Result<(Vec<Folded>, Option<PurchaseCounts>)> {
        let mut season =
            is_seasonal.then(|| SeasonCount::new(observation, self.first_purchase_us, self.folds.len()));
        if season.is_some() || self.folds.iter().any(|fold| !fold.is_in_order) {
            self.look_again(observation, season.as_mut(), look)?;
        }
        let Self { folds, .. } = self;
        let close = |mut fold: Fold| Folded {
            customer: fold.customer,
            first_us: fold.first_us,
            history: fold.history.finish_with_spend(observation),
        };
        let mut folded: Vec<Folded> = folds.into_iter().map(close).collect();
        folded.sort_unstable_by_key(|folded| folded.customer);
        folded.shrink_to_fit();
        Ok((folded, season.map(SeasonCount::finish)))
    }

    fn over(known: Option<&[i64]>, currency: Currency, share: Share) -> Self {
        let is_closed = known.is_some();
        let known = known.unwrap_or_default();
        Self {
            places: known.iter().copied().zip(0..).collect(),
            folds: known.iter().map(|&customer| Fold::new(customer)).collect(),
            is_closed,
            last: u32::MAX,
            report: ReadReport::default(),
            latest_us: i64::MIN,
            currency: *currency.as_bytes(),
            first_purchase_us: None,
            repeats: Repeats::default(),
            share,
        }
    }

    /// Pushes a line unless its number was there before, as long as all numbers are kept; nothing that was pushed is
    /// of use once they are not.
    fn push_once(&mut self, line: &Line, before_us: i64, numbers: &mut Numbers) {
        let Transaction { transaction_id, customer_id, .. } = line.transaction;
        let is_repeat = numbers.is_repeat(line.line, transaction_id, self.share.of(self.folds.len()));
        if !numbers.is_whole() {
            return;
        }
        // As with `ltv load`, who is not there is the first thing to say of a line.
        if !is_repeat || (self.is_closed && self.place(customer_id).is_none()) {
            self.push(line, before_us);
        } else {
            self.report.reject(line.line, Conflict::DuplicateTransactionId.code(), || {
                format!("transaction_id {transaction_id} is in an earlier line already")
            });
        }
    }

    fn push(&mut self, line: &Line, before_us: i64) {
        let Line { line, transaction } = line;
        let customer = transaction.customer_id;
        let place = self.place(customer);
        if place.is_none() && self.is_closed {
            let unknown = Conflict::UnknownCustomer.code();
            return self.report.reject(*line, unknown, || unknown_customer(customer));
        }
        let at = transaction.occurred_at.as_microsecond();
        if at >= before_us {
            return;
        }
        self.latest_us = self.latest_us.max(at);
        let (amount_minor, currency) = (transaction.amount_minor, *transaction.currency.as_bytes());
        if SeasonCount::is_purchase(amount_minor, currency, self.currency) {
            self.first_purchase_us = Some(self.first_purchase_us.map_or(at, |first| first.min(at)));
        }
        self.last = place.unwrap_or_else(|| {
            let place = self.folds.len() as u32;
            self.folds.push(Fold::new(customer));
            self.places.insert(customer, place);
            place
        });
        self.folds[self.last as usize].push(at, amount_minor, currency);
    }

    fn place(&self, customer: i64) -> Option<u32> {
        let is_last = self.folds.get(self.last as usize).is_some_and(|fold| fold.customer == customer);
        if is_last { Some(self.last) } else { self.places.get(&customer).copied() }
    }

    /// Looks at the file for the lines of those who have them in disorder, as often as it takes, and the first time
    /// for everybody's purchases if a season is wanted.
    fn look_again(
        &mut self,
        observation: &Observation,
        mut season: Option<&mut SeasonCount>,
        look: &mut Look<'_>,
    ) -> Result<()> {
        let mut in_disorder = 0;
        for fold in self.folds.iter_mut().filter(|fold| !fold.is_in_order) {
            fold.history = HistoryFold::new();
            in_disorder += fold.lines as usize;
        }
        let mut next = NextInOrder::new(in_disorder, self.share.of(self.folds.len()));
        let mut is_first_look = true;
        loop {
            look(&mut |lines| {
                for line in lines {
                    let Some(line) = self.purchase(line, observation.as_of_us()) else { continue };
                    if !self.folds[line.place as usize].is_in_order {
                        next.offer(line);
                    } else if let Some(season) = season.as_mut().filter(|_| is_first_look) {
                        season.count(&line);
                    }
                }
                ControlFlow::Continue(())
            })?;
            is_first_look = false;
            let is_last = next.take(|line| {
                let Purchase { place, at_us, amount_minor, currency, .. } = *line;
                self.folds[place as usize].history.push(at_us, amount_minor, currency);
                if let Some(season) = &mut season {
                    season.count(line);
                }
            });
            if is_last {
                return Ok(());
            }
        }
    }

    /// A line that counts; none if it does not.
    fn purchase(&self, line: &Line, before_us: i64) -> Option<Purchase> {
        let Line { line, transaction } = line;
        let at_us = transaction.occurred_at.as_microsecond();
        if at_us >= before_us || self.repeats.contains(*line) {
            return None;
        }
        Some(Purchase {
            at_us,
            amount_minor: transaction.amount_minor,
            line: *line,
            place: *self.places.get(&transaction.customer_id)?,
            currency: *transaction.currency.as_bytes(),
        })
    }
}

/// What is wrong with a line about somebody who is no customer.
pub(super) fn unknown_customer(customer: i64) -> String {
    format!("customer_id {customer} is not among the customers")
}

impl Fold {
    fn new(customer: i64) -> Self {
        let history = HistoryFold::new();
        Self { customer, first_us: i64::MAX, last_us: i64::MIN, history, lines: 0, is_in_order: true }
    }

    fn push(&mut self, at_us: i64, amount_minor: i64, currency: [u8; 3]) {
        self.lines = self.lines.saturating_add(1);
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
    use std::collections::{BTreeMap, BTreeSet, HashSet};

    use jiff::Timestamp;
    use model::Currency;
    use proptest::prelude::*;

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
        let (folded, _, rejected, looks) = folded_with(Share::USUAL, transactions, known);
        assert!(looks <= 3, "{looks} looks");
        (folded, rejected)
    }

    /// The histories, the purchases of the season, how many lines were rejected, and how often the file was read.
    fn folded_with(
        share: Share,
        transactions: &[Transaction],
        known: Option<&[i64]>,
    ) -> (Vec<Folded>, PurchaseCounts, u64, u32) {
        let numbered = transactions.iter().zip(2..);
        let lines: Vec<Line> = numbered.map(|(&transaction, line)| Line { line, transaction }).collect();
        let mut looks = 0;
        let mut look = |each: Each<'_>| {
            looks += 1;
            let _ = lines.chunks(2).try_for_each(each);
            Ok(ReadReport { rows: lines.len() as u64, ..ReadReport::default() })
        };
        let currency = Currency::parse("USD").unwrap();
        let histories = Histories::read(100 * DAY, known, currency, share, &mut look).unwrap();
        let rejected = histories.report.rejected_rows();
        let observation = Observation::new(100 * DAY, currency);
        let (folded, counts) = histories.finish(&observation, true, &mut look).unwrap();
        (folded, counts.expect("they were wanted"), rejected, looks)
    }

    prop_compose! {
        fn transactions()(
            lines in prop::collection::vec((-40..40_i64, 1..6_i64, -3..104_i64, -9..30_i64, 0..20_u8), 0..60),
            spread in prop::sample::select(vec![1, 1_000_000_007]),
        ) -> Vec<Transaction> {
            let transaction = |&(number, customer, day, amount, foreign): &(i64, i64, i64, i64, u8)| Transaction {
                currency: Currency::parse(if foreign == 0 { "EUR" } else { "USD" }).unwrap(),
                ..line(number * spread, customer, day, amount)
            };
            lines.iter().map(transaction).collect()
        }
    }

    /// What a file comes to, found with all of it in memory.
    fn expected(transactions: &[Transaction], known: Option<&[i64]>) -> (Vec<Folded>, PurchaseCounts, u64) {
        let usd = Currency::parse("USD").unwrap();
        let observation = Observation::new(100 * DAY, usd);
        let is_known = |customer: i64| known.is_none_or(|known| known.contains(&customer));
        let (mut seen, mut rejected) = (HashSet::new(), 0);
        let mut of: BTreeMap<i64, Vec<Transaction>> =
            known.unwrap_or_default().iter().map(|&customer| (customer, Vec::new())).collect();
        for &transaction in transactions {
            if !seen.insert(transaction.transaction_id) || !is_known(transaction.customer_id) {
                rejected += 1;
            } else if transaction.occurred_at.as_microsecond() < 100 * DAY {
                of.entry(transaction.customer_id).or_default().push(transaction);
            }
        }
        let mut days: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        let mut folded = Vec::new();
        for (customer, mut lines) in of {
            lines.sort_by_key(|line| line.occurred_at);
            let mut fold = HistoryFold::new();
            for line in &lines {
                let at_us = line.occurred_at.as_microsecond();
                fold.push(at_us, line.amount_minor, *line.currency.as_bytes());
                if line.amount_minor >= 0 && line.currency == usd {
                    days.entry(customer).or_default().insert(at_us / DAY);
                }
            }
            let first_us = lines.first().map_or(i64::MAX, |line| line.occurred_at.as_microsecond());
            folded.push(Folded { customer, first_us, history: fold.finish_with_spend(&observation) });
        }
        let first_day = days.values().filter_map(BTreeSet::first).min().copied().unwrap_or(99);
        let mut counts = PurchaseCounts::new(first_day, 99).unwrap();
        for days in days.values() {
            let first = days.first().copied().expect("whoever is there has bought");
            for &day in days {
                counts.customers_on(first, day, 1);
            }
        }
        (folded, counts, rejected)
    }

    proptest! {
        #[test]
        fn with_room_for_few_lines_any_file_comes_to_what_it_comes_to_with_room_for_all(
            transactions in transactions(),
            is_known: bool,
            at_least in 2..70_usize,
        ) {
            let known = is_known.then_some(&[2, 3, 4, 9][..]);
            let share = Share { for_each: 0, at_least };

            let (folded, counts, rejected, looks) = folded_with(share, &transactions, known);

            prop_assert_eq!((folded, counts, rejected), expected(&transactions, known));
            // One to find out; one for each share of the numbers, which may be halved, and one for each of the lines.
            prop_assert!(looks as usize <= 4 + 3 * transactions.len() / at_least, "{} looks", looks);
        }
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
