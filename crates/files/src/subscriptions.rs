//! Files of subscriptions.

use anyhow::Result;
use jiff::Timestamp;
use model::Currency;

use crate::amount::AmountColumn;
use crate::header::{Column, Header};
use crate::kind::{Columns, Kind};
use crate::reason::{Problem, Reason};
use crate::row::Row;

/// A subscription.
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

/// The columns of a file of subscriptions.
#[derive(Debug)]
pub struct SubscriptionColumns {
    customer_id: Column,
    plan: Column,
    period_months: Column,
    started_at: Column,
    ended_at: Column,
    price: AmountColumn,
    currency: Column,
    end_reason: Column,
}

impl Columns for SubscriptionColumns {
    const KIND: Kind = Kind::Subscriptions;
    const NEEDED: &'static str = "customer_id, plan, period_months, started_at, ended_at, price (such as 29.00) or \
         price_minor (such as 2900), currency, end_reason";

    fn find(header: &Header) -> Result<Self> {
        let find = |name| header.needed(name, Self::NEEDED);
        Ok(Self {
            customer_id: find("customer_id")?,
            plan: find("plan")?,
            period_months: find("period_months")?,
            started_at: find("started_at")?,
            ended_at: find("ended_at")?,
            price: AmountColumn::needed(header, "price_minor", "price", Self::NEEDED)?,
            currency: find("currency")?,
            end_reason: find("end_reason")?,
        })
    }
}

impl SubscriptionColumns {
    /// Reads a row as a subscription when the clock shows `now`, and hands it on.
    pub fn subscription<T>(
        &self,
        row: Row<'_>,
        now: Timestamp,
        with: impl FnOnce(&Subscription<'_>) -> T,
    ) -> Result<T, Problem> {
        let customer_id = row.whole(self.customer_id)?;
        let started_at = row.past_time(self.started_at, now)?;
        let ended_at = row.unless_empty(self.ended_at, |row| row.time(self.ended_at))?;
        if let Some(ended_at) = ended_at.filter(|&ended_at| ended_at < started_at) {
            let detail = format!("ended_at {ended_at} is before started_at {started_at}");
            return Err(Problem::new(Reason::EndBeforeStart, detail));
        }
        let currency = row.currency(self.currency)?;
        let end_reason = row.unless_empty(self.end_reason, |row| row.label(self.end_reason))?;
        if let Some(end_reason) = end_reason.as_ref().filter(|_| ended_at.is_none()) {
            let detail = format!("end_reason is {end_reason}, and ended_at is empty");
            return Err(Problem::new(Reason::ReasonWithoutEnd, detail));
        }
        Ok(with(&Subscription {
            customer_id,
            plan: &row.label(self.plan)?,
            period_months: row.period(self.period_months)?,
            started_at,
            ended_at,
            price_minor: row.price(self.price, currency)?,
            currency: currency.currency,
            end_reason: end_reason.as_deref(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::read;

    #[test]
    fn a_subscription_may_go_on_and_may_end_in_the_future() {
        let header = "customer_id,plan,period_months,started_at,ended_at,price,currency,end_reason";
        let check = |row: &str, expected| {
            let read = read(header, row, |columns: &SubscriptionColumns, row, now| {
                columns.subscription(row, now, |subscription| subscription.customer_id)
            });
            assert_eq!(read, expected, "{row}");
        };
        check("7,pro,1,2026-01-31,,29.00,USD,", Ok(7));
        check("7,pro,1,2026-01-31,2026-01-31,0,USD,cancelled", Ok(7));
        check("7,pro,12,2026-01-31,2027-01-31,29.00,USD,cancelled", Ok(7));
        check("7,pro,1,2026-11-24,,29.00,USD,", Err(Reason::FutureTime));
        check("7,pro,1,2026-01-31,2026-01-30,29.00,USD,", Err(Reason::EndBeforeStart));
        check("7,pro,1,2026-01-31,,29.00,USD,cancelled", Err(Reason::ReasonWithoutEnd));
        check("7,pro,1,2026-01-31,later,29.00,USD,", Err(Reason::BadTime));
        check("7,pro,0,2026-01-31,,29.00,USD,", Err(Reason::BadPeriod));
        check("7,pro,121,2026-01-31,,29.00,USD,", Err(Reason::BadPeriod));
        check("7,pro,1,2026-01-31,,-1.00,USD,", Err(Reason::BadAmount));
        check("7,,1,2026-01-31,,29.00,USD,", Err(Reason::MissingValue));
    }
}
