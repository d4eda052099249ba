//! A customer's purchase history, folded in time order into what the models need.
//!
//! Days are UTC days. A *purchase day* has at least one line whose amount is not negative; several lines of one day
//! are one purchase. A negative amount is a refund: it never counts as a purchase, it reduces the spend of the latest
//! purchase day so far. The first purchase day makes the customer; the models speak about what came after it, so its
//! spend, and refunds of it, stay out of the repeat spend.

use std::fmt;

use crate::DAYS_PER_WEEK;

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

/// The largest sum of money that is believed, in minor units: beyond it a float no longer holds every integer.
pub(crate) const LARGEST_SUM_MINOR: i64 = 1 << 53;

/// What the models need to know about a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Summary {
    /// Purchase days after the first one (`x`).
    pub frequency: u32,
    /// Days from the first purchase to the last one; 0 when there is only one.
    pub recency_days: u32,
    /// Days from the first purchase to the last observed day.
    pub age_days: u32,
    /// Net spend on all purchase days after the first one, in minor units.
    pub repeat_spend_minor: i64,
}

impl Summary {
    /// Mean net spend on a repeat purchase day, in minor units; 0 when there was none.
    pub fn mean_spend_minor(&self) -> f64 {
        if self.frequency == 0 { 0.0 } else { self.repeat_spend_minor as f64 / f64::from(self.frequency) }
    }

    /// Time from the first purchase to the last one (`t_x`), in weeks.
    pub fn recency(&self) -> f64 {
        f64::from(self.recency_days) / DAYS_PER_WEEK
    }

    /// Time from the first purchase to the end of the observation (`T`), in weeks.
    pub fn age(&self) -> f64 {
        f64::from(self.age_days) / DAYS_PER_WEEK
    }

    /// Says whether a history could have left this summary behind.
    pub(crate) fn is_consistent(&self) -> bool {
        let last_within_life = self.recency_days <= self.age_days;
        let spend_is_sane = (0..=LARGEST_SUM_MINOR).contains(&self.repeat_spend_minor);
        let silence_is_empty = self.frequency > 0 || (self.recency_days == 0 && self.repeat_spend_minor == 0);
        last_within_life && spend_is_sane && silence_is_empty
    }
}

/// What all customers of a run share: how far their histories are observed, and in which currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    as_of_us: i64,
    currency: Currency,
}

impl Observation {
    /// Observes everything before `as_of_us`, in microseconds since 1970-01-01 UTC.
    ///
    /// The last observed day is the day of `as_of_us - 1`: midnight of 1 October observes through 30 September.
    pub fn new(as_of_us: i64, currency: Currency) -> Self {
        Self { as_of_us, currency }
    }

    /// The first microsecond that is no longer observed.
    pub fn as_of_us(&self) -> i64 {
        self.as_of_us
    }

    /// The currency of the run.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The last observed day, in days since 1970-01-01 UTC.
    pub fn last_day(&self) -> i64 {
        day_of(self.as_of_us.saturating_sub(1))
    }
}

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
        if history.currency.is_some_and(|currency| currency != observation.currency.0) {
            return Err(Rejection::ForeignCurrency);
        }
        if let Some(problem) = history.problem {
            return Err(problem);
        }
        let purchases = history.purchases.ok_or(Rejection::NoPurchase)?;
        if history.last_line_us >= observation.as_of_us {
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

pub(crate) fn day_of(time_us: i64) -> i64 {
    time_us.div_euclid(MICROSECONDS_PER_DAY)
}

fn days_between(first: i64, last: i64) -> Result<u32, Rejection> {
    u32::try_from(last - first).map_err(|_| Rejection::HistoryOutOfRange)
}

/// Why a customer could not be valued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The history holds no purchase.
    #[error("the customer never bought anything")]
    NoPurchase,
    /// A line is in another currency than the run.
    #[error("a transaction is in another currency than the run")]
    ForeignCurrency,
    /// The history begins with a refund.
    #[error("a refund comes before the first purchase")]
    RefundBeforePurchase,
    /// Refunds exceed what was spent after the first purchase.
    #[error("more was refunded than was spent after the first purchase")]
    NegativeSpend,
    /// The spend is beyond 2^53 minor units.
    #[error("the amounts add up to more than can be believed")]
    SpendOutOfRange,
    /// The lines did not come in time order.
    #[error("the transactions are not in time order")]
    HistoryOutOfOrder,
    /// A line lies outside the observed period.
    #[error("a transaction lies after the end of the observed period")]
    HistoryOutOfRange,
    /// The summary contradicts itself; no history leaves such a summary behind.
    #[error("frequency, recency, age and spend contradict each other")]
    InconsistentSummary,
    /// The spend model has no finite mean for this customer (`p x + q <= 1`).
    #[error("the spend model's parameters give this customer no finite mean spend")]
    SpendHasNoMean,
    /// A subscription has a period, a price or an end that cannot be.
    #[error("a subscription has a period, a price or an end that cannot be")]
    ImpossibleContract,
    /// The model version knows nothing of the renewals of a contract, and the customer has never bought anything.
    /// Whoever buys is valued by his purchases, with the grade [`D`](crate::Grade::D).
    #[error("the model version knows nothing of contracts; `ltv fit` once subscriptions have ended")]
    NoContractModel,
    /// The value is beyond 2^53 minor units.
    #[error("the value is larger than can be believed")]
    ValueOutOfRange,
}

impl Rejection {
    const ALL: [Self; 12] = [
        Self::NoPurchase,
        Self::ForeignCurrency,
        Self::RefundBeforePurchase,
        Self::NegativeSpend,
        Self::SpendOutOfRange,
        Self::HistoryOutOfOrder,
        Self::HistoryOutOfRange,
        Self::InconsistentSummary,
        Self::SpendHasNoMean,
        Self::ImpossibleContract,
        Self::NoContractModel,
        Self::ValueOutOfRange,
    ];

    /// The name under which the rejection is stored and counted.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoPurchase => "no_purchase",
            Self::ForeignCurrency => "foreign_currency",
            Self::RefundBeforePurchase => "refund_before_purchase",
            Self::NegativeSpend => "negative_spend",
            Self::SpendOutOfRange => "spend_out_of_range",
            Self::HistoryOutOfOrder => "history_out_of_order",
            Self::HistoryOutOfRange => "history_out_of_range",
            Self::InconsistentSummary => "inconsistent_summary",
            Self::SpendHasNoMean => "spend_has_no_mean",
            Self::ImpossibleContract => "impossible_contract",
            Self::NoContractModel => "no_contract_model",
            Self::ValueOutOfRange => "value_out_of_range",
        }
    }

    /// Finds the rejection of that [`code`](Self::code).
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rejection| rejection.code() == code)
    }
}

/// An ISO 4217 currency code: three capital letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads a code such as `USD`.
    pub fn parse(code: &str) -> Result<Self, CurrencyError> {
        match *code.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => Ok(Self([a, b, c])),
            _ => Err(CurrencyError(code.to_owned())),
        }
    }

    /// The three letters.
    pub fn as_bytes(&self) -> &[u8; 3] {
        &self.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.0).expect("a currency is three ASCII letters"))
    }
}

/// A text that is not a currency code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("currency {0:?}: must be three capital letters, such as USD")]
pub struct CurrencyError(String);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = MICROSECONDS_PER_DAY;
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
                assert_eq!(fold.finish(&observation(as_of)).is_ok(), time < as_of);
            }
        }
    }

    #[test]
    fn every_rejection_is_found_by_its_code() {
        for rejection in Rejection::ALL {
            assert_eq!(Rejection::from_code(rejection.code()), Some(rejection));
        }
        assert_eq!(Rejection::from_code("unheard_of"), None);
    }

    #[test]
    fn a_currency_is_three_capital_letters() {
        assert_eq!(Currency::parse("EUR").unwrap().to_string(), "EUR");
        for text in ["", "usd", "US", "USDX", "U$D", "Ä1"] {
            assert!(Currency::parse(text).is_err(), "{text}");
        }
    }
}
