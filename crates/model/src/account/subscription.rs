//! Subscriptions, line by line, into what a contract has earned and where it stands.
//!
//! **Payments.** A subscription is paid in advance, at its start and then every `period` months on the same day of the
//! month, or on the month's last day where it has no such day: one that began on 31 January is paid on 28 February and
//! on 31 March. A payment after the first is a *renewal*. As with purchases, what happens on the last observed day has
//! happened.
//!
//! **Ends.** An end counts from its day on: a renewal due on the day of the end is not made. An end that lies after the
//! observation is not seen, as nothing that lies there is: at the time the contract went on.
//!
//! **What a fit may learn.** Whoever ends in the middle of a term brings nothing more from that day on, but has refused
//! a renewal only on the day of it. Until then those who began with him and stay have not been asked either, and to
//! count his refusal without their consent would make contracts look shorter than they are.

use serde::Serialize;
use smallvec::SmallVec;

use super::money::LARGEST_SUM_MINOR;
use super::observation::day_of;
use super::{Observation, Rejection};
use crate::contracts::{ContractModels, PlanIndex, Tenure};

/// The longest period that is believed, in months.
pub const LONGEST_PERIOD: u16 = 120;

/// A subscription as it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The plan's name.
    pub plan: &'a str,
    /// Months from one payment to the next.
    pub period_months: i64,
    /// When it began, in microseconds since 1970-01-01 UTC.
    pub started_at_us: i64,
    /// When it ended, if it has.
    pub ended_at_us: Option<i64>,
    /// What is paid each time, in minor units.
    pub price_minor: i64,
    /// In which currency: three letters.
    pub currency: [u8; 3],
}

/// How far a subscription came by the end of the observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// Payments made; at least 1.
    pub payments: u32,
    /// The renewal that follows the last payment.
    pub next: NextRenewal,
}

/// The renewal that follows the last payment for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRenewal {
    /// It is due so many days after the last observed one; at least 1.
    DueIn(u32),
    /// The subscription ended before it. It would have been due so many days after the last observed one; on that day or
    /// before it at 0 and below.
    NotMade(i64),
}

impl Course {
    /// Follows a subscription to the end of the observation.
    pub fn of(subscription: &Subscription<'_>, observation: &Observation) -> Result<Self, Rejection> {
        let &Subscription { period_months, started_at_us, ended_at_us, price_minor, currency, .. } =
            subscription;
        if currency != *observation.currency().as_bytes() {
            return Err(Rejection::ForeignCurrency);
        }
        if started_at_us >= observation.as_of_us() {
            return Err(Rejection::HistoryOutOfRange);
        }
        let is_sane = (1..=i64::from(LONGEST_PERIOD)).contains(&period_months)
            && (0..=LARGEST_SUM_MINOR).contains(&price_minor)
            && ended_at_us.is_none_or(|ended| ended >= started_at_us);
        let start =
            CivilDay::of(day_of(started_at_us)).filter(|_| is_sane).ok_or(Rejection::ImpossibleContract)?;
        let last = CivilDay::of(observation.last_day()).ok_or(Rejection::HistoryOutOfRange)?;

        let seen_end = ended_at_us.filter(|&ended| ended < observation.as_of_us());
        let Some(ended) = seen_end else {
            let renewals = start.months_until(last) / period_months;
            let next =
                start.plus_months((renewals + 1) * period_months).ok_or(Rejection::HistoryOutOfRange)?;
            let next = NextRenewal::DueIn((next - observation.last_day()) as u32);
            return Ok(Self { payments: renewals as u32 + 1, next });
        };
        // The last day on which a payment could still be made; the first is made in any case.
        let until = CivilDay::of(day_of(ended) - 1).ok_or(Rejection::ImpossibleContract)?;
        let renewals = i64::max(start.months_until(until), 0) / period_months;
        let due = start.plus_months((renewals + 1) * period_months).ok_or(Rejection::HistoryOutOfRange)?;
        let next = NextRenewal::NotMade(due - observation.last_day());
        Ok(Self { payments: renewals as u32 + 1, next })
    }

    /// Days from the last observed day to the next renewal, at least 1; none if the subscription has ended.
    pub fn days_to_renewal(&self) -> Option<u32> {
        match self.next {
            NextRenewal::DueIn(days) => Some(days),
            NextRenewal::NotMade(_) => None,
        }
    }

    /// The same as the contract models count it: an end is a churn at the renewal that was not made, from the day it was
    /// due on, unless the customer went on in `another_plan`.
    pub fn tenure(&self, another_plan: bool) -> Tenure {
        match self.next {
            NextRenewal::NotMade(days) if days <= 0 && !another_plan => Tenure::ChurnedAt(self.payments),
            _ => Tenure::ActiveAfter(self.payments - 1),
        }
    }
}

/// A contract that goes on: what its future is forecast from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Contract {
    /// What is paid at each renewal, in minor units.
    pub price_minor: i64,
    /// Renewals made so far.
    pub renewals: u32,
    /// Days from the last observed day to the next renewal; at least 1, and no more than a period has.
    pub days_to_renewal: u32,
    /// Months from one payment to the next, from 1 to [`LONGEST_PERIOD`].
    pub period_months: u16,
    /// Which contract model of the model version is its plan's.
    pub plan: PlanIndex,
}

/// A customer's contracts that go on; hardly anybody has more than two.
pub type Contracts = SmallVec<[Contract; 2]>;

/// What a customer's subscriptions come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribed {
    /// All payments so far, in minor units.
    pub paid_minor: i64,
    /// The contracts that go on, by all that they are: the same whatever the order of the lines.
    pub contracts: Contracts,
}

/// Folds the subscriptions of one customer into what they come to. Reusable: [`finish`](Self::finish) leaves it as new.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionFold {
    subscribed: Subscribed,
    problem: Option<Rejection>,
}

impl SubscriptionFold {
    /// Starts with no line seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the customer's next subscription. `models` say which contract model is its plan's.
    pub fn push(&mut self, line: &Subscription<'_>, models: &ContractModels, observation: &Observation) {
        if self.problem.is_none() {
            self.problem = self.count(line, models, observation).err();
        }
    }

    /// Closes the subscriptions of the customer. The first problem found decides the rejection.
    pub fn finish(&mut self) -> Result<Subscribed, Rejection> {
        let Self { mut subscribed, problem } = std::mem::take(self);
        subscribed.contracts.sort_unstable();
        problem.map_or(Ok(subscribed), Err)
    }

    fn count(
        &mut self,
        line: &Subscription<'_>,
        models: &ContractModels,
        observation: &Observation,
    ) -> Result<(), Rejection> {
        let course = Course::of(line, observation)?;
        let paid = i64::from(course.payments).checked_mul(line.price_minor);
        let sum = paid.and_then(|paid| self.subscribed.paid_minor.checked_add(paid));
        self.subscribed.paid_minor =
            sum.filter(|&sum| sum <= LARGEST_SUM_MINOR).ok_or(Rejection::SpendOutOfRange)?;
        if let Some(days_to_renewal) = course.days_to_renewal() {
            let period_months = line.period_months as u16;
            self.subscribed.contracts.push(Contract {
                price_minor: line.price_minor,
                renewals: course.payments - 1,
                days_to_renewal,
                period_months,
                plan: models.find(line.plan, period_months),
            });
        }
        Ok(())
    }
}

/// A day of the proleptic Gregorian calendar.
#[derive(Clone, Copy)]
struct CivilDay(jiff::civil::Date);

impl CivilDay {
    /// The day so many days after 1970-01-01; none outside the years -9999 to 9999.
    fn of(day: i64) -> Option<Self> {
        let epoch = jiff::civil::date(1970, 1, 1);
        let span = jiff::Span::new().try_days(day).ok()?;
        epoch.checked_add(span).ok().map(Self)
    }

    /// Whole months from this day to another: negative if that is earlier.
    fn months_until(self, other: Self) -> i64 {
        let Self(from) = self;
        let Self(to) = other;
        let months = 12 * i64::from(to.year() - from.year()) + i64::from(to.month() - from.month());
        // A month without the day is over on its last one.
        let due = i8::min(from.day(), to.days_in_month());
        if to.day() < due { months - 1 } else { months }
    }

    /// So many months later, in days since 1970-01-01.
    fn plus_months(self, months: i64) -> Option<i64> {
        let Self(from) = self;
        let month = i64::from(from.year()) * 12 + i64::from(from.month() - 1) + months;
        let year = i16::try_from(month.div_euclid(12)).ok()?;
        let first = jiff::civil::Date::new(year, (month.rem_euclid(12) + 1) as i8, 1).ok()?;
        let date = first.with().day(i8::min(from.day(), first.days_in_month())).build().ok()?;
        Some(i64::from((date - jiff::civil::date(1970, 1, 1)).get_days()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::{ContractRow, PlanRows, contract_models};
    use crate::{ContractModel, Currency};

    fn us(date: &str) -> i64 {
        date.parse::<jiff::civil::Date>()
            .unwrap()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .unwrap()
            .timestamp()
            .as_microsecond()
    }

    fn subscription(start: &str, end: Option<&str>, period_months: i64) -> Subscription<'static> {
        Subscription {
            plan: "pro",
            period_months,
            started_at_us: us(start),
            ended_at_us: end.map(us),
            price_minor: 4_900,
            currency: *b"EUR",
        }
    }

    /// Observed through 30 June 2026.
    fn observation() -> Observation {
        Observation::new(us("2026-07-01"), Currency::parse("EUR").unwrap())
    }

    fn check(
        start: &str,
        end: Option<&str>,
        period_months: i64,
        payments: u32,
        days_to_renewal: Option<u32>,
    ) {
        let course = Course::of(&subscription(start, end, period_months), &observation()).unwrap();

        let actual = (course.payments, course.days_to_renewal());
        assert_eq!(actual, (payments, days_to_renewal), "{start} {end:?} {period_months}");
    }

    #[test]
    fn a_subscription_is_paid_at_its_start_and_every_period_after_it() {
        check("2026-06-30", None, 1, 1, Some(30));
        check("2026-05-30", None, 1, 2, Some(30));
        check("2026-05-31", None, 1, 2, Some(31));
        check("2026-06-01", None, 1, 1, Some(1));
        check("2024-06-30", None, 12, 3, Some(365));
        check("2024-07-01", None, 12, 2, Some(1));
        check("2026-01-31", None, 5, 2, Some(153));
    }

    #[test]
    fn a_renewal_due_on_the_day_of_the_end_is_not_made() {
        check("2026-01-10", Some("2026-03-10"), 1, 2, None);
        check("2026-01-10", Some("2026-03-11"), 1, 3, None);
        check("2026-01-10", Some("2026-01-10"), 1, 1, None);
        check("2026-01-10", Some("2026-01-20"), 12, 1, None);
    }

    #[test]
    fn an_end_after_the_observation_is_not_seen() {
        check("2026-01-10", Some("2026-07-01"), 1, 6, Some(10));
    }

    #[test]
    fn an_end_is_a_churn_unless_the_customer_went_on_in_another_plan() {
        let ended = Course { payments: 3, next: NextRenewal::NotMade(0) };
        let active = Course { next: NextRenewal::DueIn(4), ..ended };

        assert_eq!(ended.tenure(false), Tenure::ChurnedAt(3));
        assert_eq!(ended.tenure(true), Tenure::ActiveAfter(2));
        assert_eq!(active.tenure(false), Tenure::ActiveAfter(2));
    }

    #[test]
    fn an_end_is_no_churn_before_the_renewal_was_due() {
        let tenure = |start: &str, end: &str, period_months| {
            let course = Course::of(&subscription(start, Some(end), period_months), &observation());
            course.unwrap().tenure(false)
        };

        // Seen through 30 June.
        assert_eq!(tenure("2026-04-30", "2026-06-03", 1), Tenure::ChurnedAt(2));
        assert_eq!(tenure("2026-05-01", "2026-06-03", 1), Tenure::ActiveAfter(1));
        assert_eq!(tenure("2025-07-01", "2025-07-02", 12), Tenure::ActiveAfter(0));
        assert_eq!(tenure("2025-06-30", "2025-07-02", 12), Tenure::ChurnedAt(1));
    }

    #[test]
    fn ends_in_the_middle_of_a_term_do_not_make_contracts_look_shorter() {
        // Yearly contracts begin every day for six years. One in ten is not renewed, each time, and is ended at any
        // moment of the term before.
        let (customers, day_us) = (30_000, 86_400_000_000_i64);
        let last = observation().last_day();
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let rows: Vec<ContractRow> = (0..customers)
            .map(|_| {
                let started = last - (uniform() * 6.0 * 365.25) as i64;
                let mut terms = 0.0;
                while terms < 7.0 && uniform() < 0.9 {
                    terms += 1.0;
                }
                let ended = started + ((terms + uniform()) * 365.25) as i64;
                let line = Subscription {
                    started_at_us: started * day_us,
                    ended_at_us: Some(ended * day_us),
                    ..subscription("2026-01-10", None, 12)
                };
                let tenure = Course::of(&line, &observation()).unwrap().tenure(false);
                ContractRow { tenure, customers: 1 }
            })
            .collect();
        let plan = PlanRows { plan: "pro", period_months: 12, rows: &rows };

        let (_, diagnostics) = contract_models(&[plan]);

        let fit = diagnostics.plans[0].fit.as_ref().unwrap();
        // About 60,000 renewals were asked for: a standard error of 0.12 %.
        let kept = fit.model.remaining_survival(0, 1);
        assert!((kept - 0.9).abs() < 0.004, "{kept}");
        assert!(matches!(fit.model, ContractModel::Sbg(_)), "{:?}", fit.likelihood_ratio);
    }

    #[test]
    fn each_kind_of_impossible_subscription_has_its_rejection() {
        let good = subscription("2026-01-10", None, 1);
        for (bad, rejection) in [
            (Subscription { currency: *b"USD", ..good }, Rejection::ForeignCurrency),
            (Subscription { started_at_us: us("2026-07-01"), ..good }, Rejection::HistoryOutOfRange),
            (Subscription { period_months: 0, ..good }, Rejection::ImpossibleContract),
            (Subscription { period_months: 121, ..good }, Rejection::ImpossibleContract),
            (Subscription { price_minor: -1, ..good }, Rejection::ImpossibleContract),
            (Subscription { ended_at_us: Some(us("2026-01-09")), ..good }, Rejection::ImpossibleContract),
            (Subscription { started_at_us: i64::MIN, ..good }, Rejection::ImpossibleContract),
        ] {
            assert_eq!(Course::of(&bad, &observation()), Err(rejection), "{bad:?}");
        }
    }

    #[test]
    fn a_customers_payments_add_up_and_contracts_that_go_on_are_kept() {
        let models = ContractModels::default();
        let mut fold = SubscriptionFold::new();
        fold.push(&subscription("2025-01-10", Some("2025-03-10"), 1), &models, &observation());
        fold.push(&subscription("2026-05-10", None, 1), &models, &observation());

        let subscribed = fold.finish().unwrap();

        assert_eq!(subscribed.paid_minor, 4 * 4_900);
        let contract = Contract {
            price_minor: 4_900,
            renewals: 1,
            days_to_renewal: 10,
            period_months: 1,
            plan: PlanIndex::OTHER,
        };
        assert_eq!(subscribed.contracts.as_slice(), [contract]);
        assert_eq!(fold.finish(), Ok(Subscribed::default()));
    }
}
