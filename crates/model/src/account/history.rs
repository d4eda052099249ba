//! A customer's purchase history, folded in time order into what the models need.
//!
//! Days are UTC days. A *purchase day* has at least one line whose amount is not negative; several lines of one day
//! are one purchase. A negative amount is a refund: it never counts as a purchase, it reduces the spend of the latest
//! purchase day so far. The first purchase day makes the customer; the models speak about what came after it, so its
//! spend, and refunds of it, stay out of the repeat spend.

use super::money::LARGEST_SUM_MINOR;
use super::observation::day_of;
use super::{Observation, Rejection, Summary};

/// Folds the lines of one customer, pushed in time order, into a [`Summary`].
///
/// Holds no heap memory and can be reused: [`finish`](Self::finish) leaves it as new. The first problem found in a
/// history decides its rejection; later lines are then ignored.
///
/// Lines of the same instant may come in any order: refunds count after the purchases of their instant. A database
/// gives ties in whatever order its plan has, and a value must not depend on a plan.
#[derive(Clone, Debug, Default)]
pub struct HistoryFold {
    /// The customer's first line fixes the currency that the others must have.
    currency: Option<[u8; 3]>,
    last_line_us: i64,
    /// The refunds of that instant, which are not counted yet.
    refunds_minor: i64,
    problem: Option<Rejection>,
    purchases: Option<PurchaseDays>,
}

/// The purchase days seen so far.
#[derive(Clone, Copy, Debug)]
struct PurchaseDays {
    first_day: i64,
    last_day: i64,
    days: u32,
    first_spend_minor: i64,
    repeat_spend_minor: i64,
}

impl HistoryFold {
    /// Starts with no line seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next line of the customer: when it happened (microseconds since 1970-01-01 UTC), how much.
    #[inline]
    pub fn push(&mut self, occurred_at_us: i64, amount_minor: i64, currency: [u8; 3]) {
        if occurred_at_us != self.last_line_us {
            self.count_refunds();
        }
        if self.problem.is_some() {
            return;
        }
        match self.currency {
            None => self.currency = Some(currency),
            Some(first) if first != currency => return self.problem = Some(Rejection::ForeignCurrency),
            Some(_) if occurred_at_us < self.last_line_us => {
                return self.problem = Some(Rejection::HistoryOutOfOrder);
            }
            Some(_) => {}
        }
        self.last_line_us = occurred_at_us;
        if amount_minor < 0 {
            self.refunds_minor = self.refunds_minor.saturating_add(amount_minor);
        } else {
            self.problem = self.count_purchase(day_of(occurred_at_us), amount_minor).err();
        }
    }

    /// Closes the history at the end of the observation, and makes the fold ready for the next customer.
    pub fn finish(&mut self, observation: &Observation) -> Result<Summary, Rejection> {
        self.finish_with_spend(observation).map(|(summary, _)| summary)
    }

    /// The same, with the net spend on all purchase days, the first included, in minor units.
    pub fn finish_with_spend(&mut self, observation: &Observation) -> Result<(Summary, i64), Rejection> {
        self.count_refunds();
        let history = std::mem::take(self);
        if history.currency.is_some_and(|currency| currency != *observation.currency().as_bytes()) {
            return Err(Rejection::ForeignCurrency);
        }
        if let Some(problem) = history.problem {
            return Err(problem);
        }
        let purchases = history.purchases.ok_or(Rejection::NoPurchase)?;
        if history.last_line_us >= observation.as_of_us() {
            return Err(Rejection::HistoryOutOfRange);
        }
        if purchases.repeat_spend_minor < 0 {
            return Err(Rejection::NegativeSpend);
        }
        let summary = Summary {
            frequency: purchases.days - 1,
            recency_days: days_between(purchases.first_day, purchases.last_day)?,
            age_days: days_between(purchases.first_day, observation.last_day())?,
            repeat_spend_minor: purchases.repeat_spend_minor,
        };
        Ok((summary, purchases.first_spend_minor + purchases.repeat_spend_minor))
    }

    #[inline]
    fn count_purchase(&mut self, day: i64, amount_minor: i64) -> Result<(), Rejection> {
        let Some(purchases) = &mut self.purchases else {
            let first = PurchaseDays {
                first_day: day,
                last_day: day,
                days: 1,
                first_spend_minor: 0,
                repeat_spend_minor: 0,
            };
            return self.purchases.insert(first).add(amount_minor);
        };
        if day != purchases.last_day {
            purchases.last_day = day;
            purchases.days += 1;
        }
        purchases.add(amount_minor)
    }

    /// Counts the refunds of the last instant against the latest purchase day.
    #[inline]
    fn count_refunds(&mut self) {
        let refunds_minor = std::mem::take(&mut self.refunds_minor);
        if refunds_minor == 0 || self.problem.is_some() {
            return;
        }
        let counted = match &mut self.purchases {
            Some(purchases) => purchases.add(refunds_minor),
            None => Err(Rejection::RefundBeforePurchase),
        };
        self.problem = counted.err();
    }
}

impl PurchaseDays {
    /// Adds to the spend of the first purchase day, or to that of all others.
    #[inline]
    fn add(&mut self, amount_minor: i64) -> Result<(), Rejection> {
        let spend = if self.days == 1 { &mut self.first_spend_minor } else { &mut self.repeat_spend_minor };
        let sum = spend.checked_add(amount_minor).ok_or(Rejection::SpendOutOfRange)?;
        if !(-LARGEST_SUM_MINOR..=LARGEST_SUM_MINOR).contains(&sum) {
            return Err(Rejection::SpendOutOfRange);
        }
        *spend = sum;
        Ok(())
    }
}

/// Whole days, if they fit between the years -9999 and 9999, as those of a subscription do: what a database calls minus
/// infinity does not, and would make a customer who has been silent for ever out of a bad row.
fn days_between(first: i64, last: i64) -> Result<u32, Rejection> {
    const MOST_DAYS: u32 = 7_304_484;
    let days = u32::try_from(last - first).ok();
    days.filter(|&days| days <= MOST_DAYS).ok_or(Rejection::HistoryOutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Currency;

    const DAY: i64 = 86_400_000_000;
    const USD: [u8; 3] = *b"USD";

    fn observation(as_of_us: i64) -> Observation {
        Observation::new(as_of_us, Currency::parse("USD").unwrap())
    }

    fn fold(lines: &[(i64, i64)]) -> Result<Summary, Rejection> {
        let mut fold = HistoryFold::new();
        for &(time, amount) in lines {
            fold.push(time, amount, USD);
        }
        fold.finish(&observation(100 * DAY))
    }

    fn check(
        lines: &[(i64, i64)],
        frequency: u32,
        recency_days: u32,
        age_days: u32,
        repeat_spend_minor: i64,
    ) {
        assert_eq!(
            fold(lines),
            Ok(Summary { frequency, recency_days, age_days, repeat_spend_minor }),
            "{lines:?}"
        );
    }

    #[test]
    fn the_first_purchase_counts_neither_as_repeat_nor_as_repeat_spend() {
        check(&[(10 * DAY, 500)], 0, 0, 89, 0);
        check(&[(10 * DAY, 500), (12 * DAY, 700)], 1, 2, 89, 700);
    }

    #[test]
    fn lines_of_one_day_are_one_purchase() {
        check(&[(10 * DAY, 500), (11 * DAY - 1, 100)], 0, 0, 89, 0);
        check(&[(10 * DAY, 500), (11 * DAY, 100), (12 * DAY - 1, 50)], 1, 1, 89, 150);
    }

    #[test]
    fn a_zero_amount_is_a_purchase() {
        check(&[(10 * DAY, 0), (20 * DAY, 0)], 1, 10, 89, 0);
    }

    #[test]
    fn a_refund_reduces_the_latest_purchase_and_is_never_one() {
        check(&[(10 * DAY, 500), (20 * DAY, 300), (30 * DAY, -100)], 1, 10, 89, 200);
    }

    #[test]
    fn a_refund_of_the_first_purchase_leaves_the_repeat_spend_alone() {
        check(&[(10 * DAY, 500), (11 * DAY, -500), (20 * DAY, 300)], 1, 10, 89, 300);
    }

    #[test]
    fn the_spend_of_all_purchases_is_net_of_all_refunds() {
        let mut fold = HistoryFold::new();
        for (time, amount) in [(10, 500), (11, -200), (20, 300), (30, -100)] {
            fold.push(time * DAY, amount, USD);
        }

        let (summary, spend_minor) = fold.finish_with_spend(&observation(100 * DAY)).unwrap();

        assert_eq!((summary.repeat_spend_minor, spend_minor), (200, 500));
    }

    #[test]
    fn lines_of_one_instant_give_the_same_summary_in_any_order() {
        // A whole-table scan, an index and a sort give ties in different orders.
        check(&[(10 * DAY, 500), (10 * DAY, -500), (20 * DAY, 300)], 1, 10, 89, 300);
        check(&[(10 * DAY, -500), (10 * DAY, 500), (20 * DAY, 300)], 1, 10, 89, 300);
        for tie in [[300, -100, 40], [300, 40, -100], [-100, 300, 40], [-100, 40, 300]] {
            let [a, b, c] = tie.map(|amount| (20 * DAY, amount));
            check(&[(10 * DAY, 500), a, b, c, (30 * DAY, -40)], 1, 10, 89, 200);
        }
    }

    #[test]
    fn days_before_1970_are_cut_at_utc_midnight_too() {
        check(&[(-DAY, 1), (-1, 1), (0, 7)], 1, 1, 100, 7);
        check(&[(-DAY - 1, 1), (-DAY, 1)], 1, 1, 101, 1);
    }

    #[test]
    fn each_kind_of_bad_history_has_its_own_rejection() {
        for (lines, rejection) in [
            (&[][..], Rejection::NoPurchase),
            (&[(DAY, -1)], Rejection::RefundBeforePurchase),
            (&[(DAY, 1), (2 * DAY, 5), (3 * DAY, -6)], Rejection::NegativeSpend),
            (&[(DAY, 1), (2 * DAY, i64::MAX)], Rejection::SpendOutOfRange),
            (&[(DAY, 1), (2 * DAY, 1), (2 * DAY, i64::MIN)], Rejection::SpendOutOfRange),
            (&[(DAY, 1), (DAY - 1, 1)], Rejection::HistoryOutOfOrder),
            (&[(DAY, 1), (100 * DAY, 1)], Rejection::HistoryOutOfRange),
            (&[(i64::MIN, 1), (DAY, 1)], Rejection::HistoryOutOfRange),
            (&[(i64::MIN + 946_684_800_000_000, 1)], Rejection::HistoryOutOfRange),
        ] {
            assert_eq!(fold(lines), Err(rejection), "{lines:?}");
        }
    }

    #[test]
    fn another_currency_is_refused_in_the_first_line_and_in_a_later_one() {
        for currencies in [[*b"EUR", *b"EUR"], [USD, *b"EUR"]] {
            let mut fold = HistoryFold::new();
            fold.push(DAY, 1, currencies[0]);
            fold.push(2 * DAY, 1, currencies[1]);

            assert_eq!(fold.finish(&observation(100 * DAY)), Err(Rejection::ForeignCurrency));
        }
    }

    #[test]
    fn the_first_problem_decides() {
        assert_eq!(fold(&[(DAY, -1), (0, 1), (200 * DAY, 1)]), Err(Rejection::RefundBeforePurchase));
    }

    #[test]
    fn a_finished_fold_is_as_new() {
        let mut fold = HistoryFold::new();
        fold.push(DAY, -1, *b"EUR");
        assert!(fold.finish(&observation(100 * DAY)).is_err());

        fold.push(0, 1, USD);

        assert!(fold.finish(&observation(100 * DAY)).is_ok());
    }

    #[test]
    fn times_at_the_ends_of_their_type_do_no_harm() {
        for time in [i64::MIN, i64::MAX] {
            for as_of in [i64::MIN, 0, i64::MAX] {
                let mut fold = HistoryFold::new();
                fold.push(time, 1, USD);
                assert_eq!(fold.finish(&observation(as_of)), Err(Rejection::HistoryOutOfRange));
            }
        }
    }
}
